"""Shapes to a plan: blocks, tasks, where everything lies in the workspace, parallel or not.

Pure Python on shapes. Nothing here depends on the number of threads, so neither do the results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..kernels import layout as at
from ..kernels import neuron as one
from ..kernels.simd import LANES_F32, LANES_F64

# Tuning numbers, measured on two Zen 5 cores (48 KiB L1, 1 MiB L2, AVX-512), 2026-11.
CACHE_BYTES = 384 * 1024  # activations of a row block: they and the panels share the L2
BLOCK_ROWS = (24, 240)  # least and most rows of a block; multiples of every tile's rows
TASK_ROWS = 48  # least rows of a task: a partial gradient costs about five rows to add up
MAX_TASKS = 32
PARTIAL_BYTES = 256 * 2**20  # all partial gradients together
PARALLEL_FLOPS = 2_000_000  # about 10 us of one core; three launches cost 5 us
SLICE_PARAMETERS = 16_384  # parameters of a slice of packing and adding up
MAX_SLICES = 32
FLUSH_ROWS = 2048  # float32 sums of more rows go to float64
NEURON_BLOCK_ROWS = 512  # rows between a neuron's float64 sums
NEURON_PARALLEL_BYTES = 400_000  # about 8 us of one core's cache bandwidth


@dataclass
class Plan:
    """What a step needs beside the user's arrays: the kernels' vector and workspaces."""

    vector: np.ndarray
    parallel: bool
    dtype: np.dtype
    elements: int
    doubles: int
    zeros: int = 0
    one: int = 0
    scalars: tuple[float, ...] = ()
    _free: list = field(default_factory=list)

    def acquire(self):
        """A (workspace, workspace64) pair nobody else uses; give it back with `release`."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        workspace = np.empty(self.elements, self.dtype)
        workspace[self.zeros : self.one] = 0
        workspace[self.one] = 1
        workspace64 = np.zeros(self.doubles)
        workspace64[: len(self.scalars)] = self.scalars
        return workspace, workspace64

    def release(self, pair) -> None:
        if len(self._free) < 4:
            self._free.append(pair)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _leading_dimension(k: int, lanes: int) -> int:
    """Whole vectors, and never a multiple of 64 of them, which would share few cache sets."""
    if k == 1:
        return 1
    padded = _round_up(k, lanes)
    return padded + lanes if padded % (8 * lanes) == 0 else padded


