"""Is a gradient right? Numerical derivatives, and a verdict on an analytic one.

Function and point → differences along a line θ + t v → entry-wise comparison → verdict. A line is
a coordinate, or above ``full_limit`` parameters a seeded random direction; a direction that
disagrees is halved down to the entry to blame. Where an entry disagrees and the differences show
a kink, the step is shortened, so a kink *near* the point does no harm and a kink *at* the
point is told apart from a wrong gradient. All of it is float64, and θ is never changed: every call
gets a copy.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .calculus import _in_layout

__all__ = [
    "GradientCheck",
    "assert_gradient",
    "assert_jacobian",
    "check_gradient",
    "check_jacobian",
    "numerical_gradient",
    "numerical_jacobian",
]

# stencil -> ((k, weight of f(+kh) - f(-kh)), ...), divisor, default step. Equal values cancel
# exactly. Truncation and rounding: h⁴ f⁽⁵⁾/30 + 1.5 ε|f|/h, and h² f⁽³⁾/6 + ε|f|/h.
_STENCILS = {
    "five_point": (((1, 8.0), (2, -1.0)), 12.0, 1e-3),
    "central": (((1, 1.0),), 2.0, 1e-5),
}
# Rounding of f as a multiple of ε |f|: 1.5 for exact f, the rest for sums inside f.
_NOISE = 64 * np.finfo(np.float64).eps
# Where a kink disturbs the differences the step is shortened by these factors, not below 2⁻²⁵:
# there the rounding, 64 ε |f| / h, is 5e-7 |f|. For a network 5-20-1 on 400 rows, 6 of 150 right
# gradients stayed undecided down to 1e-6.
_SHORTER = (1.0, 2.0**-5, 2.0**-10, 2.0**-15)
_SHORTEST = 2.0**-25


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
        Every disagreement is at a kink and lies between the one-sided derivatives: differences
        cannot judge, move the point. A wrong gradient has ``ok`` and ``inconclusive`` both False.
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

    def __bool__(self):
        return self.ok


class _Settings(NamedTuple):
    """How to differentiate and how closely to compare."""

    step: float
    stencil: str
    rtol: float
    floor: float


class _Line(NamedTuple):
    """Outcome on one line, (m,) each: the entries of one column of the Jacobian."""

    analytic: np.ndarray
    numerical: np.ndarray
    error: np.ndarray
    kink: np.ndarray
    left: np.ndarray
    right: np.ndarray
    undecided: np.ndarray


def _point(theta):
    """Return theta as a new float64 array."""
    array = np.asarray(theta)
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize != 8):
        raise TypeError(
            f"theta has dtype {array.dtype}: differences need float64, as in "
            "np.asarray(theta, dtype=np.float64)"
        )
    array = np.array(array, dtype=np.float64)
    if array.size == 0:
        raise ValueError("theta is empty: expected at least one parameter")
    if not np.isfinite(array).all():
        raise ValueError("theta is not finite: expected a point where f can be differentiated")
    return array


def _options(args, step, stencil):
    if not isinstance(args, tuple):
        raise TypeError(f"args is a {type(args).__name__}: expected a tuple, as in args=(X, y)")
    if stencil not in _STENCILS:
        raise ValueError(f"stencil is {stencil!r}: expected one of {', '.join(_STENCILS)}")
    step = _STENCILS[stencil][2] if step is None else step
    _require_positive("step", step)
    return step


def _require_positive(name, value):
    if not 0 < value < np.inf:
        raise ValueError(f"{name} is {value}: expected a positive number")


def _values(f, args, scalar):
    """Wrap f so that it returns float64 values (m,); one only, if `scalar`."""

    def call(theta):
        value = np.asarray(f(theta, *args))
        kind, size = value.dtype.kind, value.dtype.itemsize
        if kind not in "biuf" or (kind == "f" and size < 8):
            raise TypeError(f"f returned dtype {value.dtype}: differences need float64")
        if scalar and value.ndim:
            raise ValueError(
                f"f returned shape {value.shape}: a gradient needs a scalar (); "
                "for arrays there are numerical_jacobian and check_jacobian"
            )
        if value.size == 0:
            raise ValueError(f"f returned no values, shape {value.shape}")
        return value.astype(np.float64).ravel()

    return call


def _slope(line, h, stencil):
    """Derivative of the line at t = 0, and the rounding to be expected in it."""
    terms, divisor, _ = _STENCILS[stencil]
    pairs = [(weight, line(k * h), line(-k * h)) for k, weight in terms]
    with np.errstate(invalid="ignore", over="ignore"):
        slope = sum(weight * (ahead - behind) for weight, ahead, behind in pairs) / (divisor * h)
        size = np.max([np.maximum(abs(ahead), abs(behind)) for _, ahead, behind in pairs], axis=0)
        return slope, _NOISE * size / h


def _one_sided(line, h):
    """Second-order derivatives from the left and from the right, (m,) each."""
    at = line(0.0)
    sides = [(t, line(t), line(2 * t)) for t in (-h, h)]
    with np.errstate(invalid="ignore", over="ignore"):
        return [(4 * near - far - 3 * at) / (2 * t) for t, near, far in sides]


def _coordinate(call, theta, j):
    """Line along coordinate j, in units of max(1, |theta_j|), and that unit."""
    unit = max(1.0, abs(theta.flat[j]))

    def line(t):
        moved = theta.copy()
        moved.flat[j] += t * unit
        return call(moved)

    return line, unit


def _direction(call, theta, v):
    """Line along the direction v, (p,)."""
    v = v.reshape(theta.shape)
    return lambda t: call(theta + t * v)


def numerical_jacobian(f, theta, args=(), *, step=None, stencil="five_point", layout="numerator"):
    """Jacobian ∂f/∂theta by differences (row 5, section 4 of arXiv 1802.01528).

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
    theta, step = _point(theta), _options(args, step, stencil)
    jacobian = _differences(_values(f, args, False), theta, step, stencil)
    return _in_layout(jacobian, layout)


