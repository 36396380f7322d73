"""Dask: ``python -m benchmarks.compare_dask [PART ...]``, of these parts.

1. overhead: milliseconds of a step over partitions of ten rows, on 1, 2 and 4 worker processes of
   one thread: what Dask's scheduling costs, and what the sums of p parameters add to it.
2. efficiency: loss and gradient of 54-128-64-7, float32, over 400,000 rows in 16 partitions, on 1
   and 2 worker processes of one thread, beside one process of as many threads. `--plot FILE.svg`.
3. incremental: three epochs of dask-ml's `Incremental(SGDClassifier)` and `DaskMLPClassifier` on
   the same 400,000 rows, whose classes are no linear function: seconds and accuracy.
4. spark: avulanov/ann-benchmark's network, 784-2500-2000-1500-1000-500-10, 60,000 rows of MNIST's
   shape, an epoch of all rows with its update. Its README publishes, in double precision, 86 s for
   Spark on one node and 29 s on five (Intel Xeon E31240, 3.3 GHz, 4 cores, OpenBLAS).
5. paper: from 1 and 2, a step over a billion rows on 16 and 256 workers of 8 cores, 32 of 64.

Every part alone; a part that needs a missing package says so.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np

import fastgrad as fg

NETWORK = [54, 128, 64, 7]
ROWS, PARTITIONS = 400_000, 16
SPARK = [784, 2500, 2000, 1500, 1000, 500, 10]


@contextmanager
def cluster(workers: int):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0",
                     silence_logs=logging.ERROR) as made,
        Client(made) as client,
    ):  # fmt: skip
        yield client


def median_seconds(call, repeats: int) -> float:
    call(), call()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def data(rows: int, net, seed=0):
    """Rows whose classes are those of a random network's outputs."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, net.n_inputs), np.float32)
    teacher = fg.MLP([net.n_inputs, 32, net.n_outputs], net.loss_name, dtype="float32")
    outputs = teacher.predict(teacher.init(seed=1), X)
    return X, (outputs - outputs.mean(axis=0)).argmax(axis=1)


