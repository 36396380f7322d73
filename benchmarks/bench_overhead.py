"""What a call costs when there is next to nothing to compute."""

from functools import lru_cache
from statistics import median
from time import perf_counter

import numpy as np

import fastgrad as fg

from .prepared import Timed

CALLS = 200


@lru_cache(maxsize=1)
def smallest(kind):
    """The smallest work of a kind, called once."""
    X, y, w = np.ones((1, 1)), np.ones(1), np.ones(1)
    W, b = np.ones((1, 1)), np.ones(1)
    net = fg.MLP([1, 1, 1])
    theta = net.init(seed=0)
    step = {
        "neuron": lambda **options: fg.neuron_loss_and_grad(w, 0.5, X, y, **options),
        "layer": lambda **options: fg.affine_relu(X, W, b, **options),
        "network": lambda **options: net.loss_and_grad(theta, X, y, **options),
    }[kind]
    step()
    return step


def kernel_nanoseconds(kind) -> float:
    """Of the step that the public call of `smallest` ends in, while its arrays live."""
    from fastgrad._core import threads

    launch, step, seen = threads.launch, smallest(kind), []

    def record(serial, parallel, worth_it, bound, args, choice):
        seen.append(nanoseconds(lambda: serial(*args)))
        return launch(serial, parallel, worth_it, bound, args, choice)

    threads.launch = record
    try:
        step(threads=1)  # a call with a bound of its own always passes through `launch`
    finally:
        threads.launch = launch
    return seen[-1]


def nanoseconds(call) -> float:
    """Of one call: the median of 51 loops."""
    times = []
    for _ in range(51):
        start = perf_counter()
        for _ in range(CALLS):
            call()
        times.append(perf_counter() - start)
    return median(times) / CALLS * 1e9


class Overhead(Timed):
    params = ("neuron", "layer", "network")
    param_names = ("kind",)

    def setup(self, kind):
        self.step = smallest(kind)
        self.prepare(CALLS)

    def time_smallest_call(self, kind):
        step = self.step
        for _ in self.loop:
            step()

    def track_outside_kernel(self, kind):
        """The public call's time less its kernel's own: checks, plan, buffers, result."""
        rounds = [nanoseconds(self.step) - kernel_nanoseconds(kind) for _ in range(5)]
        return median(rounds)

    track_outside_kernel.unit = "ns"
