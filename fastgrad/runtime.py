"""Threads, and what this machine is.

Parallel kernels are used by themselves where the work is worth it, with the same bits on any number
of threads. One parallel kernel runs at a time in a process: a second Python thread that comes
meanwhile runs the serial twin, so no threading layer is ever entered twice. A child made by `fork`
runs serial kernels, since the parent's thread pool did not survive.

Inside your own compiled code, `prange` included, everything is serial (`fastgrad.interop.numba`).
Numba's threading layer workqueue, used where neither libgomp nor TBB is installed, ends the process
when two parallel loops run at once, whoever's they are: there, Python calls made from a `prange` or
beside one in another thread need ``threads=1``.

What is guaranteed, with the test that shows it, is a table in the README.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from contextlib import contextmanager
from functools import lru_cache

import numba

from ._core import check

_launch = threading.Lock()
_limit: int | None = None
_forked = False


def _after_fork() -> None:
    global _forked, _launch
    _forked = True
    _launch = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def max_threads() -> int:
    """The threads that Numba may use: NUMBA_NUM_THREADS, by default the processors."""
    return numba.config.NUMBA_NUM_THREADS


def get_num_threads() -> int:
    """The most threads a call uses unless it says otherwise.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.get_num_threads() >= 1
    True
    """
    return max_threads() if _limit is None else _limit


def set_num_threads(threads: int | None) -> None:
    """Bound the threads of every later call in this process.

    Parameters
    ----------
    threads : int or None
        1 to `NUMBA_NUM_THREADS` (the number of processors unless the environment says otherwise);
        None takes the bound away.

    Raises
    ------
    TypeError, ValueError
        If `threads` is not an integer in that range.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.set_num_threads(1)
    >>> fg.get_num_threads()
    1
    >>> fg.set_num_threads(None)
    """
    global _limit
    _limit = None if threads is None else check_threads(threads)


def check_threads(threads) -> int:
    threads = check.integer(threads, "threads")
    if threads > max_threads():
        raise ValueError(
            f"threads is {threads}; expected at most {max_threads()} "
            f"(NUMBA_NUM_THREADS, set before Numba is imported)"
        )
    return threads


@contextmanager
def num_threads(threads: int | None):
    """`set_num_threads` within a `with` block.

    Examples
    --------
    >>> import fastgrad as fg
    >>> with fg.num_threads(1):
    ...     fg.get_num_threads()
    1
    """
    global _limit
    before = _limit
    set_num_threads(threads)
    try:
        yield
    finally:
        _limit = before


def launch(serial, parallel, worth_it: bool, threads, args):
    """Run one of two kernels that compute the same bits.

    `worth_it` is the plan's word; `threads` the call's own bound (None: the process's).
    """
    if worth_it or threads is not None:
        threads = get_num_threads() if threads is None else check_threads(threads)
        if worth_it and threads > 1 and not _forked and _launch.acquire(blocking=False):
            try:
                before = numba.get_num_threads()
                if before == threads:
                    return parallel(*args)
                numba.set_num_threads(threads)
                try:
                    return parallel(*args)
                finally:
                    numba.set_num_threads(before)
            finally:
                _launch.release()
    return serial(*args)


def goes_parallel() -> bool:
    """Whether a parallel plan's kernel would now run in parallel."""
    return get_num_threads() > 1 and not _forked


def start_threads() -> bool:
    """Start Numba's threading layer; False where it must not be, in a child made by `fork`."""
    if not _forked:
        numba.get_num_threads()
    return not _forked


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


def take_threads() -> int:
    """The threads of a parallel plan's next kernel: more than one, taken until `return_threads`; 1,
    not taken, where it is to be serial; 0 if another Python thread has them."""
    threads = numba.config.NUMBA_NUM_THREADS if _limit is None else _limit
    if threads == 1 or _forked:
        return 1
    return threads if _launch.acquire(blocking=False) else 0


def return_threads() -> None:
    _launch.release()


def config() -> dict[str, object]:
    """What this machine is to fastgrad: versions, CPU, SIMD path, caches, threads.

    "tuning" are the block sizes that were chosen from "caches", in the form of the environment
    variable `FASTGRAD_TUNING`, which fixes them. "cache" is where compiled kernels are kept.

    Examples
    --------
    >>> import fastgrad as fg
    >>> sorted(fg.config())[:3]
    ['cache', 'caches', 'cpu']
    """
    import platform

    import llvmlite
    import llvmlite.binding
    import numpy

    from . import __version__
    from ._core import tuning
    from .kernels import gemm, simd
    from .kernels.engine import serial_step

    cache = getattr(serial_step._cache, "cache_path", None)
    layer = numba.threading_layer() if _layer_started() else "not started"
    return {
        "fastgrad": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        "simd": simd.PATH,
        "vector": f"{simd.LANES_F32} float32, {simd.LANES_F64} float64",
        "tile": f"{gemm.TILE_ROWS[gemm.NV][0]} x {gemm.NR_F32} float32",
        "caches": tuning.described(tuning.found()),
        "tuning": tuning.as_text(tuning.tuned()),
        "tuned by": tuning.VARIABLE if tuning.is_given() else "model",
        "threads": f"{get_num_threads()} of {max_threads()}",
        "threading layer": layer,
        "cache": cache or "off",
    }


def _layer_started() -> bool:
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def show_config() -> None:
    """Print `config()`, a line each.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.show_config()  # doctest: +ELLIPSIS
    fastgrad ...
    """
    for key, value in config().items():
        print(f"{key:<16} {value}")
