"""Arrays: layout, dtype and shape; and where to write.

Returned arrays are C-contiguous, aligned, native and of the writable type: the user's own memory
wherever that is possible; kernels never write to inputs.
"""

from __future__ import annotations

import numpy as np

from .. import frames
from ..csr import Csr

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)

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


def plain(array: np.ndarray) -> np.ndarray:
    """C-contiguous, aligned, native and of the writable type; a copy only where it must be."""
    array = np.require(np.asarray(array), requirements=("C", "A"))
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable:
        array = np.asarray(_Alias(array)) if array.size else array.copy()
    return array


def as_array(value, name: str) -> np.ndarray:
    """Any array-like but those whose meaning `np.asarray` would drop."""
    if value is None:
        raise TypeError(f"{name} is None; expected an array")
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


def is_a_stream(name: str) -> TypeError:
    """The error for a stream where an array belongs."""
    return TypeError(
        f"{name} is a Stream, whose rows are never together in memory; expected an array (fit, "
        f"evaluate, the validation of fit and Model.predict take a stream)"
    )


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
        if hasattr(value, "held_out"):  # what `stream` returned
            raise is_a_stream(name)
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
    return plain(array)


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
    check_rows(array, name, columns, nonempty)
    return array


def check_rows(array, name: str, columns: int, nonempty: bool) -> None:
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


def mask(value, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A bool array of `shape`, as uint8."""
    array = as_array(value, name)
    if array.dtype != BOOL:
        raise TypeError(f"{name} has dtype {array.dtype}; expected bool, as affine_relu returns it")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return plain(array).view(np.uint8)


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
