"""What all optimisers of minibatches share: numbers, their checks, the state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import schedules
from .._core import check
from ..kernels import optimizers as kernels
from ..typing import Numbers, Rate

if TYPE_CHECKING:
    from typing_extensions import Self

_NO_STATE = {np.dtype(t): np.zeros(1, t) for t in (np.float32, np.float64)}


class Optimizer:
    """What all optimisers share: the rate, weight decay, clipping, state.

    Not used by itself: take one of `SGD`, `Momentum`, `Nesterov`, `RMSprop`, `Adam`, `AdamW`.

    Parameters
    ----------
    lr : float, or callable
        The learning rate, or a function of the step (from 0), as those in `fastgrad.schedules`.
    weight_decay : float
        `weight_decay` * theta is added to the gradient (to all of theta, biases too; the `l2` of a
        network leaves biases alone). `AdamW` shrinks theta instead.
    clip_norm : float, optional
        A gradient of a greater Euclidean norm is multiplied by clip_norm / (norm + 1e-6), as in
        PyTorch, before weight decay.

    Attributes
    ----------
    steps : int
        Steps done.
    lr : callable
        The learning rate as a function of the step. This and all other numbers, by their names in
        the constructor, may be set between steps: they are checked and converted as there.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta = np.array([1.0, 2.0])
    >>> opt = fg.SGD(lr=0.1)
    >>> opt.step(theta, np.array([1.0, -1.0]))
    >>> theta
    array([0.9, 2.1])
    """

    kernel: Any = None
    _slots = 0  # state vectors of theta's size
    _numbers: tuple[str, ...] = ()  # attributes the kernel takes, from kernels.OWN on
    _common = ("lr", "weight_decay", "clip_norm")

    if TYPE_CHECKING:  # set as a number or a function, read as a function

        @property
        def lr(self) -> Callable[[int], float]: ...
        @lr.setter
        def lr(self, value: Rate) -> None: ...

        weight_decay: float
        clip_norm: float | None

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        if self.kernel is None:
            raise TypeError(
                "Optimizer is not used by itself; expected SGD, Adam or another of them"
            )
        self.lr, self.weight_decay, self.clip_norm = lr, weight_decay, clip_norm
        self.reset()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            known = [*self._common, *(own for own in self._numbers if own in _CHECKS)]
            if name not in known:
                raise AttributeError(
                    f"{type(self).__name__} has no number {name!r}; it has {', '.join(known)}"
                )
            value = _CHECKS[name](value, name)
            self._held_by = None
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = [f"{key}={value}" for key, value in self.settings().items() if value is not None]
        return f"{type(self).__name__}({', '.join(parts)})"

    def settings(self) -> dict[str, object]:
        """The hyper-parameters by name; the rate as text.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.Momentum(0.1, momentum=0.5).settings()["momentum"]
        0.5
        """
        rate = self.lr.lr if type(self.lr) is schedules.Constant else schedules.describe(self.lr)
        own = {name: getattr(self, name) for name in self._numbers if not name.startswith("_")}
        return {
            "lr": rate,
            **own,
            "weight_decay": self.weight_decay,
            "clip_norm": self.clip_norm,
        }

    def reset(self) -> None:
        """Forget the state: the next step is the first.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt = fg.Adam()
        >>> opt.step(np.ones(2), np.ones(2))
        >>> opt.reset()
        >>> opt.steps
        0
        """
        self._state: np.ndarray | None = None
        self._held_by = None  # the dtype that is known to hold the numbers
        self._hyper = np.zeros(kernels.SIZE)

    def copy(self) -> Self:
        """An optimiser with the same numbers and its own copy of the state.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.Adam(0.01).copy()
        Adam(lr=0.01, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0)
        """
        twin = copy.copy(self)
        twin._hyper = self._hyper.copy()
        twin._state = None if self._state is None else self._state.copy()
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a pickle: of the kernels' numbers the steps alone are not written anew for a step."""
        hyper = np.zeros(kernels.SIZE)
        hyper[kernels.STEPS] = state["_hyper"][kernels.STEPS]
        self.__dict__.update(state, _hyper=hyper)

    @property
    def steps(self) -> int:
        """Steps done."""
        return int(self._hyper[kernels.STEPS])

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0).

        Raises
        ------
        TypeError, ValueError
            If a schedule gives anything but a finite number, 0 or more.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.SGD(lr=lambda step: 1 / (step + 1)).rate(3)
        0.25
        """
        return check.non_negative(self.lr(step), f"lr at step {step}")

    def rates(self, count: int) -> NDArray[np.float64]:
        """The learning rates of the next `count` steps, float64.

        Raises
        ------
        TypeError, ValueError
            As `rate`, and if the parameters' dtype does not hold a rate.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.SGD(lr=fg.schedules.Step(1.0, every=2)).rates(3)
        array([1. , 1. , 0.1])
        """
        if type(self.lr) is schedules.Constant:
            return np.full(count, self.lr.lr)
        first = self.steps
        return np.array([self._held_rate(step) for step in range(first, first + count)], np.float64)

    def _held_rate(self, step: int) -> float:
        """The rate of a step, which the dtype that `prepare` was given holds."""
        rate = self.rate(step)
        check.held(rate, f"lr at step {step}", self._held_by)
        return rate

    def prepare(self, size: int, dtype: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """State (slots * p,) and numbers as the kernel takes them; zeros before the first step."""
        if self._state is None:
            size = self._slots * size
            self._state = np.zeros(size, dtype) if size else _NO_STATE[np.dtype(dtype)]
        elif self._slots and (self._state.size, self._state.dtype) != (self._slots * size, dtype):
            raise ValueError(
                f"theta has shape ({size},) and dtype {dtype}; this optimiser's state is for "
                f"({self._state.size // self._slots},) of {self._state.dtype}: use reset() first"
            )
        elif not self._slots:
            self._state = _NO_STATE[np.dtype(dtype)]
        if dtype is not self._held_by:
            self._check_held(dtype)
        hyper = self._hyper
        hyper[kernels.WEIGHT_DECAY] = self.weight_decay
        hyper[kernels.CLIP_NORM] = 0.0 if self.clip_norm is None else self.clip_norm
        for position, name in enumerate(self._numbers, kernels.OWN):
            hyper[position] = getattr(self, name)
        return self._state, hyper

    def _check_held(self, dtype) -> None:
        """Refuse numbers that `dtype` would make infinite, or 0 (a rate or a decay may vanish)."""
        if type(self.lr) is schedules.Constant:
            check.held(self.lr.lr, "lr", dtype)
        check.held(self.weight_decay, "weight_decay", dtype)
        for name in ("clip_norm", "eps"):
            number = getattr(self, name, None)
            if number is not None:
                check.held(number, name, dtype, zero=False)
        self._held_by = dtype

    def step(self, theta: NDArray[np.float32 | np.float64], grad: Numbers) -> None:
        """Update theta in place.

        Parameters
        ----------
        theta : ndarray (p,), float32 or float64
            Contiguous and writable; written to.
        grad : array (p,)
            Of theta's dtype, disjoint from theta; left as it is.

        Raises
        ------
        TypeError, ValueError
            If a shape or a dtype does not fit, or the state is that of another theta.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> theta = np.zeros(2)
        >>> fg.Adam(lr=0.1).step(theta, np.array([3.0, -5.0]))
        >>> theta.round(6)
        array([-0.1,  0.1])
        """
        if not isinstance(theta, np.ndarray) or theta.ndim != 1:
            given = f"has shape {theta.shape}" if hasattr(theta, "shape") else f"is {theta!r}"
            raise TypeError(
                f"theta {given}; expected a one-dimensional NumPy array: it is updated in place"
            )
        if not check.is_float(theta.dtype):
            raise TypeError(f"theta has dtype {theta.dtype}; expected float32 or float64")
        grad = check.vector(grad, "grad", theta.dtype, theta.size, ": the shape of theta")
        check.output(theta, "theta", theta.shape, theta.dtype, (grad, "grad"))
        state, hyper = self.prepare(theta.size, theta.dtype)
        hyper[kernels.LR] = self._held_rate(self.steps)
        self.kernel(theta, grad, state, hyper)

    def state_dict(self) -> dict[str, object]:
        """Everything `load_state_dict` needs, as copies: steps, state (slots, p), settings.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt = fg.Momentum(0.1)
        >>> opt.step(np.zeros(2), np.ones(2))
        >>> opt.state_dict()["state"]
        array([[1., 1.]])
        """
        state = None
        if self._state is not None and self._slots:
            state = self._state.reshape(self._slots, -1).copy()
        return {
            "name": type(self).__name__,
            "steps": self.steps,
            "state": state,
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
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> opt, theta = fg.Adam(), np.zeros(2)
        >>> opt.step(theta, np.ones(2))
        >>> other = fg.Adam()
        >>> other.load_state_dict(opt.state_dict())
        >>> other.steps
        1
        """
        if not isinstance(saved, dict) or not {"name", "steps", "state"} <= saved.keys():
            raise TypeError(
                f"saved is a {type(saved).__name__}; expected a dict that state_dict() returned"
            )
        if saved["name"] != type(self).__name__:
            raise ValueError(f"the state is of {saved['name']}; expected {type(self).__name__}")
        steps = check.integer(saved["steps"], "steps", least=0)
        state = saved["state"]
        if state is not None:
            state = np.asarray(state)
            if state.ndim != 2 or state.shape[0] != self._slots or not check.is_float(state.dtype):
                raise ValueError(
                    f"the state has shape {state.shape} and dtype {state.dtype}; expected "
                    f"({self._slots}, p) of float32 or float64"
                )
            state = np.array(state, order="C").reshape(-1)
        elif steps and self._slots:
            raise ValueError(f"the state is missing after {steps} steps")
        self.reset()
        self._state = state
        self._hyper[kernels.STEPS] = steps


def _norm(value, name: str) -> float | None:
    return None if value is None else check.positive(value, name)


_CHECKS = {
    "lr": schedules.as_schedule, "weight_decay": check.non_negative, "clip_norm": _norm,
    "momentum": check.fraction, "rho": check.fraction, "beta1": check.fraction,
    "beta2": check.fraction,
    "eps": check.positive,
}  # fmt: skip
