"""A whole network as one node of the graph: what `FusedMLP` and `FusedSequential` share.

A module gives `_parameters_of_net()`: the network and its parameters, either one flat theta (p,) or
weight (k, d) and bias (k,) of each layer. Functions take them as they are; `flat` and `split` are
the way to one vector and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...curvature import hvp, output_hvp
from ...jacobians import back, jvp
from .._network import loss_and_grads
from .functions import Function, backward_of, eager, transformed
from .tensors import array, constant, contiguous, floats, rows


def flat(net, parameters) -> np.ndarray:
    """theta (p,): the memory of the one parameter, or a copy of them all."""
    if len(parameters) == 1:
        return contiguous(parameters[0])
    theta = np.empty(net.n_parameters, net.dtype)
    views = iter(parameters)
    for W, b in net.unflatten(theta):
        torch.from_numpy(W).t().copy_(next(views))
        torch.from_numpy(b).copy_(next(views))
    return theta


def split(net, gradient: np.ndarray, count: int) -> list:
    """A gradient (p,) as views in the shapes of so many parameters."""
    if count == 1:
        return [torch.from_numpy(gradient)]
    layers = net.unflatten(gradient)
    return [torch.from_numpy(part) for W, b in layers for part in (W.T, b)]


class _Outputs(Function):
    @staticmethod
    def forward(net, x, *parameters):
        return torch.from_numpy(net.predict(flat(net, parameters), array(x)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.net, *tensors = inputs
        ctx.save_for_backward(*tensors)

    def _backward(ctx, saved, grad_out):
        net, (x, *parameters) = ctx.net, saved
        _, need_x, *needed = ctx.needs_input_grad
        gtheta = np.empty(net.n_parameters, net.dtype) if any(needed) else None
        gx = np.empty(x.shape, net.dtype) if need_x else None
        back(net, flat(net, parameters), contiguous(x), contiguous(grad_out), gtheta, gx)
        return None, _made(gx), *_needed(net, gtheta, needed)

    def _again(ctx, cotangents, grads, saved):
        """By `grad_out` the product with the Jacobian, by x and the parameters that with the
        Hessian of the outputs times `grad_out`."""
        net, (x, *parameters) = ctx.net, saved
        _, along_x, *along = cotangents
        tangent, tangent_x = _tangent(net, along, parameters), array(along_x)
        if tangent is tangent_x is None or not len(x):
            return (None,) * (1 + len(saved))
        (grad_out,), (_, need_x, *needed) = grads, ctx.needs_input_grad
        theta, x = flat(net, parameters), contiguous(x)
        moved = jvp(net, theta, x, tangent, tangent_x)
        if not need_x and not any(needed):
            return _made(moved), *[None] * len(saved)
        product, product_x = output_hvp(
            net, theta, x, contiguous(grad_out), tangent, v_X=tangent_x, need_X=True
        )
        return _made(moved), _made(product_x), *split(net, product, len(parameters))

    backward = staticmethod(backward_of(_backward, _again))


def _tangent(net, cotangents, parameters) -> np.ndarray | None:
    """theta's, of what there is for its parameters."""
    if all(cotangent is None for cotangent in cotangents):
        return None
    pairs = zip(cotangents, parameters)
    return flat(net, [torch.zeros_like(p) if c is None else c for c, p in pairs])


def _made(gradient):
    return None if gradient is None else torch.from_numpy(gradient)


def _needed(net, gradient, needed) -> list:
    """The gradients of the parameters that are not frozen, None for the others."""
    if gradient is None:
        return [None] * len(needed)
    parts = split(net, gradient, len(needed))
    return [part if need else None for part, need in zip(parts, needed)]


class _Call:
    """What a loss needs beside x and parameters, and the gradients (theta, x) that it made."""

    __slots__ = ("made", "need_x", "net", "versions", "weight", "y")

    def __init__(self, net, y, weight, need_x: bool):
        self.net, self.y, self.weight, self.need_x = net, y, weight, need_x
        self.versions = _version(y), _version(weight)

    def constants(self):
        """y and the weights, unless they are no longer what the loss was computed from."""
        if self.versions != (_version(self.y), _version(self.weight)):
            raise RuntimeError(
                "y or sample_weight was changed in place after the loss, whose second derivative "
                "needs it"
            )
        return array(self.y), array(self.weight)


def _version(tensor) -> int:
    return 0 if tensor is None or tensor.is_inference() else tensor._version


class _Loss(Function):
    """The loss with its gradients, made in one pass; backward scales them."""

    @staticmethod
    def forward(call, x, *parameters):
        net = call.net
        args = (flat(net, parameters), array(x), array(call.y), array(call.weight))
        if call.need_x:
            loss, *call.made = loss_and_grads(net, *args)
        else:
            loss, *call.made = net.loss_and_grad(*args)
        return torch.from_numpy(np.array(loss, net.dtype))  # 3 us less than torch.tensor

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.call, *tensors = inputs
        ctx.save_for_backward(*tensors)

    def _backward(ctx, saved, grad_loss):
        net, made = ctx.call.net, ctx.call.made
        _, need_x, *needed = ctx.needs_input_grad
        scale = net.dtype.type(grad_loss.item())
        gtheta = np.multiply(made[0], scale) if any(needed) else None
        gx = np.multiply(made[1], scale) if need_x else None
        return None, _made(gx), *_needed(net, gtheta, needed)

    def _again(ctx, cotangents, grads, saved):
        """By the incoming gradient the inner products with what it scales; by x and the parameters
        the Hessian's product with the cotangents."""
        call, (x, *parameters) = ctx.call, saved
        net, (_, along_x, *along) = call.net, cotangents
        tangent, tangent_x = _tangent(net, along, parameters), array(along_x)
        if tangent is tangent_x is None:
            return (None,) * (1 + len(saved))
        inner = 0.0 if tangent is None else np.vdot(tangent, call.made[0])
        inner += 0.0 if tangent_x is None else np.vdot(tangent_x, call.made[1])
        theta, (y, weight) = flat(net, parameters), call.constants()
        moved = hvp(
            net, theta, contiguous(x), y, tangent, weight, v_X=tangent_x, need_X=call.need_x
        )
        moved, moved_x = moved if call.need_x else (moved, None)
        scale = net.dtype.type(grads[0].item())
        for product in moved, moved_x:
            if product is not None:
                product *= scale
        value = torch.from_numpy(np.array(inner, net.dtype))
        return value, _made(moved_x), *split(net, moved, len(parameters))

    backward = staticmethod(backward_of(_backward, _again))


