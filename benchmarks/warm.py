"""Warm before the clock runs: kernels compiled, thread pools awake, caches filled."""

from __future__ import annotations

import time

SECONDS = 3.0  # `fit` compiles its parallel kernel once a second of training on one core is over


def warm_up(call, seconds: float = SECONDS) -> None:
    """Call once, which may compile, and then until so many seconds are over."""
    call()
    start = time.perf_counter()
    while True:
        call()
        if time.perf_counter() - start > seconds:
            return
