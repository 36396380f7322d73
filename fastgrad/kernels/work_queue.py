"""The work queue of a step: a claim on each task, and a spin-wait for the stages before.

In memory: the number of tasks done since the queue was opened, and for each task of a stage, on a
cache line of its own, the stage it was last claimed in. Stages are numbered by the tasks before
them, plus 1. A thread begins with its own range of a stage's tasks, so that what they write stays
in its cache from step to step, and goes on with what nobody has claimed: a slow or late thread
costs its own speed alone. It waits for earlier stages before it claims anything, so whoever holds a
claim is at work on it: no deadlock, with however few threads.
"""

from __future__ import annotations

import os

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import I1, I32, I64, PATH, VOID
from .tuning import SPINS


@intrinsic
def claim(typingctx, mark, stage):
    """Whether this thread, and no other, has brought `mark[0]` (int64) up to `stage`."""

    def codegen(context, builder, signature, args):
        stage = context.cast(builder, args[1], signature.args[1], types.int64)
        mine = cgutils.alloca_once_value(builder, I1(0))
        builder.store(I1(0), mine)
        seen = builder.load_atomic(args[0], "monotonic", 8)
        with builder.if_then(builder.icmp_signed("<", seen, stage)):
            swap = builder.cmpxchg(args[0], seen, stage, "acq_rel", "monotonic")
            builder.store(builder.extract_value(swap, 1), mine)
        return builder.load(mine)

    return types.boolean(mark, stage), codegen


@intrinsic
def count_one(typingctx, counter):
    """`counter[0]` (int64) one higher, after everything that was written before."""

    def codegen(context, builder, signature, args):
        builder.atomic_rmw("add", args[0], I64(1), "acq_rel")
        return context.get_dummy_value()

    return types.void(counter), codegen


@intrinsic
def take(typingctx, counter, count):
    """What `counter[0]` (int64) was before this thread, and no other, added `count`."""

    def codegen(context, builder, signature, args):
        count = context.cast(builder, args[1], signature.args[1], types.int64)
        return builder.atomic_rmw("add", args[0], count, "monotonic")

    return types.int64(counter, count), codegen


def _yield_core(builder):
    """Let another thread have this core."""
    name = "SwitchToThread" if os.name == "nt" else "sched_yield"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), name)
    builder.call(function, [])


def _pause(builder):
    """What the processor wants in a waiting loop."""
    if PATH in ("avx512", "avx2"):
        kind, name, args = ir.FunctionType(VOID, []), "llvm.x86.sse2.pause", []
    elif PATH == "neon":
        kind, name, args = ir.FunctionType(VOID, [I32]), "llvm.aarch64.hint", [I32(1)]
    else:
        return
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def spin_until(typingctx, counter, value):
    """Spin-wait until other threads have brought `counter[0]` (int64) to `value`."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], types.int64)
        before, function = builder.block, builder.function
        spin, pause, offer, after = (
            function.append_basic_block(x) for x in ("spin", "pause", "yield", "waited")
        )
        builder.branch(spin)
        builder.position_at_end(spin)
        spins = builder.phi(I64)
        spins.add_incoming(I64(0), before)
        seen = builder.load_atomic(args[0], "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", seen, value), after, pause)
        builder.position_at_end(pause)
        _pause(builder)
        more = builder.add(spins, I64(1))
        spins.add_incoming(more, pause)
        builder.cbranch(builder.icmp_signed("<", spins, I64(SPINS)), spin, offer)
        builder.position_at_end(offer)
        _yield_core(builder)
        spins.add_incoming(more, offer)
        builder.branch(spin)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(counter, value), codegen
