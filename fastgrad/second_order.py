"""Second-order optimisers of `fit`: all rows at once, a step an epoch.

Both build on Gauss and Newton's matrix G of the loss (`fastgrad.curvature`), which is positive
semi-definite for all our losses: `LevenbergMarquardt` forms it, or the smaller matrix of the
residuals, and is for least squares and some thousand parameters or residuals; `NewtonCG` only
multiplies by it. Each judges a step by its gain ratio, the decrease of the loss divided by what the
quadratic model promised, and takes none that does not lower the loss. The arithmetic is in
`_training/levenberg.py` and `_training/newton.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ._core import check
from ._core.names import list_public

if TYPE_CHECKING:
    from typing_extensions import Self

    from .network import MLP

__all__ = ["LevenbergMarquardt", "NewtonCG", "SecondOrder"]
list_public(globals())


class SecondOrder:
    """What second-order optimisers share: checked numbers, and a state of a few numbers.

    Not used by itself: take `LevenbergMarquardt` or `NewtonCG`, and give it to `fit`.

    Attributes
    ----------
    steps : int
        Steps done.

    Examples
    --------
    >>> import fastgrad as fg
    >>> opt = fg.NewtonCG(radius=0.5)
    >>> opt.radius, opt.steps
    (0.5, 0)
    """

    columns: tuple[str, ...] = ()  # of the history, besides those of every optimiser
    _slots = 0  # state vectors of theta's size
    _takes_sparse = False  # X in CSR
    _checks: ClassVar[
        dict[str, Callable[..., Any]]
    ] = {}  # of its numbers, by their names in the constructor
    _kept: ClassVar[
        dict[str, Callable[..., Any]]
    ] = {}  # the numbers that a step hands to the next: checks by name

    def __init__(self) -> None:
        if not self._checks:
            raise TypeError(
                "SecondOrder is not used by itself; expected LevenbergMarquardt or NewtonCG"
            )
        self.reset()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            if name not in self._checks:
                raise AttributeError(
                    f"{type(self).__name__} has no number {name!r}; it has "
                    f"{', '.join(self._checks)}"
                )
            value = self._checks[name](value, name)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value}" for name, value in self.settings().items())
        return f"{type(self).__name__}({numbers})"

    @property
    def steps(self) -> int:
        """Steps done."""
        return self._steps

    def settings(self) -> dict[str, object]:
        """The numbers by name.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.LevenbergMarquardt().settings()
        {'damping': 0.001, 'tolerance': 1e-10}
        """
        return {name: getattr(self, name) for name in self._checks}

    def reset(self) -> None:
        """Forget the state: the next step is the first.

        Examples
        --------
        >>> import fastgrad as fg
        >>> opt = fg.NewtonCG()
        >>> opt.reset()
        >>> opt.steps
        0
        """
        self._steps, self._state = 0, {}

    def copy(self) -> Self:
        """An optimiser with the same numbers and its own copy of the state.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.LevenbergMarquardt(damping=0.1).copy()
        LevenbergMarquardt(damping=0.1, tolerance=1e-10)
        """
        twin = copy.copy(self)
        twin._state = dict(self._state)
        return twin

    def state_dict(self) -> dict[str, object]:
        """Everything `load_state_dict` needs, as copies: steps, numbers, settings.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.NewtonCG().state_dict()["steps"]
        0
        """
        return {
            "name": type(self).__name__,
            "steps": self._steps,
            "state": None,
            "numbers": dict(self._state),
            "settings": self.settings(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave; the settings stay this optimiser's own.

        Raises
        ------
        TypeError, ValueError
            If it is the state of another kind of optimiser.

        Examples
        --------
        >>> import fastgrad as fg
        >>> opt = fg.NewtonCG()
        >>> opt.load_state_dict(fg.NewtonCG().state_dict())
        """
        if not isinstance(saved, dict) or not {"name", "steps"} <= saved.keys():
            raise TypeError(
                f"saved is a {type(saved).__name__}; expected a dict that state_dict() returned"
            )
        if saved["name"] != type(self).__name__:
            raise ValueError(f"the state is of {saved['name']}; expected {type(self).__name__}")
        steps, numbers = check.integer(saved["steps"], "steps", least=0), saved.get("numbers")
        expected = set(self._kept) if steps else set()
        if not isinstance(numbers, dict) or set(numbers) != expected:
            raise ValueError(
                f"the state has the numbers {numbers!r} after {steps} steps; expected "
                f"{', '.join(sorted(expected)) or 'none'}"
            )
        state = {name: self._kept[name](value, name) for name, value in numbers.items()}
        self._steps, self._state = steps, state

    def check_network(self, net: MLP[Any]) -> None:
        """A ValueError where this optimiser is not for a network's loss.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.NewtonCG().check_network(fg.MLP([2, 3], loss="cross_entropy"))
        """

    def _advance(self, problem: Any, theta: Any) -> Any:
        """One step from theta: `full_batch.Step`, or a word that says why there is none."""
        raise NotImplementedError


