"""X of a network in compiled code: an array (n, d), or CSR as its three arrays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ..._core import check
from ...kernels.jit import OPTIONS
from .checks import require, require_disjoint, require_native


def is_sparse(kind) -> bool:
    return isinstance(kind, types.BaseTuple)


def require_rows(kind, dtype) -> None:
    """A typing error for what is neither."""
    if not is_sparse(kind):
        require(kind, "X", dtype, 2)
        return
    if len(kind) != 3:
        raise TypingError(f"X is a tuple of {len(kind)}; expected (data, indices, indptr)")
    data, indices, indptr = kind
    require(data, "X[0], its data,", dtype, 1)
    for part, name in ((indices, "X[1], its indices,"), (indptr, "X[2], its indptr,")):
        integer = getattr(part, "dtype", None)
        if integer not in (types.int32, types.int64):
            raise TypingError(f"{name} is a {part}; expected an array of int32 or int64")
        require(part, name, integer, 1)


def checked(net, X):
    """For Python: the three arrays as rows that a network takes."""
    if not isinstance(X, tuple):
        return X
    data, indices, indptr = X
    shape = (len(indptr) - 1, net.inputs)
    rows = SimpleNamespace(
        format="csr", ndim=2, shape=shape, data=data, indices=indices, indptr=indptr
    )
    return check.sparse_rows(rows, "X", net.like.dtype, net.inputs)


def rows_of(net, X):
    """X as `bind_rows` takes it, once it is checked."""


@overload(rows_of, jit_options=OPTIONS)
def _rows_of(net, X):
    if not is_sparse(X):

        def dense(net, X):
            if net.sparse:
                raise ValueError("X is dense: prepare the network without sparse=True")
            if X.shape[0] != net.rows:
                raise ValueError("X has another number of rows than the network was prepared for")
            if X.shape[1] != net.inputs:
                raise ValueError("X has the wrong number of columns for this network")
            require_native(X, "X")
            return X

        return dense

    def sparse(net, X):
        data, indices, indptr = X
        if not net.sparse:
            raise ValueError("X is sparse: prepare the network with sparse=True")
        require_native(data, "X[0]")
        require_native(indices, "X[1]")
        require_native(indptr, "X[2]")
        if indptr.size != net.rows + 1:
            raise ValueError("X has another number of rows than the network was prepared for")
        if indptr[0] != 0:
            raise ValueError("X has an indptr that does not begin with 0")
        for i in range(net.rows):
            if indptr[i + 1] < indptr[i]:
                raise ValueError("X has an indptr that goes back")
        stored = np.int64(indptr[net.rows])
        if data.size < stored or indices.size < stored:
            raise ValueError("X has fewer data or indices than the last number of its indptr")
        outside = 0
        for i in range(stored):
            outside |= (indices[i] < 0) | (indices[i] >= net.inputs)
        if outside:
            raise ValueError("X has a column number outside 0 to d - 1")
        if stored >= 2**31 or net.inputs >= 2**31:
            raise ValueError("X has 2**31 or more stored entries or columns")
        entries = np.empty(2 * stored if net.sorts else 0, data.dtype)
        parts = indices.itemsize, indptr.itemsize, stored - 1
        return data, indices, indptr, entries, parts[0], parts[1], parts[2]

    return sparse


@intrinsic
def keep(typingctx, rows):
    """Rows are needed until here: compiled code lets go of an array after its last use."""
    return types.void(rows), lambda context, *_: context.get_dummy_value()


def require_disjoint_rows(out, X):
    """An error where an array to write to overlaps X."""


@overload(require_disjoint_rows, jit_options=OPTIONS)
def _require_disjoint_rows(out, X):
    if not is_sparse(X):
        return lambda out, X: require_disjoint(out, "out", X, "X")

    def sparse(out, X):
        require_disjoint(out, "out", X[0], "X[0]")
        require_disjoint(out, "out", X[1], "X[1]")
        require_disjoint(out, "out", X[2], "X[2]")

    return sparse
