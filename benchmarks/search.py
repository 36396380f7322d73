"""The model of block sizes beside a search: `python -m benchmarks.search`.

For each of some random networks, those of `fastgrad tune`'s candidates: the model's block sizes,
what it says of other caches, and one number doubled or halved. A line has the time of the best over
the model's; the two are measured once more, alone, so that the winner is not the luckiest. One
thread. `--avx2`: the AVX2 path, where the machine has AVX-512 too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from functools import partial
from itertools import pairwise

import numpy as np

from .paths import avx2

FLOPS = 5e6, 4e8  # of a step: enough for blocks to matter, and short


def shapes(count: int, seed: int = 0) -> list[tuple]:
    """(layer sizes, rows, dtype) of random networks, log-uniform."""
    rng = np.random.default_rng(seed)
    found: list[tuple] = []
    while len(found) < count:
        sizes = tuple(round(2 ** rng.uniform(3, 10)) for _ in range(int(rng.integers(2, 6))))
        n, dtype = round(10 ** rng.uniform(1, 4.5)), (np.float32, np.float64)[rng.integers(2)]
        flops = 6 * n * sum(d * k for d, k in pairwise(sizes))
        if FLOPS[0] <= flops <= FLOPS[1]:
            found.append((sizes, n, dtype))
    return found


def lost(tried, shape, rounds: int) -> tuple[float, str]:
    """(the model's time over the best candidate's, less 1; the candidate)."""
    from fastgrad._core import candidates

    found, best = candidates.search(
        tried, partial(candidates.measure, works=(shape,), rounds=rounds)
    )
    return 1 / found[best] - 1, best


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--shapes", type=int, default=40, help="how many (40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9, help="of each measurement (9)")
    parser.add_argument("--avx2", action="store_true", help="the AVX2 path")
    options = parser.parse_args(arguments)
    if options.avx2 and os.environ.get("NUMBA_CPU_NAME") != "haswell":
        command = [sys.executable, "-m", "benchmarks.search", *(arguments or sys.argv[1:])]
        return subprocess.run(command, env=os.environ | avx2()).returncode
    import fastgrad
    from fastgrad._core import candidates, tuning

    config = fastgrad.config()
    print(f"{config['cpu']}, {config['simd']}; {tuning.described(tuning.found())}", flush=True)
    tried, losses = candidates.candidates(tuning.found()), {}
    for sizes, n, dtype in shapes(options.shapes, options.seed):
        name = f"{'-'.join(map(str, sizes))}, {n:,} rows, {np.dtype(dtype).name}"
        losses[name], best = lost(tried, (sizes, n, dtype), options.rounds)
        print(f"{losses[name]:7.1%}  {name}: {best}", flush=True)
    worst = max(losses, key=losses.get)
    print(
        f"the model loses {statistics.median(losses.values()):.1%} at the median of "
        f"{len(losses)} shapes, {losses[worst]:.1%} at worst: {worst}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
