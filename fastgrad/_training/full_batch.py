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
from .._core import check
from ..jacobians import jacobian
from ..metrics import rows_of

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
        """The second derivative of the l2 penalty (p,): l2 for weights, 0 for biases."""
        diagonal = np.zeros(self.net.n_parameters, self.net.dtype)
        for W, _ in self.net.unflatten(diagonal):
            W[...] = 1
        return self.net.l2 * diagonal.astype(np.float64)


class Blocks(Problem):
    """The same of rows that do not fit: sums over blocks, in the order of the files, of each
    block's mean times what its rows count (formula 40), in float64."""

    def __init__(self, net, source, threads):
        self.net, self.threads, self.rows, self._source = net, threads, source.size, source

    def _mean(self, of):
        """The weighted mean of what `of(block)` gives, a number or a tuple of numbers and arrays;
        of rows whose weights are all 0 nothing is asked."""
        total, weight = None, 0.0
        for x, y, s in self._source.blocks():
            count = float(len(x)) if s is None else float(s.sum(dtype=np.float64))
            if not count:
                continue
            y = y if self.net.spec.loss.labelled else y.reshape(len(x), -1)
            found = of(x, y, None if s is None else check.near_one(s))
            found = [count * np.asarray(value, np.float64) for value in found]
            total = found if total is None else [a + b for a, b in zip(total, found)]
            weight += count
        if total is None:
            raise ValueError("there are no rows that count; expected at least one")
        return [value / weight for value in total]

    def loss(self, theta) -> float:
        def of(x, y, s):
            return (self.net.loss(theta, x, y, s, threads=self.threads),)

        return float(self._mean(of)[0])

    def loss_and_grad(self, theta):
        def of(x, y, s):
            return self.net.loss_and_grad(theta, x, y, s, threads=self.threads)

        loss, grad = self._mean(of)
        return float(loss), grad

    def ggn(self, theta) -> np.ndarray:
        def of(x, y, s):
            return (curvature.ggn(self.net, theta, x, y, s, threads=self.threads),)

        return self._mean(of)[0]

    def ggn_product(self, theta, v) -> np.ndarray:
        v = v.astype(theta.dtype, copy=False)

        def of(x, y, s):
            return (curvature.ggn_vp(self.net, theta, x, y, v, s, threads=self.threads),)

        return self._mean(of)[0]

    def has_few_residuals(self) -> bool:
        return False  # they would be all in memory


def problem_of(run) -> Problem:
    kind = Blocks if hasattr(run.source, "blocks") else Problem
    return kind(run.net, run.source, run.threads)


def trainer(run):
    """A function that makes a step in place and returns its row of the history, or None: then
    `stopped` says why."""
    result, problem = run.result, problem_of(run)

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
        if any([hook(result) for hook in run.on_step]):
            result.stopped = "callback"
        return {"loss": step.loss, "learning_rate": 1.0, **step.row}

    return epoch
