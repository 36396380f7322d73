"""The losses by name: what each asks of the targets, and what its outputs are.

The mathematics is in `kernels/losses.py` (compiled) and `reference.py` (NumPy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._core import check
from .kernels import losses as kernels


@dataclass(frozen=True)
class Loss:
    """One loss as a network knows it."""

    name: str
    code: int
    targets: Callable  # (value, name, dtype, n, k) -> checked array
    probabilities: str | None = None  # what turns outputs into probabilities
    takes_logits: bool = False


def _labels(value, name, dtype, n, k):
    return check.labels(value, name, n, k)


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("mse", kernels.MSE, check.targets),
        Loss("huber", kernels.HUBER, check.targets),
        Loss("logistic", kernels.LOGISTIC, check.unit_targets, "sigmoid", True),
        Loss("cross_entropy", kernels.CROSS_ENTROPY, _labels, "softmax", True),
    )
}


def get_loss(name) -> Loss:
    """The loss of that name; a ValueError that lists the names otherwise."""
    if not isinstance(name, str):
        raise TypeError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}")
    try:
        return LOSSES[name]
    except KeyError:
        raise ValueError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}") from None
