"""Kernels by number, for the user's compiled code: found at its first call in each process.

Linked into every function that calls it, a step would be compiled with each, some seconds a time;
and an address is another in every process, so it cannot stand in cached code. So compiled code
reads the address from a table, which it finds by a symbol's name; where the table has none yet, a
call into Python (which takes the GIL) loads the kernel or compiles it.

The table begins with a stamp of the kernels' sources and these: code that was compiled and cached
with others is told so, since arguments may have changed their meaning.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from ...kernels.calls import address_of
from ...kernels.jit import SOURCES_DIGEST, digest_of
from ...kernels.routines import Procedure
from ...kernels.simd import I64, VOID

_SYMBOL, _MOST = "fastgrad_kernels", 64
_STAMP_AT, _RESOLVER_AT, _FIRST = 0, 1, 2
_STAMP = int(digest_of(Path(__file__).parent.glob("*.py"), SOURCES_DIGEST)[:15], 16)

_table = np.zeros(_MOST, np.int64)
_entries: list = []  # by number: (kernel, function that makes its arguments), or an array


def publish(array) -> int:
    """A number by which compiled code finds an array that lives as long as the process."""
    _entries.append(array)
    number = _FIRST + len(_entries) - 1
    _table[number] = array.ctypes.data
    return number


def enlist(kernel, example) -> int:
    """A number for the kernel as compiled for the arguments that `example()` makes.

    Always in the same order: the number stands in cached code.
    """
    _entries.append((kernel, example))
    return _FIRST + len(_entries) - 1


def enlist_procedure(procedure) -> dict:
    """The numbers of a procedure (`kernels/routines.py`), by dtype."""
    return {real: enlist(procedure, real) for real in (types.float32, types.float64)}


@ctypes.CFUNCTYPE(None, ctypes.c_int64)
def _resolve(number):
    kernel, example = _entries[number - _FIRST]
    if isinstance(kernel, Procedure):
        _table[number] = kernel.resolve(example)
    else:
        _table[number] = address_of(kernel, example())


_table[_STAMP_AT] = _STAMP
_table[_RESOLVER_AT] = ctypes.cast(_resolve, ctypes.c_void_p).value
llvmlite.binding.add_symbol(_SYMBOL, _table.ctypes.data)


def _entry(context, builder, number):
    table = context.get_c_value(builder, ir.ArrayType(I64, _MOST), _SYMBOL)
    return builder.gep(table, [I64(0), number])


@intrinsic
def published(typingctx, number):
    """The address of an array."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[0], signature.args[0], types.int64)
        return builder.load(_entry(context, builder, number))

    return types.int64(number), codegen


@intrinsic
def _resolved(typingctx, number):
    """An address, asked for in Python if there is none; 0 where Python raised an error."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[0], signature.args[0], types.int64)
        place = _entry(context, builder, number)
        address = cgutils.alloca_once_value(builder, builder.load(place))
        missing = builder.icmp_unsigned("==", builder.load(address), I64(0))
        with builder.if_then(missing, likely=False):
            kind = ir.FunctionType(VOID, [I64]).as_pointer()
            resolver = builder.load(_entry(context, builder, I64(_RESOLVER_AT)))
            builder.call(builder.inttoptr(resolver, kind), [number])
            builder.store(builder.load(place), address)
        return builder.load(address)

    return types.int64(number), codegen


@register_jitable
def check_version():
    if published(_STAMP_AT) != _STAMP:
        raise RuntimeError(
            "compiled and cached with another version of fastgrad: delete this function's cache"
        )


@register_jitable
def address_by(number):
    """The address of a kernel, for `calls.call`."""
    check_version()
    address = _resolved(number)
    if address == 0:
        raise RuntimeError("a kernel of fastgrad could not be compiled; the reason is printed")
    return address
