"""Stacks: the step of one plan for many networks, each with arrays of its own.

In: the CALL of network 0, what each of its addresses grows by from one network to the next, a
workspace for each thread. Out: the losses, and what the CALL says (gradients or outputs). Loop
order: networks; each is a whole serial `step`, so its bits are those of its own call. Threads take
some networks at a time from one counter: a slow or late thread costs its own speed alone.
Formula 39.
"""

from __future__ import annotations

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from .engine import step
from .jit import inner, kernel, parallel_kernel
from .record_types import words_of
from .records import CALL, call_at, worker_of
from .rounding import control_word, set_control_word
from .simd import I8, I64, Vectors, pointer
from .tuning import LINE_BYTES, NEXT_BYTES
from .work_queue import take


@inner
def _bind(call, first, strides, i):
    """What the caller gave network i: the addresses of network 0, each `strides` bytes further."""
    words = words_of(call)
    for field in range(CALL.plan):  # those of the workspace come behind
        words[field] = first[field] + i * strides[field]


@intrinsic
def _prefetch(typingctx, address, size):
    """Ask for `size` bytes from an address on, valid or not, into the L1 cache."""

    def codegen(context, builder, signature, args):
        first = builder.inttoptr(args[0], I8.as_pointer())
        lines = builder.udiv(builder.add(args[1], I64(LINE_BYTES - 1)), I64(LINE_BYTES))
        with cgutils.for_range(builder, lines) as line:
            here = builder.gep(first, [builder.mul(line.index, I64(LINE_BYTES))])
            Vectors(builder, ir.FloatType()).prefetch(here, level=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@inner
def _prefetch_next(first, strides, i):
    """What network i has for itself, while the one before it computes."""
    for field in range(CALL.plan):
        size = strides[field]
        if 0 < size <= NEXT_BYTES and field != CALL.bias:  # which is theta
            _prefetch(first[field] + i * size, size)


@inner
def _networks(losses_out, call, first, strides, counter, count):
    """The steps of the networks that nobody has taken, `count` at a time."""
    m = losses_out.size
    begin = take(pointer(counter), count)
    while begin < m:
        for i in range(begin, min(m, begin + count)):
            _bind(call, first, strides, i)
            _prefetch_next(first, strides, i + 1)
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
