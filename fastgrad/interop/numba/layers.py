"""One layer, or one neuron as a layer of one output: the twins of `fastgrad.dense`.

A call takes a workspace with its plan (`workspaces`), binds it and runs it, as Python's does.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from ... import dense
from ...kernels import records as at
from ...kernels.bind import bind_backward, bind_forward, bytes_of
from ...kernels.jit import OPTIONS
from ...kernels.micro_kernel import RELU, STORE
from ...kernels.records import call_at
from ...kernels.simd import pointer
from .checks import (
    constant,
    given,
    parts,
    require,
    require_disjoint,
    require_float,
    require_native,
    require_output,
)
from .lazy import check_version
from .steps import run_step
from .workspaces import lease, release, spare


def _layer_types(X, w, b):
    """(dtype, whether w is one neuron's)."""
    dtype = require_float(w, "w", 1, 2)
    require(X, "X", dtype, 2)
    if w.ndim == 2:
        require(b, "b", dtype, 1)
    elif not isinstance(b, (types.Float, types.Integer)):
        raise TypingError(f"b is a {b}; expected a number beside w (d,)")
    return dtype, w.ndim == 1


@register_jitable
def _check_layer(X, w):
    if w.size == 0:
        raise ValueError("w is empty; expected at least one input and one output")
    if X.shape[1] != w.shape[0]:
        raise ValueError("X has the wrong number of columns for w")


@register_jitable
def _check_native_layer(X, w, b):
    require_native(X, "X")
    require_native(w, "w")
    require_native(b, "b")


def _check_output(out, name, X, w, b):
    """Native, and disjoint from the layer's inputs."""


@overload(_check_output, jit_options=OPTIONS, prefer_literal=True)
def _check_output_typed(out, name, X, w, b):
    label = name.literal_value

    def implementation(out, name, X, w, b):
        require_native(out, label)
        require_disjoint(out, label, X, "X")
        require_disjoint(out, label, w, "w")
        require_disjoint(out, label, b, "b")

    return implementation


def _forward_parts(single: bool):
    """The outputs' shape and the bias of a neuron (d,) or of a layer (d, k), compiled."""
    if single:

        @register_jitable
        def shape(X, w):
            return (X.shape[0],)

        @register_jitable
        def check_bias(w, b):
            pass

        @register_jitable
        def bias(work, w, b):
            room = spare(work, w.dtype)
            room[0] = b
            return room

    else:

        @register_jitable
        def shape(X, w):
            return X.shape[0], w.shape[1]

        @register_jitable
        def check_bias(w, b):
            if b.size != w.shape[1]:
                raise ValueError("b has the wrong size; expected one bias for each column of w")

        @register_jitable
        def bias(work, w, b):
            return b

    return shape, check_bias, bias


@overload(dense.affine, jit_options=OPTIONS)
def _affine(X, w, b, out=None, threads=None):
    dtype, single = _layer_types(X, w, b)
    require_output(out, "out", dtype, w.ndim)
    shape, check_bias, bias = _forward_parts(single)

    def implementation(X, w, b, out=None, threads=None):
        check_version()
        _check_layer(X, w)
        check_bias(w, b)
        _check_native_layer(X, w, b)
        _check_output(out, "out", X, w, b)
        n, d = X.shape
        z = np.empty(shape(X, w), w.dtype) if out is None else out
        if z.shape != shape(X, w):
            raise ValueError("out has the wrong shape for X and w")
        if n:
            work = lease(n, d, w.size // d, w.itemsize, at.OUTPUTS, STORE)
            call = call_at(work, pointer(w))
            bind_forward(call, w, bias(work, w, b), X, z)
            run_step(call)
            release(work)
        return z

    return implementation


@overload(dense.affine_relu, jit_options=OPTIONS)
def _affine_relu(X, w, b, out=None, threads=None):
    dtype, single = _layer_types(X, w, b)
    a_type, mask_type = parts(out, "out", 2)
    require_output(a_type, "out[0]", dtype, w.ndim)
    require_output(mask_type, "out[1]", types.boolean, w.ndim)
    shape, check_bias, bias = _forward_parts(single)

    if given(out):

        @register_jitable
        def outputs(X, w, out):
            if out[0].shape != shape(X, w) or out[1].shape != shape(X, w):
                raise ValueError("out has the wrong shape for X and w")
            require_disjoint(out[1], "out[1]", out[0], "out[0]")
            return out

    else:

        @register_jitable
        def outputs(X, w, out):
            return np.empty(shape(X, w), w.dtype), np.empty(shape(X, w), np.bool_)

    def implementation(X, w, b, out=None, threads=None):
        check_version()
        _check_layer(X, w)
        check_bias(w, b)
        _check_native_layer(X, w, b)
        n, d = X.shape
        a, mask = outputs(X, w, out)
        _check_output(a, "out[0]", X, w, b)
        _check_output(mask, "out[1]", X, w, b)
        if n:
            work = lease(n, d, w.size // d, w.itemsize, at.OUTPUTS | at.MASK, RELU)
            call = call_at(work, pointer(w))
            bind_forward(call, w, bias(work, w, b), X, a)
            call.mask = bytes_of(mask)
            run_step(call)
            release(work)
        return a, mask

    return implementation


@register_jitable
def _check_gradients(grad_a, X, W, mask):
    n, k = X.shape[0], W.size // W.shape[0]
    if grad_a.shape[0] != n or grad_a.size != n * k or grad_a.shape != mask.shape:
        raise ValueError("grad_a or mask has the wrong shape for X and W")
    require_native(grad_a, "grad_a")
    require_native(X, "X")
    require_native(W, "W")


@register_jitable
def _back(want, grad_a, X, W, mask, gX, gW, gb):
    """Write the gradients, to spare room where gb is None; returns the first of gb."""
    n, d = X.shape
    if n == 0:
        gW.reshape(-1)[:] = 0
        if gb is not None:
            gb[:] = 0
        return W.dtype.type(0)
    work = lease(n, d, W.size // d, W.itemsize, want, STORE)
    bias = spare(work, W.dtype) if gb is None else gb
    call = call_at(work, pointer(W))
    bind_backward(call, W, X, grad_a, mask, gW, bias, gX)
    run_step(call)
    first = bias[0]
    release(work)
    return first


@overload(dense.affine_relu_backward, jit_options=OPTIONS, prefer_literal=True)
def _affine_relu_backward(grad_a, X, W, mask, need_gX=True, out=None, threads=None):
    dtype = require_float(W, "W", 1, 2)
    require(X, "X", dtype, 2)
    require(grad_a, "grad_a", dtype, W.ndim)
    require(mask, "mask", types.boolean, W.ndim)
    need_input, single = constant(need_gX, "need_gX"), W.ndim == 1
    want = at.GRADIENT | at.INPUT_GRADIENT if need_input else at.GRADIENT
    if given(out):
        gX, *rest = parts(out, "out", 2 if single else 3)
        for index, (kind, rank) in enumerate(zip(rest, (W.ndim, 1)), 1):
            require(kind, f"out[{index}]", dtype, rank)
            require_output(kind, f"out[{index}]", dtype, rank)
        if need_input != given(gX):
            raise TypingError(f"out[0] is a {gX}; expected {'an array' if need_input else 'None'}")
        require_output(gX, "out[0]", dtype, 2)
        return _backward_into(want, single, need_input)
    return _backward_fresh(want, single, need_input)


def _check_gradient(out, name, grad_a, X, W, mask):
    """Native, and disjoint from the inputs of the way back."""


@overload(_check_gradient, jit_options=OPTIONS, prefer_literal=True)
def _check_gradient_typed(out, name, grad_a, X, W, mask):
    label = name.literal_value

    def implementation(out, name, grad_a, X, W, mask):
        require_native(out, label)
        require_disjoint(out, label, grad_a, "grad_a")
        require_disjoint(out, label, X, "X")
        require_disjoint(out, label, W, "W")
        require_disjoint(out, label, mask, "mask")

    return implementation


def _backward_into(want, single: bool, need_input: bool):
    @register_jitable
    def check(grad_a, X, W, mask, gX, gW):
        if gW.shape != W.shape:
            raise ValueError("out[1] has the wrong shape for W")
        _check_gradient(gW, "out[1]", grad_a, X, W, mask)
        if need_input:
            if gX.shape != X.shape:
                raise ValueError("out[0] has the wrong shape for X")
            _check_gradient(gX, "out[0]", grad_a, X, W, mask)
            require_disjoint(gX, "out[0]", gW, "out[1]")

    def neuron(grad_a, X, W, mask, need_gX=True, out=None, threads=None):
        check_version()
        _check_layer(X, W)
        _check_gradients(grad_a, X, W, mask)
        gX, gW = out
        check(grad_a, X, W, mask, gX, gW)
        return gX, gW, _back(want, grad_a, X, W, mask, gX, gW, None)

    def layer(grad_a, X, W, mask, need_gX=True, out=None, threads=None):
        check_version()
        _check_layer(X, W)
        _check_gradients(grad_a, X, W, mask)
        gX, gW, gb = out
        check(grad_a, X, W, mask, gX, gW)
        if gb.size != W.shape[1]:
            raise ValueError("out[2] has the wrong size; expected one bias for each column of W")
        _check_gradient(gb, "out[2]", grad_a, X, W, mask)
        require_disjoint(gb, "out[2]", gW, "out[1]")
        require_disjoint(gb, "out[2]", gX, "out[0]")
        _back(want, grad_a, X, W, mask, gX, gW, gb)
        return gX, gW, gb

    return neuron if single else layer


def _backward_fresh(want, single: bool, need_input: bool):
    @register_jitable
    def input_gradient(X):
        return np.empty(X.shape, X.dtype) if need_input else None

    def neuron(grad_a, X, W, mask, need_gX=True, out=None, threads=None):
        check_version()
        _check_layer(X, W)
        _check_gradients(grad_a, X, W, mask)
        gX, gW = input_gradient(X), np.empty(W.shape, W.dtype)
        return gX, gW, _back(want, grad_a, X, W, mask, gX, gW, None)

    def layer(grad_a, X, W, mask, need_gX=True, out=None, threads=None):
        check_version()
        _check_layer(X, W)
        _check_gradients(grad_a, X, W, mask)
        gX, gW = input_gradient(X), np.empty(W.shape, W.dtype)
        gb = np.empty(W.shape[1], W.dtype)
        _back(want, grad_a, X, W, mask, gX, gW, gb)
        return gX, gW, gb

    return neuron if single else layer
