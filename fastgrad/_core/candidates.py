"""What the model of `tuning.py` loses on this machine: candidates beside it, measured.

In: block sizes by name, the model's first. Out: for each the geometric mean over some works of its
time over the model's, and the best. All run in one process, interleaved, on one thread; candidates
within `NOISE` of the model are no better than it.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import numpy as np

from .. import runtime
from . import plan as plans
from . import tuning
from .machine import KIB, Caches, bounded

# (layer sizes, rows, dtype): wide and narrow gradients, on both sides of the borders.
WORKS = (
    ((784, 512, 256, 10), 256, np.float32),
    ((256, 256, 256), 2048, np.float32),
    ((54, 128, 64, 7), 1024, np.float32),
    ((500, 500, 500, 10), 512, np.float64),
)
ROUNDS, NOISE = 9, 0.02


def candidates(machine: Caches) -> dict[str, tuning.Tuning]:
    """The model first; then what it says of other caches, and one number doubled or halved."""
    here = tuning.model(machine)
    found = {"model": here}
    for name, size in (("an L2 of 512 KiB", 512 * KIB), ("an L2 of 2 MiB", 2048 * KIB)):
        found[name] = tuning.model(bounded(machine._asdict() | {"l2": size}))
    for field in tuning.Tuning._fields[:4]:
        low, high = (getattr(bound, field) for bound in (tuning.LEAST, tuning.MOST))
        for word, number in (
            ("half", getattr(here, field) // 2),
            ("twice", getattr(here, field) * 2),
        ):
            if low <= number <= high:
                found[f"{word} of {field}"] = here._replace(**{field: number})
    first: dict = {}  # names by numbers: what is there already is not measured again
    for name, numbers in found.items():
        first.setdefault(numbers, name)
    return {name: numbers for numbers, name in first.items()}


def _steps(numbers: tuning.Tuning, works):
    """A step of each work under these numbers, compiled."""
    from .. import MLP

    plans.network_plan.cache_clear()
    tuning.choose(numbers)
    steps = []
    for sizes, n, dtype in works:
        net = MLP(sizes, "mse", dtype=dtype)
        rng = np.random.default_rng(0)
        X, y = (rng.standard_normal((n, k)).astype(dtype) for k in (sizes[0], sizes[-1]))
        theta = net.init(seed=0)
        step = partial(net.loss_and_grad, theta, X, y, out=np.empty_like(theta))
        step()
        steps.append(step)
    return steps


def measure(tried: dict[str, tuning.Tuning], works=WORKS, rounds: int = ROUNDS) -> dict[str, float]:
    """Each candidate's time over the first one's: its geometric mean over the works."""
    before = tuning.tuned()
    try:
        with runtime.num_threads(1):
            steps = {name: _steps(numbers, works) for name, numbers in tried.items()}
            ratios = [_ratios(same, rounds) for same in zip(*steps.values())]
    finally:
        tuning.choose(before)
        plans.network_plan.cache_clear()
    return {name: statistics.geometric_mean(own) for name, own in zip(tried, zip(*ratios))}


def _ratios(steps, rounds: int) -> list[float]:
    """Each step's time over the first one's."""
    clock, seconds = time.perf_counter, [[] for _ in steps]
    for turn in range(rounds):
        for step, own in list(zip(steps, seconds))[:: -1 if turn % 2 else 1]:
            step()  # its workspace is in the caches again
            start = clock()
            step()
            own.append(clock() - start)
    return [_quartile(own) / _quartile(seconds[0]) for own in seconds]


def _quartile(seconds) -> float:
    """The lower one, since other processes only add to a time."""
    return sorted(seconds)[len(seconds) // 4]


def search(tried: dict[str, tuning.Tuning], measure=measure) -> tuple[dict[str, float], str]:
    """(each candidate's time over the first one's, the best): the first, unless another is faster
    by more than noise, and again so when the two are measured alone."""
    first = next(iter(tried))
    found = measure(tried)
    best = min(found, key=found.get)
    if best != first:
        found |= measure({name: tried[name] for name in (first, best)})
    return found, best if found[best] < 1 - NOISE else first
