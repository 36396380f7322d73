"""Many networks at once, side by side with what others do for it.

    python -m benchmarks.compare_stack [gradients] [validation] [--threads 2] [--rounds 9]
                                       [--plot FILE.svg]

"gradients": a stack beside `jax.vmap`, `torch.func` (vmap of grad), batched products of PyTorch
(`bmm`, autograd), a loop of calls, and that loop by joblib's threads. "validation": ten folds by
ten seeds beside a loop of `fit` on one thread and scikit-learn's `cross_val_score`. The gradients
and bits are compared before any clock runs; sides take turns, a figure is the median over rounds,
a ratio the median of the rounds' ratios. `--plot`: the cost of a network over their number.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
import warnings
from itertools import pairwise

import numpy as np

import fastgrad as fg

from .compare_guests import _turns

SIZES, ROWS, COUNT = (4, 32, 32, 2), 32, 1000
NUMBERS = (1, 10, 100, 1000, 10_000)


def _data(m: int):
    rng = np.random.default_rng(0)
    net = fg.MLP(SIZES, dtype="float32")
    thetas = fg.stack.init(net, range(m))
    X = rng.standard_normal((m, ROWS, SIZES[0]), dtype="f4")
    return net, thetas, X, rng.standard_normal((m, ROWS, SIZES[-1]), dtype="f4")


def _report(title: str, sides: dict, rounds: int, seconds: float) -> dict:
    """Each side beside the first, which is ours; medians by name."""
    taken = _turns(sides, rounds, seconds)
    ours = next(iter(sides))
    print(title)
    for name, values in taken.items():
        ratio = statistics.median(v / o for v, o in zip(values, taken[ours]))
        low, high = min(values) * 1e3, max(values) * 1e3
        line = f"  {name:<34} {statistics.median(values) * 1e3:>10.3f} ms"
        print(f"{line}  ({low:.3f} to {high:.3f})  {ratio:.2f} x", flush=True)
    return {name: statistics.median(values) for name, values in taken.items()}


def _split(theta, sizes=SIZES):
    """[(W, b), ...] of (..., p), with whatever axes come before."""
    parts, start = [], 0
    for d, k in pairwise(sizes):
        W = theta[..., start : start + d * k].reshape(*theta.shape[:-1], d, k)
        parts.append((W, theta[..., start + d * k : start + d * k + k]))
        start += (d + 1) * k
    return parts


def _jax_side(thetas, X, y):
    import jax
    import jax.numpy as jnp

    def loss(theta, X, y):
        a = X
        for i, (W, b) in enumerate(_split(theta)):
            a = jax.nn.relu(a) @ W + b if i else a @ W + b
        return jnp.mean((a - y) ** 2)

    step = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    arrays = tuple(map(jnp.array, (thetas, X, y)))
    return lambda: jax.block_until_ready(step(*arrays)), lambda: step(*arrays)[1]


def _torch_sides(thetas, X, y):
    """(vmap of grad_and_value, bmm under autograd): each what runs, and the gradients."""
    import torch
    from torch.func import grad_and_value, vmap

    theta, X, y = (torch.from_numpy(a.copy()) for a in (thetas, X, y))

    def loss(theta, X, y):
        a = X
        for i, (W, b) in enumerate(_split(theta)):
            a = (torch.relu(a) if i else a) @ W + b
        return ((a - y) ** 2).mean()

    step = vmap(grad_and_value(loss))
    leaf = theta.clone().requires_grad_()

    def batched():
        leaf.grad, a = None, X
        for i, (W, b) in enumerate(_split(leaf)):
            a = torch.baddbmm(b[:, None], torch.relu(a) if i else a, W)
        ((a - y) ** 2).mean(dim=(1, 2)).sum().backward()
        return leaf.grad

    return (lambda: step(theta, X, y), lambda: step(theta, X, y)[0]), (batched, batched)


def _sides(m: int, threads: int) -> dict:
    """Ours first; gradients compared with each other."""
    net, thetas, X, y = _data(m)
    out = np.empty_like(thetas)

    def loop():
        for i in range(m):
            net.loss_and_grad(thetas[i], X[i], y[i], out=out[i], threads=1)

    with fg.num_threads(1):
        net.loss_and_grad(thetas[0], X[0], y[0])  # opens the fast path

    def quick_loop():
        with fg.num_threads(1):
            for i in range(m):
                net.loss_and_grad(thetas[i], X[i], y[i], out=out[i])

    sides = {
        "stack.loss_and_grad": lambda: fg.stack.loss_and_grad(net, thetas, X, y, out=out),
        "the same on one thread": lambda: fg.stack.loss_and_grad(
            net, thetas, X, y, out=out, threads=1
        ),
        "a loop of calls, one thread": quick_loop,
    }
    wanted = fg.stack.loss_and_grad(net, thetas, X, y)[1]
    loop()
    assert out.tobytes() == wanted.tobytes(), "the loop has other bits"
    others = {}
    if importlib.util.find_spec("joblib"):
        from joblib import Parallel, delayed

        def part(rows):
            for i in rows:
                net.loss_and_grad(thetas[i], X[i], y[i], out=out[i], threads=1)

        pieces = np.array_split(np.arange(m), threads)
        pool = Parallel(threads, backend="threading")
        sides["joblib, threads"] = lambda: pool(delayed(part)(rows) for rows in pieces)
    if importlib.util.find_spec("jax"):
        others["jax.vmap"] = _jax_side(thetas, X, y)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        pair = _torch_sides(thetas, X, y)
        others |= {"torch.func.vmap": pair[0], "PyTorch, bmm and autograd": pair[1]}
    for name, (side, gradients) in others.items():
        error = np.abs(np.asarray(gradients()) - wanted).max() / np.abs(wanted).max()
        assert error < 1e-4, f"{name} differs by {error}"
        sides[name] = side
    return sides


def gradients(args) -> None:
    sides = _sides(COUNT, args.threads)
    _report(
        f"{COUNT:,} networks {'-'.join(map(str, SIZES))}, {ROWS} rows each, float32, "
        f"{args.threads} threads",
        sides, args.rounds, 0.1,
    )  # fmt: skip


def validation(args) -> None:
    data = fg.datasets.load_digits()
    X, y = (data.X / 16).astype("f4"), data.y
    net = fg.MLP([64, 128, 10], "cross_entropy", dtype="float32")
    options = dict(epochs=20, batch_size=32, progress=False)

    def many():
        return fg.fit_many(net, X, y, seeds=range(10), folds=10, threads=args.threads, **options)

    def loop():
        return [
            fg.fit(net, X[own.train], y[own.train], seed=own.seed, threads=1,
                   validation=(X[own.held_out], y[own.held_out]), **options)
            for own in settings
        ]  # fmt: skip

    results = many()
    settings = results.settings
    for result, alone in zip(results, loop()):
        assert result.theta.tobytes() == alone.theta.tobytes(), "fit alone has other bits"
    sides = {"fit_many": many, "fit in a loop, one thread": loop}
    _report(
        f"digits, 64-128-10, ten folds by ten seeds, 20 epochs in batches of 32, float32; accuracy "
        f"{results.last('val_accuracy').mean():.4f}",
        sides, args.rounds, 0.1,
    )  # fmt: skip
    if importlib.util.find_spec("sklearn"):
        _cross_val_score(args, X, y, many)


def _cross_val_score(args, X, y, many) -> None:
    """One round: it takes a minute. Its workers are started beforehand."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")
    folds = StratifiedKFold(10, shuffle=True, random_state=0)

    def model(seed, epochs=20):
        return MLPClassifier((128,), batch_size=32, max_iter=epochs, tol=0, n_iter_no_change=99,
                             alpha=0.0, random_state=seed)  # fmt: skip

    cross_val_score(model(0, 1), X, y, cv=folds, n_jobs=args.threads)
    began = time.perf_counter()
    many()
    ours = time.perf_counter() - began
    began = time.perf_counter()
    scores = [cross_val_score(model(s), X, y, cv=folds, n_jobs=args.threads) for s in range(10)]
    theirs = time.perf_counter() - began
    print(f"  scikit-learn's cross_val_score, n_jobs={args.threads}: {theirs:.2f} s, accuracy "
          f"{np.mean(scores):.4f}; fit_many {ours:.3f} s: {theirs / ours:.1f} x")  # fmt: skip


def plot(args) -> None:
    """Microseconds a network over the number of networks."""
    from matplotlib.figure import Figure

    found: dict[str, list] = {}
    for m in NUMBERS:
        medians = _report(f"{m:,} networks", _sides(m, args.threads), 3, 0.02)
        for name, seconds in medians.items():
            found.setdefault(name, []).append(seconds / m * 1e6)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, values in found.items():
        axis.loglog(NUMBERS, values, marker="o", label=name)
    axis.set(xlabel="networks", ylabel="µs a network",
             title=f"{'-'.join(map(str, SIZES))}, {ROWS} rows, {args.threads} threads")  # fmt: skip
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.savefig(args.plot)


COMPARISONS = {"gradients": gradients, "validation": validation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(COMPARISONS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plot", help="picture of the cost over the number of networks")
    args = parser.parse_args()
    unknown = set(args.names) - set(COMPARISONS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(COMPARISONS)}")
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != str(args.threads) for name in names):
        os.environ.update(dict.fromkeys(names, str(args.threads)))
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.compare_stack", *sys.argv[1:]])
    for name in args.names or ([] if args.plot else COMPARISONS):
        COMPARISONS[name](args)
    if args.plot:
        plot(args)


if __name__ == "__main__":
    main()
