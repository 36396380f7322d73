"""Tensors at the door: what is refused by name, and the memory of what is taken."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
_PLAIN = (torch.Tensor, nn.Parameter)


def floats(value, name: str, dtype=None):
    """A CPU tensor of float32 or float64 (`dtype`: that of the parameters), or a clear error."""
    _held(value, name)
    if value.layout is not torch.strided:
        raise TypeError(f"{name} has layout {value.layout}; expected a dense tensor")
    if value.dtype not in NUMPY:
        raise TypeError(f"{name} has dtype {value.dtype}; expected torch.float32 or torch.float64")
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {value.dtype}, the parameters have {dtype}: use {name}.to({dtype})"
        )
    return value


def constant(value, name: str) -> None:
    """Checks a tensor that gets no gradient."""
    if value is None:
        return
    _held(value, name)
    if value.layout is not torch.strided:
        raise TypeError(f"{name} has layout {value.layout}; expected a dense tensor")
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} requires a gradient, which is not computed: use {name}.detach()")


def _held(value, name: str) -> None:
    """A tensor whose numbers are in this machine's memory."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a tensor")
    if value.device.type != "cpu":
        hint = "it has no numbers" if value.device.type == "meta" else f"use {name}.cpu()"
        raise TypeError(f"{name} is on {value.device}; fastgrad computes on the CPU: {hint}")
    if type(value) not in _PLAIN and hasattr(value, "fake_mode"):
        raise TypeError(
            f"{name} is a {type(value).__name__}, which has no numbers: fastgrad can be neither "
            f"traced nor exported"
        )


def rows(x, name: str, d: int):
    """x (..., d) as (n, d)."""
    if x.ndim == 0 or x.shape[-1] != d:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (..., {d})")
    return x if x.ndim == 2 else x.reshape(-1, d)


def array(tensor) -> np.ndarray | None:
    """The memory of a tensor; a copy where a view of its negative is all there is."""
    return None if tensor is None else tensor.numpy(force=True)


def contiguous(tensor) -> np.ndarray:
    return array(tensor.contiguous())
