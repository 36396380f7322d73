"""The NumPy twins of `fastgrad.jacobians` and `fastgrad.curvature`: the oracle of their tests.

Written by hand from the formulas, as `fastgrad.reference`, whose conventions these functions keep;
second derivatives of activations are of the pre-activation z, not of the output. At a kink a second
derivative is 0. `options` are `output_activation` and `activation`; with a loss also `l2`,
`sample_weight`, `huber_delta` and the like. Formulas 30 and 34 to 37.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import reference as ref
from ._core.names import list_public

__all__ = [
    "SLOPES",
    "mlp_ggn",
    "mlp_ggn_vp",
    "mlp_hvp",
    "mlp_jacobian",
    "mlp_jvp",
    "mlp_kfac_factors",
    "mlp_vjp",
    "output_hessian",
]
list_public(globals())

Array: TypeAlias = NDArray[Any]

# f'(z) and f''(z) of each activation.
SLOPES: dict[str, Any] = {
    "identity": (np.ones_like, np.zeros_like),
    "relu": (lambda z: 1.0 * ~(z <= 0), np.zeros_like),
    "tanh": (lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)),
    "sigmoid": (
        lambda z: ref.sigmoid(z) * ref.sigmoid(-z),
        lambda z: ref.sigmoid(z) * ref.sigmoid(-z) * (ref.sigmoid(-z) - ref.sigmoid(z)),
    ),
    "softplus": (ref.sigmoid, lambda z: ref.sigmoid(z) * ref.sigmoid(-z)),
    "leaky_relu": (lambda z: np.where(z <= 0, 0.01, 1.0), np.zeros_like),
}


def _names(layer_sizes, activation="relu", output_activation="identity"):
    return [activation] * (len(layer_sizes) - 2) + [output_activation]


def _passes(theta, X, layer_sizes, **options):
    """(layers, activations [X, A_1, ..., out], pre-activations, slopes, second derivatives)."""
    layers, A, Z = ref.unflatten(theta, layer_sizes), [X], []
    names = _names(layer_sizes, **options)
    for (W, b), name in zip(layers, names):
        Z.append(ref.affine(A[-1], W, b))
        A.append(ref.ACTIVATIONS[name][0](Z[-1].copy()))
    first, second = ([SLOPES[name][i](z) for name, z in zip(names, Z)] for i in (0, 1))
    return layers, A, Z, first, second


def mlp_jvp(
    theta: Array,
    X: Array,
    tangent: Array,
    layer_sizes: Sequence[int],
    tangent_X: Array | None = None,
    **options: Any,
) -> Array:
    """Tangents of the outputs, ``(n, k)``: RZ = RA W + A RW + Rb, RA = RZ f'(z) (formula 30).

    Examples
    --------
    >>> mlp_jvp(np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([1.0, 0.5]), [1, 1])
    array([[1.5],
           [3.5]])
    """
    return _tangents(theta, X, tangent, layer_sizes, tangent_X, **options)[1][-1]


def _tangents(theta, X, tangent, layer_sizes, tangent_X=None, **options):
    """(RZ, RA), layer by layer; RA begins with that of X."""
    layers, A, _, slopes, _ = _passes(theta, X, layer_sizes, **options)
    RZ, RA = [], [np.zeros_like(X) if tangent_X is None else tangent_X]
    moves = ref.unflatten(np.zeros_like(theta) if tangent is None else tangent, layer_sizes)
    for (W, _), (RW, Rb), a, slope in zip(layers, moves, A, slopes):
        RZ.append(RA[-1] @ W + a @ RW + Rb)
        RA.append(RZ[-1] * slope)
    return RZ, RA


def mlp_vjp(
    theta: Array, X: Array, cotangent: Array, layer_sizes: Sequence[int], **options: Any
) -> tuple[Array, Array]:
    """``(gtheta, gX)``, the gradients of sum(cotangent * outputs) (formula 30).

    Examples
    --------
    >>> gtheta, gX = mlp_vjp(np.array([2.0, 1.0]), np.array([[3.0]]), np.array([[10.0]]), [1, 1])
    >>> gtheta, gX
    (array([30., 10.]), array([[20.]]))
    """
    layers, A, _, slopes, _ = _passes(theta, X, layer_sizes, **options)
    gtheta, back = np.empty_like(theta), cotangent
    for (W, _), (gW, gb), a, slope in zip(
        layers[::-1], ref.unflatten(gtheta, layer_sizes)[::-1], A[-2::-1], slopes[::-1]
    ):
        delta = back * slope
        gW[...], gb[...], back = a.T @ delta, delta.sum(0), delta @ W.T
    return gtheta, back


def mlp_jacobian(theta: Array, X: Array, layer_sizes: Sequence[int], **options: Any) -> Array:
    """Derivatives of a row's outputs by theta ``(n, k, p)`` and by X ``(n, k, d)`` (formula 30)."""
    pairs = [
        [mlp_vjp(theta, x[None], e[None], layer_sizes, **options) for e in np.eye(layer_sizes[-1])]
        for x in X
    ]
    by_theta = np.array([[gtheta for gtheta, _ in row] for row in pairs])
    return by_theta, np.array([[gX[0] for _, gX in row] for row in pairs])


