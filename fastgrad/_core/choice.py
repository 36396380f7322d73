"""Serial or parallel steps: whichever is faster here and now.

Both have the same bits, so training is free to choose; beside other busy processes a parallel
launch can cost a hundred times its work. Threads are tried by a few steps now and then, first when
they may soon repay what it costs to have them: nothing, loading a kernel, or compiling one.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ..kernels import tuning
from ..kernels.tuning import HOPELESS, TRIAL_COST, TRIAL_PAUSE, WAKING


class TrainingChoice:
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


class CallChoice:
    """For single calls of one plan: parallel until that has cost more than serial calls would.

    A serial call now and then says what one takes. What parallel calls take beyond it adds up, and
    what they save is taken off; at some serial calls' worth they are given up for a pause, but not
    for one call alone, which may have woken the threads. Each pause is twice the last one, and half
    of it after each time without.
    """

    def __init__(self):
        self._serial = 0.0  # seconds of a call; 0: not known
        self._lost = 0.0  # seconds
        self._pause = tuning.FIRST_PAUSE
        self._next = 0.0  # when the pause, or the time until the next serial call, is over
        self._paused, self._calls = False, 0

    @property
    def is_new(self) -> bool:
        return self._calls == 0

    def parallel(self) -> bool:
        """Whether the next call is to be."""
        if not self._serial:
            return self._calls < tuning.WARMING_CALLS
        if perf_counter() < self._next:
            return not self._paused
        if self._paused:
            self._paused, self._lost = False, 0.0
            self._next = perf_counter() + tuning.PROBE_PAUSE
            return True
        return False

    def took(self, parallel: bool, seconds: float) -> None:
        """What a call took."""
        if parallel and seconds > tuning.LONG_CALL:  # a busy core costs it little; or it compiled
            return
        if not parallel:
            known = self._serial or seconds
            self._serial = min(seconds, tuning.SERIAL_DRIFT * known)
            if not self._paused:
                self._next = perf_counter() + tuning.PROBE_PAUSE
                self._pause = max(tuning.FIRST_PAUSE, self._pause / 2)
        elif not self._serial:
            self._calls += 1
        else:
            lost = min(seconds - self._serial, tuning.LOST_AT_ONCE * self._serial)
            self._lost = max(0.0, self._lost + lost)
            if self._lost > tuning.MOST_LOST * self._serial:
                self._paused = True
                self._next = perf_counter() + self._pause
                self._pause = min(2 * self._pause, tuning.LONGEST_PAUSE)
