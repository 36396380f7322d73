"""One way back for each output of a block of rows: Jacobians, and sums over the columns of S.

In: rows of X, packed weights, the plan. Out: each row's Jacobian, by theta or by X (formula 30); or
the part of a row task in the diagonal of Gauss and Newton's matrix (formula 36) or in the factors
of Kronecker's approximation to it (formula 37). Loop order: forward once; then outputs, each from
its seed back through all layers while the activations are in cache. The seeds of a Jacobian are the
rows of the identity; those of curvature the columns of S, where S S^T is the loss's Hessian by the
outputs: for an element-wise loss the roots of its curvature, for softmax p
diag(sqrt p) - p sqrt(p)^T. A does not depend on the seed, so the diagonal's sum over seeds is one
product, (A o A)^T (sum over s of D_s o D_s).
"""

from __future__ import annotations

import math

from numba import types
from numba.core import cgutils

from .arithmetic import Arithmetic
from .blocks import delta_below, forward, weight_gradient
from .curvature import elementwise_curvature, labelled
from .gemm import gemm
from .jit import inner
from .losses import columns_of
from .micro_kernel import RELU, STORE
from .outer import row_gradients
from .records import (
    DIAGONAL,
    FACTORS,
    INPUT_GRADIENT,
    SCALE,
    call_and_plan,
    layer_of,
    worker_of,
)
from .routines import procedure, routine
from .simd import I1, I64, VOID, lanes, null_like, shift


def _squares_body(elem):
    def body(builder, out, ld_out, x, ldx, m, k, fresh):
        v = Arithmetic(builder, elem)
        mask_of, blocks = columns_of(v, k)
        fresh = v.splat(fresh, v.mask_type)
        with cgutils.for_range(builder, m) as row, cgutils.for_range(builder, blocks) as block:
            column = builder.mul(block.index, I64(v.lanes))
            mask = mask_of(column)
            come, go = (
                builder.gep(base, [builder.add(builder.mul(row.index, ld), column)])
                for base, ld in ((x, ldx), (out, ld_out))
            )
            value = v.load_masked(come, mask)
            before = v.select(fresh, v.const(0.0), v.load_masked(go, mask))
            v.store_masked(v.fma(value, value, before), go, mask)
        builder.ret_void()

    return body


add_squares = routine(
    "add_squares",
    "out ld_out x ldx m k fresh",
    VOID,
    lambda p: [p, I64, p, I64, I64, I64, I1],
    _squares_body,
    "out (m, k) (+)= x * x, element by element; `fresh` overwrites, also x itself.",
)


def _seed_arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, p, i, i, i, i, types.boolean


@procedure(types.none, _seed_arguments)
def unit_seeds(delta, z, ld, m, k, output, relu):
    """delta (m, k): 1 for one output where it passed its ReLU, else 0."""
    for i in range(m):
        row = shift(delta, i * ld)
        for j in range(k):
            row[j] = 0
        if not (relu and z[i * ld + output] <= 0):
            row[output] = 1


@procedure(types.none, lambda real: (types.CPointer(real), *_seed_arguments(real)))
def root_seeds(delta, z, roots, ld, m, k, output, labelled):
    """delta (m, k): a column of S for each row; z is the softmax where there are labels."""
    for i in range(m):
        row, p, root = shift(delta, i * ld), shift(z, i * ld), roots[i * ld + output]
        for j in range(k):
            row[j] = -root * p[j] if labelled else 0
        row[output] += root


@procedure(
    types.none, lambda real: (*call_and_plan(real), types.CPointer(real), *[types.int64] * 3)
)
def curvature_roots(call, plan, part, first, m, place):
    """The roots of the curvature of m rows' outputs, or of their probabilities; z becomes these."""
    top = layer_of(plan, plan.layers - 1)
    k, ld = top.k, top.ld
    z, roots = shift(part, top.output + place * ld), shift(part, plan.roots + place * ld)
    spare, scale = shift(part, top.seed + place * ld), call.sums[SCALE]
    if plan.labelled:
        weights, labels = null_like(call.weights), shift(call.labels, first)
        labelled(plan.loss, spare, roots, z, z, ld, labels, weights, m, k, scale)
        for i in range(m):
            factor = call.weights[first + i] * scale if plan.weighted else scale
            for j in range(k):
                roots[i * ld + j] = math.sqrt(factor * z[i * ld + j])
        return
    for i in range(m * ld):
        roots[i] = 1
    elementwise_curvature(call, plan, roots, spare, z, roots, first, m)
    for i in range(m):
        for j in range(k):
            roots[i * ld + j] = math.sqrt(roots[i * ld + j])


