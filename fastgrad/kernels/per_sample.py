"""What is of each row in a step: norms of gradients, clipped gradients, gradients, their factors.

In: a block of rows, the records of a step. Out: what the plan wants of each row, and the sum of
losses. The gradient of row i by W of a layer is a_i delta_i^T, a_i what enters the layer, and by b
it is delta_i. So its squared norm is the sum over layers of (1 + ||a_i||^2) ||delta_i||^2 (formula
31), and nothing of its size is made. To clip (formula 32), the rows of every delta are scaled
before the weight gradient's product, which is that of the plain step. Loop order: layers forward,
the loss, deltas backward, each layer's part while it is in cache; then the weight gradients, or in
wide networks the weight tasks that follow.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .blocks import block_delta_below, forward, output_delta, weight_gradient
from .csr import entries_of, scattered_gradient
from .gemv import RowGroup
from .jit import inner
from .outer import row_gradients
from .pack import copy_rows
from .record_types import RecordType
from .records import (
    CALL,
    GRADIENT,
    LINE,
    MAX_NORM,
    PLAN,
    ROW_FACTORS,
    ROW_GRADIENTS,
    ROW_NORMS,
    SCALE,
    SCATTERED,
    SPARSE,
    WORKER,
    is_given,
    layer_of,
)
from .routines import procedure, routine
from .simd import DOUBLE, I1, I64, VOID, Vectors, lanes, shift
from .vmath import absolute

# Below, a sum of squares in float64 may have lost digits, or all of them.
LEAST_SQUARES = 1e-280


def _squares(vec, d, row, sizes=None):
    """The sum of squares of a row in float64; the sizes of its numbers are added to `sizes`."""
    builder = vec.builder
    wide = ir.VectorType(DOUBLE, vec.lanes)
    total = cgutils.alloca_once(builder, wide)
    builder.store(ir.Constant(wide, [0.0] * vec.lanes), total)

    columns = RowGroup(vec, d)

    def visit(column, mask):
        value = columns.load(builder.gep(row, [column]), mask)
        if sizes is not None:
            builder.store(builder.fadd(builder.load(sizes), absolute(vec, value)), sizes)
        value = value if vec.elem == DOUBLE else builder.fpext(value, wide)
        builder.store(builder.fadd(builder.load(total), builder.fmul(value, value)), total)

    columns.over_columns(visit)
    return vec.reduce(builder.fadd, builder.load(total))


def _norms_body(elem):
    def body(builder, a, lda, d, delta, ld, k, squares, fresh, m):
        vec = Vectors(builder, elem)
        sizes = cgutils.alloca_once(builder, vec.type) if elem == DOUBLE else None
        with cgutils.for_range(builder, m) as row:
            of_a = _squares(vec, d, builder.gep(a, [builder.mul(row.index, lda)]))
            if sizes is not None:
                builder.store(vec.const(0.0), sizes)
            here = builder.gep(delta, [builder.mul(row.index, ld)])
            of_delta = _squares(vec, k, here, sizes)
            value = builder.fmul(builder.fadd(DOUBLE(1.0), of_a), of_delta)
            if sizes is not None:
                small = builder.fcmp_ordered("<", of_delta, DOUBLE(LEAST_SQUARES))
                size = vec.reduce(builder.fadd, builder.load(sizes))
                lost = builder.and_(small, builder.fcmp_ordered(">", size, DOUBLE(0.0)))
                value = builder.select(lost, DOUBLE(float("inf")), value)
            place = builder.gep(squares, [row.index])
            before = builder.select(fresh, DOUBLE(0.0), builder.load(place))
            builder.store(builder.fadd(before, value), place)
        builder.ret_void()

    return body


add_square_norms = routine(
    "add_square_norms",
    "a lda d delta ld k squares fresh m",
    VOID,
    lambda p: [p, I64, I64, p, I64, I64, DOUBLE.as_pointer(), I1, I64],
    _norms_body,
    """squares[r] (+)= (1 + ||a[r]||^2) ||delta[r]||^2 for m rows, in float64; `fresh` overwrites.

    Infinity where float64 has not the range for squares of float64.""",
)


def _scale_body(elem):
    def body(builder, x, ldx, d, factors, m):
        vec = Vectors(builder, elem)
        along = RowGroup(vec, d)
        with cgutils.for_range(builder, m) as row:
            factor = builder.load(builder.gep(factors, [row.index]))
            here = builder.gep(x, [builder.mul(row.index, ldx)])
            with builder.if_then(builder.fcmp_unordered("!=", factor, DOUBLE(1.0))):
                factor = vec.splat(builder.fptrunc(factor, elem) if vec.is_f32 else factor)

                def visit(column, mask, here=here, factor=factor):
                    place = builder.gep(here, [column])
                    along.store(builder.fmul(along.load(place, mask), factor), place, mask)

                along.over_columns(visit)
        builder.ret_void()

    return body


scale_rows = routine(
    "scale_rows",
    "x ldx d factors m",
    VOID,
    lambda p: [p, I64, I64, DOUBLE.as_pointer(), I64],
    _scale_body,
    "x[r*ldx + j] *= factors[r] for j < d, for m rows.",
)


@inner
def _scaled_norm(x, n):
    """(the norm of n numbers of any size, whether one is NaN)."""
    most, unknown = 0.0, False
    for i in range(n):
        most = max(most, abs(float(x[i])))
        unknown |= x[i] != x[i]
    if most == 0.0 or most == math.inf:
        return most, unknown
    total = 0.0
    for i in range(n):
        total += (x[i] / most) ** 2
    return math.sqrt(total) * most, unknown


def _row_arguments(real):
    p, i = types.CPointer(real), types.int64
    return RecordType(CALL, real), RecordType(PLAN, real), p, i, p, i


@procedure(types.float64, _row_arguments)
def norm_of_any_size(call, plan, x, size, part, place):
    """The norm of one row's gradient, of `size` inputs, where its square is no float64."""
    norm = 0.0
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        a, _ = inputs_of(plan, index, x, part, place)
        of_a, no_a = _scaled_norm(a, layer.d if index > 0 else size)
        of_delta, no_delta = _scaled_norm(shift(part, layer.delta + place * layer.ld), layer.k)
        if no_a or no_delta:
            return math.nan
        norm = math.hypot(norm, math.hypot(1.0, of_a) * of_delta)
    return norm


