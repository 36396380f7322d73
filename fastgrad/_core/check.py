"""What a user passed to what a kernel may touch: the one place that looks at arguments.

Every function takes a value and the argument's name, and returns a C-contiguous, aligned, native,
writable-typed NumPy array (the user's own memory wherever that is possible; kernels never write to
inputs) or raises an error that names the argument, what was given and what was expected. Nothing is
written before all checks of a call have passed. The first line of each is the fast path: an array
that needs nothing costs a few attribute look-ups.
"""

from __future__ import annotations

import operator

import numpy as np

from ..kernels import validate
from . import frames
from .csr import Csr

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_F32_ZERO, _F32_INFINITE = 2.0**-150, 2.0**128 - 2.0**103  # from where on it rounds to these
_F32_RANGE = "1.4e-45 to 3.4e+38"
_ndarray = np.ndarray
_OVERLAP_WORK = 1000  # bounds first; then whether strides interleave, within this many steps


class _Alias:
    """Another view of an array's memory, for a kernel whose type is a writable array."""

    def __init__(self, array):
        self.owner = array
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.__array_interface__["data"][0], False),
        }


def _plain(array: np.ndarray) -> np.ndarray:
    """C-contiguous, aligned, native and of the writable type; a copy only where it must be."""
    array = np.require(np.asarray(array), requirements=("C", "A"))
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable:
        array = np.asarray(_Alias(array)) if array.size else array.copy()
    return array