def numerical_gradient(f, theta, args=(), *, step=None, stencil="five_point"):
    """Gradient ∇f by differences (row 4, section 3 of arXiv 1802.01528).

    Parameters and errors are those of `numerical_jacobian`, but f returns a scalar.

    Returns
    -------
    gradient : float64, of theta's shape

    Examples
    --------
    >>> numerical_gradient(lambda t: 3 * t[0]**2 * t[1], [1.0, 2.0]).round(6)
    array([12.,  3.])
    """
    theta, step = _point(theta), _options(args, step, stencil)
    jacobian = _differences(_values(f, args, True), theta, step, stencil)
    return jacobian.reshape(theta.shape)[()]


def _differences(call, theta, step, stencil):
    columns = []
    for j in range(theta.size):
        line, unit = _coordinate(call, theta, j)
        columns.append(_slope(line, step, stencil)[0] / unit)
    return np.stack(columns, axis=1)


def _assess(line, unit, analytic, settings):
    """Compare the analytic derivatives with the differences along one line, (m,) each."""
    step, stencil, rtol, floor = settings
    pending = np.ones(analytic.shape, dtype=bool)
    numerical = error = left = right = np.full(analytic.shape, np.nan)
    for shorter in _SHORTER:
        h = step * shorter
        if h < min(step, _SHORTEST):
            break
        slope, noise = (part / unit for part in _slope(line, h, stencil))
        least = np.maximum(floor, noise / rtol)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = abs(analytic - slope) / np.maximum.reduce([abs(analytic), abs(slope), least])
        numerical, error = np.where(pending, slope, numerical), np.where(pending, gap, error)
        pending &= ~(gap <= rtol)
        if not pending.any():
            break
        left, right = (part / unit for part in _one_sided(line, h))
        halved = _slope(line, h / 2, stencil)[0] / unit
        with np.errstate(invalid="ignore", over="ignore"):
            uneven = np.maximum(abs(left - right), abs(halved - slope))
            size = np.maximum.reduce([abs(left), abs(right), least])
            pending &= ~(uneven <= rtol * size)
    kink = pending & np.isfinite(left) & np.isfinite(right)
    slack = rtol * np.maximum(abs(analytic), least)
    inside = (np.fmin(left, right) - slack <= analytic) & (analytic <= np.fmax(left, right) + slack)
    return _Line(analytic, numerical, error, kink, left, right, kink & inside)


