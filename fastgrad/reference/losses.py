"""Losses: value, and derivative by the outputs (formulas 18 and 25 to 29).

A loss is added here by its own hand-written twin, and by its row in `fastgrad/losses.py`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def mse(out: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    """Squared error: mean over samples and outputs, no ½ (formula 18 for k outputs).

    Parameters
    ----------
    out : ndarray (n, k)
    y : ndarray (n, k), or (n,) when k is 1
    sample_weight : ndarray (n,), optional
        Weights s: ``Σ s_i loss_i / Σ s_i`` in place of the mean over samples. A row of weight 0
        does not count, whatever its target.

    Returns
    -------
    loss : float
    delta : ndarray (n, k), d loss / d out, of out's dtype

    Examples
    --------
    >>> loss, delta = mse(np.array([[1.0], [3.0]]), np.array([0.0, 0.0]))
    >>> loss, delta.tolist()
    (5.0, [[1.0], [3.0]])
    """
    return squared(out - counted(_like(y, out), out, sample_weight, out), sample_weight)


def huber(
    out: Array, y: Array, sample_weight: Array | None = None, huber_delta: float = 1.0
) -> tuple[float, Array]:
    """Huber loss: mean over samples and outputs (formula 27).

    With r = out - y: ``r²/2`` for ``|r| <= huber_delta``, ``huber_delta (|r| - huber_delta/2)``
    outside. Parameters and returns are those of `mse`.

    Examples
    --------
    >>> loss, delta = huber(np.array([[0.5], [3.0]]), np.array([0.0, 0.0]))
    >>> loss, delta.tolist()
    (1.3125, [[0.25], [0.5]])
    """
    r = out - counted(_like(y, out), out, sample_weight, out)
    delta = np.clip(r, -float(huber_delta), float(huber_delta))
    # With c = clip(r), both branches are c (r - c/2): no branch, no cancellation.
    r -= 0.5 * delta
    total = _weigh(delta, sample_weight) * out.shape[1]
    loss = float(np.vdot(delta, r)) / total
    delta *= 1.0 / total
    return loss, delta


def logistic(out: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    """Logistic loss on logits: mean over samples, sum over the k independent outputs (formula 26).

    ``log(1 + e^-|z|) + max(z, 0) - y z`` with y in {0, 1}, of any numeric dtype; finite for every
    finite logit. Parameters and returns are those of `mse`.

    Examples
    --------
    >>> loss, delta = logistic(np.array([[0.0], [1e4]]), np.array([1, 1]))
    >>> round(loss, 6), delta.tolist()
    (0.346574, [[-0.25], [0.0]])
    """
    y = counted(_like(y, out), out, sample_weight, out.dtype.type(0))
    e = np.exp(-np.abs(out))
    each = np.log1p(e)
    each += np.maximum(out, 0)
    each -= y * out
    delta = _sigmoid(out, e)
    delta -= y
    total = _weigh(delta, sample_weight)
    delta *= 1.0 / total
    return _weighted_sum(each.sum(axis=1), sample_weight) / total, delta


def cross_entropy(
    out: Array, labels: Array, sample_weight: Array | None = None
) -> tuple[float, Array]:
    """Softmax cross-entropy on logits: mean over samples (formula 25).

    ``log Σ_j e^z_j - z_label`` with the row maximum taken out; the derivative is
    ``(softmax - onehot) / n``.

    Parameters
    ----------
    out : ndarray (n, k)
    labels : integer ndarray (n,), each in [0, k)
    sample_weight : ndarray (n,), optional, as in `mse`

    Returns
    -------
    loss : float
    delta : ndarray (n, k), d loss / d out, of out's dtype

    Examples
    --------
    >>> loss, delta = cross_entropy(np.array([[0.0, 0.0], [1e4, -1e4]]), np.array([1, 0]))
    >>> round(loss, 6), delta.tolist()
    (0.346574, [[0.25, -0.25], [0.0, 0.0]])
    """
    delta = out - out.max(axis=1, keepdims=True)
    picked = np.arange(out.shape[0]), labels
    logit = delta[picked]
    np.exp(delta, out=delta)
    s = delta.sum(axis=1, keepdims=True)
    delta /= s
    delta[picked] -= 1
    total = _weigh(delta, sample_weight)
    delta *= 1.0 / total
    each = np.log(s[:, 0])
    each -= logit
    return _weighted_sum(each, sample_weight) / total, delta


def absolute_error(out: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    """Absolute error: mean over samples and outputs (formula 29); its slope is 0 at 0.

    Parameters and returns are those of `mse`.

    Examples
    --------
    >>> loss, delta = absolute_error(np.array([[1.0], [-3.0]]), np.array([0.0, 0.0]))
    >>> loss, delta.tolist()
    (2.0, [[0.5], [-0.5]])
    """
    r = out - counted(_like(y, out), out, sample_weight, out)
    delta = np.sign(r)
    total = _weigh(delta, sample_weight) * out.shape[1]
    loss = float(np.vdot(delta, r)) / total
    delta *= 1.0 / total
    return loss, delta


def quantile(
    out: Array, y: Array, sample_weight: Array | None = None, quantile: float = 0.5
) -> tuple[float, Array]:
    """Pinball loss of a quantile: mean over samples and outputs (formula 29); its slope is 0 at 0.

    With r = out - y: ``(1 - quantile) r`` above, ``-quantile r`` below. Parameters and returns are
    those of `mse`.

    Examples
    --------
    >>> loss, delta = quantile(np.array([[1.0], [-3.0]]), np.array([0.0, 0.0]), quantile=0.75)
    >>> loss, delta.tolist()
    (1.25, [[0.125], [-0.375]])
    """
    r = out - counted(_like(y, out), out, sample_weight, out)
    delta = np.where(r > 0, 1 - quantile, np.where(r < 0, -quantile, 0 * r)).astype(out.dtype)
    total = _weigh(delta, sample_weight) * out.shape[1]
    loss = float(np.vdot(delta, r)) / total
    delta *= 1.0 / total
    return loss, delta


def poisson(out: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    """Poisson loss on the logarithm of the rate: mean over samples, sum over outputs (formula 29).

    ``e^z - y z`` with y of 0 or more; the negative logarithm of the likelihood but for what does
    not depend on z. Parameters and returns are those of `mse`.

    Examples
    --------
    >>> loss, delta = poisson(np.array([[0.0], [0.0]]), np.array([1.0, 3.0]))
    >>> loss, delta.tolist()
    (1.0, [[0.0], [-1.0]])
    """
    y = counted(_like(y, out), out, sample_weight, out.dtype.type(0))
    delta = np.exp(out)
    each = delta - y * out
    delta -= y
    total = _weigh(delta, sample_weight)
    delta *= 1.0 / total
    return _weighted_sum(each.sum(axis=1), sample_weight) / total, delta


LOSSES: dict[str, Any] = {
    "mse": mse,
    "huber": huber,
    "logistic": logistic,
    "cross_entropy": cross_entropy,
    "absolute_error": absolute_error,
    "quantile": quantile,
    "poisson": poisson,
}


def softmax(out: Array) -> Array:
    """Probabilities of the k classes, row by row (formula 25).

    Examples
    --------
    >>> softmax(np.array([[1e4, 1e4]]))
    array([[0.5, 0.5]])
    """
    P = out - out.max(axis=-1, keepdims=True)
    np.exp(P, out=P)
    P /= P.sum(axis=-1, keepdims=True)
    return P


def sigmoid(out: Array) -> Array:
    """``1 / (1 + e^-z)`` of each entry, without overflow (formula 26).

    Examples
    --------
    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    return _sigmoid(out, np.exp(-np.abs(out)))


