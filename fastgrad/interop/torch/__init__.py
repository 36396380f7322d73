"""PyTorch on CPU tensors, without copies: `affine_relu`, `DenseReLU`, `FusedMLP`, `from_torch`.

A tensor's memory is what the kernels read; gradients come back as fresh tensors. Functions are
differentiable once; the loss of a fused module has second derivatives by its parameters too.
Layouts are PyTorch's: a layer's weight is (k, d), as in `nn.Linear`. `torch.compile` breaks its
graph at these modules and runs them as they are.
"""

try:
    import torch  # noqa: F401
except ImportError:
    raise ImportError(
        'fastgrad.interop.torch needs PyTorch: pip install "fastgrad[torch]"'
    ) from None

from ..._core.names import list_public
from .dense import DenseReLU, affine_relu
from .mlp import FusedMLP
from .sequential import FusedSequential, from_torch

__all__ = ["DenseReLU", "FusedMLP", "FusedSequential", "affine_relu", "from_torch"]
list_public(globals())
