"""Gradients of sparse rows, side by side with what others do for them.

    python -m benchmarks.compare_sparse [regression] [network] [--threads 2] [--rounds 7]
                                        [--dtype float32] [--skewed] [--plot FILE.svg]

Rows are of rcv1's shape and density. "regression": logistic, beside scikit-learn's
`LinearModelLoss`; "network": 47,236-64-1, beside scikit-learn's MLP. Both also beside PyTorch's
sparse CSR under autograd, JAX's BCOO, and SciPy's two products alone, the gradient's least. Results
are compared before any clock runs; sides take turns of a quarter of a second, a figure is the
median over rounds, a ratio the median of the rounds' ratios. The last lines are the roofline,
measured by sums over arrays of the same sizes: reading once what is stored; and, of a network, a
row of W and one of deltas for each entry, the bound where these do not fit the L2. `--plot`:
milliseconds over rows and over density.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time

import numba
import numpy as np

import fastgrad as fg

from .compare_guests import _turns
from .sparse_rows import COLUMNS, DENSITY, ROWS, rows_like_rcv1

TURN = 0.25  # seconds: a turn of ours begins with a serial call, to see whether threads pay
HIDDEN = {"regression": (), "network": (64,)}


def _problem(args, kind: str, n=ROWS, density=DENSITY):
    X = rows_like_rcv1(n, density=density, dtype=args.dtype, skewed=args.skewed)
    y = (np.random.default_rng(1).random(n) < 0.5).astype(args.dtype)
    net = fg.MLP([COLUMNS, *HIDDEN[kind], 1], "logistic", dtype=args.dtype)
    return net, net.init(seed=0), X, y


def _ours(net, theta, X, y) -> dict:
    out = np.empty_like(theta)
    return {
        "fastgrad": lambda: net.loss_and_grad(theta, X, y, out=out)[1],
        "the same on one thread": lambda: net.loss_and_grad(theta, X, y, out=out, threads=1)[1],
    }


def _scipy(net, theta, X, y):
    W = net.unflatten(theta)[0][0]
    W = W[:, 0] if W.shape[1] == 1 else W
    Z, XT = X @ W, X.T

    def products():
        X @ W
        XT @ Z

    return products, None


def _linear_model_loss(net, theta, X, y, threads):
    from sklearn._loss import HalfBinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    loss = LinearModelLoss(HalfBinomialLoss(), fit_intercept=True)

    def side():
        return loss.loss_gradient(theta, X, y, n_threads=threads)[1]

    return side, side


def _mlp_classifier(net, theta, X, y):
    """`_backprop`, which is all that `fit` does of a batch but for the update."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(HIDDEN["network"], solver="sgd", alpha=0.0, max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:100], y[:100])
    model.coefs_ = [W.copy() for W, _ in net.unflatten(theta)]
    model.intercepts_ = [b.copy() for _, b in net.unflatten(theta)]
    sizes, target = net.layer_sizes[1:], y.reshape(-1, 1)
    coefs = [np.empty_like(W) for W in model.coefs_]
    intercepts = [np.empty_like(b) for b in model.intercepts_]
    weights = [None] if "sample_weight" in model._backprop.__code__.co_varnames else []

    def side():
        activations = [X, *(np.empty((len(y), k), X.dtype) for k in sizes)]
        deltas = [np.empty_like(a) for a in activations[1:]]
        model._backprop(X, target, *weights, activations, deltas, coefs, intercepts)

    def gradient():
        side()
        return np.concatenate([np.r_[W.ravel(), b] for W, b in zip(coefs, intercepts)])

    return side, gradient


