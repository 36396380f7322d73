"""One layer: `affine_relu`, and `DenseReLU`, which is `nn.Linear` and `nn.ReLU` in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..._core import check
from ...dense import affine_relu as dense_forward
from ...dense import affine_relu_backward as dense_backward
from .functions import Function, eager, once
from .tensors import array, floats, rows


class _AffineReLU(Function):
    """Of rows (n, d), W (d, k) and bias (k,)."""

    @staticmethod
    def forward(x, W, bias):
        a, mask = dense_forward(array(x), array(W), array(bias))
        return torch.from_numpy(a), torch.from_numpy(mask)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, W, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, W, output[1])

    @staticmethod
    @once
    def backward(ctx, saved, grad_a, _):
        if grad_a is None:
            return None, None, None
        x, W, mask = saved
        gradients = dense_backward(
            array(grad_a), array(x), array(W), array(mask), need_gX=ctx.needs_input_grad[0]
        )
        return tuple(
            torch.from_numpy(gradient) if needed else None
            for gradient, needed in zip(gradients, ctx.needs_input_grad)
        )


@eager
def affine_relu(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`relu(torch.nn.functional.linear(input, weight, bias))`, fused (formulas 1, 2 and 23).

    Parameters
    ----------
    input : tensor (..., d)
        On the CPU, float32 or float64.
    weight : tensor (k, d)
        Copied once a call, unless it is the transpose of a contiguous (d, k).
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
    floats(weight, "weight")
    floats(input, "input", weight.dtype)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected (k, d)")
    k, d = weight.shape
    if bias is None:
        bias = torch.zeros(k, dtype=weight.dtype)
    elif floats(bias, "bias", weight.dtype).shape != (k,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({k},)")
    x = rows(input, "input", d)
    a = _AffineReLU.apply(x, weight.t().contiguous(), bias)[0]
    return a if x is input else a.reshape(*input.shape[:-1], k)


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
    Weights start normal with variance 2/d (He), biases at zero. `weight` is (k, d) and contiguous,
    as `nn.Linear` has it: the kernels read its transpose, which is made once a call.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import DenseReLU
    >>> layer = DenseReLU(4, 3)
    >>> layer(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    if TYPE_CHECKING:
        in_features: int
        out_features: int
        weight: nn.Parameter
        bias: nn.Parameter | None

        def __call__(self, input: torch.Tensor) -> torch.Tensor: ...

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check.integer(in_features, "in_features")
        self.out_features = check.integer(out_features, "out_features")
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=dtype))
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

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`affine_relu` of input (..., d)."""
        return affine_relu(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"
