"""Threads, and what this machine is.

Parallel kernels are used by themselves where the work is worth it, with the same bits on any number
of threads. One parallel kernel runs at a time in a process: a second Python thread that comes
meanwhile runs the serial twin, so no threading layer is ever entered twice. A child made by `fork`
runs serial kernels, since the parent's thread pool did not survive.

Inside your own compiled code, `prange` included, everything is serial (`fastgrad.interop.numba`).
Numba's threading layer workqueue, used where neither libgomp nor TBB is installed, ends the process
when two parallel loops run at once, whoever's they are: there, Python calls made from a `prange` or
beside one in another thread need ``threads=1``.

What is guaranteed, with the test that shows it: `fastgrad/guide/guarantees.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from ._core import threads as _threads
from ._core.names import list_public
from ._core.threads import check_threads, max_threads

__all__ = ["config", "get_num_threads", "num_threads", "set_num_threads", "show_config"]
list_public(globals())


def get_num_threads() -> int:
    """The most threads a call uses unless it says otherwise.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.get_num_threads() >= 1
    True
    """
    return _threads.limit()


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
    _threads.set_limit(None if threads is None else check_threads(threads))


@contextmanager
def num_threads(threads: int | None) -> Iterator[None]:
    """`set_num_threads` within a `with` block.

    Examples
    --------
    >>> import fastgrad as fg
    >>> with fg.num_threads(1):
    ...     fg.get_num_threads()
    1
    """
    before = _threads.limit()
    set_num_threads(threads)
    try:
        yield
    finally:
        _threads.set_limit(before)


def config() -> dict[str, object]:
    """What this machine is to fastgrad: versions, CPU, SIMD path, caches, threads.

    "tuning" are the block sizes that were chosen from "caches", in the form of the environment
    variable `FASTGRAD_TUNING`, which fixes them. "kernels" says whether machine code comes with the
    wheel or is compiled here; "cache" is the folder in which that is kept.

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
    from .kernels import folders, micro_kernel, simd

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
        "tile": f"{micro_kernel.TILE_ROWS[micro_kernel.NV][0]} x {micro_kernel.NR_F32} float32",
        "caches": tuning.described(tuning.found()),
        "tuning": tuning.as_text(tuning.tuned()),
        "tuned by": tuning.VARIABLE if tuning.is_given() else "model",
        "threads": f"{get_num_threads()} of {max_threads()}",
        "threading layer": layer,
        "kernels": folders.wheel_folder()[1],
        "cache": folders.described(),
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
