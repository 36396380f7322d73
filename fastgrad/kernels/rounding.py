"""The floating-point control word of a thread: rounding, and whether subnormal numbers are flushed.

A library may have set flush-to-zero for the thread that calls (`torch.set_flush_denormal`). The
threads that share its work take its word for as long as that lasts, so that they compute its bits.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import I8, I32, I64, VOID

_MACHINE = platform.machine().lower()
_X86, _ARM = _MACHINE in ("x86_64", "amd64"), _MACHINE in ("aarch64", "arm64")


def _mxcsr(builder, name, place):
    function = ir.FunctionType(VOID, [I8.as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, I8.as_pointer())])


@intrinsic
def control_word(typingctx):
    """This thread's word; 0 where nothing is known of the processor."""

    def codegen(context, builder, signature, args):
        if _X86:
            place = cgutils.alloca_once(builder, I32)
            _mxcsr(builder, "stmxcsr", place)
            return builder.zext(builder.load(place), I64)
        if _ARM:
            kind = ir.FunctionType(I64, [])
            name = "llvm.aarch64.get.fpcr"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return I64(0)

    return types.int64(), codegen


@intrinsic
def set_control_word(typingctx, word):
    """Give this thread a word that `control_word` returned, in this thread or another."""

    def codegen(context, builder, signature, args):
        if _X86:
            place = cgutils.alloca_once_value(builder, builder.trunc(args[0], I32))
            builder.store(builder.trunc(args[0], I32), place)
            _mxcsr(builder, "ldmxcsr", place)
        elif _ARM:
            kind = ir.FunctionType(VOID, [I64])
            name = "llvm.aarch64.set.fpcr"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
        return context.get_dummy_value()

    return types.void(types.int64), codegen
