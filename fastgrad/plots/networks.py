"""A network: its linear regions in the plane, and the gradient of each layer in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core import check
from .._core.calls import checked_network
from ..dense import affine
from ..explain.networks import activation_of
from ..history import GradientNorms, History
from ..network import MLP
from ..typing import Numbers
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PIECEWISE = ("relu", "leaky_relu", "identity")


def linear_regions(
    net: MLP[Any],
    theta: Numbers,
    *,
    x: tuple[float, float] = (-1.0, 1.0),
    y: tuple[float, float] = (-1.0, 1.0),
    X: Numbers | None = None,
    labels: Numbers | None = None,
    output: int = 0,
    resolution: int = 201,
    ax: Axes | None = None,
) -> Axes:
    """Where a ReLU network of two inputs is one affine function.

    White lines are the kinks, z = 0 of each hidden neuron: between them the mask of every layer
    stays the same, so the network is affine there. Colours are one output.

    Parameters
    ----------
    net : MLP
        Two inputs; hidden layers "relu" or "leaky_relu".
    theta : array (p,)
    x, y : (low, high)
        What is shown of the first and the second input.
    X : array (n, 2), optional
        Samples to show.
    labels : array (n,) of int, optional
        Their classes: a marker each.
    output : int
        Which output is coloured.
    resolution : int
        Values along each axis.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
        Its title counts the regions that the grid of values meets.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    ImportError
        If matplotlib is missing: ``pip install "fastgrad[plot]"``.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP([2, 3, 1])
    >>> fg.plots.linear_regions(net, net.init(seed=0)).get_title()
    '6 linear regions'
    """
    checked_network(net)
    if net.n_inputs != 2:
        raise ValueError(f"net has {net.n_inputs} inputs; expected 2: a plane")
    if net.activation not in _PIECEWISE:
        raise ValueError(
            f"net has the activation {net.activation!r}; expected 'relu' or 'leaky_relu'"
        )
    output = check.integer(output, "output", least=0)
    if output >= net.n_outputs:
        raise ValueError(f"output is {output}; expected below {net.n_outputs}, the outputs of net")
    theta = style.finite(theta, "theta", 1).astype(net.dtype)
    X, labels = _samples(X, labels)
    resolution = check.integer(resolution, "resolution", least=2)
    limits = (style.interval(x, "x"), style.interval(y, "y"))
    xs, ys = (np.linspace(*limit, resolution) for limit in limits)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(net.dtype)
    values = net.predict(theta, points)[:, output]
    kinks = hidden_outputs(net, theta, points)
    ax = style.axes(ax)
    grid = (resolution, resolution)
    mesh = ax.pcolormesh(xs, ys, values.reshape(grid), shading="gouraud", cmap=style.MAP)
    ax.figure.colorbar(mesh, ax=ax, label=f"output {output}" if net.n_outputs > 1 else "output")
    for z in kinks.T:
        if z.min() < 0 < z.max():
            ax.contour(xs, ys, z.reshape(grid), levels=[0], colors="white", linewidths=0.7)
    if X is not None:
        _points(ax, X, labels)
    found = len(np.unique(kinks > 0, axis=0))
    title = f"{found} linear region{'s' * (found != 1)}"
    ax.set(xlabel="x₁", ylabel="x₂", title=title, xlim=xs[[0, -1]], ylim=ys[[0, -1]])
    return ax


def hidden_outputs(net: MLP[Any], theta: Any, points: NDArray[Any]) -> NDArray[Any]:
    """Z of all hidden neurons side by side, (n, neurons)."""
    A, found = points, [np.empty((len(points), 0), points.dtype)]
    for W, b in net.unflatten(theta)[:-1]:
        found.append(affine(A, W, b))
        A = activation_of(net.activation, found[-1].astype(np.float64)).astype(net.dtype)
    return np.hstack(found)


def _samples(X, labels):
    if X is None:
        if labels is not None:
            raise ValueError("labels are given without X; expected the samples too")
        return None, None
    X = style.finite(X, "X", 2)
    if X.shape[1] != 2:
        raise ValueError(f"X has {X.shape[1]} columns; expected two")
    labels = np.zeros(len(X), int) if labels is None else np.asarray(labels).ravel()
    if len(labels) != len(X):
        raise ValueError(f"labels has {len(labels)} rows, X has {len(X)}")
    return X, labels


def _points(ax, X, labels):
    classes = np.unique(labels)
    for place, label in enumerate(classes):
        ax.plot(
            *X[labels == label].T, "osD^v"[place % 5], color=("white", *style.CYCLE)[place % 7],
            markeredgecolor="black", markersize=5, label=str(label),
        )  # fmt: skip
    if len(classes) > 1:
        style.legend(ax, title="class")


def gradient_norms(norms: GradientNorms | History, *, ax: Axes | None = None) -> Axes:
    """The norm of each layer's gradient over the epochs of training.

    Parameters
    ----------
    norms : GradientNorms or History
        A `fastgrad.GradientNorms` that was a callback of `fit`, or its history.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        If `norms` is something else, or has no epoch.
    ImportError
        If matplotlib is missing: ``pip install "fastgrad[plot]"``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net, X, y = fg.MLP([1, 4, 1]), np.ones((8, 1)), np.ones(8)
    >>> norms = fg.GradientNorms(net, X, y)
    >>> result = fg.fit(net, X, y, epochs=3, seed=0, callbacks=norms)
    >>> fg.plots.gradient_norms(norms).get_ylabel()
    'norm of the gradient'
    """
    history = norms.history if isinstance(norms, GradientNorms) else norms
    if not isinstance(history, History):
        raise TypeError(f"norms is a {type(norms).__name__}; expected GradientNorms or a History")
    if not len(history):
        raise ValueError("norms has no epoch; expected it among the callbacks of fit")
    ax, epochs = style.axes(ax), np.arange(1, len(history) + 1)
    every = max(len(history) // 20, 1)
    for place, name in enumerate(history.columns):
        ax.plot(
            epochs, history[name], style.DASHES[place % 4], marker="osD^"[place % 4],
            markersize=4, markevery=every, color=style.CYCLE[place % 6],
            label=name.replace("_", " "),
        )  # fmt: skip
    ax.set(xlabel="epoch", ylabel="norm of the gradient", yscale="log")
    ax.grid(alpha=0.3)
    style.legend(ax)
    return ax
