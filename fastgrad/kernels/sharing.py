"""How threads share tasks: a claim on each task, and the wait for the stages before.

A thread claims its own share of a stage's tasks first, so that what they write stays in its cache
from step to step, and then what nobody else has claimed: a slow or late thread costs its own speed
alone. A thread waits for earlier stages before it claims anything, so whoever holds a claim is at
work on it: there is no deadlock, with however few threads.
"""

from __future__ import annotations

import os

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import I1, I32, I64, PATH, VOID

PATIENCE = 4000  # looks, some 100 us, before a waiting thread offers its core


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


def _offer_core(builder):
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
def wait_until(typingctx, counter, value):
    """Wait until other threads have brought `counter[0]` (int64) to `value`."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], types.int64)
        before, function = builder.block, builder.function
        look, rest, offer, after = (
            function.append_basic_block(x) for x in ("look", "rest", "offer", "waited")
        )
        builder.branch(look)
        builder.position_at_end(look)
        looks = builder.phi(I64)
        looks.add_incoming(I64(0), before)
        seen = builder.load_atomic(args[0], "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", seen, value), after, rest)
        builder.position_at_end(rest)
        _pause(builder)
        more = builder.add(looks, I64(1))
        looks.add_incoming(more, rest)
        builder.cbranch(builder.icmp_signed("<", looks, I64(PATIENCE)), look, offer)
        builder.position_at_end(offer)
        _offer_core(builder)
        looks.add_incoming(more, offer)
        builder.branch(look)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(counter, value), codegen
