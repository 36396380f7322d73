"""Steps that are ready to be timed by asv: data made, kernels compiled.

asv calls `setup` before every sample, and with one it makes a single call a sample. So `setup` here
is cheap (its work is cached), the timed method loops over `calls`, a number that depends on the
work alone, and the clock is divided by it: asv sees seconds of one call.
"""

from __future__ import annotations

import time
from functools import lru_cache

import numba

from . import contenders, forks  # noqa: F401 - forks: threads in asv's processes
from .clipped import MAX_NORM
from .workloads import BY_NAME, PER_SAMPLE, data

SAMPLE = 5e-4  # seconds of a sample, at least


@lru_cache(maxsize=1)
def step_of(name: str):
    """The public call of the work of that name, called once."""
    work = BY_NAME[name]
    step, _ = contenders.fastgrad(work, *data(work), numba.config.NUMBA_NUM_THREADS)
    step()
    return step


@lru_cache(maxsize=1)
def own_calls(name: str) -> dict:
    """The functions of single samples on the work of that name, and `loss_and_grad`, each ready to
    be called once more."""
    import fastgrad as fg

    work = next(work for work in PER_SAMPLE if work.name == name)
    theta, X, y = data(work)
    net, ps = fg.MLP(work.sizes, work.loss, dtype=work.dtype), fg.per_sample
    calls = {
        "loss_and_grad": lambda: net.loss_and_grad(theta, X, y),
        "grad_norms": lambda: ps.grad_norms(net, theta, X, y),
        "clipped_loss_and_grad": lambda: ps.clipped_loss_and_grad(net, theta, X, y, MAX_NORM),
        "grads": lambda: ps.grads(net, theta, X, y),
        "gram": lambda: ps.gram(net, theta, X, y),
        "ntk_trace": lambda: ps.ntk(net, theta, X, trace=True),
    }
    for call in list(calls.values())[:3]:
        call()
    return calls


def calls_of(work) -> int:
    """Calls in a sample: many for tiny works, one for large, the same on every machine."""
    return max(1, round(SAMPLE / (4e-6 + work.flops / 1e11 + work.bytes / 3e10)))


class Timed:
    """Base of the classes with `time_` methods: each loops `for _ in self.loop: call()`."""

    warmup_time = 0.2
    repeat = (5, 60, 4.0)

    def prepare(self, calls: int) -> None:
        self.loop = range(calls)
        self.timer = lambda: time.perf_counter() / calls