def _assess_entries(call, theta, jacobian, settings):
    """Assess every entry: fields (m, p)."""
    lines = []
    for j in range(theta.size):
        line, unit = _coordinate(call, theta, j)
        lines.append(_assess(line, unit, jacobian[:, j], settings))
    return _Line(*(np.stack(part, axis=1) for part in zip(*lines, strict=True)))


def _assess_directions(call, theta, jacobian, settings, directions, seed):
    """Assess random directions, fields (m, directions); stop at an entry (i, j) that is wrong."""
    rng = np.random.default_rng(seed)
    unit = np.maximum(1.0, abs(theta.ravel())) / np.sqrt(theta.size)
    lines = []
    for _ in range(directions):
        # signs, not normal numbers: every entry has the same weight in every direction
        v = rng.choice([-1.0, 1.0], theta.size) * unit
        line = _direction(call, theta, v)
        lines.append(_assess(line, 1.0, jacobian @ v, settings))
        wrong = ~(lines[-1].error <= settings.rtol) & ~lines[-1].undecided
        if wrong.any():
            i = int(np.argmax(wrong))
            j = _blame(call, theta, jacobian, i, v, settings)
            line, unit = _coordinate(call, theta, j)
            entry = _assess(line, unit, jacobian[:, j], settings)
            if not entry.error[i] <= settings.rtol and not entry.undecided[i]:
                return _Line(*(part[i : i + 1, None] for part in entry)), (i, j)
            break
    return _Line(*(np.stack(part, axis=1) for part in zip(*lines, strict=True))), None


def _blame(call, theta, jacobian, i, v, settings):
    """Halve a direction along which row i disagrees, keeping the worse half, down to one entry."""
    entries = np.arange(v.size)
    while entries.size > 1:
        halves, gaps = np.array_split(entries, 2), []
        for half in halves:
            part = np.zeros_like(v)
            part[half] = v[half]
            line = _direction(call, theta, part)
            outcome = _assess(line, 1.0, jacobian @ part, settings)
            gaps.append(abs(outcome.analytic[i] - outcome.numerical[i]))
        entries = halves[int(np.argmax(gaps))]
    return int(entries[0])


def _functions(fun):
    """Split f_and_grad or (f, grad) into f and grad."""
    if isinstance(fun, tuple) and len(fun) == 2 and callable(fun[0]) and callable(fun[1]):
        return fun
    if not callable(fun):
        raise TypeError(
            "fun must be a callable that returns (value, gradient), or a pair (f, grad) of two"
        )

    def both(theta, *args):
        result = fun(theta, *args)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError("fun must return a tuple of two: the value and its gradient")
        return result

    return (lambda *a: both(*a)[0]), (lambda *a: both(*a)[1])


def _analytic(grad, theta, args, expected):
    """Call the analytic gradient on a copy of theta; return a float64 copy of the result."""
    value = np.asarray(grad(theta.copy(), *args))
    if value.dtype.kind not in "biuf":
        raise TypeError(f"the gradient has dtype {value.dtype}: expected float64")
    if value.shape != expected:
        raise ValueError(
            f"the gradient has shape {value.shape}, expected {expected} for theta of shape "
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


def _judge(lines, entry, place, what, rtol):
    """Turn outcomes (m, lines) into the verdict; what is wrong comes before what is undecided."""
    bad = ~(lines.error <= rtol)
    wrong = bad & ~lines.undecided
    rank = np.where(wrong | ~wrong.any(), np.nan_to_num(lines.error, nan=np.inf), -1.0)
    at = np.unravel_index(int(np.argmax(rank)), rank.shape)
    worst = _Line(*(part[at] for part in lines))
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
        message=_sentence(name, worst, bad, what, rtol, entry is not None),
    )


