"""A word to who waits for the compiler."""

from __future__ import annotations

import contextlib
import sys
import threading

from ..kernels import cache

WORDS = "preparing: the first run on a machine compiles its kernels, some 10 s"
DELAY = 1.5  # seconds of compiling, before it is said


@contextlib.contextmanager
def patience(quiet: bool):
    """Says it once, and only where something compiles; gives what to call when the wait is over."""
    timer = threading.Timer(DELAY, print, [WORDS], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    waiting = [] if quiet else [timer]

    def start(name: str) -> None:
        with contextlib.suppress(IndexError):  # one thread of those that compile takes it
            waiting.pop().start()

    cache.compiling.append(start)
    try:
        yield lambda result: timer.cancel()
    finally:
        cache.compiling.remove(start)
        timer.cancel()
