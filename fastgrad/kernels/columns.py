"""The weight gradient's product C = init + A^T B, its operands copied side by side first.

In: A (k, m) and B (k, n), rows of activations and of deltas, any leading dimension. Both are read
down their columns, a step of k a row apart: in wide layers each step is another page and another
set of cache lines, so a block of B (and, in a task of its own, the columns of A) is copied to the
thread's scratch, where the micro-kernel reads it in one stream. A copied number is used by every
row of W (B) or by every panel (A), so the copies cost a hundredth of the products.
"""

from __future__ import annotations

from numba.core import cgutils, types
from numba.extending import intrinsic

from .gemm import KC_COLUMNS, NV, STORE, panel
from .jit import inner
from .simd import (
    I64,
    VOID,
    Vectors,
    define,
    element_type,
    is_null,
    lanes,
    llvm_arguments,
    name_of,
    shift,
)

CHAINS = 4  # sums of rows side by side, so that they do not wait on each other


def _copy_body(elem):
    def body(builder, out, width, source, ld, rows, columns):
        vec = Vectors(builder, elem)
        whole = builder.sdiv(columns, I64(vec.lanes))
        rest = builder.srem(columns, I64(vec.lanes))
        has_tail = builder.icmp_signed(">", rest, I64(0))
        tail = vec.first_lanes(rest)
        with cgutils.for_range(builder, rows) as row:
            to = builder.gep(out, [builder.mul(row.index, width)])
            come = builder.gep(source, [builder.mul(row.index, ld)])
            with cgutils.for_range(builder, whole) as step:
                at = builder.mul(step.index, I64(vec.lanes))
                vec.store(vec.load(builder.gep(come, [at])), builder.gep(to, [at]))
            with builder.if_then(has_tail):
                at = builder.mul(whole, I64(vec.lanes))
                vec.store(vec.load_masked(builder.gep(come, [at]), tail), builder.gep(to, [at]))
        builder.ret_void()

    return body


@intrinsic
def copy_rows(typingctx, out, width, source, ld, rows, columns):
    """out[r*width + j] = source[r*ld + j] for j < columns; whole vectors are written, zeros behind.

    `width` is at least `columns`, in whole vectors.
    """

    def codegen(context, builder, signature, args):
        elem = element_type(signature.args[0])
        kinds = [elem.as_pointer(), I64, elem.as_pointer(), I64, I64, I64]
        function = define(builder, f"fastgrad_copy_{name_of(elem)}", VOID, kinds, _copy_body(elem))
        builder.call(function, llvm_arguments(context, builder, signature, args, kinds))
        return context.get_dummy_value()

    return types.void(out, width, source, ld, rows, columns), codegen


def _sum_body(elem):
    def body(builder, out, init, source, ld, rows, columns):
        vec = Vectors(builder, elem)
        whole = builder.sdiv(columns, I64(vec.lanes))
        rest = builder.srem(columns, I64(vec.lanes))
        tail = vec.first_lanes(rest)
        fours = builder.sdiv(rows, I64(CHAINS))
        first_left = builder.mul(fours, I64(CHAINS))

        def run(column, load, store):
            chains = [cgutils.alloca_once(builder, vec.type) for _ in range(CHAINS)]
            for chain in chains:
                builder.store(vec.const(0.0), chain)

            def add(row, chain):
                place = builder.gep(source, [builder.add(builder.mul(row, ld), column)])
                builder.store(builder.fadd(builder.load(chain), load(place)), chain)

            with cgutils.for_range(builder, fours) as step:
                for r, chain in enumerate(chains):
                    add(builder.add(builder.mul(step.index, I64(CHAINS)), I64(r)), chain)
            with cgutils.for_range(builder, builder.sub(rows, first_left)) as step:
                add(builder.add(first_left, step.index), chains[0])
            sums = [builder.load(chain) for chain in chains]
            while len(sums) > 1:
                sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2])]
            store(
                builder.fadd(load(builder.gep(init, [column])), sums[0]), builder.gep(out, [column])
            )

        with cgutils.for_range(builder, whole) as step:
            run(builder.mul(step.index, I64(vec.lanes)), vec.load, vec.store)
        with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
            run(
                builder.mul(whole, I64(vec.lanes)),
                lambda place: vec.load_masked(place, tail),
                lambda value, place: vec.store_masked(value, place, tail),
            )
        builder.ret_void()

    return body


@intrinsic
def add_rows_up(typingctx, out, init, source, ld, rows, columns):
    """out (columns,) = init + the sum of `rows` rows of source, in CHAINS interleaved sums."""

    def codegen(context, builder, signature, args):
        elem = element_type(signature.args[0])
        p = elem.as_pointer()
        kinds = [p, p, p, I64, I64, I64]
        function = define(builder, f"fastgrad_sums_{name_of(elem)}", VOID, kinds, _sum_body(elem))
        builder.call(function, llvm_arguments(context, builder, signature, args, kinds))
        return context.get_dummy_value()

    return types.void(out, init, source, ld, rows, columns), codegen


def scratch_elements(lanes: int, m: int) -> int:
    """Elements of scratch for blocks of B and, with m columns (or none), of A."""
    return KC_COLUMNS * (NV + -(-m // lanes)) * lanes


@inner
def transposed_product(
    c, ldc, a, lda, b, ldb, m, n, k, init, ldi, scratch, copy_a, ahead, sums, sums_init
):
    """c (m, n) = init (m, n) + a (k, m)^T b (k, n); the order of a sum depends on k alone.

    Also sums (n,) = sums_init + the sums of b's columns, unless `sums` is null.
    """
    vl = lanes(c)
    nr = NV * vl
    width = (m + vl - 1) // vl * vl
    for p in range(0, max(k, 1), KC_COLUMNS):
        rows = min(KC_COLUMNS, k - p)
        first = p == 0
        left, cs, soon, pace, drift = shift(a, p * lda), lda, shift(a, p * lda + ahead), lda, 1
        if copy_a:
            copied = shift(scratch, KC_COLUMNS * nr)
            copy_rows(copied, width, left, lda, rows, m)
            left, cs, pace, drift = copied, width, ldb, max(nr // m, 1)
        for j in range(0, n, nr):
            columns = min(nr, n - j)
            nv = (columns + vl - 1) // vl
            block = shift(b, p * ldb + j)
            copy_rows(scratch, nv * vl, block, ldb, rows, columns)
            if not is_null(sums):
                total = shift(sums, j)
                old = shift(sums_init, j) if first else total
                add_rows_up(total, old, scratch, nv * vl, rows, columns)
            panel(
                nv,
                shift(c, j),
                ldc,
                left,
                1,
                cs,
                scratch,
                nv * vl,
                m,
                rows,
                shift(init, j) if first else shift(c, j),
                ldi if first else ldc,
                c,
                0,
                STORE,
                columns,
                shift(block, nr) if copy_a else soon,
                pace,
                drift,
            )
