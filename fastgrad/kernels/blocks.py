"""One block of rows through a network: forward, loss, backward, weight gradient.

In: rows of X, packed weights, the plan. Out: activations and deltas in the workspace, partial
gradients. Forward and backward of a layer stand beside each other; the loops over blocks and tasks
are in `network.py`.
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from . import layout as at
from . import losses
from .columns import transposed_product
from .gemm import GATE, PACKED, RELU, STORE, gemm
from .jit import OPTIONS, inner, pasted
from .rows import few_rows_back, skinny_forward, skinny_gradient, sum_rows
from .simd import lanes, null_like, shift

# Rows of dW, and products of each of its elements, from which copies of both operands pay in a wide
# layer; a row block's operands are in the L2 as they are (100 rows of 64-100, float64: 23.9 us for
# dW and db in place, 25.3 with a copy of the deltas).
COPY_ROWS, COPY_PRODUCTS = 48, 32
BAND_ROWS = 12  # rows of dW written side by side where there are fewer products


def output_delta(z, ldz, y, s, first, m, k, scale, plan, scalars):
    """Loss of a block and its derivative over the outputs; by the targets' type."""


@overload(output_delta, jit_options=OPTIONS)
def output_delta_typed(z, ldz, y, s, first, m, k, scale, plan, scalars):
    if y.dtype == types.uint8:  # a forward pass with a mask
        return lambda z, ldz, y, s, first, m, k, scale, plan, scalars: 0.0
    if s.dtype == types.uint8:

        def given(z, ldz, y, s, first, m, k, scale, plan, scalars):
            """The output gradient is given, with a mask: no loss."""
            for i in range(m):
                row = shift(z, i * ldz)
                grad = shift(y, (first + i) * k)
                mask = shift(s, (first + i) * k)
                for j in range(k):
                    row[j] = grad[j] if mask[j] != 0 else 0
            return 0.0

        return given
    if isinstance(y.dtype, types.Integer):

        def labelled(z, ldz, y, s, first, m, k, scale, plan, scalars):
            weights = shift(s, first) if plan[at.WEIGHTED] else null_like(s)
            return losses.cross_entropy(z, ldz, shift(y, first), weights, m, k, scale)

        return labelled

    def elementwise(z, ldz, y, s, first, m, k, scale, plan, scalars):
        targets = shift(y, first * k)
        weights = shift(s, first) if plan[at.WEIGHTED] else null_like(s)
        gated = plan[at.OUTPUT_RELU] != 0
        huber = scalars[at.HUBER_DELTA]
        row, column, ldy = 1, 0, k
        if ldz == k and (k == 1 or plan[at.WEIGHTED] == 0):  # one long row
            m, k, row, column = 1, m * k, 0, 1
        if plan[at.LOSS] == losses.MSE:
            return losses.mse(z, ldz, targets, ldy, weights, row, column, m, k, scale, huber, gated)
        if plan[at.LOSS] == losses.HUBER:
            return losses.huber(
                z, ldz, targets, ldy, weights, row, column, m, k, scale, huber, gated
            )
        return losses.logistic(
            z, ldz, targets, ldy, weights, row, column, m, k, scale, huber, gated
        )

    return elementwise


def write_mask(mask, out, first, m, k):
    """mask = not (out <= 0) where the caller asked for one (a uint8 `y`)."""


@overload(write_mask, jit_options=OPTIONS)
def write_mask_typed(mask, out, first, m, k):
    if mask.dtype == types.uint8:

        def write(mask, out, first, m, k):
            target = shift(mask, first * k)
            source = shift(out, first * k)
            for i in range(m * k):
                target[i] = not (source[i] <= 0)

        return write
    return lambda mask, out, first, m, k: None


@pasted
def forward(x, m, row, part, theta, bias, out, workspace, plan):
    """Every layer of one block, stored from `row` on; the last goes to `out` if that is the job."""
    layers = plan[at.LAYERS]
    a, lda = x, plan[at.HEADER + at.D]
    for layer in range(layers):
        r = at.HEADER + layer * at.RECORD
        d, k, ldc = plan[r + at.D], plan[r + at.K], plan[r + at.LD]
        c = shift(part, plan[r + at.ACTIVATION] + row * ldc)
        mode = RELU
        if layer == layers - 1:
            if plan[at.JOB] == at.FORWARD:
                c, ldc = out, k
            if plan[at.OUTPUT_RELU] == 0:
                mode = STORE
        panels, b = shift(workspace, plan[r + at.PANELS]), shift(bias, plan[r + at.BIAS])
        if plan[r + at.SKINNY]:
            skinny_forward(c, ldc, a, lda, panels, b, m, d, k, types.int64(mode))
        elif plan[r + at.IN_PLACE]:
            w = shift(theta, plan[r + at.WEIGHT])
            gemm(c, ldc, a, lda, 1, w, k, m, k, d, b, 0, c, 0, mode)
        else:
            gemm(c, ldc, a, lda, 1, panels, PACKED, m, k, d, b, 0, c, 0, mode)
        a, lda = c, ldc


