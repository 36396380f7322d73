"""The tasks of a step that take rows: through the whole network and back.

In: the records of a step, the number of the task. Out: the task's own part or rows of the
workspace, and nothing else. Loop order: blocks of rows, each through the whole network
(`blocks.py`) while it is in cache; in training a block's rows of X and the targets are gathered
first. `engine.py` says which tasks follow which.
"""

from __future__ import annotations

from numba import types

from .blocks import (
    backward,
    forward,
    one_pass_block,
    output_delta,
    pack_deltas,
    scratch_of,
)
from .csr_columns import bucket_entries
from .gather import gather_labels, gather_rows
from .hessian import matrix_block
from .jit import inner
from .per_sample import rows_block
from .record_types import RecordType
from .records import (
    CALL,
    COTANGENT,
    GATHERED,
    GRADIENT,
    INPUT_GRADIENT,
    LOSS,
    MASK,
    MATRIX,
    OF_ROWS,
    OUTPUTS,
    SCATTERED,
    SEEDED,
    TANGENT,
    is_given,
    layer_of,
    step_records,
)
from .routines import procedure
from .seeds import seeded_block
from .simd import shift
from .sums import add_exactly, rounded_sum
from .tangents import tangent_block


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 4))
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


def _block_arguments(real):
    i, reals = types.int64, types.CPointer(real)
    return *step_records(real), *[reals] * 4, types.CPointer(types.float64), *[i] * 3, types.boolean


@inner
def _block(call, plan, worker, panels, part, grad, scratch, scattered, row, m, place, fresh):
    """Rows row..row+m through the network and back; returns their sum of losses."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    x = shift(call.x, 0 if plan.sparse else row * bottom.d)
    if plan.want & (LOSS | OUTPUTS | COTANGENT):
        forward(call, plan, worker, row, x, m, place, part, shift(call.out, row * top.k), panels)
    if plan.want & OUTPUTS:
        if plan.want & MASK:
            write_mask(call, row, m, top.k)
        return 0.0
    return _block_back(
        call, plan, worker, panels, part, grad, scratch, scattered, row, m, place, fresh
    )  # fmt: skip


@procedure(types.float64, _block_arguments)
def _block_back(call, plan, worker, panels, part, grad, scratch, scattered, row, m, place, fresh):
    """The loss of a block and the way back: by itself, so that a prediction compiles none of it."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    value = output_delta(call, plan, shift(part, top.delta + place * top.ld), row, m)
    if plan.want & (GRADIENT | INPUT_GRADIENT):
        d = bottom.d
        x, beyond = shift(call.x, 0 if plan.sparse else row * d), (plan.n - row - m) * d
        dx = shift(call.dx, row * d)
        backward(
            call, plan, worker, row, x, beyond, m, place, part, grad, dx, fresh, scratch, panels,
            scattered,
        )  # fmt: skip
    return value


def _further_arguments(real):
    p, sums = types.CPointer(real), types.CPointer(types.float64)
    return *step_records(real), p, p, p, p, *[types.int64] * 4, types.boolean, sums


@procedure(types.float64, _further_arguments)
def _further_block(
    call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh, scattered
):
    """As `_block`, of what is wanted besides a gradient: by itself, so that a gradient compiles
    none of it."""
    if plan.want & OF_ROWS:
        return rows_block(call, plan, worker, part, grad, panels, row, m, place, fresh, scattered)
    if plan.want & TANGENT:
        return tangent_block(
            call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh, scattered
        )  # fmt: skip
    if plan.want & MATRIX:
        return matrix_block(call, plan, panels, part, row, m, place)
    return seeded_block(call, plan, panels, part, grad, scratch, row, m, place, fresh)


@procedure(
    types.float64, lambda real: (*step_records(real), types.CPointer(real), *[types.int64] * 2)
)
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
    scratch = scratch_of(call, plan, worker)
    sums = shift(call.sums, plan.gradient_sums + index * size)
    if float64_blocks and not wide:
        for i in range(size):
            sums[i] = 0.0
    scattered = shift(call.sums, plan.scattered + index * d * bottom.k)
    if bottom.weight_gradient == SCATTERED and plan.want & GRADIENT:
        for i in range(d * bottom.k):
            scattered[i] = 0.0
    loss, lost, blocks = 0.0, 0.0, 0
    row = first
    while row < stop:  # a range would divide
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
                call, plan, worker, panels, part, grad, scratch, row, m, place, behind, blocks == 0,
                scattered,
            )  # fmt: skip
        else:
            value = _block(
                call, plan, worker, panels, part, grad, scratch, scattered, row, m, place,
                blocks == 0,
            )  # fmt: skip
        loss, lost = add_exactly(loss, lost, value)
        if wide:
            pack_deltas(plan, place, m, part, chunk_end - origin)
        blocks += 1
        if float64_blocks and not wide and (blocks == float64_blocks or row + m == stop):
            for i in range(size):
                sums[i] += gradient[i]
            blocks = 0
        row += plan.block_rows
    if bottom.weight_gradient == GATHERED and wide:
        bucket_entries(call, plan, worker, index, origin, first, stop)
    return rounded_sum(loss, lost)
