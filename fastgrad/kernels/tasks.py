"""The tasks of a step: what one thread does on its own, without waiting for another.

In: the records of a step, the number of the task. Out: the task's slice of the panels (pack), its
own part or rows of the workspace (rows), its rows of the gradient (weights), its slice of the
gradient (reduce), and nothing else. Loop order of a row task: blocks of rows, each through the
whole network (`blocks.py`) while it is in cache; in training a block's rows of X and the targets
are gathered first. `engine.py` says which tasks follow which.
"""

from __future__ import annotations

from numba import types

from .blocks import (
    backward,
    forward,
    one_pass_block,
    output_delta,
    pack_deltas,
    weight_tangent,
)
from .csr import count_entries, fill_entries, gathered_gradient
from .gather import gather_labels, gather_rows
from .gemv import pack_skinny, sum_rows
from .hessian import matrix_block, mirror_slice
from .jit import inner
from .norms import penalty, sum_of_squares
from .pack import pack, pack_transposed
from .per_sample import rows_block
from .records import (
    CALL,
    COTANGENT,
    DIAGONAL,
    DOT_PRODUCTS,
    DOT_ROWS,
    FACTORS,
    GATHERED,
    GRADIENT,
    INPUT_GRADIENT,
    L2,
    LOSS,
    MASK,
    MATRIX,
    OF_ROWS,
    OUTPUTS,
    PACKED,
    PLAN,
    SCATTERED,
    SEEDED,
    TANGENT,
    WORKER,
    RecordType,
    is_given,
    layer_of,
)
from .reduce import add_float64_gradients, add_gradients
from .routines import procedure
from .seeds import seeded_block
from .simd import lanes, shift
from .sums import add_exactly, rounded_sum
from .tangents import pack_tangent, tangent_block


def _records(real):
    return RecordType(CALL, real), RecordType(PLAN, real), RecordType(WORKER, real)


