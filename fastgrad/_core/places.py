"""A plan's layers: the variant of each product, and where everything of them lies.

Plain arithmetic, as all of a plan (`plan.py`). Each function writes fields of the LAYERs behind a
PLAN, in the order of `write_plan`, which later ones read.
"""

from __future__ import annotations

from ..kernels import records as at
from ..kernels import tuning
from ..kernels.jit import jitable
from ..kernels.micro_kernel import MR, NV, RELU
from ..kernels.records import LAYER, PLAN
from ..kernels.simd import VECTOR_BYTES
from .cuts import Widths, bucket_bits, even_cut
from .tuning import block_of_k
from .workspace import round_up


@jitable
def layer_at(vector, layer: int):
    """The LAYER of that number."""
    return vector[PLAN.size + layer * LAYER.size :]


@jitable
def _leading_dimension(k: int, lanes: int) -> int:
    """Whole vectors, and never a multiple of 64 of them, which would share few cache sets."""
    if k == 1:
        return 1
    padded = round_up(k, lanes)
    return padded + lanes if padded % (8 * lanes) == 0 else padded


@jitable
def _is_skinny(d: int, k: int, lanes: int) -> bool:
    """Whether lanes along the inputs beat lanes along the outputs."""
    sum_ = -(-d // lanes) + tuning.SKINNY_OVERHEAD + tuning.SKINNY_LANE * lanes
    return 2 * k <= lanes and k * sum_ < tuning.SKINNY_FACTOR * d


@jitable
def _is_transposed(d: int, k: int, n: int, skinny: bool, lanes: int, extra: float) -> bool:
    """Whether the weight gradient is computed as its transpose: fewer vectors in (k, d).

    `extra`: cycles that one transpose costs the whole step.
    """
    across, along = d * -(-k // lanes), (k + 1) * -(-d // lanes)
    return skinny or n * (across - along) > tuning.TRANSPOSE_COST * d * k + extra


@jitable
def _weight_rows(d: int, inputs: int, kc: int, itemsize: int, tuned) -> int:
    """Rows of W of each of a layer's weight tasks; `inputs` of all layers."""
    most = max(tuning.LEAST_WEIGHT_ROWS, inputs // tuning.WEIGHT_TASKS)
    most = max(MR, min(most, tuned.weights // (kc * itemsize)) // MR * MR)
    return even_cut(d, most, MR)


@jitable
def shape_layers(vector, sizes, job, totals, kind, activation, output_activation) -> Widths:
    """Shapes, forward variants, and which weight gradients are computed as their transpose."""
    n, want, lanes, layers = job.n, job.want, VECTOR_BYTES // job.itemsize, len(sizes) - 1
    # No gaps between narrow outputs: the loss takes the block as one long row.
    gapless = want & at.LOSS != 0 and not job.labelled and not job.weighted
    gapless = gapless and sizes[layers] < lanes
    added_up = not kind.wide and totals.flops >= tuning.PARALLEL_FLOPS and n >= tuning.PAIR_ROWS
    extra = 0.0 if added_up else tuning.ADD_COST * totals.parameters
    inputs = width = widest = 0
    rearranged = False
    for layer in range(layers):
        d, k = sizes[layer], sizes[layer + 1]
        record, unpacked = layer_at(vector, layer), job.sparse and layer == 0
        ld = k if gapless and layer == layers - 1 else _leading_dimension(k, lanes)
        skinny = _is_skinny(d, k, lanes) and not (unpacked or want & (at.TANGENT | at.MATRIX))
        transposed = _is_transposed(d, k, n, skinny, lanes, extra) and not unpacked
        transposed = transposed or kind.one_pass
        record[LAYER.d], record[LAYER.k], record[LAYER.ld] = d, k, ld
        record[LAYER.transposed] = transposed
        record[LAYER.forward] = at.DOT_PRODUCTS if skinny else at.PACKED
        if unpacked:
            record[LAYER.forward] = at.SPARSE
        record[LAYER.activation] = output_activation if layer == layers - 1 else activation
        rearranged = rearranged or (transposed and k > 1)
        dense = k if unpacked else d
        inputs, width, widest = inputs + dense, width + ld, max(widest, dense, k)
    return Widths(inputs, width, widest, rearranged)


@jitable
def place_parameters(vector, sizes, flat) -> None:
    """In theta and in the flat gradient: weights of a layer, then its biases."""
    theta = 0
    for layer in range(len(sizes) - 1):
        d, k, record = sizes[layer], sizes[layer + 1], layer_at(vector, layer)
        record[LAYER.weight], record[LAYER.flat_db] = theta, theta + d * k
        record[LAYER.bias] = theta + d * k if flat else 0
        theta += d * k + k


@jitable
def choose_products(vector, sizes, job, totals, kind, widths, cut):
    """The variants of all products; (weight tasks, the most rows of W whose inputs are packed, the
    most rows of a W of which a panel is)."""
    n, want, lanes = job.n, job.want, VECTOR_BYTES // job.itemsize
    kc, matrix = block_of_k(job.tuned.panel, job.itemsize), want & at.MATRIX != 0
    bits = bucket_bits(sizes[0], sizes[1], job.itemsize) if kind.gathered and cut.wide else 0
    moved = want & at.TANGENT != 0 and want & at.INPUT_GRADIENT != 0  # X has a tangent of its own
    tasks = most = deepest = 0
    for layer in range(len(sizes) - 1):
        d, k, record = sizes[layer], sizes[layer + 1], layer_at(vector, layer)
        unpacked = job.sparse and layer == 0
        rows = (
            _weight_rows(d, widths.inputs, kc, job.itemsize, job.tuned) if cut.wide else max(d, 1)
        )
        few = tuning.FEW_ROWS[1 if k >= tuning.FEW_VECTORS * lanes else 0]
        dots = n <= few and want & at.SECOND == 0
        record[LAYER.input_gradient] = at.DOT_ROWS if dots else at.PACKED_T
        # Reading W in place runs up to a vector over its end: into its own bias, or the next W.
        inside = job.flat and record[LAYER.flat_db] + lanes <= totals.parameters
        # Rows of W whole pages from each other share cache sets, which lines of all do not fit.
        pages = k * job.itemsize % tuning.PAGE_BYTES == 0
        narrow = pages and NV * VECTOR_BYTES <= tuning.LINE_BYTES
        few = tuning.NARROW_ROWS if k <= NV * lanes else tuning.IN_PLACE_ROWS
        few = tuning.PAGED_ROWS if narrow else few
        few_rows = (cut.task_rows if cut.own else n) <= few
        if record[LAYER.forward] == at.PACKED and few_rows and (inside or k % lanes == 0):
            record[LAYER.forward] = at.IN_PLACE
        once = n <= (tuning.IN_PLACE_ROWS if pages else tuning.PANEL_BY_PANEL_ROWS)
        once = once and cut.wide and want & ~(at.LOSS | at.GRADIENT) == 0
        if record[LAYER.forward] == at.PACKED and once:
            record[LAYER.forward] = at.PANEL_BY_PANEL
            deepest = max(deepest, d)
        if kind.one_pass:  # nothing is packed
            record[LAYER.forward], record[LAYER.input_gradient] = at.IN_PLACE, at.DOT_ROWS
        worth_copies = rows >= tuning.COPY_ROWS and min(cut.chunk, n) >= tuning.COPY_PRODUCTS
        if unpacked:
            record[LAYER.weight_gradient] = at.GATHERED if kind.gathered else at.SCATTERED
        elif record[LAYER.transposed] != 0:
            record[LAYER.weight_gradient] = at.SCALED_ROWS if k == 1 else at.TRANSPOSED
        elif cut.wide and not matrix and worth_copies and not (moved and layer == 0):
            record[LAYER.weight_gradient] = at.PACKED_BOTH
            most = max(most, rows)
        record[LAYER.first_weight_task], record[LAYER.weight_rows] = tasks, rows
        tasks += k if matrix else -(-d // (2**bits if unpacked and bits else rows))
    vector[PLAN.weight_tasks], vector[PLAN.kc] = tasks, kc
    if bits:
        vector[PLAN.bucket_bits], vector[PLAN.buckets] = bits, -(-sizes[0] // 2**bits)
    return tasks, most, deepest


@jitable
def place_panels(vector, sizes, job) -> int:
    """Of weights, and of their tangents; elements in all."""
    want, lanes, panels = job.want, VECTOR_BYTES // job.itemsize, 0
    transposes = at.GRADIENT | at.INPUT_GRADIENT | at.SEEDED | at.MATRIX | at.OF_ROWS
    for layer in range(len(sizes) - 1):
        d, k, record = sizes[layer], sizes[layer + 1], layer_at(vector, layer)
        packed = d * round_up(k, lanes)
        record[LAYER.panels] = panels
        if not (job.sparse and layer == 0):
            skinny = record[LAYER.forward] == at.DOT_PRODUCTS
            record[LAYER.panels_t] = panels  # of a skinny W these are its transpose, row by row
            panels += round_up(d * k, lanes) if skinny else packed
            if want & transposes and not skinny:
                record[LAYER.panels_t] = panels
                panels += k * round_up(d, lanes)
        if job.sparse and layer == 0:
            continue
        if want & at.TANGENT:
            record[LAYER.tangent_panels] = panels
            panels += packed
        if want & at.SECOND:
            record[LAYER.tangent_panels_t] = panels
            panels += k * round_up(d, lanes)
    return panels


@jitable
def place_activations(vector, sizes, job, totals, widths, cut) -> int:
    """In a task's part: activations, deltas and what goes with them; elements in all."""
    want, lanes, layers, part = job.want, VECTOR_BYTES // job.itemsize, len(sizes) - 1, 0
    rows = totals.copies * (cut.chunk if cut.wide else cut.block_rows)
    back, tangent, factors = want & at.OUTPUTS == 0, want & at.TANGENT != 0, want & at.FACTORS != 0
    seeded, matrix, activations = want & at.SEEDED != 0, want & at.MATRIX != 0, 0
    for layer in range(layers):
        record = layer_at(vector, layer)
        activations = round_up(rows * int(record[LAYER.ld]) + lanes, lanes)
        record[LAYER.output] = record[LAYER.delta] = part
        part += activations
        # The slope of ReLU is read before it is overwritten; that of others after the product. What
        # is of each row looks back at both.
        beside = cut.wide or want & at.OF_ROWS != 0 or record[LAYER.activation] > RELU
        if (beside and layer < layers - 1) or (tangent and back) or seeded or matrix:
            record[LAYER.delta] = part
            part += activations
        if seeded or matrix:
            record[LAYER.seed] = part
            part += activations
        if record[LAYER.weight_gradient] == at.PACKED_BOTH:
            record[LAYER.delta_panels] = part
            part += rows * round_up(sizes[layer + 1], lanes)
    if seeded or matrix:
        vector[PLAN.roots] = part
        part += activations  # of the last layer
        vector[PLAN.squares] = part
        in_row = sizes[0]
        if factors or matrix:
            in_row = round_up(widths.widest + 1, lanes) + lanes
        part += round_up(rows * in_row + lanes, lanes)
    return part


@jitable
def place_gradients(vector, sizes, job, kind, cut, part) -> int:
    """A task's gradient, from element `part` of its part on, or in the flat one; its elements."""
    lanes, size = VECTOR_BYTES // job.itemsize, 0
    for layer in range(len(sizes) - 1):
        d, k, record = sizes[layer], sizes[layer + 1], layer_at(vector, layer)
        transposed = record[LAYER.transposed] != 0
        if cut.direct:
            record[LAYER.task_db] = record[LAYER.flat_db]
            if transposed and k > 1:  # the one that is not where the flat gradient has it
                record[LAYER.ld_dw], record[LAYER.task_dw] = round_up(d, lanes), part + size
                size += k * round_up(d, lanes)
            else:
                record[LAYER.ld_dw] = d if transposed else k
                record[LAYER.task_dw] = record[LAYER.weight]
        elif job.want & at.FACTORS:
            record[LAYER.task_dw], record[LAYER.task_db] = part + size, part + size + (d + 1) ** 2
            size += (d + 1) ** 2 + k**2
        elif job.want & at.GRADIENT or kind.one_pass:
            ld_dw = round_up(d, lanes) if transposed else round_up(k, lanes)
            kept = 0 if job.sparse and layer == 0 else d  # a sparse layer's has a place of its own
            db = size + ld_dw * (k if transposed else kept)
            record[LAYER.ld_dw] = ld_dw
            record[LAYER.task_dw], record[LAYER.task_db] = part + size, part + db
            size = db + round_up(k, lanes)
        else:
            record[LAYER.task_dw] = record[LAYER.task_db] = part
    return size


@jitable
def place_units(vector, sizes, job, totals) -> int:
    """In a thread's scratch, where matrices are wanted: what lies along a unit; elements in all."""
    lanes = VECTOR_BYTES // job.itemsize
    ld = _leading_dimension(totals.parameters, lanes)
    rows = max(8, min(96, tuning.UNIT_BYTES // (ld * job.itemsize) // 8 * 8))
    vector[PLAN.unit_rows], vector[PLAN.unit_ld] = rows, ld
    size = rows * ld + lanes
    for layer in range(len(sizes) - 1):
        record = layer_at(vector, layer)
        step = rows * int(record[LAYER.ld]) + lanes
        record[LAYER.unit_tangent], record[LAYER.unit_delta] = size, size + step
        size += 2 * step
    return size
