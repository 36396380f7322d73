"""Shapes to a plan: blocks, tasks, where everything lies in the workspace, parallel or not.

Plain arithmetic on shapes, which compiled code calls too (`shared`). Nothing here depends on the
number of threads, so neither do the results.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..kernels import layout as at
from ..kernels import losses
from ..kernels import neuron as one
from ..kernels.columns import scratch_elements
from ..kernels.gemm import NV
from ..kernels.jit import shared
from ..kernels.simd import VECTOR_BYTES
from ..runtime import max_threads, threads_sleep
from .workspace import Plan, round_up

# Tuning numbers, measured 2026-11 on two cores with AVX-512: Zen 5 (48 KiB L1, 1 MiB L2), an Intel
# Xeon (48 KiB, 2 MiB), where those of few-row and threaded plans were set anew, and Zen 4 (32 KiB,
# 1 MiB), where PARALLEL_FLOPS, PAIR_ROWS, WIDE and TURN_COST were.
CACHE_BYTES = 192 * 1024  # activations of a row block: they and the panels share the L2
BLOCK_ROWS = (96, 120)  # least and most rows of a block; multiples of every tile's rows
TASK_ROWS = 512  # rows of a task where there are many: a partial gradient costs some ten rows
PAIR_ROWS, SMALL_TASKS = 32, (64, 4)  # with fewer rows: two tasks from so many rows on; and then
# least rows of a task, most tasks
MAX_TASKS = 32
PARTIAL_BYTES = 256 * 2**20  # all partial gradients together
PARALLEL_FLOPS = 2_000_000  # in float32, some 20 us of one core: less is lost to moving data
# between cores; float64 takes twice as long
ASLEEP_FLOPS, ASLEEP_BYTES = 25_000_000, 10_000_000  # where threads must be woken, in some 80 us
WIDE_BYTES, WIDE_RATIO = 1_600_000, 1000  # gradients of more bytes, or of more parameters a row,
# are split by rows of W: a private one a task would cost more than sharing the activations
WIDE_TASK_ROWS = 128  # rows of a row task in a wide network: a panel of W is read once for them
WIDE_LEAST_ROWS = 4  # and the fewest for which such a task pays
WEIGHT_ROWS = (192, 96)  # rows of W of a weight task, in networks with many inputs and with few
STORE_BYTES = 32 * 2**20  # activations and deltas kept for the weight tasks
IN_PLACE_ROWS = 128  # up to here, of all who share the panels, packing W costs more than reading it
# in place (64-100 to 1000-1000 on Zen 4: from 200 rows on, but from 100 where rows lie 4 KiB apart)
NARROW_ROWS = 256  # and up to here where all columns make one panel
FEW_ROWS = (4, 32)  # up to here transposing W costs more than dot products with its rows: any
FEW_VECTORS = 8  # rows, and rows of so many vectors
SKINNY_OVERHEAD, SKINNY_SHARE = 3.5, 0.45  # 7 + 2 vectors cycles a sum, against 0.9 d a row
TURN_COST, ADD_COST = 3.5, 0.4  # cycles: to put a number of a transpose in its place; to add up
# one of all parameters, where that would not be done anyway
SLICE_PARAMETERS, LEAST_SLICED = 16_384, 3_000  # parameters of a slice of packing and adding up
OWN_PANELS, OWN_TASKS = 16_384, 4  # parameters and row tasks up to which each task packs for itself
MAX_SLICES = 32
FLUSH_ROWS = 1024  # float32 sums of more rows go to float64
STORE_ROWS = 2048  # and in wide networks, where float64 sums cost more
NEURON_BLOCK_ROWS = 512  # rows between a neuron's float64 sums
NEURON_PARALLEL_BYTES = 400_000  # about 8 us of one core's cache bandwidth


shared(scratch_elements)


@shared
def _leading_dimension(k: int, lanes: int) -> int:
    """Whole vectors, and never a multiple of 64 of them, which would share few cache sets."""
    if k == 1:
        return 1
    padded = round_up(k, lanes)
    return padded + lanes if padded % (8 * lanes) == 0 else padded


@shared
def _is_skinny(d: int, k: int, lanes: int) -> bool:
    """Whether lanes along the inputs beat lanes along the outputs (cycles of each, a row)."""
    return 2 * k <= lanes and k * (-(-d // lanes) + SKINNY_OVERHEAD) < SKINNY_SHARE * d


@shared
def _slices(parameters: int, flops: int) -> int:
    """Tasks of packing and of adding up: an even number, or one."""
    if flops < PARALLEL_FLOPS or parameters < LEAST_SLICED:
        return 1
    return min(MAX_SLICES, max(2, parameters // SLICE_PARAMETERS // 2 * 2))


@shared
def _is_turned(d: int, k: int, n: int, skinny: bool, lanes: int, extra: float) -> bool:
    """Whether the weight gradient is computed as its transpose: fewer vectors in (k, d).

    `extra`: cycles that one transpose costs the whole step.
    """
    across, along = d * -(-k // lanes), (k + 1) * -(-d // lanes)
    return skinny or n * (across - along) > TURN_COST * d * k + extra


@shared
def _even_cut(n: int, most: int, unit: int) -> int:
    """Rows of each of the fewest equal parts of n that have at most `most` rows."""
    parts = -(-n // most)
    return min(n, round_up(-(-n // parts), unit))


@shared
def _wide_task_rows(rows: int) -> int:
    """An even number of row tasks, for two threads; one where there are few rows."""
    tasks = -(-rows // WIDE_TASK_ROWS)
    if tasks % 2 and rows >= 2 * WIDE_LEAST_ROWS:
        tasks += 1
    return -(-rows // tasks)


@shared
def _wide_cut(n, inputs, width, itemsize):
    """(rows of a store, of a task, of W in a weight task): `inputs` and `width` of all layers."""
    row_bytes = 2 * itemsize * width
    store = _even_cut(n, min(STORE_ROWS, max(WIDE_TASK_ROWS, STORE_BYTES // row_bytes)), 24)
    rows = _even_cut(store, _wide_task_rows(store), 6)
    weight_rows = WEIGHT_ROWS[0] if inputs >= 16 * WEIGHT_ROWS[0] else WEIGHT_ROWS[1]
    return min(n, round_up(store, rows)), rows, weight_rows


@shared
def _row_cut(n, row_bytes, back, gradient_bytes, flops):
    """(rows of a task, of a block)."""
    low, high = BLOCK_ROWS
    block = min(high, max(low, CACHE_BYTES // row_bytes // low * low))
    tasks = 1
    if flops >= PARALLEL_FLOPS:
        few = max(2 if n >= PAIR_ROWS else 1, min(n // SMALL_TASKS[0], SMALL_TASKS[1]))
        power = 1  # even shares for 2 and 4 threads
        while 2 * power <= few:
            power *= 2
        tasks = min(MAX_TASKS, max(power, n // TASK_ROWS // 4 * 4))
        if back:
            tasks = max(1, min(tasks, PARTIAL_BYTES // gradient_bytes))
    rows = -(-n // tasks)
    return rows, _even_cut(rows, block, 2 if rows <= high else 24)


@shared
def write_plan(vector, sizes, n, itemsize, job, loss, output_relu, weighted, flat, threads):
    """Write a step's vector, zeros before; (work, elements, doubles, cleared) of its `Plan`.

    `work`: its flops, as if in float32, if threads can share it, else 0. `flat`: biases lie in
    theta behind their weights, else on their own; `threads`: the most ever.
    """
    lanes = VECTOR_BYTES // itemsize
    layers = len(sizes) - 1
    gradient = job == at.GRADIENT or job == at.GRADIENT_AND_INPUT
    back = job != at.FORWARD
    # No gaps between narrow outputs: the loss takes the block as one long row.
    elementwise = loss == losses.MSE or loss == losses.HUBER or loss == losses.LOGISTIC
    gapless = elementwise and not weighted and sizes[layers] < lanes
    products = inputs = width = widest = outputs = 0
    for layer in range(layers):
        products += sizes[layer] * sizes[layer + 1]
        outputs += sizes[layer + 1]
    parameters = products + outputs
    flops = 2 * n * products * (3 if back else 1) * itemsize // 4  # as if in float32
    wide = parameters * itemsize >= WIDE_BYTES or parameters >= WIDE_RATIO * n
    wide = wide and back and flops >= PARALLEL_FLOPS
    added_up = not wide and flops >= PARALLEL_FLOPS and n >= PAIR_ROWS
    extra = 0.0 if added_up else ADD_COST * parameters
    rearranged = False
    for layer in range(layers):
        d, k = sizes[layer], sizes[layer + 1]
        record = vector[at.HEADER + layer * at.RECORD :]
        ld = k if gapless and layer == layers - 1 else _leading_dimension(k, lanes)
        skinny = _is_skinny(d, k, lanes)
        turned = _is_turned(d, k, n, skinny, lanes, extra)
        record[at.D], record[at.K], record[at.LD] = d, k, ld
        record[at.SKINNY], record[at.TURNED] = skinny, turned
        rearranged = rearranged or (turned and k > 1)
        inputs += d
        width += ld
        widest = max(widest, d, k)

    store, weight_rows = n, 1
    if wide:
        store, task_rows, weight_rows = _wide_cut(n, inputs, width, itemsize)
        block_rows = task_rows
    else:
        row_bytes = itemsize * (sizes[0] + width)
        task_rows, block_rows = _row_cut(n, row_bytes, back, itemsize * parameters, flops)
    if not gradient:  # the same row tasks, so the loss has the same bits; but nothing to store
        wide, store = False, n
    tasks = n // store * -(-store // task_rows) + -(-(n % store) // task_rows)
    partials = 1 if wide else tasks
    flush = 0
    if wide:
        flush = 1 if n > store else 0
    elif gradient and itemsize == 4 and task_rows > FLUSH_ROWS:
        flush = FLUSH_ROWS // block_rows
    direct = gradient and partials == 1 and flush == 0 and not rearranged
    slices = _slices(parameters, flops)
    parallel = flops >= PARALLEL_FLOPS and (tasks > 1 or slices > 1)

    own = parallel and not wide and tasks <= OWN_TASKS and parameters <= OWN_PANELS

    stored = store if wide else block_rows
    theta = shared = part = partial = weight_tasks = 0
    for layer in range(layers):
        d, k = sizes[layer], sizes[layer + 1]
        record = vector[at.HEADER + layer * at.RECORD :]
        padded, turned = round_up(k, lanes), record[at.TURNED] != 0
        record[at.FEW_BACK] = n <= (FEW_ROWS[1] if k >= FEW_VECTORS * lanes else FEW_ROWS[0])
        # Reading W in place runs up to a vector over its end: into its own bias, or the next W.
        inside = flat and theta + d * k + lanes <= parameters
        few = (task_rows if own else n) <= (NARROW_ROWS if k <= NV * lanes else IN_PLACE_ROWS)
        record[at.IN_PLACE] = few and (inside or k % lanes == 0)
        record[at.WEIGHT] = theta
        theta += d * k
        record[at.BIAS_OUT] = theta
        record[at.BIAS] = theta if flat else 0
        theta += k
        record[at.PANELS] = shared
        shared += round_up(d * k, lanes) if record[at.SKINNY] else d * padded
        if job >= at.GRADIENT:
            record[at.PANELS_T] = shared
            shared += k * round_up(d, lanes)
        activations = round_up(stored * int(record[at.LD]) + lanes, lanes)
        record[at.ACTIVATION] = record[at.DELTA] = part
        part += activations
        if wide and layer < layers - 1:
            record[at.DELTA] = part
            part += activations
        if direct:
            record[at.LDG] = d if turned else k
            record[at.PARTIAL], record[at.PARTIAL_BIAS] = theta - d * k - k, theta - k
        elif gradient:
            ldg = round_up(d, lanes) if turned else padded
            bias = partial + ldg * (k if turned else d)
            record[at.LDG], record[at.PARTIAL], record[at.PARTIAL_BIAS] = ldg, partial, bias
            partial = bias + padded
        record[at.FIRST_WEIGHT_TASK] = weight_tasks
        weight_tasks += -(-d // weight_rows)
    if not direct:
        for layer in range(layers):
            record = vector[at.HEADER + layer * at.RECORD :]
            record[at.PARTIAL] += part
            record[at.PARTIAL_BIAS] += part

    stride = 0 if wide else round_up(part + partial, 64) + lanes  # apart in cache sets
    base = shared + round_up(widest + lanes, lanes)
    panel_stride = round_up(base, 64) + lanes if own else 0
    base = max(base, tasks * panel_stride)
    scratch = base + (part + partial if wide else tasks * stride) + lanes
    claims = max(tasks, slices, weight_tasks) if parallel else 0
    scratches = min(threads, claims) if parallel else 1  # more threads would find nothing to do
    in_scratch = scratch_elements(lanes, weight_rows if wide else 0)
    scratch_stride = round_up(in_scratch, lanes) + lanes if gradient else 0
    parts = at.SCALARS + (partials * partial if flush else 0)
    done = round_up(parts + tasks + slices + at.LINE, at.LINE)
    copies = done + (1 + claims) * at.LINE
    copy_stride = round_up(at.HEADER + layers * at.RECORD, at.LINE) if parallel else 0
    vector[at.ROWS], vector[at.LAYERS], vector[at.JOB], vector[at.LOSS] = n, layers, job, loss
    vector[at.OUTPUT_RELU], vector[at.WEIGHTED] = output_relu, weighted
    vector[at.WIDE], vector[at.STORE_ROWS] = wide, store
    vector[at.TASK_ROWS], vector[at.TASKS], vector[at.BLOCK_ROWS] = task_rows, tasks, block_rows
    vector[at.SLICES], vector[at.DIRECT], vector[at.FLUSH_BLOCKS] = slices, direct, flush
    vector[at.WEIGHT_ROWS], vector[at.WEIGHT_TASKS] = weight_rows, weight_tasks
    vector[at.ZEROS], vector[at.TASK_BASE], vector[at.TASK_STRIDE] = shared, base, stride
    vector[at.GRAD_SIZE], vector[at.SUMS], vector[at.PARTS] = partial, at.SCALARS, parts
    vector[at.DONE], vector[at.CLAIMS], vector[at.SCRATCH] = done, claims, scratch
    vector[at.SCRATCH_STRIDE], vector[at.SCRATCHES] = scratch_stride, scratches
    vector[at.PANEL_STRIDE], vector[at.COPIES] = panel_stride, copies
    vector[at.COPY_STRIDE] = copy_stride
    elements, doubles = scratch + scratches * scratch_stride, copies + scratches * copy_stride
    return flops if parallel else 0, elements, doubles, scratch


@shared
def place_bias(vector, offset):
    """One layer's db goes `offset` elements behind the beginning of dW."""
    record = vector[at.HEADER :]
    record[at.BIAS_OUT] = offset
    if vector[at.DIRECT]:
        record[at.PARTIAL_BIAS] = offset


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
    """The plan of one step."""
    vector = np.zeros(at.HEADER + (len(sizes) - 1) * at.RECORD, np.int64)
    work, elements, doubles, cleared = write_plan(
        vector, sizes, n, dtype.itemsize, job, loss, output_relu, weighted, flat, max_threads()
    )
    positions = at.BUFFER64, at.BUFFER
    parallel = work > 0 and (work >= ASLEEP_FLOPS or not threads_sleep())
    return Plan(vector, parallel, dtype, elements, doubles, positions, cleared, scalars)