class Fused:
    """`forward` and `step_loss` of a module that has `_parameters_of_net`."""

    if TYPE_CHECKING:

        def __call__(
            self,
            x: torch.Tensor,
            y: torch.Tensor | None = None,
            sample_weight: torch.Tensor | None = None,
        ) -> torch.Tensor: ...

    @eager
    def forward(
        self,
        x: torch.Tensor,
        y: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The outputs (..., k) of x (..., d); with targets y the loss of x (n, d), a scalar.

        `y` and `sample_weight` are tensors as `fastgrad.MLP.loss_and_grad` takes arrays. They get
        no gradients. Under ``create_graph=True`` the gradients of the loss and of the outputs can
        be differentiated once more, by x and by the parameters: `fastgrad.curvature.hvp` and
        `output_hvp` are that.
        """
        net, parameters = self._parameters_of_net()
        floats(x, "x", parameters[0].dtype)
        if y is None:
            if sample_weight is not None:
                raise TypeError("sample_weight is given without y")
            inputs = rows(x, "x", net.n_inputs)
            out = _Outputs.apply(net, inputs, *parameters)
            return out if inputs is x else out.reshape(*x.shape[:-1], net.n_outputs)
        constant(y, "y")
        constant(sample_weight, "sample_weight")
        if not torch.is_grad_enabled() and not transformed():
            theta = flat(net, parameters)
            loss = net.loss(theta, array(x), array(y), array(sample_weight))
            return torch.tensor(loss, dtype=parameters[0].dtype)
        return _Loss.apply(_Call(net, y, sample_weight, x.requires_grad), x, *parameters)

    @eager
    def step_loss(
        self, x: torch.Tensor, y: torch.Tensor, sample_weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss, its gradients in `.grad`: what an optimiser's step needs, without a graph.

        It stands for ``zero_grad()``, ``module(x, y)`` and ``backward()``: gradients that were
        there are overwritten, but for those of frozen parameters; hooks of the graph are not run, x
        gets no gradient. Second derivatives want the graph: they are those of ``module(x, y)``.

        Parameters
        ----------
        x : tensor (n, d)
        y, sample_weight : tensors
            As `fastgrad.MLP.loss_and_grad` takes arrays.

        Returns
        -------
        loss : tensor ()
            Without a graph.

        Raises
        ------
        TypeError, ValueError
            As ``module(x, y)``.

        Examples
        --------
        >>> import torch
        >>> from fastgrad.interop.torch import FusedMLP
        >>> model = FusedMLP([8, 16, 1])
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = torch.randn(32, 8), torch.randn(32, 1)
        >>> for _ in range(10):
        ...     loss = model.step_loss(x, y)
        ...     optimizer.step()
        """
        net, parameters = self._parameters_of_net()
        floats(x, "x", parameters[0].dtype)
        constant(y, "y")
        constant(sample_weight, "sample_weight")
        if transformed():
            raise RuntimeError(
                "step_loss leaves gradients in .grad, which torch.func does not see: differentiate "
                "module(x, y)"
            )
        given = flat(net, parameters), array(x), array(y), array(sample_weight)
        if not any(parameter.requires_grad for parameter in parameters):
            return torch.from_numpy(np.array(net.loss(*given), net.dtype))
        for parameter in parameters:
            _check_grad(parameter)
        out = _memory(parameters[0].grad) if len(parameters) == 1 else None
        loss, gradient = net.loss_and_grad(*given, out=out)
        if out is None:
            _write(parameters, split(net, gradient, len(parameters)))
        return torch.from_numpy(np.array(loss, net.dtype))


def _check_grad(parameter) -> None:
    """An error where no gradient can be left."""
    if not parameter.requires_grad:
        return
    if not parameter.is_leaf:
        raise ValueError(
            "a parameter is computed from others, which step_loss cannot reach: use "
            "module(x, y).backward()"
        )
    if parameter.grad is not None:
        grad = floats(parameter.grad, "the .grad of a parameter", parameter.dtype)
        if any(size > 1 and step == 0 for size, step in zip(grad.shape, grad.stride())):
            raise ValueError(
                "the .grad of a parameter repeats its elements, as expand makes it: use "
                ".grad.contiguous()"
            )


def _memory(grad) -> np.ndarray | None:
    """What a kernel can write to."""
    if grad is None or not grad.is_contiguous() or grad.is_neg():
        return None
    return grad.detach().numpy()


@torch.no_grad()
def _write(parameters, gradients) -> None:
    """Into `.grad`; of a parameter that two layers share the sum."""
    written = set()
    for parameter, gradient in zip(parameters, gradients):
        if not parameter.requires_grad:
            continue
        if id(parameter) in written:
            parameter.grad.add_(gradient)
        elif parameter.grad is None:
            parameter.grad = gradient.clone(memory_format=torch.contiguous_format)
        else:
            parameter.grad.copy_(gradient)
        written.add(id(parameter))
