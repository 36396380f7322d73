"""A network's step with its tasks shared among threads: the parallel kernel is told where the
serial one is, which each thread runs for its part, so that a step is compiled once."""

from __future__ import annotations

from ..kernels.calls import address_of
from ..kernels.network import step, step_parallel

_addresses: dict = {}  # of `step`, by what tells its arguments' types apart


def step_address(args) -> int:
    """Of `step` for arguments like these: 2 us, where Numba takes 80."""
    key = tuple([(a.dtype, a.ndim, a.flags.num) for a in args])
    address = _addresses.get(key)
    if address is None:
        address = _addresses[key] = address_of(step, args)
    return address


def share_step(*args) -> float:
    """`step` by as many threads as Numba's bound says."""
    return step_parallel(step_address(args), *args)