def _sentence(name, worst, bad, what, rtol, blamed):
    if not bad.any():
        return f"all {bad.size} {what} agree; the worst is {name}, relative error {worst.error:.3g}"
    found = f"{np.count_nonzero(bad)} of {bad.size} {what} disagree"
    if blamed:
        found = "found along a random direction that disagrees"
    numbers = (
        f"analytic {worst.analytic:.10g}, numerical {worst.numerical:.10g}, relative error "
        f"{worst.error:.3g} > {rtol:g} ({found})"
    )
    sides = f"derivative {worst.left:.10g} from the left, {worst.right:.10g} from the right"
    if not np.isfinite(worst.numerical):
        return f"{name} cannot be judged: {numbers}; f is not finite around theta"
    if not worst.kink:
        return f"{name} is wrong: {numbers}; f is smooth there, theta is not at a kink"
    if worst.undecided:
        return (
            f"{name} cannot be judged: {numbers}; theta is at a kink ({sides}) and the analytic "
            "value lies between, so it may be right: move theta off the kink"
        )
    return f"{name} is wrong: {numbers}; theta is at a kink ({sides}), but it does not lie between"


def _check(fun, theta, args, scalar, layout, names, full_limit, directions, seed, **comparison):
    theta, settings = _point(theta), _Settings(**comparison)
    settings = settings._replace(step=_options(args, settings.step, settings.stencil))
    _require_positive("rtol", settings.rtol)
    _require_positive("floor", settings.floor)
    _require_positive("directions", directions)
    place = _places(theta, names, scalar)
    f, grad = _functions(fun)
    call = _values(f, args, scalar)
    rows = call(theta.copy()).size
    expected = theta.shape if scalar else _in_layout(np.empty((rows, theta.size)), layout).shape
    first, second = (_analytic(grad, theta, args, expected) for _ in range(2))
    if scalar:
        first, second = first.reshape(1, -1), second.reshape(1, -1)
    first, second = _in_layout(first, layout), _in_layout(second, layout)
    defect = _defect(first, second, place)
    if defect is not None:
        return defect
    if theta.size <= full_limit:
        lines = _assess_entries(call, theta, first, settings)
        return _judge(lines, None, place, "entries", settings.rtol)
    lines, entry = _assess_directions(call, theta, first, settings, directions, seed)
    return _judge(lines, entry, place, "random directions", settings.rtol)


def check_gradient(
    fun,
    theta,
    args=(),
    *,
    rtol=1e-6,
    floor=1e-6,
    step=None,
    stencil="five_point",
    names=None,
    full_limit=200,
    directions=20,
    seed=0,
):
    """Judge an analytic gradient entry by entry: |a − n| ≤ rtol · max(|a|, |n|, floor).

    a is the analytic and n the numerical derivative (row 4, section 3 of arXiv 1802.01528). No
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


def check_jacobian(fun, theta, args=(), *, layout="numerator", **options):
    """Judge an analytic Jacobian entry by entry (row 5, section 4 of arXiv 1802.01528).

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
    options = check_gradient.__kwdefaults__ | options
    return _check(fun, theta, args, False, layout, **options)


def assert_gradient(fun, theta, args=(), **options):
    """Raise an AssertionError with the verdict's sentence, unless `check_gradient` passes.

    Parameters and other errors are those of `check_gradient`; returns its result.

    >>> assert_gradient((lambda t: t @ t, lambda t: 2 * t), [1.0, 2.0]).ok
    True
    """
    return _assert(check_gradient(fun, theta, args, **options))


def assert_jacobian(fun, theta, args=(), **options):
    """Raise an AssertionError with the verdict's sentence, unless `check_jacobian` passes.

    Parameters and other errors are those of `check_jacobian`; returns its result.

    >>> assert_jacobian((lambda t: 2 * t, lambda t: [[2.0, 0.0], [0.0, 2.0]]), [1.0, 2.0]).ok
    True
    """
    return _assert(check_jacobian(fun, theta, args, **options))


def _assert(result):
    if not result.ok:
        raise AssertionError(result.message)
    return result
