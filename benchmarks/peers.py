"""fastgrad beside its peers, on equal terms: `python -m benchmarks.peers`.

Each peer runs in a process of its own with the same number of threads, on the same seeded data and
dtype. Its loss and gradient are compared with the NumPy closed form in float64 first: a wrong
result is reported in place of a time. Then turns are interleaved, one peer after the other with a
pause in which thread pools fall asleep, and the ratio is the median over rounds of (peer's time /
fastgrad's time of the same round). A turn beside which other processes kept a tenth of a processor
busy is repeated, four times at most. A peer that is not installed is reported and left out; one
that lives in another environment is given by its interpreter:

    python -m benchmarks.peers --threads 2 --python-for pytensor=/path/to/env/bin/python

An earlier commit's checkout is one more contender: `--before FOLDER`. It runs with its own
benchmarks, so its data begin where they put them.
`--avx2` holds every library to that path, on a machine with AVX-512: NumPy's BLAS too, so the sweep
of an AVX2 processor is `--avx2 --threads 1 --sweep 200 --peers numpy`. `benchmarks.table` makes
Markdown of what `--json` wrote.
`--python-for` repeats, and `FASTGRAD_BENCH_PYTHON="pytensor=...,torch=..."` says the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from . import report
from .contenders import CONTENDERS, exact
from .paths import avx2
from .roofline import Roofline
from .worker import MODULES, Worker, one_at_a_time
from .workloads import WORKS, Work, cliff, sweep

# Relative error allowed: of the loss, and of the gradient in the 2-norm. A float32 row near a kink
# may fall on its other side.
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}
OURS, BEFORE = "fastgrad", "before"
QUIET = 0.1  # processors busy with other processes: above it a turn is repeated
PAUSE = 0.03  # seconds before a turn, in which thread pools fall asleep
SWEEP_PEERS = ("fastgrad", "numpy", "torch", "jax")


@dataclass
class Row:
    """One work, measured: seconds by contender, and their ratios to fastgrad's."""

    work: Work
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)  # of the gradient, relative
    faults: dict[str, str] = field(default_factory=dict)  # wrong results and failures
    limit: float = 0.0
    bound: str = ""
    disturbed: float = 0.0  # processors that others kept busy, on average

    @property
    def best(self) -> str | None:
        peers = [peer for peer in self.ratios if peer != BEFORE]
        return min(peers, key=self.ratios.get, default=None)

    @property
    def ratio(self) -> float:
        """The best peer's time in units of fastgrad's: below 1, fastgrad loses."""
        return self.ratios[self.best] if self.best else float("nan")

    @property
    def roofline_fraction(self) -> float:
        return self.limit / self.seconds[OURS] if OURS in self.seconds else float("nan")


def relative_error(got, expected) -> float:
    """The larger of the loss's and the gradient's relative error."""
    (loss, grad), (loss_, grad_) = got, expected
    grad = np.asarray(grad, np.float64)
    if grad.shape != grad_.shape:
        return float("inf")
    of_loss = abs(loss - loss_) / max(abs(loss_), 1e-30)
    of_grad = np.linalg.norm(grad - grad_) / max(float(np.linalg.norm(grad_)), 1e-30)
    error = float(np.maximum(of_loss, of_grad))  # keeps NaN, as max() may not
    return error if np.isfinite(error) else float("inf")