@inner
def _back_from_seed(call, plan, panels, part, row, m, place, output, fresh):
    """The deltas of all layers, from those of the outputs down; each goes where it is wanted."""
    k = layer_of(plan, plan.layers - 1).k
    for index in range(plan.layers - 1, -1, -1):
        layer = layer_of(plan, index)
        d, width, ld = layer.d, layer.k, layer.ld
        delta = shift(part, layer.seed + place * ld)
        a, lda = shift(call.x, row * d), d
        if index > 0:
            before = layer_of(plan, index - 1)
            lda = before.ld
            a = shift(part, before.output + place * lda)
        if plan.want & DIAGONAL:
            sums = shift(part, layer.delta + place * ld)
            add_squares(sums, ld, delta, ld, m, width, output == 0)
        elif plan.want & FACTORS:
            square = shift(part, layer.task_db)
            _add_products(call, plan, square, delta, ld, width, m, fresh and output == 0)
        elif plan.want & INPUT_GRADIENT == 0:
            first = (row * k + output) * plan.parameters
            row_gradients(
                shift(call.out, first), k * plan.parameters, layer, a, lda, delta, m
            )  # fmt: skip
        if index > 0:
            below, ldb = shift(part, before.seed + place * lda), lda
            delta_below(call, plan, index, panels, delta, m, below, ldb, a, lda, before.activation)
        elif plan.want & INPUT_GRADIENT:
            dx = shift(call.dx, (row * k + output) * d)
            delta_below(call, plan, index, panels, delta, m, dx, k * d, dx, k * d, STORE)


def _block_arguments(real):
    p, i = types.CPointer(real), types.int64
    return *call_and_plan(real), p, p, p, p, i, i, i, types.boolean


@procedure(types.float64, _block_arguments)
def seeded_block(call, plan, panels, part, grad, scratch, row, m, place, fresh):
    """Rows row..row+m, stored from row `place` on; no loss is summed."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    d, k, ld, relu = bottom.d, top.k, top.ld, top.activation == RELU
    x = shift(call.x, row * d)
    worker = worker_of(call, 0)  # which only a sparse X asks for
    forward(call, plan, worker, row, x, m, place, part, call.out, panels)
    z, seed, roots = shift(part, top.output + place * ld), shift(part, top.seed + place * ld), part
    is_curvature = plan.want & (DIAGONAL | FACTORS) != 0
    if is_curvature:
        roots = shift(part, plan.roots + place * ld)
        curvature_roots(call, plan, part, row, m, place)
    for output in range(k):
        if is_curvature:
            root_seeds(seed, z, roots, ld, m, k, output, plan.labelled != 0)
        else:
            unit_seeds(seed, z, ld, m, k, output, relu)
        _back_from_seed(call, plan, panels, part, row, m, place, output, fresh)
    if plan.want & DIAGONAL:
        _square_gradients(call, plan, part, grad, scratch, x, m, place, fresh)
    elif plan.want & FACTORS:
        _input_factors(call, plan, part, x, row, m, fresh)
    return 0.0


@inner
def _square_gradients(call, plan, part, grad, scratch, x, m, place, fresh):
    """The squares of X and of all activations; unless wide, their products with the deltas."""
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        d, squares = layer.d, shift(part, plan.squares + place * layer.d)
        if index > 0:
            ld = layer_of(plan, index - 1).ld
            a = shift(part, layer_of(plan, index - 1).output + place * ld)
            add_squares(a, ld, a, ld, m, d, True)
        else:
            add_squares(squares, d, x, d, m, d, True)
        if plan.wide == 0:
            beyond, start = lanes(x), types.int64(0)
            weight_gradient(
                call, plan, index, start, d, squares, beyond, place, m, m, part, grad, fresh,
                scratch,
            )  # fmt: skip


@inner
def _add_products(call, plan, square, a, lda, k, m, fresh):
    """square (k, k) (+)= a^T a over m rows: symmetric to the last bit."""
    init, ldi = square, k
    if fresh:
        init, ldi = shift(call.work, plan.zeros), 0
    gemm(square, k, a, 1, lda, a, lda, k, k, m, init, ldi, square, 0, STORE, 0)


@procedure(types.none, lambda real: _seed_arguments(real)[:6])
def _weigh_rows(out, a, lda, ld_out, m, d):
    """Rows of a, and a 1 behind each, times the factor that stands there already."""
    for i in range(m):
        row, source = shift(out, i * ld_out), shift(a, i * lda)
        for j in range(d):
            row[j] = source[j] * row[d]


@inner
def _input_factors(call, plan, part, x, first, m, fresh):
    """[a, 1]^T [a, 1] of what enters each layer, averaged over rows by their weights."""
    vl, rows = lanes(x), shift(part, plan.squares)
    a, lda, scale = x, layer_of(plan, 0).d, call.sums[SCALE] * plan.averaged
    for index in range(plan.layers):
        layer = layer_of(plan, index)
        d = layer.d
        ld = (d + vl) // vl * vl
        for i in range(m):
            factor = call.weights[first + i] * scale if plan.weighted else scale
            rows[i * ld + d] = math.sqrt(factor)
        _weigh_rows(rows, a, lda, ld, m, d)
        _add_products(call, plan, shift(part, layer.task_dw), rows, ld, d + 1, m, fresh)
        a, lda = shift(part, layer.output), layer.ld
