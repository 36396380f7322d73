"""What the first calls of a process cost, against another checkout: `python -m
benchmarks.first_call --against FOLDER`.

Each line is a program in fresh processes, the two trees in turns, in seconds of processor time
(`user + system`, so that other work on the machine disturbs little): `cold` programs have no cache
(FASTGRAD_CACHE=0) and count from after the import, `warm` ones find what an earlier process left
and count the whole process. `small` are the smallest calls, in nanoseconds. Medians, and the ratio
to the other checkout; without `--against`, this tree alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]

IMPORTS = """
import time
import numpy as np, fastgrad as fg
def used(): return time.process_time()
began = used()
"""
GRADIENT = """
net = fg.MLP([8, 64, 64, 3], loss="cross_entropy", dtype="float32")
net.loss_and_grad(net.init(seed=0), np.zeros((16, 8), np.float32), np.zeros(16, np.int64))
"""
SCRIPT = """
rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 8)).astype("f4"), rng.integers(0, 3, 200)
z, s = rng.normal(size=200).astype("f4"), rng.uniform(0.5, 1, 200).astype("f4")
classes = fg.MLP([8, 32, 3], "cross_entropy", dtype="f4")
classes.classify(fg.fit(classes, X, y, epochs=2, seed=0).theta, X)
values = fg.MLP([8, 32, 1], "mse", dtype="f4")
values.predict(fg.fit(values, X, z, sample_weight=s, epochs=2, seed=0).theta, X)
W, b = rng.normal(size=(8, 5)).astype("f4"), np.zeros(5, "f4")
a, mask = fg.affine_relu(X, W, b)
fg.affine_relu_backward(a, X, W, mask)
fg.neuron_loss_and_grad(W[:, 0].copy(), 0.1, X, z)
"""
SMALL = """
import statistics
X, y, w = np.ones((1, 1)), np.ones(1), np.ones(1)
W, b = np.ones((1, 1)), np.ones(1)
net = fg.MLP([1, 1, 1])
theta = net.init(seed=0)
calls = (
    lambda: fg.neuron_loss_and_grad(w, 0.5, X, y),
    lambda: fg.affine_relu(X, W, b),
    lambda: net.loss_and_grad(theta, X, y),
)
for call in calls:
    for _ in range(3):
        call()
    times = []
    for _ in range(101):
        start = time.perf_counter()
        for _ in range(200):
            call()
        times.append((time.perf_counter() - start) / 200)
    print(statistics.median(times) * 1e9)
"""
SINCE_IMPORT, WHOLE = "print(used() - began)", "print(used())"
PROGRAMS = {
    "cold gradient": (IMPORTS + GRADIENT + SINCE_IMPORT, True),
    "cold script": (IMPORTS + SCRIPT + SINCE_IMPORT, True),
    "warm import": (IMPORTS + WHOLE, False),
    "warm gradient": (IMPORTS + GRADIENT + WHOLE, False),
    "small calls": (IMPORTS + SMALL, False),
}


def numbers(program: str, tree: Path, cold: bool, cache: str) -> list[float]:
    """What a program prints in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": cache}
    if cold:
        environment["FASTGRAD_CACHE"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=cache, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return [float(line) for line in done.stdout.split()]


def measured(name: str, trees: list[Path], caches: list[str], turns: int) -> list[list[float]]:
    """Of each tree the median of each number."""
    program, cold = PROGRAMS[name]
    found = [[] for _ in trees]
    if not cold:  # what is compiled is left for later
        for tree, cache in zip(trees, caches):
            numbers(program, tree, cold, cache)
    for _ in range(turns):
        for of_tree, tree, cache in zip(found, trees, caches):
            of_tree.append(numbers(program, tree, cold, cache))
    return [[median(column) for column in zip(*of_tree)] for of_tree in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--against", metavar="FOLDER", type=Path, help="another checkout")
    parser.add_argument("--only", choices=PROGRAMS, nargs="*", default=list(PROGRAMS))
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    trees = [HERE]
    if options.against:
        if not (options.against / "fastgrad").is_dir():
            raise SystemExit(f"--against {options.against}: there is no folder fastgrad in it")
        trees.append(options.against.resolve())
    caches = [tempfile.TemporaryDirectory() for _ in trees]
    for name in options.only:
        found = measured(name, trees, [cache.name for cache in caches], options.turns)
        for this, *others in zip(*found):
            ratio = f"  other {others[0]:9.3f}  ratio {this / others[0]:.3f}" if others else ""
            print(f"{name:14s} {this:9.3f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
