"""What training returns, and callbacks see meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from .._core.shown import short
from ..history import History
from ..second_order import SecondOrder
from ..typing import D
from .optimizer import Optimizer


@dataclass(eq=False, repr=False)
class FitResult(Generic[D]):
    """What `fit` returns, and what callbacks are given while it grows.

    Attributes
    ----------
    theta : ndarray (p,)
        Parameters after the last step. In a callback it is live: copy it to keep it.
    best_theta : ndarray (p,)
        Parameters after the epoch of the lowest validation loss (without validation: of the lowest
        training loss).
    history : History
    optimizer : Optimizer or SecondOrder
        With its state: give it and `theta` to `fit` to go on.
    best_epoch : int
        Counted from 1; 0 before the first epoch.
    seconds : float
        Of training, from the first step on.
    stopped : str
        Why it ended: "epochs" (all done), "patience", "callback", "interrupted" (Ctrl-C), "not
        finite" (the loss or a parameter became NaN or infinite). L-BFGS, `LevenbergMarquardt` and
        `NewtonCG`: "converged"; L-BFGS: "line search" (which found no lower loss), "evaluations"
        (of the loss: 20 an epoch).

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> result = fg.fit(fg.MLP([1, 1]), np.ones((8, 1)), np.ones(8), epochs=3, seed=0)
    >>> result.stopped, len(result.history)
    ('epochs', 3)
    """

    theta: NDArray[D]
    best_theta: NDArray[D]
    history: History
    optimizer: Optimizer | SecondOrder | None
    best_epoch: int = 0
    seconds: float = 0.0
    stopped: str = ""
    _best: float = np.inf
    _waited: int = 0

    def __repr__(self) -> str:
        return (
            f"FitResult({self.epochs} epochs in {self.seconds:.3g} s, stopped={self.stopped!r}, "
            f"best_epoch={self.best_epoch},\n"
            f"    theta {short(self.theta)}, optimizer={self.optimizer!r},\n"
            f"    history={self.history!r})"
        )

    def _repr_html_(self) -> str:
        """For a notebook: the same, with the history as a picture."""
        return f"<pre>{escape(repr(self))}</pre>{self.history._repr_html_()}"

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it, at a whole step."""
        return self.stopped == "interrupted"
