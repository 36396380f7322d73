"""One neuron: from a handful of rows to data far beyond the last-level cache."""

from dataclasses import replace
from functools import lru_cache

import numba

from . import contenders
from .prepared import Timed, calls_of
from .workloads import Work, data

SHAPES = {
    "256 x 16": (256, 16),
    "4,096 x 128": (4096, 128),
    "2,000,000 x 32": (2_000_000, 32),
    "100,000 x 1,000": (100_000, 1000),
}


@lru_cache(maxsize=1)
def prepared(shape, dtype):
    n, d = SHAPES[shape]
    work = replace(Work(shape, "neuron", n, (d, 1)), dtype=dtype)
    step, _ = contenders.fastgrad(work, *data(work), numba.config.NUMBA_NUM_THREADS)
    step()
    return work, step


class Neuron(Timed):
    params = (tuple(SHAPES), ("float32", "float64"))
    param_names = ("rows x inputs", "dtype")

    def setup(self, shape, dtype):
        work, self.step = prepared(shape, dtype)
        self.prepare(calls_of(work))

    def time_loss_and_grad(self, shape, dtype):
        step = self.step
        for _ in self.loop:
            step()
