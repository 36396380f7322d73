"""Scores of rows that come block by block, of one place or of many.

In: a network, parameters and rows. Out: the loss, and accuracy or R^2, in bounded memory. Sums are
float64; squares of targets about their mean are merged, so that every row is read once.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core import check
from .._core.csr import Csr
from ..network import MLP

BLOCK_BYTES = 4 * 2**20  # inputs and outputs of the rows that are evaluated at a time
# Below so many multiplications (1 ms) one thread does it: little to gain, and beside busy processes
# a launch can be slow.
SERIAL_PRODUCTS = 2e7


class Scores(NamedTuple):
    """What `evaluate` returns.

    Attributes
    ----------
    loss : float
        As `MLP.loss`, l2 included.
    score : float
        Accuracy for "cross_entropy" and "logistic", R^2 for the losses of a regression (of the
        rates, for "poisson"); NaN where an output or a target is NaN, and R^2 of a single row.

    Examples
    --------
    >>> Scores(0.25, 1.0).score
    1.0
    """

    loss: float
    score: float


Scores.__module__ = "fastgrad.metrics"  # where it is public


def alone(size: int, make):
    """The sum over one place."""
    return make()


def rows_of(X: Any, dtype: Any) -> Any:
    """Checked rows as a kernel takes them."""
    return X if type(X) is Csr else np.ascontiguousarray(X, dtype)


class Tally:
    """Scores of rows that come block by block.

    Squares of targets about the mean are merged as `datasets.prepare.Moments` does. `seen`, if
    given, is called with the values of the outputs and the targets (rows, k) of each block.
    """

    def __init__(self, net: MLP[Any], seen: Any = None):
        self._net, self._seen = net, seen
        self._losses: list[float] = []
        self._weights: list[float] = []
        self._right: Any = 0.0
        self._labels = net.spec.loss.score == "accuracy"
        k = 0 if self._labels else net.n_outputs
        self.rows = self._counted = 0  # of a weight above 0
        self._left, self._mean, self._about = np.zeros(k), np.zeros(k), np.zeros(k)

    def add_stream(self, theta: Any, stream: Any, threads: int | None = None) -> None:
        with closing(stream._blocks(self._net)) as blocks:
            for x, y, s in blocks:
                self.add(theta, x, y, s, threads)

    def add(
        self, theta: Any, X: Any, y: Any, sample_weight: Any = None, threads: int | None = None
    ) -> None:
        """Rows of any number, in blocks that stay in cache; theta may be an ensemble's."""
        net = self._net
        with np.errstate(under="ignore", over="ignore", invalid="ignore"):  # they show in scores
            if np.ndim(theta) == 2:
                net, theta, X = _of_outputs(net, theta, X, threads)
            n, d = X.shape
            if threads is None:
                threads = 1 if n * net.n_parameters < SERIAL_PRODUCTS else None
            stored = (X.indptr[-1] - X.indptr[0]) // max(1, n) if type(X) is Csr else d
            rows = int(max(256, BLOCK_BYTES // (net.dtype.itemsize * (net.n_outputs + stored))))
            y = y.reshape(n, -1)
            for start in range(0, n, rows):
                block = slice(start, min(n, start + rows))
                s = None if sample_weight is None else sample_weight[block]
                self._add(net, theta, rows_of(X[block], net.dtype), y[block], s, threads)
        self.rows += n

    def _add(self, net, theta, x, y, s, threads) -> None:
        """Of one block."""
        loss = net.spec.loss
        share = x.shape[0] if s is None else float(s.sum(dtype=np.float64))
        if not share and self._seen is None:
            return
        out = net.predict(theta, x, threads=threads)
        if self._seen is not None:
            self._seen(loss.values(out), y)
        if not share:
            return
        self._counted += len(y) if s is None else int(np.count_nonzero(s))
        flat = y[:, 0] if loss.labelled else y
        near = None if s is None else check.near_one(s)  # a block's may all be very small
        if not self._labels:
            self._left += _sum(np.square(loss.values(out) - y, dtype=np.float64), s)
            self._spread(y, s, share)
        elif loss.labelled:
            self._right += _sum(_known(out.argmax(axis=1) == flat, out), s)
        else:
            hits = ((out > 0) == (y > 0.5)).mean(axis=1)
            self._right += _sum(_known(hits, out, y), s)
        self._losses.append(share * net.loss(theta, x, flat, near, threads=threads))
        self._weights.append(share)

    def _spread(self, y, s, share: float) -> None:
        """Chan, Golub and LeVeque (1983): moments of targets about their mean."""
        before = self._weight()
        mean = _sum(y, s) / share
        between = mean - self._mean
        self._about += _sum(np.square(y - mean, dtype=np.float64), s)
        self._about += between**2 * (before * share / (before + share))
        self._mean += between * (share / (before + share))

    def _weight(self) -> float:
        return float(np.sum(self._weights))

    def mean_squares(self) -> NDArray[np.float64]:
        """(k,): of what the outputs are off the targets; of a regression."""
        return self._left / self._weight()

    def _sums(self) -> np.ndarray:
        """Of losses, weights, what is right, rows; of squares left and of targets by columns."""
        weight = self._weight()
        first = float(np.sum(self._losses)), weight, float(self._right), self._counted
        return np.concatenate([first, self._left, weight * self._mean])

    def scores(self, total: Any = alone, add: Any = None) -> Scores:
        """Of all rows; `total(size, make)`: the sum of make() over all places that have rows, of
        which this is one. `add(self)`, if given, adds the rows of this place."""

        def sums():
            if add is not None:
                add(self)
            return self._sums()

        def about():
            return self._about + self._weight() * np.square(self._mean - mean)

        k = self._mean.size
        with np.errstate(under="ignore", over="ignore", invalid="ignore"):
            loss, weight, right, count, *rest = total(4 + 2 * k, sums)
            if not weight:
                raise ValueError("there are no rows that count; expected at least one")
            loss, right = float(loss / weight), float(right / weight)
            if not k:
                return Scores(loss, right)
            left, mean = np.array(rest[:k]), np.array(rest[k:]) / weight
            spread = total(k, about)
            return Scores(loss, np.nan if count < 2 else r2(left, spread))


def _of_outputs(net, thetas, X, threads):
    """(net, theta, X) that have an ensemble's outputs: one layer, which passes them on."""
    from .. import stack

    n, k = X.shape[0], net.n_outputs
    Z = np.empty((n, k), net.dtype)
    rows = max(256, BLOCK_BYTES // (net.dtype.itemsize * net.n_inputs))
    for start in range(0, n, rows):
        x = rows_of(X[start : start + rows], net.dtype)
        Z[start : start + rows] = stack.ensemble(net, thetas, x, threads=threads)
    settings = {**net.spec.settings(), "layer_sizes": [k, k], "l2": 0.0}
    layer = MLP(**{**settings, "output_activation": "identity"})
    return layer, layer.flatten([(np.eye(k, dtype=net.dtype), np.zeros(k, net.dtype))]), Z


def _known(hits, *arrays):
    """`hits` by rows, but NaN where a row of an array has one: no comparison is right with NaN."""
    for array in arrays:
        unknown = np.isnan(array)
        if unknown.any():
            hits = np.where(unknown.any(axis=1), np.nan, hits)
    return hits


def _sum(values, sample_weight):
    """Over rows, in float64, weighted where there are weights; rows of weight 0 do not count."""
    if sample_weight is None:
        return values.sum(axis=0, dtype=np.float64)
    counts = sample_weight != 0
    return sample_weight[counts].astype(np.float64) @ values[counts]


def r2(left, about) -> float:
    with np.errstate(under="ignore", divide="ignore"):
        score = 1.0 - left / about
    constant = about == 0
    score[constant] = np.where(np.isnan(left[constant]), np.nan, left[constant] == 0)
    return float(score.mean())
