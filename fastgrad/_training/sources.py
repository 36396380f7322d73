"""Where an epoch's rows come from: arrays in memory, a memory map, or ready batches.

`epoch(number, rng)` yields (x, y, s, order, rows of a batch): the stepper takes the rows of x in
that order. `size` is how many rows an epoch has, if that is known. A source checks what it is
given; data are converted once, or as they are read.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator

import numpy as np

from .. import metrics
from .._core import check
from .._core.csr import Csr
from . import batches
from .full_batch import Problem
from .tally import rows_of


class Elsewhere:
    """Rows that are not in this process; stands in the place of X."""

    def source(self, net, batch_size: int | None, shuffle: bool):
        """The source of a run: `size`, `fixed`, `sparse`, and `problem` and `trainer` in the place
        of `epoch`."""
        raise NotImplementedError


class Arrays:
    """X (n, d), y and weights: arrays, or X a memory map of any dtype."""

    def __init__(self, net, X, y, sample_weight, batch_size: int, shuffle: bool):
        self._net = net
        if callable(X) or isinstance(X, Iterator):
            raise TypeError(
                f"X is a {type(X).__name__} of batches, beside y; expected batches (X, y) and no y"
            )
        self.X = metrics.inputs(X, "X", net)
        self.sparse = type(self.X) is Csr
        self.size = n = self.X.shape[0]
        y, sample_weight = metrics.targets(net, n, y, sample_weight)
        self.y = y.reshape(-1)
        self.weighted = sample_weight is not None
        self.s = sample_weight
        self.rows = min(batch_size, n)
        self._shuffle, self._chosen = shuffle, None
        self._converted = isinstance(self.X, np.memmap)
        self._window = batches.window_rows(
            n, self.rows, net.dtype.itemsize * net.n_inputs,
            isinstance(X, np.memmap), self._converted,
        )  # fmt: skip
        self.fixed = {
            "rows": n, "batch_size": self.rows, "shuffle": self._shuffle,
            "weighted": self.weighted,
        }  # fmt: skip

    def subset(self, rows: np.ndarray, batch_size: int, sample_weight, name: str) -> Arrays:
        """The source of X[rows], y[rows] and sample_weight[rows], without a copy of X."""
        made = copy.copy(self)
        made.size, made.rows, made._chosen = rows.size, min(batch_size, rows.size), rows
        made._window = batches.window_rows(rows.size, made.rows, 1, False, False)
        if self.weighted:
            made.s = np.zeros_like(self.s)
            made.s[rows] = check.scaled_weights(
                sample_weight[rows], name, self._net.dtype, rows.size
            )
        return made

    def all(self) -> tuple:
        """X, y and weights or None, of all its rows."""
        if self._chosen is None:
            return self.X, self.y, self.s
        y = self.y.reshape(self.X.shape[0], -1)[self._chosen].reshape(-1)
        return self.X[self._chosen], y, self.s[self._chosen] if self.weighted else None

    def problem(self, threads) -> Problem:
        """The loss on all its rows."""
        return Problem(self._net, self, threads)

    def epoch(self, number: int, rng) -> Iterator[tuple]:
        n = self.size
        for order in batches.windows(n, self.rows, self._window, rng if self._shuffle else None):
            if self._chosen is not None:
                order = self._chosen[order]
            if not self._converted:
                yield self.X, self.y, self.s, order, self.rows
            else:
                yield *self._read(order), self.rows

    def _read(self, order):
        """The rows of a window, read in the order of the file, of the network's dtype."""
        rows = np.sort(order)
        x = np.ascontiguousarray(self.X[rows], self._net.dtype)
        y = self.y.reshape(self.X.shape[0], -1)[rows].reshape(-1)
        s = self.s[rows] if self.weighted else None
        return x, y, s, np.searchsorted(rows, order)

    def weight(self, s, order) -> float:
        return float(s[order].sum(dtype=np.float64)) if self.weighted else float(order.size)


class Batches:
    """Ready batches (X, y) or (X, y, sample_weight) from a function or an iterable."""

    weighted = True  # may be; without weights they are 1
    sparse = False  # unless a batch is
    size = None  # rows of an epoch: nobody knows

    def __init__(self, net, make, epochs: int):
        self._net, self._make = net, make
        self.fixed = {"batches": True}
        if callable(make):
            try:
                parameters = inspect.signature(make).parameters.values()
            except (TypeError, ValueError):
                parameters = ()
            self._numbered = any(p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters)
        elif not hasattr(make, "__iter__") or isinstance(make, np.ndarray) or check.is_sparse(make):
            raise TypeError("y is missing; expected fit(net, X, y), or batches in place of X")
        elif iter(make) is make and epochs > 1:
            raise TypeError(
                f"X is an iterator, which is used up after one epoch of {epochs}; "
                f"expected a function that makes one"
            )

    def epoch(self, number: int, rng) -> Iterator[tuple]:
        if not callable(self._make):
            made = self._make
        else:
            made = self._make(number) if self._numbered else self._make()
        if not hasattr(made, "__iter__"):
            raise TypeError(
                f"X returned {made!r} for epoch {number}; expected an iterator of (X, y)"
            )
        for index, batch in enumerate(made):
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                raise TypeError(f"batch {index} is not (X, y) or (X, y, sample_weight)")
            x = metrics.inputs(batch[0], f"X of batch {index}", self._net)
            x = rows_of(x, self._net.dtype)
            n = x.shape[0]
            prefix, s = f"batch {index}: ", None
            if len(batch) == 3 and batch[2] is not None:
                s = check.as_array(batch[2], f"{prefix}sample_weight")
            nothing = s is not None and s.shape == (n,) and s.dtype.kind in "biuf" and not s.any()
            # Weights as they are: those of one batch count beside those of the others.
            y, s = metrics.targets(
                self._net, n, batch[1], None if nothing else s, prefix, scaled=False
            )
            if nothing:
                continue  # no step
            s = np.ones(n, self._net.dtype) if s is None else s
            yield x, y.reshape(-1), s, np.arange(n), n

    def weight(self, s, order) -> float:
        return float(s.sum(dtype=np.float64))
