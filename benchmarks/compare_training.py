"""Whole training runs beside scikit-learn and PyTorch: ``python -m benchmarks.compare_training``.

The same network, Adam, batch size, epochs and data (float32), one seed a run, the contenders in
turn; times are medians and scores means over the seeds. scikit-learn is `MLPClassifier` or
`MLPRegressor`; PyTorch is a plain loop over shuffled tensors with the fused Adam, on two threads.
Who is not installed is left out. Also what a step costs outside its kernels, and the memory of
`fit` beside its data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import tracemalloc
import warnings
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

import fastgrad as fg

from .warm import warm_up

LR = 1e-3


@dataclass
class Task:
    """Data and network of one comparison."""

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    epochs: int
    target: float  # the score to reach
    data: tuple  # X, X_test, y, y_test
    classify: bool


def digits_task(batch_size: int, epochs: int) -> Task:
    X, X_test, y, y_test = fg.datasets.split(fg.datasets.load_digits(dtype="float32"), seed=0)
    return Task("digits", (64, 128, 10), batch_size, epochs, 0.97,
                (X / 16, X_test / 16, y, y_test), True)  # fmt: skip


def diamonds_task(batch_size: int, epochs: int) -> Task:
    X, X_test, y, y_test = fg.datasets.split(fg.datasets.load_diamonds(dtype="float32"), seed=0)
    X, X_test, _ = fg.datasets.standardize(X, X_test)
    y, y_test, _ = fg.datasets.standardize(np.log(y), np.log(y_test))
    return Task("diamonds", (9, 64, 1), batch_size, epochs, 0.98, (X, X_test, y, y_test), False)


def glorot(net, seed: int) -> np.ndarray:
    """Initial parameters as scikit-learn draws them: uniform, biases too."""
    rng, theta = np.random.default_rng(seed), np.empty(net.n_parameters, net.dtype)
    for W, b in net.unflatten(theta):
        bound = np.sqrt(6 / sum(W.shape))
        W[...], b[...] = rng.uniform(-bound, bound, W.shape), rng.uniform(-bound, bound, b.shape)
    return theta


class Fastgrad:
    name = "fastgrad"
    init = "glorot"  # or "own": net.init

    def __init__(self, threads: int):
        self.threads = threads

    def run(self, task: Task, seed: int, to_target: bool) -> tuple[float, float, int]:
        X, X_test, y, y_test = task.data
        net = fg.MLP(task.sizes, "cross_entropy" if task.classify else "mse", dtype="float32")
        column = "val_accuracy" if task.classify else "val_r2"
        start = time.perf_counter()
        result = fg.fit(
            net, X, y, theta=glorot(net, seed) if self.init == "glorot" else None,
            optimizer=fg.Adam(LR), epochs=task.epochs, batch_size=task.batch_size,
            seed=seed, threads=self.threads, validation=(X_test, y_test) if to_target else None,
            callbacks=[lambda r: r.history[column][-1] >= task.target] if to_target else (),
            progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        score = fg.evaluate(net, result.theta, X_test, y_test, threads=1).score
        return seconds, score, result.epochs


class ScikitLearn:
    name = "scikit-learn"

    def __init__(self, threads: int):
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from threadpoolctl import threadpool_limits

        self.kinds, self.limits = (MLPRegressor, MLPClassifier), threadpool_limits
        self.threads = threads

    def run(self, task: Task, seed: int, to_target: bool):
        X, X_test, y, y_test = task.data
        model = self.kinds[task.classify](
            hidden_layer_sizes=task.sizes[1:-1], alpha=0.0, batch_size=task.batch_size,
            learning_rate_init=LR, max_iter=task.epochs, tol=0.0,
            n_iter_no_change=10**6, random_state=seed,
        )  # fmt: skip
        extra = {"classes": np.unique(y)} if task.classify else {}
        done = task.epochs
        with self.limits(self.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            if to_target:
                for done in range(1, task.epochs + 1):  # noqa: B007
                    model.partial_fit(X, y, **extra)
                    if model.score(X_test, y_test) >= task.target:
                        break
            else:
                model.fit(X, y)
            seconds = time.perf_counter() - start
            return seconds, model.score(X_test, y_test), done


class Torch:
    name = "PyTorch"

    def __init__(self, threads: int):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)

    def run(self, task: Task, seed: int, to_target: bool):
        torch = self.torch
        torch.manual_seed(seed)
        X, X_test, y, y_test = (torch.from_numpy(np.ascontiguousarray(a)) for a in task.data)
        layers = []
        for d, k in pairwise(task.sizes):
            layers += [torch.nn.Linear(d, k), torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers[:-1])
        criterion = torch.nn.CrossEntropyLoss() if task.classify else torch.nn.MSELoss()
        if not task.classify:
            y, y_test = y[:, None], y_test[:, None]
        optimizer = torch.optim.Adam(net.parameters(), LR, fused=True)

        def score() -> float:
            with torch.no_grad():
                out = net(X_test)
                if task.classify:
                    return (out.argmax(1) == y_test).float().mean().item()
                left = ((out - y_test) ** 2).sum()
                return (1 - left / ((y_test - y_test.mean()) ** 2).sum()).item()

        start = time.perf_counter()
        for epoch in range(1, task.epochs + 1):  # noqa: B007
            for rows in torch.randperm(len(X)).split(task.batch_size):
                optimizer.zero_grad(set_to_none=True)
                criterion(net(X[rows]), y[rows]).backward()
                optimizer.step()
            if to_target and score() >= task.target:
                break
        return time.perf_counter() - start, score(), epoch


def contenders(threads: int) -> list:
    found = []
    for kind in (Fastgrad, ScikitLearn, Torch):
        try:
            found.append(kind(threads))
        except ImportError as error:
            print(f"left out: {error}")
    return found


def compare(task: Task, runners, seeds: int) -> list[dict]:
    """A row for each contender: whole runs, and runs to the target score."""
    rows = []
    for to_target in (False, True):
        figures = {runner.name: [] for runner in runners}
        for runner in runners:
            warm_up(partial(runner.run, task, 0, to_target))
        for seed in range(seeds):
            for runner in runners:
                figures[runner.name].append(runner.run(task, seed, to_target))
        ours = statistics.median(run[0] for run in figures["fastgrad"])
        for name, runs in figures.items():
            seconds = statistics.median(run[0] for run in runs)
            rows.append({
                "task": task.name, "batch": task.batch_size, "name": name,
                "goal": f"to {task.target:.0%}" if to_target else f"{task.epochs} epochs",
                "seconds": seconds, "times": seconds / ours,
                "score": statistics.mean(run[1] for run in runs),
                "epochs": statistics.median(run[2] for run in runs),
                "reached": sum(run[1] >= task.target for run in runs),
            })  # fmt: skip
    return rows


def step_overhead(repeats: int = 200) -> dict[str, float]:
    """Microseconds of a step of 8-64-64-3 with batches of 16: whole, kernels, and the rest."""
    import numba

    from fastgrad._training.stepper import NO_LOSS, Stepper
    from fastgrad.kernels.bind import run_step
    from fastgrad.kernels.calls import call_address

    @numba.njit(nogil=True)
    def repeated(address, args, count):
        for _ in range(count):
            call_address(0.0, address, args)

    @numba.njit(nogil=True)
    def steps(args, count):
        for _ in range(count):
            run_step(*args)

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1600, 8)).astype(np.float32), rng.integers(0, 3, 1600)
    net = fg.MLP([8, 64, 64, 3], "cross_entropy", dtype="float32")
    stepper = Stepper(net, net.init(seed=0), fg.Adam(LR), False, 1)
    order = rng.permutation(1600)
    stepper.run(NO_LOSS, X, y, None, order, 16)
    x, y_batch, _ = stepper._batch(16)
    theta, grad = stepper.theta, stepper.gradient
    step = stepper._plan(16).lease(), theta, x, y_batch, None, grad, None, True
    update = stepper._update, (theta, grad, stepper._state, stepper._hyper)
    works = {
        "whole": lambda: stepper.run(NO_LOSS, X, y, None, order, 16),
        "network step": lambda: steps(step, 100),
        "Adam": lambda: repeated(*update, 100),
    }
    best = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name].append((time.perf_counter() - start) / 100 * 1e6)
    figures = {name: statistics.median(times) for name, times in best.items()}
    figures["outside kernels"] = figures["whole"] - figures["network step"] - figures["Adam"]
    return figures


def peak_memory(rows: int, batch_size: int) -> float:
    """MiB that `fit` allocates beside data and parameters at its peak, for so many rows of 16."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 16), np.float32)
    y = X[:, :1].copy()
    net = fg.MLP([16, 32, 1], dtype="float32")
    fg.fit(net, X[:100], y[:100], epochs=1, batch_size=batch_size, seed=0)
    net = fg.MLP([16, 32, 1], dtype="float32")
    tracemalloc.start()
    fg.fit(net, X, y, epochs=1, batch_size=batch_size, seed=0, validation=(X, y))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--init", choices=["glorot", "own"], default="glorot",
        help="fastgrad's initial parameters: as scikit-learn draws them, or net.init",
    )  # fmt: skip
    parser.add_argument("--only", choices=["digits", "diamonds", "overhead", "memory"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    Fastgrad.init = args.init
    wanted = [args.only] if args.only else ["digits", "diamonds", "overhead", "memory"]
    report: dict = {"threads": args.threads, "rows": []}
    tasks = []
    if "digits" in wanted:
        tasks += [digits_task(size, args.epochs) for size in (32, 200)]
    if "diamonds" in wanted:
        tasks.append(diamonds_task(200, args.epochs))
    if tasks:
        runners = contenders(args.threads)
        for task in tasks:
            rows = compare(task, runners, args.seeds)
            report["rows"] += rows
            for row in [] if args.json else rows:
                print(
                    f"{row['task']:<9} batch {row['batch']:<4} {row['goal']:<10} "
                    f"{row['name']:<13} {row['seconds']:9.4f} s  {row['times']:6.1f} x  "
                    f"score {row['score']:.4f}  {row['epochs']:.0f} epochs", flush=True,
                )  # fmt: skip
    if "overhead" in wanted:
        report["overhead_us"] = step_overhead()
        if not args.json:
            for name, value in report["overhead_us"].items():
                print(f"8-64-64-3, batch 16: {name:<16} {value:6.2f} us a step")
    if "memory" in wanted:
        report["peak_mib"] = {}
        for rows in (10**5, 10**6, 4 * 10**6):
            report["peak_mib"][rows] = peak_memory(rows, 256)
            if not args.json:
                print(f"fit of {rows} x 16: {report['peak_mib'][rows]:.2f} MiB beside the data")
    if args.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
