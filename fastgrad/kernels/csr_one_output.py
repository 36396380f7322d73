"""Sparse rows of a layer of one output: dot products with w, and sums that their entries add to.

In: values, column numbers and row pointers, as in `csr_rows.py`. Out: a number; or float64 sums of
dw. Loop order: entries, a vector's at a time. What is read is in cache and lies anywhere, so
instructions are what it costs: nothing is prefetched, and what can be is done for a whole vector.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .csr_rows import index_of
from .simd import DOUBLE, I32, I64, LANES_F64, Vectors, element_type

SUMS = 4  # side by side, of a dot product in scalars


def _whole_end(builder, start, stop, each):
    """Where the last whole group of `each` of the entries start..stop ends."""
    groups = builder.sdiv(builder.sub(stop, start), I64(each))
    return builder.add(start, builder.mul(groups, I64(each)))


def _entry_arguments(context, builder, signature, args, first):
    """stride, start and stop, the arguments from `first` on, as int64."""
    return [
        context.cast(builder, value, kind, types.int64)
        for value, kind in zip(args[first : first + 3], signature.args[first:])
    ]


def _widened(builder, value, kind):
    return value if value.type == kind else builder.fpext(value, kind)


@intrinsic
def dot_entries(typingctx, w, values, indices, stride, start, stop):
    """The sum of value * w[index] over entries start..stop, in float64.

    Of float32 a vector is put together from scalar loads, and widened at once: 0.66 ms for 1.5
    million entries, in four scalar sums 0.76, with the gather instruction 1.01. Nothing is widened
    of float64: four scalar sums 0.94, vectors 1.07 (the same loops in C, Zen 5).
    """

    def codegen(context, builder, signature, args):
        w, values, indices = args[:3]
        stride, start, stop = _entry_arguments(context, builder, signature, args, 3)
        elem = element_type(signature.args[0])
        vec, total = Vectors(builder, elem, LANES_F64), Vectors(builder, DOUBLE)
        add = total.declare("llvm.fmuladd.f64", DOUBLE, [DOUBLE] * 3)
        each = SUMS if elem == DOUBLE else vec.lanes
        whole = _whole_end(builder, start, stop, each)

        def value_at(entry):
            return builder.load(builder.gep(values, [entry]))

        def factor_at(entry):
            return builder.load(builder.gep(w, [index_of(builder, indices, stride, entry)]))

        def add_vector(first):
            met = ir.Constant(vec.type, ir.Undefined)
            for i in range(each):
                met = builder.insert_element(met, factor_at(builder.add(first, I64(i))), I32(i))
            x = vec.load(builder.gep(values, [first]))
            x, met = (_widened(builder, value, total.type) for value in (x, met))
            builder.store(total.fma(x, met, builder.load(sums[0])), sums[0])

        def add_scalars(first):
            for i, place in enumerate(sums):
                entry = builder.add(first, I64(i))
                value = builder.call(add, [value_at(entry), factor_at(entry), builder.load(place)])
                builder.store(value, place)

        if elem == DOUBLE:
            sums = [cgutils.alloca_once_value(builder, DOUBLE(0.0)) for _ in range(SUMS)]
        else:
            sums = [cgutils.alloca_once_value(builder, total.const(0.0))]
        with cgutils.for_range_slice(builder, start, whole, I64(each)) as (first, _):
            (add_scalars if elem == DOUBLE else add_vector)(first)
        if elem == DOUBLE:
            a, b, c, d = map(builder.load, sums)
            result = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
        else:
            result = total.reduce(total.add, builder.load(sums[0]))
        result = cgutils.alloca_once_value(builder, result)
        with cgutils.for_range_slice(builder, whole, stop, I64(1)) as (entry, _):
            x, met = (_widened(builder, at(entry), DOUBLE) for at in (value_at, factor_at))
            builder.store(builder.call(add, [x, met, builder.load(result)]), result)
        return builder.load(result)

    return types.float64(w, values, indices, stride, start, stop), codegen


@intrinsic
def add_entries(typingctx, sums, slope, values, indices, stride, start, stop):
    """sums[index] += slope * value for each of the entries start..stop in turn, in float64.

    The products of a vector are made at once: 0.78 ms for 1.5 million entries, one by one 0.96
    (the same loops in C, Zen 5).
    """

    def codegen(context, builder, signature, args):
        sums, slope, values, indices = args[:4]
        stride, start, stop = _entry_arguments(context, builder, signature, args, 4)
        vec = Vectors(builder, element_type(signature.args[2]), LANES_F64)
        total = Vectors(builder, DOUBLE)
        whole = _whole_end(builder, start, stop, vec.lanes)
        slope = _widened(builder, slope, DOUBLE)
        slopes = total.splat(slope)

        def add(entry, product):
            place = builder.gep(sums, [index_of(builder, indices, stride, entry)])
            builder.store(builder.fadd(builder.load(place), product), place)

        with cgutils.for_range_slice(builder, start, whole, I64(vec.lanes)) as (first, _):
            x = _widened(builder, vec.load(builder.gep(values, [first])), total.type)
            products = builder.fmul(x, slopes)
            for i in range(vec.lanes):
                product = builder.extract_element(products, I32(i))
                add(builder.add(first, I64(i)), product)
        with cgutils.for_range_slice(builder, whole, stop, I64(1)) as (entry, _):
            x = _widened(builder, builder.load(builder.gep(values, [entry])), DOUBLE)
            add(entry, builder.fmul(x, slope))
        return context.get_dummy_value()

    return types.void(sums, slope, values, indices, stride, start, stop), codegen
