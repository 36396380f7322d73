"""Python threads, each with a job of its own: what fits at once are trained by.

Compiled kernels leave the GIL, so that jobs which mostly compute run side by side. Each is serial
inside, so no parallel loop is entered and any threading layer will do.
"""

from __future__ import annotations

import contextvars
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

SECONDS = 0.1  # between looks for a Ctrl-C: its signal may have come to another thread


def run_all(jobs, threads: int, stop) -> list:
    """What each job returns, `threads` at a time.

    Ctrl-C, which the main thread alone gets, and the first exception of a job set `stop`, an event
    that jobs look at; the exception is raised when all have ended.
    """
    threads = min(threads, len(jobs))
    if threads <= 1:
        return [job() for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        # each with a copy of the caller's context: NumPy's errstate is part of it
        futures = [pool.submit(contextvars.copy_context().run, job) for job in jobs]
        try:
            _wait(futures, stop)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _wait(futures, stop) -> None:
    left = futures
    while left:
        try:
            done, left = wait(left, SECONDS, FIRST_EXCEPTION)
        except KeyboardInterrupt:
            if stop.is_set():  # a second one: wait no longer than jobs look at it
                raise
            stop.set()
            continue
        for future in done:
            future.result()
