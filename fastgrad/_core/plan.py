"""Shapes to a plan: blocks, tasks, variants, where everything lies in the workspace.

Plain arithmetic on shapes, which compiled code calls too (`jitable`). Nothing here depends on the
number of threads, so neither do the results. The plan decides every variant of a product; kernels
look at no shape to choose one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..kernels import records as at
from ..kernels import tuning
from ..kernels.gemm import NV, RELU
from ..kernels.gemm_tn import scratch_elements
from ..kernels.jit import jitable
from ..kernels.records import LAYER, PLAN
from ..kernels.simd import VECTOR_BYTES
from ..losses import LOSSES
from ..runtime import max_threads, threads_sleep
from .workspace import Plan, round_up

_BOTH, MSE = at.LOSS | at.GRADIENT, LOSSES["mse"].code
jitable(scratch_elements)


@jitable
def _leading_dimension(k: int, lanes: int) -> int:
    """Whole vectors, and never a multiple of 64 of them, which would share few cache sets."""
    if k == 1:
        return 1
    padded = round_up(k, lanes)
    return padded + lanes if padded % (8 * lanes) == 0 else padded


@jitable
def _is_skinny(d: int, k: int, lanes: int) -> bool:
    """Whether lanes along the inputs beat lanes along the outputs (cycles of each, a row)."""
    return (
        2 * k <= lanes and k * (-(-d // lanes) + tuning.SKINNY_OVERHEAD) < tuning.SKINNY_FACTOR * d
    )


@jitable
def _slices(parameters: int, flops: int) -> int:
    """Tasks of packing and of adding up: an even number, or one."""
    if flops < tuning.PARALLEL_FLOPS or parameters < tuning.LEAST_SLICED:
        return 1
    return min(tuning.MAX_SLICES, max(2, parameters // tuning.SLICE_PARAMETERS // 2 * 2))


@jitable
def _is_transposed(d: int, k: int, n: int, skinny: bool, lanes: int, extra: float) -> bool:
    """Whether the weight gradient is computed as its transpose: fewer vectors in (k, d).

    `extra`: cycles that one transpose costs the whole step.
    """
    across, along = d * -(-k // lanes), (k + 1) * -(-d // lanes)
    return skinny or n * (across - along) > tuning.TRANSPOSE_COST * d * k + extra


@jitable
def _even_cut(n: int, most: int, unit: int) -> int:
    """Rows of each of the fewest equal parts of n that have at most `most` rows."""
    parts = -(-n // most)
    return min(n, round_up(-(-n // parts), unit))


@jitable
def _wide_task_rows(rows: int) -> int:
    """An even number of row tasks, for two threads; one where there are few rows."""
    tasks = -(-rows // tuning.WIDE_TASK_ROWS)
    if tasks % 2 and rows >= 2 * tuning.WIDE_LEAST_ROWS:
        tasks += 1
    return -(-rows // tasks)


@jitable
def _wide_cut(n, inputs, width, itemsize):
    """(rows of a chunk, of a task, of W in a weight task): `inputs` and `width` of all layers."""
    row_bytes = 2 * itemsize * width
    chunk = _even_cut(
        n, min(tuning.CHUNK_ROWS, max(tuning.WIDE_TASK_ROWS, tuning.CHUNK_BYTES // row_bytes)), 24
    )
    rows = _even_cut(chunk, _wide_task_rows(chunk), 6)
    weight_rows = (
        tuning.WEIGHT_ROWS[0] if inputs >= 16 * tuning.WEIGHT_ROWS[0] else tuning.WEIGHT_ROWS[1]
    )
    return min(n, round_up(chunk, rows)), rows, weight_rows


@jitable
def _row_cut(n, row_bytes, back, gradient_bytes, flops):
    """(rows of a task, of a block)."""
    low, high = tuning.BLOCK_ROWS
    block = min(high, max(low, tuning.CACHE_BYTES // row_bytes // low * low))
    tasks = 1
    if flops >= tuning.PARALLEL_FLOPS:
        few = max(
            2 if n >= tuning.PAIR_ROWS else 1,
            min(n // tuning.SMALL_TASKS[0], tuning.SMALL_TASKS[1]),
        )
        power = 1  # even shares for 2 and 4 threads
        while 2 * power <= few:
            power *= 2
        tasks = min(tuning.MAX_TASKS, max(power, n // tuning.TASK_ROWS // 4 * 4))
        if back:
            tasks = max(1, min(tasks, tuning.TASK_GRADIENT_BYTES // gradient_bytes))
    rows = -(-n // tasks)
    return rows, _even_cut(rows, block, 2 if rows <= high else 24)


@jitable
def _one_pass_cut(n, row_bytes):
    """(rows of a task, of a block)."""
    tasks = 1
    if n * row_bytes >= tuning.NEURON_PARALLEL_BYTES:
        tasks = min(tuning.MAX_TASKS, -(-n // tuning.NEURON_BLOCK_ROWS))
    return round_up(-(-n // tasks), 8), tuning.NEURON_BLOCK_ROWS


@jitable
def _sparse_cut(n, d, k, row_bytes, itemsize, gathered):
    """(rows of a chunk, of a task, of a block) where X is sparse.

    GATHERED: a chunk, of which entries and deltas are kept, is a quarter of the rows where they are
    many, so that they are little beside X; a task has a count of every column, so there are few.
    SCATTERED: a task has a gradient of float64.
    """
    low, high = tuning.BLOCK_ROWS
    block = min(high, max(low, tuning.CACHE_BYTES // row_bytes // low * low))
    chunk, least = n, tuning.SPARSE_TASK_ROWS
    if gathered:
        chunk = min(n, max(tuning.CHUNK_ROWS, -(-n // tuning.SPARSE_CHUNKS)))
        most = min(tuning.SPARSE_TASKS, max(2, k * itemsize // 32))
    else:
        most = min(tuning.MAX_TASKS, max(4, tuning.SCATTERED_BYTES // (8 * d * k)))
    tasks = max(1, min(most, chunk // least))
    rows = -(-chunk // tasks)
    return min(n, round_up(chunk, rows)), rows, min(rows, block)


@jitable
def write_plan(
    vector, sizes, n, itemsize, want, loss, labelled, targets, averaged, activation,
    output_activation, weighted, flat, threads, sparse=False,
):  # fmt: skip
    """Write a step's PLAN and LAYERs, zeros before; (work, elements, doubles, cleared, workers) of
    its `Plan`.

    `work`: its flops, as if in float32, if threads can share it, else 0. `averaged`: what the loss
    of a row is divided by; `flat`: biases lie in theta behind their weights, else on their own;
    `threads`: the most ever; `sparse`: X is CSR, of which some TYPICAL_ENTRIES a row are expected.
    """
    lanes = VECTOR_BYTES // itemsize
    layers = len(sizes) - 1
    gradient = want & at.GRADIENT != 0
    back = want & at.OUTPUTS == 0
    one_pass = layers == 1 and sizes[1] == 1 and not labelled and want | at.GRADIENT == _BOTH
    one_pass = one_pass and not sparse
    dense_inputs = min(sizes[0], tuning.TYPICAL_ENTRIES) if sparse else sizes[0]
    # No gaps between narrow outputs: the loss takes the block as one long row.
    gapless = want & at.LOSS != 0 and not labelled and not weighted and sizes[layers] < lanes
    products = inputs = width = widest = outputs = 0
    for layer in range(layers):
        products += sizes[layer] * sizes[layer + 1]
        outputs += sizes[layer + 1]
    parameters = products + outputs
    met = products - (sizes[0] - dense_inputs) * sizes[1]
    flops = 2 * n * met * (3 if back else 1) * itemsize // 4  # as if in float32
    scattered_bytes = 8 * sizes[0] * sizes[1] if sparse else 0
    if scattered_bytes > tuning.SCATTERED_BYTES // 2:  # dW is written whatever there is in X
        flops += tuning.WRITE_FLOPS * parameters if back else 0
    wide = parameters * itemsize >= tuning.WIDE_BYTES or parameters >= tuning.WIDE_RATIO * n
    wide = wide and back and flops >= tuning.PARALLEL_FLOPS
    gathered = sparse and (wide or scattered_bytes > tuning.SCATTERED_BYTES // 2)
    wide = wide or (gathered and back)
    added_up = not wide and flops >= tuning.PARALLEL_FLOPS and n >= tuning.PAIR_ROWS
    extra = 0.0 if added_up else tuning.ADD_COST * parameters
    rearranged = False
    for layer in range(layers):
        d, k = sizes[layer], sizes[layer + 1]
        record = vector[PLAN.size + layer * LAYER.size :]
        ld = k if gapless and layer == layers - 1 else _leading_dimension(k, lanes)
        skinny = _is_skinny(d, k, lanes)
        transposed = one_pass or _is_transposed(d, k, n, skinny, lanes, extra)
        if sparse and layer == 0:
            skinny = transposed = False
        record[LAYER.d], record[LAYER.k], record[LAYER.ld] = d, k, ld
        record[LAYER.transposed] = transposed
        record[LAYER.forward] = at.DOT_PRODUCTS if skinny else at.PACKED
        if sparse and layer == 0:
            record[LAYER.forward] = at.SPARSE
            d = k
        record[LAYER.activation] = output_activation if layer == layers - 1 else activation
        rearranged = rearranged or (transposed and k > 1)
        inputs += d
        width += ld
        widest = max(widest, d, k)

    chunk, weight_rows = n, 1
    if one_pass:
        wide = False
        task_rows, block_rows = _one_pass_cut(n, sizes[0] * itemsize)
    elif wide:
        chunk, task_rows, weight_rows = _wide_cut(n, inputs, width, itemsize)
        block_rows = task_rows
    else:
        row_bytes = itemsize * (dense_inputs + width)
        task_rows, block_rows = _row_cut(n, row_bytes, back, itemsize * parameters, flops)
    if sparse:
        row_bytes = itemsize * (2 * dense_inputs + width)
        chunk, task_rows, block_rows = _sparse_cut(
            n, sizes[0], sizes[1], row_bytes, itemsize, gathered
        )
        if not back:
            task_rows, block_rows = _row_cut(n, row_bytes, back, 1, flops)
    if not gradient:  # the same row tasks, so the loss has the same bits; but nothing is kept
        wide, chunk = False, n
    tasks = n // chunk * -(-chunk // task_rows) + -(-(n % chunk) // task_rows)
    gradients = 1 if wide else tasks
    float64_blocks = 0
    if one_pass:
        float64_blocks = 1 if task_rows > block_rows else 0
    elif wide:
        float64_blocks = 1 if n > chunk else 0
    elif gradient and itemsize == 4 and task_rows > tuning.FLOAT64_ROWS:
        float64_blocks = tuning.FLOAT64_ROWS // block_rows
    direct = gradient and gradients == 1 and float64_blocks == 0 and not rearranged
    if sparse and not gathered:
        direct = False
    slices = 1 if one_pass else _slices(parameters, flops)
    parallel = flops >= tuning.PARALLEL_FLOPS and (tasks > 1 or slices > 1)
    if one_pass:
        parallel = tasks > 1

    own = parallel and not wide and tasks <= tuning.OWN_TASKS and parameters <= tuning.OWN_PANELS

    columns = max(1, -(-sizes[0] // tuning.SPARSE_WEIGHT_TASKS)) if sparse else 0
    kept_rows = chunk if wide else block_rows
    theta = panels = part = gradient_size = weight_tasks = 0
    for layer in range(layers):
        d, k = sizes[layer], sizes[layer + 1]
        record = vector[PLAN.size + layer * LAYER.size :]
        padded, transposed = round_up(k, lanes), record[LAYER.transposed] != 0
        unpacked = sparse and layer == 0  # neither W nor its transpose is packed
        few_back = n <= (
            tuning.FEW_ROWS[1] if k >= tuning.FEW_VECTORS * lanes else tuning.FEW_ROWS[0]
        )
        record[LAYER.input_gradient] = at.DOT_ROWS if few_back else at.PACKED_T
        # Reading W in place runs up to a vector over its end: into its own bias, or the next W.
        inside = flat and theta + d * k + lanes <= parameters
        few = (task_rows if own else n) <= (
            tuning.NARROW_ROWS if k <= NV * lanes else tuning.IN_PLACE_ROWS
        )
        if record[LAYER.forward] == at.PACKED and few and (inside or k % lanes == 0):
            record[LAYER.forward] = at.IN_PLACE
        if one_pass:  # nothing is packed
            record[LAYER.forward], record[LAYER.input_gradient] = at.IN_PLACE, at.DOT_ROWS
        if unpacked:
            record[LAYER.weight_gradient] = at.GATHERED if gathered else at.SCATTERED
        elif transposed:
            record[LAYER.weight_gradient] = at.SCALED_ROWS if k == 1 else at.TRANSPOSED
        elif (
            wide
            and min(weight_rows, d) >= tuning.COPY_ROWS
            and min(chunk, n) >= tuning.COPY_PRODUCTS
        ):
            record[LAYER.weight_gradient] = at.COPIED
        record[LAYER.weight] = theta
        theta += d * k
        record[LAYER.flat_db] = theta
        record[LAYER.bias] = theta if flat else 0
        theta += k
        record[LAYER.panels] = panels
        skinny = record[LAYER.forward] == at.DOT_PRODUCTS
        if not unpacked:
            panels += round_up(d * k, lanes) if skinny else d * padded
        if (not unpacked) and (want & at.INPUT_GRADIENT != 0 or gradient):
            record[LAYER.panels_t] = panels
            panels += k * round_up(d, lanes)
        activations = round_up(kept_rows * int(record[LAYER.ld]) + lanes, lanes)
        record[LAYER.output] = record[LAYER.delta] = part
        part += activations
        # The slope of ReLU is read before it is overwritten; that of others after the product.
        beside = wide or record[LAYER.activation] > RELU
        if beside and layer < layers - 1:
            record[LAYER.delta] = part
            part += activations
        if direct:
            record[LAYER.ld_dw] = d if transposed else k
            record[LAYER.task_dw], record[LAYER.task_db] = theta - d * k - k, theta - k
        elif gradient or one_pass:
            ld_dw = round_up(d, lanes) if transposed else padded
            kept = 0 if unpacked else d  # rows of dW; those of a sparse X have a place of their own
            bias = gradient_size + ld_dw * (k if transposed else kept)
            record[LAYER.ld_dw], record[LAYER.task_dw] = ld_dw, gradient_size
            record[LAYER.task_db] = bias
            gradient_size = bias + padded
        record[LAYER.first_weight_task] = weight_tasks
        weight_tasks += -(-d // (columns if unpacked else weight_rows))
    if not direct:
        for layer in range(layers):
            record = vector[PLAN.size + layer * LAYER.size :]
            record[LAYER.task_dw] += part
            record[LAYER.task_db] += part

    stride = 0 if wide else round_up(part + gradient_size, 64) + lanes  # in other cache sets
    base = panels + round_up(widest + lanes, lanes)
    panel_stride = round_up(base, 64) + lanes if own else 0
    base = max(base, tasks * panel_stride)
    scratch = base + (part + gradient_size if wide else tasks * stride) + lanes
    queue_tasks = max(tasks, slices, weight_tasks) if parallel else 0
    workers = min(threads, queue_tasks) if parallel else 1  # more threads would find nothing to do
    in_scratch = scratch_elements(lanes, weight_rows if wide else 0)
    scratch_stride = round_up(in_scratch, lanes) + lanes if gradient else 0
    scattered = at.SCALARS + (gradients * gradient_size if float64_blocks else 0)
    counts = losses = scattered
    if sparse and gradient:
        if wide:  # of int32: for each task of a chunk, and one more
            losses += ((-(-chunk // task_rows) + 1) * sizes[0] + 1) // 2
        else:
            losses += tasks * sizes[0] * sizes[1]
    queue = round_up(losses + tasks + slices + at.LINE, at.LINE)
    vector[PLAN.n], vector[PLAN.layers], vector[PLAN.want] = n, layers, want
    vector[PLAN.loss], vector[PLAN.labelled], vector[PLAN.averaged] = loss, labelled, averaged
    vector[PLAN.targets], vector[PLAN.one_pass] = targets, one_pass
    vector[PLAN.weighted], vector[PLAN.flat] = weighted, flat
    vector[PLAN.wide], vector[PLAN.chunk_rows] = wide, chunk
    vector[PLAN.task_rows], vector[PLAN.tasks] = task_rows, tasks
    vector[PLAN.block_rows], vector[PLAN.slices] = block_rows, slices
    vector[PLAN.direct], vector[PLAN.float64_blocks] = direct, float64_blocks
    vector[PLAN.weight_rows], vector[PLAN.weight_tasks] = weight_rows, weight_tasks
    vector[PLAN.zeros], vector[PLAN.task_base], vector[PLAN.task_stride] = panels, base, stride
    vector[PLAN.task_gradient_size], vector[PLAN.gradient_sums] = gradient_size, at.SCALARS
    vector[PLAN.losses] = losses
    vector[PLAN.queue], vector[PLAN.queue_tasks], vector[PLAN.scratch] = queue, queue_tasks, scratch
    vector[PLAN.scratch_stride], vector[PLAN.workers] = scratch_stride, workers
    vector[PLAN.panel_stride] = panel_stride
    vector[PLAN.sparse], vector[PLAN.counts], vector[PLAN.scattered] = sparse, counts, scattered
    vector[PLAN.columns] = columns if wide else 0
    elements, doubles = scratch + workers * scratch_stride, queue + (1 + queue_tasks) * at.LINE
    return flops if parallel else 0, elements, doubles, scratch, workers


@lru_cache(maxsize=256)
def network_plan(spec, n: int, want: int, weighted: bool, sparse: bool = False) -> Plan:
    """The plan of one step of a network (`spec.Network`); `sparse`: X is CSR."""
    vector = np.zeros(PLAN.size + (len(spec.layer_sizes) - 1) * LAYER.size, np.int64)
    loss = spec.loss
    sizes, itemsize = spec.layer_sizes, spec.dtype.itemsize
    work, *size = write_plan(
        vector, sizes, n, itemsize, want, loss.code, loss.labelled,
        loss.target_kind, sizes[-1] if loss.mean_over_outputs else 1, spec.activation.code,
        spec.output_activation.code, weighted, True, max_threads(), sparse,
    )  # fmt: skip
    return _plan(vector, work, spec.dtype, size, spec.numbers)


@lru_cache(maxsize=256)
def layer_plan(d: int, k: int, n: int, dtype: np.dtype, want: int, activation: int) -> Plan:
    """The plan of one layer: its bias is an array by itself, its output gradient is given."""
    vector = np.zeros(PLAN.size + LAYER.size, np.int64)
    work, *size = write_plan(
        vector, (d, k), n, dtype.itemsize, want, 0, False, False, 1, 0, activation, False, False,
        max_threads(),
    )  # fmt: skip
    return _plan(vector, work, dtype, size)


def _plan(vector, work, dtype, size, scalars=(1.0, 0.0)) -> Plan:
    parallel = work > 0 and (work >= tuning.ASLEEP_FLOPS or not threads_sleep())
    elements, doubles, cleared, workers = size
    return Plan(vector, parallel, dtype, elements, doubles, cleared, workers, scalars)


@lru_cache(maxsize=256)
def neuron_plan(n: int, d: int, dtype: np.dtype, weighted: bool) -> Plan:
    """The plan of one neuron max(0, w . x + b) and its mean squared error."""
    vector = np.zeros(PLAN.size + LAYER.size, np.int64)
    work, *size = write_plan(
        vector, (d, 1), n, dtype.itemsize, _BOTH, MSE, False, False, 1, 0, RELU, weighted, False,
        max_threads(),
    )  # fmt: skip
    return _plan(vector, work, dtype, size)