def _torch(net, theta, X, y, threads):
    import warnings

    import torch

    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", "Sparse CSR tensor support")
    rows = torch.sparse_csr_tensor(*map(torch.from_numpy, (X.indptr, X.indices, X.data)), X.shape)
    leaves = [torch.from_numpy(a.copy()).requires_grad_() for p in net.unflatten(theta) for a in p]
    target = torch.from_numpy(y.copy()).reshape(-1, 1)

    def side():
        for leaf in leaves:
            leaf.grad = None
        a = torch.sparse.mm(rows, leaves[0]) + leaves[1]
        for W, b in zip(leaves[2::2], leaves[3::2]):
            a = torch.relu(a) @ W + b
        torch.nn.functional.binary_cross_entropy_with_logits(a, target).backward()

    def gradient():
        side()
        return np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves])

    return side, gradient


def _jax(net, theta, X, y):
    import jax
    import jax.numpy as jnp
    from jax.experimental.sparse import BCOO

    jax.config.update("jax_enable_x64", True)
    indices = np.stack([np.repeat(np.arange(len(y)), np.diff(X.indptr)), X.indices], 1)
    rows = BCOO((jnp.array(X.data), jnp.array(indices)), shape=X.shape, indices_sorted=True,
                unique_indices=True)  # fmt: skip
    layers, target = [tuple(map(jnp.array, pair)) for pair in net.unflatten(theta)], jnp.array(y)

    def loss(layers):
        (W, b), *others = layers
        a = rows @ W + b
        for W, b in others:
            a = jax.nn.relu(a) @ W + b
        z = a[:, 0]
        return jnp.mean(jnp.logaddexp(0.0, z) - target * z)

    step = jax.jit(jax.grad(loss))

    def gradient():
        return np.concatenate([np.asarray(a).ravel() for pair in step(layers) for a in pair])

    return lambda: jax.block_until_ready(step(layers)), gradient


def _sides(args, kind: str, *problem) -> dict:
    """Ours first; gradients compared with each other."""
    sides = _ours(*problem)
    wanted = sides["fastgrad"]().copy()
    assert sides["the same on one thread"]().tobytes() == wanted.tobytes(), "other bits"
    others = {"SciPy's two products": _scipy(*problem)}
    if importlib.util.find_spec("sklearn"):
        if kind == "regression":
            peer = _linear_model_loss(*problem, args.threads)
            others["LinearModelLoss"] = peer
        else:
            others["scikit-learn's MLP"] = _mlp_classifier(*problem)
    if importlib.util.find_spec("torch"):
        others["torch.sparse, CSR"] = _torch(*problem, args.threads)
    if importlib.util.find_spec("jax"):
        others["JAX, BCOO"] = _jax(*problem)
    for name, (side, gradient) in others.items():
        if gradient is not None:
            error = np.abs(gradient() - wanted).max() / np.abs(wanted).max()
            assert error < (1e-3 if args.dtype == "float32" else 1e-9), f"{name} differs by {error}"
        sides[name] = side
    return sides


def _report(title: str, sides: dict, rounds: int, warm: float = 3.0) -> dict:
    """Each side beside the first, which is ours; medians by name."""
    taken = _turns(sides, rounds, TURN, warm)
    ours = next(iter(sides))
    print(title)
    for name, values in taken.items():
        ratio = statistics.median(v / o for v, o in zip(values, taken[ours]))
        low, high = min(values) * 1e3, max(values) * 1e3
        line = f"  {name:<26} {statistics.median(values) * 1e3:>10.3f} ms"
        print(f"{line}  ({low:.3f} to {high:.3f})  {ratio:.2f} x", flush=True)
    return {name: statistics.median(values) for name, values in taken.items()}


@numba.njit(nogil=True)
def _sum(values):
    total = 0
    for i in range(values.size):
        total += values[i]
    return total


@numba.njit(nogil=True, parallel=True)
def _parallel_sum(values):
    total = 0
    for i in numba.prange(values.size):
        total += values[i]
    return total


