"""Products with sparse rows (CSR): of X's rows with W, and of its columns with the deltas.

In: a CALL whose X is sparse. Out: rows of Z = X W + b; or dW = X^T dZ, of which only the columns
that occur are more than zeros. Formula 38. Nothing of X's dense shape is made.

A row of Z is the sum of its entries' rows of W, x_ij W_j (`csr_rows.py`). For one output it is a
dot product, summed in float64 (`csr_one_output.py`).

dW has two variants, which the plan chooses from:
- SCATTERED, where W is small: each row task adds x_ij dZ_i to row j of a float64 gradient of its
  own, while the row is in cache; these are added up in task order.
- GATHERED, where W is large: `csr_columns.py`.
"""

from __future__ import annotations

from numba import types

from .csr_one_output import add_entries, dot_entries
from .csr_rows import pointer_at, row_product, scatter_row
from .gemv import sum_rows
from .jit import inner
from .micro_kernel import RELU
from .records import is_given, layer_of, step_records
from .routines import procedure
from .simd import shift


@inner
def entries_of(call, worker, row):
    """(first, one past the last) entry of a row of the step, whose rows may be in any order."""
    if is_given(worker.order):
        row = worker.order[row]
    stride = call.indptr_bytes
    return pointer_at(call.indptr, stride, row), pointer_at(call.indptr, stride, row + 1)


def _forward_arguments(real):
    p, i = types.CPointer(real), types.int64
    return *step_records(real), p, i, p, p, i, i, i


@procedure(types.none, _forward_arguments)
def sparse_forward(call, plan, worker, c, ldc, w, b, row, m, relu):
    """Rows row..row+m of X W + b, into c."""
    k, stride, last = layer_of(plan, 0).k, call.index_bytes, call.last_entry
    for i in range(m):
        start, stop = entries_of(call, worker, row + i)
        if k > 1:
            row_product(
                shift(c, i * ldc), b, call.x, 1, call.indices, stride, start, stop, last, w, k, k,
                relu,
            )  # fmt: skip
            continue
        if stride == 4:  # as constants they cost no multiplications
            z = dot_entries(w, call.x, call.indices, 4, start, stop)
        else:
            z = dot_entries(w, call.x, call.indices, 8, start, stop)
        z += float(b[0])
        c[i * ldc] = z
        if relu == RELU and z <= 0.0:
            c[i * ldc] = 0.0


@procedure(
    types.none,
    lambda real: (
        *step_records(real), types.CPointer(types.float64), *[types.CPointer(real)] * 2,
        *[types.int64] * 3, types.boolean,
    ),
)  # fmt: skip
def scattered_gradient(call, plan, worker, sums, db, delta, ld, row, m, fresh):
    """SCATTERED: what rows row..row+m add to dW, in the task's float64 sums (d, k); and db."""
    # Fields once: the compiler cannot know that no store meets the record.
    k, stride, x, indices = layer_of(plan, 0).k, call.index_bytes, call.x, call.indices
    sum_rows(db, delta, ld, k, fresh, m)
    for i in range(m):
        start, stop = entries_of(call, worker, row + i)
        if k > 1:
            scatter_row(shift(delta, i * ld), k, sums, call.x, call.indices, stride, start, stop)
            continue
        slope = float(delta[i * ld])
        if stride == 4:
            add_entries(sums, slope, x, indices, 4, start, stop)
        else:
            add_entries(sums, slope, x, indices, 8, start, stop)
