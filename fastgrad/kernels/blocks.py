"""One block of rows through a network: forward, loss, backward, weight gradient.

In: rows of X, packed weights, the plan. Out: activations and deltas in the workspace, the task
gradient. Loop order: layers forward, the loss, layers backward; of a layer first dW and db, then
the delta of the layer below, while its own is in cache. The plan says which variant of each product
a layer takes. The loops over blocks and tasks are in `row_tasks.py` and `engine.py`.
"""

from __future__ import annotations

from numba import types

from . import losses
from .activations import apply_activation, apply_slope
from .csr import scattered_gradient, sparse_forward
from .gemm import PANELS, gemm
from .gemm_panels import product_by_panels
from .gemm_tn import transposed_product
from .gemv import few_rows_back, sum_rows
from .jit import inner
from .micro_kernel import NV, RELU, RELU_BACKWARD, STORE
from .pack import copy_rows
from .record_types import RecordType
from .records import (
    CALL,
    COTANGENT,
    DOT_PRODUCTS,
    DOT_ROWS,
    GRADIENT,
    IN_PLACE,
    INPUT_GRADIENT,
    LOSS,
    LOSS_PARAMETER,
    OUTPUTS,
    PACKED_BOTH,
    PANEL_BY_PANEL,
    PLAN,
    SCALE,
    SCALED_ROWS,
    SCATTERED,
    SECOND,
    SPARSE,
    TRANSPOSED,
    is_given,
    layer_of,
)
from .routines import procedure
from .simd import VECTOR_BYTES, lanes, null_like, shift
from .skinny import skinny_forward, skinny_gradient
from .tuning import AHEAD_LINES, BAND_PRODUCTS, BAND_ROWS


@inner
def scratch_of(call, plan, worker):
    """Where this thread copies operands side by side."""
    return shift(call.work, plan.scratch + worker.number * plan.scratch_stride)


@inner
def forward(call, plan, worker, row, x, m, place, part, out, panels):
    """Every layer of one block, stored from row `place` on; the last goes to `out` if wanted."""
    a, lda = x, layer_of(plan, 0).d
    # The next block of X: processors foresee rows of less than a line, and of many, by themselves.
    line = 64 * lanes(x) // VECTOR_BYTES
    a_ahead = m * lda if line < lda <= AHEAD_LINES * line else 0
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        d, k, ldc = layer.d, layer.k, layer.ld
        c = shift(part, layer.output + place * ldc)
        if index == plan.layers - 1 and plan.want & OUTPUTS:
            c, ldc = out, k
        epilogue = RELU if layer.activation == RELU else STORE
        w, b = shift(panels, layer.panels), shift(call.bias, layer.bias)
        if layer.forward == SPARSE:
            w = shift(call.theta, layer.weight)
            sparse_forward(call, plan, worker, c, ldc, w, b, row, m, epilogue)
        elif layer.forward == DOT_PRODUCTS:
            skinny_forward(c, ldc, a, lda, w, b, m, d, k, epilogue, a_ahead)
        elif layer.forward == IN_PLACE:
            w = shift(call.theta, layer.weight)
            gemm(c, ldc, a, lda, 1, w, k, m, k, d, b, 0, c, 0, epilogue, a_ahead)
        elif layer.forward == PANEL_BY_PANEL:
            w, scratch = shift(call.theta, layer.weight), scratch_of(call, plan, worker)
            product_by_panels(c, ldc, a, lda, w, m, k, d, b, epilogue, scratch)
        else:
            gemm(c, ldc, a, lda, 1, w, PANELS, m, k, d, b, 0, c, 0, epilogue, a_ahead)
        if layer.activation > RELU:
            apply_activation(layer.activation, c, ldc, c, ldc, m, k)
        a, lda, a_ahead = c, ldc, 0


def _one_pass_arguments(real):
    p, i = types.CPointer(real), types.int64
    return RecordType(CALL, real), RecordType(PLAN, real), p, i, i, p, types.boolean


@procedure(types.float64, _one_pass_arguments)
def one_pass_block(call, plan, x, first, m, grad, fresh):
    """Loss and gradient of one output over a block of rows."""
    layer = layer_of(plan, 0)
    dw, db, d = shift(grad, layer.task_dw), shift(grad, layer.task_db), layer.d
    if plan.direct and plan.flat == 0:
        db = call.bias_gradient
    if fresh:
        for j in range(d):
            dw[j] = 0
        db[0] = 0
    weights = shift(call.weights, first) if plan.weighted else null_like(call.weights)
    return losses.one_pass(
        plan.loss, dw, db, x, d, call.theta, call.bias[layer.bias], shift(call.targets, first),
        weights, m, call.sums[SCALE], call.sums[LOSS_PARAMETER], layer.activation == RELU,
    )  # fmt: skip


