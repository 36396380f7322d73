"""The loops around the micro-kernel: C = epilogue(init + A B) of any size.

In: A (m, k) and B (k, n) as `micro_kernel.py` takes them. Out: C (m, n), row-major.
Loop order: panels of columns; blocks of KC of the k products, so that a block of the panel stays
in cache; then the micro-kernel, tiles of MR rows.
"""

from __future__ import annotations

from numba.core import types

from .counts import quotient
from .jit import inlined, inner
from .micro_kernel import MR, NV, RELU_BACKWARD, STORE, panel
from .routines import procedure
from .simd import (
    lanes,
    shift,
)
from .tuning import KC_COLUMNS, KC_ROWS, PREFETCH_ELEMENTS

PANELS = 0  # as `ldb`: B lies in the panels that `pack` wrote


@inner
def prefetch_strides(nr, k, m):
    """(pcs, prs) that prefetch the next k rows of a packed panel in the course of this one."""
    if k * nr < PREFETCH_ELEMENTS:  # it is in the L2 already
        return 0, 0
    return max(nr * MR // m, 1), k * nr // m


@inlined
def gemm_loops(
    c, ldc, a, rs, cs, group, b, ldb, m, n, k, init, ldi, act, ldact, epilogue,
    prefetch, pcs, prs, a_ahead,
):  # fmt: skip
    """The loops of `gemm`. Its integers must not be literals, so that one compilation serves all.

    `prefetch`, `pcs`, `prs`: as in `panel` where B is not packed; of a packed B the next block is
    prefetched instead.
    """
    vl = lanes(c)
    kc = KC_ROWS if cs == 1 else KC_COLUMNS
    if epilogue == RELU_BACKWARD:
        kc = k
    nr = NV * vl
    panels = (n + nr - 1) // nr
    pace = (rs + panels - 1) // panels if a_ahead else 0
    for j in range(0, n, nr):
        columns = min(nr, n - j)
        nv = (columns + vl - 1) // vl
        b_j, ld_panel, ahead = shift(b, j), ldb, shift(prefetch, j)
        if ldb == PANELS:
            b_j, ld_panel = shift(b, j * k), nv * vl
            pcs, prs = prefetch_strides(nr, k, m)
        p = 0
        while p < k:  # a range would divide
            last = p + kc >= k
            first = p == 0
            operands = (
                shift(c, j),
                ldc,
                shift(a, p * cs),
                rs,
                cs,
                group,
                shift(b_j, p * ld_panel),
                ld_panel,
                m,
                k - p if last else kc,
                shift(init, j) if first else shift(c, j),
                ldi if first else ldc,
                shift(act, j),
                ldact,
                epilogue if last else STORE,
                columns,
                shift(b_j, (p + kc) * ld_panel) if ldb == PANELS else shift(ahead, p * pcs),
                pcs,
                prs,
                shift(a, a_ahead + j // nr * m * pace),
                pace if first else 0,
            )
            panel(nv, operands)
            p += kc


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, i, p, i, i, i, i, p, i, p, i, i, i


@procedure(types.none, _arguments)
def gemm(c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, act, ldact, epilogue, a_ahead):
    """c (m, n) = epilogue(init + a (m, k) @ b (k, n)), k >= 1.

    a[i, j] is a[i*rs + j*cs]. b lies in packed panels (ldb = PANELS), or row-major with leading
    dimension ldb in memory that may be read to a whole vector past the last column.
    For the epilogue RELU_BACKWARD, act (m, n) are activations. They may lie in c itself, so k is
    then not cut into blocks: c is written once, after act is read. Prefetched meanwhile:
    a[a_ahead:] unless a_ahead is 0, and the next columns of b where a is row-major.
    """
    prefetch, pcs, prs, rows_ahead = shift(a, a_ahead), cs, rs, 0
    if cs == 1:
        nr, rows_ahead = NV * lanes(c), a_ahead
        prefetch, pcs, prs = shift(b, nr), ldb, max(quotient(nr, m), 1) if n > nr else 0
    gemm_loops(
        c, ldc, a, rs, cs, MR * rs, b, ldb, m, n, k, init, ldi, act, ldact, epilogue,
        prefetch, pcs, prs, rows_ahead,
    )  # fmt: skip