def parted(X, y, partitions: int):
    import dask.array as da

    rows = -(-len(X) // partitions)
    return da.from_array(X, chunks=(rows, X.shape[1])), da.from_array(y, chunks=rows)


def overhead() -> None:
    from fastgrad.interop.dask import PartedLoss

    for workers in (1, 2, 4):
        with cluster(workers):
            for sizes in ([54, 8, 7], [54, 1024, 64, 7]):
                net = fg.MLP(sizes, "cross_entropy", dtype="float32")
                X, y = data(10 * workers, net)
                loss, theta = PartedLoss(net, *parted(X, y, workers)), net.init(seed=0)
                ms = 1e3 * median_seconds(partial(loss.loss_and_grad, theta), 60)
                print(f"{workers} workers, {net.n_parameters:7} parameters: {ms:6.1f} ms a step",
                      flush=True)  # fmt: skip


def efficiency(path) -> None:
    from fastgrad.interop.dask import PartedLoss

    net = fg.MLP(NETWORK, "cross_entropy", dtype="float32")
    theta, (X, y), ms = net.init(seed=0), data(ROWS, net), {}
    alone = {
        threads: 1e3 * median_seconds(partial(net.loss_and_grad, theta, X, y, threads=threads), 5)
        for threads in (1, 2)
    }
    for workers in (1, 2):
        with cluster(workers):
            loss = PartedLoss(net, *parted(X, y, PARTITIONS))
            ms[workers] = 1e3 * median_seconds(partial(loss.loss_and_grad, theta), 9)
        print(f"{workers} workers: {ms[workers]:6.1f} ms; one process, {workers} threads: "
              f"{alone[workers]:6.1f} ms; efficiency {alone[workers] / ms[workers]:.2f}",
              flush=True)  # fmt: skip
    if path:
        plot(alone, ms, path)


def plot(alone, ms, path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    for label, times, style in (("Dask workers of one thread", ms, "C0o-"),
                                ("threads of one process", alone, "C1s--")):  # fmt: skip
        rate = [ROWS / times[n] / 1e3 for n in times]
        axis.plot(list(times), rate, style, label=label)
    axis.set(xlabel="workers, or threads", ylabel="million rows a second", xticks=list(ms), ylim=0,
             title="Loss and gradient, 54-128-64-7, float32")  # fmt: skip
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(path)


def incremental() -> None:
    try:
        from dask_ml.wrappers import Incremental
    except ImportError:
        print("incremental needs dask-ml: pip install dask-ml")
        return
    from sklearn.linear_model import SGDClassifier

    from fastgrad.interop.dask import DaskMLPClassifier

    X, y = data(ROWS, fg.MLP(NETWORK, "cross_entropy"))
    tests = data(20_000, fg.MLP(NETWORK, "cross_entropy"), seed=2)
    contenders = {
        "dask-ml Incremental(SGDClassifier)": lambda client: Incremental(
            SGDClassifier(loss="log_loss", random_state=0)
        ),
        "DaskMLPClassifier(adam, batches of 4,000)": lambda client: DaskMLPClassifier(
            (128, 64), batch_size=4000, learning_rate_init=3e-3, max_iter=3, random_state=0
        ),
    }
    with cluster(2) as client:
        given = [collection.persist() for collection in parted(X, y, PARTITIONS)]
        for name, make in contenders.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # three epochs are not enough
                model, began = make(client), time.perf_counter()
                if isinstance(model, Incremental):
                    for _ in range(3):
                        model.partial_fit(*given, classes=np.arange(7))
                    took, local = time.perf_counter() - began, model.estimator_
                else:
                    model.fit(*given)
                    took, local = time.perf_counter() - began, model.to_local()
            print(f"{name:42} {took:6.1f} s, accuracy {local.score(*tests):.3f}", flush=True)


def spark(dtype: str) -> None:
    net = fg.MLP(SPARK, "cross_entropy", dtype=dtype)
    rng = np.random.default_rng(0)
    X = rng.random((60_000, 784), np.float32).astype(dtype)
    y = rng.integers(0, 10, 60_000)
    theta, optimizer = net.init(seed=0), fg.SGD(0.01)
    net.loss_and_grad(theta, X[:2048], y[:2048])  # compiled
    began = time.perf_counter()
    _, grad = net.loss_and_grad(theta, X, y)
    optimizer.step(theta, grad)
    took = time.perf_counter() - began
    print(f"{'-'.join(map(str, SPARK))}, {dtype}, 60,000 rows, {fg.get_num_threads()} threads: "
          f"{took:.1f} s measured; Spark published 86 s on one node of 4 cores, 29 s on five",
          flush=True)  # fmt: skip


def paper(ms_a_step: float, ms_a_worker: float, ns_a_row: float) -> None:
    """A step over a billion rows: what one core does of a row, and what a step costs besides."""
    for workers, cores in ((16, 8), (256, 8), (32, 64)):
        rows = 1e9 / workers / cores
        compute, extra = rows * ns_a_row / 1e9, (ms_a_step + ms_a_worker * workers) / 1e3
        print(
            f"{workers:4} workers of {cores} cores: {compute:.2f} s of arithmetic, {extra:.2f} s "
            f"of scheduling a step: efficiency {compute / (compute + extra):.2f}"
        )


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ["overhead", "efficiency", "incremental", "spark", "paper"]
    parser.add_argument("parts", nargs="*", choices=[*names, []], default=names)
    parser.add_argument("--plot", metavar="FILE", help="draw rows a second over workers")
    parser.add_argument("--dtype", default="float32", help="of Spark's network (float32)")
    parser.add_argument("--step", type=float, default=11.0, help="ms of a step, for paper")
    parser.add_argument("--worker", type=float, default=3.3, help="ms more a worker, for paper")
    parser.add_argument("--row", type=float, default=370.0, help="ns a row and core, for paper")
    args = parser.parse_args(argv)
    calls = {
        "overhead": overhead, "efficiency": lambda: efficiency(args.plot),
        "incremental": incremental, "spark": lambda: spark(args.dtype),
        "paper": lambda: paper(args.step, args.worker, args.row),
    }  # fmt: skip
    for name in args.parts or names:
        calls[name]()


if __name__ == "__main__":
    main()
