"""Files that do not fit in memory: ``python -m benchmarks.out_of_core COMMAND FOLDER``.

- ``make``: files of 54 random float32 columns and a label of seven classes: Parquet (zstd), or CSV,
  compressed or not (`--kind`), of `--gigabytes` or of `--rows`.
- ``compare``: an epoch of 54-128-64-7 (Adam) over more and more of the files, beside the bare
  reading of them: pyarrow's record batches to NumPy arrays, on one thread and on pyarrow's own;
  scikit-learn's `MLPClassifier.partial_fit` over its windows; PyTorch's DataLoader over an
  IterableDataset of its batches, in this process and with one worker. Each in a process of its
  own; seconds exclude imports and a first epoch over one small file, which compiles. `--plot FILE`.
- ``large``: what a folder of many times the memory bound needs: the learning pass, an epoch, and
  the same epoch killed (SIGKILL) and resumed, with peak resident memory and whether bits agree.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIZES, CLASSES = (54, 128, 64), 7
ROWS_A_FILE = 250_000
WINDOW = 2**16  # rows that are shuffled together, by every contender that shuffles
ENDINGS = {"parquet": ".parquet", "csv": ".csv", "gzip": ".csv.gz", "zstd": ".csv.zst"}


def make(folder: Path, kind: str, rows: int, gigabytes: float) -> None:
    """Files until there are so many rows, or bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    size = made = number = 0
    while made < rows if rows else size < gigabytes * 1e9:
        path = folder / f"part-{number:05d}{ENDINGS[kind]}"
        count = min(ROWS_A_FILE, rows - made) if rows else ROWS_A_FILE
        _write(path, kind, _table(number, count, 3 if kind != "parquet" else None))
        size, made, number = size + path.stat().st_size, made + count, number + 1
    print(f"{folder}: {number} files, {made} rows, {size / 1e9:.1f} GB of {kind}", flush=True)


def _table(seed: int, rows: int, decimals):
    import pyarrow as pa

    teacher = np.random.default_rng(0).standard_normal((SIZES[0], CLASSES), dtype=np.float32)
    X = np.random.default_rng([1, seed]).standard_normal((rows, SIZES[0]), dtype=np.float32)
    X = X if decimals is None else X.round(decimals)
    columns = {f"x{j}": np.ascontiguousarray(X[:, j]) for j in range(SIZES[0])}
    return pa.table({**columns, "y": (X @ teacher).argmax(axis=1).astype(np.int8)})


def _write(path: Path, kind: str, table) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=2**16, compression="zstd",
                            compression_level=1, use_dictionary=["y"])  # fmt: skip
    elif kind == "csv":
        csv.write_csv(table, path)
    else:
        with pa.CompressedOutputStream(str(path), kind) as file:
            csv.write_csv(table, file)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir() if path.name.endswith(_endings()))


def _endings():
    return tuple(ENDINGS.values())


def batches(files, threads: bool):
    """pyarrow's record batches, with its own reading ahead where it has threads."""
    from pyarrow import dataset

    kind = "parquet" if files[0].endswith(".parquet") else "csv"
    found = dataset.dataset(files, format=kind)
    ahead = {} if threads else {"batch_readahead": 0, "fragment_readahead": 0}
    return found.to_batches(use_threads=threads, batch_size=2**15, **ahead)


def arrays(batch):
    """(X, y) of a record batch."""
    X = np.empty((batch.num_rows, SIZES[0]), np.float32)
    for j in range(SIZES[0]):
        X[:, j] = batch.column(f"x{j}").to_numpy(zero_copy_only=False)
    return X, batch.column("y").to_numpy(zero_copy_only=False).astype(np.int64)


# Contenders: each makes a function of files that does an epoch and returns its rows.


def bare(threads: bool):
    def read(files):
        rows = 0
        for batch in batches(files, threads):
            for column in batch.columns:
                column.to_numpy(zero_copy_only=False)
            rows += batch.num_rows
        return rows

    return lambda batch_size: read


def fastgrad(batch_size: int):
    import fastgrad as fg

    net = fg.MLP([*SIZES, CLASSES], loss="cross_entropy", dtype="float32")

    def epoch(data):
        fg.fit(net, data, epochs=1, batch_size=batch_size, seed=0, progress=False)
        return data.rows

    epoch.prepare = lambda files: fg.stream(files, target="y", task="classification", window=WINDOW)
    return epoch


