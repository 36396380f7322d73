"""The sum of the tasks' partial gradients, in task order and in float64.

In: as many partials as there were tasks, a stride apart, float32 or float64. Out: their sum,
rounded once to the gradient's type. Loop order: rows, vectors of columns, tasks; the vectors lie
along the partials, so a transpose (`TURNED`) is put in place number by number.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .routines import routine
from .simd import DOUBLE, I64, VOID, Vectors


def _body(source, target):
    def body(builder, out, row_step, column_step, partial, ld, rows, columns, stride, tasks):
        vec = Vectors(builder, source)
        wide = ir.VectorType(DOUBLE, vec.lanes)
        narrow = ir.VectorType(target, vec.lanes)
        place = cgutils.alloca_once(builder, ir.ArrayType(target, vec.lanes))
        numbers = builder.bitcast(place, target.as_pointer())
        in_line = builder.icmp_signed("==", column_step, I64(1))

        def put(value, to):
            vector = builder.store(value, builder.bitcast(to, narrow.as_pointer()))
            vector.align = 4 if target == ir.FloatType() else 8

        def sums(first, load):
            """Of one vector of columns, as the target's type."""

            def read(task):
                value = load(builder.gep(first, [builder.mul(task, stride)]))
                return builder.fpext(value, wide) if source != DOUBLE else value

            total = cgutils.alloca_once_value(builder, read(I64(0)))
            with cgutils.for_range(builder, builder.sub(tasks, I64(1))) as step:
                task = builder.add(step.index, I64(1))
                builder.store(builder.fadd(builder.load(total), read(task)), total)
            total = builder.load(total)
            return builder.fptrunc(total, narrow) if target != DOUBLE else total

        def spread_out(value, to, count):
            put(value, numbers)
            with cgutils.for_range(builder, count) as lane:
                number = builder.load(builder.gep(numbers, [lane.index]))
                builder.store(number, builder.gep(to, [builder.mul(lane.index, column_step)]))

        whole = builder.sdiv(columns, I64(vec.lanes))
        rest = builder.srem(columns, I64(vec.lanes))
        tail = vec.first_lanes(rest)
        with cgutils.for_range(builder, rows) as row:
            come = builder.gep(partial, [builder.mul(row.index, ld)])
            go = builder.gep(out, [builder.mul(row.index, row_step)])
            with cgutils.for_range(builder, whole) as step:
                column = builder.mul(step.index, I64(vec.lanes))
                value = sums(builder.gep(come, [column]), vec.load)
                to = builder.gep(go, [builder.mul(column, column_step)])
                with builder.if_else(in_line) as (straight, scattered):
                    with straight:
                        put(value, to)
                    with scattered:
                        spread_out(value, to, I64(vec.lanes))
            with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
                column = builder.mul(whole, I64(vec.lanes))
                value = sums(builder.gep(come, [column]), lambda p: vec.load_masked(p, tail))
                spread_out(value, builder.gep(go, [builder.mul(column, column_step)]), rest)
        builder.ret_void()

    return body


def _kinds(source, target):
    return [target.as_pointer(), I64, I64, source.as_pointer(), I64, I64, I64, I64, I64]


add_partials = routine(
    "add_partials",
    "out row_step column_step partial ld rows columns stride tasks",
    VOID,
    lambda p: _kinds(p.pointee, p.pointee),
    lambda elem: _body(elem, elem),
    """(out, row_step, column_step, partial, ld, rows, columns, stride, tasks):
    out[r*row_step + c*column_step] = sum over t of partial[t*stride + r*ld + c], in order.

    r < rows, c < columns; tasks >= 1.
    """,
)
add_sums = routine(
    "add_sums",
    "out row_step column_step partial ld rows columns stride tasks",
    VOID,
    lambda p: _kinds(DOUBLE, p.pointee),
    lambda elem: _body(DOUBLE, elem),
    "As `add_partials`, of partials in float64.",
)
