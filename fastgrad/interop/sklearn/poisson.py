"""The Poisson loss of `FastMLPRegressor`: outputs z are the logarithms of what is predicted.

Half the deviance, y ln(y / exp z) - y + exp z, summed over outputs, mean over samples; its slope is
exp z - y. From there on the network's own backward pass does the work (formulas 23 and 24).
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import xlogy

from ...history import History
from ...training import FitResult
from .._network import network_backward


def check_targets(y) -> None:
    if (y < 0).any():
        worst = int(np.argmin(y.reshape(len(y), -1).min(axis=1)))
        raise ValueError(
            f"y has the value {y[worst]} at row {worst}; expected 0 or more for the loss 'poisson'"
        )


def loss_and_grad(net, theta, X, y, sample_weight=None):
    """(loss, gradient (p,)) with the `l2` of net; y (n,) or (n, k), its mean weighted by s (n,)."""
    n = X.shape[0]
    share = np.ones(n) if sample_weight is None else sample_weight.astype(np.float64)
    share /= share.sum()
    outputs, y = net.predict(theta, X), y.reshape(n, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity shows in the loss
        expected = np.exp(outputs, dtype=np.float64)
        each = xlogy(y, y) - y * outputs.astype(np.float64) - y + expected
        slope = ((expected - y) * share[:, None]).astype(net.dtype)
    grad = np.empty_like(theta)
    network_backward(net, theta, X, slope, outputs, theta_out=grad)
    with np.errstate(over="ignore", invalid="ignore"):
        loss = float(share @ each.sum(axis=1))
        for (W, _), (dW, _) in zip(net.unflatten(theta), net.unflatten(grad)):
            loss += 0.5 * net.l2 * float(np.square(W, dtype=np.float64).sum())
            dW += net.dtype.type(net.l2) * W
    return loss, grad


def train(
    net, X, y, *, theta, optimizer, batch_size, epochs, sample_weight, seed, shuffle, callbacks
):
    """What `fastgrad.fit` does for its own losses, batch by batch; `callbacks` has `on_epoch`."""
    history = History({"loss": [], "learning_rate": []})
    result = FitResult(theta.copy(), theta.copy(), history, optimizer.copy())
    rng = np.random.default_rng(seed)
    try:
        while not result.stopped and result.epochs < epochs:
            order = rng.permutation(len(X)) if shuffle else np.arange(len(X))
            loss = _epoch(net, X, y, sample_weight, order, batch_size, result)
            rate = result.optimizer.rate(max(0, result.optimizer.steps - 1))
            result.history.append(loss=loss, learning_rate=rate)
            if not np.isfinite(loss):
                result.stopped = "not finite"
            if callbacks.on_epoch(result):
                result.stopped = "callback"
    except KeyboardInterrupt:
        result.stopped = "interrupted"
    if not np.isfinite(result.theta).all():
        result.stopped = "not finite"
    if result.stopped == "not finite":
        warnings.warn(
            f"the loss is not finite after epoch {result.epochs}, training stopped",
            RuntimeWarning,
            stacklevel=5,
        )
    result.stopped = result.stopped or "epochs"
    return result


def _epoch(net, X, y, sample_weight, order, batch_size, result) -> float:
    """All steps of an epoch; the mean loss of its rows."""
    total = weight = 0.0
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        s = None if sample_weight is None else sample_weight[rows]
        share = float(len(rows) if s is None else s.sum(dtype=np.float64))
        if not share:
            continue  # no row counts, no step
        loss, grad = loss_and_grad(net, result.theta, X[rows], y[rows], s)
        result.optimizer.step(result.theta, grad)
        total, weight = total + share * loss, weight + share
    return total / weight