class LevenbergMarquardt(SecondOrder):
    """Damped Gauss-Newton steps for least squares: (G + damping * I) d = -g; theta += d.

    Levenberg 1944, Marquardt 1963; the damping follows the gain ratio as in Nielsen, *Damping
    parameter in Marquardt's method*, 1999 (Madsen, Nielsen and Tingleff 2004, algorithm 3.16). G =
    A^T A, A (n k, p) the Jacobian of the weighted residuals, is formed (p, p) where p <= n k
    (formula 35), else the system is that of A A^T (n k, n k). Either is solved in float64 by
    NumPy's Cholesky, which is LAPACK's: for up to some thousand parameters or residuals.

    Parameters
    ----------
    damping : float
        0 or more: of the first step, times the largest entry on the diagonal of G. With 0 it is a
        Gauss-Newton step wherever G can be factored.
    tolerance : float
        0 or more. "converged" once the model promises a decrease of no more than tolerance * loss,
        or no step of a length above rounding lowers the loss.

    Notes
    -----
    For the loss "mse" alone, `sample_weight` and `l2` included. `threads` does not change the bits.
    What NumPy's BLAS is given (``OPENBLAS_NUM_THREADS``) does, where the system has more than some
    hundred unknowns or is that of residuals: fix it where runs are to be equal to the last bit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> net = fg.MLP([1, 8, 1], loss="mse", activation="tanh")
    >>> y, opt = np.sin(3 * X), fg.LevenbergMarquardt()
    >>> result = fg.fit(net, X, y, optimizer=opt, epochs=100, seed=0)
    >>> bool(result.history.loss[-1] < 1e-6)
    True
    """

    columns: tuple[str, ...] = ("damping",)
    _checks: ClassVar[dict[str, Callable[..., Any]]] = {
        "damping": check.non_negative,
        "tolerance": check.non_negative,
    }
    _kept: ClassVar[dict[str, Callable[..., Any]]] = {
        "damping": check.non_negative,
        "growth": check.positive,
    }

    damping: float
    tolerance: float

    def __init__(self, damping: float = 1e-3, *, tolerance: float = 1e-10) -> None:
        super().__init__()
        self.damping, self.tolerance = damping, tolerance

    def check_network(self, net: MLP[Any]) -> None:
        if not net.spec.loss.squared:
            raise ValueError(
                f"optimizer LevenbergMarquardt is for least squares, the loss mse, and the "
                f"network's loss is {net.loss_name}; NewtonCG takes every loss"
            )

    def _advance(self, problem: Any, theta: Any) -> Any:
        from ._training.levenberg import step

        return step(problem, theta, self.damping, self.tolerance, self._state)


class NewtonCG(SecondOrder):
    """Gauss-Newton steps by conjugate gradients within a trust region: no matrix is formed.

    G d = -g is solved by products with G (formula 35) until the residual is below a fraction of
    the gradient's norm that falls with it (Eisenstat and Walker, *Choosing the forcing terms in an
    inexact Newton method*, 1996, choice 2 with gamma 0.9 and alpha 2), or until d reaches the
    radius (Steihaug, *The conjugate gradient method and trust regions*, 1983). The radius follows
    the gain ratio (Nocedal and Wright, *Numerical Optimization*, algorithm 4.1). For every loss;
    where G is 0, as for "absolute_error", a step is one of the radius' length down the gradient.

    Parameters
    ----------
    radius : float
        Above 0: the greatest length of the first step.
    products : int
        The most products with G for one try of a step.
    tolerance : float
        0 or more. "converged" once the model promises a decrease of no more than tolerance times
        the loss's size, or no step of a length above rounding lowers the loss.

    Examples
    --------
    >>> import fastgrad as fg
    >>> digits = fg.datasets.load_digits()
    >>> net = fg.MLP([64, 16, 10], loss="cross_entropy", l2=1e-3)
    >>> result = fg.fit(net, digits.X / 16, digits.y, optimizer=fg.NewtonCG(), seed=0)
    >>> bool(result.history.loss[-1] < 0.2)
    True
    """

    columns: tuple[str, ...] = ("radius",)
    _takes_sparse = True
    _checks: ClassVar[dict[str, Callable[..., Any]]] = {
        "radius": check.positive,
        "products": check.integer,
        "tolerance": check.non_negative,
    }
    _kept: ClassVar[dict[str, Callable[..., Any]]] = {
        "radius": check.positive,
        "forcing": check.positive,
        "norm": check.positive,
    }

    radius: float
    products: int
    tolerance: float

    def __init__(
        self, *, radius: float = 1.0, products: int = 100, tolerance: float = 1e-10
    ) -> None:
        super().__init__()
        self.radius, self.products, self.tolerance = radius, products, tolerance

    def _advance(self, problem: Any, theta: Any) -> Any:
        from ._training.newton import step

        return step(problem, theta, self.radius, self.products, self.tolerance, self._state)
