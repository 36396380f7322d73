"""A step from compiled code: the CALL is bound there, and the step is found by its number.

Machine code that Numba caches with a function of the user's may hold no symbol but the table's
(`lazy.py`): a symbol that an upgrade took away would end the process that loads it.
"""

from __future__ import annotations

from numba.extending import overload

from ...kernels import engine
from ...kernels.calls import call_address
from ...kernels.jit import OPTIONS
from ...kernels.records import worker_of
from .lazy import address_by, enlist_procedure

_STEP = enlist_procedure(engine.step.procedure)


def run_step(call):
    """All of a step that is bound; returns the loss."""


@overload(run_step, jit_options=OPTIONS)
def _run_step(call):
    number = _STEP[call.real]

    def implementation(call):
        return call_address(0.0, address_by(number), (call, worker_of(call, 0)))

    return implementation
