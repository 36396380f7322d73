"""Whole matrices of second derivatives: the Hessian, or Gauss and Newton's matrix (p, p).

In: rows of X, packed weights, the plan. Out: the upper triangle of the matrix, then the lower. A
weight W[a, b] of a layer moves a row's pre-activation b by what enters the layer there, x_a. So all
d + 1 parameters of a unit share one tangent a row, that of its pre-activation; G, (rows, q), holds
each row's gradient along it, and the unit's rows of the matrix are [X, 1]^T G, one product. With K
units in all that is K passes over a row in the place of p.
Phases, chunk by chunk of rows: row tasks keep activations, deltas and curvatures; unit tasks each
write the matrix's rows of one unit, from its layer's columns on. The lower triangle is a copy of
the upper. Formulas 34 and 35.
"""

from __future__ import annotations

from numba import types

from .activations import apply_bend, apply_slope
from .blocks import delta_below, forward
from .curvature import elementwise_curvature, labelled
from .gemm import gemm
from .gemv import sum_rows
from .jit import inner
from .micro_kernel import RELU, RELU_BACKWARD, STORE
from .outer import outer_sums
from .records import SCALE, SECOND, call_and_plan, layer_of, step_records, worker_of
from .routines import procedure
from .simd import null_like, shift
from .tangents import product_with_weights


def _block_arguments(real):
    p, i = types.CPointer(real), types.int64
    return *call_and_plan(real), p, p, i, i, i


@procedure(types.float64, _block_arguments)
def matrix_block(call, plan, panels, part, row, m, place):
    """What unit tasks read of rows row..row+m: activations; the outputs' curvature and, where there
    are labels, their softmax; for a Hessian deltas and how an activation's bend turns them."""
    bottom, top = layer_of(plan, 0), layer_of(plan, plan.layers - 1)
    k, ld = top.k, top.ld
    x, worker = shift(call.x, row * bottom.d), worker_of(call, 0)  # which only a sparse X asks for
    forward(call, plan, worker, row, x, m, place, part, call.out, panels)
    z, delta = shift(part, top.output + place * ld), shift(part, top.delta + place * ld)
    curvature, scale = shift(part, plan.roots + place * ld), call.sums[SCALE]
    if plan.labelled:
        labels = shift(call.labels, row)
        weights = shift(call.weights, row) if plan.weighted else null_like(call.weights)
        labelled(plan.loss, curvature, delta, z, z, ld, labels, weights, m, k, scale)
        for i in range(m):
            factor = call.weights[row + i] * scale if plan.weighted else scale
            for j in range(k):
                curvature[i * ld + j] = factor * z[i * ld + j]
    else:
        for i in range(m * ld):
            curvature[i] = 1
        elementwise_curvature(call, plan, curvature, delta, z, curvature, row, m)
    if plan.want & SECOND:
        _deltas(call, plan, panels, part, m, place)
    return 0.0


@inner
def _deltas(call, plan, panels, part, m, place):
    """All deltas below the outputs'; of a smooth activation also delta * f'' / f'^2."""
    for index in range(plan.layers - 1, 0, -1):
        layer, before = layer_of(plan, index), layer_of(plan, index - 1)
        ld, activation = before.ld, before.activation
        delta = shift(part, layer.delta + place * layer.ld)
        below, act = (
            shift(part, before.delta + place * ld),
            shift(part, before.output + place * ld),
        )
        smooth = activation > RELU
        delta_below(
            call, plan, index, panels, delta, m, below, ld, act, ld, STORE if smooth else activation
        )
        if smooth:
            bent, ones = (
                shift(part, before.seed + place * ld),
                shift(part, plan.squares + place * ld),
            )
            for i in range(m * ld):
                bent[i], ones[i] = 0, 1
            apply_bend(activation, bent, below, act, ones, ld, m, before.k)


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 2))
def unit_task(call, plan, worker, index, origin):
    """The rows of the matrix that belong to one unit, over a chunk of rows of X."""
    number = plan.layers - 1
    while layer_of(plan, number).first_weight_task > index:
        number -= 1
    layer, p = layer_of(plan, number), plan.parameters
    unit, first = index - layer.first_weight_task, layer.weight
    q, d, ldc, ldg = p - first, layer.d, layer.k * p, plan.unit_ld
    part = shift(call.work, plan.task_base)
    own = shift(call.work, plan.scratch + worker.number * plan.scratch_stride)
    out = shift(call.out, (first + unit) * p + first)
    rows = min(plan.chunk_rows, plan.n - origin)
    for place in range(0, rows, plan.unit_rows):
        m = min(plan.unit_rows, rows - place)
        _along_unit(call, plan, part, own, number, unit, place, m)
        _gradients_along(call, plan, part, own, number, origin, place, m)
        a, lda = shift(call.x, (origin + place) * d), d
        if number > 0:
            lda = layer_of(plan, number - 1).ld
            a = shift(part, layer_of(plan, number - 1).output + place * lda)
        fresh = place == 0 and (origin == 0 or plan.float64_blocks != 0)
        init, ldi = out, ldc
        if fresh:
            init, ldi = shift(call.work, plan.zeros), 0
        gemm(out, ldc, a, 1, lda, own, ldg, d, q, m, init, ldi, out, 0, STORE, 0)
        sum_rows(shift(out, d * ldc), own, ldg, q, fresh, m)
    if plan.float64_blocks:
        for line in range(d + 1):
            source, place = shift(out, line * ldc), (first + unit + line * layer.k) * p + first
            sums = shift(call.sums, plan.gradient_sums + place)
            for j in range(q):
                sums[j] = source[j] + (0.0 if origin == 0 else sums[j])


