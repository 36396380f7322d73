"""Vector types, loads, broadcasts, FMA and masked edges as LLVM IR, at the host's width.

In: an LLVM builder, and scalars or pointers. Out: vector values that live inside one LLVM function.
They cannot cross a Numba function boundary, so the functions of this package that need vectors are
written whole in IR with the helpers below (`micro_kernel.py`, `gemv.py`, `updates.py` and others)
and are called with pointers and sizes (`routines.py`).

Why not plain loops: Numba switches LLVM's SLP vectoriser off, and its loop vectoriser neither
tiles registers nor keeps 24 accumulators; explicit vectors do.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
VOID, DOUBLE = ir.VoidType(), ir.DoubleType()


def target_features() -> str:
    """The feature string of the machine that Numba compiles for, as its cache key holds it."""
    if config.CPU_FEATURES is not None:
        return config.CPU_FEATURES
    return "" if config.CPU_NAME == "generic" else get_host_cpu_features()


def _choose_path() -> tuple[str, int, int]:
    """(name, bytes of a vector, number of vector registers) of the target."""
    features = set(target_features().split(","))
    if {"+avx512f", "+avx512vl", "+avx512dq"} <= features:
        return "avx512", 64, 32
    if {"+avx2", "+fma"} <= features:
        return "avx2", 32, 16
    if "+neon" in features:
        return "neon", 16, 32
    return "plain", 16, 16


PATH, VECTOR_BYTES, VECTOR_REGISTERS = _choose_path()
LANES_F32 = VECTOR_BYTES // 4
LANES_F64 = VECTOR_BYTES // 8


class Vectors:
    """The vector operations of one element type (`float` or `double`) on one builder.

    `lanes`: of a vector; as many as the target's vectors have unless given.
    """

    def __init__(self, builder: ir.IRBuilder, elem: ir.Type, lanes: int = 0):
        self.builder = builder
        self.elem = elem
        self.is_f32 = isinstance(elem, ir.FloatType)
        self.lanes = lanes or (LANES_F32 if self.is_f32 else LANES_F64)
        self.type = ir.VectorType(elem, self.lanes)
        self.int_elem = I32 if self.is_f32 else I64
        self.int_type = ir.VectorType(self.int_elem, self.lanes)
        self.mask_type = ir.VectorType(I1, self.lanes)
        self.suffix = f"v{self.lanes}{'f32' if self.is_f32 else 'f64'}"
        self.align = 4 if self.is_f32 else 8

    # constants and lanes
    def const(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def int_const(self, value: int) -> ir.Constant:
        return ir.Constant(self.int_type, [value] * self.lanes)

    def splat(self, scalar, type_=None):
        type_ = type_ or self.type
        undef = ir.Constant(type_, ir.Undefined)
        one = self.builder.insert_element(undef, scalar, I32(0))
        lanes = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undef, lanes)

    def first_lanes(self, count):
        """The mask of the first `count` (i64) lanes."""
        wide = ir.VectorType(I64, self.lanes)
        numbers = ir.Constant(wide, list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count, wide))

    # memory: pointers are typed `elem*`; unaligned by default, an element's alignment is enough
    def _vector_pointer(self, pointer):
        return self.builder.bitcast(pointer, self.type.as_pointer())

    def load(self, pointer):
        value = self.builder.load(self._vector_pointer(pointer))
        value.align = self.align
        return value

    def store(self, value, pointer):
        self.builder.store(value, self._vector_pointer(pointer)).align = self.align

    def load_masked(self, pointer, mask, other=None):
        args = [self.type.as_pointer(), I32, self.mask_type, self.type]
        function = self.declare(f"llvm.masked.load.{self.suffix}.p0", self.type, args)
        other = self.const(0.0) if other is None else other
        pointer = self._vector_pointer(pointer)
        return self.builder.call(function, [pointer, I32(self.align), mask, other])

    def store_masked(self, value, pointer, mask):
        args = [self.type, self.type.as_pointer(), I32, self.mask_type]
        function = self.declare(f"llvm.masked.store.{self.suffix}.p0", VOID, args)
        pointer = self._vector_pointer(pointer)
        self.builder.call(function, [value, pointer, I32(self.align), mask])

    def prefetch(self, pointer, level: int = 2):
        """Ask for the line of an address, valid or not, into the cache of that level."""
        i8_pointer = I8.as_pointer()
        function = self.declare("llvm.prefetch.p0", VOID, [i8_pointer, I32, I32, I32])
        address = self.builder.bitcast(pointer, i8_pointer)
        self.builder.call(function, [address, I32(0), I32(4 - level), I32(1)])

    def prefetch_span(self, first, count, level: int = 2):
        """`prefetch` of `count` numbers from an address on."""
        builder, line = self.builder, I64(64 * self.lanes // VECTOR_BYTES)
        lines = builder.sdiv(builder.add(count, line), line)
        with cgutils.for_range(builder, lines) as step:
            self.prefetch(builder.gep(first, [builder.mul(step.index, line)]), level)

    # arithmetic
    def declare(self, name, result, args):
        return cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, args), name
        )

    def fma(self, a, b, c):
        """a * b + c: one fused operation where the target has it, two roundings where not."""
        function = self.declare(f"llvm.fmuladd.{self.suffix}", self.type, [self.type] * 3)
        return self.builder.call(function, [a, b, c])

    def passes(self, value):
        """The ReLU mask `not (value <= 0)`: true for NaN, false for 0 and -0."""
        return self.builder.fcmp_unordered(">", value, self.const(0.0))

    def select(self, mask, a, b):
        return self.builder.select(mask, a, b)

    def whole_mask(self, mask):
        """A mask with all bits of a lane, or a bit for all lanes, as such: AVX2 has no others, and
        takes one from one loop to the next in halves."""
        if mask.type == I1:
            return self.splat(self.builder.sext(mask, self.int_elem), self.int_type)
        return self.builder.sext(mask, self.int_type)

    def kept(self, value, mask):
        """The value where a `whole_mask` is set, else 0."""
        bits = self.builder.and_(self.builder.bitcast(value, self.int_type), mask)
        return self.builder.bitcast(bits, self.type)

    def add(self, a, b):
        return self.builder.fadd(a, b)

    def maximum(self, a, b):
        """The larger of two ordered values; with a NaN, `b`."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def reduce(self, combine, vector):
        """All lanes to one scalar: halve and combine, so the order is the same everywhere."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            undef = ir.Constant(vector.type, ir.Undefined)
            numbers = ir.VectorType(I32, lanes)
            low = ir.Constant(numbers, list(range(lanes)))
            high = ir.Constant(numbers, list(range(lanes, 2 * lanes)))
            vector = combine(
                self.builder.shuffle_vector(vector, undef, low),
                self.builder.shuffle_vector(vector, undef, high),
            )
        return self.builder.extract_element(vector, I32(0))


def element_type(pointer: types.CPointer) -> ir.Type:
    return ir.FloatType() if pointer.dtype == types.float32 else ir.DoubleType()


def name_of(elem: ir.Type) -> str:
    return "f32" if isinstance(elem, ir.FloatType) else "f64"


def llvm_arguments(context, builder, signature, args, kinds):
    """Arguments of an intrinsic cast to the LLVM types `kinds`: pointers stay as they are."""
    numba_types = {
        I1: types.boolean,
        I64: types.int64,
        ir.FloatType(): types.float32,
        ir.DoubleType(): types.float64,
    }
    return [
        value
        if isinstance(kind, ir.PointerType)
        else context.cast(builder, value, type_, numba_types[kind])
        for value, type_, kind in zip(args, signature.args, kinds)
    ]


def hidden(builder, value):
    """The same value, of which the optimiser knows nothing."""
    kind = ir.FunctionType(value.type, [value.type])
    return builder.asm(kind, "", "=r,0", [value], False)


def as_it_stands(module):
    """Metadata for the branch back to a loop's head: LLVM is not to unroll this loop, for then it
    keeps an address for each load and too few registers; and it begins a cache line."""
    alone = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    alignment = module.add_metadata([ir.MetaDataString(module, "llvm.loop.align"), I32(64)])
    node = ir.values.MDValue(module, [], str(len(module.metadata)))
    node.operands = (node, alone, alignment)  # a loop is named by a node that names itself
    return node


def define(builder, name: str, result: ir.Type, args: list[ir.Type], body):
    """The LLVM function `name` in this module, written by `body(builder, *args)` when first met.

    `linkonce_odr` lets the linker keep one copy however many kernels use it.
    """
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(result, args), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    body(inner, *function.args)
    return function


@intrinsic
def pointer(typingctx, array):
    """The address of a C-contiguous array's first element, as a typed pointer."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, value=args[0])
        return struct.data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def shift(typingctx, base, count):
    """`base + count` elements."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.int64)
        return builder.gep(args[0], [index])

    return base(base, count), codegen


@intrinsic
def lanes(typingctx, base):
    """Elements of a vector of this pointer's type: a constant in the compiled code."""

    def codegen(context, builder, signature, args):
        return I64(LANES_F32 if element_type(signature.args[0]) == ir.FloatType() else LANES_F64)

    return types.int64(base), codegen


@intrinsic
def null_like(typingctx, base):
    """The null pointer of this pointer's type."""

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return base(base), codegen


@intrinsic
def null_of(typingctx, like):
    """The null pointer to an array's numbers; to bytes where `like` is None."""
    pointed = like.dtype if isinstance(like, types.Array) else types.uint8

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return types.CPointer(pointed)(like), codegen


@intrinsic
def is_null(typingctx, base):
    def codegen(context, builder, signature, args):
        return cgutils.is_null(builder, args[0])

    return types.boolean(base), codegen


@intrinsic
def retype(typingctx, base, like):
    """The same address as a pointer of `like`'s type."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return like(base, like), codegen


@intrinsic
def integers(typingctx, base):
    """The same address as a pointer to int64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], I64.as_pointer())

    return types.CPointer(types.int64)(base), codegen
