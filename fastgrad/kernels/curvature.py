"""The curvature of the losses times a tangent of the outputs, on a block of rows.

In: outputs z (m, k) and their tangents t, targets or labels, optional sample weights. Out: delta =
d loss / d z and its tangent, both normalised by `scale`. Loop order: as in `losses.py`, whose
formulas give value, slope and curvature; of labels a row at a time, with p = softmax(z):
p (t - p . t). Formulas 34 and 35.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .arithmetic import Arithmetic
from .jit import inner
from .losses import columns_of, scale_row, softmax_row
from .micro_kernel import RELU
from .record_types import RecordType
from .records import CALL, COTANGENT, LOSS_PARAMETER, PLAN, SCALE, layer_of
from .routines import procedure, table
from .simd import I1, I64, VOID, Vectors, null_like, shift
from .sums import Sum
from .weights import without_weight

ELEMENTWISE, elementwise = table(
    "curvature",
    "tangent delta z t ld y ldy s s_row s_column m k scale parameter relu",
    VOID,
    lambda p: [p, p, p, p, I64, p, I64, p, I64, I64, I64, I64, p.pointee, p.pointee, I1],
    """delta = scale * s * loss'(z, y) and tangent = scale * s * loss''(z, y) * t of an (m, k)
    block, by the loss's code; the others as for `losses.elementwise`. Where the slope is NaN
    so is the tangent, though the curvature knows nothing of the target.""",
)
LABELLED, labelled = table(
    "labelled_curvature",
    "tangent delta z t ld labels s m k scale",
    VOID,
    lambda p: [p, p, p, p, I64, I64.as_pointer(), p, I64, I64, p.pointee],
    """The same of m rows with labels, by the loss's code; z becomes its softmax.""",
)


def add_elementwise(name: str, formula) -> None:
    """formula(v, z, y, parameter) -> (value, slope, curvature), in `Arithmetic`."""
    ELEMENTWISE.add(name, lambda elem: _elementwise_body(elem, formula))


def _elementwise_body(elem, formula):
    def body(
        builder, tangent, delta, z, t, ld, y, ldy, s, s_row, s_column, m, k, scale, parameter, relu
    ):
        v = Arithmetic(builder, elem)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))
        scale, parameter = v.splat(scale), v.splat(parameter)
        linear = builder.not_(v.splat(relu, v.mask_type))
        weight = cgutils.alloca_once_value(builder, v.const(1.0))
        ignored = cgutils.alloca_once_value(builder, ir.Constant(v.mask_type, [0] * v.lanes))
        mask_of, blocks = columns_of(v, k)
        with cgutils.for_range(builder, m) as row, cgutils.for_range(builder, blocks) as block:
            column = builder.mul(block.index, I64(v.lanes))
            mask = mask_of(column)

            def at(base, ld):
                return builder.gep(base, [builder.add(builder.mul(row.index, ld), column)])

            output = v.load_masked(at(z, ld), mask)
            with builder.if_then(weighted):
                here = builder.gep(
                    s, [builder.add(builder.mul(row.index, s_row), builder.mul(column, s_column))]
                )
                with builder.if_else(builder.icmp_signed("==", s_column, I64(0))) as (a, b):
                    with a:
                        builder.store(v.splat(builder.load(here)), weight)
                    with b:
                        builder.store(v.load_masked(here, mask), weight)
                builder.store(without_weight(v, builder.load(weight), output), ignored)
            _, slope, curvature = formula(v, output, v.load_masked(at(y, ldy), mask), parameter)
            factor = v.mul(builder.load(weight), scale)
            active = builder.or_(v.passes(output), linear)
            active = builder.and_(active, builder.not_(builder.load(ignored)))
            slope = v.mul(slope, factor)
            product = v.mul(v.mul(curvature, factor), v.load_masked(at(t, ld), mask))
            product = v.select(builder.fcmp_ordered("ord", slope, slope), product, slope)
            for value, out in ((slope, delta), (product, tangent)):
                v.store_masked(v.select(active, value, v.const(0.0)), at(out, ld), mask)
        builder.ret_void()

    return body


