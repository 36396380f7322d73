"""Sums of squares of long vectors in float64, and what a penalty on them adds to a gradient.

In: a vector, float32 or float64. Out: the sum of its squares; `penalty` also adds a multiple of it
to another vector in the same pass. Loop order: groups of four vectors, whose squares are added in a
tree and then to a `Sum`. The order depends on the length alone. NaN and infinity come through.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .routines import routine
from .simd import DOUBLE, I64, Vectors
from .sums import Sum

GROUP = 4  # vectors added in a tree


def _body(elem):
    def body(builder, x, n, out=None, factor=None):
        vec = Vectors(builder, elem)
        wide = ir.VectorType(DOUBLE, vec.lanes)
        sum_ = Sum(builder, vec.type)
        factor = factor and vec.splat(factor)

        def square(index, load, store):
            """Of the vector at an index, in float64."""
            value = load(builder.gep(x, [index]))
            if out is not None:
                place = builder.gep(out, [index])
                store(vec.fma(factor, value, load(place)), place)
            value = builder.fpext(value, wide) if elem != DOUBLE else value
            return builder.fmul(value, value)

        blocks = builder.sdiv(n, I64(vec.lanes))
        groups = builder.sdiv(blocks, I64(GROUP))
        with cgutils.for_range(builder, groups) as group:
            first = builder.mul(group.index, I64(GROUP * vec.lanes))
            places = [builder.add(first, I64(i * vec.lanes)) for i in range(GROUP)]
            a, b, c, d = (square(place, vec.load, vec.store) for place in places)
            sum_.add(builder.fadd(builder.fadd(a, b), builder.fadd(c, d)))
        grouped = builder.mul(groups, I64(GROUP))
        with cgutils.for_range(builder, builder.sub(blocks, grouped)) as block:
            first = builder.mul(builder.add(grouped, block.index), I64(vec.lanes))
            sum_.add(square(first, vec.load, vec.store))
        tail = vec.first_lanes(builder.srem(n, I64(vec.lanes)))
        last = square(
            builder.mul(blocks, I64(vec.lanes)),
            lambda place: vec.load_masked(place, tail),
            lambda value, place: vec.store_masked(value, place, tail),
        )
        sum_.add(last)
        builder.ret(sum_.result())

    return body


sum_of_squares = routine(
    "sum_of_squares",
    "x n",
    DOUBLE,
    lambda p: [p, I64],
    _body,
    "The sum of x[i]^2, i < n, of a pointer.",
)
penalty = routine(
    "penalty",
    "x n out factor",
    DOUBLE,
    lambda p: [p, I64, p, p.pointee],
    _body,
    "(x, n, out, factor): `sum_of_squares`, and out[i] += factor * x[i].",
)
