"""The losses: one row a loss, and whoever needs to know something of a loss asks its row.

A row names the loss, what it takes as targets, what its mean is over, what its outputs mean, the
score that goes with it, the setting of a network that is its parameter, and its formula: value,
slope and curvature by the output, as vectors (`kernels/arithmetic.py`). The kernels' loop is in
`kernels/losses.py`; the twins in `reference.py` are written by hand, as an oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ._core import check
from ._core.names import list_public
from .kernels import curvature
from .kernels import losses as kernels
from .kernels.records import ANY_TARGETS, COUNT_TARGETS, UNIT_TARGETS
from .typing import LossName

__all__ = ["DEFAULTS", "LOSSES", "Loss", "Parameter", "get_loss", "parameters"]
list_public(globals())


def _mse(v, z, y, _):
    """(z - y)^2 (formula 18)."""
    e = v.sub(z, y)
    return v.mul(e, e), v.add(e, e), v.const(2.0)


def _huber(v, z, y, threshold):
    """Quadratic within the threshold, linear outside (formula 27)."""
    e = v.sub(z, y)
    size = v.abs(e)
    outside = v.greater(size, threshold)
    half = v.mul(v.const(0.5), v.mul(e, e))
    linear = v.mul(threshold, v.fma(v.const(-0.5), threshold, size))
    slope = v.select(v.less(e, v.const(0.0)), v.neg(threshold), threshold)
    curvature = v.select(outside, v.const(0.0), v.const(1.0))
    return v.select(outside, linear, half), v.select(outside, slope, e), curvature


def _logistic(v, z, y, _):
    """log(1 + exp(-|z|)) + max(z, 0) - y z; slope sigmoid(z) - y (formula 26)."""
    one, zero = v.const(1.0), v.const(0.0)
    e = v.exp(v.neg(v.abs(z)))
    positive = v.passes(z)
    # max(z, 0) - y z first: on the right side of the label it is 0 and the small log stays whole.
    line = v.sub(v.select(positive, z, zero), v.mul(y, z))
    value = v.add(v.log1p(e), line)
    below = v.add(one, e)
    sigmoid = v.div(v.select(positive, one, e), below)
    return value, v.sub(sigmoid, y), v.div(e, v.mul(below, below))


def _absolute_error(v, z, y, _):
    """|z - y|; slope its sign, 0 at 0 (formula 29)."""
    e, zero = v.sub(z, y), v.const(0.0)
    at_zero = v.mul(zero, e)  # NaN stays
    below = v.select(v.less(e, zero), v.const(-1.0), at_zero)
    return v.abs(e), v.select(v.greater(e, zero), v.const(1.0), below), zero


def _quantile(v, z, y, level):
    """(1 - level) e above y, -level e below, e = z - y; slope 0 at 0 (formula 29)."""
    e, zero = v.sub(z, y), v.const(0.0)
    above, below = v.sub(v.const(1.0), level), v.neg(level)
    slope = v.select(v.less(e, zero), below, v.mul(zero, e))  # NaN stays
    slope = v.select(v.greater(e, zero), above, slope)
    return v.mul(e, v.select(v.less(e, zero), below, above)), slope, zero


def _poisson(v, z, y, _):
    """exp(z) - y z, z the logarithm of the rate; slope exp(z) - y (formula 29)."""
    rate = v.exp(z)
    return v.sub(rate, v.mul(y, z)), v.sub(rate, y), rate


@dataclass(frozen=True, eq=False)
class Parameter:
    """A number of a loss: the setting of a network by that name."""

    name: str
    default: float
    check: Callable[[Any, str], float]


@dataclass(frozen=True, eq=False)
class Loss:
    """One loss."""

    name: LossName
    # (v, z, y, parameter) -> value, slope, curvature; None: of labels
    formula: Callable[..., tuple[Any, Any, Any]] | None
    targets: Callable[..., Any]  # (value, name, dtype, n, k) -> checked array
    mean_over_outputs: bool  # besides samples
    # What turns outputs into what they predict.
    link: Literal["identity", "sigmoid", "softmax", "exp"] = "identity"
    score: Literal["r2", "accuracy"] = "r2"
    labelled: bool = False  # targets are classes, one a row
    least_outputs: int = 1
    squared: bool = False  # the square of the error, as least squares have it
    parameter: Parameter | None = None  # of its formula
    code: int = field(init=False)

    def __post_init__(self) -> None:
        if self.labelled:
            code = kernels.LABELLED.add(self.name, kernels.cross_entropy_body)
            curvature.LABELLED.add(self.name, curvature.softmax_curvature_body)
        else:
            code = kernels.add_elementwise(self.name, self.formula)
            curvature.add_elementwise(self.name, self.formula)
        object.__setattr__(self, "code", code)

    @property
    def target_kind(self) -> int:
        """Which real targets it takes, as kernels know them (`kernels/records.py`)."""
        return _KINDS[self.targets]

    @property
    def least_target(self) -> float:
        """The least real target that it takes."""
        return -np.inf if self.target_kind == ANY_TARGETS else 0.0

    @property
    def takes_logits(self) -> bool:
        """Whether outputs become probabilities."""
        return self.link in ("sigmoid", "softmax")

    @property
    def task(self) -> Literal["regression", "classification"]:
        """What it is for: "regression" or "classification"."""
        return "classification" if self.takes_logits else "regression"

    def values(self, outputs: Any) -> Any:
        """What the outputs of a regression predict: themselves, or their exponentials in float64,
        infinity where one is too large."""
        if self.link != "exp":
            return outputs
        with np.errstate(under="ignore", over="ignore"):
            return np.exp(outputs, dtype=np.float64)


def _labels(value, name, dtype, n, k):
    return check.labels(value, name, n, k)


# What compiled code checks of the targets, for each check in Python.
_KINDS = {
    check.targets: ANY_TARGETS,
    check.unit_targets: UNIT_TARGETS,
    check.count_targets: COUNT_TARGETS,
    _labels: ANY_TARGETS,  # their range is that of the classes
}

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("mse", _mse, check.targets, True, squared=True),
        Loss(
            "huber", _huber, check.targets, True,
            parameter=Parameter("huber_delta", 1.0, check.positive),
        ),
        Loss("logistic", _logistic, check.unit_targets, False, "sigmoid", "accuracy"),
        Loss(
            "cross_entropy", None, _labels, False, "softmax", "accuracy", labelled=True,
            least_outputs=2,
        ),
        Loss("absolute_error", _absolute_error, check.targets, True),
        Loss(
            "quantile", _quantile, check.targets, True,
            parameter=Parameter("quantile", 0.5, check.inside_unit),
        ),
        Loss("poisson", _poisson, check.count_targets, False, "exp"),
    )
}  # fmt: skip

# The loss of a task where none is named.
DEFAULTS: dict[str, Loss] = {"classification": LOSSES["cross_entropy"], "regression": LOSSES["mse"]}


def get_loss(name: str) -> Loss:
    """The loss of that name; a ValueError that lists the names otherwise."""
    if not isinstance(name, str):
        raise TypeError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}")
    try:
        return LOSSES[name]
    except KeyError:
        raise ValueError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}") from None


def parameters() -> dict[str, Parameter]:
    """The parameters of all losses by name."""
    found = (loss.parameter for loss in LOSSES.values())
    return {parameter.name: parameter for parameter in found if parameter}
