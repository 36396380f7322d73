"""What every function of ours is to autograd: differentiable once, no vmap, not compiled."""

from __future__ import annotations

import functools
import sys

import torch

_function_transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


def eager(function):
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
    """Differentiable once, and not under vmap; both are said."""

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


class _Gradient(Function):
    """A backward pass as a function of its own.

    So the transforms of `torch.func` see through it as through a forward pass, and who would
    differentiate it is stopped.
    """

    @staticmethod
    def forward(compute, *tensors):
        return compute(*tensors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            "fastgrad's gradients cannot be differentiated again (a double backward)"
        )


def once(compute):
    """The backward pass of a function, of `compute(ctx, saved, *grads)` to a tuple of gradients.

    PyTorch's `once_differentiable` takes a gradient for a constant where the gradient that comes in
    is one; this does not.
    """

    @functools.wraps(compute)
    def backward(ctx, *grads):
        saved = ctx.saved_tensors
        if not torch.is_grad_enabled():  # as ever but under create_graph=True
            return compute(ctx, saved, *grads)
        given = []

        def run(*tensors):
            gradients = compute(ctx, tensors[len(grads) :], *tensors[: len(grads)])
            given[:] = [gradient is not None for gradient in gradients]
            return tuple(gradient for gradient in gradients if gradient is not None)

        made = iter(_Gradient.apply(run, *grads, *saved))
        return tuple(next(made) if there else None for there in given)

    return backward
