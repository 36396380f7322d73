"""Rows that lie in several places: what each place adds to a sum, and the means that come of it.

A part is some rows of one place: a partition on a cluster's worker, a batch of a rank. It gives
weight * (1, loss, derivative), in float64, of a network without l2. The mean over all rows is a
quotient of sums of these (formula 40), to which the penalty is added once. Who adds the parts, and
in which order, is for `total`: `_training/ranks.py`, `interop/dask`.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from .. import curvature
from .._core import check
from ..kernels import validate
from ..metrics import _converted
from ..network import MLP
from .full_batch import penalty

LOSS, GRADIENT, PRODUCT, MATRIX = "loss", "gradient", "product", "matrix"
WEIGHT, MEAN, OWN = 0, 1, 2  # in a sum: weights, losses, from here on the derivative
MOST_WEIGHT, LEAST_WEIGHT = 2.0**40, 2.0**-40  # the largest of a place: products stay finite


def without_l2(net) -> MLP:
    return MLP(**{**net.spec.settings(), "l2": 0.0}) if net.l2 else net


def width(net, kind: str) -> int:
    """Numbers of a sum."""
    p = net.n_parameters
    return OWN + {LOSS: 0, GRADIENT: p, PRODUCT: p, MATRIX: p * p}[kind]


def part(net, kind: str, theta, x, y, s, v=None, threads=None) -> np.ndarray | None:
    """What checked rows add to a sum; None where no row counts."""
    weight = float(len(x)) if s is None else validate.total(s)
    if weight == 0:
        return None
    out, loss = np.empty(width(net, kind)), 0.0
    given = theta, x, y
    s = None if s is None else check.near_one(s)
    if kind == LOSS:
        loss, own = net.loss(*given, s, threads=threads), ()
    elif kind == GRADIENT:
        loss, own = net.loss_and_grad(*given, s, threads=threads)
    elif kind == PRODUCT:
        own = curvature.ggn_vp(net, *given, v, s, threads=threads)
    else:
        own = curvature.ggn(net, *given, s, threads=threads).reshape(-1)
    out[WEIGHT], out[MEAN] = weight, weight * loss
    with np.errstate(all="ignore"):
        np.multiply(own, weight, out=out[OWN:], dtype=np.float64)
    return out


def comparable_weights(value, name: str) -> np.ndarray:
    """Weights of a place in float64, which count beside those of other places."""
    array = check.float_array(_converted(value, name, check.F64), name, check.F64, 1)
    most = array.max(initial=0.0)
    if (most > MOST_WEIGHT or most < LEAST_WEIGHT) and most != 0:
        raise ValueError(
            f"{name} has the largest value {most}; expected {LEAST_WEIGHT:.1e} to "
            f"{MOST_WEIGHT:.1e}: scale all weights alike"
        )
    return array


def part_weights(value, name: str, dtype, n: int) -> np.ndarray:
    """Weights of a place (n,), of `dtype`: all may be 0."""
    array = comparable_weights(value, name)
    if array.shape == (n,) and not array.any():
        return array.astype(dtype)
    return check.weights(array.astype(dtype, copy=False), name, dtype, n)


def total_of(net, blocks, threads):
    """`Summed.total` of the rows of this place: the generator blocks() yields (X, y, weights or
    None), which are added in that order."""
    net = without_l2(net)

    def total(kind, theta, v=None):
        sums = np.zeros(width(net, kind))
        with closing(blocks()) as rows:  # an error leaves no reader behind
            for x, y, s in rows:
                y = y if net.spec.loss.labelled else y.reshape(x.shape[0], -1)
                more = part(net, kind, theta, x, y, s, v, threads)
                if more is not None:
                    sums += more
        return sums

    return total


class Summed:
    """The loss of a network on all rows, as `full_batch.Problem` has it of an array's.

    `total(kind, theta, v)` is the sum over all places of their `part`.
    """

    def __init__(self, net, total):
        self.net, self.total = net, total
        self._penalty = penalty(net)
        self._penalised = self._penalty > 0

    def loss(self, theta) -> float:
        return self.mean(self.total(LOSS, theta), theta)[0]

    def loss_and_grad(self, theta) -> tuple[float, np.ndarray]:
        return self.mean(self.total(GRADIENT, theta), theta)

    def ggn(self, theta) -> np.ndarray:
        sums = self.total(MATRIX, theta)
        matrix = (sums[OWN:] / sums[WEIGHT]).reshape(theta.size, theta.size)
        matrix.reshape(-1)[:: theta.size + 1] += self._penalty
        return matrix

    def ggn_product(self, theta, v) -> np.ndarray:
        sums = self.total(PRODUCT, theta, v.astype(theta.dtype, copy=False))
        return sums[OWN:] / sums[WEIGHT] + self._penalty * v

    def has_few_residuals(self) -> bool:
        return False  # they would be all in one place

    def penalty(self) -> np.ndarray:
        return self._penalty

    def mean(self, sums, theta) -> tuple[float, np.ndarray]:
        """(loss, gradient) of sums, with l2; the gradient is empty where they have none."""
        with np.errstate(all="ignore"):
            loss, grad = sums[MEAN] / sums[WEIGHT], sums[OWN:] / sums[WEIGHT]
            if self.net.l2:
                W = theta.astype(np.float64)[self._penalised]
                loss += 0.5 * self.net.l2 * validate.total(W * W)
                if grad.size:
                    grad += self._penalty * theta
        return float(loss), grad


def passes(run, summed: Summed, steps):
    """A function that makes an epoch of first-order steps in place and returns its row of the
    history, or None where a callback stopped it within.

    `steps(epoch)` makes a generator of functions of theta, each the sum of a step's parts.
    """
    result = run.result

    def epoch():
        losses, weights, optimizer = [], [], result.optimizer
        with closing(steps(result.epochs)) as totals:
            for total in totals:
                if result.stopped:
                    return None
                run.look_for_stop()
                sums = total(result.theta)
                if sums[WEIGHT] == 0:
                    continue  # no step
                loss, grad = summed.mean(sums, result.theta)
                with np.errstate(over="ignore", under="ignore"):
                    grad = grad.astype(result.theta.dtype, copy=False)
                optimizer.step(result.theta, grad)
                losses.append(loss * sums[WEIGHT])
                weights.append(sums[WEIGHT])
                if run.says_stop(run.on_step):
                    result.stopped = "callback"
        if not weights:
            raise ValueError("there are no rows that count in this epoch; expected at least one")
        rate = optimizer.rate(max(0, optimizer.steps - 1))
        return {"loss": float(np.sum(losses) / np.sum(weights)), "learning_rate": rate}

    return epoch
