"""The works that are measured: shapes, seeded data, and what each must compute and move.

A work is the loss and the gradient by all parameters ("neuron", "network"), or one layer's forward
and backward ("layer": dX, dW and db from a given gradient). NumPy alone is imported here, so a peer
in an environment of its own can build the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    kind: str  # "neuron", "network" or "layer"; "clipped": a network, row by row; or what of a
    # network `derivatives.py` has
    n: int
    sizes: tuple[int, ...]
    dtype: str = "float32"
    loss: str = "mse"
    output_activation: str = "identity"
    activation: str = "relu"  # of the hidden layers: or "tanh", "softplus"

    @property
    def products(self) -> int:
        """Weights: the products of one row's forward pass."""
        return sum(d * k for d, k in pairwise(self.sizes))

    @property
    def parameters(self) -> int:
        return self.products + sum(self.sizes[1:])

    @property
    def flops(self) -> int:
        """Of the matrix products alone: forward, dW, and dX where a layer below wants it."""
        first = self.sizes[0] * self.sizes[1]
        dx = self.products if self.kind == "layer" else self.products - first
        return 2 * self.n * (2 * self.products + dx)

    @property
    def bytes(self) -> int:
        """The least traffic: each input read once, each result written once."""
        size = np.dtype(self.dtype).itemsize
        d, k = self.sizes[0], self.sizes[-1]
        if self.kind == "layer":  # X, A, mask; then grad_a, mask, X, dX
            return self.n * (size * (3 * d + 2 * k) + 2 * k) + 3 * size * self.parameters
        targets = 8 * self.n if self.loss == "cross_entropy" else size * self.n * k
        return size * self.n * d + targets + 2 * size * self.parameters


def _network(name, n, *sizes, **options):
    return Work(name, "network", n, sizes, **options)


def _layer(name, n, *sizes, **options):
    return _network(name, n, *sizes, output_activation="relu", **options)


_XENT = {"loss": "cross_entropy"}

# Loss and gradient through the public API; a "layer" here is one ReLU layer under a mean squared
# error. float32 where the name does not say otherwise.
WORKS = (
    Work("one neuron 256 x 16", "neuron", 256, (16, 1)),
    Work("one neuron 256 x 16, float64", "neuron", 256, (16, 1), "float64"),
    _layer("tiny layer 64 x 8 -> 4", 64, 8, 4),
    _network("24-8-2, 200 rows, float64", 200, 24, 8, 2, dtype="float64"),
    _network("24-8-2, 200 rows, float64, tanh", 200, 24, 8, 2, dtype="float64", activation="tanh"),
    _network("8-64-64-3, 16 rows", 16, 8, 64, 64, 3),
    Work("one neuron 4,096 x 128", "neuron", 4096, (128, 1)),
    Work("one neuron 2,000,000 x 32", "neuron", 2_000_000, (32, 1)),
    Work("one neuron 100,000 x 1,000, float64", "neuron", 100_000, (1000, 1), "float64"),
    _layer("skinny layer 400,000 x 24 -> 6", 400_000, 24, 6),
    _network("logistic regression 20,000 x 100, float64", 20_000, 100, 1, dtype="float64",
             loss="logistic"),
    _network("softmax regression 10,000 x 64 -> 10, float64", 10_000, 64, 10, dtype="float64",
             **_XENT),
    _network("4-32-16-4, 10,000 rows", 10_000, 4, 32, 16, 4),
    _network("64-128-10, 128 rows", 128, 64, 128, 10, **_XENT),
    _network("10-45-45-10, 128 rows", 128, 10, 45, 45, 10),
    _network("10-46-46-10, 128 rows", 128, 10, 46, 46, 10),
    _network("784-100-100-10, 200 rows", 200, 784, 100, 100, 10, **_XENT),
    _network("784-100-100-10, 200 rows, float64", 200, 784, 100, 100, 10, dtype="float64", **_XENT),
    _layer("square layer 6,000 x 300 -> 200", 6_000, 300, 200),
    Work("square layer 6,000 x 300 -> 200, with dX", "layer", 6_000, (300, 200)),
    _network("480-1024-1024-512-256-1, 1,024 rows", 1_024, 480, 1024, 1024, 512, 256, 1),
    _network("784-512-256-10, 256 rows", 256, 784, 512, 256, 10, **_XENT),
    _network("784-512-256-10, 256 rows, float64", 256, 784, 512, 256, 10, dtype="float64", **_XENT),
    _network("1024-1024-1024-10, 2,048 rows", 2_048, 1024, 1024, 1024, 10, **_XENT),
    _layer("square layer 8,192 x 256 -> 256", 8_192, 256, 256),
    Work("square layer 8,192 x 256 -> 256, with dX", "layer", 8_192, (256, 256)),
    _network("54-128-64-7, 1,024 rows", 1_024, 54, 128, 64, 7, **_XENT),
    _layer("skinny layer 500,000 x 32 -> 4", 500_000, 32, 4),
    Work("one neuron 10,000 x 64", "neuron", 10_000, (64, 1)),
)  # fmt: skip
BY_NAME = {work.name: work for work in WORKS}

