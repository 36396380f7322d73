"""The forward product of few rows with a large W, whose panels are made as they are wanted.

In: A (m, k) and W (k, n), both row-major. Out: C (m, n). Loop order: panels of W's columns, each
copied into the thread's scratch; then the loops of `gemm.py`, which prefetch the columns of the
next one. A panel that is used for few rows costs more to write to memory and to read again than to
copy: of 784-512-256-10 with 256 rows (AVX2) packing all of W at once took 5 % of a step.
"""

from __future__ import annotations

from numba.core import types

from .gemm import gemm_loops
from .micro_kernel import MR, NV
from .pack import copy_rows
from .routines import procedure
from .simd import lanes, shift


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, i, i, i, p, i, p


@procedure(types.none, _arguments)
def product_by_panels(c, ldc, a, lda, w, m, n, k, bias, epilogue, scratch):
    """c (m, n) = epilogue(bias + a (m, k) @ w (k, n)); scratch: of k rows of a panel."""
    vl, zero, one = lanes(c), types.int64(0), types.int64(1)
    nr = NV * vl
    for j in range(0, n, nr):
        columns = min(nr, n - j)
        width = (columns + vl - 1) // vl * vl
        copy_rows(scratch, width, shift(w, j), n, k, columns)
        gemm_loops(
            shift(c, j), ldc, a, lda, one, MR * lda, scratch, width, m, columns, k,
            shift(bias, j), zero, shift(c, j), zero, epilogue, shift(w, j + nr), n,
            max(nr // m, one), zero,
        )  # fmt: skip
