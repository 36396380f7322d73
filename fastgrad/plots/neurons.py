"""One neuron: its loss over its two parameters, and which samples it is active on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core import check
from ..dense import affine, affine_relu
from ..neuron import neuron_loss_and_grad
from ..optimizers import SGD
from ..typing import Numbers, Scalar
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _inputs(X, y=None):
    X = style.finite(X, "X", 1, 2)
    X = X.reshape(len(X), -1)
    if y is None:
        return X, None
    y = style.finite(y, "y", 1)
    if len(y) != len(X):
        raise ValueError(f"y has {len(y)} rows, X has {len(X)}")
    return X, y


def descent_path(
    X: Numbers, y: Numbers, start: Numbers, *, lr: float = 0.1, steps: int = 50
) -> NDArray[np.float64]:
    """The parameters of a neuron in gradient descent (formulas 18 to 21).

    Parameters
    ----------
    X : array (n, d) or (n,)
    y : array (n,)
    start : d + 1 numbers
        The weights and then the bias.
    lr : float
    steps : int

    Returns
    -------
    path : ndarray (steps + 1, d + 1)
        The start, and the parameters after each step.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.plots.descent_path([1.0, 2.0], [2.0, 4.0], [1.0, 0.0], steps=1)
    array([[1. , 0. ],
           [1.5, 0.3]])
    """
    X, y = _inputs(X, y)
    theta = style.finite(start, "start", 1)
    if theta.shape != (X.shape[1] + 1,):
        raise ValueError(f"start has shape {theta.shape}; expected ({X.shape[1] + 1},): w, then b")
    steps, optimizer = check.integer(steps, "steps", least=0), SGD(lr)
    path = np.empty((steps + 1, theta.size))
    path[0] = theta
    for step in range(1, steps + 1):
        _, gw, gb = neuron_loss_and_grad(theta[:-1], float(theta[-1]), X, y)
        optimizer.step(theta, np.append(gw, gb))
        path[step] = theta
    return path


def loss_surface(
    X: Numbers,
    y: Numbers,
    *,
    start: Numbers | None = None,
    lr: float = 0.1,
    steps: int = 50,
    w: tuple[float, float] | None = None,
    b: tuple[float, float] | None = None,
    resolution: int = 121,
    ax: Axes | None = None,
) -> Axes:
    """The loss of a neuron with one weight over w and b, with its gradient.

    Colours and lines are the loss C (formula 18), arrows the direction of steepest descent
    (formulas 19 and 20; all of one length). The dotted lines w x_i + b = 0 bound the regions in
    which the active rows stay the same: within one C is quadratic.

    Parameters
    ----------
    X : array (n, 1) or (n,)
    y : array (n,)
    start : (w, b), optional
        Where gradient descent begins; its path is drawn.
    lr : float
    steps : int
        Of the descent.
    w, b : (low, high), optional
        What is shown; without, the path and the least-squares line of y over x with a margin.
    resolution : int
        Values along each axis.
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
    >>> import fastgrad as fg
    >>> ax = fg.plots.loss_surface([-1.0, 0.5, 2.0], [0.0, 1.0, 3.0], start=(-0.5, 2.0))
    >>> ax.get_xlabel()
    'w'
    """
    X, y = _inputs(X, y)
    if X.shape[1] != 1:
        raise ValueError(f"X has {X.shape[1]} columns; expected one: a neuron with one weight")
    path = None if start is None else descent_path(X, y, start, lr=lr, steps=steps)
    around = [np.polyfit(X[:, 0], y, 1)] if np.ptp(X) > 0 else [[0.0, y.mean()]]
    around = np.vstack(around if path is None else [around, path])
    limits = [
        _around(around[:, i]) if given is None else style.interval(given, name)
        for i, (given, name) in enumerate(((w, "w"), (b, "b")))
    ]
    resolution, ax = check.integer(resolution, "resolution", least=2), style.axes(ax)
    ws, bs = (np.linspace(*limit, resolution) for limit in limits)
    C = np.array([[_value(X, y, w, b) for w in ws] for b in bs])
    _shade(ax, ws, bs, C)
    _arrows(ax, X, y, *limits)
    for x in np.unique(X[X != 0]):
        ends = [-bs[0] / x, -bs[-1] / x]
        ax.plot(ends, bs[[0, -1]], ":", color="white", linewidth=0.8, alpha=0.6)
    if path is not None:
        ax.plot(*path.T, "-o", color=style.ORANGE, markersize=3, label="gradient descent")
        ax.plot(*path[0], "s", color="white", markeredgecolor="black", label="start")
        ax.plot(*path[-1], "*", color="white", markeredgecolor="black", markersize=13, label="end")
        style.legend(ax)
    ax.set(xlabel="w", ylabel="b", xlim=limits[0], ylim=limits[1], title="loss of one neuron")
    return ax


def _around(values):
    margin = max(np.ptp(values) / 3, 1.0)
    return values.min() - margin, values.max() + margin


def _value(X, y, w, b):
    return neuron_loss_and_grad(np.array([w]), float(b), X, y)[0]


def _shade(ax, ws, bs, C):
    from matplotlib.colors import PowerNorm

    mesh = ax.pcolormesh(  # as triangles an SVG of it has 94 MB
        ws, bs, C, shading="gouraud", cmap=style.MAP, norm=PowerNorm(0.5, C.min(), C.max()),
        rasterized=True,
    )  # fmt: skip
    ax.figure.colorbar(mesh, ax=ax, label="C")
    if C.max() > C.min():
        levels = C.min() + (C.max() - C.min()) * np.linspace(0, 1, 12)[1:-1] ** 2
        ax.contour(ws, bs, C, levels=levels, colors="white", linewidths=0.5, alpha=0.6)


def _arrows(ax, X, y, w_limits, b_limits):
    """Minus the gradient, of unit length as the axes show it; none where it is 0."""
    ws, bs = (np.linspace(*limit, 15)[1:-1] for limit in (w_limits, b_limits))
    places = np.array([(w, b) for b in bs for w in ws])
    grads = [neuron_loss_and_grad(np.array([w]), float(b), X, y)[1:] for w, b in places]
    down = -np.array([(gw[0], gb) for gw, gb in grads])
    size = np.hypot(*(down / [np.ptp(w_limits), np.ptp(b_limits)]).T)
    moves = size > 0
    down = down[moves] / size[moves, None]
    ax.quiver(
        *places[moves].T, *down.T, color="white", alpha=0.8, angles="xy", scale_units="xy",
        scale=22, width=0.003,
    )  # fmt: skip


def active_rows(
    w: Numbers | Scalar,
    b: Scalar,
    X: Numbers,
    y: Numbers | None = None,
    *,
    after: tuple[Any, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Which samples a neuron is active on, and which ones change when its parameters move.

    With one input x, y and the activation max(0, w x + b) are shown over x; with two, the plane and
    the line w·x + b = 0. Filled circles are active, open ones inactive (they add nothing to the
    gradient); with `after`, rings are rows whose mask changes.

    Parameters
    ----------
    w : array (1,) or (2,), or one number
    b : float
    X : array (n, 1), (n, 2) or (n,)
    y : array (n,), optional
        For one input, in the place of the activations.
    after : (w, b), optional
        The parameters after a step.
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
    >>> import fastgrad as fg
    >>> ax = fg.plots.active_rows(1.0, -1.0, [0.0, 2.0, 3.0], after=(1.0, -2.5))
    >>> ax.get_title()
    '2 of 3 rows active, then 1'
    """
    X, y = _inputs(X, y)
    if X.shape[1] > 2:
        raise ValueError(f"X has {X.shape[1]} columns; expected one or two")
    w, b = _parameters(w, b, X, "w", "b")
    a, mask = affine_relu(X, w, b)
    after = None if after is None else _pair(after, X)
    moved = mask if after is None else affine_relu(X, *after)[1]
    ax, one = style.axes(ax), X.shape[1] == 1
    points = np.column_stack([X[:, 0], (a if y is None else y) if one else X[:, 1]])
    draw = _curve if one else _line
    draw(ax, X, w, b, "-", "before" if after is not None else "w·x + b = 0" if not one else None)
    if after is not None:
        draw(ax, X, *after, "--", "after")
    ax.plot(*points[mask].T, "o", color=style.BLUE, label="active")
    ax.plot(*points[~mask].T, "o", color=style.RED, markerfacecolor="none", label="inactive")
    if after is not None:
        ax.plot(
            *points[mask != moved].T, "o", color=style.GREEN, markersize=13,
            markerfacecolor="none", markeredgewidth=2, label="changes",
        )  # fmt: skip
    title = f"{np.count_nonzero(mask)} of {len(mask)} rows active"
    title += "" if after is None else f", then {np.count_nonzero(moved)}"
    names = ("x", "max(0, w x + b)" if y is None else "y") if one else ("x₁", "x₂")
    ax.set(xlabel=names[0], ylabel=names[1], title=title)
    style.legend(ax)
    return ax


