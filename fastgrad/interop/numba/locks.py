"""Words that one thread at a time may hold, in any compiled code; free again in a forked child."""

from __future__ import annotations

import os
import weakref

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...kernels.simd import I64

LINE = 8  # int64 of a cache line
_held = weakref.WeakValueDictionary()  # arrays of such words, by id


def free_after_fork(words) -> None:
    """The threads that held these stay in the parent: in a child all are 0."""
    _held[id(words)] = words


def _after_fork() -> None:
    for words in _held.values():
        words[...] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@intrinsic
def take(typingctx, words, index):
    """words[index] = 1 if it is 0, atomically; whether it was."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, value=args[0])
        place = builder.gep(struct.data, [args[1]])
        result = builder.cmpxchg(place, I64(0), I64(1), "acq_rel", "monotonic")
        return builder.extract_value(result, 1)

    return types.boolean(words, types.int64), codegen


@intrinsic
def give_back(typingctx, words, index):
    """words[index] = 0, after all that was written before."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, value=args[0])
        place = builder.gep(struct.data, [args[1]])
        builder.store_atomic(ir.Constant(I64, 0), place, "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64), codegen
