"""What a network is: the one description that `MLP`, saved models, guests and plans share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..activations import Activation, get_activation
from ..losses import Loss, get_loss
from . import check


@dataclass(frozen=True)
class Network:
    """Checked settings. Two are equal, and hash alike, when all settings are."""

    layer_sizes: tuple[int, ...]
    loss: Loss
    activation: Activation
    output_activation: Activation
    dtype: np.dtype
    l2: float
    huber_delta: float

    @cached_property
    def n_parameters(self) -> int:
        """p: all weights and biases."""
        return sum((d + 1) * k for d, k in pairwise(self.layer_sizes))

    @property
    def numbers(self) -> tuple[float, float]:
        """What a workspace holds of them: the loss's parameter, l2."""
        name = self.loss.parameter
        return (getattr(self, name) if name else 1.0), self.l2

    def settings(self) -> dict[str, object]:
        """All settings by the names of `MLP`'s arguments, as text, numbers and lists: what a file
        holds, and what `network` takes."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (Loss, Activation, np.dtype)):
                value = value.name
            found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    def without_penalty(self) -> Network:
        return replace(self, l2=0.0)


def network(
    layer_sizes,
    loss="mse",
    *,
    activation="relu",
    output_activation="identity",
    dtype=np.float64,
    l2=0.0,
    huber_delta=1.0,
) -> Network:
    """Check the settings of a network; the errors name them."""
    sizes, loss = _sizes(layer_sizes), get_loss(loss)
    if sizes[-1] < loss.least_outputs:
        raise ValueError(
            f"layer_sizes ends with {sizes[-1]} output; {loss.name} needs one for each class, "
            f"{loss.least_outputs} or more (for two classes on one logit use loss='logistic')"
        )
    dtype = check.float_dtype(dtype)
    made = Network(
        sizes, loss, get_activation(activation), _output_activation(output_activation, loss),
        dtype, check.non_negative(l2, "l2"), check.positive(huber_delta, "huber_delta"),
    )  # fmt: skip
    check.held(made.l2, "l2", dtype)
    check.held(made.huber_delta, "huber_delta", dtype, zero=False)
    check.addressable(made.n_parameters, dtype, "layer_sizes")
    return made


def _sizes(layer_sizes) -> tuple[int, ...]:
    try:
        sizes = list(layer_sizes)
    except TypeError:
        raise TypeError(
            f"layer_sizes is {layer_sizes!r}; expected a sequence of integers"
        ) from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes is {sizes}; expected at least two sizes, inputs and outputs")
    return tuple(check.integer(size, f"layer_sizes[{i}]") for i, size in enumerate(sizes))


def _output_activation(name, loss: Loss) -> Activation:
    if name not in ("identity", "relu"):
        raise ValueError(f"output_activation is {name!r}; expected 'identity' or 'relu'")
    if name == "relu" and loss.takes_logits:
        raise ValueError(
            f"output_activation is 'relu', but the loss {loss.name!r} takes logits; "
            f"expected 'identity'"
        )
    return get_activation(name)
