"""The derivative along a tangent, of outputs and of gradients: formulas 30, 34 and 35.

In: a block of rows of X, a tangent of theta (and of X), packed weights and those of the tangent.
Out: the tangents of the outputs; or, on the way back, the tangents of the task gradient and of dX,
in full or in Gauss and Newton's approximation. Behind a layer's m rows of activations A lie their
tangents, and before its m rows of deltas D theirs: so the tangent of dW, A^T RD + RA^T D, is one
product of twice as many rows; of the first layer, whose inputs lie elsewhere, it is two. Every
other product is the engine's own, with the sum so far as its `init`.
"""

from __future__ import annotations

from numba import types

from .activations import apply_activation, apply_bend, apply_slope
from .blocks import delta_below, weight_tangent
from .csr import scattered_gradient, sparse_forward
from .curvature import output_curvature
from .gemm import PANELS, gemm
from .jit import inner
from .micro_kernel import RELU, RELU_BACKWARD, STORE
from .pack import pack, pack_transposed
from .records import (
    GRADIENT,
    IN_PLACE,
    INPUT_GRADIENT,
    OUTPUTS,
    PACKED,
    SCATTERED,
    SECOND,
    SPARSE,
    call_and_plan,
    is_given,
    layer_of,
    step_records,
)
from .routines import procedure
from .simd import shift


def _pack_arguments(real):
    return *call_and_plan(real), types.CPointer(real), *[types.int64] * 3


@procedure(types.none, _pack_arguments)
def pack_tangent(call, plan, panels, number, start, stop):
    """Panels of rows start..stop of the tangent of a layer's W."""
    if not is_given(call.tangent):
        return
    layer = layer_of(plan, number)
    d, k, w = layer.d, layer.k, shift(call.tangent, layer.weight)
    if layer.forward == PACKED:
        pack(shift(panels, layer.tangent_panels), w, k, d, k, start, stop)
    if plan.want & SECOND and (number > 0 or plan.want & INPUT_GRADIENT):
        pack_transposed(shift(panels, layer.tangent_panels_t), w, k, d, k, start, stop)


@inner
def product_with_weights(
    plan, index, w, packed, c, ldc, a, lda, m, init, ldi, act, ldact, epilogue
):
    """c = epilogue(init + a W), W in place or in panels."""
    layer = layer_of(plan, index)
    d, k = layer.d, layer.k
    if layer.forward == IN_PLACE:
        gemm(c, ldc, a, lda, 1, w, k, m, k, d, init, ldi, act, ldact, epilogue, 0)
    else:
        gemm(c, ldc, a, lda, 1, packed, PANELS, m, k, d, init, ldi, act, ldact, epilogue, 0)


@inner
def _forward(call, plan, worker, panels, part, row, m, place, behind):
    """Activations and their tangents, layer by layer (formula 30)."""
    zeros, d = shift(call.work, plan.zeros), layer_of(plan, 0).d
    a, lda, ta, ldt = shift(call.x, row * d), d, shift(call.x_tangent, row * d), d
    along_theta, has_tangent = is_given(call.tangent), is_given(call.x_tangent)
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        k, ld, activation = layer.k, layer.ld, layer.activation
        w, packed = shift(call.theta, layer.weight), shift(panels, layer.panels)
        c = shift(part, layer.output + place * ld)
        tc, ldtc = shift(c, behind * ld), ld
        if index == plan.layers - 1 and plan.want & OUTPUTS:
            tc, ldtc = shift(call.out, row * k), k
        bias, epilogue = shift(call.bias, layer.bias), RELU if activation == RELU else STORE
        sparse = layer.forward == SPARSE
        if sparse:
            sparse_forward(call, plan, worker, c, ld, w, bias, row, m, epilogue)
        else:
            product_with_weights(plan, index, w, packed, c, ld, a, lda, m, bias, 0, c, 0, epilogue)
        if activation > RELU:
            apply_activation(activation, c, ld, c, ld, m, k)
        init, ldi = zeros, 0
        epilogue = RELU_BACKWARD if activation == RELU else STORE
        w_tangent, bias = shift(call.tangent, layer.weight), shift(call.tangent, layer.bias)
        if sparse:
            sparse_forward(call, plan, worker, tc, ldtc, w_tangent, bias, row, m, STORE)
            if activation == RELU:
                apply_slope(activation, tc, ldtc, c, ld, m, k)
        elif along_theta:
            packed_tangent = shift(panels, layer.tangent_panels)
            last = STORE if has_tangent else epilogue
            product_with_weights(
                plan, index, w_tangent, packed_tangent, tc, ldtc, a, lda, m, bias, 0, c, ld, last
            )  # fmt: skip
            init, ldi = tc, ldtc
        if has_tangent:
            product_with_weights(
                plan, index, w, packed, tc, ldtc, ta, ldt, m, init, ldi, c, ld, epilogue
            )  # fmt: skip
        if activation > RELU:
            apply_slope(activation, tc, ldtc, c, ld, m, k)
        a, lda, ta, ldt, has_tangent = c, ld, tc, ldtc, True


