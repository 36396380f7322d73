"""Inputs that may be sparse: the three arrays of CSR."""

from __future__ import annotations

import numpy as np

from ...kernels import validate
from ..csr import Csr
from .arrays import as_array, check_rows, float_array, is_sparse, matrix, plain


def sparse_rows(value, name: str, dtype, columns: int, convert: bool = False) -> Csr:
    """(n, columns) of `dtype` in CSR, in any order, with duplicates and zeros as they are.

    `convert`: other formats and dtypes are converted too.
    """
    if type(value) is Csr:  # checked before, for a network of the same dtype
        if value.dtype != dtype:
            raise TypeError(f"{name} has dtype {value.dtype}; expected {dtype}")
        return value
    kind = type(value).__name__
    if convert and getattr(value, "format", "") != "csr" and value.ndim == 2:
        value = value.tocsr()
    if getattr(value, "format", "") != "csr":
        raise TypeError(f"{name} is a sparse {kind}; expected CSR: use {name}.tocsr()")
    if value.ndim != 2 or value.shape[1] != columns:
        raise ValueError(
            f"{name} has shape {value.shape}; expected (n, {columns}): "
            f"{columns} columns, one for each input"
        )
    if columns >= 2**31:
        raise ValueError(f"{name} has {columns} columns; expected fewer than {2**31} of a sparse X")
    data = as_array(value.data, f"{name}.data")
    if convert and data.dtype.kind in "biuf":
        data = data.astype(dtype, copy=False)
    data = float_array(data, f"{name}.data", dtype, 1)
    indices, indptr = (
        _row_structure(getattr(value, part), f"{name}.{part}") for part in ("indices", "indptr")
    )
    n = value.shape[0]
    if indptr.size != n + 1:
        raise ValueError(
            f"{name}.indptr has {indptr.size} numbers; expected {n + 1}, rows plus one"
        )
    if indptr[0] != 0:
        raise ValueError(f"{name}.indptr begins with {indptr[0]}; expected 0")
    back = validate.first_step_back(indptr)
    if back >= 0:
        raise ValueError(
            f"{name}.indptr goes back from {indptr[back]} to {indptr[back + 1]} at row {back}; "
            f"expected numbers that never fall"
        )
    stored = int(indptr[-1])
    for array, part in ((data, "data"), (indices, "indices")):
        if array.size < stored:
            raise ValueError(
                f"{name}.{part} has {array.size} numbers; expected {stored}, the last of "
                f"{name}.indptr"
            )
    bad = validate.first_index_outside(indices[:stored], columns)
    if bad >= 0:
        row = int(np.searchsorted(indptr, bad, side="right")) - 1
        raise ValueError(
            f"{name}.indices has the column {indices[bad]} in row {row}; expected 0 to "
            f"{columns - 1}"
        )
    return Csr(data, indices, indptr, columns)


def _row_structure(value, name: str) -> np.ndarray:
    """(size,) int32 or int64."""
    array = as_array(value, name)
    if array.dtype.newbyteorder("=") not in (np.int32, np.int64):
        raise TypeError(f"{name} has dtype {array.dtype}; expected int32 or int64")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected one dimension")
    return plain(array)


def inputs(value, name: str, dtype, columns: int, nonempty: bool = False):
    """As `matrix`, or a `Csr` of what is sparse."""
    if not is_sparse(value):
        return matrix(value, name, dtype, columns, nonempty)
    rows = sparse_rows(value, name, dtype, columns)
    check_rows(rows, name, columns, nonempty)
    return rows
