"""Learning rates over time: small callables, step (from 0) -> rate.

Any callable of one integer serves as `lr`; these four can also be compared, printed and pickled,
and `Warmup` goes before any other.

Examples
--------
>>> from fastgrad import Adam, schedules
>>> opt = Adam(lr=schedules.Warmup(schedules.Cosine(1e-3, steps=1000), steps=100))
>>> [round(opt.rate(step), 6) for step in (0, 99, 100, 600, 5000)]
[1e-05, 0.001, 0.001, 0.0005, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._core import check
from ._core.names import list_public

__all__ = ["Constant", "Cosine", "Step", "Warmup"]
list_public(globals())


@dataclass(frozen=True)
class Constant:
    """The same rate at every step; a number given as `lr` becomes one.

    Examples
    --------
    >>> Constant(0.1)(7)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check.non_negative(self.lr, "lr"))

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Step:
    """`lr` times `factor` for every `every` steps done.

    Examples
    --------
    >>> rate = Step(1.0, every=10, factor=0.5)
    >>> rate(9), rate(10), rate(20)
    (1.0, 0.5, 0.25)
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check.non_negative(self.lr, "lr"))
        object.__setattr__(self, "every", check.integer(self.every, "every"))
        object.__setattr__(self, "factor", check.non_negative(self.factor, "factor"))

    def __call__(self, step: int) -> float:
        try:
            return self.lr * self.factor ** (step // self.every)
        except OverflowError:
            return math.inf if self.lr else 0.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `lr` down to `final` over `steps` steps, then `final`.

    Loshchilov & Hutter, *SGDR*, arXiv 1608.03983, equation 5, without restarts.

    Examples
    --------
    >>> rate = Cosine(1.0, steps=100, final=0.2)
    >>> [round(rate(step), 3) for step in (0, 50, 100, 101)]
    [1.0, 0.6, 0.2, 0.2]
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check.non_negative(self.lr, "lr"))
        object.__setattr__(self, "steps", check.integer(self.steps, "steps"))
        object.__setattr__(self, "final", check.non_negative(self.final, "final"))

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return self.final
        way = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.final + (self.lr - self.final) * way


@dataclass(frozen=True)
class Warmup:
    """A straight rise over `steps` steps, then `after` from its own step 0.

    `after` is a rate or any schedule; the rise ends at ``after(0)``.

    Examples
    --------
    >>> rate = Warmup(0.4, steps=4)
    >>> [round(rate(step), 3) for step in range(6)]
    [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    """

    after: float | Callable[[int], float]
    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "after", as_schedule(self.after, "after"))
        object.__setattr__(self, "steps", check.integer(self.steps, "steps"))

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.after(0) * ((step + 1) / self.steps)
        return self.after(step - self.steps)


def as_schedule(lr: Any, name: str = "lr") -> Callable[[int], float]:
    """A number to `Constant`, a callable as it is."""
    if callable(lr):
        return lr
    return Constant(check.non_negative(lr, name))


def describe(schedule: Callable[[int], float]) -> str:
    """What a checkpoint records: the same text means the same rates; own callables by name."""
    if isinstance(schedule, Warmup):
        return f"Warmup({describe(schedule.after)}, {schedule.steps})"
    if isinstance(schedule, (Constant, Step, Cosine)):
        return repr(schedule)
    return f"callable {getattr(schedule, '__qualname__', type(schedule).__qualname__)}"
