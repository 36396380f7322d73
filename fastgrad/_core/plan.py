"""Shapes to a plan: blocks, tasks, where everything lies in the workspace, parallel or not.

Pure Python on shapes. Nothing here depends on the number of threads, so neither do the results.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ..kernels import layout as at
from ..kernels import losses
from ..kernels import neuron as one
from ..kernels.columns import scratch_elements
from ..kernels.simd import LANES_F32, LANES_F64, VECTOR_BYTES
from ..runtime import max_threads

# Tuning numbers, measured 2026-11 on two cores with AVX-512 and 48 KiB L1: Zen 5 (1 MiB L2), then
# an Intel Xeon (2 MiB L2), where those of wide, few-row and threaded plans were set anew.
CACHE_BYTES = 192 * 1024  # activations of a row block: they and the panels share the L2
BLOCK_ROWS = (96, 120)  # least and most rows of a block; multiples of every tile's rows
TASK_ROWS = 512  # rows of a task where there are many: a partial gradient costs some ten rows
PAIR_ROWS, SMALL_TASKS = 32, (64, 4)  # with fewer rows: two tasks from so many rows on; and then
# least rows of a task, most tasks
MAX_TASKS = 32
PARTIAL_BYTES = 256 * 2**20  # all partial gradients together
PARALLEL_FLOPS = 4_000_000  # some 25 us of one core: less is lost to moving data between cores
WIDE_BYTES, WIDE_RATIO = 1_600_000, 1000  # gradients of more bytes, or of more parameters a row,
# are split by rows of W: a private one a task would cost more than sharing the activations
WIDE_TASK_ROWS = 128  # rows of a row task in a wide network: a panel of W is read once for them
WIDE_LEAST_ROWS = 4  # and the fewest for which such a task pays
WEIGHT_ROWS = (192, 96)  # rows of W of a weight task, in networks with many inputs and with few
STORE_BYTES = 32 * 2**20  # activations and deltas kept for the weight tasks
IN_PLACE_ROWS = 32  # up to here packing W costs more than reading it in place
FEW_ROWS = (4, 32)  # up to here transposing W costs more than dot products with its rows: any
FEW_VECTORS = 8  # rows, and rows of so many vectors
SKINNY_OVERHEAD, SKINNY_SHARE = 3.5, 0.45  # 7 + 2 vectors cycles a sum, against 0.9 d a row
TURN_ROWS = 64  # rows from which adding up the transpose again pays
SLICE_PARAMETERS, LEAST_SLICED = 16_384, 3_000  # parameters of a slice of packing and adding up
MAX_SLICES = 32
FLUSH_ROWS = 1024  # float32 sums of more rows go to float64
STORE_ROWS = 2048  # and in wide networks, where float64 sums cost more
NEURON_BLOCK_ROWS = 512  # rows between a neuron's float64 sums
NEURON_PARALLEL_BYTES = 400_000  # about 8 us of one core's cache bandwidth


ELEMENTWISE = (losses.MSE, losses.HUBER, losses.LOGISTIC)


@dataclass
class Plan:
    """What a step needs beside the user's arrays: the kernels' vector and workspaces."""

    vector: np.ndarray
    parallel: bool
    dtype: np.dtype
    elements: int
    doubles: int
    positions: tuple[int, int]  # of BUFFER64 and BUFFER in the vector
    cleared: int = 0  # elements that begin as zeros: an idle lane must not hold a denormal, which
    # costs some processors 100 cycles an operation
    scalars: tuple[float, ...] = ()
    free: list = field(default_factory=list)  # give a workspace back by appending it

    def acquire(self) -> np.ndarray:
        """A workspace nobody else uses: as many are kept as were ever in use at once."""
        try:
            return self.free.pop()
        except IndexError:
            return self._new_workspace()

    def _new_workspace(self) -> np.ndarray:
        unit = VECTOR_BYTES // 8
        first64 = self.vector.size
        first = _round_up(first64 + self.doubles, unit)
        words = first + -(-self.elements * self.dtype.itemsize // 8)
        memory = np.empty(words + unit)
        start = -(memory.__array_interface__["data"][0] // 8) % unit
        buffer = memory[start : start + words]
        vector = buffer[:first64].view(np.int64)
        vector[:] = self.vector
        vector[list(self.positions)] = first64, first
        buffer[first64 : first64 + len(self.scalars)] = self.scalars
        workspace = buffer[first:].view(self.dtype)
        workspace[: self.cleared] = 0
        return buffer


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _leading_dimension(k: int, lanes: int) -> int:
    """Whole vectors, and never a multiple of 64 of them, which would share few cache sets."""
    if k == 1:
        return 1
    padded = _round_up(k, lanes)
    return padded + lanes if padded % (8 * lanes) == 0 else padded


def _is_skinny(d: int, k: int, lanes: int) -> bool:
    """Whether lanes along the inputs beat lanes along the outputs (cycles of each, a row)."""
    return 2 * k <= lanes and k * (-(-d // lanes) + SKINNY_OVERHEAD) < SKINNY_SHARE * d


def _slices(parameters: int, flops: int) -> int:
    """Tasks of packing and of adding up: an even number, or one."""
    if flops < PARALLEL_FLOPS or parameters < LEAST_SLICED:
        return 1
    return min(MAX_SLICES, max(2, parameters // SLICE_PARAMETERS // 2 * 2))


def _is_turned(d: int, k: int, n: int, skinny: bool, lanes: int) -> bool:
    """Whether the weight gradient is computed as its transpose: fewer vectors in (k, d)."""
    across, along = d * -(-k // lanes), (k + 1) * -(-d // lanes)
    return skinny or (n >= TURN_ROWS and along < across)


@dataclass(frozen=True)
class _Blocks:
    """How the rows and the weights are cut."""

    wide: bool
    store_rows: int
    task_rows: int
    block_rows: int
    weight_rows: int = 1

    def tasks(self, n: int) -> int:
        whole, rest = divmod(n, self.store_rows)
        count = -(-self.store_rows // self.task_rows)
        return whole * count + -(-rest // self.task_rows)


def _even_cut(n: int, most: int, unit: int) -> int:
    """Rows of each of the fewest equal parts of n that have at most `most` rows."""
    parts = -(-n // most)
    return min(n, _round_up(-(-n // parts), unit))


def _wide_task_rows(rows: int) -> int:
    """An even number of row tasks, for two threads; one where there are few rows."""
    tasks = -(-rows // WIDE_TASK_ROWS)
    if tasks % 2 and rows >= 2 * WIDE_LEAST_ROWS:
        tasks += 1
    return -(-rows // tasks)


def _wide_blocks(n, sizes, widths, itemsize) -> _Blocks:
    row_bytes = 2 * itemsize * sum(widths)
    store = _even_cut(n, min(STORE_ROWS, max(WIDE_TASK_ROWS, STORE_BYTES // row_bytes)), 24)
    rows = _even_cut(store, _wide_task_rows(store), 6)
    store = min(n, _round_up(store, rows))
    weight_rows = WEIGHT_ROWS[0 if sum(sizes[:-1]) >= 16 * WEIGHT_ROWS[0] else 1]
    return _Blocks(True, store, rows, rows, weight_rows)


def _row_blocks(n, sizes, widths, gradient, itemsize, parameters, flops) -> _Blocks:
    low, high = BLOCK_ROWS
    row_bytes = itemsize * (sizes[0] + sum(widths))
    block = min(high, max(low, CACHE_BYTES // row_bytes // low * low))
    tasks = 1
    if flops >= PARALLEL_FLOPS:
        few = max(1 + (n >= PAIR_ROWS), min(n // SMALL_TASKS[0], SMALL_TASKS[1]))
        few = 1 << (few.bit_length() - 1)  # even shares for 2 and 4 threads
        tasks = min(MAX_TASKS, max(few, n // TASK_ROWS // 4 * 4))
        if gradient:
            tasks = max(1, min(tasks, PARTIAL_BYTES // (itemsize * parameters)))
    rows = -(-n // tasks)
    return _Blocks(False, n, rows, _even_cut(rows, block, 2 if rows <= high else 24))


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
    if loss in ELEMENTWISE and not weighted and sizes[-1] < lanes:
        widths[-1] = sizes[-1]  # no gaps: the loss takes the block as one long row
    products = sum(d * k for d, k in pairwise(sizes))
    parameters = products + sum(sizes[1:])
    flops = 2 * n * products * (1 if job == at.FORWARD else 3)
    wide = parameters * dtype.itemsize >= WIDE_BYTES or parameters >= WIDE_RATIO * n
    if wide and job != at.FORWARD and flops >= PARALLEL_FLOPS:
        cut = _wide_blocks(n, sizes, widths, dtype.itemsize)
    else:
        cut = _row_blocks(n, sizes, widths, job != at.FORWARD, dtype.itemsize, parameters, flops)
    if not gradient:  # the same row tasks, so the loss has the same bits; but nothing to store
        cut = replace(cut, wide=False, store_rows=n)
    tasks = cut.tasks(n)
    partials = 1 if cut.wide else tasks
    if cut.wide:
        flush = int(n > cut.store_rows)
    else:
        long = gradient and dtype.itemsize == 4 and cut.task_rows > FLUSH_ROWS
        flush = FLUSH_ROWS // cut.block_rows if long else 0
    skinny = [_is_skinny(d, k, lanes) for d, k in pairwise(sizes)]
    turned = [_is_turned(d, k, n, few, lanes) for (d, k), few in zip(pairwise(sizes), skinny)]
    rearranged = any(other and k > 1 for other, k in zip(turned, sizes[1:]))
    direct = gradient and partials == 1 and not flush and not rearranged
    slices = _slices(parameters, flops)
    parallel = flops >= PARALLEL_FLOPS and (tasks > 1 or slices > 1)

    vector = np.zeros(at.HEADER + layers * at.RECORD, np.int64)
    records = vector[at.HEADER :].reshape(layers, at.RECORD)
    stored = cut.store_rows if cut.wide else cut.block_rows
    theta = shared = part = partial = weight_tasks = 0
    for record, d, k, ld, few, other in zip(records, sizes, sizes[1:], widths, skinny, turned):
        padded = _round_up(k, lanes)
        record[at.SKINNY], record[at.TURNED] = few, other
        record[at.FEW_BACK] = n <= FEW_ROWS[k >= FEW_VECTORS * lanes]
        # Reading W in place runs up to a vector over its end: into its own bias, or the next W.
        inside = flat and theta + d * k + lanes <= parameters
        record[at.IN_PLACE] = n <= IN_PLACE_ROWS and (inside or k % lanes == 0)
        record[at.D], record[at.K], record[at.LD] = d, k, ld
        record[at.WEIGHT] = theta
        theta += d * k
        record[at.BIAS_OUT] = theta
        record[at.BIAS] = theta if flat else 0
        theta += k
        record[at.PANELS] = shared
        shared += _round_up(d * k, lanes) if few else d * padded
        if job >= at.GRADIENT:
            record[at.PANELS_T] = shared
            shared += k * _round_up(d, lanes)
        record[at.ACTIVATION] = record[at.DELTA] = part
        part += _round_up(stored * ld + lanes, lanes)
        if cut.wide and record is not records[-1] and theta < parameters:
            record[at.DELTA] = part
            part += _round_up(stored * ld + lanes, lanes)
        if direct:
            record[at.LDG] = d if other else k
            record[at.PARTIAL], record[at.PARTIAL_BIAS] = record[at.WEIGHT], record[at.BIAS_OUT]
        elif gradient:
            record[at.LDG] = _round_up(d, lanes) if other else padded
            record[at.PARTIAL] = partial
            record[at.PARTIAL_BIAS] = partial + record[at.LDG] * (k if other else d)
            partial = record[at.PARTIAL_BIAS] + padded
        record[at.FIRST_WEIGHT_TASK] = weight_tasks
        weight_tasks += -(-d // cut.weight_rows)
    if not direct:
        records[:, at.PARTIAL] += part
        records[:, at.PARTIAL_BIAS] += part
    stride = 0 if cut.wide else _round_up(part + partial, 64) + lanes  # apart in cache sets
    zeros = shared
    base = zeros + _round_up(max(sizes) + lanes, lanes)
    scratch = base + (part + partial if cut.wide else tasks * stride) + lanes
    scratches = max_threads() if parallel else 1
    in_scratch = scratch_elements(lanes, cut.weight_rows if cut.wide else 0)
    scratch_stride = _round_up(in_scratch, lanes) + lanes if gradient else 0
    sums = at.SCALARS
    parts = sums + (partials * partial if flush else 0)
    tickets = _round_up(parts + tasks + slices + at.DONE, at.DONE)
    header = {
        at.ROWS: n, at.LAYERS: layers, at.WIDE: cut.wide, at.STORE_ROWS: cut.store_rows,
        at.TASK_ROWS: cut.task_rows, at.TASKS: tasks, at.BLOCK_ROWS: cut.block_rows,
        at.SLICES: slices, at.WEIGHT_ROWS: cut.weight_rows, at.WEIGHT_TASKS: weight_tasks,
        at.DIRECT: direct, at.JOB: job, at.LOSS: loss, at.OUTPUT_RELU: output_relu,
        at.WEIGHTED: weighted, at.FLUSH_BLOCKS: flush, at.ZEROS: zeros,
        at.TASK_BASE: base, at.TASK_STRIDE: stride, at.GRAD_SIZE: partial, at.SUMS: sums,
        at.PARTS: parts,
        at.TICKETS: tickets, at.SCRATCH: scratch,
        at.SCRATCH_STRIDE: scratch_stride, at.SCRATCHES: scratches,
    }  # fmt: skip
    for position, value in header.items():
        vector[position] = value
    return Plan(
        vector=vector,
        parallel=parallel,
        dtype=dtype,
        elements=scratch + scratches * scratch_stride,
        doubles=tickets + at.TICKET_WORDS,
        positions=(at.BUFFER64, at.BUFFER),
        cleared=scratch,
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
    vector = np.zeros(9, np.int64)
    for position, value in {
        one.ROWS: n, one.INPUTS: d, one.TASKS: tasks, one.TASK_ROWS: rows,
        one.BLOCK_ROWS: NEURON_BLOCK_ROWS, one.WEIGHTED: weighted, one.STRIDE: stride,
    }.items():  # fmt: skip
        vector[position] = value
    size = tasks * stride
    return Plan(vector, parallel and tasks > 1, dtype, size, size, (one.BUFFER64, one.BUFFER))
