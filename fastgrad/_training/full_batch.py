"""Second-order training: all rows at once, a step an epoch.

An optimiser asks the `Problem` for losses, gradients and curvature at any theta, and answers with a
`Step` or with a word that says why there is none. A step depends on theta and on the optimiser's
few numbers alone, and both change together: so a run that goes on from a checkpoint has the same
bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import curvature
from ..jacobians import jacobian
from .tally import rows_of

CONVERGED, NOT_FINITE = "converged", "not finite"


class Step(NamedTuple):
    """A step that lowers the loss."""

    theta: np.ndarray
    loss: float  # there
    row: dict  # the optimiser's own columns of the history
    state: dict  # its numbers from here on


class Problem:
    """The loss of one network on one set of rows; gradients and products in float64."""

    def __init__(self, net, source, threads):
        self.net, self.threads, self.rows = net, threads, source.size
        X, y, self.s = source.all()
        self.X = rows_of(X, net.dtype)
        self.y = y if net.spec.loss.labelled else y.reshape(self.X.shape[0], -1)

    def loss(self, theta) -> float:
        return self.net.loss(theta, self.X, self.y, self.s, threads=self.threads)

    def loss_and_grad(self, theta) -> tuple[float, np.ndarray]:
        loss, grad = self.net.loss_and_grad(theta, self.X, self.y, self.s, threads=self.threads)
        return loss, grad.astype(np.float64)

    def ggn(self, theta) -> np.ndarray:
        matrix = curvature.ggn(self.net, theta, self.X, self.y, self.s, threads=self.threads)
        return matrix.astype(np.float64, copy=False)

    def ggn_product(self, theta, v) -> np.ndarray:
        v = v.astype(theta.dtype, copy=False)
        product = curvature.ggn_vp(self.net, theta, self.X, self.y, v, self.s, threads=self.threads)
        return product.astype(np.float64, copy=False)

    def residuals(self, theta) -> tuple[np.ndarray, np.ndarray]:
        """b (n k,) and A (n k, p), its Jacobian, for b @ b / 2 the mean of squares."""
        n, k = len(self.X), self.net.n_outputs
        b = self.net.predict(theta, self.X, threads=self.threads).astype(np.float64) - self.y
        A = jacobian(self.net, theta, self.X, threads=self.threads).astype(np.float64, copy=False)
        s = np.ones(n) if self.s is None else self.s.astype(np.float64)
        root = np.sqrt(2 * s / (s.sum() * k))[:, None]
        A *= root[:, :, None]
        return (b * root).reshape(-1), A.reshape(n * k, -1)

    def has_few_residuals(self) -> bool:
        """Fewer than parameters: `residuals` is smaller than `ggn`."""
        return self.rows * self.net.n_outputs < self.net.n_parameters

    def penalty(self) -> np.ndarray:
        return penalty(self.net)


def penalty(net) -> np.ndarray:
    """The second derivative of the l2 penalty (p,): l2 for weights, 0 for biases."""
    diagonal = np.zeros(net.n_parameters, net.dtype)
    for W, _ in net.unflatten(diagonal):
        W[...] = 1
    return net.l2 * diagonal.astype(np.float64)


def trainer(run):
    """A function that makes a step in place and returns its row of the history, or None: then
    `stopped` says why."""
    result, problem = run.result, run.problem()

    def epoch():
        run.look_for_stop()
        optimizer = result.optimizer
        with np.errstate(all="ignore"):
            step = optimizer._advance(problem, result.theta)
        if isinstance(step, str):
            result.stopped = step
            return None
        result.theta[...] = step.theta
        optimizer._steps, optimizer._state = optimizer.steps + 1, step.state
        if run.says_stop(run.on_step):
            result.stopped = "callback"
        return {"loss": step.loss, "learning_rate": 1.0, **step.row}

    return epoch
