"""Calls beside busy processes: `python -m benchmarks.busy` starts one spinning process a core.

A line for each network: the median time of a call on one thread; as multiples of that the 95th
percentile of such calls, and median and 95th percentile of 2,000 calls that may use threads;
interleaved, so that both meet the same processes. Then the same without the busy processes: what
threads gain.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

import numpy as np

import fastgrad as fg

NETWORKS = (
    (100, [40, 33, 5]), (128, [64, 128, 10]), (1000, [40, 33, 5]), (1024, [54, 128, 64, 7]),
    (200, [784, 100, 100, 10]), (1000, [300, 200, 10]), (256, [784, 512, 256, 10]),
)  # fmt: skip


def _spin() -> None:
    while True:
        pass


def seconds(call, count: int) -> list[float]:
    """Of each of `count` calls."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def measure(n: int, sizes: list[int], calls: int) -> tuple[float, float, float, float]:
    """Seconds: median and 95th percentile on one thread, then with threads."""
    rng = np.random.default_rng(0)
    net = fg.MLP(sizes, "cross_entropy", dtype="float32")
    theta, X = net.init(seed=0), rng.standard_normal((n, sizes[0]), np.float32)
    y, grad = rng.integers(0, sizes[-1], n), np.empty(net.n_parameters, np.float32)

    def free():
        net.loss_and_grad(theta, X, y, out=grad)

    def single():
        net.loss_and_grad(theta, X, y, out=grad, threads=1)

    seconds(free, 10), seconds(single, 10)
    one, many = [], []
    for _ in range(20):
        one += seconds(single, calls // 20)
        many += seconds(free, calls // 20)
    return (*np.quantile(one, (0.5, 0.95)), *np.quantile(many, (0.5, 0.95)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    for busy in (os.cpu_count() or 1, 0):
        spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(busy)]
        for process in spinning:
            process.start()
        print(f"beside {busy} busy processes; {fg.get_num_threads()} threads")
        print(f"{'network':<28}{'one thread':>12}{'95 %':>8}{'threads':>9}{'95 %':>8}")
        for n, sizes in NETWORKS:
            one, *others = measure(n, sizes, calls)
            name = f"{'-'.join(map(str, sizes))}, {n} rows"
            first, *rest = (f"{seconds / one:.2f}" for seconds in others)
            print(f"{name:<28}{one * 1e6:>9.0f} us{first:>8}{rest[0]:>9}{rest[1]:>8}")
        for process in spinning:
            process.terminate()


if __name__ == "__main__":
    main()
