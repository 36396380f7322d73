"""Warm before the clock runs: kernels compiled, thread pools awake, caches filled."""

from __future__ import annotations

import time

SECONDS = 3.0  # `fit` compiles its parallel kernel once a second of training on one core is over


def warm_up(call, seconds: float = SECONDS) -> None:
    """Call at least twice, and until so many seconds are over."""
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        call()
        calls += 1
