"""Workspaces of layers and neurons in compiled code, kept from call to call.

A slot holds a workspace and the plan of the shapes that it was last used for. A call takes a slot
that nobody else has, with its plan if there is one; else it plans (some 0.1 us) and makes the
workspace larger if need be. So calls of the same shapes allocate nothing, in any number of threads,
and memory is that of the largest shapes of as many calls as were ever under way at once.

Before the workspace lie two lines: the number of its slot, and room for a scalar.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numba import carray, types
from numba.extending import intrinsic, register_jitable

from ..._core import cuts, places, plan, tuning, workspace
from ..._core.plan import MSE, write_plan
from ..._core.tuning import Tuning
from ..._core.workspace import workspace_layout, write_workspace
from ...kernels import records as at
from ...kernels.calls import call_address
from ...kernels.jit import inner, kernel
from ...kernels.micro_kernel import RELU
from ...kernels.records import LAYER, PLAN
from ...kernels.simd import VECTOR_BYTES
from . import locks
from .lazy import address_by, enlist, publish, published
from .locks import LINE, free_after_fork, give_back, take

SLOTS = 128  # calls at once; the next ones wait
NEURON = at.LOSS | at.GRADIENT  # what is wanted of a neuron; of a layer there is no loss

# A slot, in int64; then the plan's vector
BUSY = 0
MEMORY, WORDS, WORK = LINE, LINE + 1, LINE + 2  # what was allocated, and the workspace in it
N, D, K, WHAT = LINE + 3, LINE + 4, LINE + 5, LINE + 6  # the shapes of the plan
VECTOR = 2 * LINE
_LENGTH = PLAN.size + LAYER.size
ROW = VECTOR + -(-_LENGTH // LINE) * LINE

_slots = np.zeros((SLOTS, ROW), np.int64)
_busy = _slots[:, BUSY]
free_after_fork(_busy)
_TABLE = publish(_slots)
_TUNING = publish(tuning.shared)


@intrinsic
def at_address(typingctx, address):
    """An address as a pointer, for `carray`."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@intrinsic
def _allocate(typingctx, size):
    """The address of `size` bytes; 0 where there are none."""

    def codegen(context, builder, signature, args):
        memory = context.nrt.allocate(builder, args[0])
        return builder.ptrtoint(memory, context.get_value_type(types.int64))

    return types.int64(types.int64), codegen


@intrinsic
def _free(typingctx, address):
    def codegen(context, builder, signature, args):
        context.nrt.free(builder, builder.inttoptr(args[0], context.get_value_type(types.voidptr)))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@inner
def _take_slot(slots, n, d, k, what):
    """The number of a slot, with the plan of these shapes if a free one has it."""
    home = (((n * 31 + d) * 31 + k) * 31 + what) & (SLOTS - 1)
    turn = 0
    while True:
        number = (home + turn) & (SLOTS - 1)
        slot = slots[number]
        if turn < SLOTS:  # at first one that has it, or has none
            same = slot[N] == n and slot[D] == d and slot[K] == k and slot[WHAT] == what
            fits = slot[BUSY] == 0 and (same or slot[WORDS] == 0)
        else:
            fits = True
        if fits and take(slots, number * ROW + BUSY):
            return number
        turn += 1


@inner
def _grow(slots, number, words):
    """Make the slot's workspace at least so many words; whether there is memory for it."""
    slot = slots[number]
    if slot[MEMORY]:
        memory, slot[MEMORY], slot[WORDS] = slot[MEMORY], 0, 0
        _free(memory)
    memory = _allocate(8 * (words + 2 * LINE) + VECTOR_BYTES)
    if memory == 0:
        return False
    work = -(-memory // VECTOR_BYTES) * VECTOR_BYTES + 16 * LINE
    carray(at_address(work - 16 * LINE), LINE, np.int64)[0] = number
    slot[MEMORY], slot[WORDS], slot[WORK] = memory, words, work
    return True


@inner
def _prepare(slots, number, n, d, k, itemsize, want, flag):
    """Write the plan and an empty workspace for it; whether there is memory for them.

    `flag`: of a layer its activation, of a neuron whether there are weights.
    """
    slot = slots[number]
    vector = slot[VECTOR:]
    vector[:] = 0
    numbers = carray(at_address(published(_TUNING)), 5, np.int64)
    tuned = Tuning(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])
    weighted, activation = want == NEURON and flag, RELU if want == NEURON else flag
    _, elements, doubles, _, workers = write_plan(
        vector, (d, k), n, itemsize, want, MSE, False, False, 1, 0, activation, weighted, False, 1,
        tuned,
    )  # fmt: skip
    layout = workspace_layout(_LENGTH, workers, doubles, elements, itemsize)
    words = layout[4]
    if words > slot[WORDS] and not _grow(slots, number, words):
        return False
    work = carray(at_address(slot[WORK]), words, np.int64)
    work[layout[2] :] = 0
    write_workspace(work, slot[WORK], layout, vector[:_LENGTH])
    numbers = carray(at_address(slot[WORK] + 8 * layout[2]), at.SCALARS, np.float64)
    numbers[at.LOSS_PARAMETER], numbers[at.L2] = 1.0, 0.0
    return True


_SOURCES = [Path(module.__file__) for module in (cuts, places, plan, tuning, workspace, locks)]


@partial(kernel, sources=[*_SOURCES, Path(__file__)])
def _lease(n, d, k, itemsize, want, flag):
    slots = carray(at_address(published(_TABLE)), (SLOTS, ROW), np.int64)
    what = (want * 2 + flag) * 16 + itemsize
    number = _take_slot(slots, n, d, k, what)
    slot = slots[number]
    if slot[N] != n or slot[D] != d or slot[K] != k or slot[WHAT] != what:
        slot[N] = -1  # a child forked from here on finds no plan
        if not _prepare(slots, number, n, d, k, itemsize, want, flag):
            give_back(slots, number * ROW + BUSY)
            raise MemoryError("there is no memory for the workspace of this layer")
        slot[D], slot[K], slot[WHAT] = d, k, what
        slot[N] = n
    return slot[WORK]


def _example():
    tuning.tuned()  # from here on the numbers are in `shared`
    return 1, 1, 1, 8, at.OUTPUTS, 0


_LEASE = enlist(_lease, _example)


@register_jitable
def lease(n, d, k, itemsize, want, flag):
    """The address of a workspace of nobody else's, with its plan; `flag` as in `_prepare`."""
    args = (
        np.int64(n),
        np.int64(d),
        np.int64(k),
        np.int64(itemsize),
        np.int64(want),
        np.int64(flag),
    )
    return call_address(0, address_by(_LEASE), args)


@register_jitable
def spare(work, dtype):
    """Room for a scalar, (1,)."""
    return carray(at_address(work - 8 * LINE), 1, dtype)


@register_jitable
def release(work):
    number = carray(at_address(work - 16 * LINE), 1, np.int64)[0]
    slots = carray(at_address(published(_TABLE)), (SLOTS, ROW), np.int64)
    give_back(slots, number * ROW + BUSY)