@shared
def write_neuron_plan(vector, n, d, itemsize, weighted):
    """Write one neuron's vector; (parallel, elements): of the workspace, and its doubles."""
    parallel = n * d * itemsize >= NEURON_PARALLEL_BYTES
    tasks = min(MAX_TASKS, -(-n // NEURON_BLOCK_ROWS)) if parallel else 1
    rows = round_up(-(-n // tasks), 8)
    tasks = -(-n // rows)
    stride = round_up(d + one.SUMS, 16) + 16
    vector[one.ROWS], vector[one.INPUTS], vector[one.TASKS] = n, d, tasks
    vector[one.TASK_ROWS], vector[one.BLOCK_ROWS] = rows, NEURON_BLOCK_ROWS
    vector[one.WEIGHTED], vector[one.STRIDE] = weighted, stride
    return parallel and tasks > 1, tasks * stride


@lru_cache(maxsize=256)
def neuron_plan(n: int, d: int, dtype: np.dtype, weighted: bool) -> Plan:
    """The plan of one neuron's loss and gradient."""
    vector = np.zeros(one.HEADER, np.int64)
    parallel, size = write_neuron_plan(vector, n, d, dtype.itemsize, weighted)
    parallel = parallel and (n * d * dtype.itemsize >= ASLEEP_BYTES or not threads_sleep())
    return Plan(vector, parallel, dtype, size, size, (one.BUFFER64, one.BUFFER))
