"""One output in one pass over X: loss, dW and db of an element-wise loss (formulas 18 to 20).

In: rows of X (m, d), w, b, targets, weights. Out: the sum of losses, returned; dw and db are added
to. Loop order: groups of G rows. A group's G dot products run side by side, so that their sums do
not wait on each other; the G sums become one vector by a transposing reduction (3 operations a row
against 8 for one at a time); mask, loss and slope are vector operations; then dw takes the G rows
while they are in the L1. No array of m elements is made. The order of a sum depends on m alone.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .arithmetic import Arithmetic
from .gemv import RowGroup, add_to, group_rows
from .simd import I32, I64, Vectors
from .sums import Sum
from .weights import without_weight


def one_pass_body(elem, formula):
    """formula(v, z, y, parameter) -> (value, slope, curvature), in `Arithmetic`."""

    def body(builder, dw, db, x, d, w, b, y, s, m, scale, parameter, gated):
        along = Vectors(builder, elem)
        group = group_rows(along)
        v = Arithmetic(builder, elem, along.lanes // group)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))
        zero, none = v.const(0.0), ir.Constant(v.mask_type, [0] * v.lanes)
        scale, parameter, bias = v.splat(scale), v.splat(parameter), v.splat(b)
        linear = builder.not_(v.splat(gated, v.mask_type))
        loss, sum_of_deltas = Sum(builder, v.type), Sum(builder, v.type)
        weight, ignored = (cgutils.alloca_once(builder, kind) for kind in (v.type, v.mask_type))
        builder.store(v.const(1.0), weight)
        builder.store(none, ignored)

        def run(first, count):
            """Rows first..first+count: a whole group, or one row, which has the first lane."""
            columns = RowGroup(along, count, d)
            inside = ir.Constant(v.mask_type, [lane < count for lane in range(v.lanes)])

            def numbers(base):
                place = builder.gep(base, [first])
                return v.load(place) if count > 1 else v.splat(builder.load(place))

            rows = [
                builder.gep(x, [builder.mul(builder.add(first, I64(r)), d)]) for r in range(count)
            ]
            dots = columns.dots(rows, w)
            z = v.add(dots if count > 1 else v.splat(dots), bias)
            passes = builder.or_(v.passes(z), linear)
            z = v.select(passes, z, zero)
            with builder.if_then(weighted):
                builder.store(numbers(s), weight)
                builder.store(without_weight(v, builder.load(weight), z), ignored)
            value, slope, _ = formula(v, z, numbers(y), parameter)
            own, counts = builder.load(weight), builder.not_(builder.load(ignored))
            delta = v.mul(slope, v.mul(own, scale))
            delta = v.select(builder.and_(builder.and_(passes, counts), inside), delta, zero)
            loss.add(v.select(builder.and_(counts, inside), v.mul(own, value), zero))
            sum_of_deltas.add(delta)
            deltas = [builder.extract_element(delta, I32(r)) for r in range(count)]
            columns.add_rows(dw, rows, deltas)

        whole = builder.mul(builder.sdiv(m, I64(group)), I64(group))
        with cgutils.for_range(builder, builder.sdiv(m, I64(group))) as step:
            run(builder.mul(step.index, I64(group)), group)
        with cgutils.for_range(builder, builder.sub(m, whole)) as step:
            run(builder.add(whole, step.index), 1)
        total = sum_of_deltas.result()
        add_to(builder, db, builder.fptrunc(total, elem) if v.is_f32 else total)
        builder.ret(loss.result())

    return body