@procedure(types.none, lambda real: (*_records(real)[:2], types.CPointer(real), *[types.int64] * 2))
def pack_slice(call, plan, panels, index, slices):
    """Panels of one of `slices` parts of every W."""
    vl = lanes(panels)
    for number in range(plan.layers):
        layer = layer_of(plan, number)
        d, k = layer.d, layer.k
        blocks = (d + vl - 1) // vl
        start = min(d, blocks * index // slices * vl)
        stop = min(d, blocks * (index + 1) // slices * vl)
        if start == stop:
            continue
        w = shift(call.theta, layer.weight)
        if plan.want & (LOSS | OUTPUTS | COTANGENT):
            if layer.forward == DOT_PRODUCTS:
                pack_skinny(shift(panels, layer.panels), w, d, k, start, stop)
            elif layer.forward == PACKED:
                pack(shift(panels, layer.panels), w, k, d, k, start, stop)
        back = plan.want & INPUT_GRADIENT or (
            plan.want & (GRADIENT | SEEDED | MATRIX | OF_ROWS) and number > 0
        )
        if back and layer.input_gradient != DOT_ROWS:
            pack_transposed(shift(panels, layer.panels_t), w, k, d, k, start, stop)
        if plan.want & TANGENT:
            pack_tangent(call, plan, panels, number, start, stop)


@procedure(types.none, lambda real: (*_records(real), *[types.int64] * 4))
def gather_block(call, plan, worker, row, m, d, k):
    """The rows of a block, in the order that the worker was given."""
    order = shift(worker.order, row)
    if plan.sparse == 0:  # else a row is found where it is
        gather_rows(shift(call.x, row * d), call.x_source, order, m, d)
    if plan.labelled:
        gather_labels(shift(call.labels, row), call.labels_source, order, m)
    else:
        gather_rows(shift(call.targets, row * k), call.targets_source, order, m, k)


@procedure(types.none, lambda real: (RecordType(CALL, real), *[types.int64] * 3))
def write_mask(call, row, m, k):
    """mask = not (out <= 0)."""
    mask, out = shift(call.mask, row * k), shift(call.out, row * k)
    for i in range(m * k):
        mask[i] = not (out[i] <= 0)


@inner
def _block(call, plan, worker, panels, part, grad, scratch, row, m, place, fresh, scattered):
    """Rows row..row+m through the network and back; returns their sum of losses."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    d, k = bottom.d, top.k
    x = shift(call.x, 0 if plan.sparse else row * d)
    if plan.want & (LOSS | OUTPUTS | COTANGENT):
        forward(call, plan, worker, row, x, m, place, part, shift(call.out, row * k), panels)
    if plan.want & OUTPUTS:
        if plan.want & MASK:
            write_mask(call, row, m, k)
        return 0.0
    value = output_delta(call, plan, shift(part, top.delta + place * top.ld), row, m)
    if plan.want & (GRADIENT | INPUT_GRADIENT):
        beyond = (plan.n - row - m) * d
        dx = shift(call.dx, row * d)
        backward(
            call, plan, worker, row, x, beyond, m, place, part, grad, dx, fresh, scratch, panels,
            scattered,
        )  # fmt: skip
    return value


def _further_arguments(real):
    return *_records(real), *[types.CPointer(real)] * 4, *[types.int64] * 4, types.boolean


@procedure(types.float64, _further_arguments)
def _further_block(call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh):
    """As `_block`, of what is wanted besides a gradient: by itself, so that a gradient compiles
    none of it."""
    if plan.want & OF_ROWS:
        return rows_block(call, plan, worker, part, grad, panels, row, m, place, fresh)
    if plan.want & TANGENT:
        return tangent_block(
            call, plan, panels, part, grad, scratch, row, m, place, behind, fresh
        )  # fmt: skip
    if plan.want & MATRIX:
        return matrix_block(call, plan, panels, part, row, m, place)
    return seeded_block(call, plan, panels, part, grad, scratch, row, m, place, fresh)


@procedure(types.float64, lambda real: (*_records(real), types.CPointer(real), *[types.int64] * 2))
def rows_task(call, plan, worker, panels, index, origin):
    """All blocks of one row task; returns its sum of losses."""
    wide, float64_blocks, size = plan.wide, plan.float64_blocks, plan.task_gradient_size
    chunk_end = min(plan.n, origin + plan.chunk_rows)
    first = origin + index * plan.task_rows
    stop = min(chunk_end, first + plan.task_rows)
    part = shift(call.work, plan.task_base + index * plan.task_stride)
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    d, k = bottom.d, top.k
    grad = call.out if plan.direct else part
    gradient = shift(part, bottom.task_dw)
    scratch = shift(call.work, plan.scratch + worker.number * plan.scratch_stride)
    sums = shift(call.sums, plan.gradient_sums + index * size)
    if float64_blocks and not wide:
        for i in range(size):
            sums[i] = 0.0
    scattered = shift(call.sums, plan.scattered + index * d * bottom.k)
    if bottom.weight_gradient == SCATTERED and plan.want & GRADIENT:
        for i in range(d * bottom.k):
            scattered[i] = 0.0
    loss, lost, blocks = 0.0, 0.0, 0
    for row in range(first, stop, plan.block_rows):
        m = min(plan.block_rows, stop - row)
        if is_given(worker.order):
            gather_block(call, plan, worker, row, m, d, k)
        x = shift(call.x, 0 if plan.sparse else row * d)
        place = row - origin if wide else 0
        if plan.one_pass:
            value = one_pass_block(call, plan, x, row, m, grad, blocks == 0)
        elif plan.want & (OF_ROWS | TANGENT | MATRIX | SEEDED):
            behind = chunk_end - origin if wide else m
            value = _further_block(
                call, plan, worker, panels, part, grad, scratch, row, m, place, behind, blocks == 0
            )
        else:
            value = _block(
                call, plan, worker, panels, part, grad, scratch, row, m, place, blocks == 0,
                scattered,
            )  # fmt: skip
        loss, lost = add_exactly(loss, lost, value)
        if wide:
            pack_deltas(plan, place, m, part, chunk_end - origin)
        blocks += 1
        if float64_blocks and not wide and (blocks == float64_blocks or row + m == stop):
            for i in range(size):
                sums[i] += gradient[i]
            blocks = 0
    if bottom.weight_gradient == GATHERED and wide:
        count_entries(call, plan, worker, index, first, stop)
    return rounded_sum(loss, lost)


@procedure(types.none, lambda real: (*_records(real), *[types.int64] * 2))
def fill_task(call, plan, worker, index, origin):
    """The entries of a row task to their columns."""
    first = origin + index * plan.task_rows
    stop = min(plan.n, origin + plan.chunk_rows, first + plan.task_rows)
    fill_entries(call, plan, worker, index, origin, first, stop)


@inner
def _gathered_task(call, plan, index, origin):
    """As `weights_task`, of a sparse first layer."""
    layer = layer_of(plan, 0)
    start, m = index * plan.columns, min(plan.chunk_rows, plan.n - origin)
    part, fresh = shift(call.work, plan.task_base), origin == 0
    delta = shift(part, layer.delta)
    if index == 0:
        grad = call.out if plan.direct else part
        sum_rows(shift(grad, layer.task_db), delta, layer.ld, layer.k, True, m)
        if plan.float64_blocks:
            _add_to_sums(call, plan, part, layer.task_db, layer.k, layer.task_dw, fresh)
    tasks, stop = (m + plan.task_rows - 1) // plan.task_rows, min(layer.d, start + plan.columns)
    gathered_gradient(call, plan, delta, layer.ld, tasks, start, stop, fresh)


@procedure(types.none, lambda real: (*_records(real), *[types.int64] * 2))
def weights_task(call, plan, worker, index, origin):
    """Some rows of one W: their gradient over a chunk, added to the float64 one if there are more
    chunks."""
    number = plan.layers - 1
    while layer_of(plan, number).first_weight_task > index:
        number -= 1
    layer, bottom = layer_of(plan, number), layer_of(plan, 0)
    if layer.weight_gradient == GATHERED:
        _gathered_task(call, plan, index, origin)
        return
    start = (index - layer.first_weight_task) * layer.weight_rows
    count = min(layer.weight_rows, layer.d - start)
    m = min(plan.chunk_rows, plan.n - origin)
    part = shift(call.work, plan.task_base)
    x, beyond = shift(call.x, origin * bottom.d), (plan.n - origin - m) * bottom.d
    if plan.want & DIAGONAL:
        x, beyond = shift(part, plan.squares), lanes(part)
    scratch = shift(call.work, plan.scratch + worker.number * plan.scratch_stride)
    grad = call.out if plan.direct else part
    x_tangent = shift(call.x_tangent, origin * bottom.d)
    place, new = types.int64(0), types.boolean(True)  # no literals: one machine code
    weight_tangent(
        call, plan, number, start, count, x, x_tangent, beyond, place, m, m, part, grad,
        new, scratch,
    )  # fmt: skip
    if plan.float64_blocks:
        base, ld_dw, fresh = bottom.task_dw, layer.ld_dw, origin == 0
        if layer.transposed:
            for j in range(layer.k):
                _add_to_sums(
                    call, plan, part, layer.task_dw + j * ld_dw + start, count, base, fresh
                )
        else:
            begin = layer.task_dw + start * ld_dw
            _add_to_sums(call, plan, part, begin, count * ld_dw, base, fresh)
        if start == 0:
            _add_to_sums(call, plan, part, layer.task_db, layer.k, base, fresh)


@inner
def _add_to_sums(call, plan, part, begin, size, base, fresh):
    sums, gradient = shift(call.sums, plan.gradient_sums + begin - base), shift(part, begin)
    for i in range(size):
        sums[i] = gradient[i] + (0.0 if fresh else sums[i])


@inner
def _sum_task_gradients(call, plan, out, row_stride, column_stride, first, ld, rows, columns):
    """out[r*row_stride + c*column_stride] from element `first` of every task's gradient on."""
    tasks = types.int64(1) if plan.wide else plan.tasks
    if plan.float64_blocks:
        sums = shift(call.sums, plan.gradient_sums + first - layer_of(plan, 0).task_dw)
        add_float64_gradients(
            out, row_stride, column_stride, sums, ld, rows, columns, plan.task_gradient_size, tasks
        )
    else:
        gradient = shift(call.work, plan.task_base + first)
        add_gradients(
            out, row_stride, column_stride, gradient, ld, rows, columns, plan.task_stride, tasks
        )


@procedure(types.float64, lambda real: (*_records(real)[:2], types.int64))
def reduce_slice(call, plan, index):
    """A slice of the gradient from those of the tasks; returns its sum of squared weights if l2."""
    slices, one = plan.slices, types.int64(1)
    if plan.want & MATRIX:
        mirror_slice(call, plan, index)
        return 0.0
    if plan.want & FACTORS:
        size = plan.task_gradient_size
        start, stop = size * index // slices, size * (index + 1) // slices
        out, first = shift(call.out, start), layer_of(plan, 0).task_dw + start
        _sum_task_gradients(call, plan, out, size, one, first, size, one, stop - start)
        return 0.0
    l2 = call.sums[L2] if plan.want & LOSS and plan.want & DIAGONAL == 0 else 0.0
    penalised = call.tangent if plan.want & TANGENT else call.theta
    add_up = plan.want & GRADIENT and plan.direct == 0
    squares = 0.0
    if l2 == 0.0 and not add_up:
        return squares
    for number in range(plan.layers):
        layer = layer_of(plan, number)
        d, k, ld_dw = layer.d, layer.k, layer.ld_dw
        start, stop = d * index // slices, d * (index + 1) // slices
        offset = layer.weight + start * k
        if add_up and layer.weight_gradient >= SCATTERED:
            if layer.weight_gradient == SCATTERED:
                sums = shift(call.sums, plan.scattered + start * k)
                out = shift(call.out, offset)
                add_float64_gradients(out, k, 1, sums, k, stop - start, k, d * k, plan.tasks)
        elif add_up:
            out, first = shift(call.out, offset), layer.task_dw
            if layer.transposed:
                _sum_task_gradients(call, plan, out, one, k, first + start, ld_dw, k, stop - start)
            else:
                _sum_task_gradients(
                    call, plan, out, k, one, first + start * ld_dw, ld_dw, stop - start, k
                )
        if add_up and index == 0:
            db = shift(call.out, layer.flat_db) if plan.flat else call.bias_gradient
            _sum_task_gradients(call, plan, db, k, one, layer.task_db, k, one, k)
        if l2 != 0.0:
            w, count = shift(penalised, offset), (stop - start) * k
            if plan.want & GRADIENT:
                squares += penalty(w, count, shift(call.out, offset), l2)
            else:
                squares += sum_of_squares(w, count)
    return squares
