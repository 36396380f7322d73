"""The tasks of a step before and after those of rows (`row_tasks.py`).

In: the records of a step, the number of the task. Out: the task's slice of the panels (pack), its
rows of the gradient (weights), its slice of the gradient (reduce), and nothing else. A task is what
one thread does on its own, without waiting for another; `engine.py` says which tasks follow which.
"""

from __future__ import annotations

from numba import types

from .blocks import (
    scratch_of,
    weight_tangent,
)
from .counts import parts_of, quotient
from .csr_columns import gathered_gradient
from .gemv import sum_rows
from .hessian import mirror_slice
from .jit import inner
from .norms import penalty, sum_of_squares
from .pack import pack, pack_transposed
from .records import (
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
    MATRIX,
    OF_ROWS,
    OUTPUTS,
    PACKED,
    SCATTERED,
    SEEDED,
    TANGENT,
    call_and_plan,
    layer_of,
    step_records,
)
from .reduce import add_float64_gradients, add_gradients
from .routines import procedure
from .simd import lanes, shift
from .skinny import pack_skinny
from .tangents import pack_tangent


@procedure(
    types.none, lambda real: (*call_and_plan(real), types.CPointer(real), *[types.int64] * 2)
)
def pack_slice(call, plan, panels, index, slices):
    """Panels of one of `slices` parts of every W."""
    vl = lanes(panels)
    for number in range(plan.layers):
        layer = layer_of(plan, number)
        d, k = layer.d, layer.k
        blocks = (d + vl - 1) // vl
        start = min(d, quotient(blocks * index, slices) * vl)
        stop = min(d, quotient(blocks * (index + 1), slices) * vl)
        if start == stop:
            continue
        w = shift(call.theta, layer.weight)
        if layer.forward == DOT_PRODUCTS:
            pack_skinny(shift(panels, layer.panels), w, d, k, start, stop)
        elif layer.forward == PACKED and plan.want & (LOSS | OUTPUTS | COTANGENT):
            pack(shift(panels, layer.panels), w, k, d, k, start, stop)
        back = plan.want & INPUT_GRADIENT or (
            plan.want & (GRADIENT | SEEDED | MATRIX | OF_ROWS) and number > 0
        )
        if back and layer.forward != DOT_PRODUCTS and layer.input_gradient != DOT_ROWS:
            pack_transposed(shift(panels, layer.panels_t), w, k, d, k, start, stop)
        if plan.want & TANGENT:
            pack_tangent(call, plan, panels, number, start, stop)


@inner
def _gathered_task(call, plan, scratch, index, origin):
    """As `weights_task`, of a sparse first layer."""
    layer, m = layer_of(plan, 0), min(plan.chunk_rows, plan.n - origin)
    part, fresh = shift(call.work, plan.task_base), origin == 0
    delta = shift(part, layer.delta)
    if index == 0:
        grad = call.out if plan.direct else part
        sum_rows(shift(grad, layer.task_db), delta, layer.ld, layer.k, True, m)
        if plan.float64_blocks:
            _add_to_sums(call, plan, part, layer.task_db, layer.k, layer.task_dw, fresh)
    tasks = parts_of(m, plan.task_rows)
    gathered_gradient(call, plan, delta, scratch, layer.ld, tasks, index, fresh)


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 2))
def weights_task(call, plan, worker, index, origin):
    """Some rows of one W: their gradient over a chunk, added to the float64 one if there are more
    chunks."""
    number = plan.layers - 1
    while layer_of(plan, number).first_weight_task > index:
        number -= 1
    layer, bottom = layer_of(plan, number), layer_of(plan, 0)
    scratch = scratch_of(call, plan, worker)
    if layer.weight_gradient == GATHERED:
        _gathered_task(call, plan, scratch, index, origin)
        return
    start = (index - layer.first_weight_task) * layer.weight_rows
    count = min(layer.weight_rows, layer.d - start)
    m = min(plan.chunk_rows, plan.n - origin)
    part = shift(call.work, plan.task_base)
    x, beyond = shift(call.x, origin * bottom.d), (plan.n - origin - m) * bottom.d
    if plan.want & DIAGONAL:
        x, beyond = shift(part, plan.squares), lanes(part)
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


@procedure(types.float64, lambda real: (*call_and_plan(real), types.int64))
def reduce_slice(call, plan, index):
    """A slice of the gradient from those of the tasks; returns its sum of squared weights if l2."""
    slices, one = plan.slices, types.int64(1)
    if plan.want & MATRIX:
        mirror_slice(call, plan, index)
        return 0.0
    if plan.want & FACTORS:
        size = plan.task_gradient_size
        start, stop = quotient(size * index, slices), quotient(size * (index + 1), slices)
        out, first = shift(call.out, start), layer_of(plan, 0).task_dw + start
        _sum_task_gradients(call, plan, out, size, one, first, size, one, stop - start)
        return 0.0
    l2 = call.sums[L2] if plan.want & LOSS and plan.want & DIAGONAL == 0 else 0.0
    penalised = call.tangent if plan.want & TANGENT else call.theta
    squares = 0.0
    if l2 == 0.0 and plan.want & GRADIENT == 0:
        return squares
    for number in range(plan.layers):
        layer = layer_of(plan, number)
        d, k, ld_dw = layer.d, layer.k, layer.ld_dw
        start, stop = quotient(d * index, slices), quotient(d * (index + 1), slices)
        offset = layer.weight + start * k
        moved = plan.direct == 0 or (layer.transposed and k > 1)
        add_up = plan.want & GRADIENT and moved
        if add_up and layer.weight_gradient >= SCATTERED:
            if layer.weight_gradient == SCATTERED:
                sums = shift(call.sums, plan.scattered + start * k)
                out = shift(call.out, offset)
                size = (stop - start) * k  # as one long row
                add_float64_gradients(out, size, 1, sums, size, one, size, d * k, plan.tasks)
        elif add_up:
            out, first = shift(call.out, offset), layer.task_dw
            if layer.transposed:
                _sum_task_gradients(call, plan, out, one, k, first + start, ld_dw, k, stop - start)
            else:
                _sum_task_gradients(
                    call, plan, out, k, one, first + start * ld_dw, ld_dw, stop - start, k
                )
        if add_up and plan.direct == 0 and index == 0:
            db = shift(call.out, layer.flat_db) if plan.flat else call.bias_gradient
            _sum_task_gradients(call, plan, db, k, one, layer.task_db, k, one, k)
        if l2 != 0.0:
            w, count = shift(penalised, offset), (stop - start) * k
            if plan.want & GRADIENT:
                squares += penalty(w, count, shift(call.out, offset), l2)
            else:
                squares += sum_of_squares(w, count)
    return squares
