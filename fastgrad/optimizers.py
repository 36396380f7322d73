"""Optimisers: updates of a flat parameter vector from its gradient, in place.

An `Optimizer` holds numbers and state; the arithmetic is one fused pass in
`kernels/updates.py`. Formula 21 of the guide's table is `SGD`; the others are stated with
their sources. Each equals PyTorch's optimiser of that name step for step, weight decay included.
"""

from __future__ import annotations

from typing import Any

from . import second_order
from ._core.names import list_public
from ._training.optimizer import Optimizer
from .kernels import optimizers as kernels
from .typing import Rate

__all__ = ["SGD", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSprop"]
list_public(globals())


class SGD(Optimizer):
    """Gradient descent (formula 21): theta -= lr * g.

    Parameters
    ----------
    lr : float, or callable
    weight_decay, clip_norm
        As in `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta = np.array([1.0])
    >>> fg.SGD(lr=0.5).step(theta, np.array([1.0]))
    >>> theta
    array([0.5])
    """

    kernel: Any = staticmethod(kernels.sgd)

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, clip_norm=clip_norm)


class Momentum(Optimizer):
    """Heavy ball: v = momentum * v + g; theta -= lr * v (v starts at 0).

    Parameters
    ----------
    lr : float, or callable
    momentum : float
        0 to below 1.
    weight_decay, clip_norm
        As in `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta, opt = np.array([0.0]), fg.Momentum(lr=1.0, momentum=0.5)
    >>> opt.step(theta, np.array([1.0])); opt.step(theta, np.array([1.0]))
    >>> theta
    array([-2.5])
    """

    kernel: Any = staticmethod(kernels.momentum)
    _slots = 1
    _numbers = ("momentum", "_look_ahead")
    _look_ahead = False

    momentum: float

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, clip_norm=clip_norm)
        self.momentum = momentum


class Nesterov(Momentum):
    """Momentum that looks ahead: v = momentum * v + g; theta -= lr * (g + momentum * v).

    Sutskever et al., *On the importance of initialization and momentum*, ICML 2013, in the form
    that evaluates the gradient at theta itself. Parameters as in `Momentum`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta = np.array([0.0])
    >>> fg.Nesterov(lr=1.0, momentum=0.5).step(theta, np.array([1.0]))
    >>> theta
    array([-1.5])
    """

    _look_ahead = True


class RMSprop(Optimizer):
    """s = rho * s + (1 - rho) * g^2; theta -= lr * g / (sqrt(s) + eps).

    Tieleman & Hinton, *Neural Networks for Machine Learning*, lecture 6.5 (2012).

    Parameters
    ----------
    lr : float, or callable
    rho : float
        0 to below 1.
    eps : float
        Above 0.
    weight_decay, clip_norm
        As in `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta = np.array([0.0])
    >>> fg.RMSprop(lr=0.1, rho=0.75).step(theta, np.array([8.0]))
    >>> theta.round(6)
    array([-0.2])
    """

    kernel: Any = staticmethod(kernels.rmsprop)
    _slots = 1
    _numbers = ("rho", "eps")

    rho: float
    eps: float

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        rho: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, clip_norm=clip_norm)
        self.rho, self.eps = rho, eps


class Adam(Optimizer):
    """Means of g and g^2 with their bias towards 0 taken out; theta -= lr * m / (sqrt(v) + eps).

    Kingma & Ba, *Adam*, arXiv 1412.6980, algorithm 1.

    Parameters
    ----------
    lr : float, or callable
    beta1, beta2 : float
        0 to below 1.
    eps : float
        Above 0.
    weight_decay, clip_norm
        As in `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta, opt = np.zeros(3), fg.Adam(lr=0.01, clip_norm=1.0)
    >>> opt.step(theta, np.array([1.0, 2.0, -2.0]))
    >>> theta.round(6)
    array([-0.01, -0.01,  0.01])
    """

    kernel: Any = staticmethod(kernels.adam)
    _slots = 2
    _numbers = ("beta1", "beta2", "eps", "_decoupled", "_epsilon_hat")
    _decoupled = False
    _epsilon_hat = False  # whether eps joins sqrt(v) before its bias is taken out

    beta1: float
    beta2: float
    eps: float

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, clip_norm=clip_norm)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps


class AdamW(Adam):
    """Adam whose weight decay is apart from the gradient: theta shrinks by lr * weight_decay.

    Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, arXiv 1711.05101, in PyTorch's
    form (the decay is multiplied by lr). Parameters as in `Adam`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> theta = np.array([1.0])
    >>> fg.AdamW(lr=0.1, weight_decay=0.5).step(theta, np.array([0.0]))
    >>> theta
    array([0.95])
    """

    _decoupled = True

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, clip_norm=clip_norm
        )


BY_NAME = {
    kind.__name__.lower(): kind
    for kind in (
        SGD, Momentum, Nesterov, RMSprop, Adam, AdamW,
        second_order.LevenbergMarquardt, second_order.NewtonCG,
    )
}  # fmt: skip


def get_optimizer(value: object) -> Optimizer | second_order.SecondOrder:
    """An optimiser as it is, or the one of that name with its default numbers."""
    if isinstance(value, (Optimizer, second_order.SecondOrder)):
        return value
    if isinstance(value, str) and value.lower() in BY_NAME:
        return BY_NAME[value.lower()]()
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"optimizer is {value!r}; expected an optimiser such as Adam(1e-3), or one of "
        f"{', '.join([*BY_NAME, 'lbfgs'])}"
    )
