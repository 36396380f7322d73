"""One neuron's loss and gradient, and ReLU element by element: the twins of `fastgrad.neuron`."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from ... import neuron
from ...kernels import neuron as kernels
from ...kernels.bind import bias_gradient, bind_neuron
from ...kernels.jit import OPTIONS
from ...kernels.records import call_at
from ...kernels.simd import pointer
from .checks import (
    check_weights,
    given,
    require,
    require_disjoint,
    require_float,
    require_native,
    require_output,
)
from .lazy import check_version
from .steps import run_step
from .workspaces import NEURON, lease, release


@overload(neuron.neuron_loss_and_grad, jit_options=OPTIONS)
def _neuron_loss_and_grad(w, b, X, y, sample_weight=None, out=None, threads=None):
    dtype = require_float(w, "w", 1)
    require(X, "X", dtype, 2)
    require(y, "y", dtype, 1)
    require_output(out, "out", dtype, 1)
    weighted = given(sample_weight)
    if weighted:
        require(sample_weight, "sample_weight", dtype, 1)

    if weighted:

        @register_jitable
        def weights_of(sample_weight, n):
            require_native(sample_weight, "sample_weight")
            check_weights(sample_weight, n)
            return sample_weight

    else:

        @register_jitable
        def weights_of(sample_weight, n):
            return None

    def implementation(w, b, X, y, sample_weight=None, out=None, threads=None):
        n, d = X.shape
        if d != w.size or n == 0:
            raise ValueError("X has no rows, or the wrong number of columns for w")
        if y.size != n:
            raise ValueError("y has another number of rows than X")
        require_native(w, "w")
        require_native(X, "X")
        require_native(y, "y")
        weight = weights_of(sample_weight, n)
        gw = np.empty_like(w) if out is None else out
        if gw.size != d:
            raise ValueError("out has the wrong size for w")
        require_native(out, "out")
        require_disjoint(out, "out", w, "w")
        require_disjoint(out, "out", X, "X")
        require_disjoint(out, "out", y, "y")
        require_disjoint(out, "out", sample_weight, "sample_weight")
        check_version()
        work = lease(n, d, 1, w.itemsize, NEURON, weighted)
        call = call_at(work, pointer(w))
        bind_neuron(call, w, b, X, y, weight, gw)
        loss, gb = run_step(call), bias_gradient(call)
        release(work)
        return loss, gw, gb

    return implementation


def _elementwise(Z, out, dtype=None):
    if not isinstance(Z, types.Array):
        raise TypingError(f"Z is a {Z}; expected an array")
    own = require_float(Z, "Z", Z.ndim)
    require_output(out, "out", dtype or own, Z.ndim)


@overload(neuron.relu, jit_options=OPTIONS)
def _relu(Z, out=None):
    _elementwise(Z, out)

    def implementation(Z, out=None):
        require_native(Z, "Z")
        require_native(out, "out")
        result = np.empty_like(Z) if out is None else out
        if result.shape != Z.shape:
            raise ValueError("out has the wrong shape for Z")
        if result.ctypes.data != Z.ctypes.data:
            require_disjoint(out, "out", Z, "Z")
        kernels.relu(result.reshape(-1), Z.reshape(-1))
        return result

    return implementation


@overload(neuron.relu_mask, jit_options=OPTIONS)
def _relu_mask(Z, out=None):
    _elementwise(Z, out, types.boolean)

    def implementation(Z, out=None):
        require_native(Z, "Z")
        result = np.empty(Z.shape, np.bool_) if out is None else out
        if result.shape != Z.shape:
            raise ValueError("out has the wrong shape for Z")
        require_disjoint(out, "out", Z, "Z")
        kernels.relu_mask(result.reshape(-1), Z.reshape(-1))
        return result

    return implementation