def fastgrad_learning(batch_size: int):
    import fastgrad as fg

    return lambda files: fg.stream(files, target="y", task="classification").rows


def fastgrad_arrays(batch_size: int):
    """As many rows from memory: what the arithmetic alone takes."""
    import fastgrad as fg

    net = fg.MLP([*SIZES, CLASSES], loss="cross_entropy", dtype="float32")

    def epoch(pair):
        fg.fit(net, *pair, epochs=1, batch_size=batch_size, seed=0, progress=False)
        return len(pair[0])

    def prepare(files):
        parts = [arrays(batch) for batch in batches(files, True)]
        return tuple(np.concatenate(part) for part in zip(*parts))

    epoch.prepare = prepare
    return epoch


def scikit_learn(batch_size: int):
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(SIZES[1:], batch_size=batch_size, random_state=0)

    def epoch(files):
        rows, window = 0, []
        for batch in [*batches(files, True), None]:
            if batch is not None:
                window.append(arrays(batch))
                rows += len(window[-1][0])
            if window and (batch is None or sum(len(X) for X, _ in window) >= WINDOW):
                X, y = (np.concatenate(part) for part in zip(*window))
                model.partial_fit(X, y, classes=range(CLASSES))
                window = []
        return rows

    return epoch


def torch(workers: int):
    def contender(batch_size: int):
        from torch import from_numpy, nn, optim
        from torch.utils.data import DataLoader, IterableDataset

        class Rows(IterableDataset):
            def __init__(self, files):
                self.files = files

            def __iter__(self):
                rng, window = np.random.default_rng(0), []
                for batch in [*batches(self.files, not workers), None]:
                    if batch is not None:
                        window.append(arrays(batch))
                    if window and (batch is None or sum(len(X) for X, _ in window) >= WINDOW):
                        X, y = (np.concatenate(part) for part in zip(*window))
                        order, window = rng.permutation(len(X)), []
                        for first in range(0, len(X), batch_size):
                            rows = order[first : first + batch_size]
                            yield from_numpy(X[rows]), from_numpy(y[rows])

        layers = [nn.Linear(54, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 7)]
        net, loss = nn.Sequential(*layers), nn.CrossEntropyLoss()
        optimizer = optim.Adam(net.parameters(), fused=True)

        def epoch(files):
            rows = 0
            for X, y in DataLoader(Rows(files), batch_size=None, num_workers=workers):
                optimizer.zero_grad()
                loss(net(X), y).backward()
                optimizer.step()
                rows += len(X)
            return rows

        return epoch

    return contender


CONTENDERS = {
    "pyarrow alone, one thread": bare(False),
    "pyarrow alone, its threads": bare(True),
    "fastgrad": fastgrad,
    "fastgrad, learning pass": fastgrad_learning,
    "fastgrad, arrays in memory": fastgrad_arrays,
    "scikit-learn, partial_fit": scikit_learn,
    "PyTorch, DataLoader": torch(0),
    "PyTorch, DataLoader, 1 worker": torch(1),
}


def peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_one(name: str, files, counts, batch_size: int) -> None:
    """In a process of its own: lines of JSON, one for each number of files."""
    epoch = CONTENDERS[name](batch_size)
    prepare = getattr(epoch, "prepare", lambda files: files)
    epoch(prepare(files[-1:]))  # untimed: compiles
    for count in counts:
        given = prepare(files[:count])
        began = time.perf_counter()
        rows = epoch(given)
        seconds = time.perf_counter() - began
        print(json.dumps([rows, seconds, peak_megabytes()]), flush=True)


