"""From arrays to a CALL: the one place where compiled code binds a step to what it works on.

Python's calls, its fast path, training and the user's own `@njit` code come through here, each with
arrays that are checked already or are checked here (`takes_step`). Every `run_*` kernel binds a
CALL in a workspace and, where it is to be serial, runs the step; an array that is not given is
None.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .engine import step
from .jit import inner, kernel
from .record_types import write_field
from .records import (
    CALL,
    MAX_NORM,
    call_in,
    worker_of,
)
from .simd import null_of, pointer, retype


@intrinsic
def pointer_or_null(typingctx, array, like):
    """The address of an optional array; null, of the type of `like`'s, where it is None."""
    is_array = isinstance(array, types.Array)
    if not is_array and not isinstance(array, (types.NoneType, types.Omitted)):
        raise TypingError(f"{array} is no array")

    def codegen(context, builder, signature, args):
        if is_array:
            return context.make_array(array)(context, builder, value=args[0]).data
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return types.CPointer(array.dtype if is_array else like.dtype)(array, like), codegen


def _bind_by_dtype(labels: str, values: str, doc: str):
    """An intrinsic (call, y) that binds y to one of two fields, by its dtype."""

    @intrinsic
    def bind(typingctx, call, y):
        name = labels if isinstance(y.dtype, types.Integer) else values

        def codegen(context, builder, signature, args):
            data = context.make_array(y)(context, builder, value=args[1]).data
            write_field(builder, args[0], CALL, name, data)
            return context.get_dummy_value()

        return types.void(call, y), codegen

    bind.__doc__ = doc
    return bind


bind_targets = _bind_by_dtype("labels", "targets", "y as classes or as real numbers.")
bind_targets_source = _bind_by_dtype(
    "labels_source", "targets_source", "Where targets are gathered from."
)


def _bind_rows(name: str, doc: str):
    """An intrinsic (call, x) that binds X: an array to the field `name`, or the parts of a sparse
    X (`_core/csr.py`) to theirs."""

    @intrinsic
    def bind(typingctx, call, x):
        def data(context, builder, kind, value):
            return context.make_array(kind)(context, builder, value=value).data

        def codegen(context, builder, signature, args):
            if isinstance(x, types.Array):
                write_field(builder, args[0], CALL, name, data(context, builder, x, args[1]))
                return context.get_dummy_value()
            for i, (field, kind) in enumerate(zip(SPARSE_PARTS, x.types)):
                value = builder.extract_value(args[1], i)
                if isinstance(kind, types.Array):
                    value = data(context, builder, kind, value)
                else:
                    value = context.cast(builder, value, kind, types.int64)
                write_field(builder, args[0], CALL, field, value)
            return context.get_dummy_value()

        return types.void(call, x), codegen

    bind.__doc__ = doc
    return bind


# Of a sparse X, in their order: its arrays as bytes but for the values, room, and sizes.
SPARSE_PARTS = ("x", "indices", "indptr", "entries", "index_bytes", "indptr_bytes", "last_entry")
bind_rows = _bind_rows("x", "X of a step.")
bind_rows_source = _bind_rows("x_source", "What rows of X are taken from in training.")


@inner
def bind_step(call, theta, x, y, s, out, dx):
    """A network's loss, with what is wanted beside it."""
    call.theta = call.bias = pointer(theta)
    bind_rows(call, x)
    bind_targets(call, y)
    call.weights = pointer_or_null(s, theta)
    call.out = pointer_or_null(out, theta)
    call.dx = pointer_or_null(dx, theta)


@inner
def bind_forward(call, w, b, x, out):
    """Outputs of a network (b is theta) or of a layer."""
    call.theta, call.bias = pointer(w), pointer(b)
    bind_rows(call, x)
    call.out = pointer(out)


@inner
def bytes_of(mask):
    """The address of a bool array, as bytes."""
    return retype(pointer(mask), null_of(None))


@inner
def bind_backward(call, w, x, grad_out, mask, out, bias_out, dx):
    """The way back from a given output gradient of a layer."""
    call.theta = call.bias = pointer(w)
    call.x, call.targets, call.mask = pointer(x), pointer(grad_out), bytes_of(mask)
    call.out = pointer_or_null(out, w)
    call.bias_gradient = pointer_or_null(bias_out, w)
    call.dx = pointer_or_null(dx, w)


@inner
def bind_vjp(call, theta, x, cotangent, out, dx):
    """The way back from a cotangent of a network's outputs."""
    call.theta = call.bias = pointer(theta)
    bind_rows(call, x)
    call.targets = pointer(cotangent)
    call.out = pointer_or_null(out, theta)
    call.dx = pointer_or_null(dx, theta)


@inner
def bind_tangents(call, theta, tangent, x_tangent):
    call.tangent = pointer_or_null(tangent, theta)
    call.x_tangent = pointer_or_null(x_tangent, theta)


