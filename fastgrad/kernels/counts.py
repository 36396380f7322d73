"""Whole-number divisions of a step's control flow, without the division where there is one part.

In: counts, none negative. Most small steps have one task, one chunk and one slice of everything;
their thirty divisions took 0.1 of 2 us of a step (4-32-32-2, 32 rows, Zen 5).
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .jit import inner
from .simd import I64


@intrinsic
def quotient(typingctx, a, b):
    """a // b for a >= 0 and b >= 1; a for b = 0."""

    def codegen(context, builder, signature, args):
        a, b = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(args, signature.args)
        )
        before = builder.block
        compare, divide, known = (
            builder.append_basic_block(name) for name in ("compare", "divide", "known")
        )
        builder.cbranch(builder.icmp_unsigned("<", a, b), known, compare)
        builder.position_at_end(compare)
        builder.cbranch(builder.icmp_unsigned("<=", b, I64(1)), known, divide)
        builder.position_at_end(divide)
        divided = builder.udiv(a, b)
        builder.branch(known)
        builder.position_at_end(known)
        found = builder.phi(I64)
        for value, block in ((I64(0), before), (a, compare), (divided, divide)):
            found.add_incoming(value, block)
        return found

    return types.int64(a, b), codegen


@inner
def parts_of(count, most):
    """How many parts of `most` each cover so many: 0 of 0."""
    return min(count, 1) if count <= most else quotient(count + most - 1, most)