def as_array(value, name: str) -> np.ndarray:
    """Any array-like but those whose meaning `np.asarray` would drop."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; fill or drop its masked values first, "
            f"e.g. {name}.filled(0) or {name}.compressed()"
        )
    if isinstance(value, np.matrix):
        raise TypeError(f"{name} is a np.matrix; pass np.asarray({name})")
    if type(value) is not _ndarray and _is_sparse(value):
        raise TypeError(
            f"{name} is a sparse {type(value).__name__}; expected a dense array: use "
            f"{name}.toarray()"
        )
    if type(value) is Csr:
        raise TypeError(f"{name} is sparse; expected a dense array")
    try:
        array = np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # an `__array__` of others raises what it likes
        kind = ValueError if isinstance(error, ValueError) else TypeError
        said = str(error).partition("\n")[0]
        if str(type(value).__module__).partition(".")[0] in ("jax", "jaxlib"):
            said += ": under JAX's transforms use fastgrad.interop.jax"
        raise kind(f"{name} cannot be made an array: {said}") from None
    if array.dtype.hasobject and frames.is_frame(value):
        return frames.numbers(value, name)
    return array


def _is_sparse(value) -> bool:
    return str(type(value).__module__).startswith("scipy.sparse")


def is_sparse(value) -> bool:
    """Whether `sparse_rows` is for it."""
    return type(value) is Csr or (type(value) is not _ndarray and _is_sparse(value))


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
    return _plain(array)


def is_float(dtype) -> bool:
    return dtype in (F32, F64)


def float_dtype(value, name: str = "dtype") -> np.dtype:
    """float32 or float64, from all that NumPy takes for them; None is neither."""
    try:
        if value is None:
            raise TypeError
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; expected float32 or float64") from None
    if not is_float(dtype):
        raise TypeError(f"{name} is {dtype}; expected float32 or float64")
    return dtype


def float_array(value, name: str, dtype=None, ndim: int | None = None) -> np.ndarray:
    """A float array of `dtype` (None: its own, float64 for integers) and `ndim` dimensions."""
    if (
        type(value) is _ndarray
        and value.dtype is dtype
        and value.ndim == ndim
        and value.flags.carray
    ):
        return value
    array = as_array(value, name)
    kind = array.dtype
    if not isinstance(value, _ndarray) and kind == F64:
        kind = I64  # a list's numbers have no precision of their own
    if kind.kind in "biu":
        array = array.astype(dtype or F64)
    elif kind.newbyteorder("=") not in (F32, F64):
        if hasattr(value, "theta"):  # what `fit` returned
            raise TypeError(f"{name} is a {type(value).__name__}; pass its theta: result.theta")
        raise TypeError(
            f"{name} has dtype {array.dtype}; expected float32 or float64 "
            f"(or integers or booleans): convert it with {name}.astype(...)"
        )
    elif dtype is not None and kind.newbyteorder("=") != dtype:
        owner = "network has" if name == "theta" else "parameters have"
        raise TypeError(
            f"{name} has dtype {kind}, the {owner} {dtype}: "
            f"convert one of them, e.g. {name}.astype(np.{dtype})"
        )
    if ndim is not None and array.ndim != ndim:
        hint = f" (one row is {name}[None, :])" if (array.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{name} has shape {array.shape}; expected {_rank(ndim)}{hint}")
    return _plain(array)


def plain_step(theta, parameters: int, X, inputs: int, dtype) -> bool:
    """Whether theta (p,) and X (n, d), n >= 1, need no other check: the fast path of a step."""
    if type(theta) is not _ndarray or type(X) is not _ndarray:
        return False
    if theta.dtype is not dtype or X.dtype is not dtype or X.ndim != 2:
        return False
    n, d = X.shape
    return (
        d == inputs
        and n > 0
        and theta.shape == (parameters,)
        and theta.flags.carray
        and X.flags.carray
    )


def _rank(ndim: int) -> str:
    return {0: "a scalar", 1: "one dimension", 2: "two dimensions (rows, columns)"}[ndim]


def common_dtype(*pairs) -> np.dtype:
    """The float dtype that named values share; float64 where none of them is a float array.

    A real NumPy scalar has a say only where no array has.
    """
    dtype = getattr(pairs[0][0], "dtype", None)
    if (dtype is F32 or dtype is F64) and all(
        type(value) is _ndarray and value.dtype is dtype for value, _ in pairs
    ):
        return dtype
    found, owner, alone = None, None, None
    for value, name in pairs:
        dtype = getattr(value, "dtype", None)
        if not isinstance(value, (_ndarray, np.generic)):
            if isinstance(value, (list, tuple, int, float, bool)):
                continue
            dtype = as_array(value, name).dtype
        if dtype is None or dtype.kind in "biu":
            continue
        if len(pairs) > 1 and isinstance(value, np.floating):
            alone = dtype if is_float(dtype) else alone
            continue
        dtype = dtype.newbyteorder("=")
        if dtype not in (F32, F64):
            raise TypeError(
                f"{name} has dtype {dtype}; expected float32 or float64 "
                f"(or integers or booleans): convert it with {name}.astype(...)"
            )
        if found is None:
            found, owner = dtype, name
        elif dtype != found:
            raise TypeError(
                f"{name} has dtype {dtype}, {owner} has {found}: "
                f"convert one of them, e.g. {name}.astype(np.{found})"
            )
    return F32 if (alone if found is None else found) == F32 else F64


def rows(array: np.ndarray, name: str, n: int, other: str = "X") -> np.ndarray:
    if array.shape[0] != n:
        raise ValueError(f"{name} has {array.shape[0]} rows, {other} has {n}")
    return array


def matrix(value, name: str, dtype, columns: int, nonempty: bool = False) -> np.ndarray:
    """(n, columns); `nonempty`: at least one row, as a mean needs."""
    array = float_array(value, name, dtype, 2)
    _check_rows(array, name, columns, nonempty)
    return array


def inputs(value, name: str, dtype, columns: int, nonempty: bool = False):
    """As `matrix`, or a `Csr` of what is sparse."""
    if not is_sparse(value):
        return matrix(value, name, dtype, columns, nonempty)
    rows = sparse_rows(value, name, dtype, columns)
    _check_rows(rows, name, columns, nonempty)
    return rows


def _check_rows(array, name: str, columns: int, nonempty: bool) -> None:
    if array.shape[1] != columns:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (n, {columns}): "
            f"{columns} columns, one for each input"
        )
    if nonempty and array.shape[0] == 0:
        raise ValueError(f"{name} has 0 rows; the loss is a mean over rows and needs at least one")


def vector(value, name: str, dtype, size: int, unit: str = "") -> np.ndarray:
    array = float_array(value, name, dtype, 1)
    if array.shape[0] != size:
        raise ValueError(f"{name} has shape {array.shape}; expected ({size},){unit}")
    return array


def scalar(value, name: str) -> float:
    """A real number that is not a bool; 0-d arrays pass."""
    if type(value) is float or isinstance(value, np.floating):
        return float(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if isinstance(value, (bool, str)) or kind not in "iuf" or np.ndim(value) != 0:
        raise TypeError(f"{name} is {value!r}; expected one number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; expected one number") from None
    except OverflowError:
        raise ValueError(f"{name} is {value!r}; expected a number that a float can hold") from None


def non_negative(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is {number}; expected a finite number, 0 or more")
    return number


def positive(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} is {number}; expected a finite number above 0")
    return number


def fraction(value, name: str) -> float:
    number = non_negative(value, name)
    if number >= 1:
        raise ValueError(f"{name} is {number}; expected 0 to below 1")
    return number


def greatest_rate(is_f32: bool) -> float:
    """From where on a learning rate is infinite in a dtype."""
    return _F32_INFINITE if is_f32 else float("inf")


def inside_unit(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 < number < 1:
        raise ValueError(f"{name} is {number}; expected between 0 and 1")
    return number


def held(number: float, name: str, dtype, zero: bool = True) -> None:
    """Refuse a number that float32 would make infinite, or 0 unless `zero`: it may vanish."""
    if dtype != F32:
        return
    if number >= _F32_INFINITE or (0 < number <= _F32_ZERO and not zero):
        raise ValueError(f"{name} is {number}; expected a number that float32 holds: {_F32_RANGE}")


def integer(value, name: str, least: int = 1) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer") from None
    if number < least:
        raise ValueError(f"{name} is {number}; expected {least} or more")
    return number


def boolean(value, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; expected True or False")
    return bool(value)


def targets(value, name: str, dtype, n: int, k: int) -> np.ndarray:
    """(n, k) real targets; (n,) stands for (n, 1)."""
    if type(value) is _ndarray and value.dtype is dtype and value.flags.carray:
        array = value
    else:
        array = float_array(value, name, dtype)
    shape = array.shape
    if shape != (n, k) and not (k == 1 and shape == (n,)):
        if array.ndim and array.shape[0] != n:
            raise ValueError(f"{name} has {array.shape[0]} rows, X has {n}")
        expected = f"({n}, {k})" + (f" or ({n},)" if k == 1 else "")
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")
    return array


def unit_targets(value, name: str, dtype, n: int, k: int) -> np.ndarray:
    """`targets` within [0, 1] (NaN passes and shows in the loss)."""
    array = targets(value, name, dtype, n, k)
    bad = validate.first_outside(array, 0.0, 1.0)
    if bad >= 0:
        raise ValueError(
            f"{name} has the value {array.flat[bad]} at position {bad}; "
            f"expected labels 0 or 1 (or probabilities between them)"
        )
    return array


def count_targets(value, name: str, dtype, n: int, k: int) -> np.ndarray:
    """`targets` of 0 or more (NaN passes and shows in the loss)."""
    array = targets(value, name, dtype, n, k)
    bad = validate.first_outside(array, 0.0, np.inf)
    if bad >= 0:
        raise ValueError(
            f"{name} has the value {array.flat[bad]} at position {bad}; expected 0 or more"
        )
    return array


def labels(value, name: str, n: int, k: int) -> np.ndarray:
    """(n,) integer class labels from 0 to k - 1, as int64."""
    if not (type(value) is _ndarray and value.dtype is I64 and value.flags.carray):
        array = as_array(value, name)
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"{name} has dtype {array.dtype}; expected integer class labels "
                f"0 to {k - 1}: {_to_labels(array, name)}"
            )
        if array.dtype == np.uint64 and array.size and array.max() >= k:
            raise ValueError(f"{name} has the label {array.max()}; expected 0 to {k - 1}")
        value = _plain(array.astype(I64))
    if value.shape != (n,):
        if value.ndim and value.shape[0] != n:
            raise ValueError(f"{name} has {value.shape[0]} rows, X has {n}")
        hint = f": {_to_labels(value, name)}" if value.shape == (n, k) else ""
        raise ValueError(f"{name} has shape {value.shape}; expected ({n},), one label a row{hint}")
    bad = validate.first_label_outside(value, k)
    if bad >= 0:
        raise ValueError(f"{name} has the label {value[bad]} at row {bad}; expected 0 to {k - 1}")
    return value


def _to_labels(array: np.ndarray, name: str) -> str:
    """How to make labels of what is none."""
    if array.ndim == 2 and array.shape[1] > 1:
        return f"of one-hot rows take {name}.argmax(1)"
    if array.dtype.kind in "OSU":
        return f"number the classes with names, labels = np.unique({name}, return_inverse=True)"
    if array.dtype.kind == "f" and np.isnan(array).any():
        return "NaN is no label; drop the rows whose label is missing"
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        return "fractions are no labels; for a regression make the network with loss='mse'"
    return f"convert them with {name}.astype(np.int64)"


def weights(value, name: str, dtype, n: int) -> np.ndarray:
    """(n,) sample weights: none negative, not all zero (NaN passes and shows in the loss)."""
    array = float_array(value, name, dtype, 1)
    total = _weight(array, name, n)
    least, most = validate.weight_bounds(array.itemsize)
    if total < least or (total > most and np.isfinite(array).all()):
        raise ValueError(
            f"{name} sums to {total}; expected {least} to {most} in {array.dtype}: scale the "
            f"weights, only their ratios count"
        )
    return array


def _weight(array: np.ndarray, name: str, n: int) -> float:
    """The sum of n weights."""
    rows(array, name, n)
    bad = validate.first_outside(array, 0.0, np.inf)
    if bad >= 0:
        raise ValueError(f"{name} has the value {array[bad]} at row {bad}; expected 0 or more")
    total = validate.total(array)
    if n and total == 0:
        raise ValueError(f"{name} is zero everywhere; at least one row must count")
    return total


def scaled_weights(value, name: str, dtype, n: int) -> np.ndarray:
    """As `weights`, from float64 and of any sum: made `near_one` before they become `dtype`."""
    array = float_array(value, name, F64, 1)
    _weight(array, name, n)
    return near_one(array).astype(dtype, copy=False)


def near_one(weights: np.ndarray) -> np.ndarray:
    """Weights whose largest is far from 1, times a power of two that brings it there.

    Only ratios count, and a power of two rounds nothing but what vanishes beside the largest.
    """
    most = weights.max(initial=0)
    if 2.0**-40 < most < 2.0**40 or not 0 < most < np.inf:
        return weights
    return np.ldexp(weights, -np.frexp(most)[1])


def mask(value, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A bool array of `shape`, as uint8."""
    array = as_array(value, name)
    if array.dtype != BOOL:
        raise TypeError(f"{name} has dtype {array.dtype}; expected bool, as affine_relu returns it")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return _plain(array).view(np.uint8)