@inner
def _along_unit(call, plan, part, own, number, unit, place, m):
    """Tangents of activations and of deltas, from a unit's layer up and back down to it, as its
    pre-activation moves by 1 in each row."""
    zeros, panels, top = shift(call.work, plan.zeros), call.work, plan.layers - 1
    layer = layer_of(plan, number)
    t, ld, k = shift(own, layer.unit_tangent), layer.ld, layer.k
    for i in range(m):
        row = shift(t, i * ld)
        for j in range(k):
            row[j] = 0
        row[unit] = 1
    act = shift(part, layer.output + place * ld + unit)
    if number < top or layer.activation == RELU:  # softmax has taken the place of logits
        apply_slope(layer.activation, shift(t, unit), ld, act, ld, m, 1)
    for index in range(number + 1, plan.layers):
        before, layer = layer_of(plan, index - 1), layer_of(plan, index)
        below, k, ld = shift(own, before.unit_tangent), layer.k, layer.ld
        t, act = shift(own, layer.unit_tangent), shift(part, layer.output + place * ld)
        activation = layer.activation
        if index == number + 1:  # all columns are 0 but one
            line, null = shift(call.theta, layer.weight + unit * k), null_like(t)
            outer_sums(t, ld, shift(below, unit), before.ld, line, 0, null, 0, null, 0, m, 1, k)
            if activation != STORE:
                apply_slope(activation, t, ld, act, ld, m, k)
            continue
        w, packed = shift(call.theta, layer.weight), shift(panels, layer.panels)
        epilogue = RELU_BACKWARD if activation == RELU else STORE
        product_with_weights(
            plan, index, w, packed, t, ld, below, before.ld, m, zeros, 0, act, ld, epilogue
        )
        if activation > RELU:
            apply_slope(activation, t, ld, act, ld, m, k)
    _times_curvature(plan, part, own, place, m)
    for index in range(top, number, -1):
        layer, before = layer_of(plan, index), layer_of(plan, index - 1)
        ld, r, below = before.ld, shift(own, layer.unit_delta), shift(own, before.unit_delta)
        act = shift(part, before.output + place * ld)
        delta_below(call, plan, index, panels, r, m, below, ld, act, ld, before.activation)
        if plan.want & SECOND and before.activation > RELU:
            bent, t = shift(part, before.seed + place * ld), shift(own, before.unit_tangent)
            for i in range(m):
                for j in range(before.k):
                    below[i * ld + j] += bent[i * ld + j] * t[i * ld + j]


@inner
def _times_curvature(plan, part, own, place, m):
    """The tangents of the outputs' deltas: the curvature of the loss times those of the outputs."""
    layer = layer_of(plan, plan.layers - 1)
    k, ld = layer.k, layer.ld
    for i in range(m):
        t, r = shift(own, layer.unit_tangent + i * ld), shift(own, layer.unit_delta + i * ld)
        curvature = shift(part, plan.roots + (place + i) * ld)
        mean = 0.0
        if plan.labelled:
            softmax = shift(part, layer.output + (place + i) * ld)
            for j in range(k):
                mean += softmax[j] * t[j]
        for j in range(k):
            r[j] = curvature[j] * (t[j] - mean) if plan.labelled else curvature[j] * t[j]


@inner
def _gradients_along(call, plan, part, own, number, origin, place, m):
    """G (m, q): the tangent of each row's gradient by the parameters of a layer and those above."""
    first, ldg = layer_of(plan, number).weight, plan.unit_ld
    for index in range(number, plan.layers):
        layer = layer_of(plan, index)
        d, k, ld = layer.d, layer.k, layer.ld
        r, delta = shift(own, layer.unit_delta), shift(part, layer.delta + place * ld)
        a, lda, t = shift(call.x, (origin + place) * d), d, null_like(own)
        if index > 0:
            before = layer_of(plan, index - 1)
            a, lda = shift(part, before.output + place * before.ld), before.ld
            if plan.want & SECOND and index > number:
                t = shift(own, before.unit_tangent)
        g, db = shift(own, layer.weight - first), shift(own, layer.flat_db - first)
        if k == 1:  # lanes along the inputs: the products are the same with their factors exchanged
            if index > number and plan.want & SECOND:
                outer_sums(g, ldg, r, ld, a, lda, delta, ld, t, lda, m, k, d)
            else:
                outer_sums(g, ldg, r, ld, a, lda, t, ld, a, lda, m, k, d)
        else:
            outer_sums(g, ldg, a, lda, r, ld, t, lda, delta, ld, m, d, k)
        for i in range(m):
            for j in range(k):
                db[i * ldg + j] = r[i * ld + j]


@procedure(types.none, lambda real: (*call_and_plan(real), types.int64))
def mirror_slice(call, plan, index):
    """Some rows of the matrix left of its diagonal: a copy of the upper triangle, which is rounded
    from float64 where it was summed there."""
    p = plan.parameters
    start, stop = p * index // plan.slices, p * (index + 1) // plan.slices
    out, sums = call.out, shift(call.sums, plan.gradient_sums)
    for i in range(start, stop):
        if plan.float64_blocks:
            for j in range(i):
                out[i * p + j] = sums[j * p + i]
            for j in range(i, p):
                out[i * p + j] = sums[i * p + j]
        else:
            for j in range(i):
                out[i * p + j] = out[j * p + i]
