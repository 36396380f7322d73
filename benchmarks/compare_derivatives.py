"""Products with Jacobians and second derivatives beside PyTorch, JAX, curvlinops and BackPACK.

    python -m benchmarks.compare_derivatives --threads 2 \\
        --python-for curvlinops=/path/to/env/bin/python \\
        --python-for backpack=/path/to/env/bin/python
    python -m benchmarks.compare_derivatives --threads 1 --hessians

Results are compared first, with the NumPy closed form in float64; then times, as
`python -m benchmarks.peers` takes them: a process each, interleaved turns, medians of paired
ratios. `--hessians`: gradient and full Hessian of 2-h-1 with softplus in float64, the setting of
MLPGradientFlow.jl's own figures. curvlinops and BackPACK want an environment of their own:
`pip install torch curvlinops-for-pytorch backpack-for-pytorch`.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import derivatives
from .peers import OURS, compare, start
from .report import duration
from .worker import THREAD_VARIABLES, environment
from .workloads import PER_SAMPLE, Work

PRODUCTS = "hvp", "ggn_vp", "vjp", "jvp"


def products() -> list[Work]:
    return [
        Work(f"{kind}: {work.name}", kind, work.n, work.sizes, loss=work.loss)
        for work in PER_SAMPLE[:3]
        for kind in PRODUCTS
    ]


def hessians(widths, rows) -> list[Work]:
    return [
        Work(f"{kind}: 2-{h}-1, {n:,} rows", kind, n, (2, h, 1), "float64", activation="softplus")
        for h in widths
        for n in rows
        for kind in ("gradient", "hessian")
    ]


def table(works, workers, options) -> None:
    print(f"{'':46}" + "".join(f"{worker.peer:>19}" for worker in workers), flush=True)
    for work in works:
        row = compare(work, workers, rounds=options.rounds)
        cells = [f"{duration(row.seconds.get(OURS, float('nan'))):>19}"]
        for worker in workers[1:]:
            ratio = row.ratios.get(worker.peer)
            cell = f"{duration(row.seconds[worker.peer])} {ratio:5.2f}x" if ratio else "-"
            cells.append(f"{cell:>19}")
        print(f"{work.name:46}" + "".join(cells), flush=True)
        for peer, why in row.faults.items():
            print(f"{'':46}! {peer}: {why}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare_derivatives", description=__doc__.split("\n")[0]
    )
    names = [name for name in derivatives.CONTENDERS if name != "numpy"]
    add = parser.add_argument
    add("--threads", type=int, default=os.cpu_count())
    add("--rounds", type=int, default=9)
    add("--peers", help="of: " + ", ".join(names) + " (default: all that do the work)")
    add("--python-for", action="append", default=[], metavar="PEER=PYTHON")
    add("--only", default="", help="works whose name contains one of these, separated by ;")
    add("--hessians", action="store_true", help="gradients and Hessians of 2-h-1 instead")
    add("--widths", default="10,50,100", help="h")
    add("--rows", default="10,100,1000,10000,100000", help="of a Hessian's data")
    options = parser.parse_args()
    wanted = environment(options.threads)
    if any(os.environ.get(name) != wanted[name] for name in THREAD_VARIABLES):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.compare_derivatives",
                                   *sys.argv[1:]], wanted)  # fmt: skip
    pythons = dict(pair.split("=", 1) for pair in options.python_for)
    chosen = options.peers.split(",") if options.peers else names
    unknown = {*chosen, *pythons} - set(names)
    if unknown:
        raise SystemExit(f"no peer is named {sorted(unknown)}; expected some of {names}")
    if options.hessians:
        chosen = [peer for peer in chosen if peer not in ("curvlinops", "backpack")]
        ints = ([int(x) for x in text.split(",")] for text in (options.widths, options.rows))
        works = hessians(*ints)
    else:
        works = products()
    words = options.only.split(";")
    works = [work for work in works if any(word in work.name for word in words)]
    if not works:
        raise SystemExit(f"--only {options.only!r} is in no work's name")
    peers = [OURS, *(peer for peer in chosen if peer != OURS)]
    workers, versions, missing = start(peers, options.threads, pythons)
    try:
        print(f"threads: {options.threads}; " + ", ".join(versions.values()))
        for peer, why in missing.items():
            print(f"left out: {peer} ({why})")
        print("seconds, and times fastgrad's (median of paired ratios)")
        table(works, workers, options)
    finally:
        for worker in workers:
            worker.close()


if __name__ == "__main__":
    main()
