"""PyTorch on CPU tensors, without copies: `affine_relu`, `DenseReLU`, `FusedMLP`, `from_torch`.

A tensor's memory is what the kernels read; gradients come back as fresh tensors. Functions are
differentiable once. Layouts are PyTorch's: a layer's weight is (k, d), as in `nn.Linear`.
"""

from __future__ import annotations

import functools

import numpy as np

try:
    import torch
except ImportError:
    raise ImportError(
        'fastgrad.interop.torch needs PyTorch: pip install "fastgrad[torch]"'
    ) from None

from torch import nn

from .._core import check
from ..dense import affine_relu as dense_forward
from ..dense import affine_relu_backward as dense_backward
from ..network import MLP
from ._network import loss_and_grads, network_backward

__all__ = ["DenseReLU", "FusedMLP", "affine_relu", "from_torch"]

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def _tensor(value, name: str, dtype=None):
    """A CPU tensor of float32 or float64 (`dtype`: that of the parameters), or a clear error."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a tensor")
    if value.device.type != "cpu":
        raise TypeError(
            f"{name} is on {value.device}; fastgrad computes on the CPU: use {name}.cpu()"
        )
    if value.layout is not torch.strided:
        raise TypeError(f"{name} has layout {value.layout}; expected a dense tensor")
    if value.dtype not in _NUMPY:
        raise TypeError(f"{name} has dtype {value.dtype}; expected torch.float32 or torch.float64")
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {value.dtype}, the parameters have {dtype}: use {name}.to({dtype})"
        )
    return value


def _numpy(tensor) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().numpy()


_function_transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


class _Function(torch.autograd.Function):
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


class _NoSecondDerivative(_Function):
    """Passes a gradient on, and stops who would differentiate it."""

    @staticmethod
    def forward(gradient, *depends_on):
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError(
            "fastgrad's gradients cannot be differentiated again (a double backward)"
        )


def _once(backward):
    """PyTorch's `once_differentiable` takes a gradient for a constant where the gradient that comes
    in is one; this does not."""

    @functools.wraps(backward)
    def wrapper(ctx, *grads):
        if not torch.is_grad_enabled():  # as ever but under create_graph=True
            return backward(ctx, *grads)
        with torch.no_grad():
            gradients = backward(ctx, *grads)
        return tuple(
            None if g is None else _NoSecondDerivative.apply(g, *grads, *ctx.saved_tensors)
            for g in gradients
        )

    return wrapper


class _AffineReLU(_Function):
    @staticmethod
    def forward(x, weight, bias):
        a, mask = dense_forward(_numpy(x), _numpy(weight).T, _numpy(bias))
        return torch.from_numpy(a), torch.from_numpy(mask)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, output[1])

    @staticmethod
    @_once
    def backward(ctx, grad_a, _):
        if grad_a is None:
            return None, None, None
        x, weight, mask = ctx.saved_tensors
        gx, gw, gb = dense_backward(
            _numpy(grad_a), _numpy(x), _numpy(weight).T, _numpy(mask),
            need_gX=ctx.needs_input_grad[0],
        )  # fmt: skip
        return (
            None if gx is None else torch.from_numpy(gx),
            torch.from_numpy(gw).t() if ctx.needs_input_grad[1] else None,
            torch.from_numpy(gb) if ctx.needs_input_grad[2] else None,
        )


def affine_relu(input, weight, bias=None):
    """`relu(torch.nn.functional.linear(input, weight, bias))`, fused (formulas 1, 2 and 23).

    Parameters
    ----------
    input : tensor (..., d)
        On the CPU, float32 or float64.
    weight : tensor (k, d)
        Read without a copy where it is the transpose of a contiguous (d, k), as `DenseReLU` keeps
        it.
    bias : tensor (k,), optional

    Returns
    -------
    a : tensor (..., k)
        The derivative at the kink is 0; NaN stays NaN.

    Raises
    ------
    TypeError, ValueError
        If a device, a dtype or a shape does not fit.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import affine_relu
    >>> x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    >>> affine_relu(x, w)
    tensor([[3., 0.]])
    """
    _tensor(weight, "weight")
    _tensor(input, "input", weight.dtype)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected (k, d)")
    k, d = weight.shape
    if bias is None:
        bias = torch.zeros(k, dtype=weight.dtype)
    elif _tensor(bias, "bias", weight.dtype).shape != (k,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({k},)")
    rows = _rows(input, d)
    a = _AffineReLU.apply(rows, weight, bias)[0]
    return a if rows is input else a.reshape(*input.shape[:-1], k)


def _rows(x, d: int):
    if x.ndim == 0 or x.shape[-1] != d:
        raise ValueError(f"input has shape {tuple(x.shape)}; expected (..., {d})")
    return x if x.ndim == 2 else x.reshape(-1, d)


class DenseReLU(nn.Module):
    """`nn.Linear` and `nn.ReLU` in one; its `state_dict` is `nn.Linear`'s.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : torch.float32 or torch.float64, optional
        PyTorch's default dtype if not given.

    Notes
    -----
    Weights start normal with variance 2/d (He), biases at zero. `weight` is (k, d) with the memory
    of its transpose, so that kernels and optimisers share it without a copy.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import DenseReLU
    >>> layer = DenseReLU(4, 3)
    >>> layer(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dtype=None):
        super().__init__()
        self.in_features = check.integer(in_features, "in_features")
        self.out_features = check.integer(out_features, "out_features")
        self.weight = nn.Parameter(torch.empty(in_features, out_features, dtype=dtype).t())
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input):
        """`affine_relu` of input (..., d)."""
        return affine_relu(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class _Outputs(_Function):
    @staticmethod
    def forward(theta, x, net):
        return torch.from_numpy(net.predict(_numpy(theta), _numpy(x)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        theta, x, ctx.net = inputs
        ctx.save_for_backward(theta, x, output)

    @staticmethod
    @_once
    def backward(ctx, grad_out):
        theta, x, out = ctx.saved_tensors
        gtheta = torch.empty_like(theta) if ctx.needs_input_grad[0] else None
        gx = torch.empty(x.shape, dtype=x.dtype) if ctx.needs_input_grad[1] else None
        network_backward(
            ctx.net, _contiguous(theta), _contiguous(x), _contiguous(grad_out), _numpy(out),
            theta_out=None if gtheta is None else _numpy(gtheta),
            X_out=None if gx is None else _numpy(gx),
        )  # fmt: skip
        return gtheta, gx, None


def _contiguous(tensor) -> np.ndarray:
    return _numpy(tensor.contiguous())


class _Call:
    """What a loss needs beside theta and x, and the gradients that it made."""

    __slots__ = ("made", "need_x", "net", "weight", "y")

    def __init__(self, net, y, weight, need_x: bool):
        self.net, self.y, self.weight, self.need_x = net, y, weight, need_x


class _Loss(_Function):
    """The loss with its gradients, made in one pass; backward scales them."""

    @staticmethod
    def forward(theta, x, call):
        args = (theta.numpy(), x.numpy(), _numpy(call.y), _numpy(call.weight))
        if call.need_x:
            loss, *call.made = loss_and_grads(call.net, *args)
        else:
            loss, *call.made = call.net.loss_and_grad(*args)
        return torch.from_numpy(np.array(loss, call.net.dtype))  # 3 us less than torch.tensor

    @staticmethod
    def setup_context(ctx, inputs, output):
        theta, x, ctx.call = inputs
        ctx.save_for_backward(theta, x)

    @staticmethod
    @_once
    def backward(ctx, grad_loss):
        scale = grad_loss.item()
        gradients = [None, None, None]
        for i, made in enumerate(ctx.call.made):
            if ctx.needs_input_grad[i]:
                gradients[i] = torch.from_numpy(np.multiply(made, made.dtype.type(scale)))
        return tuple(gradients)


def _target(value, name: str):
    """Checks a tensor that gets no gradient."""
    if value is None:
        return
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a tensor")
    if value.device.type != "cpu":
        raise TypeError(
            f"{name} is on {value.device}; fastgrad computes on the CPU: use {name}.cpu()"
        )
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} requires a gradient, which is not computed: use {name}.detach()")


class FusedMLP(nn.Module):
    """A whole network of ReLU layers as one node of the graph, with one flat parameter.

    ``module(x)`` gives the outputs (n, k); ``module(x, y)`` gives the loss, computed in one pass
    together with all gradients, so that its `backward()` costs next to nothing; `step_loss` gives
    the loss and leaves the gradient in `theta.grad` without a graph, the cheapest of the three.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs d, hidden widths, outputs k.
    loss : {"mse", "huber", "logistic", "cross_entropy"}
        As in `fastgrad.MLP`, where each normalisation is stated.
    output_activation : {"identity", "relu"}
    l2 : float
        `l2`/2 times the sum of squared weights is added to the loss of ``module(x, y)``.
    huber_delta : float
    dtype : torch.float32 or torch.float64, optional
        PyTorch's default dtype if not given.

    Attributes
    ----------
    theta : nn.Parameter (p,)
        All parameters, layer by layer W (d, k) row-major and b (k,).
    net : fastgrad.MLP
        The network of theta's dtype: ``net.predict(theta, X)`` for NumPy users.

    Notes
    -----
    An optimiser sees one parameter, which makes its step as cheap as it can be; weight decay of an
    optimiser is on biases too, `l2` is not. The gradient exists once: `create_graph=True` and vmap
    are errors. The backward pass of ``module(x)`` makes the forward pass again (a third more
    arithmetic than with a loss included).

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import FusedMLP
    >>> model = FusedMLP([8, 16, 3], loss="cross_entropy")
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
    >>> loss = model(x, y)
    >>> loss.backward()
    >>> optimizer.step()
    >>> model(x).shape
    torch.Size([32, 3])
    """

    def __init__(
        self,
        layer_sizes,
        loss: str = "mse",
        *,
        output_activation: str = "identity",
        l2: float = 0.0,
        huber_delta: float = 1.0,
        dtype=None,
    ):
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in _NUMPY:
            raise TypeError(f"dtype is {dtype}; expected torch.float32 or torch.float64")
        self._options = dict(output_activation=output_activation, l2=l2, huber_delta=huber_delta)
        self._net = MLP(layer_sizes, loss, dtype=_NUMPY[dtype], **self._options)
        self.theta = nn.Parameter(torch.empty(self._net.n_parameters, dtype=dtype))
        self.reset_parameters()

    @property
    def net(self) -> MLP:
        dtype = self.theta.dtype
        if dtype not in _NUMPY:
            raise TypeError(f"theta has dtype {dtype}; expected torch.float32 or torch.float64")
        if self._net.dtype != _NUMPY[dtype]:  # after module.double() or module.float()
            old = self._net
            self._net = MLP(old.layer_sizes, old.loss_name, dtype=_NUMPY[dtype], **self._options)
        return self._net

    def reset_parameters(self) -> None:
        """Draw the parameters anew, by He's rule and PyTorch's generator."""
        seed = int(torch.randint(2**62, ()))
        with torch.no_grad():
            self.theta.copy_(torch.from_numpy(self.net.init(seed)))

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """[(weight (k, d), bias (k,)), ...]: views of theta in PyTorch's layout."""
        _tensor(self.theta, "theta")
        return [
            (torch.from_numpy(W).t(), torch.from_numpy(b))
            for W, b in self.net.unflatten(_numpy(self.theta))
        ]

    def forward(self, x, y=None, sample_weight=None):
        """The outputs (..., k) of x (..., d); with targets y the loss of x (n, d), a scalar.

        `y` and `sample_weight` are tensors as `fastgrad.MLP.loss_and_grad` takes arrays. They get
        no gradients.
        """
        theta, net = _tensor(self.theta, "theta"), self.net
        _tensor(x, "x", theta.dtype)
        if y is None:
            if sample_weight is not None:
                raise TypeError("sample_weight is given without y")
            rows = _rows(x, net.n_inputs)
            out = _Outputs.apply(theta, rows, net)
            return out if rows is x else out.reshape(*x.shape[:-1], net.n_outputs)
        _target(y, "y")
        _target(sample_weight, "sample_weight")
        if not torch.is_grad_enabled():
            loss = net.loss(_numpy(theta), _numpy(x), _numpy(y), _numpy(sample_weight))
            return torch.tensor(loss, dtype=theta.dtype)
        return _Loss.apply(theta, x, _Call(net, y, sample_weight, x.requires_grad))

    def step_loss(self, x, y, sample_weight=None):
        """The loss, its gradient in `theta.grad`: what an optimiser's step needs, without a graph.

        It stands for ``zero_grad()``, ``module(x, y)`` and ``backward()``: the gradient that was
        there is overwritten, hooks of the graph are not run, x gets no gradient.

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
        theta, net = _tensor(self.theta, "theta"), self.net
        _tensor(x, "x", theta.dtype)
        _target(y, "y")
        _target(sample_weight, "sample_weight")
        if theta.grad is None:
            theta.grad = torch.empty_like(theta, requires_grad=False)
        loss, _ = net.loss_and_grad(
            _numpy(theta), _numpy(x), _numpy(y), _numpy(sample_weight), out=theta.grad.numpy()
        )
        return torch.from_numpy(np.array(loss, net.dtype))

    def extra_repr(self) -> str:
        return repr(self.net)[len("MLP(") : -1]

    def to_torch(self) -> nn.Sequential:
        """The same network as `nn.Sequential` of `nn.Linear` and `nn.ReLU`, with its own copy of
        the parameters: the way back from `from_torch`."""
        modules, layers = [], self.layers()
        for index, (weight, bias) in enumerate(layers):
            linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            modules.append(linear)
            if index < len(layers) - 1 or self.net.output_activation == "relu":
                modules.append(nn.ReLU())
        return nn.Sequential(*modules)


def from_torch(module, loss: str = "mse", *, l2: float = 0.0, huber_delta: float = 1.0):
    """A `FusedMLP` with the layers and a copy of the parameters of an `nn.Sequential`.

    Parameters
    ----------
    module : nn.Sequential
        `nn.Linear` layers with biases and an `nn.ReLU` between each two; a last `nn.ReLU` makes the
        output layer a ReLU. `DenseReLU` counts as both.
    loss, l2, huber_delta
        As in `FusedMLP`.

    Raises
    ------
    TypeError, ValueError
        If the module holds anything else; the message says where.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import from_torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    ... )
    >>> fused = from_torch(model)
    >>> x = torch.randn(5, 4)
    >>> torch.allclose(fused(x), model(x), atol=1e-6)
    True
    """
    if not isinstance(module, nn.Sequential):
        raise TypeError(f"module is a {type(module).__name__}; expected nn.Sequential")
    layers, after_relu = [], True
    for index, part in enumerate(module):
        is_relu, is_layer = isinstance(part, nn.ReLU), isinstance(part, (nn.Linear, DenseReLU))
        if not is_relu and not is_layer:
            raise TypeError(
                f"module[{index}] is a {type(part).__name__}; expected nn.Linear or nn.ReLU"
            )
        if is_layer != after_relu:
            what = "a ReLU before it" if is_layer else "nn.Linear"
            raise ValueError(f"module[{index}] is a {type(part).__name__}; expected {what}")
        if is_layer:
            _tensor(part.weight, f"weight of module[{index}]", module[0].weight.dtype)
            if part.bias is None:
                raise ValueError(f"module[{index}] has no bias; expected one")
            if layers and layers[-1].out_features != part.in_features:
                raise ValueError(
                    f"module[{index}] takes {part.in_features} inputs; the layer before it gives "
                    f"{layers[-1].out_features}"
                )
            layers.append(part)
        after_relu = is_relu or isinstance(part, DenseReLU)
    if not layers:
        raise ValueError("module has no layers; expected at least one nn.Linear")
    fused = FusedMLP(
        [layers[0].in_features, *(layer.out_features for layer in layers)], loss,
        output_activation="relu" if after_relu else "identity", l2=l2, huber_delta=huber_delta,
        dtype=layers[0].weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        for (weight, bias), layer in zip(fused.layers(), layers):
            weight.copy_(layer.weight)
            bias.copy_(layer.bias)
    return fused
