"""What compiled code cannot take, and what it takes instead: said before Numba says less."""

from __future__ import annotations

from numba.core.errors import TypingError
from numba.extending import typeof_impl

from ..._training.optimizer import Optimizer
from ...network import MLP


@typeof_impl.register(MLP)
def _network(value, c):
    raise TypingError(
        f"compiled code takes no MLP: prepare it outside, step = fgn.network(net, n=rows) with "
        f"`from fastgrad.interop import numba as fgn`, and pass that; it is {value!r}"
    )


@typeof_impl.register(Optimizer)
def _optimizer(value, c):
    raise TypingError(
        f"compiled code takes no optimiser of Python: prepare it outside, opt = "
        f"fgn.optimizer(optimizer, net) with `from fastgrad.interop import numba as fgn`, and pass "
        f"that; it is {value!r}"
    )
