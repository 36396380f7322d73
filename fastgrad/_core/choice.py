"""Serial or parallel steps: whichever is faster here and now.

Both have the same bits, so training is free to choose; beside other busy processes a parallel
launch can cost a hundred times its work. Threads are tried by a few steps now and then, first when
they may soon repay what it costs to have them: nothing, loading a kernel, or compiling one.
"""

from __future__ import annotations

import numpy as np

from ..kernels.tuning import HOPELESS, TRIAL_COST, TRIAL_PAUSE, WAKING


class Choice:
    """For steps of one shape; starts serial."""

    def __init__(self):
        self.parallel = False
        self._seconds = [np.inf, np.inf]  # a step, of each
        self._since, self._pause = 0.0, 0.0

    def due(self, wait: float) -> bool:
        return self._since >= max(wait, self._pause)

    def hopeless(self, took: list[float]) -> bool:
        """Whether a second step of a trial would be a waste; the first may have woken threads."""
        return bool(took) and took[0] > HOPELESS * self._seconds[self.parallel] + WAKING

    def tried(self, best: float, total: float) -> None:
        """The other way took `best` seconds a step, `total` in all."""
        self._seconds[not self.parallel] = best
        if best < self._seconds[self.parallel]:
            self.parallel = not self.parallel
        self._since, self._pause = 0.0, max(TRIAL_PAUSE, TRIAL_COST * total)

    def ran(self, seconds: float, count: float) -> None:
        self._seconds[self.parallel] = seconds / count
        self._since += seconds