def compare(work: Work, workers: list[Worker], roofline: Roofline | None = None, *,
            rounds: int = 9, seconds: float = 0.02, pause: float = PAUSE) -> Row:  # fmt: skip
    """Prepare, check and time one work on each worker, in interleaved rounds."""
    row = Row(work)
    expected = exact(work)
    running = []
    for worker in workers:
        status, answer = worker.ask("prepare", work)
        if status == "ok":
            row.errors[worker.peer] = relative_error(answer, expected)
            if row.errors[worker.peer] <= TOLERANCE[work.dtype]:
                running.append(worker)
                continue
            answer = f"WRONG by {row.errors[worker.peer]:.1e}"
        if status != "skip":
            row.faults[worker.peer] = answer
        worker.ask("drop")
    del expected
    times: dict[str, list[float]] = {worker.peer: [] for worker in running}
    waits: list[float] = []
    for turn in range(rounds):
        # every other round backwards, so that no peer always follows the same one
        for worker in running[:: -1 if turn % 2 else 1]:
            took, disturbed = _quiet_turn(worker, seconds, pause)
            times[worker.peer].append(took)
            waits.append(disturbed)
    for worker in running:
        worker.ask("drop")
    row.disturbed = statistics.mean(waits) if waits else 0.0
    row.seconds = {peer: statistics.median(x) for peer, x in times.items()}
    if OURS in times:
        row.ratios = {
            peer: statistics.median(b / a for a, b in zip(times[OURS], x))
            for peer, x in times.items()
            if peer != OURS
        }
    if roofline is not None:
        row.limit, row.bound = roofline.limit(work), roofline.bound(work)
    return row


def _quiet_turn(worker: Worker, seconds: float, pause: float, attempts: int = 4):
    """A turn that nothing else on the machine disturbed, or the least disturbed of some."""
    best = (float("nan"), float("inf"))
    for _ in range(attempts):
        with one_at_a_time():
            time.sleep(pause)
            status, answer = worker.ask("turn", seconds)
        if status != "ok":
            return float("nan"), 0.0
        if answer[1] < best[1]:
            best = answer
        if best[1] < QUIET:
            break
    return best


def start(peers, threads: int, pythons: dict[str, str], quiet: bool = True, before=None):
    """(workers, {peer: version}, {peer: why not}) of those that can run; `before`: a checkout."""
    workers, versions, missing = [], {}, {}
    for peer in peers:
        tree = before if peer == BEFORE else None
        worker = Worker(peer, threads, pythons.get(peer, sys.executable), quiet, tree)
        status, answer = worker.ask("hello")
        if status == "ok":
            workers.append(worker)
            versions[peer] = answer
        else:
            missing[peer] = answer
            worker.close()
    return workers, versions, missing


def measure_cliff(worker: Worker, dtype: str, seconds: float = 0.004, rounds: int = 5):
    """[(width, seconds a call, flops)] over the widths 1 to 130."""
    works = cliff(dtype)
    status, answer = worker.ask("turns", works, seconds, rounds)
    if status != "ok":
        raise SystemExit(f"{worker.peer}: {answer}")
    medians = [statistics.median(x) for x in zip(*answer)]
    return [(work.sizes[1], t, work.flops) for work, t in zip(works, medians)]


def _pythons(options) -> dict[str, str]:
    named = os.environ.get("FASTGRAD_BENCH_PYTHON", "").split(",") + options.python_for
    pairs = dict(pair.split("=", 1) for pair in named if pair)
    for peer, module in MODULES.items():
        if module in pairs:
            pairs.setdefault(peer, pairs[module])
    unknown = set(pairs) - set(CONTENDERS)
    if unknown:
        raise SystemExit(f"--python-for names {sorted(unknown)}; expected {list(CONTENDERS)}")
    return pairs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--threads", type=int, default=os.cpu_count(), help="threads of each peer (default: all)")
    add("--peers", default=None, help="comma-separated, of: " + ", ".join(CONTENDERS))
    add("--only", default=None, help="works whose name contains one of these, separated by ;")
    add("--before", metavar="FOLDER", help="a checkout of another commit, as one more contender")
    add("--python-for", action="append", default=[], metavar="PEER=PYTHON",
        help="the interpreter of a peer that lives in another environment")  # fmt: skip
    add("--rounds", type=int, default=None, help="interleaved rounds (default: 9; sweep: 5)")
    add("--seconds", type=float, default=None, help="of a turn (default: 0.02; sweep: 0.008)")
    add("--sweep", type=int, nargs="?", const=200, default=0, metavar="COUNT",
        help="random shapes instead of the table (default 200 of them)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the sweep")
    add("--cliff", action="store_true", help="widths 1 to 130 at 128 rows, time per flop, instead")
    add("--json", metavar="FILE", help="everything measured; - for standard output")
    add("--plot", metavar="FILE", help="roofline fraction and ratio over size, .svg or .png")
    add("--avx2", action="store_true", help="every library's AVX2 path, on a machine with AVX-512")
    add("--verbose", action="store_true", help="show what the workers print")
    return parser