@inner
def _backward(
    call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh, scattered
):
    """From the deltas of the outputs and their tangents to those below, and to the weights unless
    wide (formulas 34 and 35)."""
    zeros, d = shift(call.work, plan.zeros), layer_of(plan, 0).d
    x, beyond = shift(call.x, row * d), (plan.n - row - m) * d
    x_tangent = shift(call.x_tangent, row * d)
    for index in range(plan.layers - 1, -1, -1):
        layer = layer_of(plan, index)
        d, k, ld = layer.d, layer.k, layer.ld
        if layer.weight_gradient == SCATTERED:
            delta, db = shift(part, layer.delta + place * ld), shift(grad, layer.task_db)
            scattered_gradient(call, plan, worker, scattered, db, delta, ld, row, m, fresh)
        elif plan.want & GRADIENT and plan.wide == 0:
            start = types.int64(0)
            weight_tangent(
                call, plan, index, start, d, x, x_tangent, beyond, place, m, behind, part, grad,
                fresh, scratch,
            )  # fmt: skip
        if index == 0 and not is_given(call.dx):
            continue
        tangent = shift(part, layer.delta + place * ld)
        delta = shift(tangent, behind * ld)
        below = act = shift(call.dx, row * d)
        ldb, activation = d, types.int64(STORE)
        if index > 0:
            before = layer_of(plan, index - 1)
            ldb, activation = before.ld, before.activation
            act = shift(part, before.output + place * ldb)
            below = shift(part, before.delta + place * ldb)
        if plan.want & SECOND == 0:
            delta_below(
                call, plan, index, panels, tangent, m, below, ldb, act, ldb, activation
            )  # fmt: skip
            continue
        w, w_tangent = shift(panels, layer.panels_t), shift(panels, layer.tangent_panels_t)
        beside, epilogue = below, RELU_BACKWARD if activation == RELU else STORE
        if index > 0:
            beside = shift(below, behind * ldb)
            gemm(beside, ldb, delta, ld, 1, w, PANELS, m, d, k, zeros, 0, act, ldb, epilogue, 0)
        gemm(below, ldb, delta, ld, 1, w_tangent, PANELS, m, d, k, zeros, 0, act, ldb, STORE, 0)
        gemm(below, ldb, tangent, ld, 1, w, PANELS, m, d, k, below, ldb, act, ldb, epilogue, 0)
        if activation > RELU:
            apply_bend(activation, below, beside, act, shift(act, behind * ldb), ldb, m, d)


def _block_arguments(real):
    p, i = types.CPointer(real), types.int64
    sums = types.CPointer(types.float64)
    return *step_records(real), p, p, p, p, i, i, i, i, types.boolean, sums


@procedure(types.float64, _block_arguments)
def tangent_block(
    call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh, scattered
):
    """Rows row..row+m, stored from row `place` on of `behind` rows; no loss is summed."""
    _forward(call, plan, worker, panels, part, row, m, place, behind)
    if plan.want & OUTPUTS == 0:
        output_curvature(call, plan, part, row, m, place, behind)
        _backward(
            call, plan, worker, panels, part, grad, scratch, row, m, place, behind, fresh, scattered
        )  # fmt: skip
    return 0.0
