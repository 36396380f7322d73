"""The losses on a block of outputs: value summed, derivative written over the outputs.

In: outputs z (m, k) with a leading dimension, targets or labels, optional sample weights. Out: z
becomes delta = d loss / d z, normalised by `scale`, and the sum of s * loss is returned. Loop order
of an element-wise loss: rows, vectors of columns; a block without gaps is one long row. Its formula
is a row of `fastgrad/losses.py`. Cross-entropy takes a row at a time: maximum, exponentials and
their sum; then the logarithms of a vector of sums, so that no scalar log is called. With few
classes it takes a vector of rows at a time (`classes.py`). Formulas 18 to 20, 25 to 27 and 29.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from . import vmath
from .arithmetic import Arithmetic
from .classes import few_classes_body
from .one_pass import one_pass_body
from .routines import Routine, routine, table
from .simd import DOUBLE, I1, I64, VOID, Vectors
from .sums import Sum
from .tuning import FEW_CLASSES
from .weights import weighed, without_weight

ELEMENTWISE, elementwise = table(
    "loss",
    "z ldz y ldy s s_row s_column m k scale parameter relu",
    DOUBLE,
    lambda p: [p, I64, p, I64, p, I64, I64, I64, I64, p.pointee, p.pointee, I1],
    """The sum of s * loss(z, y) over an (m, k) block, by the loss's code; z becomes
    scale * s * loss'(z, y).

    s may be null; s_row and s_column are its strides, one of them 0. `relu`: the outputs went
    through a ReLU, so the derivative passes where `not (z <= 0)`. A row of weight 0 does not count.
    """,
)
ONE_PASS, one_pass = table(
    "one_pass",
    "dw db x d w b y s m scale parameter relu",
    DOUBLE,
    lambda p: [p, p, p, I64, p, p.pointee, p, p, I64, p.pointee, p.pointee, I1],
    """The sum of s * loss(w . x + b, y) over m rows of x, by the loss's code; dw (d,) and db (1,)
    are added to. s may be null; `relu`: the output goes through a ReLU.""",
)
LABELLED, labelled = table(
    "labelled_loss",
    "z ldz labels s m k scale",
    DOUBLE,
    lambda p: [p, I64, I64.as_pointer(), p, I64, I64, p.pointee],
    """The sum of s * loss(z, label) over m rows, by the loss's code; z becomes
    scale * s * d loss / d z. Rows of z are padded to whole vectors, which may be written.""",
)


def add_elementwise(name: str, formula) -> int:
    """The code of a loss: formula(v, z, y, parameter) -> (value, slope, curvature), in
    `Arithmetic`."""
    ONE_PASS.add(name, lambda elem: one_pass_body(elem, formula))
    return ELEMENTWISE.add(name, lambda elem: _elementwise_body(elem, formula))


def _elementwise_body(elem, formula):
    def body(builder, z, ldz, y, ldy, s, s_row, s_column, m, k, scale, parameter, relu):
        vec = Arithmetic(builder, elem)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))
        scale_vector, parameter = vec.splat(scale), vec.splat(parameter)
        total = Sum(builder, vec.type)
        weight = cgutils.alloca_once_value(builder, vec.const(1.0))
        ignored = cgutils.alloca_once_value(builder, ir.Constant(vec.mask_type, [0] * vec.lanes))
        blocks = builder.sdiv(builder.add(k, I64(vec.lanes - 1)), I64(vec.lanes))
        with cgutils.for_range(builder, m) as row:
            with cgutils.for_range(builder, blocks) as block:
                column = builder.mul(block.index, I64(vec.lanes))
                mask = vec.first_lanes(builder.sub(k, column))

                def at(base, ld):
                    return builder.gep(base, [builder.add(builder.mul(row.index, ld), column)])

                place = at(z, ldz)
                output = vec.load_masked(place, mask)
                with builder.if_then(weighted):
                    here = builder.gep(
                        s,
                        [builder.add(builder.mul(row.index, s_row), builder.mul(column, s_column))],
                    )
                    with builder.if_else(builder.icmp_signed("==", s_column, I64(0))) as (a, b):
                        with a:
                            builder.store(vec.splat(builder.load(here)), weight)
                        with b:
                            builder.store(vec.load_masked(here, mask), weight)
                    builder.store(without_weight(vec, builder.load(weight), output), ignored)
                target = vec.load_masked(at(y, ldy), mask)
                value, derivative, _ = formula(vec, output, target, parameter)
                w = builder.load(weight)
                counts = builder.not_(builder.load(ignored))
                derivative = builder.fmul(derivative, builder.fmul(w, scale_vector))
                linear = builder.not_(vec.splat(relu, vec.mask_type))
                active = builder.or_(vec.passes(output), linear)
                active = builder.and_(active, counts)
                derivative = builder.select(active, derivative, vec.const(0.0))
                vec.store_masked(derivative, place, mask)
                inside = builder.and_(mask, counts)
                value = builder.select(inside, builder.fmul(w, value), vec.const(0.0))
                total.add(value)
        builder.ret(total.result())

    return body


def softmax_row(vec, row, k, mask_of, blocks):
    """exp(z - max) over a row in place: (maximum, sum of the exponentials) as scalars."""
    builder = vec.builder
    lowest = vec.const(float("-inf"))
    top = cgutils.alloca_once_value(builder, lowest)
    builder.store(lowest, top)
    with cgutils.for_range(builder, blocks) as block:
        column = builder.mul(block.index, I64(vec.lanes))
        z = vec.load_masked(builder.gep(row, [column]), mask_of(column), lowest)
        builder.store(vec.maximum(z, builder.load(top)), top)
    maximum = vec.reduce(vec.maximum, builder.load(top))
    shift = vec.splat(maximum)
    total = Sum(builder, vec.type)
    with cgutils.for_range(builder, blocks) as block:
        column = builder.mul(block.index, I64(vec.lanes))
        mask, place = mask_of(column), builder.gep(row, [column])
        e = vmath.exp(vec, builder.fsub(vec.load_masked(place, mask), shift))
        e = builder.select(mask, e, vec.const(0.0))
        vec.store_masked(e, place, mask)
        total.add(e)
    sum_ = total.result()
    return maximum, builder.fptrunc(sum_, vec.elem) if vec.is_f32 else sum_


def scale_row(vec, row, factor, mask_of, blocks):
    with cgutils.for_range(vec.builder, blocks) as block:
        column = vec.builder.mul(block.index, I64(vec.lanes))
        mask, place = mask_of(column), vec.builder.gep(row, [column])
        value = vec.builder.fmul(vec.load_masked(place, mask), factor)
        vec.store_masked(value, place, mask)


def columns_of(vec, k):
    """(mask of the vector at a column, number of vectors) of a row of k."""
    builder = vec.builder
    blocks = builder.sdiv(builder.add(k, I64(vec.lanes - 1)), I64(vec.lanes))
    return lambda column: vec.first_lanes(builder.sub(k, column)), blocks


def _many_classes_body(elem):
    def body(builder, z, ldz, labels, s, m, k, scale):
        vec = Vectors(builder, elem)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))
        mask_of, blocks = columns_of(vec, k)
        total = Sum(builder, vec.type)
        # Of `lanes` rows at a time: the sums of exponentials, z_label - max, the weights.
        sums, offsets, weights = (
            cgutils.alloca_once(builder, elem, size=vec.lanes) for _ in range(3)
        )
        lanes = I64(vec.lanes)
        groups = builder.sdiv(builder.add(m, builder.sub(lanes, I64(1))), lanes)
        with cgutils.for_range(builder, groups) as group:
            first = builder.mul(group.index, lanes)
            left = builder.sub(m, first)
            count = builder.select(builder.icmp_signed("<", left, lanes), left, lanes)
            vec.store(vec.const(1.0), sums)
            vec.store(vec.const(0.0), offsets)
            vec.store(vec.const(0.0), weights)
            with cgutils.for_range(builder, count) as in_group:
                index = builder.add(first, in_group.index)
                row = builder.gep(z, [builder.mul(index, ldz)])
                true = builder.gep(row, [builder.load(builder.gep(labels, [index]))])
                z_true = builder.load(true)
                maximum, sum_ = softmax_row(vec, row, k, mask_of, blocks)
                weight = cgutils.alloca_once_value(builder, ir.Constant(elem, 1.0))
                with builder.if_then(weighted):
                    builder.store(builder.load(builder.gep(s, [index])), weight)
                w = builder.load(weight)
                w_scaled = builder.fmul(w, scale)
                scale_row(vec, row, vec.splat(builder.fdiv(w_scaled, sum_)), mask_of, blocks)
                builder.store(builder.fsub(builder.load(true), w_scaled), true)
                for array, value in (
                    (sums, sum_),
                    (offsets, builder.fsub(z_true, maximum)),
                    (weights, w),
                ):
                    builder.store(value, builder.gep(array, [in_group.index]))
            value = builder.fsub(vmath.log(vec, vec.load(sums)), vec.load(offsets))
            total.add(weighed(vec, vec.load(weights), value))
        builder.ret(total.result())

    return body


_FEW = Routine("few_classes", DOUBLE, LABELLED.kinds, few_classes_body)
_MANY = Routine("many_classes", DOUBLE, LABELLED.kinds, _many_classes_body)


def cross_entropy_body(elem):
    """log sum exp z - z_label and softmax - onehot; the row maximum is taken out, so logits of any
    size are safe (formula 25)."""

    def body(builder, z, ldz, labels, s, m, k, scale):
        values, most = (z, ldz, labels, s, m, k, scale), FEW_CLASSES * Vectors(builder, elem).lanes
        with builder.if_then(builder.icmp_signed("<=", k, I64(most))):
            builder.ret(_FEW.call(builder, elem, values))
        builder.ret(_MANY.call(builder, elem, values))

    return body


def _softmax_body(elem):
    def body(builder, z, m, k):
        vec = Vectors(builder, elem)
        mask_of, blocks = columns_of(vec, k)
        with cgutils.for_range(builder, m) as index:
            row = builder.gep(z, [builder.mul(index.index, k)])
            _, sum_ = softmax_row(vec, row, k, mask_of, blocks)
            inverse = builder.fdiv(ir.Constant(elem, 1.0), sum_)
            scale_row(vec, row, vec.splat(inverse), mask_of, blocks)
        builder.ret_void()

    return body


def _sigmoid_body(elem):
    def body(builder, z, m, k):
        vec = Vectors(builder, elem)
        size = builder.mul(m, k)
        mask_of, blocks = columns_of(vec, size)
        with cgutils.for_range(builder, blocks) as block:
            column = builder.mul(block.index, I64(vec.lanes))
            mask, place = mask_of(column), builder.gep(z, [column])
            value = vec.load_masked(place, mask)
            vec.store_masked(vmath.sigmoid(vec, value), place, mask)
        builder.ret_void()

    return body


softmax = routine(
    "softmax",
    "z m k",
    VOID,
    lambda p: [p, I64, I64],
    _softmax_body,
    "Rows of a contiguous (m, k) block to softmax.",
)
sigmoid = routine(
    "sigmoid",
    "z m k",
    VOID,
    lambda p: [p, I64, I64],
    _sigmoid_body,
    "A contiguous (m, k) block to 1 / (1 + exp(-z)).",
)
