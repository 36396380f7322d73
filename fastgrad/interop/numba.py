"""fastgrad inside the user's own `@njit` code, by the same names.

`affine`, `relu`, `relu_mask`, `affine_relu`, `affine_relu_backward` and `neuron_loss_and_grad` can
be called from compiled code once this module is imported; `threads` is taken and makes no
difference. A network and an optimiser are prepared
in Python (`network`, `optimizer`) and passed in: ``net.loss_and_grad(theta, X, y, out=grad)``,
``net.predict(theta, X, out=out)`` and ``opt.step(theta, grad)`` are then calls of compiled code.

All of it is serial, has the same bits as the Python calls, may run in any number of threads (in a
`prange` of your own, under every threading layer), and is cached across processes where the caller
says ``cache=True``. What a layer function needs is linked into the caller (a few seconds of its
first compilation); networks and optimisers are called by the address of their kernel, which costs
2 ns and no compilation.
"""

from __future__ import annotations

import os
import weakref
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, overload_method, register_jitable

from .. import dense, neuron
from .._core import check
from ..kernels import layout as at
from ..kernels import neuron as one
from ..kernels.calls import address_of, call
from ..kernels.jit import OPTIONS
from ..kernels.network import step
from ..kernels.neuron import neuron_step
from ..kernels.optimizers import LR
from ..kernels.simd import VECTOR_BYTES
from ..network import MLP
from ..optimizers import Optimizer
from ..runtime import max_threads
from ..schedules import Constant
from ._njit_plans import VECTOR, layer_plan, neuron_plan, workspace

__all__ = ["Network", "Step", "network", "optimizer"]

_LINE = 8  # int64 of a cache line
_busy = weakref.WeakValueDictionary()  # the `busy` of every network, by id


def _after_fork() -> None:
    """The threads that were inside a network stayed in the parent: its workspaces are free."""
    for busy in _busy.values():
        busy[:] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Networks


class Network(NamedTuple):
    """A network ready for compiled code; made by `network`. Its fields are the kernels' business.

    In `@njit` code and in Python alike it has `loss_and_grad` and `predict`.
    """

    address: int
    gradient: np.ndarray
    forward: np.ndarray
    busy: np.ndarray
    nothing: np.ndarray
    no_targets: np.ndarray
    rows: int
    inputs: int
    outputs: int
    parameters: int
    weighted: bool
    unit_targets: bool


class _Network(Network):
    """Remembers what it was made from; the methods are those of compiled code."""

    def loss_and_grad(self, theta, X, y, sample_weight=None, out=None):
        return self.net.loss_and_grad(theta, X, y, sample_weight, out=out, threads=1)

    def predict(self, theta, X, out=None):
        result = self.net.predict(theta, X, threads=1)
        if out is None:
            return result
        out[...] = result
        return out

    def __reduce__(self):
        return network, (self.net, self.rows, self.weighted, self.gradient.shape[0])