@inner
def weight_gradient(
    r, start, count, x, beyond, row, m, part, grad, fresh, scratch, workspace, plan
):
    """Rows start..start+count of dW = X^T dZ over m rows of layer record r; db with the first.

    `beyond`: elements of X that lie behind these rows and may be read.
    """
    d, k, ld, ldg = plan[r + at.D], plan[r + at.K], plan[r + at.LD], plan[r + at.LDG]
    zeros = shift(workspace, plan[at.ZEROS])
    delta = shift(part, plan[r + at.DELTA] + row * ld)
    below, ldb, ahead = x, d, m * d  # the next block of X comes from memory meanwhile
    if r > at.HEADER:
        ldb, ahead = plan[r - at.RECORD + at.LD], 0
        below = shift(part, plan[r - at.RECORD + at.ACTIVATION] + row * ldb)
    a = shift(below, start)
    db = shift(grad, plan[r + at.PARTIAL_BIAS])
    turned = plan[r + at.TURNED]
    copied = plan[at.WIDE] != 0 and turned == 0 and count >= COPY_ROWS and m >= COPY_PRODUCTS
    in_place = turned and (beyond >= lanes(x) or r > at.HEADER)
    if start == 0 and not copied:
        sum_rows(db, delta, ld, k, fresh, m)
    dw = shift(grad, plan[r + at.PARTIAL] + (start if turned else start * ldg))
    init, ldi = zeros if fresh else dw, 0 if fresh else ldg
    if turned and k == 1:
        skinny_gradient(dw, ldg, a, ldb, delta, ld, m, count, k, fresh)
    elif in_place:
        gemm(dw, ldg, delta, 1, ld, a, ldb, k, count, m, init, ldi, dw, 0, STORE)
    elif turned or copied:
        left, ld_left, rows = a, ldb, count
        right, ld_right, columns = delta, ld, k
        if turned:
            left, ld_left, rows, right, ld_right, columns = delta, ld, k, a, ldb, count
        transposed_product(
            dw,
            ldg,
            left,
            ld_left,
            right,
            ld_right,
            rows,
            columns,
            m,
            init,
            types.int64(ldi),
            scratch,
            copied,
            null_like(db) if turned or start else db,
            fresh,
        )
    else:
        # dW is written row by row where it is most of the work
        step = count if m >= COPY_PRODUCTS else BAND_ROWS
        for i in range(0, count, step):
            band, rows = shift(dw, i * ldg), min(step, count - i)
            gemm(
                band, ldg, shift(a, i), 1, ldb, delta, ld, rows, k, m, shift(init, i * ldi), ldi,
                band, 0, STORE, ahead,
            )  # fmt: skip


@pasted
def backward(x, beyond, m, row, part, grad, theta, dx, fresh, scratch, workspace, plan):
    """From the output delta of one block to those below it, and to the weights unless WIDE.

    Each delta goes where the plan says: over the activation that gated it, or beside it.
    """
    job = plan[at.JOB]
    zeros = shift(workspace, plan[at.ZEROS])
    for layer in range(plan[at.LAYERS] - 1, -1, -1):
        r = at.HEADER + layer * at.RECORD
        d, k, ld = plan[r + at.D], plan[r + at.K], plan[r + at.LD]
        if job != at.INPUT and plan[at.WIDE] == 0:
            start = types.int64(0)
            weight_gradient(
                r, start, d, x, beyond, row, m, part, grad, fresh, scratch, workspace, plan
            )
        delta = shift(part, plan[r + at.DELTA] + row * ld)
        panels = shift(workspace, plan[r + at.PANELS_T])
        if layer > 0:
            ldb = plan[r - at.RECORD + at.LD]
            gate = shift(part, plan[r - at.RECORD + at.ACTIVATION] + row * ldb)
            below = shift(part, plan[r - at.RECORD + at.DELTA] + row * ldb)
            mode = GATE
        elif job >= at.GRADIENT_AND_INPUT:
            below, gate, ldb, mode = dx, dx, d, STORE
        else:
            continue
        if plan[r + at.FEW_BACK]:
            w = shift(theta, plan[r + at.WEIGHT])
            few_rows_back(below, ldb, delta, ld, w, m, d, k, gate, ldb, types.int64(mode))
        else:
            gemm(below, ldb, delta, ld, 1, panels, PACKED, m, d, k, zeros, 0, gate, ldb, mode)
