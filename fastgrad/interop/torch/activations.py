"""The activations as PyTorch has them: from modules to names, and back."""

from __future__ import annotations

from functools import partial

from torch import nn

from ...activations import LEAK

# PyTorch's softplus is z above its threshold, by default 20: 2e-9 too small there. Above 40 that is
# so for float64 too.
_EXACT = 40.0
MODULES = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": partial(nn.Softplus, threshold=_EXACT),
    "leaky_relu": partial(nn.LeakyReLU, LEAK),
}
KINDS = (nn.Identity, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.LeakyReLU)
_NAMES = {kind: name for name, kind in zip(MODULES, KINDS)}


def activation_of(module, place: str) -> str:
    """The name of a module of one of `KINDS`; a ValueError where its numbers are not ours."""
    kind = next(kind for kind in KINDS if isinstance(module, kind))
    if kind is nn.Softplus and (module.beta != 1 or module.threshold < 20):
        raise ValueError(f"{place} is {module}; expected beta 1 and a threshold of 20 or more")
    if kind is nn.LeakyReLU and module.negative_slope != LEAK:
        raise ValueError(f"{place} is {module}; expected a negative_slope of {LEAK}")
    return _NAMES[kind]
