"""Derivatives beyond a gradient, as multiples of it; and whole Hessians.

784-1024-512-256-128-64-10 with 512 rows is curvlinops' benchmark, 104-50-2 with 256 fast-dpsgd's;
2-h-1 with softplus in float64 is MLPGradientFlow.jl's setting.
`NUMBA_NUM_THREADS=2 python -m benchmarks.bench_derivatives` prints them all.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from statistics import median

import numpy as np

import fastgrad as fg

from .prepared import Timed
from .worker import turn

WORKS = {
    "64-128-10, 128 rows": ((64, 128, 10), 128),
    "54-128-64-7, 1,024 rows": ((54, 128, 64, 7), 1024),
    "784-1024-512-256-128-64-10, 512 rows": ((784, 1024, 512, 256, 128, 64, 10), 512),
    "104-50-2, 256 rows": ((104, 50, 2), 256),
}
FUNCTIONS = ("vjp", "jvp", "ggn_vp", "hvp", "ggn_diagonal", "kfac_factors")
HESSIANS = {f"2-{h}-1, {n:,} rows": (h, n) for h in (10, 50, 100) for n in (10, 1000, 100_000)}


@lru_cache(maxsize=1)
def calls_by_name(name: str) -> dict:
    sizes, n = WORKS[name]
    rng, net = np.random.default_rng(0), fg.MLP(sizes, "cross_entropy", dtype="float32")
    theta, y = net.init(seed=0), rng.integers(0, sizes[-1], n)
    X, cotangent, v = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((n, sizes[0]), (n, sizes[-1]), theta.size)
    )
    calls = {
        "loss_and_grad": lambda: net.loss_and_grad(theta, X, y),
        "vjp": lambda: fg.jacobians.vjp(net, theta, X, cotangent),
        "jvp": lambda: fg.jacobians.jvp(net, theta, X, v),
        "ggn_vp": lambda: fg.curvature.ggn_vp(net, theta, X, y, v),
        "hvp": lambda: fg.curvature.hvp(net, theta, X, y, v),
        "ggn_diagonal": lambda: fg.curvature.ggn_diagonal(net, theta, X, y),
        "kfac_factors": lambda: fg.curvature.kfac_factors(net, theta, X, y),
    }
    for call in calls.values():
        call()
    return calls


def multiples(name: str, rounds: int = 5) -> dict[str, float]:
    """Of the time of `loss_and_grad`, by function: the median of paired ratios."""
    calls = calls_by_name(name)
    times = [{each: turn(call, 0.01)[0] for each, call in calls.items()} for _ in range(rounds)]
    return {
        function: median(row[function] / row["loss_and_grad"] for row in times)
        for function in FUNCTIONS
    }


class Multiple:
    """All are measured in one process, side by side."""

    params = tuple(WORKS), FUNCTIONS
    param_names = ("work", "function")
    unit = "times"
    timeout = 180

    def setup_cache(self):
        return {name: multiples(name) for name in WORKS}

    def track_multiple_of_gradient(self, measured, name, function):
        return measured[name][function]


@lru_cache(maxsize=1)
def hessian_of(name: str):
    h, n = HESSIANS[name]
    rng, net = np.random.default_rng(0), fg.MLP([2, h, 1], "mse", activation="softplus")
    theta, X = net.init(seed=0), rng.standard_normal((n, 2))
    y = rng.standard_normal((n, 1))

    def call():
        return fg.curvature.hessian(net, theta, X, y)

    call()
    return call


class Hessian(Timed):
    params = tuple(HESSIANS)
    param_names = ("work",)
    timeout = 180

    def setup(self, name):
        self.call = hessian_of(name)
        self.prepare(100 if name.endswith(" 10 rows") else 1)

    def time_hessian(self, name):
        call = self.call
        for _ in self.loop:
            call()


def main(threads):
    for count in threads:
        with fg.num_threads(count):
            print(f"{count} thread{'s' if count > 1 else ''}; loss_and_grad: 1")
            for name in WORKS:
                found = [f"{function} {times:.2f}" for function, times in multiples(name).items()]
                print(f"  {name}: {', '.join(found)}", flush=True)
            for name in HESSIANS:
                seconds, _ = turn(hessian_of(name), 0.02)
                print(f"  hessian of {name}: {seconds * 1e3:.3g} ms", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1])