def softmax_curvature_body(elem):
    """delta = softmax - onehot (formula 25), and its derivative along t."""

    def body(builder, tangent, delta, z, t, ld, labels, s, m, k, scale):
        vec = Vectors(builder, elem)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))
        mask_of, blocks = columns_of(vec, k)
        weight = cgutils.alloca_once_value(builder, ir.Constant(elem, 1.0))
        with cgutils.for_range(builder, m) as loop:
            here = builder.mul(loop.index, ld)
            p, t_row, delta_row, tangent_row = (
                builder.gep(base, [here]) for base in (z, t, delta, tangent)
            )
            _, sum_ = softmax_row(vec, p, k, mask_of, blocks)
            inverse = builder.fdiv(ir.Constant(elem, 1.0), sum_)
            scale_row(vec, p, vec.splat(inverse), mask_of, blocks)
            with builder.if_then(weighted):
                builder.store(builder.load(builder.gep(s, [loop.index])), weight)
            own = builder.fmul(builder.load(weight), scale)
            factor, along = vec.splat(own), Sum(builder, vec.type)

            def over_columns(visit):
                with cgutils.for_range(builder, blocks) as block:
                    column = builder.mul(block.index, I64(vec.lanes))
                    mask = mask_of(column)

                    def load(row):
                        return vec.load_masked(builder.gep(row, [column]), mask)

                    def store(value, row):
                        vec.store_masked(value, builder.gep(row, [column]), mask)

                    visit(load, store)

            def dot(load, store):
                along.add(builder.fmul(load(p), load(t_row)))
                store(builder.fmul(load(p), factor), delta_row)

            over_columns(dot)
            mean = along.result()
            mean = vec.splat(builder.fptrunc(mean, elem) if vec.is_f32 else mean)

            def product(load, store):
                value = builder.fmul(load(p), builder.fsub(load(t_row), mean))
                store(builder.fmul(value, factor), tangent_row)

            over_columns(product)
            true = builder.gep(delta_row, [builder.load(builder.gep(labels, [loop.index]))])
            builder.store(builder.fsub(builder.load(true), own), true)
        builder.ret_void()

    return body


def _arguments(real):
    return RecordType(CALL, real), RecordType(PLAN, real), types.CPointer(real), *[types.int64] * 4


@inner
def elementwise_curvature(call, plan, tangent, delta, z, t, first, m):
    """`elementwise` of m rows' outputs."""
    layer = layer_of(plan, plan.layers - 1)
    k, ld = layer.k, layer.ld
    weights = shift(call.weights, first) if plan.weighted else null_like(call.weights)
    targets, row, column, rows, columns = shift(call.targets, first * k), 1, 0, m, k
    if ld == k and (k == 1 or plan.weighted == 0):  # one long row
        row, column, rows, columns = 0, 1, 1, m * k
    elementwise(
        plan.loss, tangent, delta, z, t, ld, targets, k, weights, row, column, rows, columns,
        call.sums[SCALE], call.sums[LOSS_PARAMETER], layer.activation == RELU,
    )  # fmt: skip


@procedure(
    types.none,
    lambda real: (
        RecordType(CALL, real),
        *[types.CPointer(real)] * 3,
        *[types.int64] * 4,
        types.boolean,
    ),
)
def given_slope(call, tangent, delta, z, ld, first, m, k, relu):
    """The cotangent of the outputs, where they passed their ReLU; it does not move with them."""
    for i in range(m):
        grad = shift(call.targets, (first + i) * k)
        for j in range(k):
            place = i * ld + j
            tangent[place] = 0
            delta[place] = 0 if relu and z[place] <= 0 else grad[j]


@procedure(types.none, _arguments)
def output_curvature(call, plan, part, first, m, place, behind):
    """The deltas of a block's outputs and, before them, their tangents."""
    layer = layer_of(plan, plan.layers - 1)
    k, ld = layer.k, layer.ld
    z = shift(part, layer.output + place * ld)
    tangent = shift(part, layer.delta + place * ld)
    t, delta = shift(z, behind * ld), shift(tangent, behind * ld)
    if plan.want & COTANGENT:
        given_slope(call, tangent, delta, z, ld, first, m, k, layer.activation == RELU)
    elif plan.labelled:
        labels = shift(call.labels, first)
        weights = shift(call.weights, first) if plan.weighted else null_like(call.weights)
        scale = call.sums[SCALE]
        labelled(plan.loss, tangent, delta, z, t, ld, labels, weights, m, k, scale)
    else:
        elementwise_curvature(call, plan, tangent, delta, z, t, first, m)
