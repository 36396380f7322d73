"""The NumPy twins of `fastgrad.per_sample`, as `reference.py` has those of everything else.

Each forms the gradients of the samples, or the Jacobian of the outputs, and does with them what
its name says: formula 31 for the gradients, 32 for the clipped mean, 33 for the inner products.
Notation and conventions are those of `reference.py`; gradients are of the samples' own losses, not
divided by n, times the sample's weight if there are weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core.names import list_public
from .reference import ACTIVATIONS, mlp_forward, mlp_loss_and_grad, unflatten
from .reference.networks import output_delta

__all__ = [
    "clipped_loss_and_grad",
    "grad_norms",
    "grads",
    "gram",
    "jacobian",
    "ntk",
]
list_public(globals())

Array: TypeAlias = NDArray[Any]


def _rows(theta, layer_sizes, activations, delta, output_activation, activation):
    """(n, p): of row i the gradient by theta of ``sum(delta[i] * outputs[i])``."""
    layers = unflatten(theta, layer_sizes)
    parts = []
    delta = ACTIVATIONS[output_activation][1](delta.copy(), activations[-1])
    for i in reversed(range(len(layers))):
        A = activations[i]
        parts += [delta, (A[:, :, None] * delta[:, None, :]).reshape(len(A), -1)]
        if i > 0:
            delta = ACTIVATIONS[activation][1](delta @ layers[i][0].T, A)
    return np.concatenate(parts[::-1], axis=1)


def grads(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    output_activation: str = "identity",
    sample_weight: Array | None = None,
    activation: str = "relu",
    **parameters: Any,
) -> Array:
    """The gradient of each sample's loss, ``dW_i = a_i delta_iᵀ, db_i = delta_i`` (formula 31).

    Parameters are those of `reference.mlp_loss_and_grad`.

    Returns
    -------
    grads : ndarray (n, p)

    Examples
    --------
    >>> X, y = np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> grads(np.array([2.0, 1.0]), X, y, [1, 1], "mse").tolist()
    [[6.0, 6.0], [-12.0, -4.0]]
    """
    activations = mlp_forward(theta, X, layer_sizes, output_activation, activation)
    _, delta = output_delta(activations[-1], y, loss, sample_weight, parameters)
    delta *= len(X) if sample_weight is None else sample_weight.sum()
    return _rows(theta, layer_sizes, activations, delta, output_activation, activation)


def grad_norms(*args: Any, **options: Any) -> Array:
    """The Euclidean norm of each row of `grads`, whose parameters it takes (formula 31).

    Examples
    --------
    >>> X, y = np.array([[0.0], [2.0]]), np.array([0.0, 9.0])
    >>> grad_norms(np.array([2.0, 1.0]), X, y, [1, 1], "mse").round(3).tolist()
    [2.0, 17.889]
    """
    return np.linalg.norm(grads(*args, **options), axis=1)


def clipped_loss_and_grad(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    max_norm: float,
    *,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    **options: Any,
) -> tuple[float, Array]:
    """The loss, and the mean of the rows of `grads` each clipped to `max_norm` (formula 32).

    ``(1/n) Σ min(1, C/‖g_i‖) g_i``, with weights ``1/Σ s_i``; the penalty is not clipped.
    Parameters are those of `reference.mlp_loss_and_grad`.

    Examples
    --------
    >>> X, y = np.array([[0.0], [3.0]]), np.array([0.5, 9.0])
    >>> theta = np.array([2.0, 1.0])
    >>> loss, grad = clipped_loss_and_grad(theta, X, y, [1, 1], "mse", 1.0)
    >>> loss, grad.round(3).tolist()
    (2.125, [-0.474, 0.342])
    """
    own = {"sample_weight": sample_weight, **options}
    value, whole = mlp_loss_and_grad(theta, X, y, layer_sizes, loss, l2=l2, **own)
    _, plain = mlp_loss_and_grad(theta, X, y, layer_sizes, loss, **own)
    rows = grads(theta, X, y, layer_sizes, loss, **own)
    norms = np.linalg.norm(rows, axis=1)
    factors = np.divide(max_norm, norms, out=np.ones_like(norms), where=norms > max_norm)
    total = len(X) if sample_weight is None else sample_weight.sum()
    return value, factors @ rows / total + (whole - plain)


def gram(first: Array, second: Array) -> Array:
    """Inner products of the rows of two results of `grads` (formula 33).

    Examples
    --------
    >>> gram(np.array([[6.0, 6.0], [-12.0, -4.0]]), np.array([[6.0, 6.0]])).tolist()
    [[72.0], [-96.0]]
    """
    return first @ second.T


def jacobian(
    theta: Array,
    X: Array,
    layer_sizes: Sequence[int],
    output_activation: str = "identity",
    activation: str = "relu",
) -> Array:
    """The derivative of each output of each sample by theta, ``(n, k, p)``.

    Examples
    --------
    >>> jacobian(np.zeros(4), np.array([[3.0]]), [1, 2])[0].tolist()
    [[3.0, 0.0, 1.0, 0.0], [0.0, 3.0, 0.0, 1.0]]
    """
    activations = mlp_forward(theta, X, layer_sizes, output_activation, activation)
    out = activations[-1]
    by_output = []
    for j in range(out.shape[1]):
        delta = np.zeros_like(out)
        delta[:, j] = 1
        by_output.append(
            _rows(theta, layer_sizes, activations, delta, output_activation, activation)
        )
    return np.stack(by_output, axis=1)


def ntk(first: Array, second: Array) -> Array:
    """Inner products of the rows of two Jacobians, ``(n, n2, k, k)`` (formula 33).

    Examples
    --------
    >>> J = jacobian(np.zeros(4), np.array([[1.0], [3.0]]), [1, 2])
    >>> ntk(J, J)[0, 1].tolist()
    [[4.0, 0.0], [0.0, 4.0]]
    """
    return np.einsum("icp,jep->ijce", first, second)