# Each sample's gradient clipped, and their mean; the third is curvlinops' network, the last that of
# fast-dpsgd.
PER_SAMPLE = tuple(
    Work(f"{'-'.join(map(str, sizes))}, {n:,} rows", "clipped", n, sizes, loss="cross_entropy")
    for n, sizes in (
        (128, (64, 128, 10)),
        (1024, (54, 128, 64, 7)),
        (512, (784, 1024, 512, 256, 128, 64, 10)),
        (256, (104, 50, 2)),
    )
)

SWEEP_FLOPS = 2_000_000_000
SWEEP_BYTES = 64_000_000


def sweep(count: int = 200, seed: int = 0) -> list[Work]:
    """Random networks: n 1 to 1e5, widths 1 to 1024, depth 1 to 5, both dtypes, log-uniform.

    Shapes above `SWEEP_FLOPS` or `SWEEP_BYTES` are drawn again, so that a sweep ends in minutes.
    """
    rng = np.random.default_rng(seed)
    works: list[Work] = []
    while len(works) < count:
        depth = int(rng.integers(1, 6))
        n = round(10 ** rng.uniform(0, 5))
        sizes = tuple(round(2 ** rng.uniform(0, 10)) for _ in range(depth + 1))
        dtype = ("float32", "float64")[int(rng.integers(2))]
        losses = ["mse", "cross_entropy"] if sizes[-1] > 1 else ["mse", "logistic"]
        loss = losses[int(rng.integers(2))]
        name = f"{'-'.join(map(str, sizes))}, {n:,} rows, {dtype}, {loss}"
        work = Work(name, "network", n, sizes, dtype, loss)
        if work.flops <= SWEEP_FLOPS and work.bytes <= SWEEP_BYTES:
            works.append(work)
    return works


def cliff(dtype: str = "float32") -> list[Work]:
    """10-w-w-10 with 128 rows for w = 1 to 130, one by one."""
    return [
        Work(f"10-{w}-{w}-10, 128 rows, {dtype}", "network", 128, (10, w, w, 10), dtype)
        for w in range(1, 131)
    ]


def data(work: Work):
    """(theta (p,), X (n, d), y) of a work, the same in every process.

    theta is layer by layer W (d, k) and b (k,), He initialised with small biases. y is (n,) for one
    neuron, integer labels for cross-entropy, 0 or 1 for logistic, the gradient by the activations
    for a "layer", else (n, k).
    """
    rng = np.random.default_rng([work.n, *work.sizes])
    dtype = np.dtype(work.dtype)
    theta = np.empty(work.parameters, dtype)
    start = 0
    for d, k in pairwise(work.sizes):
        stop = start + d * k
        theta[start:stop] = rng.standard_normal(d * k) * np.sqrt(2 / d)
        theta[stop : stop + k] = rng.standard_normal(k) * 0.1
        start = stop + k
    k = work.sizes[-1]
    if work.loss == "cross_entropy":
        y = rng.integers(0, k, work.n)
    elif work.loss == "logistic":
        y = rng.integers(0, 2, (work.n, k)).astype(dtype)
    else:
        y = rng.standard_normal(work.n if work.kind == "neuron" else (work.n, k), dtype=dtype)
    X = rng.standard_normal(dtype=dtype, out=aligned_empty((work.n, work.sizes[0]), dtype))
    return aligned(theta), X, aligned(y)


def aligned_empty(shape, dtype, unit: int = 64):
    """An array that begins at a cache line: where it begins is else a matter of luck, which is
    worth up to a quarter of a neuron's time."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + unit, np.uint8)
    start = -memory.ctypes.data % unit
    return memory[start : start + size].view(dtype).reshape(shape)


def aligned(array):
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def layers(theta, sizes):
    """[(W (d, k), b (k,)), ...] as views of theta."""
    views, start = [], 0
    for d, k in pairwise(sizes):
        stop = start + d * k
        views.append((theta[start:stop].reshape(d, k), theta[stop : stop + k]))
        start = stop + k
    return views