def _pair(after, X):
    if not isinstance(after, tuple) or len(after) != 2:
        raise TypeError(f"after is {after!r}; expected a pair (w, b)")
    return _parameters(*after, X, "after[0]", "after[1]")


def _parameters(w, b, X, w_name, b_name):
    w = np.atleast_1d(style.finite(w, w_name, 0, 1))
    if w.shape != (X.shape[1],):
        raise ValueError(f"{w_name} has shape {w.shape}; expected ({X.shape[1]},)")
    return w, float(style.finite(b, b_name, 0))


def _curve(ax, X, w, b, dash, label):
    """The activation over one input."""
    low, high = _around(X[:, 0])
    x = np.unique(np.append(np.linspace(low, high, 201), -b / w[0] if w[0] else low))
    x = x[(x >= low) & (x <= high)]
    ax.plot(x, affine_relu(x[:, None], w, b)[0], dash, color="black", linewidth=1, label=label)


def _line(ax, X, w, b, dash, label):
    """Where w·x + b is 0 in the plane, and the active side of it, shaded."""
    (left, right), (low, high) = _around(X[:, 0]), _around(X[:, 1])
    across, along = np.meshgrid(np.linspace(left, right, 101), np.linspace(low, high, 101))
    z = affine(np.column_stack([across.ravel(), along.ravel()]), w, b).reshape(across.shape)
    if z.min() < 0 < z.max():
        ax.contour(across, along, z, levels=[0], colors="black", linewidths=1, linestyles=dash)
        if label:
            ax.plot([], [], dash, color="black", linewidth=1, label=label)
    if dash == "-" and z.max() > 0:
        ax.contourf(across, along, z, levels=[0, z.max()], colors=[style.SKY], alpha=0.15)