def _delta_arguments(real):
    i = types.int64
    return RecordType(CALL, real), types.CPointer(real), i, i, i, i


@procedure(types.none, _delta_arguments)
def given_delta(call, z, ldz, first, m, k):
    """The gradient by the activations is given, with a mask: no loss."""
    for i in range(m):
        row = shift(z, i * ldz)
        grad = shift(call.targets, (first + i) * k)
        mask = shift(call.mask, (first + i) * k)
        for j in range(k):
            row[j] = grad[j] if mask[j] != 0 else 0


@procedure(types.none, lambda real: (*_delta_arguments(real), types.boolean))
def cotangent_delta(call, z, ldz, first, m, k, relu):
    """The cotangent of the outputs, where they passed their ReLU: it goes over them."""
    for i in range(m):
        row, grad = shift(z, i * ldz), shift(call.targets, (first + i) * k)
        for j in range(k):
            row[j] = 0 if relu and row[j] <= 0 else grad[j]


@inner
def output_delta(call, plan, z, first, m):
    """The loss of a block; its derivative goes over the outputs z."""
    layer = layer_of(plan, plan.layers - 1)
    k, ld = layer.k, layer.ld
    if plan.want & COTANGENT:
        cotangent_delta(call, z, ld, first, m, k, layer.activation == RELU)
        return 0.0
    if plan.want & LOSS == 0:
        given_delta(call, z, ld, first, m, k)
        return 0.0
    scale = call.sums[SCALE]
    weights = shift(call.weights, first) if plan.weighted else null_like(call.weights)
    if plan.labelled:
        labels = shift(call.labels, first)
        return losses.labelled(plan.loss, z, ld, labels, weights, m, k, scale)
    targets, row, column, rows, columns = shift(call.targets, first * k), 1, 0, m, k
    if ld == k and (k == 1 or plan.weighted == 0):  # one long row
        row, column, rows, columns = 0, 1, 1, m * k
    return losses.elementwise(
        plan.loss, z, ld, targets, k, weights, row, column, rows, columns, scale,
        call.sums[LOSS_PARAMETER], layer.activation == RELU,
    )  # fmt: skip


@inner
def weight_gradient(
    call, plan, index, start, count, x, beyond, place, m, summed, part, grad, fresh, scratch
):
    """Rows start..start+count of dW = X^T dZ over m rows of a layer; db with the first, over the
    first `summed` of them.

    `beyond`: elements of X that lie behind these rows and may be read.
    """
    layer = layer_of(plan, index)
    d, k, ld, ld_dw = layer.d, layer.k, layer.ld, layer.ld_dw
    delta = shift(part, layer.delta + place * ld)
    below, ldb, x_ahead = x, d, m * d  # the next block of X comes from memory meanwhile
    if index > 0:
        before = layer_of(plan, index - 1)
        ldb, x_ahead = before.ld, 0
        below = shift(part, before.output + place * ldb)
    a = shift(below, start)
    db = shift(grad, layer.task_db)
    if plan.direct and plan.flat == 0:
        db = call.bias_gradient
    packed = layer.weight_gradient == PACKED_BOTH and summed == m  # it adds up what it packs
    if start == 0 and not packed:
        sum_rows(db, delta, ld, k, fresh, summed)
    into = part if layer.transposed and k > 1 else grad
    dw = shift(into, layer.task_dw + (start if layer.transposed else start * ld_dw))
    init, ldi = dw, ld_dw
    if fresh:
        init, ldi = shift(call.work, plan.zeros), 0
    if layer.weight_gradient == SCALED_ROWS:
        skinny_gradient(dw, ld_dw, a, ldb, delta, ld, m, count, k, fresh)
    elif layer.weight_gradient == TRANSPOSED:
        if index > 0 or beyond >= lanes(x):  # rows of `a` may be read to a whole vector past them
            gemm(dw, ld_dw, delta, 1, ld, a, ldb, k, count, m, init, ldi, dw, 0, STORE, 0)
        else:
            transposed_product(
                dw, ld_dw, delta, ld, a, ldb, k, count, m, plan.kc, init, ldi, scratch,
                null_like(db), fresh,
            )  # fmt: skip
    elif layer.weight_gradient == PACKED_BOTH:
        sums = db if packed and start == 0 else null_like(db)
        panels = shift(part, layer.delta_panels)
        transposed_product(
            dw, ld_dw, a, ldb, panels, PANELS, count, k, m, plan.kc, init, ldi, scratch, sums, fresh
        )
    else:
        height = count if m >= BAND_PRODUCTS else BAND_ROWS
        i = 0
        while i < count:  # a range would divide
            band, rows = shift(dw, i * ld_dw), min(height, count - i)
            gemm(
                band, ld_dw, shift(a, i), 1, ldb, delta, ld, rows, k, m, shift(init, i * ldi), ldi,
                band, 0, STORE, x_ahead,
            )  # fmt: skip
            i += height


