"""Threads: the lock, forks, bounds, and which of two kernels of the same bits runs.

The smallest bound holds: the call's own or the process's (`set_limit`), Numba's for the calling
thread, and that of the OpenMP library beneath Numba, which `threadpoolctl` sets. One parallel
kernel runs at a time in a process; a second Python thread that comes meanwhile runs the serial
twin. A child made by `fork` runs serial kernels, since the parent's threads did not survive.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
import time
from functools import lru_cache

import numba

from ..kernels import calls
from . import check

_parallel = threading.Lock()  # held while a parallel kernel runs
_forked = False


def _after_fork() -> None:
    global _forked, _parallel
    _forked = True
    _parallel = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def max_threads() -> int:
    """The threads that Numba may use: NUMBA_NUM_THREADS, by default the processors."""
    return numba.config.NUMBA_NUM_THREADS


def _environment_limit() -> int | None:
    """OMP_NUM_THREADS, if it is a number; of a list, one for each level, the first counts."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), max_threads()) if first.isdigit() and int(first) else None


_limit: int | None = _environment_limit()


def limit() -> int:
    """The process's own bound."""
    return max_threads() if _limit is None else _limit


def set_limit(threads: int | None) -> None:
    """Checked already; None takes the bound away."""
    global _limit
    _limit = threads


def check_threads(threads) -> int:
    threads = check.integer(threads, "threads")
    if threads > max_threads():
        raise ValueError(
            f"threads is {threads}; expected at most {max_threads()} "
            f"(NUMBA_NUM_THREADS, set before Numba is imported)"
        )
    return threads


def start_threads() -> bool:
    """Start Numba's threading layer; False where it must not be, in a child made by `fork`."""
    if _forked:
        return False
    if not calls.openmp[0]:
        before = _openmp_threads()
        numba.get_num_threads()
        if numba.threading_layer() == "omp":
            library = _openmp()
            if before is not None:  # Numba sets its own number in their place
                library.omp_set_num_threads(before)
            function = library and library.omp_get_max_threads
            calls.openmp[0] = ctypes.cast(function, ctypes.c_void_p).value if function else 0
    return True


def _openmp():
    """GNU's OpenMP library, where it is in this process already."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        return ctypes.CDLL("libgomp.so.1", os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def _openmp_threads() -> int | None:
    library = _openmp()
    return library and library.omp_get_max_threads()


def bound(threads: int | None) -> int:
    """The threads of the next parallel kernel of this thread; `threads`: a call's own bound."""
    threads = limit() if threads is None else check_threads(threads)
    if threads == 1 or not start_threads():
        return 1
    function = calls.openmp[0] and ctypes.CFUNCTYPE(ctypes.c_int)(int(calls.openmp[0]))
    return min(threads, numba.get_num_threads(), max(1, function()) if function else threads)


def launch(serial, parallel, worth_it: bool, threads, args, choice=None):
    """Run one of two kernels that compute the same bits.

    `worth_it` is the plan's word; `threads` the call's own bound (None: the process's); `choice`
    (`choice.py`) knows whether threads pay here and now, and learns from the call.
    """
    count = bound(threads) if worth_it else 1
    if not worth_it and threads is not None:
        check_threads(threads)
    if count > 1 and (choice is None or choice.parallel()) and _parallel.acquire(blocking=False):
        try:
            if choice is not None and choice.is_new:
                # Compiled later, it would be at a time of `choice`'s own, maybe while a fork waits.
                calls.address_of(serial, args)
            return _on_threads(parallel, count, args, choice)
        finally:
            _parallel.release()
    began = time.perf_counter()
    result = serial(*args)
    if choice is not None and count > 1:
        choice.took(False, time.perf_counter() - began)
    return result


def _on_threads(parallel, count: int, args, choice):
    before = numba.get_num_threads()
    if before != count:
        numba.set_num_threads(count)
    began = time.perf_counter()
    try:
        result = parallel(*args)
    finally:
        if before != count:
            numba.set_num_threads(before)
    if choice is not None:
        choice.took(True, time.perf_counter() - began)
    return result


def goes_parallel() -> bool:
    """Whether a parallel plan's kernel may now run in parallel."""
    return limit() > 1 and not _forked


def take_threads() -> int:
    """The threads of a parallel plan's next kernel, before Numba's bound: more than one, taken
    until `return_threads`; 1, not taken, where it is to be serial; 0 if another Python thread has
    them."""
    threads = numba.config.NUMBA_NUM_THREADS if _limit is None else _limit
    if threads == 1 or _forked:
        return 1
    return threads if _parallel.acquire(blocking=False) else 0


def return_threads() -> None:
    _parallel.release()


@lru_cache
def threads_sleep() -> bool:
    """Whether Numba's threads sleep between parallel loops, as those of its own layer workqueue do;
    those of libgomp and TBB wait awake for a while."""
    wanted = str(numba.config.THREADING_LAYER).lower()
    order = {  # in which Numba looks for one
        "default": numba.config.THREADING_LAYER_PRIORITY,
        "safe": ["tbb"],
        "threadsafe": ["tbb", "omp"],
        "forksafe": ["tbb", "workqueue" if sys.platform == "linux" else "omp"],
    }.get(wanted, [wanted])
    return next(filter(_can_be_loaded, order), "workqueue") == "workqueue"


def _can_be_loaded(layer: str) -> bool:
    try:
        importlib.import_module(f"numba.np.ufunc.{layer}{'' if layer == 'workqueue' else 'pool'}")
    except ImportError:
        return False
    return True
