"""Memory: peaks beside an empty baseline, and what grows with the rows."""

import tracemalloc
from functools import lru_cache

import numpy as np

import fastgrad as fg

from .forks import with_all_threads_alone

ROWS = (1_000, 10_000, 100_000, 1_000_000)


@lru_cache(maxsize=1)
def case(kind, n):
    """(call, X) of a neuron, a layer's or a network's gradient on n rows of 8 float32 inputs."""
    X, y = np.ones((n, 8), np.float32), np.ones(n, np.float32)
    if kind == "neuron":
        w = np.ones(8, np.float32)
        return lambda: fg.neuron_loss_and_grad(w, 0.5, X, y)
    sizes = {"layer": [8, 1], "network": [8, 16, 1]}[kind]
    net = fg.MLP(sizes, dtype=np.float32)
    theta = net.init(seed=0)
    return lambda: net.loss_and_grad(theta, X, y)


class Memory:
    """`peakmem_` is of the whole process: subtract `peakmem_baseline`, and 36 MB of X and y."""

    params = ("neuron", "layer", "network")
    param_names = ("kind",)

    def setup(self, kind):
        with_all_threads_alone()
        case(kind, 1)()

    def peakmem_baseline(self, kind):
        case(kind, 1)()

    def peakmem_million_rows(self, kind):
        case(kind, 1_000_000)()

    def track_workspace_million_rows(self, kind):
        """Bytes that a call on a million rows allocates, its result included."""
        return allocated(kind, 1_000_000)

    track_workspace_million_rows.unit = "bytes"

    def track_rows_without_temporary(self, kind):
        """The largest n, up to a million, for which a call allocates less than n numbers."""
        fits = [n for n in ROWS if allocated(kind, n) < 4 * n]
        return max(fits, default=0)

    track_rows_without_temporary.unit = "rows"


def allocated(kind, n) -> int:
    """The peak of what NumPy allocates within the first call on n rows."""
    case.cache_clear()
    call = case(kind, n)
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