def _run_cliff(options, worker):
    curves = {dtype: measure_cliff(worker, dtype) for dtype in ("float32", "float64")}
    print(report.cliff_text(curves))
    if options.plot:
        from .plot import plot_cliff

        plot_cliff(curves, options.plot)
    return {"cliff": curves}


def _works(options) -> list[Work]:
    """What `--sweep` and `--only` ask for; no word of `--only` may be in vain."""
    works = list(sweep(options.sweep, options.seed) if options.sweep else WORKS)
    if not options.only:
        return works
    words = [word.strip() for word in options.only.split(";")]
    for word in words:
        if not any(word in work.name for work in works):
            names = "\n  ".join(work.name for work in works)
            raise SystemExit(f"--only {word!r} is in no work's name; expected part of\n  {names}")
    return [work for work in works if any(word in work.name for word in words)]


def _run_table(options, works, workers, versions, missing):
    settings = {
        "rounds": options.rounds or (5 if options.sweep else 9),
        "seconds": options.seconds or (0.008 if options.sweep else 0.02),
        "pause": PAUSE,
    }
    print(report.expected(works, list(versions), **settings), file=sys.stderr, flush=True)
    measuring = next(w for w in workers if w.peer == OURS)
    with one_at_a_time():
        status, roofline = measuring.ask("roofline")
    if status != "ok":
        raise SystemExit(f"roofline: {roofline}")
    config = measuring.ask("config")[1]
    print(report.head(options.threads, config, versions, missing, roofline), flush=True)
    rows = []
    print(report.table_head(), flush=True)
    for work in works:
        rows.append(compare(work, workers, roofline, **settings))
        print(report.table_row(rows[-1]), flush=True)
    print(report.times(rows, list(versions)))
    print(report.foot(rows, bool(options.sweep)))
    if options.plot:
        from .plot import plot_rows

        plot_rows(rows, options.threads, config, options.plot)
    return report.as_json(options.threads, config, versions, missing, roofline, rows)


def main(arguments=None) -> int:
    options = _parser().parse_args(arguments)
    chosen = options.peers.split(",") if options.peers else None
    default = SWEEP_PEERS if options.sweep else tuple(CONTENDERS)
    peers = [OURS] + [p for p in (chosen or default) if p != OURS]
    unknown = set(peers) - set(CONTENDERS)
    if unknown:
        raise SystemExit(f"--peers names {sorted(unknown)}; expected {list(CONTENDERS)}")
    if not 1 <= options.threads <= (os.cpu_count() or 1):
        raise SystemExit(f"--threads is {options.threads}; expected 1 to {os.cpu_count()}")
    works = _works(options)
    if options.before:
        if not os.path.isdir(os.path.join(options.before, "fastgrad")):
            raise SystemExit(f"--before {options.before}: there is no folder fastgrad in it")
        peers.insert(1, BEFORE)
    if options.cliff:
        peers = [OURS]
    if options.avx2:
        os.environ.update(avx2())  # of the workers; this process compiles nothing
    workers, versions, missing = start(peers, options.threads, _pythons(options),
                                       not options.verbose, options.before)  # fmt: skip
    try:
        if OURS in missing:
            raise SystemExit(f"fastgrad: {missing[OURS]}")
        if options.cliff:
            result = _run_cliff(options, workers[0])
        else:
            result = _run_table(options, works, workers, versions, missing)
    finally:
        for worker in workers:
            worker.close()
    if options.json == "-":
        json.dump(result, sys.stdout, indent=1)
    elif options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
