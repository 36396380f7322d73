"""The fast path: from Python into a kernel with the checks of shapes and labels in compiled code.

In: the arrays as the user passed them, and the workspace of a plan. Out: the loss, or `REFUSED`
with nothing written where something does not fit; then the checks in Python say what is wrong.
A look at an array's shape or flags costs Python some 40 ns, an argument of a kernel 60; on the
smallest networks they were two thirds of a call.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from .arrays import disjoint, is_plain
from .bind import bias_gradient, bind_neuron, bind_of_rows, bind_step, bind_vjp, run_bound
from .calls import call_address, thread_bound
from .engine import step
from .jit import OPTIONS, brief_kernel, inner, long_kernel
from .records import (
    COUNT_TARGETS,
    GRADIENT,
    ROW_NORMS,
    UNIT_TARGETS,
    call_in,
    layer_of,
    worker_of,
)
from .simd import pointer
from .validate import labels_inside, values_inside

REFUSED = float("-inf")  # no loss is


def fits(y, n, k, plan, greatest):
    """Whether targets y are what a step of this loss reads, with no value out of range."""


@overload(fits, jit_options=OPTIONS)
def _fits(y, n, k, plan, greatest):
    if isinstance(y.dtype, types.Integer):
        if y.dtype != types.int64:  # the step reads these
            return lambda y, n, k, plan, greatest: False

        def labels(y, n, k, plan, greatest):
            return plan.labelled != 0 and y.size == n and labels_inside(y, k)

        return labels

    def values(y, n, k, plan, greatest):
        if plan.labelled or y.shape[0] != n or y.size != n * k:
            return False
        return greatest < 0.0 or values_inside(pointer(y), n * k, 0.0, greatest)

    return values


@inner
def greatest_target(kind):
    """The greatest target, and the least is 0; -1 where any number will do."""
    if kind == UNIT_TARGETS:
        return 1.0
    return np.inf if kind == COUNT_TARGETS else -1.0


@inner
def takes_step(plan, theta, x, y, out):
    """Whether the step planned in a workspace is of these arrays, and `out` disjoint from them."""
    top = layer_of(plan, plan.layers - 1)
    n, d, k, parameters = plan.n, layer_of(plan, 0).d, top.k, top.flat_db + top.k
    size = n if plan.want & (GRADIENT | ROW_NORMS) == ROW_NORMS else parameters
    if theta.size != parameters or out.size != size or x.shape[0] != n or x.shape[1] != d:
        return False
    if not (is_plain(theta) and is_plain(x) and is_plain(y) and is_plain(out)):
        return False
    if not (disjoint(out, theta) and disjoint(out, x) and disjoint(out, y)):
        return False
    return fits(y, n, k, plan, greatest_target(plan.targets))


@brief_kernel
def quick_step(theta, x, y, out, buffer):
    """A serial step, unweighted: the loss, or REFUSED with nothing written where an array is not
    plain, the plan is for other shapes or a label is out of range."""
    call = call_in(buffer, pointer(theta))
    if not takes_step(call.plan, theta, x, y, out):
        return REFUSED
    bind_step(call, theta, x, y, None, out, None)
    return step(call, worker_of(call, 0))


@long_kernel
def shared_step(parallel, threads, theta, x, y, out, buffer):
    """`quick_step` with `parallel_step`, which is at an address; refused where Numba would use
    more than `threads`, serial where it would use one or `threads` is 0."""
    call, bound = call_in(buffer, pointer(theta)), thread_bound() if threads else 1
    if bound > max(threads, 1):
        return REFUSED
    if not takes_step(call.plan, theta, x, y, out):
        return REFUSED
    bind_step(call, theta, x, y, None, out, None)
    if bound <= 1:
        return step(call, worker_of(call, 0))
    return call_address(0.0, parallel, (theta, buffer))


@brief_kernel
def quick_rows(theta, x, y, out, max_norm, buffer):
    """`quick_step` of what is of each row: `out` is the norms, or the clipped gradient."""
    call = call_in(buffer, pointer(theta))
    if not takes_step(call.plan, theta, x, y, out):
        return REFUSED
    bind_of_rows(call, theta, x, y, None, out, out, None, max_norm)
    return step(call, worker_of(call, 0))


@long_kernel
def shared_rows(parallel, threads, theta, x, y, out, max_norm, buffer):
    """`shared_step` of what is of each row."""
    call, bound = call_in(buffer, pointer(theta)), thread_bound() if threads else 1
    if bound > max(threads, 1):
        return REFUSED
    if not takes_step(call.plan, theta, x, y, out):
        return REFUSED
    bind_of_rows(call, theta, x, y, None, out, out, None, max_norm)
    if bound <= 1:
        return step(call, worker_of(call, 0))
    return call_address(0.0, parallel, (theta, buffer))


@inner
def takes_vjp(plan, theta, x, cotangent, out):
    """As `takes_step`, of a cotangent of the outputs."""
    top = layer_of(plan, plan.layers - 1)
    n, d, k, parameters = plan.n, layer_of(plan, 0).d, top.k, top.flat_db + top.k
    if theta.size != parameters or out.size != parameters:
        return False
    if x.shape[0] != n or x.shape[1] != d or cotangent.shape[0] != n or cotangent.size != n * k:
        return False
    if not (is_plain(theta) and is_plain(x) and is_plain(cotangent) and is_plain(out)):
        return False
    return disjoint(out, theta) and disjoint(out, x) and disjoint(out, cotangent)


@brief_kernel
def quick_vjp(theta, x, cotangent, out, buffer):
    """`quick_step` of the way back from a cotangent, to theta alone: 0, or REFUSED."""
    call = call_in(buffer, pointer(theta))
    if not takes_vjp(call.plan, theta, x, cotangent, out):
        return REFUSED
    bind_vjp(call, theta, x, cotangent, out, None)
    return step(call, worker_of(call, 0))


@long_kernel
def shared_vjp(parallel, threads, theta, x, cotangent, out, buffer):
    """`shared_step` of the way back from a cotangent."""
    call, bound = call_in(buffer, pointer(theta)), thread_bound() if threads else 1
    if bound > max(threads, 1):
        return REFUSED
    if not takes_vjp(call.plan, theta, x, cotangent, out):
        return REFUSED
    bind_vjp(call, theta, x, cotangent, out, None)
    if bound <= 1:
        return step(call, worker_of(call, 0))
    return call_address(0.0, parallel, (theta, buffer))


@inner
def takes_neuron(plan, w, x, y):
    """As `takes_step`, of one neuron."""
    n, d = plan.n, layer_of(plan, 0).d
    fit = w.size == d and x.shape[0] == n and x.shape[1] == d and y.size == n
    return fit and is_plain(w) and is_plain(x) and is_plain(y)


@brief_kernel
def quick_neuron(w, b, x, y, out, buffer):
    """`quick_step` of one neuron: (loss, db); `out` is fresh."""
    call = call_in(buffer, pointer(w))
    if not takes_neuron(call.plan, w, x, y):
        return REFUSED, 0.0
    bind_neuron(call, w, b, x, y, None, out)
    return run_bound(call, True), bias_gradient(call)


@long_kernel
def shared_neuron(parallel, threads, w, b, x, y, out, buffer):
    """`shared_step` of one neuron."""
    call, bound = call_in(buffer, pointer(w)), thread_bound() if threads else 1
    if bound > max(threads, 1):
        return REFUSED, 0.0
    if not takes_neuron(call.plan, w, x, y):
        return REFUSED, 0.0
    bind_neuron(call, w, b, x, y, None, out)
    if bound <= 1:
        return run_bound(call, True), bias_gradient(call)
    loss = call_address(0.0, parallel, (w, buffer))
    return loss, bias_gradient(call)
