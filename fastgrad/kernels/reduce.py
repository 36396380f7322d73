"""The sum of the tasks' gradients, in task order and in float64.

In: one gradient a task, at a fixed stride, float32 or float64. Out: their sum, rounded once to the
gradient's type. Loop order: rows, vectors of columns, tasks. The vectors lie along the tasks'
gradients, so where these are transposed, each number of a sum is put in its place by itself.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .routines import routine
from .simd import DOUBLE, I64, VOID, Vectors


def _body(source, target):
    def body(builder, out, row_stride, column_stride, gradients, ld, rows, columns, stride, tasks):
        vec = Vectors(builder, source)
        wide = ir.VectorType(DOUBLE, vec.lanes)
        narrow = ir.VectorType(target, vec.lanes)
        place = cgutils.alloca_once(builder, ir.ArrayType(target, vec.lanes))
        numbers = builder.bitcast(place, target.as_pointer())
        in_line = builder.icmp_signed("==", column_stride, I64(1))

        def put(value, to):
            vector = builder.store(value, builder.bitcast(to, narrow.as_pointer()))
            vector.align = 4 if target == ir.FloatType() else 8

        def sums(first, load):
            """Of one vector of columns, as the target's type."""

            def read(task):
                value = load(builder.gep(first, [builder.mul(task, stride)]))
                return builder.fpext(value, wide) if source != DOUBLE else value

            total = cgutils.alloca_once_value(builder, read(I64(0)))
            with cgutils.for_range(builder, builder.sub(tasks, I64(1))) as later:
                task = builder.add(later.index, I64(1))
                builder.store(builder.fadd(builder.load(total), read(task)), total)
            total = builder.load(total)
            return builder.fptrunc(total, narrow) if target != DOUBLE else total

        def spread_out(value, to, count):
            put(value, numbers)
            with cgutils.for_range(builder, count) as lane:
                number = builder.load(builder.gep(numbers, [lane.index]))
                builder.store(number, builder.gep(to, [builder.mul(lane.index, column_stride)]))

        whole = builder.sdiv(columns, I64(vec.lanes))
        left = builder.srem(columns, I64(vec.lanes))
        tail = vec.first_lanes(left)
        with cgutils.for_range(builder, rows) as row:
            come = builder.gep(gradients, [builder.mul(row.index, ld)])
            go = builder.gep(out, [builder.mul(row.index, row_stride)])
            with cgutils.for_range(builder, whole) as block:
                column = builder.mul(block.index, I64(vec.lanes))
                value = sums(builder.gep(come, [column]), vec.load)
                to = builder.gep(go, [builder.mul(column, column_stride)])
                with builder.if_else(in_line) as (straight, scattered):
                    with straight:
                        put(value, to)
                    with scattered:
                        spread_out(value, to, I64(vec.lanes))
            with builder.if_then(builder.icmp_signed(">", left, I64(0))):
                column = builder.mul(whole, I64(vec.lanes))
                value = sums(builder.gep(come, [column]), lambda p: vec.load_masked(p, tail))
                spread_out(value, builder.gep(go, [builder.mul(column, column_stride)]), left)
        builder.ret_void()

    return body


def _kinds(source, target):
    return [target.as_pointer(), I64, I64, source.as_pointer(), I64, I64, I64, I64, I64]


add_gradients = routine(
    "add_gradients",
    "out row_stride column_stride gradients ld rows columns stride tasks",
    VOID,
    lambda p: _kinds(p.pointee, p.pointee),
    lambda elem: _body(elem, elem),
    """(out, row_stride, column_stride, gradients, ld, rows, columns, stride, tasks):
    out[r*row_stride + c*column_stride] = sum over t of gradients[t*stride + r*ld + c], in order.

    r < rows, c < columns; tasks >= 1.
    """,
)
add_float64_gradients = routine(
    "add_float64_gradients",
    "out row_stride column_stride gradients ld rows columns stride tasks",
    VOID,
    lambda p: _kinds(DOUBLE, p.pointee),
    lambda elem: _body(DOUBLE, elem),
    "As `add_gradients`, of gradients in float64.",
)
