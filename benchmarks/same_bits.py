"""The bits of losses, gradients, outputs and fitted parameters over many shapes, to compare trees.

`python -m benchmarks.same_bits > FILE` prints a line for each case: its name and a digest. Two trees
compute the same where the files are equal; `--against FILE` compares with an earlier one and names
the cases that differ. Shapes, seeds and data are fixed; serial and threaded calls must agree.
"""

from __future__ import annotations

import argparse
import hashlib
import sys

import numpy as np

import fastgrad as fg

SIZES = [
    (1, [3, 1]), (7, [5, 1]), (40, [64, 1]), (1000, [100, 1]), (20_000, [33, 1]),
    (1, [4, 3]), (16, [8, 64, 64, 3]), (200, [24, 8, 2]), (128, [10, 45, 45, 10]),
    (128, [64, 128, 10]), (300, [784, 100, 10]), (256, [784, 512, 256, 10]),
    (1000, [54, 128, 64, 7]), (5000, [4, 32, 16, 4]), (3000, [24, 6]), (60, [300, 200]),
    (2100, [256, 256]), (700, [17, 33, 19, 5]), (33, [2, 130, 3]), (9, [130, 2, 70]),
    (100, [1, 1, 1]), (4, [1000, 1000, 2]), (500, [30, 40, 1]), (129, [65, 31, 1]),
    (2500, [13, 8, 5]), (64, [5, 300]),
]  # fmt: skip
LOSSES = ["mse", "huber", "logistic", "cross_entropy"]


def problem(rng, sizes, n, loss, dtype):
    k = sizes[-1]
    net = fg.MLP(sizes, loss, dtype=dtype, l2=0.01 if n % 2 else 0.0)
    theta = (rng.standard_normal(net.n_parameters) / np.sqrt(sizes[0])).astype(dtype)
    X = rng.standard_normal((n, sizes[0])).astype(dtype)
    if loss == "cross_entropy":
        y = rng.integers(0, k, n)
    elif loss == "logistic":
        y = rng.integers(0, 2, (n, k)).astype(dtype)
    else:
        y = rng.standard_normal((n, k)).astype(dtype)
    return net, theta, X, y, rng.uniform(0, 2, n).astype(dtype)


def network_cases():
    for number, (n, sizes) in enumerate(SIZES):
        for dtype in ("float32", "float64"):
            for loss in LOSSES:
                if loss == "cross_entropy" and sizes[-1] == 1:
                    continue
                rng = np.random.default_rng(number)
                net, theta, X, y, s = problem(rng, sizes, n, loss, dtype)
                name = f"{loss} {'-'.join(map(str, sizes))} {n} {dtype}"
                for threads in (1, 2):
                    yield f"{name} gradient", net.loss_and_grad(theta, X, y, threads=threads)
                yield f"{name} gradient", net.loss_and_grad(theta, X, y)
                yield f"{name} weighted", net.loss_and_grad(theta, X, y, s)
                yield f"{name} loss", net.loss(theta, X, y)
                yield f"{name} inputs", net.grad_input(theta, X, y)
                yield f"{name} outputs", net.predict(theta, X)


def layer_cases():
    for number, (n, sizes) in enumerate(SIZES):
        for dtype in ("float32", "float64"):
            rng = np.random.default_rng(100 + number)
            d, k = sizes[0], sizes[1]
            X, W, b, grad_a = (
                rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (d, k), k, (n, k))
            )
            name = f"layer {d}-{k} {n} {dtype}"
            for threads in (1, 2):
                a, mask = fg.affine_relu(X, W, b, threads=threads)
                yield f"{name} forward", (fg.affine(X, W, b, threads=threads), a, mask)
                back = fg.affine_relu_backward(grad_a, X, W, mask, threads=threads)
                yield f"{name} backward", back
                neuron = fg.neuron_loss_and_grad(W[:, 0], 0.5, X, b[0] + X[:, 0], threads=threads)
                yield f"{name} neuron", neuron


def fit_cases():
    for dtype in ("float32", "float64"):
        for loss in LOSSES:
            for kind in (fg.SGD, fg.Nesterov, fg.RMSprop, fg.Adam, fg.AdamW):
                rng = np.random.default_rng(200)
                net, theta, X, y, s = problem(rng, [12, 40, 5], 700, loss, dtype)
                for threads in (1, 2):
                    result = fg.fit(
                        net, X, y, theta=theta, optimizer=kind(0.01), epochs=3, batch_size=64,
                        sample_weight=s, seed=1, threads=threads,
                    )  # fmt: skip
                    name = f"fit {loss} {kind.__name__} {dtype}"
                    yield name, (result.theta, np.array(result.history.loss))


def digest(result) -> str:
    whole = hashlib.sha256()
    for part in result if isinstance(result, tuple) else (result,):
        whole.update(np.asarray(part).tobytes())
    return whole.hexdigest()[:16]


def all_digests() -> dict[str, str]:
    found: dict[str, str] = {}
    for cases in (network_cases, layer_cases, fit_cases):
        for name, result in cases():
            mine = digest(result)
            if found.setdefault(name, mine) != mine:
                print(f"{name}: the bits depend on the threads or the path", file=sys.stderr)
                found[name] = "differs"
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", help="a file that an earlier tree printed")
    arguments = parser.parse_args()
    found = all_digests()
    if not arguments.against:
        for name, mine in found.items():
            print(f"{mine} {name}")
        return
    with open(arguments.against) as file:
        before = {line[17:].rstrip("\n"): line[:16] for line in file}
    differing = [name for name, mine in found.items() if before.get(name) != mine]
    print(f"{len(found) - len(differing)} of {len(found)} cases have the same bits")
    for name in differing:
        print(name)


if __name__ == "__main__":
    main()
