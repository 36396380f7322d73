"""Networks on one flat vector: loss and gradient, and activations (formulas 24 and 28)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .layers import affine, relu_mask, select
from .losses import LOSSES, sigmoid

Array: TypeAlias = NDArray[Any]


def unflatten(theta: Array, layer_sizes: Sequence[int]) -> list[tuple[Array, Array]]:
    """Views of each layer's ``W (d, k)`` (C order) and ``b (k,)`` in a flat vector ``theta (p,)``.

    Layer by layer: first W, then b. Writing to a view writes to `theta`.

    Examples
    --------
    >>> [(W.shape, b.shape) for W, b in unflatten(np.zeros(17), [2, 3, 2])]
    [((2, 3), (3,)), ((3, 2), (2,))]
    """
    layers, start = [], 0
    for d, k in pairwise(layer_sizes):
        mid, end = start + d * k, start + d * k + k
        layers.append((theta[start:mid].reshape(d, k), theta[mid:end]))
        start = end
    return layers


def _relu_in_place(Z):
    return np.maximum(Z, 0, out=Z)


def _relu_back(delta, A):
    return select(delta, relu_mask(A))


# By name: the activation of Z, in its place, and d loss / d A times the slope, known from A, in its
# place (formula 28).
ACTIVATIONS: dict[str, Any] = {
    "identity": (lambda Z: Z, lambda delta, A: delta),
    "relu": (_relu_in_place, _relu_back),
    "tanh": (lambda Z: np.tanh(Z, out=Z), lambda delta, A: delta * (1 - A * A)),
    "sigmoid": (lambda Z: sigmoid(Z), lambda delta, A: delta * A * (1 - A)),
    "softplus": (lambda Z: np.logaddexp(Z, 0), lambda delta, A: delta * -np.expm1(-A)),
    "leaky_relu": (
        lambda Z: np.where(Z <= 0, Z.dtype.type(0.01) * Z, Z),
        lambda delta, A: delta * np.where(A <= 0, A.dtype.type(0.01), A.dtype.type(1)),
    ),
}


def mlp_forward(
    theta: Array,
    X: Array,
    layer_sizes: Sequence[int],
    output_activation: str = "identity",
    activation: str = "relu",
) -> list[Array]:
    """Activations of every layer, ``[X, A_1, ..., out]`` (formula 24).

    Parameters
    ----------
    theta : ndarray (p,), as `unflatten` reads it
    X : ndarray (n, d)
    layer_sizes : sequence of int, ``[d, ..., k]``
    output_activation : "identity" or "relu"
    activation : str, of the hidden layers, a key of `ACTIVATIONS`

    Examples
    --------
    >>> theta = np.array([1.0, -1.0, 0.0, 0.0, 2.0, 3.0, 0.5])
    >>> [A.tolist() for A in mlp_forward(theta, np.array([[2.0]]), [1, 2, 1])]
    [[[2.0]], [[2.0, 0.0]], [[4.5]]]
    """
    layers = unflatten(theta, layer_sizes)
    activations = [X]
    for i, (W, b) in enumerate(layers):
        name = activation if i < len(layers) - 1 else output_activation
        activations.append(ACTIVATIONS[name][0](affine(activations[-1], W, b)))
    return activations


def mlp_loss_and_grad(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    output_activation: str = "identity",
    l2: float = 0.0,
    sample_weight: Array | None = None,
    huber_delta: float = 1.0,
    activation: str = "relu",
    **parameters: Any,
) -> tuple[float, Array]:
    """Loss of a network and its gradient by all parameters (formula 24).

    The loss is normalised as its function in `LOSSES` says, plus ``l2/2 · ‖weights‖²``; biases are
    not penalised.

    Parameters
    ----------
    theta, X, layer_sizes, output_activation, activation : as in `mlp_forward`
    y : targets or labels, as the loss takes them
    loss : str, a key of `LOSSES`
    l2 : float
    sample_weight : ndarray (n,), optional
    huber_delta, **parameters : of the loss, those that it has

    Returns
    -------
    loss : float
    grad : ndarray (p,), fresh, laid out as theta

    Examples
    --------
    >>> theta = np.array([1.0, -1.0, 0.0, 0.0, 2.0, 3.0, 0.5])
    >>> value, grad = mlp_loss_and_grad(theta, np.array([[2.0]]), np.array([3.5]), [1, 2, 1], "mse")
    >>> value, grad.tolist()
    (1.0, [8.0, 0.0, 4.0, 0.0, 4.0, 0.0, 2.0])
    """
    activations = mlp_forward(theta, X, layer_sizes, output_activation, activation)
    value, delta = output_delta(
        activations[-1], y, loss, sample_weight, {"huber_delta": huber_delta, **parameters}
    )
    grad = np.empty_like(theta)
    _backward(theta, layer_sizes, activations, delta, output_activation, activation, grad)
    if l2:
        pairs = zip(unflatten(theta, layer_sizes), unflatten(grad, layer_sizes), strict=True)
        for (W, _), (gW, _) in pairs:
            value += 0.5 * float(l2) * float(np.vdot(W, W))
            gW += float(l2) * W
    return value, grad


def mlp_grad_input(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    output_activation: str = "identity",
    l2: float = 0.0,
    sample_weight: Array | None = None,
    huber_delta: float = 1.0,
    activation: str = "relu",
    **parameters: Any,
) -> Array:
    """Gradient of a network's loss by its input, ``(n, d)``, fresh (formulas 23 and 24).

    Parameters are those of `mlp_loss_and_grad`; `l2` is taken for symmetry and changes nothing,
    as the penalty does not depend on X.

    Examples
    --------
    >>> theta = np.array([1.0, -1.0, 0.0, 0.0, 2.0, 3.0, 0.5])
    >>> mlp_grad_input(theta, np.array([[2.0]]), np.array([3.5]), [1, 2, 1], "mse")
    array([[4.]])
    """
    activations = mlp_forward(theta, X, layer_sizes, output_activation, activation)
    _, delta = output_delta(
        activations[-1], y, loss, sample_weight, {"huber_delta": huber_delta, **parameters}
    )
    return _backward(theta, layer_sizes, activations, delta, output_activation, activation, None)


def output_delta(out, y, loss, sample_weight, parameters):
    """A loss takes those of the parameters that it has."""
    known = inspect.signature(LOSSES[loss]).parameters
    own = {name: value for name, value in parameters.items() if name in known}
    return LOSSES[loss](out, y, sample_weight, **own)


def _backward(theta, layer_sizes, activations, delta, output_activation, activation, grad):
    """Fill `grad` layer by layer (formula 23), or without one return the derivative by X."""
    layers = unflatten(theta, layer_sizes)
    grads = None if grad is None else unflatten(grad, layer_sizes)
    ones = np.ones(len(delta), delta.dtype)
    delta = ACTIVATIONS[output_activation][1](delta, activations[-1])
    for i in reversed(range(len(layers))):
        if grads is not None:
            np.matmul(activations[i].T, delta, out=grads[i][0])
            np.matmul(ones, delta, out=grads[i][1])
        if i > 0 or grads is None:
            delta = delta @ layers[i][0].T
        if i > 0:
            delta = ACTIVATIONS[activation][1](delta, activations[i])
    return delta
