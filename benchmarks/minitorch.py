"""The problems of the MiniTorch course: seconds an epoch, and how many points come out right.

    python -m benchmarks.minitorch [--points 50] [--hidden 100] [--epochs 500] [--threads 1]

MiniTorch (https://minitorch.github.io, S. Rush) has its readers write tensors with automatic
differentiation in Python and Numba, and train a network 2-h-h-1 with ReLUs on points of the unit
square: SGD of rate 0.05, batches of 10, 50 points, h = 100. This is the same training by `fit`.
What stands beside it is published, not measured here: 0.07 s an epoch of its parallel CPU backend
(logs that its readers published lie between some 0.03 and 0.2 s, on machines of their own; the
course asks for less than 2 s).
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

import fastgrad as fg

PUBLISHED = 0.07  # seconds an epoch, hidden 100, 50 points


def _square(n: int, seed: int):
    return np.random.default_rng(seed).uniform(size=(n, 2))


def simple(X):
    return X[:, 0] < 0.5


def diag(X):
    return X.sum(axis=1) < 0.5


def split(X):
    return (X[:, 0] < 0.2) | (X[:, 0] > 0.8)


def xor(X):
    return (X[:, 0] < 0.5) != (X[:, 1] < 0.5)


def circle(X):
    return ((X - 0.5) ** 2).sum(axis=1) > 0.1


def spiral_points(n: int):
    """(X, y): two arms of n // 2 points each."""
    half = n // 2
    t = 10.0 * np.arange(5, 5 + half) / half
    arm = np.column_stack([t * np.cos(t), t * np.sin(t)]) / 20
    other = np.column_stack([t * np.sin(t), -t * np.cos(t)]) / 20
    return np.vstack([arm, other]) + 0.5, np.repeat([0.0, 1.0], half)


PROBLEMS = {"simple": simple, "diag": diag, "split": split, "xor": xor, "circle": circle}


def points(name: str, n: int = 50, seed: int = 0):
    """(X (n, 2), y (n,) of 0 and 1) of a problem by name."""
    if name == "spiral":
        return spiral_points(n)
    X = _square(n, seed)
    return X, PROBLEMS[name](X).astype(np.float64)


def train(name: str, n=50, hidden=100, epochs=500, rate=0.05, seed=0, threads=1):
    """(seconds an epoch, points right, all points) after the course's training."""
    X, y = points(name, n, seed)
    net = fg.MLP([2, hidden, hidden, 1], loss="logistic")
    result = fg.fit(
        net, X, y, optimizer=fg.SGD(rate), epochs=epochs, batch_size=10, seed=seed, threads=threads
    )
    right = np.count_nonzero(net.classify(result.theta, X) == y)
    return result.seconds / result.epochs, right, len(X)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minitorch")
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="timings, of which the median counts")
    args = parser.parse_args(argv)
    train("simple", epochs=1, hidden=args.hidden, threads=args.threads)  # kernels compile
    print(f"2-{args.hidden}-{args.hidden}-1, {args.points} points, batches of 10, "
          f"SGD {args.rate:g}, {args.epochs} epochs, {args.threads} thread(s)")  # fmt: skip
    print(f"{'problem':<8} {'right':>9} {'s an epoch':>12} {'0.07 s is':>10}")
    for name in (*PROBLEMS, "spiral"):
        runs = [
            train(name, args.points, args.hidden, args.epochs, args.rate, seed, args.threads)
            for seed in range(args.rounds)
        ]
        seconds = statistics.median(run[0] for run in runs)
        right, count = statistics.median(run[1] for run in runs), runs[0][2]
        print(f"{name:<8} {right:>4g} of {count:<3} {seconds:>10.6f} {PUBLISHED / seconds:>8.0f} x")
    print(f"published for the course's CPU backend, not measured here: {PUBLISHED} s an epoch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