def _seconds(function, *arguments) -> float:
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        function(*arguments)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def roofline(net, theta, X, y, seconds: dict) -> None:
    """What the step must read and write once; and the rows of W and of deltas, entry by entry."""
    stored = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    size, k = theta.itemsize, net.layer_sizes[1]
    streams = stored + 2 * theta.nbytes + len(y) * size
    one, both = seconds["the same on one thread"], seconds["fastgrad"]

    def line(what, times, note):
        least = [times * _seconds(total, memory) for total in (_sum, _parallel_sum)]
        print(f"  {what}: {least[0] * 1e3:.2f} ms on one thread, {least[1] * 1e3:.2f} on all"
              f"{note}; the step takes {one / least[0]:.1f} and {both / least[1]:.1f} times "
              f"as long")  # fmt: skip

    memory = np.zeros(streams // 8, np.int64)
    line(f"stored X {stored / 1e6:.1f} MB, with theta, gradient and y {streams / 1e6:.1f} MB, read "
         f"once", 1, "")  # fmt: skip
    if k > 1:
        rows = 2 * X.nnz * k * size
        memory = np.zeros(net.n_inputs * k * size // 8, np.int64)
        line(f"the rows of W and of deltas that entries name, {rows / 1e6:.0f} MB",
             rows / memory.nbytes, " if they came like a stream of W's bytes")  # fmt: skip


def compare(args, kind: str) -> None:
    problem = _problem(args, kind)
    net, _, X, _ = problem
    columns = "skewed" if args.skewed else "even"
    seconds = _report(
        f"{kind}: {'-'.join(map(str, net.layer_sizes))}, {X.shape[0]:,} rows, {X.nnz:,} entries "
        f"in {columns} columns, {args.dtype}, {args.threads} threads",
        _sides(args, kind, *problem), args.rounds,
    )  # fmt: skip
    roofline(*problem, seconds)


def plot(args) -> None:
    """Milliseconds of a gradient over the number of rows, and over the density."""
    panels = []
    for kind in HIDDEN:
        works = [(n, DENSITY) for n in (500, 3000, ROWS)]
        panels.append((kind, "rows", [n for n, _ in works], _measured(args, kind, works)))
        works = [(5000, density) for density in (0.0002, 0.0016, 0.0128)]
        label = "density, 5,000 rows"
        panels.append((kind, label, [d for _, d in works], _measured(args, kind, works)))
    draw(args.plot, panels, f"{args.dtype}, {args.threads} threads")


def _measured(args, kind, works) -> dict:
    """Milliseconds by side, of each work."""
    found: dict[str, list] = {}
    for n, density in works:
        sides = _sides(args, kind, *_problem(args, kind, n, density))
        for name, seconds in _report(f"{kind}: {n:,} rows, {density}", sides, 3, 0.2).items():
            found.setdefault(name, []).append(seconds * 1e3)
    return found


def draw(path: str, panels: list, title: str) -> None:
    """panels: (kind, what is on the x axis, its values, milliseconds by side)."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    figure.suptitle(f"Gradients of sparse rows, {title}")
    for axis, (kind, label, places, found) in zip(figure.subplots(2, 2).flat, panels):
        for number, (name, values) in enumerate(found.items()):
            width = 2.5 if number == 0 else 1.2
            axis.loglog(places, values, marker="o", markersize=4, linewidth=width, label=name)
        axis.minorticks_off()
        axis.set(xlabel=label, ylabel="ms", title=kind)
        axis.set_xticks(places, [f"{place:,}" for place in places])
        axis.grid(alpha=0.3)
        if label == "rows":
            axis.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(HIDDEN))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--skewed", action="store_true", help="columns as frequent as words are")
    parser.add_argument("--plot", help="picture of the cost over rows and density")
    args = parser.parse_args()
    unknown = set(args.names) - set(HIDDEN)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(HIDDEN)}")
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != str(args.threads) for name in names):
        os.environ.update(dict.fromkeys(names, str(args.threads)))
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.compare_sparse", *sys.argv[1:]])
    for name in args.names or ([] if args.plot else HIDDEN):
        compare(args, name)
    if args.plot:
        plot(args)


if __name__ == "__main__":
    main()
