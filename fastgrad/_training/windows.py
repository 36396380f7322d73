"""Rows of files, window by window, read ahead by a thread of its own.

An epoch is an order of the files' units; its rows, in that order, are cut into windows of a whole
number of batches, and each is shuffled by a generator of its own. So an epoch's order follows from
a number that is drawn for it, and it can be taken up at any window. A reader fills the next windows
while one is trained on: `ahead + 1` windows are all that is in memory, whatever the files hold.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator

import numpy as np

from .summed import Summed, total_of


class Window:
    """Arrays of a window's rows; `count` of them are filled."""

    def __init__(self, rows: int, net, labelled: bool, weighted: bool):
        self.count = 0
        self.x = np.empty((rows, net.n_inputs), net.dtype)
        k, kind = (1, np.int64) if net.spec.loss.labelled else (net.n_outputs, net.dtype)
        self.y = np.empty(rows * k, kind) if labelled else None
        self.s = np.empty(rows, net.dtype) if weighted else None
        self._k = k

    def write(self, block, start: int, count: int) -> None:
        """`count` rows of a block, from `start` on, after those that are there."""
        first, last = self.count, self.count + count
        block.write(
            start, start + count, self.x[first:last],
            None if self.y is None else self.y[first * self._k : last * self._k],
            None if self.s is None else self.s[first:last],
        )  # fmt: skip
        self.count = last

    def arrays(self) -> tuple:
        """(x, y, s) of the rows that are there."""
        n = self.count
        return (
            self.x[:n],
            None if self.y is None else self.y[: n * self._k],
            None if self.s is None else self.s[:n],
        )


class Windows:
    """The source of `fit` for rows that do not fit; see `sources`.

    `_rows_of(units, skip, stopped)` of the stream yields encoded blocks of the rows of these units,
    but for the first `skip`, until `stopped()`.
    """

    sparse = False
    resumes = True  # an epoch can be taken up at any of its windows

    def __init__(self, net, stream, batch_size: int | None, shuffle: bool, labelled: bool = True):
        """`batch_size` None: windows are blocks of rows, no batches."""
        self._net, self._stream, self._shuffle = net, stream, shuffle
        self.labelled, self.weighted = labelled, labelled and stream.weight is not None
        self.rows, self.window = batch_size, stream.window
        if batch_size is None:
            self.fixed = {"weighted": self.weighted, "window": self.window}
            return
        if batch_size > stream.window:
            raise ValueError(
                f"batch_size is {batch_size}, the stream's window {stream.window} rows; expected "
                f"a window that holds a batch"
            )
        self.window = stream.window // batch_size * batch_size
        self.fixed = {
            "rows": self.size, "batch_size": self.rows, "shuffle": shuffle,
            "weighted": self.weighted, "window": self.window,
        }  # fmt: skip

    @property
    def size(self) -> int:
        return self._stream.rows

    def epoch(self, number: int, rng, done: int = 0) -> Iterator[tuple]:
        """`done`: how many windows of it have been done."""
        units = self._stream._units
        if self._shuffle:
            draw = int(rng.integers(2**63))
            units = [units[i] for i in np.random.default_rng([draw]).permutation(len(units))]
        with contextlib.closing(self._read(units, done * self.window)) as windows:
            for index, (x, y, s) in enumerate(windows, done):
                order = np.arange(len(x))
                if self._shuffle:
                    np.random.default_rng([draw, index]).shuffle(order)
                yield x, y, s, order, self.rows

    def blocks(self) -> Generator[tuple, None, None]:
        """(x, y, s) of the windows in the order of the files."""
        return self._read(self._stream._units, 0)

    def problem(self, threads) -> Summed:
        """The loss on all rows, which are read at each evaluation."""
        return Summed(self._net, total_of(self._net, self.blocks, threads))

    def all(self) -> tuple:
        """(x, y, s) of all rows."""
        window = Window(self.size, self._net, self.labelled, self.weighted)
        for _ in self._fill(self._stream._units, 0, lambda: window, lambda: False):
            pass
        return window.arrays()

    def weight(self, s, order) -> float:
        return float(s[order].sum(dtype=np.float64)) if self.weighted else float(order.size)

    def _new(self) -> Window:
        return Window(self.window, self._net, self.labelled, self.weighted)

    def _read(self, units, skip: int) -> Generator[tuple, None, None]:
        """Arrays of one window after the other, each until the next is asked for."""
        ahead = self._stream.ahead
        if not ahead:
            window = self._new()
            for filled in self._fill(units, skip, lambda: window, lambda: False):
                yield filled.arrays()
                filled.count = 0
            return
        free, full, stop = queue.Queue(), queue.Queue(), threading.Event()
        for _ in range(ahead + 1):
            free.put(None)

        def fill():
            def take():
                window = free.get()
                return window if window is not None or stop.is_set() else self._new()

            try:
                for window in self._fill(units, skip, take, stop.is_set):
                    full.put(window)
                full.put(None)
            except BaseException as error:
                full.put(error)

        reader = threading.Thread(target=fill, name="fastgrad-reader", daemon=True)
        reader.start()
        try:
            while (window := full.get()) is not None:
                if isinstance(window, BaseException):
                    raise window
                yield window.arrays()
                window.count = 0
                free.put(window)
        finally:
            stop.set()
            free.put(None)
            reader.join()

    def _fill(self, units, skip: int, take, stopped) -> Iterator[Window]:
        with self._stream._words():
            yield from self._filled(units, skip, take, stopped)

    def _filled(self, units, skip: int, take, stopped) -> Iterator[Window]:
        window = None
        for block in self._stream._rows_of(units, skip, self.labelled, self._net, stopped):
            start = 0
            while start < block.rows:
                if window is None:
                    window = take()
                    if window is None or stopped():
                        return
                count = min(block.rows - start, len(window.x) - window.count)
                window.write(block, start, count)
                start += count
                if window.count == len(window.x):
                    yield window
                    window = None
        if window is not None and window.count and not stopped():
            yield window
