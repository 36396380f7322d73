"""What a network is: the one description that `MLP`, saved models, guests and plans share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..activations import Activation, get_activation
from ..losses import Loss, get_loss, parameters
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
    parameters: tuple[tuple[str, float], ...]  # of losses, by name

    @cached_property
    def n_parameters(self) -> int:
        """p: all weights and biases."""
        return sum((d + 1) * k for d, k in pairwise(self.layer_sizes))

    @property
    def numbers(self) -> tuple[float, float]:
        """What a workspace holds of them: the loss's parameter, l2."""
        own = self.loss.parameter
        return (dict(self.parameters)[own.name] if own else 1.0), self.l2

    def settings(self) -> dict[str, object]:
        """All settings by the names of `MLP`'s arguments, as text, numbers and lists: what a file
        holds, and what `network` takes."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in found.items():
            if isinstance(value, (Loss, Activation, np.dtype)):
                found[name] = value.name
        found["layer_sizes"] = list(self.layer_sizes)
        numbers = dict(found.pop("parameters"))
        return {**found, **numbers}

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
    **numbers,
) -> Network:
    """Check the settings of a network, `numbers` the parameters of losses; the errors name them."""
    sizes, loss = _sizes(layer_sizes), get_loss(loss)
    if sizes[-1] < loss.least_outputs:
        raise ValueError(
            f"layer_sizes ends with {sizes[-1]} output; {loss.name} needs one for each class, "
            f"{loss.least_outputs} or more (for two classes on one logit use loss='logistic')"
        )
    dtype = check.float_dtype(dtype)
    made = Network(
        sizes, loss, get_activation(activation), _output_activation(output_activation, loss),
        dtype, check.non_negative(l2, "l2"), _parameters(numbers, dtype),
    )  # fmt: skip
    check.held(made.l2, "l2", dtype)
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


def _parameters(numbers: dict, dtype) -> tuple[tuple[str, float], ...]:
    """Those of all losses, their defaults where they are not given."""
    known, found = parameters(), []
    for name in numbers:
        if name not in known:
            raise TypeError(f"an MLP has no setting {name!r}; expected one of {', '.join(known)}")
    for name, parameter in known.items():
        number = parameter.check(numbers.get(name, parameter.default), name)
        check.held(number, name, dtype, zero=False)
        found.append((name, number))
    return tuple(found)


def _output_activation(name, loss: Loss) -> Activation:
    if name not in ("identity", "relu"):
        raise ValueError(f"output_activation is {name!r}; expected 'identity' or 'relu'")
    if name == "relu" and loss.takes_logits:
        raise ValueError(
            f"output_activation is 'relu', but the loss {loss.name!r} takes logits; "
            f"expected 'identity'"
        )
    return get_activation(name)
