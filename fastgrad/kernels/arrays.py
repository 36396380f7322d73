"""What compiled code must know of the arrays that it is given, beyond their Numba types.

Numba tells arrays apart by a fingerprint of rank, dtype, contiguity and writability. It leaves
out byte order and alignment: once an array that is not aligned was seen, a byte-swapped one of the
same rank and dtype passes for a native one, and its numbers would be read wrongly. The NumPy object
itself knows, and Numba keeps its address beside the data (`parent`), views of it included.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import I8, I32, I64

# Offsets of NumPy's C structures, part of its ABI: PyArrayObject.descr and .flags, and
# PyArray_Descr.byteorder.
_HEAD = object.__basicsize__
_DESCR, _FLAGS, _BYTE_ORDER = _HEAD + 40, _HEAD + 48, _HEAD + 10
_SWAPPED = ord(">" if sys.byteorder == "little" else "<")
_CARRAY = 0x0001 | 0x0100 | 0x0400  # C-contiguous, aligned, writable


def _readable() -> bool:
    """Whether these offsets are those of the NumPy that runs."""

    def agree(array):
        descr = ctypes.c_void_p.from_address(id(array) + _DESCR).value
        flags = ctypes.c_int.from_address(id(array) + _FLAGS).value
        if descr != id(array.dtype) or flags != array.flags.num:
            return False
        order = ctypes.c_char.from_address(descr + _BYTE_ORDER).value
        return order.decode() == array.dtype.byteorder

    native = np.zeros(2)
    swapped = native.astype(native.dtype.newbyteorder())
    swapped.flags.writeable = False
    return agree(native) and agree(swapped)


READABLE = _readable()


def _parent(context, builder, kind, value):
    """(the NumPy object's address as bytes, whether there is one)."""
    array = context.make_array(kind)(context, builder, value=value)
    parent = builder.bitcast(array.parent, I8.as_pointer())
    return parent, cgutils.is_not_null(builder, parent)


def _field(builder, base, offset, kind):
    place = builder.gep(base, [I64(offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()))


@intrinsic
def is_native(typingctx, array):
    """Whether an array's numbers have this machine's byte order."""

    def codegen(context, builder, signature, args):
        result = cgutils.alloca_once_value(builder, cgutils.true_bit)
        if not READABLE:
            return builder.load(result)
        parent, known = _parent(context, builder, signature.args[0], args[0])
        with builder.if_then(known):
            descr = _field(builder, parent, _DESCR, I8.as_pointer())
            order = _field(builder, descr, _BYTE_ORDER, I8)
            builder.store(builder.icmp_unsigned("!=", order, I8(_SWAPPED)), result)
        return builder.load(result)

    return types.boolean(array), codegen


@intrinsic
def is_plain(typingctx, array):
    """Whether an argument from Python is as kernels read it: C-contiguous, aligned, writable, and
    of this machine's byte order."""

    def codegen(context, builder, signature, args):
        if not READABLE:  # then every call is checked in Python
            return cgutils.false_bit
        parent, _ = _parent(context, builder, signature.args[0], args[0])
        flags = _field(builder, parent, _FLAGS, I32)
        descr = _field(builder, parent, _DESCR, I8.as_pointer())
        order = _field(builder, descr, _BYTE_ORDER, I8)
        plain = builder.icmp_unsigned("==", builder.and_(flags, I32(_CARRAY)), I32(_CARRAY))
        return builder.and_(plain, builder.icmp_unsigned("!=", order, I8(_SWAPPED)))

    return types.boolean(array), codegen


@intrinsic
def disjoint(typingctx, a, b):
    """Whether two contiguous arrays have no byte in common."""

    def codegen(context, builder, signature, args):
        spans = []
        for kind, value in zip(signature.args, args):
            array = context.make_array(kind)(context, builder, value=value)
            first = builder.ptrtoint(array.data, I64)
            size = builder.mul(array.nitems, I64(context.get_abi_sizeof(array.data.type.pointee)))
            spans.append((first, size))
        (first, size), (other, other_size) = spans
        before = builder.icmp_unsigned("<=", builder.add(first, size), other)
        after = builder.icmp_unsigned("<=", builder.add(other, other_size), first)
        result = builder.or_(before, after)
        for extent in (size, other_size):
            result = builder.or_(result, builder.icmp_unsigned("==", extent, I64(0)))
        return result

    return types.boolean(a, b), codegen
