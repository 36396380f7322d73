"""Several processes that train one network on rows of their own: sums over ranks.

All ranks make the same calls in the same order. Whatever one of them does alone (reads rows,
computes, calls back, writes a file) it does inside `total`: where that fails, the others learn of
it by the sum that they wait for, and end too instead of waiting for ever.
"""

from __future__ import annotations

import hashlib
import signal
import threading
from contextlib import contextmanager

import numpy as np

_FAILED, _INTERRUPTED, _HEAD = 0, 1, 2
_PIECE = 2**20  # of a digest: squares of many are added exactly in float64
PIECES = 2


class Ranks:
    """The sum over ranks that the caller of `fit` gave."""

    def __init__(self, reduce):
        self._sum = _adder(reduce)
        # Which rank this is, where the caller's sum says it: a communicator does.
        self.number = reduce.Get_rank() if hasattr(reduce, "Get_rank") else None
        self.watched = False  # whether a rank has callbacks after steps
        self._interrupted = False

    def total(self, size: int, make) -> np.ndarray:
        """The sum over ranks of make(), (size,) in float64 or None for zeros."""
        message, error = np.zeros(_HEAD + size), None
        try:
            made = make()
            if made is not None:
                message[_HEAD:] = made
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
            message[_INTERRUPTED if isinstance(caught, KeyboardInterrupt) else _FAILED] = 1
        if self._interrupted:
            message[_INTERRUPTED] = 1
        sums = np.asarray(self._sum(message))
        if error is not None:
            raise error
        if sums.shape != message.shape or sums.dtype != np.float64:
            raise TypeError(
                f"reduce returned shape {sums.shape} and dtype {sums.dtype}; expected the sum over "
                f"ranks of what it is given, {message.shape} of float64"
            )
        if sums[_FAILED]:
            raise RuntimeError("training ended because of an error in another rank: see there")
        if sums[_INTERRUPTED]:
            raise KeyboardInterrupt
        return sums[_HEAD:]

    @contextmanager
    def told_of_interrupts(self):
        """Ctrl-C is heard at the next sum, by all ranks; a second one at once, as ever."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def note(number, frame):
            self._interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def any(self, say) -> bool:
        """Whether say() is true in any rank."""
        return bool(self.total(1, lambda: [bool(say())])[0])

    def do(self, action):
        """What action() returns, once it ended well in all ranks."""
        done = []
        self.total(0, lambda: done.append(action()))
        return done[0]

    def require_same(self, values: dict) -> None:
        """A ValueError in all ranks that names what is not the same in all."""
        names = list(values)
        digests = np.array([pieces(values[name]) for name in names], np.float64).ravel()
        message = np.concatenate([[1.0], digests, np.square(digests)])
        sums = [int(value) for value in self.total(message.size, lambda: message)]
        first, second = sums[1 : 1 + digests.size], sums[1 + digests.size :]
        apart = [sums[0] * b != a * a for a, b in zip(first, second)]  # of equal ones alone
        different = [
            name for i, name in enumerate(names) if any(apart[PIECES * i : PIECES * (i + 1)])
        ]
        if different:
            raise ValueError(
                f"reduce: the ranks differ in {', '.join(different)}; expected the same in all"
            )


def pieces(value) -> list[int]:
    """Whole numbers that tell one value from another, whose sums over ranks are exact."""
    data = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    digest = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return [digest % _PIECE, digest // _PIECE % _PIECE]


def _adder(reduce):
    """A function from a float64 array to its sum over ranks."""
    if callable(reduce):
        return reduce
    if hasattr(reduce, "Allreduce"):  # an MPI communicator

        def add(message):
            sums = np.empty_like(message)
            reduce.Allreduce(message, sums)
            return sums

        return add
    if hasattr(reduce, "allreduce"):
        return reduce.allreduce
    raise TypeError(
        f"reduce is {reduce!r}; expected a function that returns the sum over ranks of an array, "
        f"or an MPI communicator"
    )