def output_hessian(
    out: Array,
    y: Array,
    loss: str,
    sample_weight: Array | None = None,
    huber_delta: float = 1.0,
    quantile: float = 0.5,
) -> Array:
    """The second derivatives of a loss by each row's outputs, ``(n, k, k)``, normalised as it is.

    Examples
    --------
    >>> output_hessian(np.array([[1.0], [5.0]]), np.zeros(2), "huber")
    array([[[0.5]],
           [[0. ]]])
    """
    n, k = out.shape
    share = np.full(n, 1 / n) if sample_weight is None else sample_weight / sample_weight.sum()
    if loss == "cross_entropy":
        P = ref.softmax(out)
        return share[:, None, None] * (P[:, :, None] * np.eye(k) - P[:, :, None] * P[:, None, :])
    e = out - np.reshape(y, out.shape)
    curvature = {
        "mse": lambda: np.full(out.shape, 2 / k),
        "huber": lambda: (np.abs(e) <= huber_delta) / k,
        "logistic": lambda: ref.sigmoid(out) * ref.sigmoid(-out),
        "absolute_error": lambda: np.zeros(out.shape),
        "quantile": lambda: np.zeros(out.shape),
        "poisson": lambda: np.exp(out),
    }[loss]()
    return share[:, None, None] * curvature[:, :, None] * np.eye(k)


def _penalty(v, layer_sizes, l2):
    """l2 times v where theta is a weight, 0 where it is a bias."""
    out = np.zeros_like(v)
    for (W, _), (V, _) in zip(ref.unflatten(out, layer_sizes), ref.unflatten(v, layer_sizes)):
        W[...] = l2 * V
    return out


def mlp_hvp(
    theta: Array,
    X: Array,
    y: Array,
    v: Array,
    layer_sizes: Sequence[int],
    loss: str,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    **options: Any,
) -> Array:
    """The Hessian of a network's loss times v, by the R-operator (formula 34).

    Examples
    --------
    >>> X, y, v = np.array([[1.0], [3.0]]), np.array([0.0, 9.0]), np.array([1.0, 0.0])
    >>> mlp_hvp(np.array([2.0, 1.0]), X, y, v, [1, 1], "mse")
    array([10.,  4.])
    """
    options, parameters = _split(options)
    layers, A, _, slopes, bends = _passes(theta, X, layer_sizes, **options)
    RZ, RA = _tangents(theta, X, v, layer_sizes, **options)
    back = ref.LOSSES[loss](A[-1].copy(), y, sample_weight, **_own(loss, parameters))[1]
    H = output_hessian(A[-1], y, loss, sample_weight, **parameters)
    Rback = np.einsum("ijk,ik->ij", H, RA[-1])
    product = np.empty_like(theta)
    parts, moves = ref.unflatten(product, layer_sizes), ref.unflatten(v, layer_sizes)
    for i in reversed(range(len(layers))):
        delta, Rdelta = back * slopes[i], Rback * slopes[i] + back * bends[i] * RZ[i]
        parts[i][0][...] = RA[i].T @ delta + A[i].T @ Rdelta
        parts[i][1][...] = Rdelta.sum(0)
        back, Rback = delta @ layers[i][0].T, Rdelta @ layers[i][0].T + delta @ moves[i][0].T
    return product + _penalty(v, layer_sizes, l2)


