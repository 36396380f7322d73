"""What training returns, and callbacks see meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..history import History
from ..second_order import SecondOrder
from .optimizer import Optimizer


@dataclass(eq=False)
class FitResult:
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

    theta: np.ndarray
    best_theta: np.ndarray
    history: History
    optimizer: Optimizer | SecondOrder | None
    best_epoch: int = 0
    seconds: float = 0.0
    stopped: str = ""
    _best: float = field(default=np.inf, repr=False)
    _waited: int = field(default=0, repr=False)

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it, at a whole step."""
        return self.stopped == "interrupted"
