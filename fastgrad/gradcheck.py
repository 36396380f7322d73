"""Is a gradient right? Numerical derivatives, and a verdict on an analytic one.

Function and point → differences along a line θ + t v → entry-wise comparison → verdict. A line is
a coordinate, or above ``full_limit`` parameters a seeded random direction; a direction that
disagrees is halved down to the entry to blame. Where an entry disagrees and the differences show
a kink, the step is shortened, so a kink *near* the point does no harm and a kink *at* the
point is told apart from a wrong gradient. All of it is float64, and θ is never changed: every call
gets a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from ._core import check
from ._core.comparison import Line, Settings, assess_directions, assess_entries, factor_of
from ._core.names import list_public
from ._core.verdict import sentence
from .calculus.arguments import in_layout
from .differences import (
    checked_options,
    checked_point,
    numerical_gradient,
    numerical_jacobian,
    values_of,
)
from .typing import Function, LayoutName, StencilName, Values

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "GradientCheck",
    "assert_gradient",
    "assert_jacobian",
    "check_gradient",
    "check_jacobian",
    "numerical_gradient",
    "numerical_jacobian",
]
list_public(globals())

# (value, gradient) of theta and args, or a function for each.
Functions: TypeAlias = Function | tuple[Function, Function]


class Options(TypedDict, total=False):
    """What `check_gradient` takes by keyword."""

    rtol: float
    floor: float
    step: float | None
    stencil: StencilName
    names: Mapping[str, tuple[int, ...]] | None
    full_limit: int
    directions: int
    seed: int


@dataclass(frozen=True)
class GradientCheck:
    """Verdict of `check_gradient` or `check_jacobian`; true in a condition if the check passed.

    Attributes
    ----------
    ok : bool
        Every entry (or direction) agrees, both calls gave the same bits, all is finite.
    max_relative_error : float
        |a − n| / max(|a|, |n|, floor) of the reported entry, the worst one; NaN if not finite.
    index : tuple of int, or None
        The reported entry: index into theta for a gradient, (row, column) for a Jacobian; None if
        it is a random direction that no single entry explains.
    name : str
        The same for people: ``theta[5]``, or ``W2[3, 1]`` where `names` were given.
    analytic, numerical : float
        The two values there.
    at_kink : bool
        The entry disagrees, and so do the differences from the left and from the right at the
        shortest step, about 3e-8: f is not differentiable there.
    inconclusive : bool
        Differences cannot judge: every disagreement is at a kink and lies between the one-sided
        derivatives (move the point), or is within what the rounding of f explains (compute f in
        float64). A wrong gradient has ``ok`` and ``inconclusive`` both False.
    message : str
        One sentence.

    Examples
    --------
    >>> result = check_gradient((lambda t: t @ t, lambda t: 3 * t), [1.0, 2.0])
    >>> result.ok, result.name, result.analytic, round(result.numerical, 6)
    (False, 'theta[0]', 3.0, 2.0)
    """

    ok: bool
    max_relative_error: float
    index: tuple[int, ...] | None
    name: str
    analytic: float
    numerical: float
    at_kink: bool
    inconclusive: bool
    message: str

    def __bool__(self) -> bool:
        return self.ok


def _functions(fun):
    """Split f_and_grad or (f, grad) into f and grad."""
    if isinstance(fun, tuple) and len(fun) == 2 and callable(fun[0]) and callable(fun[1]):
        return fun
    if not callable(fun):
        raise TypeError(
            f"fun is a {type(fun).__name__}; expected a callable that returns (value, gradient), "
            f"or a pair (f, grad) of two"
        )

    def both(theta, *args):
        result = fun(theta, *args)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"fun returned a {type(result).__name__}; expected a tuple of two: the value and "
                f"its gradient"
            )
        return result

    return (lambda *a: both(*a)[0]), (lambda *a: both(*a)[1])


def _analytic(grad, theta, args, expected):
    """Call the analytic gradient on a copy of theta; return a float64 copy of the result."""
    value = np.asarray(grad(theta.copy(), *args))
    if value.dtype.kind not in "biuf":
        raise TypeError(f"the gradient has dtype {value.dtype}; expected float64")
    if value.shape != expected:
        raise ValueError(
            f"the gradient has shape {value.shape}; expected {expected} for theta of shape "
            f"{theta.shape}"
        )
    return np.array(value, dtype=np.float64)


def _places(theta, names, scalar):
    """Return the function from an entry (i, j) to its index and its name, as in W2[3, 1]."""
    names = {"theta": theta.shape} if names is None else dict(names)
    blocks, sizes = list(names), [math.prod(np.atleast_1d(s).tolist()) for s in names.values()]
    if sum(sizes) != theta.size:
        raise ValueError(f"names has {sum(sizes)} entries, theta has {theta.size}")
    ends = np.cumsum(sizes)

    def place(i, j):
        index = np.unravel_index(j, theta.shape) if scalar else (i, j)
        k = int(np.searchsorted(ends, j, side="right"))
        block, within = blocks[k], j - (ends[k] - sizes[k])
        inside = ", ".join(str(axis) for axis in np.unravel_index(within, names[block]))
        name = f"{block}[{inside}]" if inside else block
        return tuple(int(axis) for axis in index), name if scalar else f"f[{i}] by {name}"

    return place


def _defect(first, second, place):
    """Return the verdict on a gradient that is not finite or not reproducible, or else None."""
    changed = first.view(np.int64) != second.view(np.int64)
    for bad, problem in ((~np.isfinite(first), "finite"), (changed, "reproducible")):
        if bad.any():
            i, j = np.argwhere(bad)[0]
            index, name = place(i, j)
            a, b = float(first[i, j]), float(second[i, j])
            message = f"{name} is not {problem}: two calls at the same theta gave {a!r} and {b!r}"
            return GradientCheck(False, math.nan, index, name, a, math.nan, False, False, message)
    return None


def _judge(lines, entry, place, what, settings, factor=None):
    """Turn outcomes (m, lines) into the verdict; what is wrong comes before what is undecided."""
    rtol = settings.rtol
    bad = ~(lines.error <= rtol)
    wrong = bad & ~lines.undecided
    if factor is None:
        factor = factor_of(lines, bad, settings.floor)
    rank = np.where(wrong | ~wrong.any(), np.nan_to_num(lines.error, nan=np.inf), -1.0)
    at = np.unravel_index(int(np.argmax(rank)), rank.shape)
    worst = Line(*(part[at] for part in lines))
    index, name = (None, "a random direction")
    if entry is not None or what == "entries":
        index, name = place(*(at if entry is None else entry))
    return GradientCheck(
        ok=not bad.any(),
        max_relative_error=float(worst.error),
        index=index,
        name=name,
        analytic=float(worst.analytic),
        numerical=float(worst.numerical),
        at_kink=bool(worst.kink),
        inconclusive=bool(bad.any() and not wrong.any()),
        message=sentence(name, worst, bad, what, rtol, entry is not None, factor),
    )


def _check(fun, theta, args, scalar, layout, names, full_limit, directions, seed, **comparison):
    theta, settings = checked_point(theta), Settings(**comparison, roundings=[])
    settings = settings._replace(step=checked_options(args, settings.step, settings.stencil))
    rtol, floor = check.positive(settings.rtol, "rtol"), check.positive(settings.floor, "floor")
    settings = settings._replace(rtol=rtol, floor=floor)
    directions = check.integer(directions, "directions")
    place = _places(theta, names, scalar)
    f, grad = _functions(fun)
    call = values_of(f, args, scalar)
    rows = call(theta.copy()).size
    expected = theta.shape if scalar else in_layout(np.empty((rows, theta.size)), layout).shape
    first, second = (_analytic(grad, theta, args, expected) for _ in range(2))
    if scalar:
        first, second = first.reshape(1, -1), second.reshape(1, -1)
    first, second = in_layout(first, layout), in_layout(second, layout)
    defect = _defect(first, second, place)
    if defect is not None:
        return defect
    if theta.size <= full_limit:
        lines = assess_entries(call, theta, first, settings)
        return _judge(lines, None, place, "entries", settings)
    lines, entry, factor = assess_directions(call, theta, first, settings, directions, seed)
    return _judge(lines, entry, place, "random directions", settings, factor)


def check_gradient(
    fun: Functions,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    rtol: float = 1e-6,
    floor: float = 1e-6,
    step: float | None = None,
    stencil: StencilName = "five_point",
    names: Mapping[str, tuple[int, ...]] | None = None,
    full_limit: int = 200,
    directions: int = 20,
    seed: int = 0,
) -> GradientCheck:
    """Judge an analytic gradient entry by entry: |a − n| ≤ rtol · max(|a|, |n|, floor).

    a is the analytic and n the numerical derivative (formula 4, section 3 of arXiv 1802.01528). No
    entry is scaled by the size of the gradient. The analytic gradient is called twice and has to
    give equal bits.

    Parameters
    ----------
    fun : callable, or a pair (f, grad) of callables
        ``fun(theta, *args)`` → (value, gradient), or ``f(theta, *args)`` → scalar and
        ``grad(theta, *args)`` → array of theta's shape.
    theta : p numbers of any shape, float64
        Left as it is; integers and lists are converted, float32 is refused.
    args : tuple
    rtol, floor : float
        Tolerance, and the size below which an entry is compared absolutely; the floor is raised
        where the rounding of f, 64 ε |f| / h, is above rtol · floor.
    step, stencil
        As in `numerical_jacobian`.
    names : dict of name → shape, optional
        How a flat theta is made up, for the message: ``{"W1": (3, 2), "b1": (2,)}``.
    full_limit : int
        Up to so many parameters every entry is checked, above it random directions.
    directions, seed : int
        How many random directions, and the seed of their signs.

    Returns
    -------
    result : GradientCheck

    Raises
    ------
    TypeError, ValueError
        theta or f not in float64, a gradient of another shape, a setting out of range. A gradient
        that is wrong, not finite or not reproducible is a result, not an error.

    Examples
    --------
    >>> def fun(t):
    ...     return 3 * t[0]**2 * t[1], [6 * t[0] * t[1], 3 * t[0]]
    >>> result = check_gradient(fun, [2.0, 1.0], names={"x": (), "y": ()})
    >>> print(result.message.partition(" (")[0])
    y is wrong: analytic 6, numerical 12, relative error 0.5 > 1e-06
    """
    options = {"names": names, "full_limit": full_limit, "directions": directions, "seed": seed}
    comparison = {"rtol": rtol, "floor": floor, "step": step, "stencil": stencil}
    return _check(fun, theta, args, True, "numerator", **options, **comparison)


def check_jacobian(
    fun: Functions,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    layout: LayoutName = "numerator",
    **options: Unpack[Options],
) -> GradientCheck:
    """Judge an analytic Jacobian entry by entry (formula 5, section 4 of arXiv 1802.01528).

    Options and errors are those of `check_gradient`, but f returns m numbers of any shape and the
    analytic derivative is (m, p), f and theta in C order; (p, m) with ``layout="denominator"``.

    Returns
    -------
    result : GradientCheck
        Its index is (row, column) in numerator layout, whatever `layout` is.

    Examples
    --------
    >>> def fun(t):
    ...     return t**2, [[2 * t[0], 0.0], [0.0, 2 * t[1]]]
    >>> check_jacobian(fun, [1.0, 2.0]).ok
    True
    """
    known = check_gradient.__kwdefaults__ | options
    return _check(fun, theta, args, False, layout, **known)


def assert_gradient(
    fun: Functions,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    **options: Unpack[Options],
) -> GradientCheck:
    """Raise an AssertionError with the verdict's sentence, unless `check_gradient` passes.

    Parameters and other errors are those of `check_gradient`; returns its result.

    >>> assert_gradient((lambda t: t @ t, lambda t: 2 * t), [1.0, 2.0]).ok
    True
    """
    return _assert(check_gradient(fun, theta, args, **options))


def assert_jacobian(
    fun: Functions,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    layout: LayoutName = "numerator",
    **options: Unpack[Options],
) -> GradientCheck:
    """Raise an AssertionError with the verdict's sentence, unless `check_jacobian` passes.

    Parameters and other errors are those of `check_jacobian`; returns its result.

    >>> assert_jacobian((lambda t: 2 * t, lambda t: [[2.0, 0.0], [0.0, 2.0]]), [1.0, 2.0]).ok
    True
    """
    return _assert(check_jacobian(fun, theta, args, layout=layout, **options))


def _assert(result):
    if not result.ok:
        raise AssertionError(result.message)
    return result