def _state(array: np.ndarray) -> str:
    if not array.flags.writeable:
        return "read-only"
    return "not contiguous" if array.flags.aligned else "not aligned"


def output(value, name: str, shape: tuple[int, ...], dtype, *inputs) -> np.ndarray:
    """An array to write to: exactly `shape` and `dtype`, contiguous, disjoint from the inputs."""
    if not isinstance(value, _ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a NumPy array")
    if value.dtype != dtype or not value.dtype.isnative:
        raise TypeError(f"{name} has dtype {value.dtype}; expected {dtype}")
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}; expected {shape}")
    if type(value) is not _ndarray:
        raise TypeError(f"{name} is a {type(value).__name__}; expected a plain NumPy array")
    if not value.flags.carray:
        raise ValueError(
            f"{name} is {_state(value)}; expected it C-contiguous, aligned and writable"
        )
    for other, other_name in inputs:
        if isinstance(other, _ndarray) and np.may_share_memory(value, other, _OVERLAP_WORK):
            raise ValueError(f"{name} overlaps {other_name}; pass an array of its own")
    return value


def addressable(elements: int, dtype, name: str) -> None:
    """A MemoryError for what no machine can address, before anything is allocated."""
    if elements * dtype.itemsize >= 2**47:
        raise MemoryError(f"{name} asks for {elements} elements of {dtype}")
