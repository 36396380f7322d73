"""Records: eight-byte fields that kernels read by name, in memory that is not Python's.

A `Record` names the fields; a pointer to one is a `RecordType`, whose fields compiled code reads
and writes as attributes, at constant offsets. Where a Record is a global of compiled code its
attributes are the positions of the fields.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
    typeof_impl,
)

from .simd import I64

INT, BYTES, INTS, FLOATS, REALS = "int", "bytes*", "int*", "float*", "real*"
REAL = "real"  # a number in the record itself, of which a kernel gets the address

_declared: dict[str, Record] = {}  # by name


class Record:
    """Field names in order; `record.field` is the field's position."""

    def __init__(self, name: str, **fields):
        self._name, self._kinds = name, fields
        for position, field in enumerate(fields):
            setattr(self, field, position)
        self.size = len(fields)
        _declared[name] = self

    def __reduce__(self):
        return _record, (self._name,)


class RecordType(types.Type):
    """A pointer to a record; `real`: what its pointers to real numbers point to."""

    def __init__(self, record: Record, real=None):
        self.record, self.real = record, real
        super().__init__(f"{record._name}*({real})")

    def field(self, name: str):
        """The type of a field as kernels read it."""
        kind = self.record._kinds.get(name)
        if kind == INT:
            return types.int64
        if isinstance(kind, Record):
            return RecordType(kind, self.real)
        pointed = {BYTES: types.uint8, INTS: types.int64, FLOATS: types.float64}
        pointed |= {REALS: self.real, REAL: self.real}
        return types.CPointer(pointed[kind]) if kind else None


def _record(name: str) -> Record:
    return _declared[name]


class _Positions(types.Type):
    """A `Record` as compiled code sees it where it is a global: positions are constants."""

    def __init__(self, record: Record):
        self.record = record
        super().__init__(name=f"{record._name}'s positions")


@typeof_impl.register(Record)
def _typeof_record(record, context):
    return _Positions(record)


register_model(_Positions)(models.OpaqueModel)


@infer_getattr
class _PositionAttributes(AttributeTemplate):
    key = _Positions

    def generic_resolve(self, positions, name):
        return types.int64 if isinstance(getattr(positions.record, name, None), int) else None


@lower_getattr_generic(_Positions)
def _position(context, builder, kind, value, name):
    return I64(getattr(kind.record, name))


@lower_constant(_Positions)
def _positions(context, builder, kind, value):
    return context.get_dummy_value()


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, I64.as_pointer())


@infer_getattr
class _RecordAttributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, record, name):
        return record.field(name)


def field_place(builder, pointer, kind, name):
    return builder.gep(pointer, [I64(getattr(kind.record, name))])


@lower_getattr_generic(RecordType)
def _read(context, builder, kind, pointer, name):
    place, field = (
        field_place(builder, pointer, kind, name),
        context.get_value_type(kind.field(name)),
    )
    if kind.record._kinds[name] == REAL:
        return builder.bitcast(place, field)
    value = builder.load(place)
    return value if field == I64 else builder.inttoptr(value, field)


def write_field(builder, pointer, record: Record, name: str, value) -> None:
    """Store a number, or an address, in a field."""
    if isinstance(value.type, ir.PointerType):
        value = builder.ptrtoint(value, I64)
    builder.store(value, builder.gep(pointer, [I64(getattr(record, name))]))


@lower_setattr_generic(RecordType)
def _write(context, builder, signature, args, name):
    write_field(builder, args[0], signature.args[0].record, name, args[1])


@intrinsic
def words_of(typingctx, record):
    """A record's memory: its fields as int64."""

    def codegen(context, builder, signature, args):
        return args[0]

    return types.CPointer(types.int64)(record), codegen
