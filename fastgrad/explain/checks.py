"""What stands beside each value: numerical derivatives or the NumPy twin; and what was given."""

from __future__ import annotations

import numpy as np

from .._core import check
from ..gradcheck import check_gradient, check_jacobian
from .steps import Check

MOST_ENTRIES = 1 << 16  # of a Jacobian
# A wrong derivative disagrees at every step; a right one near a pole of f, at the long ones alone.
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def differences(what: str, f, at, jacobian) -> Check:
    """Judge the Jacobian (m, p) of f at the point; `what` is "f by the point's name".

    By `fastgrad.check_gradient` where f is a scalar, else by `check_jacobian`.
    """
    jacobian, at = np.asarray(jacobian, np.float64), np.asarray(at, np.float64)
    if not np.isfinite(at).all():
        raise ValueError(
            f"{what.partition(' by ')[2]} is not finite: the numbers given overflow; expected "
            f"smaller ones"
        )
    options = {"names": {what.partition(" by ")[2]: at.shape}, "full_limit": MOST_ENTRIES}
    scalar = np.ndim(f(at)) == 0
    check_derivative = check_gradient if scalar else check_jacobian
    analytic = jacobian.reshape(at.shape) if scalar else jacobian
    for step in _STEPS:
        with np.errstate(all="ignore"):  # a step may leave the domain of f
            result = check_derivative((f, lambda point: analytic), at, step=step, **options)
        if result.ok or result.inconclusive:
            break
    message = "" if result.ok else result.message
    return Check(
        "differences", what, bool(result.ok), jacobian.size, float(result.max_relative_error),
        result.inconclusive, message,
    )  # fmt: skip


def twin(what: str, value, expected) -> Check:
    """Compare with the NumPy twin, to the rounding of a different order of sums."""
    return _equal("twin", what, value, expected)


def identity(what: str, value, other) -> Check:
    """Compare with another way to the same numbers."""
    return _equal("identity", what, value, other)


def _equal(kind: str, what: str, value, expected) -> Check:
    value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
    if value.shape == expected.shape:
        size = max(abs(value).max(initial=0.0), np.finfo(np.float64).tiny)
        error = float(abs(value - expected).max(initial=0.0) / size)
    else:
        error = np.inf
    ok = error <= 1e-12
    message = "" if ok else f"relative error {error:.3g}"
    return Check(kind, what, ok, value.size, error, message=message)


def numbers(value, name: str, *ranks: int) -> np.ndarray:
    """What was given, as finite float64 of one of these ranks."""
    array = check.as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}; expected numbers")
    if array.ndim not in ranks:
        known = {0: "a scalar ()", 1: "a vector (n,)", 2: "a matrix (n, d)"}
        expected = " or ".join(known[rank] for rank in ranks)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")
    array = np.array(array, np.float64)
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected at least one number")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite; a derivation needs finite numbers")
    return array


def same(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """The shape that the other arguments imply."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")


def nonzero(name: str, array, function: str) -> None:
    """A point where the function has a derivative."""
    if (np.asarray(array) == 0).any():
        raise ValueError(f"{name} is 0, where {function} has no derivative; expected another point")


def small(name: str, rows: int, columns: int, instead: str) -> None:
    """A Jacobian that can be read."""
    if rows * columns > MOST_ENTRIES:
        raise ValueError(
            f"{name} would have {rows} x {columns} entries; expected at most {MOST_ENTRIES}: "
            f"explain {instead}"
        )