def _buffers(net, n: int, job: int, weighted: bool, copies: int) -> np.ndarray:
    """(copies, words): a workspace with its plan for each caller at a time, aligned."""
    buffer = net._plan(n, job, weighted).acquire()
    unit = VECTOR_BYTES // 8
    words = -(-buffer.size // unit) * unit
    check.addressable(copies * words, buffer.dtype, "copies")
    memory = np.zeros(copies * words + unit)
    start = -(memory.__array_interface__["data"][0] // 8) % unit
    rows = memory[start : start + copies * words].reshape(copies, words)
    rows[:, : buffer.size] = buffer
    return rows


def network(net, n: int, weighted: bool = False, copies: int | None = None) -> Network:
    """A network for compiled code, for batches of n rows.

    Parameters
    ----------
    net : MLP
    n : int
        Rows of every X that it will be given.
    weighted : bool
        Whether `loss_and_grad` will be given `sample_weight`.
    copies : int, optional
        How many threads may be inside at once without waiting for each other; as many as Numba has.

    Returns
    -------
    handle : Network
        Pass it to `@njit` functions. There,
        ``loss, grad = handle.loss_and_grad(theta, X, y, out=grad)`` and
        ``out = handle.predict(theta, X, out=out)`` mean what they mean for `MLP`, with the same
        bits; without `out` a fresh array is made. Arrays are C-contiguous and of the network's
        dtype, labels int64. One handle serves all iterations of a `prange`.

    Raises
    ------
    TypeError, ValueError
        If net is not a network or a number is not positive.
    MemoryError
        If no machine holds so many rows or copies.

    Examples
    --------
    >>> import numba
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> from fastgrad.interop.numba import network, optimizer
    >>> @numba.njit
    ... def train(net, opt, theta, X, y, steps):
    ...     grad = np.empty_like(theta)
    ...     loss = 0.0
    ...     for _ in range(steps):
    ...         loss, _ = net.loss_and_grad(theta, X, y, out=grad)
    ...         opt.step(theta, grad)
    ...     return loss
    >>> net = fg.MLP([1, 16, 1])
    >>> theta, X = net.init(seed=0), np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> handle, opt = network(net, 50), optimizer(fg.Adam(0.02), net)
    >>> train(handle, opt, theta, X, np.abs(X), 1000) < 0.01
    True
    """
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    n = check.integer(n, "n")
    check.addressable(n * (net.n_inputs + net.n_outputs), net.dtype, "n")
    copies = max_threads() if copies is None else check.integer(copies, "copies")
    weighted = bool(weighted)
    theta, nothing = np.zeros(net.n_parameters, net.dtype), net._nothing
    X = np.zeros((1, net.n_inputs), net.dtype)
    buffer = net._plan(1, at.GRADIENT, False).acquire()
    args = (theta, theta, X, net._no_targets, nothing, theta, nothing, buffer)
    handle = _Network(
        address=address_of(step, args),
        gradient=_buffers(net, n, at.GRADIENT, weighted, copies),
        forward=_buffers(net, n, at.FORWARD, False, copies),
        busy=np.zeros(copies * _LINE, np.int64),
        nothing=nothing,
        no_targets=net._no_targets,
        rows=n,
        inputs=net.n_inputs,
        outputs=net.n_outputs,
        parameters=net.n_parameters,
        weighted=weighted,
        unit_targets=net.loss_name == "logistic",
    )
    handle.net = net
    _busy[id(handle.busy)] = handle.busy
    return handle


@intrinsic
def _exchange(typingctx, array, index, old, new):
    """array[index] = new if it is `old`, atomically; whether it was."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, value=args[0])
        place = builder.gep(struct.data, [args[1]])
        result = builder.cmpxchg(place, args[2], args[3], "acq_rel", "monotonic")
        return builder.extract_value(result, 1)

    return types.boolean(array, types.int64, types.int64, types.int64), codegen


@intrinsic
def _clear(typingctx, array, index):
    """array[index] = 0, after all that was written before."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, value=args[0])
        place = builder.gep(struct.data, [args[1]])
        builder.store_atomic(ir.Constant(ir.IntType(64), 0), place, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@register_jitable
def _acquire(busy):
    """The number of a workspace that nobody else uses now."""
    copies = busy.size // _LINE
    number = 0
    while not _exchange(busy, number * _LINE, 0, 1):
        number = (number + 1) % copies
    return number


@register_jitable
def _release(busy, number):
    _clear(busy, number * _LINE)


def _is_network(kind) -> bool:
    return isinstance(kind, types.NamedTuple) and issubclass(kind.instance_class, Network)


def _require(kind, name: str, dtype, *ranks) -> None:
    """A typing error for what is not a C-contiguous array of that dtype."""
    if not isinstance(kind, types.Array):
        raise TypingError(f"{name} is a {kind}; expected an array")
    if kind.dtype != dtype:
        raise TypingError(f"{name} has dtype {kind.dtype}; expected {dtype}")
    if kind.ndim not in ranks:
        raise TypingError(f"{name} has {kind.ndim} dimensions; expected {ranks[0]}")
    if kind.layout != "C":
        raise TypingError(f"{name} is not C-contiguous: use np.ascontiguousarray({name})")


def _none(kind) -> bool:
    return kind is None or isinstance(kind, (types.NoneType, types.Omitted))


@register_jitable
def _check_sizes(net, theta, X):
    if theta.size != net.parameters:
        raise ValueError("theta has the wrong size for this network")
    if X.shape[0] != net.rows:
        raise ValueError("X has another number of rows than the network was prepared for")
    if X.shape[1] != net.inputs:
        raise ValueError("X has the wrong number of columns for this network")


@register_jitable
def _check_weights(sample_weight, n):
    if sample_weight.size != n:
        raise ValueError("sample_weight has another number of rows than X")
    total = sample_weight.dtype.type(0)
    for i in range(n):
        if sample_weight[i] < 0:
            raise ValueError("sample_weight has a negative value")
        total += sample_weight[i]
    if total == 0:
        raise ValueError("sample_weight is zero everywhere")


@overload_method(types.NamedTuple, "loss_and_grad", jit_options=OPTIONS)
def _loss_and_grad(net, theta, X, y, sample_weight=None, out=None):
    if not _is_network(net):
        return None
    fields = dict(zip(net.fields, net.types))
    dtype, labels = fields["nothing"].dtype, fields["no_targets"].dtype
    is_labelled = isinstance(labels, types.Integer)
    _require(theta, "theta", dtype, 1)
    _require(X, "X", dtype, 2)
    _require(y, "y", labels, *((1,) if is_labelled else (2, 1)))
    if not _none(sample_weight):
        _require(sample_weight, "sample_weight", dtype, 1)
    if not _none(out):
        _require(out, "out", dtype, 1)

    @register_jitable
    def weights_of(net, sample_weight):
        if sample_weight is None:
            if net.weighted:
                raise ValueError("sample_weight is missing: the network was prepared for it")
            return net.nothing
        if not net.weighted:
            raise ValueError("sample_weight is given: prepare the network with weighted=True")
        _check_weights(sample_weight, net.rows)
        return sample_weight

    @register_jitable
    def check_targets(net, y):
        if is_labelled:
            if y.size != net.rows:
                raise ValueError("y has another number of rows than X")
            for i in range(y.size):
                if y[i] < 0 or y[i] >= net.outputs:
                    raise ValueError("y has a label that is not 0 to k - 1")
        else:
            if y.shape[0] != net.rows or y.size != net.rows * net.outputs:
                raise ValueError("y has the wrong shape for X and this network")
            if net.unit_targets:
                flat = y.reshape(-1)
                for i in range(flat.size):
                    if flat[i] < 0 or flat[i] > 1:
                        raise ValueError("y has a value outside 0 to 1")

    def implementation(net, theta, X, y, sample_weight=None, out=None):
        _check_sizes(net, theta, X)
        check_targets(net, y)
        weight = weights_of(net, sample_weight)
        grad = np.empty_like(theta) if out is None else out
        if grad.size != net.parameters:
            raise ValueError("out has the wrong size for this network")
        number = _acquire(net.busy)
        loss = call(
            0.0,
            net.address,
            (theta, theta, X, y.reshape(-1), weight, grad, net.nothing, net.gradient[number]),
        )
        _release(net.busy, number)
        return loss, grad

    return implementation


@overload_method(types.NamedTuple, "predict", jit_options=OPTIONS)
def _predict(net, theta, X, out=None):
    if not _is_network(net):
        return None
    dtype = dict(zip(net.fields, net.types))["nothing"].dtype
    _require(theta, "theta", dtype, 1)
    _require(X, "X", dtype, 2)
    if not _none(out):
        _require(out, "out", dtype, 2)

    def implementation(net, theta, X, out=None):
        _check_sizes(net, theta, X)
        outputs = np.empty((net.rows, net.outputs), theta.dtype) if out is None else out
        if outputs.shape != (net.rows, net.outputs):
            raise ValueError("out has the wrong shape for X and this network")
        number = _acquire(net.busy)
        call(0.0, net.address,
            (theta, theta, X, net.no_targets, net.nothing, outputs.reshape(-1), net.nothing,
             net.forward[number]),
        )  # fmt: skip
        _release(net.busy, number)
        return outputs

    return implementation


# Optimisers


class Step(NamedTuple):
    """An optimiser ready for compiled code; made by `optimizer`."""

    address: int
    state: np.ndarray
    hyper: np.ndarray
    parameters: int


class _Step(Step):
    def step(self, theta, grad):
        self.owner.step(theta, grad)

    def __reduce__(self):
        return _restore, (self.owner, self.parameters, self.state.dtype.str)


def optimizer(opt, net) -> Step:
    """An optimiser for compiled code, for the parameters of one network.

    Parameters
    ----------
    opt : Optimizer
        With a constant learning rate. Its state is shared: steps made in compiled code are its own
        steps. One thread at a time.
    net : MLP

    Returns
    -------
    handle : Step
        Pass it to `@njit` functions. There ``handle.step(theta, grad)`` updates theta in place, as
        `Optimizer.step` does; ``handle.hyper[0]`` is the learning rate and may be written.

    Raises
    ------
    TypeError, ValueError
        If opt or net is something else, or the rate is not constant.

    Examples
    --------
    >>> import fastgrad as fg
    >>> from fastgrad.interop.numba import optimizer
    >>> optimizer(fg.SGD(0.1), fg.MLP([2, 1])).parameters
    3
    """
    if not isinstance(opt, Optimizer):
        raise TypeError(f"opt is a {type(opt).__name__}; expected an optimiser such as Adam(1e-3)")
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return _restore(opt, net.n_parameters, net.dtype.str)


def _restore(opt, parameters: int, dtype: str) -> Step:
    if type(opt.lr) is not Constant:
        raise ValueError(
            f"lr is {opt.lr!r}; expected a constant (set handle.hyper[0] in compiled code instead)"
        )
    theta = np.zeros(parameters, dtype)
    state, hyper = opt.prepare(parameters, theta.dtype)
    hyper[LR] = opt.rate(0)
    address = address_of(opt.kernel, (theta, theta, state, hyper))
    handle = _Step(address, state, hyper, parameters)
    handle.owner = opt
    return handle


@overload_method(types.NamedTuple, "step", jit_options=OPTIONS)
def _optimizer_step(opt, theta, grad):
    if not (isinstance(opt, types.NamedTuple) and issubclass(opt.instance_class, Step)):
        return None
    dtype = dict(zip(opt.fields, opt.types))["state"].dtype
    _require(theta, "theta", dtype, 1)
    _require(grad, "grad", dtype, 1)

    def implementation(opt, theta, grad):
        if theta.size != opt.parameters or grad.size != opt.parameters:
            raise ValueError("theta or grad has the wrong size for this optimiser")
        call(0.0, opt.address, (theta, grad, opt.state, opt.hyper))

    return implementation


# Layers and neurons


@register_jitable
def _layer_buffer(n, d, k, itemsize, job, relu):
    vector = np.empty(VECTOR, np.int64)
    elements, doubles = layer_plan(vector, n, d, k, itemsize, job, relu)
    return workspace(vector, elements, doubles, itemsize, at.BUFFER64, at.BUFFER)


@register_jitable
def _ready(buffer, like):
    """Fill in the numbers that the kernels expect."""
    plan = buffer[:VECTOR].view(np.int64)
    numbers = buffer[plan[at.BUFFER64] :]
    numbers[at.HUBER_DELTA], numbers[at.L2] = 1.0, 0.0


def _float_array(kind, name: str, *ranks):
    if isinstance(kind, types.Array) and kind.dtype not in (types.float32, types.float64):
        raise TypingError(f"{name} has dtype {kind.dtype}; expected float32 or float64")
    _require(kind, name, getattr(kind, "dtype", None), *ranks)
    return kind.dtype


def _layer_types(X, w, b):
    dtype = _float_array(w, "w", 1, 2)
    _require(X, "X", dtype, 2)
    if w.ndim == 2:
        _require(b, "b", dtype, 1)
    elif not isinstance(b, (types.Float, types.Integer)):
        raise TypingError(f"b is a {b}; expected a number beside w (d,)")
    return w.ndim == 1


def _constant(kind, name: str) -> bool:
    """The value of an argument that decides the type of the result."""
    if isinstance(kind, (bool, types.Omitted, types.BooleanLiteral)):
        return bool(getattr(kind, "value", getattr(kind, "literal_value", kind)))
    raise TypingError(f"{name} is a {kind}; expected the constant True or False")


def _forward_parts(single: bool):
    """Shapes and the bias of a neuron (d,) or of a layer (d, k), as compiled functions."""
    if single:

        @register_jitable
        def shape(X, w):
            return (X.shape[0],)

        @register_jitable
        def biases(w, b):
            return np.full(1, b, w.dtype)

    else:

        @register_jitable
        def shape(X, w):
            return X.shape[0], w.shape[1]

        @register_jitable
        def biases(w, b):
            if b.size != w.shape[1]:
                raise ValueError("b has the wrong size; expected one bias for each column of w")
            return b

    return shape, biases


@register_jitable
def _check_layer(X, w):
    if w.size == 0:
        raise ValueError("w is empty; expected at least one input and one output")
    if X.shape[1] != w.shape[0]:
        raise ValueError("X has the wrong number of columns for w")


@overload(dense.affine, jit_options=OPTIONS)
def _affine(X, w, b, threads=None):
    shape, biases = _forward_parts(_layer_types(X, w, b))

    def implementation(X, w, b, threads=None):
        _check_layer(X, w)
        out = np.empty(shape(X, w), X.dtype)
        bias = biases(w, b)
        if out.size:
            n, d = X.shape
            buffer = _layer_buffer(n, d, w.size // d, X.itemsize, at.FORWARD, 0)
            _ready(buffer, X)
            nothing = out.reshape(-1)[:1]
            step(w.reshape(-1), bias, X, nothing, nothing, out.reshape(-1), nothing, buffer)
        return out

    return implementation


@overload(dense.affine_relu, jit_options=OPTIONS)
def _affine_relu(X, w, b, threads=None):
    shape, biases = _forward_parts(_layer_types(X, w, b))

    def implementation(X, w, b, threads=None):
        _check_layer(X, w)
        out = np.empty(shape(X, w), X.dtype)
        mask = np.empty(shape(X, w), np.bool_)
        bias = biases(w, b)
        if out.size:
            n, d = X.shape
            buffer = _layer_buffer(n, d, w.size // d, X.itemsize, at.FORWARD, 1)
            _ready(buffer, X)
            nothing = out.reshape(-1)[:1]
            bits = mask.reshape(-1).view(np.uint8)
            step(w.reshape(-1), bias, X, bits, nothing, out.reshape(-1), nothing, buffer)
        return out, mask

    return implementation


@overload(dense.affine_relu_backward, jit_options=OPTIONS, prefer_literal=True)
def _affine_relu_backward(grad_a, X, W, mask, need_gX=True, threads=None):
    dtype = _float_array(W, "W", 1, 2)
    _require(X, "X", dtype, 2)
    _require(grad_a, "grad_a", dtype, W.ndim)
    _require(mask, "mask", types.boolean, W.ndim)
    single = W.ndim == 1
    need_input = _constant(need_gX, "need_gX")
    job = at.GRADIENT_AND_INPUT if need_input else at.GRADIENT

    @register_jitable
    def split(grad, W):
        if single:
            return grad[:-1], grad[-1]
        return grad[: W.size].reshape(W.shape), grad[W.size :]

    if need_input:

        @register_jitable
        def input_gradient(X):
            return np.empty(X.shape, X.dtype)

        @register_jitable
        def flat(gX, nothing):
            return gX.reshape(-1)

    else:

        @register_jitable
        def input_gradient(X):
            return None

        @register_jitable
        def flat(gX, nothing):
            return nothing

    def implementation(grad_a, X, W, mask, need_gX=True, threads=None):
        _check_layer(X, W)
        n, d = X.shape
        k = W.size // d
        if grad_a.shape[0] != n or grad_a.size != n * k or grad_a.shape != mask.shape:
            raise ValueError("grad_a or mask has the wrong shape for X and W")
        gX = input_gradient(X)
        grad = np.zeros((d + 1) * k, X.dtype)
        if n:
            buffer = _layer_buffer(n, d, k, X.itemsize, job, 0)
            _ready(buffer, X)
            bits = mask.reshape(-1).view(np.uint8)
            nothing = grad[:1]
            step(
                W.reshape(-1), nothing, X, grad_a.reshape(-1), bits, grad, flat(gX, nothing), buffer
            )  # fmt: skip
        gW, gb = split(grad, W)
        return gX, gW, gb

    return implementation


@overload(neuron.neuron_loss_and_grad, jit_options=OPTIONS)
def _neuron_loss_and_grad(w, b, X, y, sample_weight=None, threads=None):
    dtype = _float_array(w, "w", 1)
    _require(X, "X", dtype, 2)
    _require(y, "y", dtype, 1)
    weighted = not _none(sample_weight)
    if weighted:
        _require(sample_weight, "sample_weight", dtype, 1)

    @register_jitable
    def weights_of(w, sample_weight, n):
        if not weighted:
            return w
        _check_weights(sample_weight, n)
        return sample_weight

    def implementation(w, b, X, y, sample_weight=None, threads=None):
        n, d = X.shape
        if d != w.size or n == 0:
            raise ValueError("X has no rows, or the wrong number of columns for w")
        if y.size != n:
            raise ValueError("y has another number of rows than X")
        weight = weights_of(w, sample_weight, n)
        vector = np.empty(one.BUFFER + 1, np.int64)
        size = neuron_plan(vector, n, d, X.itemsize, weighted)
        buffer = workspace(vector, size, size, X.itemsize, one.BUFFER64, one.BUFFER)
        gw = np.empty_like(w)
        loss, gb = neuron_step(gw, w, float(b), X, y, weight, buffer)
        return loss, gw, gb

    return implementation


def _elementwise(Z):
    if not isinstance(Z, types.Array):
        raise TypingError(f"Z is a {Z}; expected an array")
    _float_array(Z, "Z", Z.ndim)


@overload(neuron.relu, jit_options=OPTIONS)
def _relu(Z):
    _elementwise(Z)

    def implementation(Z):
        out = np.empty_like(Z)
        one.relu(out.reshape(-1), Z.reshape(-1))
        return out

    return implementation


@overload(neuron.relu_mask, jit_options=OPTIONS)
def _relu_mask(Z):
    _elementwise(Z)

    def implementation(Z):
        out = np.empty(Z.shape, np.bool_)
        one.relu_mask(out.reshape(-1), Z.reshape(-1))
        return out

    return implementation
