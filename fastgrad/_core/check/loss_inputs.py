"""What a loss compares with: targets, labels, and the weights of rows."""

from __future__ import annotations

import numpy as np

from ...kernels import validate
from .arrays import F64, I64, as_array, float_array, plain, rows

_ndarray = np.ndarray


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
        value = plain(array.astype(I64))
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


def row_weights(value, name: str, dtype, n: int) -> np.ndarray:
    """(n,) weights of rows that stand alone: none negative; of any size, for nothing is divided by
    their sum."""
    array = float_array(value, name, dtype, 1)
    _not_negative(array, name, n)
    return array


def _not_negative(array: np.ndarray, name: str, n: int) -> None:
    rows(array, name, n)
    bad = validate.first_outside(array, 0.0, np.inf)
    if bad >= 0:
        raise ValueError(f"{name} has the value {array[bad]} at row {bad}; expected 0 or more")


def _weight(array: np.ndarray, name: str, n: int) -> float:
    """The sum of n weights."""
    _not_negative(array, name, n)
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