def _like(y, out):
    """y in out's shape and dtype, without a copy where it already is."""
    return y.reshape(out.shape).astype(out.dtype, copy=False)


def counted(y, out, sample_weight, instead):
    """The targets, but `instead` in rows of weight 0: those do not count, whatever theirs are.

    NaN or an infinity in the outputs still shows.
    """
    if sample_weight is None or sample_weight.all():
        return y
    nothing = (sample_weight == 0).reshape((-1,) + (1,) * (out.ndim - 1))
    return np.where(nothing & np.isfinite(out), instead, y)


def _weigh(delta, sample_weight):
    """Multiply the rows of delta by their weights, in place; return n, or the sum of weights."""
    if sample_weight is None:
        return delta.shape[0]
    delta *= sample_weight.reshape((-1,) + (1,) * (delta.ndim - 1))
    return float(sample_weight.sum(dtype=np.float64))


def _weighted_sum(each, sample_weight):
    if sample_weight is None:
        return float(each.sum(dtype=np.float64))
    return float(np.dot(each, sample_weight))


def squared(r, sample_weight):
    """Mean square of the residuals (n,) or (n, k), which become its derivative, in place."""
    outputs = 1 if r.ndim == 1 else r.shape[1]
    unweighted = r if sample_weight is None else r.copy()
    total = _weigh(r, sample_weight) * outputs
    loss = float(np.vdot(unweighted, r)) / total
    r *= 2.0 / total
    return loss, r


def _sigmoid(z, e):
    """The logistic function of z, given e = exp(-|z|), which it uses up."""
    numerator = np.where(z < 0, e, z.dtype.type(1))
    e += 1
    numerator /= e
    return numerator
