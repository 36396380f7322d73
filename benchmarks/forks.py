"""Threads in the processes that asv forks, and what is measured with one thread too.

asv forks a process for each benchmark and parameter from one that has imported the suite
(`launch_method` in asv.conf.json). fastgrad runs serial kernels in a child made by `fork`, whose
parent's threads did not survive; here the parent has none, so children may start their own.
"""

from __future__ import annotations

import os

from numba.np.ufunc import parallel

from fastgrad._core import threads


def _own_threads() -> None:
    threads._forked = parallel._is_initialized


def with_all_threads_alone() -> None:
    """For `setup` of what does not depend on the number of threads: asv measures it once."""
    if os.environ.get("NUMBA_NUM_THREADS") == "1":
        raise NotImplementedError


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own_threads)  # after fastgrad's own
