"""Numerical derivatives: how wrong they are, over the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..differences import numerical_gradient
from ..gradcheck import Functions, _functions
from ..typing import Numbers, Values
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STENCILS = (("five_point", 1e-3, style.BLUE, "o-"), ("central", 1e-5, style.ORANGE, "s--"))


def gradient_check(
    fun: Functions,
    theta: Values[np.float64],
    args: tuple[Any, ...] = (),
    *,
    steps: Numbers | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The largest relative error of the numerical gradient over the step, for both stencils.

    To the right differences are too long for the curvature (slopes of 4 and 2), to the left the
    rounding of f, divided by the step, takes over; dotted lines are the default steps. A curve that
    stays high at every step tells of a wrong gradient.

    Parameters
    ----------
    fun, theta, args
        As `fastgrad.check_gradient` takes them.
    steps : array of float, optional
        Above 0; 1e-12 to 1 otherwise.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    ImportError
        If matplotlib is missing: ``pip install "fastgrad[plot]"``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> ax = fg.plots.gradient_check((lambda t: np.sin(t).sum(), np.cos), np.ones(3))
    >>> ax.get_xscale(), ax.get_yscale()
    ('log', 'log')
    """
    f, grad = _functions(fun)
    theta = style.finite(theta, "theta", 0, 1, 2)
    steps = np.logspace(-12, 0, 49) if steps is None else style.finite(steps, "steps", 1)
    if (steps <= 0).any():
        raise ValueError(f"steps has {steps.min():g}; expected numbers above 0")
    analytic = style.finite(grad(theta.copy(), *args), "the gradient", 0, 1, 2)
    if analytic.shape != theta.shape:
        raise ValueError(f"the gradient has shape {analytic.shape}; expected {theta.shape}")
    ax = style.axes(ax)
    for stencil, default, color, line in _STENCILS:
        errors = [
            _error(analytic, numerical_gradient(f, theta, args, step=step, stencil=stencil))
            for step in steps
        ]
        ax.plot(steps, errors, line, color=color, markersize=3, label=stencil.replace("_", " "))
        ax.axvline(default, linestyle=":", color=color)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel="largest relative error")
    ax.grid(alpha=0.3)
    style.legend(ax)
    return ax


def _error(analytic, numerical) -> float:
    """max |a − n| / max(|a|, |n|, 1e-6); at least 1e-17, which a logarithm can show."""
    size = np.maximum(np.maximum(abs(analytic), abs(numerical)), 1e-6)
    return float(np.max(abs(analytic - numerical) / size).clip(1e-17))