def mask_history(path: Numbers, X: Numbers, *, ax: Axes | None = None) -> Axes:
    """The mask of each sample along a path of parameters: dark where the neuron is active.

    Parameters
    ----------
    path : array (steps, d + 1)
        Weights and then the bias, a row a step, as `descent_path` returns them.
    X : array (n, d) or (n,)
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
    >>> import fastgrad as fg
    >>> ax = fg.plots.mask_history([[1.0, 0.0], [1.0, -1.5]], [-1.0, 1.0, 2.0])
    >>> ax.get_ylabel()
    'row'
    """
    X, _ = _inputs(X)
    path = style.finite(path, "path", 2)
    if path.shape[1] != X.shape[1] + 1:
        raise ValueError(f"path has shape {path.shape}; expected (steps, {X.shape[1] + 1})")
    masks = np.stack([affine_relu(X, theta[:-1], float(theta[-1]))[1] for theta in path], axis=1)
    ax = style.axes(ax)
    from matplotlib.colors import ListedColormap

    ax.imshow(
        masks, cmap=ListedColormap(["#E8E8E8", style.BLUE]), vmin=0, vmax=1, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    changes = np.count_nonzero(masks[:, 1:] != masks[:, :-1])
    ax.set(xlabel="step", ylabel="row", title=f"active (dark) rows; {changes} changes")
    ax.yaxis.get_major_locator().set_params(integer=True)
    return ax
