"""What every function of ours is to autograd: a backward pass, which can be differentiated in its
turn where there is a closed form for that; no vmap, not compiled."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_function_transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


C = TypeVar("C", bound=Callable[..., Any])


def eager(function: C) -> C:
    """`torch.compile` breaks its graph here and calls the function as it is.

    Its compiler is imported with the first use of it, in 1 s; without it nothing needs to be done.
    """
    made = []

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if torch.jit.is_tracing():
            raise RuntimeError("fastgrad's functions cannot be traced by torch.jit")
        if not made:
            if "torch._dynamo" not in sys.modules:
                return function(*args, **kwargs)
            made.append(torch.compiler.disable(function))
        return made[0](*args, **kwargs)

    return wrapper


class Function(torch.autograd.Function):
    """Not under vmap and without forward mode; both are said."""

    @classmethod
    def apply(cls, *args):
        """As PyTorch's, without binding the arguments to the signature: 20 us a call."""
        if _function_transforms():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*args)

    @staticmethod
    def vmap(info, in_dims, *args):
        raise RuntimeError(
            "fastgrad's functions cannot be vmapped: give all rows at once, as (n, d)"
        )

    @staticmethod
    def jvp(ctx, *tangents):
        raise NotImplementedError("fastgrad's functions have no forward-mode derivative")


AGAIN = (
    "fastgrad has no such derivative of a gradient (a double backward): the gradients of a fused "
    "network can be differentiated once more, those of a layer by itself cannot"
)


class _Gradient(Function):
    """A backward pass as a function of its own.

    So the transforms of `torch.func` see through it as through a forward pass, and who would
    differentiate it gets its derivative, or is stopped.
    """

    @staticmethod
    def forward(compute, again, *tensors):
        return compute(*tensors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.again, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *cotangents):
        if ctx.again is None:
            raise RuntimeError(AGAIN)
        again = ctx.again
        given = [cotangent is not None for cotangent in cotangents]
        tensors = *(c for c in cotangents if c is not None), *ctx.saved_tensors

        def run(*tensors):
            values = iter(tensors)
            return again([next(values) if there else None for there in given], *values)

        if not torch.is_grad_enabled():
            return None, None, *run(*tensors)
        return None, None, *_nones_kept(run, None, tensors)


def _nones_kept(run, again, tensors):
    """`_Gradient` of a function that returns None for what is not wanted."""
    given = []

    def there_alone(*tensors):
        gradients = run(*tensors)
        given[:] = [gradient is not None for gradient in gradients]
        return tuple(gradient for gradient in gradients if gradient is not None)

    def spread(cotangents, *tensors):
        values = iter(cotangents)
        return again([next(values) if there else None for there in given], *tensors)

    made = iter(_Gradient.apply(there_alone, again and spread, *tensors))
    return tuple(next(made) if there else None for there in given)


def backward_of(compute, again=None):
    """The backward pass of a function, of `compute(ctx, saved, *grads)` to a tuple of gradients.

    `again(ctx, cotangents, grads, saved)`, of a cotangent or None for each of these gradients, is
    the backward pass of this one: a gradient or None for each of grads and saved.

    PyTorch's `once_differentiable` takes a gradient for a constant where the gradient that comes in
    is one; this does not.
    """

    @functools.wraps(compute)
    def backward(ctx, *grads):
        saved = ctx.saved_tensors
        if not torch.is_grad_enabled():  # as ever but under create_graph=True
            return compute(ctx, saved, *grads)

        def run(*tensors):
            return compute(ctx, tensors[len(grads) :], *tensors[: len(grads)])

        def run_again(cotangents, *tensors):
            return again(ctx, cotangents, tensors[: len(grads)], tensors[len(grads) :])

        return _nones_kept(run, again and run_again, (*grads, *saved))

    return backward


def once(compute):
    """The backward pass of a function whose gradients have no derivatives."""
    return backward_of(compute)
