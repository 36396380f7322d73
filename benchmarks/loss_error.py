"""Rounding error of losses, in units of the dtype, beside NumPy's closed form and PyTorch.

`python -m benchmarks.loss_error` prints a line for each loss, dtype, number of outputs k and of
rows n: the relative error of the loss against extended precision, divided by the dtype's epsilon,
once where all terms are equal (parameters of 0) and once for random data. PyTorch's column is there
where it is installed.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastgrad as fg
from fastgrad import reference

EXTENDED = np.longdouble
LOSSES = ("mse", "huber", "logistic", "cross_entropy")
CHUNK = 2_000_000  # numbers in extended precision at a time


def problem(loss, k, n, dtype, equal):
    rng = np.random.default_rng(k + n)
    net = fg.MLP([4, k], loss, dtype=dtype)
    theta = np.zeros(net.n_parameters, net.dtype)
    X = np.ones((n, 4), net.dtype)
    if not equal:
        theta = rng.standard_normal(net.n_parameters).astype(net.dtype)
        X = rng.standard_normal((n, 4)).astype(net.dtype)
    if loss == "cross_entropy":
        y = np.zeros(n, np.int64) if equal else rng.integers(0, k, n)
    elif loss == "logistic":
        y = np.zeros((n, k), net.dtype)
        if not equal:
            y[...] = rng.integers(0, 2, (n, k))
    else:
        y = np.full((n, k), 0.1, net.dtype)
        if not equal:
            y[...] = rng.standard_normal((n, k))
    return net, theta, X, y


def exact(net, theta, X, y) -> EXTENDED:
    """Formulas 18 and 25 to 27 in extended precision, rows by rows."""
    (W, b), n, k = net.unflatten(theta.astype(EXTENDED))[0], len(X), net.n_outputs
    total, rows = EXTENDED(0), max(1, CHUNK // k)
    for first in range(0, n, rows):
        part = slice(first, first + rows)
        z = X[part].astype(EXTENDED) @ W + b
        if net.loss_name == "cross_entropy":
            top = z.max(axis=1, keepdims=True)
            logs = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0]
            total += (logs - z[np.arange(len(z)), y[part]]).sum()
        elif net.loss_name == "logistic":
            total += (np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y[part] * z).sum()
        else:
            size = np.abs(z - y[part])
            each = size**2
            if net.loss_name == "huber":
                each = np.where(size <= 1, each / 2, size - EXTENDED(0.5))
            total += each.sum() / k
    return total / n


def by_torch(net, theta, X, y) -> float:
    import torch
    from torch.nn import functional as F

    W, b = net.unflatten(theta)[0]
    z = torch.addmm(torch.tensor(b), torch.tensor(X), torch.tensor(W))
    y = torch.tensor(y)
    return {
        "mse": lambda: F.mse_loss(z, y),
        "huber": lambda: F.huber_loss(z, y),
        "logistic": lambda: F.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(X),
        "cross_entropy": lambda: F.cross_entropy(z, y),
    }[net.loss_name]().item()


def contenders() -> dict:
    found = {
        "fastgrad": lambda net, *args: net.loss_and_grad(*args)[0],
        "numpy": lambda net, *args: reference.mlp_loss_and_grad(
            *args, net.layer_sizes, net.loss_name
        )[0],
    }
    try:
        import torch  # noqa: F401
    except ImportError:
        return found
    return {**found, "torch": by_torch}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", default="1,10,700,3000")
    parser.add_argument("--rows", default="1,100,10000")
    parser.add_argument("--most", type=int, default=30_000_000, help="the most targets of a case")
    arguments = parser.parse_args()
    names = contenders()
    print(f"{'loss':14} {'dtype':8} {'k':>5} {'n':>6} {'terms':7}", *(f"{n:>10}" for n in names))
    for loss in LOSSES:
        for dtype in ("float32", "float64"):
            for k in map(int, arguments.outputs.split(",")):
                k = max(k, 2) if loss == "cross_entropy" else k
                for n in map(int, arguments.rows.split(",")):
                    if k * n > arguments.most:
                        continue
                    for equal in (True, False):
                        net, theta, X, y = problem(loss, k, n, dtype, equal)
                        true, eps = exact(net, theta, X, y), np.finfo(dtype).eps
                        units = [
                            float(abs(EXTENDED(run(net, theta, X, y)) - true) / true) / eps
                            for run in names.values()
                        ]
                        kind = "equal" if equal else "random"
                        figures = (f"{u:10.2f}" for u in units)
                        print(f"{loss:14} {dtype:8} {k:5} {n:6} {kind:7}", *figures)


if __name__ == "__main__":
    main()
