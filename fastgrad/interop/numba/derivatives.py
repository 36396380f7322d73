"""`vjp`, `grad_norms` and `hvp` of a network's handle: twins of the functions of these names."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload_method, register_jitable

from ...kernels.bind import bind_of_rows, bind_step, bind_tangents, bind_vjp
from ...kernels.jit import OPTIONS
from ...kernels.records import call_in
from ...kernels.simd import pointer
from .checks import (
    check_targets,
    require,
    require_disjoint,
    require_native,
    require_output,
    require_targets,
    weights_of,
)
from .lazy import check_version
from .networks import acquire, check_sizes, is_network, release
from .steps import run_step


@register_jitable
def _check_inputs(net, workspaces, theta, X):
    check_version()
    if workspaces.shape[0] == 0:
        raise ValueError("prepare the network with derivatives=True for vjp, grad_norms and hvp")
    check_sizes(net, theta, X)
    require_native(theta, "theta")
    require_native(X, "X")


@register_jitable
def _check_out(out, size, theta, X, y, sample_weight):
    if out.size != size:
        raise ValueError("out has the wrong size for X and this network")
    require_native(out, "out")
    require_disjoint(out, "out", theta, "theta")
    require_disjoint(out, "out", X, "X")
    require_disjoint(out, "out", y, "y")
    require_disjoint(out, "out", sample_weight, "sample_weight")


@overload_method(types.NamedTuple, "vjp", jit_options=OPTIONS)
def _vjp(net, theta, X, cotangent, out=None):
    if not is_network(net):
        return None
    dtype = dict(zip(net.fields, net.types))["like"].dtype
    require(theta, "theta", dtype, 1)
    require(X, "X", dtype, 2)
    require(cotangent, "cotangent", dtype, 2, 1)
    require_output(out, "out", dtype, 1)

    def implementation(net, theta, X, cotangent, out=None):
        _check_inputs(net, net.back, theta, X)
        require_native(cotangent, "cotangent")
        if cotangent.shape[0] != net.rows or cotangent.size != net.rows * net.outputs:
            raise ValueError("cotangent has the wrong shape for X and this network")
        gradient = np.empty_like(theta) if out is None else out
        _check_out(gradient, net.parameters, theta, X, None, None)
        require_disjoint(out, "out", cotangent, "cotangent")
        number = acquire(net.busy)
        call = call_in(net.back[number], pointer(theta))
        bind_vjp(call, theta, X, cotangent, gradient, None)
        run_step(call)
        release(net.busy, number)
        return gradient

    return implementation


@overload_method(types.NamedTuple, "grad_norms", jit_options=OPTIONS)
def _grad_norms(net, theta, X, y, sample_weight=None, out=None):
    if not is_network(net):
        return None
    dtype = require_targets(net, theta, y, sample_weight)
    require(X, "X", dtype, 2)
    require_output(out, "out", dtype, 1)

    def implementation(net, theta, X, y, sample_weight=None, out=None):
        _check_inputs(net, net.norms, theta, X)
        check_targets(net, y)
        weight = weights_of(net, sample_weight, False)
        norms = np.empty(net.rows, theta.dtype) if out is None else out
        _check_out(norms, net.rows, theta, X, y, sample_weight)
        number = acquire(net.busy)
        call = call_in(net.norms[number], pointer(theta))
        bind_of_rows(call, theta, X, y, weight, None, norms, None, 0.0)
        run_step(call)
        release(net.busy, number)
        return norms

    return implementation


@overload_method(types.NamedTuple, "hvp", jit_options=OPTIONS)
def _hvp(net, theta, X, y, v, sample_weight=None, out=None):
    if not is_network(net):
        return None
    dtype = require_targets(net, theta, y, sample_weight)
    require(X, "X", dtype, 2)
    require(v, "v", dtype, 1)
    require_output(out, "out", dtype, 1)

    def implementation(net, theta, X, y, v, sample_weight=None, out=None):
        _check_inputs(net, net.curved, theta, X)
        check_targets(net, y)
        require_native(v, "v")
        if v.size != net.parameters:
            raise ValueError("v has the wrong size for this network")
        weight = weights_of(net, sample_weight)
        product = np.empty_like(theta) if out is None else out
        _check_out(product, net.parameters, theta, X, y, sample_weight)
        require_disjoint(out, "out", v, "v")
        number = acquire(net.busy)
        call = call_in(net.curved[number], pointer(theta))
        bind_step(call, theta, X, y, weight, product, None)
        bind_tangents(call, theta, v, None)
        run_step(call)
        release(net.busy, number)
        return product

    return implementation
