"""Products with sparse rows (CSR): of X's rows with W, and of its columns with the deltas.

In: a CALL whose X is sparse. Out: rows of Z = X W + b; or dW = X^T dZ, of which only the columns
that occur are more than zeros. Formula 38. Nothing of X's dense shape is made.

A row of Z is the sum of its entries' rows of W, x_ij W_j (`csr_rows.py`). For one output it is a
dot product whose four sums are float64: scalar loads beat the gather instruction, 0.70 ms against
0.95.

dW has two variants, which the plan chooses from:
- SCATTERED, where W is small: each row task adds x_ij dZ_i to row j of a float64 gradient of its
  own, while the row is in cache; these are added up in task order.
- GATHERED, where W is large: `csr_columns.py`.
"""

from __future__ import annotations

from numba import types

from .csr_rows import index_at, pointer_at, row_product, scatter_row
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
            z = _dot(call.x, call.indices, 4, start, stop, w)
        else:
            z = _dot(call.x, call.indices, 8, start, stop, w)
        z += float(b[0])
        c[i * ldc] = z
        if relu == RELU and z <= 0.0:
            c[i * ldc] = 0.0


@inner
def _dot(values, indices, stride, start, stop, w):
    """In float64, in four sums."""
    s0 = s1 = s2 = s3 = 0.0
    whole = start + (stop - start) // 4 * 4
    for p in range(start, whole, 4):
        s0 += float(values[p]) * float(w[index_at(indices, stride, p)])
        s1 += float(values[p + 1]) * float(w[index_at(indices, stride, p + 1)])
        s2 += float(values[p + 2]) * float(w[index_at(indices, stride, p + 2)])
        s3 += float(values[p + 3]) * float(w[index_at(indices, stride, p + 3)])
    for p in range(whole, stop):
        s0 += float(values[p]) * float(w[index_at(indices, stride, p)])
    return (s0 + s1) + (s2 + s3)


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
            _add_row(sums, slope, x, indices, 4, start, stop)
        else:
            _add_row(sums, slope, x, indices, 8, start, stop)


@inner
def _add_row(sums, slope, values, indices, stride, start, stop):
    for p in range(start, stop):
        sums[index_at(indices, stride, p)] += slope * float(values[p])