def compare(folder: Path, names, batch_size: int) -> dict:
    """(rows, seconds, MB) of each contender, for halves, quarters, ... of the files."""
    files, results = files_of(folder), {}
    counts = sorted({max(1, len(files) >> shift) for shift in range(4)})
    print(f"{folder}, batches of {batch_size}: rows a second over {counts} files; peak MB")
    for name in names:
        command = [sys.executable, "-m", "benchmarks.out_of_core", "one", str(folder), name,
                   json.dumps(counts), str(batch_size)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:32} {done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        results[name] = [json.loads(line) for line in done.stdout.splitlines()]
        speeds = "".join(f"{rows / seconds:12,.0f}" for rows, seconds, _ in results[name])
        print(f"{name:32}{speeds}{results[name][-1][2]:8,.0f}", flush=True)
    return results


def plot(results: dict, path, batch_size: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for name, points in results.items():
        rows, seconds, _ = zip(*points)
        style = "--" if "alone" in name or "memory" in name else "-"
        axis.plot(np.array(rows) / 1e6, seconds, style, marker="o", markersize=3, label=name)
    axis.set(xscale="log", yscale="log", xlabel="million rows", ylabel="seconds of an epoch",
             title=f"54-128-64-7 from files, batches of {batch_size}")  # fmt: skip
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize="small")
    figure.savefig(path)


def large(folder: Path, batch_size: int) -> None:
    """Learning pass, an epoch, and the same epoch killed in its middle and resumed."""
    steps = folder.with_name(f"{folder.name}-run")
    steps.mkdir(exist_ok=True)
    for old in steps.iterdir():
        old.unlink()

    def start(checkpoint: str):
        command = [sys.executable, "-m", "benchmarks.out_of_core", "epoch", str(folder),
                   str(steps / checkpoint), str(batch_size)]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def result(process) -> dict:
        found = json.loads(process.communicate()[0].splitlines()[-1])
        print(json.dumps(found), flush=True)
        return found

    whole = result(start("whole.npz"))
    process = start("killed.npz")
    began, path = time.monotonic(), steps / "killed.npz"
    while not path.exists() or time.monotonic() - began < whole["epoch_seconds"] * 0.4:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    print(f"killed after {time.monotonic() - began:.0f} s, in its epoch", flush=True)
    resumed = result(start("killed.npz"))
    same = resumed["theta"] == whole["theta"] and resumed["loss"] == whole["loss"]
    print(f"bits of the killed and resumed run: {'equal' if same else 'NOT EQUAL'}", flush=True)


def one_epoch(folder: Path, checkpoint: Path, batch_size: int) -> None:
    """The learning pass, unless its model is there, and an epoch with checkpoints."""
    import hashlib

    import fastgrad as fg
    from fastgrad._training import run

    run.SAVE_SECONDS = 5.0
    net = fg.MLP([*SIZES, CLASSES], loss="cross_entropy", dtype="float32")
    learnt, began = checkpoint.with_name("columns.npz"), time.perf_counter()
    if learnt.exists():
        data = fg.stream(files_of(folder), like=fg.load_model(learnt))
    else:
        data = fg.stream(files_of(folder), target="y", task="classification")
        data.model(net, net.init(0)).save(learnt)
    learning = time.perf_counter() - began
    began, going = time.perf_counter(), checkpoint.exists()
    result = fg.fit(net, data, epochs=1, batch_size=batch_size, seed=0, checkpoint=checkpoint,
                    resume=True, progress=False)  # fmt: skip
    found = {
        "rows": data.rows, "resumed": going, "learning_seconds": round(learning, 1),
        "epoch_seconds": round(time.perf_counter() - began, 1), "loss": result.history.loss[-1],
        "peak_megabytes": round(peak_megabytes()),
        "theta": hashlib.sha256(result.theta).hexdigest(),
    }  # fmt: skip
    print(json.dumps(found), flush=True)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["make", "compare", "large", "one", "epoch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=list(ENDINGS), default="parquet")
    parser.add_argument("--rows", type=int, default=0, help="in all, of make")
    parser.add_argument("--gigabytes", type=float, default=0.4, help="in all, of make (0.4)")
    parser.add_argument("--batch-size", type=int, default=128, help="(128)")
    parser.add_argument("--only", help="contenders whose names have this word")
    parser.add_argument("--plot", metavar="FILE", help="draw seconds over rows")
    args = parser.parse_args(argv)
    if args.command == "make":
        make(args.folder, args.kind, args.rows, args.gigabytes)
    elif args.command == "one":
        name, counts, batch_size = args.rest
        run_one(name, files_of(args.folder), json.loads(counts), int(batch_size))
    elif args.command == "epoch":
        one_epoch(args.folder, Path(args.rest[0]), int(args.rest[1]))
    elif args.command == "large":
        large(args.folder, args.batch_size)
    else:
        names = [name for name in CONTENDERS if not args.only or args.only in name]
        results = compare(args.folder, names, args.batch_size)
        if args.plot:
            plot(results, args.plot, args.batch_size)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    main()