@inner
def delta_below(call, plan, index, panels, delta, m, below, ldb, act, ldact, activation):
    """The delta below a layer: delta W^T, through the activation whose outputs are `act`."""
    layer = layer_of(plan, index)
    d, k, ld = layer.d, layer.k, layer.ld
    epilogue = RELU_BACKWARD if activation == RELU else STORE
    if layer.input_gradient == DOT_ROWS:
        w = shift(call.theta, layer.weight)
        few_rows_back(below, ldb, delta, ld, w, m, d, k, act, ldact, epilogue)
    else:
        w, zeros = shift(panels, layer.panels_t), shift(call.work, plan.zeros)
        ldw = d if layer.forward == DOT_PRODUCTS else PANELS
        gemm(below, ldb, delta, ld, 1, w, ldw, m, d, k, zeros, 0, act, ldact, epilogue, 0)
    if activation > RELU:
        apply_slope(activation, below, ldb, act, ldact, m, d)


@inner
def block_delta_below(call, plan, index, m, place, part, dx, panels):
    """From the delta of a layer of one block to that of the layer below; from the first's to dX."""
    layer = layer_of(plan, index)
    delta = shift(part, layer.delta + place * layer.ld)
    below, act, ldb, activation = dx, dx, layer.d, STORE
    if index > 0:
        before = layer_of(plan, index - 1)
        ldb, activation = before.ld, before.activation
        act = shift(part, before.output + place * ldb)
        below = shift(part, before.delta + place * ldb)
    delta_below(call, plan, index, panels, delta, m, below, ldb, act, ldb, activation)


@inner
def tangent_rows(plan, number, m):
    """Rows of the product that is the (tangent of the) weight gradient of a layer over m rows."""
    return 2 * m if plan.want & SECOND and number > 0 else m


@inner
def weight_tangent(
    call, plan, index, start, count, x, x_tangent, beyond, place, m, behind, part, grad, fresh,
    scratch,
):  # fmt: skip
    """`weight_gradient` of a layer's m rows or, along a tangent, how that moves."""
    rows, summed = tangent_rows(plan, index, m), m
    passes = 2 if index == 0 and plan.want & SECOND and is_given(call.x_tangent) else 1
    for _ in range(passes):  # X^T RD, then RX^T D, whose D lies `behind` rows after RD
        weight_gradient(
            call, plan, index, start, count, x, beyond, place, rows, summed, part, grad, fresh,
            scratch,
        )  # fmt: skip
        x, place, summed, fresh = x_tangent, place + behind, 0, False


def _pack_arguments(real):
    i = types.int64
    return RecordType(PLAN, real), i, i, types.CPointer(real), i


@procedure(types.none, _pack_arguments)
def pack_deltas(plan, place, m, part, chunk):
    """The deltas of a block, rows `place` on of the chunk's, into panels for the weight tasks; and
    their tangents."""
    nr, vl = types.int64(NV * lanes(part)), lanes(part)
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        if layer.weight_gradient == PACKED_BOTH:
            rows, panels = tangent_rows(plan, index, chunk), layer.delta_panels
            for first in range(place, rows, chunk):
                delta = shift(part, layer.delta + first * layer.ld)
                for j in range(0, layer.k, nr):
                    columns = min(nr, layer.k - j)
                    width = (columns + vl - 1) // vl * vl
                    to = shift(part, panels + j * rows + first * width)
                    copy_rows(to, width, shift(delta, j), layer.ld, m, columns)


@inner
def backward(
    call, plan, worker, row, x, beyond, m, place, part, grad, dx, fresh, scratch, panels, scattered
):
    """From the output delta of one block to those below it, and to the weights unless wide.

    `scattered`: the task's float64 gradient of the first layer, where X is sparse.
    Each delta goes where the plan says: over the activation whose ReLU it passed, or beside it.
    """
    for index in range(plan.layers - 1, -1, -1):
        layer = layer_of(plan, index)
        d, ld = layer.d, layer.ld
        if layer.weight_gradient == SCATTERED:
            if plan.want & GRADIENT:
                delta, db = shift(part, layer.delta + place * ld), shift(grad, layer.task_db)
                scattered_gradient(call, plan, worker, scattered, db, delta, ld, row, m, fresh)
        elif plan.want & GRADIENT and plan.wide == 0:
            start = types.int64(0)  # as a literal it would be compiled again
            weight_gradient(
                call, plan, index, start, d, x, beyond, place, m, m, part, grad, fresh, scratch
            )
        if index > 0 or plan.want & INPUT_GRADIENT:
            block_delta_below(call, plan, index, m, place, part, dx, panels)
