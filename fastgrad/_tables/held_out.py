"""Rows held out of many files, by the seed and the row's number: no list of them is kept."""

from __future__ import annotations

import numpy as np

CHUNK = 2**16  # rows whose numbers are drawn together


class Share:
    """The rows whose number in [0, 1), drawn by `seed`, is in [low, high)."""

    def __init__(self, seed: int, low: float, high: float):
        self.seed, self.low, self.high = seed, low, high
        self._last = (-1, None)  # replaced as a whole: several readers may share this one

    def _drawn(self, chunk: int) -> np.ndarray:
        known, drawn = self._last
        if known != chunk:
            # 2**128 numbers lie between two counters' first words: no two chunks overlap.
            bits = np.random.Philox(key=self.seed % 2**128, counter=[0, 0, chunk, 0])
            drawn = np.random.Generator(bits).random(CHUNK)
            self._last = chunk, drawn
        return drawn

    def of(self, first: int, count: int) -> np.ndarray:
        """Which of the rows first, first + 1, ... are in it, (count,) of bool."""
        found = np.empty(count, bool)
        place = 0
        while place < count:
            chunk, start = divmod(first + place, CHUNK)
            stop = min(CHUNK, start + count - place)
            drawn = self._drawn(chunk)[start:stop]
            found[place : place + stop - start] = (drawn >= self.low) & (drawn < self.high)
            place += stop - start
        return found

    def count(self, first: int, rows: int) -> int:
        """How many of the rows first, first + 1, ... are in it."""
        starts = range(first, first + rows, CHUNK)
        return sum(int(self.of(start, min(CHUNK, first + rows - start)).sum()) for start in starts)
