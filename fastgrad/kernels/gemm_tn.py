"""The weight gradient's product C = init + A^T B, its operands copied side by side first.

In: A (k, m) and B (k, n), rows of activations and of deltas, any leading dimension. Out: C (m, n),
and the sums of B's columns, which are db. Loop order: blocks of KC of the k rows; panels of B's
columns; the loops of `gemm.py`. Both operands are read down their columns: in wide layers the next
element is on another page and in another cache set. So a block of B (and of A, unless the
gradient's transpose is computed) is first copied to the thread's scratch, where the micro-kernel
reads it in one stream. A copied number is used for every row of W (B) or for every panel (A), so
the copies cost a hundredth of the products.
"""

from __future__ import annotations

from numba.core import cgutils, types

from .gemm import NV, STORE, gemm_loops
from .gemv import sum_rows
from .routines import procedure, routine
from .simd import I64, VOID, Vectors, is_null, lanes, shift
from .tuning import KC_COLUMNS


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
            with cgutils.for_range(builder, whole) as block:
                at = builder.mul(block.index, I64(vec.lanes))
                vec.store(vec.load(builder.gep(come, [at])), builder.gep(to, [at]))
            with builder.if_then(has_tail):
                at = builder.mul(whole, I64(vec.lanes))
                vec.store(vec.load_masked(builder.gep(come, [at]), tail), builder.gep(to, [at]))
        builder.ret_void()

    return body


copy_rows = routine(
    "copy_rows",
    "out width source ld rows columns",
    VOID,
    lambda p: [p, I64, p, I64, I64, I64],
    _copy_body,
    """out[r*width + j] = source[r*ld + j] for j < columns;
    whole vectors are written, zeros behind.

    `width` is at least `columns`, in whole vectors.
    """,
)


def scratch_elements(lanes: int, m: int) -> int:
    """Elements of scratch for blocks of B and, with m columns (or none), of A."""
    return KC_COLUMNS * (NV + -(-m // lanes)) * lanes


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, i, i, i, i, p, i, p, types.boolean, p, types.boolean


@procedure(types.none, _arguments)
def transposed_product(c, ldc, a, lda, b, ldb, m, n, k, init, ldi, scratch, copy_a, sums, fresh):
    """c (m, n) = init (m, n) + a (k, m)^T b (k, n); the order of a sum depends on k alone.

    Also sums (n,) (+)= the sums of b's columns, unless `sums` is null; `fresh` overwrites them.
    """
    vl = lanes(c)
    nr = NV * vl
    width = (m + vl - 1) // vl * vl
    for p in range(0, max(k, 1), KC_COLUMNS):
        rows = min(KC_COLUMNS, k - p)
        first = p == 0
        a_block = prefetch = shift(a, p * lda)
        cs = lda
        pcs, prs = lda, types.int64(1)
        if copy_a:
            copied = shift(scratch, KC_COLUMNS * nr)
            copy_rows(copied, width, a_block, lda, rows, m)
            a_block, cs, pcs, prs = copied, width, ldb, max(nr // m, 1)
        for j in range(0, n, nr):
            columns = min(nr, n - j)
            nv = (columns + vl - 1) // vl
            block = shift(b, p * ldb + j)
            copy_rows(scratch, nv * vl, block, ldb, rows, columns)
            if not is_null(sums):
                sum_rows(shift(sums, j), scratch, nv * vl, columns, fresh and first, rows)
            gemm_loops(
                shift(c, j),
                ldc,
                a_block,
                types.int64(1),
                cs,
                scratch,
                nv * vl,
                m,
                columns,
                rows,
                shift(init, j) if first else shift(c, j),
                ldi if first else ldc,
                c,
                types.int64(0),
                types.int64(STORE),
                shift(block, nr) if copy_a else prefetch,
                pcs,
                prs,
            )
