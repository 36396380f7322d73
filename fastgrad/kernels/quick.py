"""The short way from Python into a kernel: shapes and labels are checked in compiled code.

In: arrays as Numba's dispatcher tells them apart (dtype, rank, C-contiguous, writable; the rest is
in `arrays.py`), the address of a kernel and a workspace with its plan. Out: the loss, or REFUSED
with nothing written where an array is not plain, the plan is for other shapes or a label is out of
range: then the long way says what is wrong. A look at an array's shape or flags costs Python some
40 ns, an argument of a kernel 60; on the smallest networks they were two thirds of a call.
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from . import layout as at
from . import losses
from . import neuron as one
from .arrays import disjoint, is_plain
from .calls import call, thread_bound
from .jit import OPTIONS, brief_kernel, inner, long_kernel
from .simd import integers, pointer

REFUSED = float("-inf")  # no loss is


def fits(y, n, k, loss):
    """Whether targets y are what a step of this loss reads, with no value out of range."""


@overload(fits, jit_options=OPTIONS)
def fits_typed(y, n, k, loss):
    if isinstance(y.dtype, types.Integer):
        if y.dtype != types.int64:  # the step reads these
            return lambda y, n, k, loss: False

        def labels(y, n, k, loss):
            if loss != losses.CROSS_ENTROPY or y.size != n:
                return False
            outside = 0
            for i in range(n):
                outside |= (y[i] < 0) | (y[i] >= k)
            return outside == 0

        return labels

    def values(y, n, k, loss):
        if loss == losses.CROSS_ENTROPY or y.shape[0] != n or y.size != n * k:
            return False
        outside = 0
        if loss == losses.LOGISTIC:
            flat = pointer(y)
            for i in range(n * k):
                outside |= (flat[i] < 0) | (flat[i] > 1)
        return outside == 0

    return values


@inner
def takes_step(theta, x, y, out, buffer):
    """Whether the step planned in a workspace is of these arrays, and `out` disjoint from them."""
    plan = integers(pointer(buffer))
    n, d = plan[at.ROWS], plan[at.HEADER + at.D]
    k = plan[at.HEADER + (plan[at.LAYERS] - 1) * at.RECORD + at.K]
    if theta.size != out.size or x.shape[0] != n or x.shape[1] != d:
        return False
    if not (is_plain(theta) and is_plain(x) and is_plain(y) and is_plain(out)):
        return False
    if not (disjoint(out, theta) and disjoint(out, x) and disjoint(out, y)):
        return False
    return fits(y, n, k, plan[at.LOSS])


@brief_kernel
def quick_step(address, theta, x, y, out, buffer):
    """`network.step` at `address`, unweighted."""
    if not takes_step(theta, x, y, out, buffer):
        return REFUSED
    return call(0.0, address, (theta, theta, x, y.reshape(y.size), theta, out, theta, buffer))


@long_kernel
def shared_step(serial, parallel, threads, theta, x, y, out, buffer):
    """`network.step_parallel` at its address, refused unless Numba's bound is `threads`; or `step`
    at its own, with 0 threads."""
    if threads and thread_bound() != threads:
        return REFUSED
    if not takes_step(theta, x, y, out, buffer):
        return REFUSED
    y = y.reshape(y.size)
    if threads == 0:
        return call(0.0, serial, (theta, theta, x, y, theta, out, theta, buffer))
    return call(0.0, parallel, (serial, theta, theta, x, y, theta, out, theta, buffer))


@inner
def takes_neuron(w, x, y, buffer):
    plan = integers(pointer(buffer))
    n, d = plan[one.ROWS], plan[one.INPUTS]
    fit = w.size == d and x.shape[0] == n and x.shape[1] == d and y.size == n
    return fit and is_plain(w) and is_plain(x) and is_plain(y)


@brief_kernel
def quick_neuron(address, w, b, x, y, out, buffer):
    """`neuron.neuron_step` at `address`, unweighted: (loss, db)."""
    if not takes_neuron(w, x, y, buffer):
        return REFUSED, 0.0
    return call((0.0, 0.0), address, (out, w, b, x, y, w, buffer))


@long_kernel
def shared_neuron(serial, parallel, threads, w, b, x, y, out, buffer):
    """`neuron_step_parallel` to `quick_neuron` as `shared_step` is to `quick_step`."""
    if threads and thread_bound() != threads:
        return REFUSED, 0.0
    if not takes_neuron(w, x, y, buffer):
        return REFUSED, 0.0
    address = parallel if threads else serial
    return call((0.0, 0.0), address, (out, w, b, x, y, w, buffer))