@inner
def inputs_of(plan, index, x, part, place):
    """(what enters a layer from row `place` on, its leading dimension)."""
    if index == 0:
        return x, layer_of(plan, 0).d
    before = layer_of(plan, index - 1)
    return shift(part, before.output + place * before.ld), before.ld


@inner
def _sparse_squares(call, plan, worker, delta, norms, fresh, row, m):
    """`add_square_norms` of the first layer, of sparse rows without duplicates."""
    layer = layer_of(plan, 0)
    for i in range(m):
        start, stop = entries_of(call, worker, row + i)
        x, own = shift(call.x, start), shift(delta, i * layer.ld)
        add_square_norms(x, 0, stop - start, own, 0, layer.k, shift(norms, i), fresh, 1)


@inner
def _norms(call, plan, worker, x, part, place, row, m, norms):
    """Squared norms to norms, for the caller where they are wanted; or to factors that clip."""
    scale, clipped = 1.0, plan.want & GRADIENT
    if clipped:  # of a row's own gradient, which the deltas have divided by the number of rows
        scale = 1.0 / (call.sums[SCALE] * plan.averaged)
    most, d = call.sums[MAX_NORM], layer_of(plan, 0).d
    for i in range(m):
        norm = math.sqrt(norms[i])
        if not norm < math.inf:
            own, size = shift(x, i * d), d
            if plan.sparse:
                start, stop = entries_of(call, worker, row + i)
                own, size = shift(call.x, start), stop - start
            norm = norm_of_any_size(call, plan, own, size, part, place + i)
        norm *= scale
        if clipped == 0:
            call.norms[row + i] = norm
        elif norm <= most:
            norms[i] = 1.0
        else:  # what is infinite has no direction: NaN
            norms[i] = most / norm if norm < math.inf else math.nan