def _tasks_and_blocks(n, sizes, widths, gradient, itemsize, parameters, flops):
    """(tasks, rows of a task, rows of a block)."""
    row_bytes = itemsize * (sizes[0] + sum(widths))
    low, high = BLOCK_ROWS
    block = min(high, max(low, CACHE_BYTES // row_bytes // low * low))
    if flops < PARALLEL_FLOPS:
        tasks = 1
    else:
        tasks = min(MAX_TASKS, max(1, n // TASK_ROWS))
        if gradient:
            tasks = max(1, min(tasks, PARTIAL_BYTES // (itemsize * parameters)))
    rows = -(-n // tasks) if n else 1
    blocks = -(-rows // block)
    block = _round_up(-(-rows // blocks), 2) if n else 1
    if n > high:  # whole tiles, except for the last block of a task
        block = min(_round_up(block, 24), _round_up(rows, 2))
        rows = _round_up(rows, 24) if rows > high else rows
    return -(-n // rows), rows, block


@lru_cache(maxsize=256)
def network_plan(
    sizes: tuple[int, ...],
    n: int,
    dtype: np.dtype,
    job: int,
    loss: int,
    output_relu: bool,
    weighted: bool,
    scalars: tuple[float, float] = (1.0, 0.0),
    flat: bool = True,
) -> Plan:
    """The plan of one step; `flat`: biases lie in theta behind their weights, else on their own."""
    lanes = LANES_F32 if dtype.itemsize == 4 else LANES_F64
    layers = len(sizes) - 1
    gradient = job in (at.GRADIENT, at.GRADIENT_AND_INPUT)
    widths = [_leading_dimension(k, lanes) for k in sizes[1:]]
    products = sum(d * k for d, k in zip(sizes, sizes[1:]))
    parameters = products + sum(sizes[1:])
    flops = 2 * n * products * (1 if job in (at.FORWARD, at.LOSS_ONLY) else 3)
    tasks, rows, block = _tasks_and_blocks(
        n, sizes, widths, gradient, dtype.itemsize, parameters, flops
    )
    slices = min(MAX_SLICES, max(1, parameters // SLICE_PARAMETERS))

    vector = np.zeros(at.HEADER + layers * at.RECORD, np.int64)
    records = vector[at.HEADER :].reshape(layers, at.RECORD)
    theta = shared = part = partial = 0
    for record, d, k, ld in zip(records, sizes, sizes[1:], widths):
        padded = _round_up(k, lanes)
        record[at.D], record[at.K], record[at.LD] = d, k, ld
        record[at.WEIGHT] = theta
        theta += d * k
        record[at.BIAS_OUT] = theta
        record[at.BIAS] = theta if flat else 0
        theta += k
        record[at.PANELS] = shared
        shared += d * padded
        if job >= at.GRADIENT:
            record[at.PANELS_T] = shared
            shared += k * _round_up(d, lanes)
        record[at.ACTIVATION] = part
        part += _round_up(block * ld + lanes, lanes)
        if gradient:
            record[at.LDG] = padded
            record[at.PARTIAL] = partial
            record[at.PARTIAL_BIAS] = partial + d * padded
            partial += (d + 1) * padded
    records[:, at.PARTIAL] += part
    records[:, at.PARTIAL_BIAS] += part
    stride = _round_up(part + partial, 64) + lanes  # tasks start in different cache sets
    zeros = shared
    one = zeros + _round_up(max(sizes) + lanes, lanes)
    base = one + lanes
    flush = FLUSH_ROWS // block if gradient and dtype.itemsize == 4 and rows > FLUSH_ROWS else 0
    sums = at.SCALARS
    parts = sums + (tasks * partial if flush else 0)
    header = {
        at.ROWS: n, at.LAYERS: layers, at.TASKS: tasks, at.TASK_ROWS: rows,
        at.BLOCK_ROWS: block, at.SLICES: slices, at.JOB: job, at.LOSS: loss,
        at.OUTPUT_RELU: output_relu, at.WEIGHTED: weighted, at.FLUSH_BLOCKS: flush,
        at.ZEROS: zeros, at.ONE: one, at.TASK_BASE: base, at.TASK_STRIDE: stride,
        at.GRAD_SIZE: partial, at.SUMS: sums, at.PARTS: parts,
    }  # fmt: skip
    for position, value in header.items():
        vector[position] = value
    return Plan(
        vector=vector,
        parallel=flops >= PARALLEL_FLOPS and (tasks > 1 or slices > 1),
        dtype=dtype,
        elements=base + tasks * stride + lanes,
        doubles=parts + tasks + slices,
        zeros=zeros,
        one=one,
        scalars=scalars,
    )


@lru_cache(maxsize=256)
def neuron_plan(n: int, d: int, dtype: np.dtype, weighted: bool) -> Plan:
    """The plan of one neuron's loss and gradient."""
    parallel = n * d * dtype.itemsize >= NEURON_PARALLEL_BYTES
    tasks = min(MAX_TASKS, -(-n // NEURON_BLOCK_ROWS)) if parallel else 1
    rows = _round_up(-(-n // tasks), 8)
    tasks = -(-n // rows)
    stride = _round_up(d + 2, 16) + 16
    vector = np.zeros(7, np.int64)
    for position, value in {
        one.ROWS: n, one.INPUTS: d, one.TASKS: tasks, one.TASK_ROWS: rows,
        one.BLOCK_ROWS: NEURON_BLOCK_ROWS, one.WEIGHTED: weighted, one.STRIDE: stride,
    }.items():  # fmt: skip
        vector[position] = value
    size = tasks * stride
    return Plan(vector, parallel and tasks > 1, dtype, size, size)
