"""Clipped gradients of single samples, beside `vmap(grad)` of PyTorch and JAX and beside Opacus.

    python -m benchmarks.compare_per_sample --threads 2 --python-for opacus=/path/to/env/bin/python

Results are compared first, with the NumPy closed form in float64; then times, as
`python -m benchmarks.peers` takes them: a process each, interleaved turns, medians of paired
ratios. Opacus wants an environment of its own: `pip install torch opacus`. After the table: the
cost of norms, clipped gradients and gradients as multiples of fastgrad's own `loss_and_grad`, and a
Gram matrix of 2,000 rows beside the product of gradients formed in NumPy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

import numpy as np

from . import clipped
from .peers import OURS, compare, start
from .prepared import own_calls
from .report import duration
from .worker import THREAD_VARIABLES, environment, one_at_a_time
from .workloads import PER_SAMPLE, data

GRAM_ROWS = 2000


def paired(calls: dict, rounds: int, seconds: float = 0.02) -> dict[str, list[float]]:
    """Seconds of each call in every round; the order alternates."""
    numbers = {}
    for name, call in calls.items():
        call()
        begin = time.perf_counter()
        call()
        numbers[name] = max(1, int(seconds / (time.perf_counter() - begin)))
    taken = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            begin = time.perf_counter()
            for _ in range(numbers[name]):
                calls[name]()
            taken[name].append((time.perf_counter() - begin) / numbers[name])
    return taken


def own_multiples(rounds: int) -> None:
    print("\nmultiples of loss_and_grad's own time: norms, clipped, gradients")
    for work in PER_SAMPLE:
        names = "loss_and_grad", "grad_norms", "clipped_loss_and_grad", "grads"
        names = names[: 4 if work.n * work.parameters < 2e8 else 3]  # gradients that memory holds
        calls = {name: own_calls(work.name)[name] for name in names}
        taken = paired(calls, rounds)
        base = taken.pop("loss_and_grad")
        ratios = (statistics.median(t / b for t, b in zip(taken[name], base)) for name in taken)
        print(f"{work.name:46}{duration(statistics.median(base)):>9}"
              + "".join(f"{ratio:9.2f}" for ratio in ratios), flush=True)  # fmt: skip


def gram_beside_numpy(rounds: int) -> None:
    import fastgrad as fg
    from fastgrad import reference_per_sample as reference

    print(f"\nGram matrix of {GRAM_ROWS:,} rows: fastgrad, gradients formed in NumPy, ratio")
    for work in PER_SAMPLE[:2] + PER_SAMPLE[3:]:
        theta, X, y = data(work)
        rng = np.random.default_rng(0)
        X = rng.standard_normal((GRAM_ROWS, X.shape[1]), dtype=X.dtype)
        y = rng.integers(0, work.sizes[-1], GRAM_ROWS)
        net = fg.MLP(work.sizes, work.loss, dtype=work.dtype)

        def formed(theta=theta, X=X, y=y, work=work):
            rows = reference.grads(theta, X, y, work.sizes, work.loss)
            return reference.gram(rows, rows)

        def ours(net=net, theta=theta, X=X, y=y):
            return fg.per_sample.gram(net, theta, X, y)

        found, expected = ours(), formed()
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < 1e-4, error
        taken = paired({"ours": ours, "formed": formed}, rounds)
        ratio = statistics.median(b / a for a, b in zip(taken["ours"], taken["formed"]))
        ours, formed = (duration(statistics.median(t)) for t in taken.values())
        print(f"{work.name.split(',')[0]:46}{ours:>9}{formed:>14}{ratio:8.1f}x", flush=True)


def beside_peers(options) -> None:
    pythons = dict(pair.split("=", 1) for pair in options.python_for)
    chosen = options.peers.split(",") if options.peers else list(clipped.CONTENDERS)
    unknown = {*pythons, *chosen} - set(clipped.CONTENDERS)
    if unknown:
        expected = list(clipped.CONTENDERS)
        raise SystemExit(f"no peer is named {sorted(unknown)}; expected {expected}")
    peers = [OURS, *(peer for peer in chosen if peer != OURS)]
    workers, versions, missing = start(peers, options.threads, pythons)
    try:
        print(f"threads: {options.threads}; " + ", ".join(versions.values()))
        for peer, why in missing.items():
            print(f"left out: {peer} ({why})")
        print(f"clipped_loss_and_grad: seconds, and times fastgrad's\n{'':40}"
              + "".join(f"{worker.peer:>19}" for worker in workers))  # fmt: skip
        for work in PER_SAMPLE:
            row = compare(work, workers, rounds=options.rounds)
            cells = [f"{duration(row.seconds.get(OURS, float('nan'))):>19}"]
            for worker in workers[1:]:
                ratio = row.ratios.get(worker.peer)
                cell = f"{duration(row.seconds[worker.peer])} {ratio:5.1f}x" if ratio else "-"
                cells.append(f"{cell:>19}")
            print(f"{work.name:40}" + "".join(cells), flush=True)
            for peer, why in row.faults.items():
                print(f"{'':40}! {peer}: {why}")
    finally:
        for worker in workers:
            worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare_per_sample", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", help="of: " + ", ".join(clipped.CONTENDERS) + " (default: all)")
    parser.add_argument("--python-for", action="append", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--only", choices=["peers", "multiples", "gram"], help="one of the three")
    options = parser.parse_args()
    wanted = environment(options.threads)
    if any(os.environ.get(name) != wanted[name] for name in THREAD_VARIABLES):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.compare_per_sample",
                                   *sys.argv[1:]], wanted)  # fmt: skip
    if options.only in (None, "peers"):
        beside_peers(options)
    with one_at_a_time():
        if options.only in (None, "multiples"):
            own_multiples(options.rounds)
        if options.only in (None, "gram"):
            gram_beside_numpy(options.rounds)


if __name__ == "__main__":
    main()
