"""Outer products of rows: the gradient of one sample by a layer, dW = a delta^T (formula 31).

In: rows of what enters a layer and of its deltas, or their tangents. Out: for each row its (d, k)
products, line by line. Loop order: rows, vectors of columns, lines; where a layer has one output,
the lanes lie along the inputs.
"""

from __future__ import annotations

from numba.core import cgutils

from .arithmetic import Arithmetic
from .jit import inner
from .losses import columns_of
from .routines import routine
from .simd import I64, VOID, shift


def _outer_body(elem):
    def body(builder, out, stride, a, lda, delta, ldd, m, d, k):
        v = Arithmetic(builder, elem)
        mask_of, blocks = columns_of(v, k)
        # A whole vector may run over the end of its line of dW, into what comes later.
        last = builder.sub(builder.mul(d, k), I64(v.lanes))
        with cgutils.for_range(builder, m) as row:
            to = builder.gep(out, [builder.mul(row.index, stride)])
            left = builder.gep(a, [builder.mul(row.index, lda)])
            right = builder.gep(delta, [builder.mul(row.index, ldd)])
            with cgutils.for_range(builder, blocks) as block:
                column = builder.mul(block.index, I64(v.lanes))
                mask = mask_of(column)
                factor = v.load_masked(builder.gep(right, [column]), mask)
                with cgutils.for_range(builder, d) as line:
                    place = builder.add(builder.mul(line.index, k), column)
                    value = v.mul(v.splat(builder.load(builder.gep(left, [line.index]))), factor)
                    here = builder.gep(to, [place])
                    single = builder.icmp_signed("==", blocks, I64(1))
                    inside = builder.icmp_signed("<=", place, last)
                    with builder.if_else(builder.and_(single, inside)) as (whole, edge):
                        with whole:
                            v.store(value, here)
                        with edge:
                            v.store_masked(value, here, mask)
        builder.ret_void()

    return body


outer_rows = routine(
    "outer_rows",
    "out stride a lda delta ldd m d k",
    VOID,
    lambda p: [p, I64, p, I64, p, I64, I64, I64, I64],
    _outer_body,
    """out[i*stride + j*k + q] = a[i*lda + j] * delta[i*ldd + q], for i < m, j < d, q < k.""",
)


def _sums_body(elem):
    def body(builder, out, stride, a, lda, r, ldr, t, ldt, delta, ldd, m, d, k):
        v = Arithmetic(builder, elem)
        mask_of, blocks = columns_of(v, k)
        both = builder.icmp_unsigned("!=", builder.ptrtoint(t, I64), I64(0))
        with cgutils.for_range(builder, m) as row:

            def at(base, ld):
                return builder.gep(base, [builder.mul(row.index, ld)])

            to, left, right = at(out, stride), at(a, lda), at(r, ldr)
            left_tangent, right_tangent = at(t, ldt), at(delta, ldd)
            with cgutils.for_range(builder, blocks) as block:
                column = builder.mul(block.index, I64(v.lanes))
                mask = mask_of(column)
                factor = v.load_masked(builder.gep(right, [column]), mask)

                def lines(value_of):
                    with cgutils.for_range(builder, d) as line:
                        place = builder.add(builder.mul(line.index, k), column)
                        value = value_of(lambda base: v.splat(builder.load(base(line.index))))
                        v.store_masked(value, builder.gep(to, [place]), mask)

                def first(load):
                    return v.mul(load(lambda i: builder.gep(left, [i])), factor)

                with builder.if_else(both) as (sum_, single):
                    with sum_:
                        other = v.load_masked(builder.gep(right_tangent, [column]), mask)
                        lines(
                            lambda load: v.fma(
                                load(lambda i: builder.gep(left_tangent, [i])), other, first(load)
                            )
                        )
                    with single:
                        lines(first)
        builder.ret_void()

    return body


outer_sums = routine(
    "outer_sums",
    "out stride a lda r ldr t ldt delta ldd m d k",
    VOID,
    lambda p: [p, I64, *[p, I64] * 4, I64, I64, I64],
    _sums_body,
    """out[i*stride + j*k + q] = a[i*lda + j] * r[i*ldr + q] + t[i*ldt + j] * delta[i*ldd + q], for
    i < m, j < d, q < k; without the second product where t is null.""",
)


@inner
def row_gradients(out, stride, layer, a, lda, delta, m):
    """Each row's dW and db of a layer."""
    d, k, ld = layer.d, layer.k, layer.ld
    dw, db = shift(out, layer.weight), shift(out, layer.flat_db)
    if k == 1:  # lanes along the inputs
        outer_rows(dw, stride, delta, ld, a, lda, m, k, d)
    else:
        outer_rows(dw, stride, a, lda, delta, ld, m, d, k)
    for i in range(m):
        for j in range(k):
            db[i * stride + j] = delta[i * ld + j]
