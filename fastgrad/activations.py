"""The activations of hidden layers: one row an activation (formula 28).

A row names the activation, the variance of initial weights times d that keeps the size of outputs
(He et al., arXiv 1502.01852), its value and its slope. The slope is that of its output, so a
network stores nothing more. The loop is in `kernels/activations.py`; the twins in `reference.py`
are written by hand, as an oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._core.names import list_public
from .kernels import activations as kernels
from .typing import ActivationName

__all__ = ["ACTIVATIONS", "LEAK", "Activation", "get_activation"]
list_public(globals())


@dataclass(frozen=True, eq=False)
class Activation:
    """One activation."""

    name: ActivationName
    variance: float  # of initial weights, times d
    value: Callable[[Any, Any], Any]  # (v, z) -> a, as vectors (`kernels/arithmetic.py`)
    slope: Callable[[Any, Any], Any]  # (v, a) -> da/dz
    # (v, a) -> second derivative by z over the first; None: 0
    bend: Callable[[Any, Any], Any] | None = None
    code: int = field(init=False)

    def __post_init__(self) -> None:
        code = kernels.add_activation(self.name, self.value, self.slope, self.bend)
        object.__setattr__(self, "code", code)


LEAK = 0.01  # the slope of a leaky ReLU where z <= 0, as in PyTorch

# The first two are the micro-kernel's own epilogues, by these codes (`kernels/micro_kernel.py`).
ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", 1.0, lambda v, z: z, lambda v, a: v.const(1.0)),
        Activation(
            "relu",
            2.0,
            lambda v, z: v.select(v.passes(z), z, v.const(0.0)),
            lambda v, a: v.select(v.passes(a), v.const(1.0), v.const(0.0)),
        ),
        Activation(
            "tanh",
            25 / 9,  # PyTorch has the gain 5/3
            lambda v, z: v.tanh(z),
            lambda v, a: v.mul(v.sub(v.const(1.0), a), v.add(v.const(1.0), a)),  # 1 - a^2
            lambda v, a: v.mul(v.const(-2.0), a),
        ),
        Activation(
            "sigmoid",
            1.0,
            lambda v, z: v.sigmoid(z),
            lambda v, a: v.mul(a, v.sub(v.const(1.0), a)),
            lambda v, a: v.fma(v.const(-2.0), a, v.const(1.0)),
        ),
        Activation(
            "softplus",
            2.0,  # as for the ReLU that it smooths
            lambda v, z: v.add(
                v.log1p(v.exp(v.neg(v.abs(z)))), v.select(v.passes(z), z, v.const(0.0))
            ),
            lambda v, a: v.neg(v.expm1_negative(v.neg(a))),  # 1 - exp(-a)
            lambda v, a: v.exp(v.neg(a)),
        ),
        Activation(
            "leaky_relu",
            2 / (1 + LEAK**2),
            lambda v, z: v.select(v.passes(z), z, v.mul(v.const(LEAK), z)),
            lambda v, a: v.select(v.passes(a), v.const(1.0), v.const(LEAK)),
        ),
    )
}


def get_activation(name: str, argument: str = "activation") -> Activation:
    """The activation of that name; an error that lists the names otherwise."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    try:
        return ACTIVATIONS[name]
    except KeyError:
        names = ", ".join(ACTIVATIONS)
        raise ValueError(f"{argument} is {name!r}; expected one of {names}") from None
