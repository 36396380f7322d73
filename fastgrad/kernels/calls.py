"""Calls of compiled kernels by their address.

Linked into another kernel, a network step would be compiled a second time; a call by address costs
2 ns.
"""

from __future__ import annotations

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import signature_of

# Addresses: asking Numba and LLVM takes their locks, which a child made by `fork` while another
# thread holds them would wait for in vain.
_known: dict = {}

# The address of the function with the bound of the OpenMP library beneath Numba; 0: there is none.
openmp = np.zeros(1, np.int64)
llvmlite.binding.add_symbol("fastgrad_openmp_bound", openmp.ctypes.data)


def address_of(dispatcher, args) -> int:
    """The address of the machine code of a kernel for arguments like these, compiled if need be."""
    signature = signature_of(args)
    address = _known.get((dispatcher, signature))
    if address is None:
        dispatcher.compile(signature)
        compiled = dispatcher.overloads[signature]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        _known[dispatcher, signature] = address
    return address


@intrinsic
def call_address(typingctx, like, address, args):
    """The kernel at an address, with the arguments of a tuple; it returns the type of `like`."""
    result_type = types.unliteral(like)
    signature = result_type(like, address, args)
    kinds = tuple(args.types)

    def codegen(context, builder, signature, values):
        _, at, packed = values
        kind = context.call_conv.get_function_type(result_type, kinds)
        function = builder.inttoptr(at, kind.as_pointer())
        unpacked = [builder.extract_value(packed, i) for i in range(len(kinds))]
        status, result = context.call_conv.call_function(
            builder, function, result_type, kinds, unpacked
        )
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return signature, codegen


@intrinsic
def thread_bound(typingctx):
    """The smaller of `numba.get_num_threads()`, which has been called before, since it starts the
    threading layer, and the OpenMP library's bound."""

    def codegen(context, builder, signature, args):
        i32, i64, module = ir.IntType(32), ir.IntType(64), builder.module
        kind = ir.FunctionType(i32, [])
        function = cgutils.get_or_insert_function(module, kind, "get_num_threads")
        least = cgutils.alloca_once_value(builder, builder.call(function, []))
        place = ir.GlobalVariable(module, i64, "fastgrad_openmp_bound")
        address = builder.load(place)
        with builder.if_then(builder.icmp_unsigned("!=", address, i64(0))):
            other = builder.call(builder.inttoptr(address, kind.as_pointer()), [])
            before = builder.load(least)
            smaller = builder.icmp_signed("<", other, before)
            builder.store(builder.select(smaller, other, before), least)
        return builder.load(least)

    return types.int32(), codegen
