"""Threads in the processes that asv forks.

asv forks a process for each benchmark and parameter from one that has imported the suite
(`launch_method` in asv.conf.json). fastgrad runs serial kernels in a child made by `fork`, whose
parent's threads did not survive; here the parent has none, so children may start their own.
"""

import os

from numba.np.ufunc import parallel

from fastgrad._core import threads


def _own_threads() -> None:
    threads._forked = parallel._is_initialized


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own_threads)  # after fastgrad's own