def mlp_ggn_vp(
    theta: Array,
    X: Array,
    y: Array,
    v: Array,
    layer_sizes: Sequence[int],
    loss: str,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    **options: Any,
) -> Array:
    """Gauss and Newton's matrix times v: J v, the curvature of the loss, J^T (formula 35).

    Examples
    --------
    >>> X, y, v = np.array([[1.0], [3.0]]), np.array([0.0, 9.0]), np.array([1.0, 0.0])
    >>> mlp_ggn_vp(np.array([2.0, 1.0]), X, y, v, [1, 1], "mse")
    array([10.,  4.])
    """
    options, parameters = _split(options)
    out = ref.mlp_forward(theta, X, layer_sizes, **options)[-1]
    H = output_hessian(out, y, loss, sample_weight, **parameters)
    cotangent = np.einsum("ijk,ik->ij", H, mlp_jvp(theta, X, v, layer_sizes, **options))
    product, _ = mlp_vjp(theta, X, cotangent, layer_sizes, **options)
    return product + _penalty(v, layer_sizes, l2)


def mlp_ggn(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    **options: Any,
) -> Array:
    """Gauss and Newton's matrix ``(p, p)``: the sum of J^T H J over rows (formulas 35 and 36).

    Examples
    --------
    >>> X, y = np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> mlp_ggn(np.array([2.0, 1.0]), X, y, [1, 1], "mse")
    array([[10.,  4.],
           [ 4.,  2.]])
    """
    options, parameters = _split(options)
    J, _ = mlp_jacobian(theta, X, layer_sizes, **options)
    out = ref.mlp_forward(theta, X, layer_sizes, **options)[-1]
    H = output_hessian(out, y, loss, sample_weight, **parameters)
    G = np.einsum("nip,nij,njq->pq", J, H, J, optimize=True)
    return G + np.diag(_penalty(np.ones_like(theta), layer_sizes, l2))


def mlp_kfac_factors(
    theta: Array,
    X: Array,
    y: Array,
    layer_sizes: Sequence[int],
    loss: str,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    **options: Any,
) -> list[tuple[Array, Array]]:
    """``[(A, B), ...]``: means of [a, 1][a, 1]^T and of Z_i^T H_i Z_i, with Z_i the Jacobian of a
    row's outputs by a layer's pre-activations (formula 37). `l2` changes nothing."""
    options, parameters = _split(options)
    J, _ = mlp_jacobian(theta, X, layer_sizes, **options)
    A = ref.mlp_forward(theta, X, layer_sizes, **options)
    H = output_hessian(A[-1], y, loss, sample_weight, **parameters)
    s = np.ones(len(X)) if sample_weight is None else sample_weight
    factors, start = [], 0
    for (d, k), a in zip(pairwise(layer_sizes), A):
        by_bias = J[:, :, start + d * k : start + d * k + k]  # is that by the pre-activation
        start += d * k + k
        ahat = np.hstack([a, np.ones((len(a), 1))])
        B = np.einsum("nip,nij,njq->pq", by_bias, H, by_bias, optimize=True)
        factors.append((ahat.T @ (ahat * (s / s.sum())[:, None]), B))
    return factors


def _split(options):
    """(those of activations, those of losses)."""
    names = "activation", "output_activation"
    return (
        {name: value for name, value in options.items() if name in names},
        {name: value for name, value in options.items() if name not in names},
    )


def _own(loss, parameters):
    name = {"huber": "huber_delta", "quantile": "quantile"}.get(loss)
    return {name: parameters[name]} if name in parameters else {}
