"""The weight gradient's product C = init + A^T B, its operands packed.

In: A (k, m) and B (k, n), rows of activations and of deltas; B in panels already where `ldb` is
PANELS. Out: C (m, n), and the sums of B's columns, which are db. Loop order: blocks of KC of the k
rows; panels of B's columns; the loops of `gemm.py`. Both operands are read down their columns: in
wide layers the next element is on another page and in another cache set. So a block of A is packed
in the thread's scratch in panels of MR, which a tile reads in one stream: from rows of a matrix it
would use 24 of 64 bytes of each cache line. A packed number is used for every panel of B, so the
copies cost a hundredth of the products. Where the gradient's transpose is computed, B alone is
copied.
"""

from __future__ import annotations

from numba.core import types

from .gemm import PANELS, gemm_loops, prefetch_strides
from .gemv import sum_rows
from .micro_kernel import MR, NV, STORE
from .pack import copy_panels, copy_rows
from .routines import procedure
from .simd import is_null, lanes, shift


def scratch_elements(lanes: int, kc: int, m: int) -> int:
    """Elements of scratch for blocks of kc of k: of a panel of B and, with m columns, of A."""
    return kc * (NV * lanes + -(-m // MR) * MR)


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, i, i, i, i, i, p, i, p, p, types.boolean


@procedure(types.none, _arguments)
def transposed_product(c, ldc, a, lda, b, ldb, m, n, k, kc, init, ldi, scratch, sums, fresh):
    """c (m, n) = init (m, n) + a (k, m)^T b (k, n); the order of a sum depends on k and kc alone.

    Also sums (n,) (+)= the sums of b's columns, unless `sums` is null; `fresh` overwrites them.
    """
    vl = lanes(c)
    nr = NV * vl
    p = 0
    while p < k:  # a range would divide
        rows = min(kc, k - p)
        first = p == 0
        a_block = prefetch = shift(a, p * lda)
        rs, cs, group, pcs, prs = types.int64(1), lda, types.int64(MR), lda, types.int64(1)
        if ldb == PANELS:
            a_block = shift(scratch, kc * nr)
            copy_panels(a_block, prefetch, lda, rows, m)
            cs, group = types.int64(MR), MR * rows
            pcs, prs = prefetch_strides(nr, rows, m)
        for j in range(0, n, nr):
            columns = min(nr, n - j)
            width = (columns + vl - 1) // vl * vl
            block = scratch
            if ldb == PANELS:
                block = shift(b, j * k + p * width)
                prefetch = shift(b, (j + nr) * k + p * width)
            else:
                copy_rows(scratch, width, shift(b, p * ldb + j), ldb, rows, columns)
            if not is_null(sums):
                sum_rows(shift(sums, j), block, width, columns, fresh and first, rows)
            gemm_loops(
                shift(c, j), ldc, a_block, rs, cs, group, block, width, m, columns, rows,
                shift(init, j) if first else shift(c, j), ldi if first else ldc, c, types.int64(0),
                types.int64(STORE), prefetch, pcs, prs, types.int64(0),
            )  # fmt: skip
        p += kc
