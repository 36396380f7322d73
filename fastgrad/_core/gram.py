"""Gradients of single rows as two factors, and the inner products of such gradients (formula 33).

The factors of the gradient of a row by a layer are what enters the layer and its delta, so n rows
have O(n width) numbers, whatever the number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..kernels import records as at
from ..kernels import tuning
from ..kernels.bind import run_factors, run_output_factors
from ..kernels.gram import PACK_COLUMNS, bind_gram, parallel_gram, serial_gram
from ..kernels.micro_kernel import NV
from ..kernels.records import GRAM
from ..kernels.simd import VECTOR_BYTES
from . import threads as threads_
from .plan import network_plan
from .run import run
from .workspace import round_up


@dataclass
class Factors:
    """Of n rows: of each layer but the first what enters it, and of each its deltas, `channels` a
    row; rows padded with zeros to whole vectors."""

    X: np.ndarray
    sizes: tuple[int, ...]  # of the layers
    channels: int
    activations: np.ndarray = None
    deltas: np.ndarray = None

    def __post_init__(self):
        n, dtype, widths = len(self.X), self.X.dtype, [self.padded(k) for k in self.sizes[1:]]
        self.activations = np.empty(n * sum(widths[:-1]), dtype)
        self.deltas = np.empty(n * self.channels * sum(widths), dtype)

    def padded(self, width: int) -> int:
        return round_up(width, VECTOR_BYTES // self.X.itemsize)

    def table(self, joined: bool) -> np.ndarray:
        """GRAM's `sizes`; `joined`: all channels of a row make one row."""
        rows = []
        for layer, (d, k) in enumerate(pairwise(self.sizes)):
            whole = self.channels * self.padded(k)
            deltas = (whole, whole) if joined else (k, self.padded(k))
            rows.append((d, self.padded(d) if layer else d, *deltas))
        return np.array(rows, np.int64)


def loss_factors(net, theta, X, y, sample_weight, threads) -> Factors:
    """Of the gradients of the rows' own losses; checked arrays."""
    factors = Factors(X, net.layer_sizes, 1)
    want, weighted = at.LOSS | at.ROW_FACTORS, sample_weight is not None
    plan = network_plan(net.spec.without_penalty(), len(X), want, weighted)
    kept = factors.activations, factors.deltas
    run(plan, run_factors, (theta, X, y, sample_weight, *kept), threads)
    return factors


def output_factors(net, theta, X, threads) -> Factors:
    """Of the gradients of each output of each row."""
    n, k = len(X), net.n_outputs
    factors = Factors(X, net.layer_sizes, k)
    plan = network_plan(net.spec.without_penalty(), n, at.COTANGENT | at.ROW_FACTORS, False)
    cotangent = np.zeros((n, k), X.dtype)
    for output in range(k):
        cotangent[:, output - 1], cotangent[:, output] = 0, 1
        activations = None if output else factors.activations
        arrays = theta, X, cotangent.reshape(-1), activations, factors.deltas, k, output
        run(plan, run_output_factors, arrays, threads)
    return factors


def gram(first: Factors, second: Factors | None, out, threads, joined=False, factor=1.0) -> None:
    """Write `factor` times the inner products to out: (n, n2, channels, channels), or (n, n2), the
    sums over channels, where they are `joined`. second: None where it is the first."""
    other = first if second is None else second
    n, n2, channels = len(first.X), len(other.X), 1 if joined else first.channels
    dtype, lanes = out.dtype, VECTOR_BYTES // out.itemsize
    table = first.table(joined)
    rows, columns = tuning.GRAM_ROWS, tuning.GRAM_BYTES // out.itemsize
    inputs = columns // channels + 3 * NV * lanes
    tiles = -(-n * channels // rows) * -(-n2 * channels // columns)
    workers = min(threads_.max_threads(), max(tiles, -(-n2 // PACK_COLUMNS)))
    stride = round_up(rows * (2 * columns + inputs) + inputs + columns, lanes)
    in_panels = int(
        table[:, 0].sum() * round_up(n2, lanes) + table[:, 2].sum() * round_up(n2 * channels, lanes)
    )
    buffer = np.zeros(GRAM.size, np.int64)
    for field, value in (
        (GRAM.n, n), (GRAM.n2, n2), (GRAM.layers, len(table)), (GRAM.channels, channels),
        (GRAM.symmetric, second is None), (GRAM.rows, rows), (GRAM.columns, columns),
        (GRAM.inputs, inputs), (GRAM.tiles, tiles), (GRAM.workers, workers),
        (GRAM.scratch_stride, stride),
    ):  # fmt: skip
        buffer[field] = value
    packed, scratch = np.empty(in_panels, dtype), np.empty(workers * stride, dtype)
    queue, factor = np.zeros(tiles * at.LINE, np.int64), np.array([factor], np.float64)
    bind_gram(
        buffer, table.ravel(), first.X, first.activations, first.deltas, other.X,
        other.activations, other.deltas, packed, scratch, queue, factor, out.reshape(-1),
    )  # fmt: skip
    work = 2 * n * n2 * int(table[:, 0].sum() + channels**2 * table[:, 2].sum())
    least = tuning.ASLEEP_FLOPS if threads_.threads_sleep() else tuning.PARALLEL_FLOPS
    worth_it = workers > 1 and work * out.itemsize // 4 >= least
    threads_.launch(serial_gram, parallel_gram, worth_it, threads, (out.reshape(-1), buffer))
