"""Stacks: the step of one plan for many networks, each with arrays of its own.

In: the CALL of network 0, what each of its addresses grows by from one network to the next, a
workspace for each thread. Out: the losses, and what the CALL says (gradients or outputs). Loop
order: networks; each is a whole serial `step`, so its bits are those of its own call. Threads take
some networks at a time from one counter: a slow or late thread costs its own speed alone.
Formula 39.
"""

from __future__ import annotations

from numba import prange, types

from .engine import step
from .jit import inner, kernel, parallel_kernel
from .record_types import words_of
from .records import CALL, call_at, worker_of
from .rounding import control_word, set_control_word
from .simd import pointer
from .work_queue import take


@inner
def _bind(call, first, strides, i):
    """What the caller gave network i: the addresses of network 0, each `strides` bytes further."""
    words = words_of(call)
    for field in range(CALL.plan):  # those of the workspace come behind
        words[field] = first[field] + i * strides[field]


@inner
def _networks(losses_out, call, first, strides, counter, count):
    """The steps of the networks that nobody has taken, `count` at a time."""
    m = losses_out.size
    begin = take(pointer(counter), count)
    while begin < m:
        for i in range(begin, min(m, begin + count)):
            _bind(call, first, strides, i)
            losses_out[i] = step(call, worker_of(call, 0))
        begin = take(pointer(counter), count)


@kernel
def serial_stack(losses_out, like, first, strides, counter, count, workspaces):
    """Networks `counter[0]`, ... to the last one, one after the other.

    first: a copy of the CALL of network 0; strides: in bytes, at the positions of CALL;
    workspaces: addresses.
    """
    call = call_at(workspaces[0], pointer(like))
    _networks(losses_out, call, first, strides, counter, count)


@parallel_kernel
def parallel_stack(losses_out, like, first, strides, counter, count, workspaces):
    """`serial_stack` by a thread for each workspace; what a network writes is its own."""
    word = control_word()
    for thread in prange(workspaces.size):
        own_word = control_word()
        set_control_word(word)
        call = call_at(workspaces[types.int64(thread)], pointer(like))
        _networks(losses_out, call, first, strides, counter, count)
        set_control_word(own_word)
