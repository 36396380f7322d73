"""What `fit_many` returns: the results of a grid of fits, and what each was made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..network import MLP
from ..second_order import SecondOrder
from ..typing import D
from .optimizer import Optimizer
from .result import FitResult


class Setting(NamedTuple):
    """What one of many fits was made with.

    Attributes
    ----------
    net : MLP
        With its own l2.
    optimizer : Optimizer or str
        As given.
    seed
        As given.
    train, held_out : ndarray or None
        Numbers of rows, of a cross-validation.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> results = fg.fit_many(fg.MLP([1, 1]), np.ones((8, 1)), np.ones(8), seeds=[0, 7], epochs=1)
    >>> results.settings[1].seed
    7
    """

    net: MLP[Any]
    optimizer: Optimizer | SecondOrder | str
    seed: Any
    train: NDArray[np.int64] | None
    held_out: NDArray[np.int64] | None

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{name}={None if rows is None else f'{len(rows)} rows'}"
            for name, rows in (("train", self.train), ("held_out", self.held_out))
        )
        return f"Setting({self.net!r}, {self.optimizer!r}, seed={self.seed!r}, {rows})"


class FitResults(list[FitResult[D]]):
    """What `fit_many` returns: a list of `FitResult`.

    Attributes
    ----------
    shape : tuple of 4 int
        Numbers of optimizers, of l2, of seeds and of folds, in the order of the list: the last
        changes fastest.
    settings : list of Setting
        What each was made with.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> results = fg.fit_many(fg.MLP([1, 1]), X, X, seeds=range(3), folds=4, epochs=2)
    >>> results.shape, results.last("val_loss").mean(axis=-1).shape
    ((1, 1, 3, 4), (1, 1, 3))
    """

    def __init__(
        self,
        results: Iterable[FitResult[D]],
        shape: tuple[int, int, int, int],
        settings: list[Setting],
    ) -> None:
        super().__init__(results)
        self.shape: tuple[int, int, int, int] = shape
        self.settings: list[Setting] = settings

    def __repr__(self) -> str:
        names = ("optimizers", "l2", "seeds", "folds")
        counts = ", ".join(f"{count} {name}" for count, name in zip(self.shape, names))
        losses = [result.history.loss[-1] for result in self if result.epochs]
        last = f"; last loss {min(losses):.6g} to {max(losses):.6g}" if losses else ""
        return f"FitResults({len(self)} fits: {counts}{last})"

    @property
    def thetas(self) -> NDArray[D]:
        """(m, p): the last parameters of each, as `fastgrad.stack` takes them."""
        return np.stack([result.theta for result in self])

    @property
    def best_thetas(self) -> NDArray[D]:
        """(m, p): the best parameters of each."""
        return np.stack([result.best_theta for result in self])

    def last(self, name: str) -> NDArray[np.float64]:
        """A column of the history of each after its last epoch, as an array of `shape`; NaN before
        the first.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> X = np.ones((8, 1))
        >>> fg.fit_many(fg.MLP([1, 1]), X, X, seeds=range(5), epochs=1).last("loss").shape
        (1, 1, 5, 1)
        """
        if not any(name in result.history.columns for result in self):
            return np.array([result.history[name] for result in self])  # an error with the names
        known = [r.epochs and name in r.history.columns for r in self]
        values = [r.history[name][-1] if has else np.nan for r, has in zip(self, known)]
        return np.array(values).reshape(self.shape)


for _public in (Setting, FitResults):
    _public.__module__ = "fastgrad.many"  # where they are public: pickles name it
