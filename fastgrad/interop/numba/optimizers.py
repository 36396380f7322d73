"""An optimiser for compiled code: a handle with the kernel's address and the optimiser's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload_method
from numpy.typing import NDArray

from ..._core import check
from ..._core.calls import checked_network
from ..._training.optimizer import Optimizer
from ...kernels.calls import address_of, call_address
from ...kernels.jit import OPTIONS
from ...kernels.optimizers import LR
from ...schedules import Constant
from .checks import require, require_disjoint, require_native, require_output
from .lazy import check_version

if TYPE_CHECKING:
    from ...network import MLP


class Step(NamedTuple):
    """An optimiser ready for compiled code; made by `optimizer`."""

    address: int
    state: NDArray[Any]
    hyper: NDArray[np.float64]
    parameters: int

    def step(self, theta: NDArray[Any], grad: NDArray[Any]) -> None:
        """As `Optimizer.step`."""
        self.owner.step(theta, grad)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.owner, self.parameters, self.state.dtype.str)


class _Step(Step):
    """Remembers what it was made from."""

    owner: Optimizer

    def __repr__(self) -> str:
        return f"Step({self.owner!r}, parameters={self.parameters})"


def optimizer(opt: Optimizer, net: MLP[Any]) -> Step:
    """An optimiser for compiled code, for the parameters of one network.

    Parameters
    ----------
    opt : Optimizer
        With a constant learning rate. Its state is shared: steps made in compiled code are its own
        steps, until its `reset` or `load_state_dict`: then make the handle again. One thread at a
        time.
    net : MLP

    Returns
    -------
    handle : Step
        Pass it to `@njit` functions. There ``handle.step(theta, grad)`` updates theta in place, as
        `Optimizer.step` does; ``handle.hyper[0]`` is the learning rate and may be written.

    Raises
    ------
    TypeError, ValueError
        If opt or net is something else, or the rate is not constant.

    Examples
    --------
    >>> import fastgrad as fg
    >>> from fastgrad.interop.numba import optimizer
    >>> optimizer(fg.SGD(0.1), fg.MLP([2, 1])).parameters
    3
    """
    if not isinstance(opt, Optimizer):
        raise TypeError(f"opt is a {type(opt).__name__}; expected an optimiser such as Adam(1e-3)")
    checked_network(net)
    return _restore(opt, net.n_parameters, net.dtype.str)


def _restore(opt, parameters: int, dtype: str) -> Step:
    if type(opt.lr) is not Constant:
        raise ValueError(
            f"lr is {opt.lr!r}; expected a constant (set handle.hyper[0] in compiled code instead)"
        )
    theta = np.zeros(parameters, dtype)
    state, hyper = opt.prepare(parameters, theta.dtype)
    hyper[LR] = opt.rate(0)
    address = address_of(opt.kernel, (theta, theta, state, hyper))
    handle = _Step(address, state, hyper, parameters)
    handle.owner = opt
    return handle


@overload_method(types.NamedTuple, "step", jit_options=OPTIONS)
def _optimizer_step(opt, theta, grad):
    if not (isinstance(opt, types.NamedTuple) and issubclass(opt.instance_class, Step)):
        return None
    dtype = dict(zip(opt.fields, opt.types))["state"].dtype
    require_output(theta, "theta", dtype, 1)
    require(grad, "grad", dtype, 1)
    greatest = check.greatest_rate(dtype == types.float32)

    def implementation(opt, theta, grad):
        check_version()
        if theta.size != opt.parameters or grad.size != opt.parameters:
            raise ValueError("theta or grad has the wrong size for this optimiser")
        require_native(theta, "theta")
        require_native(grad, "grad")
        require_disjoint(theta, "theta", grad, "grad")
        if not 0.0 <= opt.hyper[LR] < greatest:
            raise ValueError("hyper[0], the learning rate, is negative, NaN or too large")
        call_address(0.0, opt.address, (theta, grad, opt.state, opt.hyper))

    return implementation
