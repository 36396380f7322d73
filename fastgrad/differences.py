"""Numerical derivatives of any function: differences along lines θ + t v.

Function and point → values on a line → slope by a stencil → gradient or Jacobian. All of it is
float64, and θ is never changed: every call gets a copy. The verdict on an analytic gradient is in
`gradcheck.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.names import list_public
from .calculus.arguments import in_layout
from .typing import Function, LayoutName, StencilName, Values

__all__ = ["numerical_gradient", "numerical_jacobian"]
list_public(globals())

# stencil -> ((k, weight of f(+kh) - f(-kh)), ...), divisor, default step. Equal values cancel
# exactly. Truncation and rounding: h⁴ f⁽⁵⁾/30 + 1.5 ε|f|/h, and h² f⁽³⁾/6 + ε|f|/h.
_STENCILS = {
    "five_point": (((1, 8.0), (2, -1.0)), 12.0, 1e-3),
    "central": (((1, 1.0),), 2.0, 1e-5),
}
# Rounding of f as a multiple of ε |f|: 1.5 for exact f, the rest for sums inside f.
NOISE = 64 * np.finfo(np.float64).eps
_WIDTH = math.sqrt(12 / 252) / 0.6745  # of a grid, from the median of fifth differences
_OUTER = (*range(5), *range(15, 20))
_ROUNDED = 1e-10  # relative rounding from which on f is not computed in float64


def checked_point(theta):
    """Return theta as a new float64 array."""
    array = check.as_array(theta, "theta")
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize != 8):
        raise TypeError(
            f"theta has dtype {array.dtype}; expected float64, as in "
            "np.asarray(theta, dtype=np.float64)"
        )
    array = np.array(array, dtype=np.float64)
    if array.size == 0:
        raise ValueError("theta is empty; expected at least one parameter")
    if not np.isfinite(array).all():
        raise ValueError("theta is not finite; expected a point where f can be differentiated")
    return array


def checked_options(args, step, stencil):
    if not isinstance(args, tuple):
        raise TypeError(f"args is a {type(args).__name__}; expected a tuple, as in args=(X, y)")
    if stencil not in _STENCILS:
        raise ValueError(f"stencil is {stencil!r}; expected one of {', '.join(_STENCILS)}")
    step = _STENCILS[stencil][2] if step is None else step
    return check.positive(step, "step")


def values_of(f, args, scalar):
    """Wrap f so that it returns float64 values (m,); one only, if `scalar`."""

    def call(theta):
        value = np.asarray(f(theta, *args))
        kind, size = value.dtype.kind, value.dtype.itemsize
        if kind not in "biuf" or (kind == "f" and size < 8):
            raise TypeError(f"f returned dtype {value.dtype}; expected float64")
        if scalar and value.ndim:
            raise ValueError(
                f"f returned shape {value.shape}; expected a scalar (): for arrays there are "
                "numerical_jacobian and check_jacobian"
            )
        if value.size == 0:
            raise ValueError(f"f returned shape {value.shape}; expected at least one number")
        return value.astype(np.float64).ravel()

    return call


def slope_on(line, h, stencil):
    """Derivative of the line at t = 0, and the rounding to be expected in it."""
    terms, divisor, _ = _STENCILS[stencil]
    pairs = [(weight, line(k * h), line(-k * h)) for k, weight in terms]
    with np.errstate(under="ignore", invalid="ignore", over="ignore"):
        slope = sum(weight * (ahead - behind) for weight, ahead, behind in pairs) / (divisor * h)
        size = np.max([np.maximum(abs(ahead), abs(behind)) for _, ahead, behind in pairs], axis=0)
        return slope, NOISE * size / h


def one_sided_slopes(line, h):
    """Second-order derivatives from the left and from the right, (m,) each."""
    at = line(0.0)
    sides = [(t, line(t), line(2 * t)) for t in (-h, h)]
    with np.errstate(under="ignore", invalid="ignore", over="ignore"):
        return [(4 * near - far - 3 * at) / (2 * t) for t, near, far in sides]


def rounding_on(line):
    """The relative rounding of f near t = 0, (m,); 0 where f is as exact as float64 is.

    Fifth differences of a smooth f shrink with the step to the fifth power, those of rounding do
    not (Moré and Wild 2011, "Estimating computational noise"), nor are they all in the middle, as
    at a cusp. Their median leaves out the few that a kink spoils. Rounding to a grid of width u has
    the standard deviation u / sqrt(12); where f stands still and jumps, the grid shows itself.
    """
    widths = []
    for h in (5e-4 * math.sqrt(0.7), 1.25e-4 * math.sqrt(0.9)):  # no step that a grid knows
        values = np.stack([line(k * h) for k in range(-12, 13)])
        with np.errstate(under="ignore", invalid="ignore", over="ignore", divide="ignore"):
            fifth = abs(np.diff(values, 5, axis=0))
            inner, outer = np.median(fifth[5:15], axis=0), np.median(fifth[[*_OUTER]], axis=0)
            noise = np.where(outer > inner / 32, np.median(fifth, axis=0), 0.0)
            width = np.maximum(_WIDTH * noise, _stair(values)) / abs(values).max(axis=0)
        widths.append(np.nan_to_num(width, nan=0.0, posinf=0.0))
    coarse, fine = widths
    return np.where((fine > _ROUNDED) & (coarse < 16 * fine), fine, 0.0)


def _stair(values):
    """The lowest jump where many neighbours on both sides are equal and all jumps are whole
    multiples of it; else 0."""
    jumps = abs(np.diff(values, axis=0))
    stands = [np.mean(half == 0, axis=0) for half in np.split(jumps, 2)]
    height = np.where(jumps > 0, jumps, np.inf).min(axis=0)
    with np.errstate(under="ignore", invalid="ignore"):
        multiples = np.where(np.isfinite(height), jumps / height, 0.0)
    whole = (abs(multiples - np.rint(multiples)) < 1e-6).all(axis=0) & (multiples > 0).any(axis=0)
    return np.where(whole & (np.minimum(*stands) > 0.3), height, 0.0)


def coordinate_line(call, theta, j):
    """Line along coordinate j, in units of max(1, |theta_j|), and that unit."""
    unit = max(1.0, abs(theta.flat[j]))

    def line(t):
        moved = theta.copy()
        moved.flat[j] += t * unit
        return call(moved)

    return line, unit


def direction_line(call, theta, v):
    """Line along the direction v, (p,)."""
    v = v.reshape(theta.shape)
    return lambda t: call(theta + t * v)


def numerical_jacobian(
    f: Function,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    step: float | None = None,
    stencil: StencilName = "five_point",
    layout: LayoutName = "numerator",
) -> NDArray[np.float64]:
    """Jacobian ∂f/∂theta by differences (formula 5, section 4 of arXiv 1802.01528).

    Parameters
    ----------
    f : callable
        ``f(theta, *args)`` → numbers of any shape, m in all, in float64.
    theta : p numbers of any shape, float64
        Left as it is; integers and lists are converted, float32 is refused.
    args : tuple
    step : float, optional
        Multiplied by max(1, |theta_j|); 1e-3 for five points, 1e-5 for "central".
    stencil : {"five_point", "central"}
        (f(−2h) − 8f(−h) + 8f(h) − f(2h))/12h, exact for polynomials up to degree 4, or
        (f(h) − f(−h))/2h, up to degree 2.
    layout : {"numerator", "denominator"}

    Returns
    -------
    jacobian : (m, p) float64, f and theta in C order; (p, m) in denominator layout

    Raises
    ------
    TypeError, ValueError
        theta or a value of f not in float64; a setting out of range.

    Examples
    --------
    f = 3x²y and g = 2x + y⁸ at x = 1, y = 1:

    >>> J = numerical_jacobian(lambda t: [3 * t[0]**2 * t[1], 2 * t[0] + t[1]**8], [1.0, 1.0])
    >>> J.round(6)
    array([[6., 3.],
           [2., 8.]])
    """
    theta, step = checked_point(theta), checked_options(args, step, stencil)
    jacobian = _differences(values_of(f, args, False), theta, step, stencil)
    return in_layout(jacobian, layout)


def numerical_gradient(
    f: Function,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    step: float | None = None,
    stencil: StencilName = "five_point",
) -> NDArray[np.float64]:
    """Gradient ∇f by differences (formula 4, section 3 of arXiv 1802.01528).

    Parameters and errors are those of `numerical_jacobian`, but f returns a scalar.

    Returns
    -------
    gradient : float64, of theta's shape

    Examples
    --------
    >>> numerical_gradient(lambda t: 3 * t[0]**2 * t[1], [1.0, 2.0]).round(6)
    array([12.,  3.])
    """
    theta, step = checked_point(theta), checked_options(args, step, stencil)
    jacobian = _differences(values_of(f, args, True), theta, step, stencil)
    return jacobian.reshape(theta.shape)[()]


def _differences(call, theta, step, stencil):
    jacobian = None
    for j in range(theta.size):
        line, unit = coordinate_line(call, theta, j)
        column = slope_on(line, step, stencil)[0] / unit
        if jacobian is None:  # whole, so that a size no machine holds fails at once
            jacobian = np.empty((column.size, theta.size))
        elif column.size != len(jacobian):
            raise ValueError(f"f returned {column.size} numbers; expected {len(jacobian)}")
        jacobian[:, j] = column
    return jacobian