@inner
def _keep_factors(call, plan, index, a, lda, delta, ld, row, m):
    """Copy a layer's inputs (but not X itself) and deltas where the caller wants them."""
    vl = lanes(a)
    activations, deltas, channels = call.activations, call.deltas, call.channels
    for number in range(index):
        layer = layer_of(plan, number)
        padded = (layer.k + vl - 1) // vl * vl
        deltas = shift(deltas, plan.n * channels * padded)
        if number < index - 1:
            activations = shift(activations, plan.n * padded)
    layer = layer_of(plan, index)
    padded = (layer.k + vl - 1) // vl * vl
    width = channels * padded
    copy_rows(shift(deltas, row * width + call.channel * padded), width, delta, ld, m, layer.k)
    if index > 0 and is_given(call.activations):
        width = (layer.d + vl - 1) // vl * vl
        copy_rows(shift(activations, row * width), width, a, lda, m, layer.d)


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    records = RecordType(CALL, real), RecordType(PLAN, real), RecordType(WORKER, real)
    return *records, p, p, p, i, i, i, types.boolean, types.CPointer(types.float64)


@procedure(types.float64, _arguments)
def rows_block(call, plan, worker, part, grad, panels, row, m, place, fresh, scattered):
    """A block of rows from `row` on, stored from row `place` of the task's part on; its loss."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    x = shift(call.x, 0 if plan.sparse else row * bottom.d)
    forward(call, plan, worker, row, x, m, place, part, part, panels)
    loss = output_delta(call, plan, shift(part, top.delta + place * top.ld), row, m)
    block = (plan.block_rows + LINE - 1) // LINE * LINE
    norms = shift(call.sums, plan.row_norms + worker.number * block)
    parameters = top.flat_db + top.k
    for index in range(plan.layers - 1, -1, -1):
        layer = layer_of(plan, index)
        a, lda = inputs_of(plan, index, x, part, place)
        delta = shift(part, layer.delta + place * layer.ld)
        if plan.want & ROW_NORMS:
            first = index == plan.layers - 1
            if layer.forward == SPARSE:
                _sparse_squares(call, plan, worker, delta, norms, first, row, m)
            else:
                add_square_norms(a, lda, layer.d, delta, layer.ld, layer.k, norms, first, m)
        if plan.want & ROW_GRADIENTS:
            out = shift(call.row_gradients, row * parameters)
            row_gradients(out, parameters, layer, a, lda, delta, m)
        if plan.want & ROW_FACTORS:
            _keep_factors(call, plan, index, a, lda, delta, layer.ld, row, m)
        if index > 0:
            block_delta_below(call, plan, index, m, place, part, x, panels)
    if plan.want & ROW_NORMS:
        _norms(call, plan, worker, x, part, place, row, m, norms)
    if plan.want & GRADIENT == 0:
        return loss
    scratch = shift(call.work, plan.scratch + worker.number * plan.scratch_stride)
    beyond, start = (plan.n - row - m) * bottom.d, types.int64(0)
    for index in range(plan.layers - 1, -1, -1):
        layer = layer_of(plan, index)
        delta = shift(part, layer.delta + place * layer.ld)
        scale_rows(delta, layer.ld, layer.k, norms, m)
        if layer.weight_gradient == SCATTERED:
            db = shift(grad, layer.task_db)
            scattered_gradient(call, plan, worker, scattered, db, delta, layer.ld, row, m, fresh)
        elif plan.wide == 0:
            weight_gradient(
                call, plan, index, start, layer.d, x, beyond, place, m, m, part, grad, fresh,
                scratch,
            )  # fmt: skip
    return loss