@inner
def bind_neuron(call, w, b, x, y, s, out):
    """One neuron's loss and gradient, whose b is a number."""
    call.theta, call.x, call.targets = pointer(w), pointer(x), pointer(y)
    call.weights, call.out = pointer_or_null(s, w), pointer(out)
    call.bias, call.bias_gradient = call.neuron_bias, call.neuron_bias_gradient
    call.bias[0] = b


@inner
def bias_gradient(call):
    """d loss / d b of one neuron, after the step."""
    return float(call.neuron_bias_gradient[0])


@inner
def run_bound(call, serial):
    return step(call, worker_of(call, 0)) if serial else 0.0


@kernel
def run_step(buffer, theta, x, y, s, out, dx, serial):
    call = call_in(buffer, pointer(theta))
    bind_step(call, theta, x, y, s, out, dx)
    return run_bound(call, serial)


@inner
def bind_of_rows(call, theta, x, y, s, out, norms, gradients, max_norm):
    """What is of each row in a network's loss; `out`: the mean of clipped gradients."""
    bind_step(call, theta, x, y, s, out, None)
    call.norms = pointer_or_null(norms, theta)
    call.row_gradients = pointer_or_null(gradients, theta)
    call.sums[MAX_NORM] = max_norm


@inner
def bind_factors(call, theta, activations, deltas, channels, channel):
    """Where factors of the rows' gradients are kept; activations may be kept already (None)."""
    call.activations = pointer_or_null(activations, theta)
    call.deltas = pointer(deltas)
    call.channels, call.channel = channels, channel


@kernel
def run_rows(buffer, theta, x, y, s, out, norms, gradients, max_norm, serial):
    call = call_in(buffer, pointer(theta))
    bind_of_rows(call, theta, x, y, s, out, norms, gradients, max_norm)
    return run_bound(call, serial)


@kernel
def run_factors(buffer, theta, x, y, s, activations, deltas, serial):
    """What the rows' gradients are products of, in the loss."""
    call = call_in(buffer, pointer(theta))
    bind_step(call, theta, x, y, s, None, None)
    bind_factors(call, theta, activations, deltas, 1, 0)
    return run_bound(call, serial)


@kernel
def run_output_factors(buffer, theta, x, cotangent, activations, deltas, channels, channel, serial):
    """And with a given output gradient, one of several of the same rows."""
    call = call_in(buffer, pointer(theta))
    bind_vjp(call, theta, x, cotangent, None, None)
    bind_factors(call, theta, activations, deltas, channels, channel)
    return run_bound(call, serial)


@kernel
def run_forward(buffer, w, b, x, out, mask, serial):
    call = call_in(buffer, pointer(w))
    bind_forward(call, w, b, x, out)
    if mask is not None:
        call.mask = bytes_of(mask)
    return run_bound(call, serial)


@kernel
def run_backward(buffer, w, x, grad_out, mask, out, bias_out, dx, serial):
    call = call_in(buffer, pointer(w))
    bind_backward(call, w, x, grad_out, mask, out, bias_out, dx)
    return run_bound(call, serial)


@kernel
def run_vjp(buffer, theta, x, cotangent, out, dx, serial):
    call = call_in(buffer, pointer(theta))
    bind_vjp(call, theta, x, cotangent, out, dx)
    return run_bound(call, serial)


@kernel
def run_jacobian(buffer, theta, x, out, dx, serial):
    """By theta (n, k, p) or by X (n, k, d)."""
    call = call_in(buffer, pointer(theta))
    call.theta = call.bias = pointer(theta)
    call.x = pointer(x)
    call.out, call.dx = pointer_or_null(out, theta), pointer_or_null(dx, theta)
    return run_bound(call, serial)


@kernel
def run_jvp(buffer, theta, tangent, x, x_tangent, out, serial):
    call = call_in(buffer, pointer(theta))
    bind_forward(call, theta, theta, x, out)
    bind_tangents(call, theta, tangent, x_tangent)
    return run_bound(call, serial)


@kernel
def run_product(buffer, theta, tangent, x, x_tangent, y, s, out, dx, serial):
    """The curvature of a network's loss times a tangent."""
    call = call_in(buffer, pointer(theta))
    bind_step(call, theta, x, y, s, out, dx)
    bind_tangents(call, theta, tangent, x_tangent)
    return run_bound(call, serial)


@kernel
def run_output_product(buffer, theta, tangent, x, x_tangent, cotangent, out, dx, serial):
    """The curvature of a network's outputs, weighted by a cotangent, times a tangent."""
    call = call_in(buffer, pointer(theta))
    bind_vjp(call, theta, x, cotangent, out, dx)
    bind_tangents(call, theta, tangent, x_tangent)
    return run_bound(call, serial)


@kernel
def run_neuron(buffer, w, b, x, y, s, out, serial):
    """(loss, db)."""
    call = call_in(buffer, pointer(w))
    bind_neuron(call, w, b, x, y, s, out)
    return run_bound(call, serial), bias_gradient(call)


@kernel
def neuron_bias_gradient(buffer, like):
    return bias_gradient(call_in(buffer, pointer(like)))
