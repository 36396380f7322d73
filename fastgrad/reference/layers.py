"""Neurons and layers, and a step of gradient descent (formulas 1 to 23 of the table)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .losses import counted, squared

Array: TypeAlias = NDArray[Any]


def affine(X: Array, w: Array, b: Array | float) -> Array:
    """Affine output of a neuron or a layer, ``X @ w + b`` (formulas 1 and 23).

    Parameters
    ----------
    X : ndarray (n, d)
    w : ndarray (d,) with a scalar `b`, or (d, k) with `b` (k,)
    b : scalar or ndarray (k,)

    Returns
    -------
    Z : ndarray (n,) or (n, k)

    Examples
    --------
    >>> affine(np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([1.0, 1.0]), 0.5)
    array([ 3.5, -0.5])
    """
    Z = X @ w
    Z += np.asarray(b, dtype=Z.dtype)
    return Z


def relu(Z: Array) -> Array:
    """``max(0, z)`` of each entry, NaN kept (formula 2); a fresh array of Z's shape and dtype.

    Examples
    --------
    >>> relu(np.array([-1.0, 0.0, 2.0, np.nan]))
    array([ 0.,  0.,  2., nan])
    """
    return np.maximum(Z, 0)


def relu_mask(Z: Array) -> NDArray[np.bool_]:
    """Where ReLU passes a gradient: ``not (z <= 0)``, bool, of Z's shape (formula 16).

    Examples
    --------
    >>> relu_mask(np.array([-1.0, 0.0, 2.0, np.nan]))
    array([False, False,  True,  True])
    """
    inactive = Z <= 0
    return np.logical_not(inactive, out=inactive)


def affine_relu(X: Array, w: Array, b: Array | float) -> tuple[Array, NDArray[np.bool_]]:
    """Activation and mask of a neuron or a layer (formulas 1, 2, 16 and 23).

    Parameters are those of `affine`.

    Returns
    -------
    A : ndarray (n,) or (n, k), ``max(0, X @ w + b)``
    mask : bool ndarray of A's shape

    Examples
    --------
    >>> affine_relu(np.array([[1.0], [-1.0]]), np.array([2.0]), 0.5)
    (array([2.5, 0. ]), array([ True, False]))
    """
    Z = affine(X, w, b)
    mask = relu_mask(Z)
    return np.maximum(Z, 0, out=Z), mask


def affine_relu_backward(
    grad_a: Array, X: Array, W: Array, mask: Array, need_gX: bool = True
) -> tuple[Array | None, Array, Array | Any]:
    """Gradients of a loss through a neuron or a layer (formulas 14, 15 and 23).

    ``dZ = grad_a where mask else 0; gX = dZ Wᵀ, gW = Xᵀ dZ, gb = 1ᵀ dZ``. Sums over the samples,
    no mean: the normalisation is in `grad_a`.

    Parameters
    ----------
    grad_a : ndarray (n, k), or (n,) for one neuron
        Derivative of the loss by the activation.
    X : ndarray (n, d)
    W : ndarray (d, k) or (d,)
    mask : bool ndarray of grad_a's shape
    need_gX : bool

    Returns
    -------
    gX : ndarray (n, d), or None without `need_gX`
    gW : ndarray of W's shape
    gb : ndarray (k,), or a NumPy scalar for one neuron

    Examples
    --------
    >>> X, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0])
    >>> gX, gw, gb = affine_relu_backward(np.array([1.0, 10.0]), X, w, np.array([True, False]))
    >>> gX.tolist(), gw.tolist(), float(gb)
    ([[1.0, -1.0], [0.0, -0.0]], [1.0, 2.0], 1.0)
    """
    dZ = select(grad_a.copy(), mask)
    gX = None
    if need_gX:
        gX = np.outer(dZ, W) if W.ndim == 1 else dZ @ W.T
    return gX, X.T @ dZ, np.ones(len(dZ), dZ.dtype) @ dZ


def neuron_grad(w: Array, b: Array | float, X: Array) -> tuple[Array, Array]:
    """Derivative of one neuron's activation by w and by b, row by row (formula 17).

    Returns
    -------
    dw : ndarray (n, d), x_i where the neuron is active on row i, else 0
    db : ndarray (n,), 1 where active, else 0

    Examples
    --------
    >>> dw, db = neuron_grad(np.array([1.0, 0.0]), -1.0, np.array([[3.0, 2.0], [1.0, 5.0]]))
    >>> dw.tolist(), db.tolist()
    ([[3.0, 2.0], [0.0, 0.0]], [1.0, 0.0])
    """
    mask = relu_mask(affine(X, w, b))
    return select(X.copy(), mask[:, None]), mask.astype(X.dtype)


def neuron_loss_and_grad(
    w: Array, b: Array | float, X: Array, y: Array, sample_weight: Array | None = None
) -> tuple[float, Array, float]:
    """Squared loss of one neuron and its gradient (formulas 18, 19 and 20).

    ``C = mean over samples of (y_i - max(0, w·x_i + b))²``, no ½; its gradient has the factor 2/n.
    With weights s both are ``Σ s_i (...) / Σ s_i``. An inactive row adds y_i² to C and nothing to
    the gradient.

    Parameters
    ----------
    w : ndarray (d,)
    b : scalar
    X : ndarray (n, d)
    y : ndarray (n,)
    sample_weight : ndarray (n,), optional

    Returns
    -------
    loss : float
    gw : ndarray (d,)
    gb : NumPy scalar of X's dtype

    Examples
    --------
    >>> X, y = np.array([[1.0, 2.0], [-3.0, 0.0]]), np.array([1.0, 2.0])
    >>> loss, gw, gb = neuron_loss_and_grad(np.array([1.0, 1.0]), 0.0, X, y)
    >>> loss, gw.tolist(), float(gb)
    (4.0, [2.0, 4.0], 2.0)
    """
    a, mask = affine_relu(X, w, b)
    a -= counted(y, a, sample_weight, a)
    loss, e = squared(a, sample_weight)
    select(e, mask)
    return loss, e @ X, e.sum()


def sgd_step(theta: Array, grad: Array, lr: float) -> None:
    """One step of gradient descent, ``theta -= lr * grad``, in place (formula 21).

    Examples
    --------
    >>> theta = np.array([1.0, 2.0])
    >>> sgd_step(theta, np.array([10.0, 0.0]), 0.1)
    >>> theta
    array([0., 2.])
    """
    theta -= float(lr) * grad


def select(values, mask):
    """Zero `values` where the mask is False, in place, whatever stands there; return it.

    The bits, read as integers, times 0 or 1: at (1024, 128) float32 and random signs 37 µs, against
    32 µs for a float product, which turns 0 * inf into NaN, and 490 to 515 µs for np.where, copyto,
    putmask and boolean indexing, which branch on every entry.
    """
    bits = values.view(f"i{values.itemsize}")
    bits *= mask
    return values
