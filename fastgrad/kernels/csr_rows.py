"""Sparse rows one at a time: products with the rows of a matrix that their entries name.

In: values, column numbers and row pointers as SciPy keeps them, in any order and with duplicates,
which add up. Out: a row of Z; or the rows of dW that a row of X touches. Formula 38.
Loop order: vectors of a panel, held in registers; entries. Rows of W lie anywhere, so the line of
the entry AHEAD_ENTRIES on is asked for meanwhile (4.7 ms against 6.9 for 1.5 million entries of 64
float32). Rows of dW are written in order, but so much is read between two of them that processors
do not foresee it: those AHEAD_COLUMNS on are asked for too (the gradient of 47,236-64-1 in 15.7 ms,
without it 17.6).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .micro_kernel import RELU
from .routines import routine
from .simd import DOUBLE, I1, I8, I32, I64, VOID, Vectors
from .tuning import AHEAD_COLUMNS, AHEAD_ENTRIES, LINE_BYTES


def index_of(builder, indices, stride, place):
    """The number at a place, below 2**32, of int32 or int64: `stride` bytes apart."""
    address = builder.gep(indices, [builder.mul(place, stride)])
    return builder.zext(builder.load(builder.bitcast(address, I32.as_pointer())), I64)


class _Panels:
    """Columns 0 to k, taken in panels of 8, 4, 2 and 1 vectors, the last one masked."""

    def __init__(self, builder, vec, k, most):
        self.builder, self.vec, self.k, self.most = builder, vec, k, most

    def each(self, body):
        """body(first column, vectors, mask or None)."""
        builder, lanes = self.builder, self.vec.lanes
        column = cgutils.alloca_once_value(builder, I64(0))
        vectors = self.most
        while vectors:
            width = I64(vectors * lanes)
            head, work, done = (builder.append_basic_block(x) for x in ("head", "panel", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            first = builder.load(column)
            fits = builder.icmp_signed("<=", builder.add(first, width), self.k)
            builder.cbranch(fits, work, done)
            builder.position_at_end(work)
            body(first, vectors, None)
            builder.store(builder.add(first, width), column)
            builder.branch(head)
            builder.position_at_end(done)
            vectors //= 2
        first = builder.load(column)
        left = builder.sub(self.k, first)
        with builder.if_then(builder.icmp_signed(">", left, I64(0))):
            body(first, 1, self.vec.first_lanes(left))


def _prefetch(builder, pointer, size, write=0):
    """The lines of a row into the L1 cache, to be read or (1) written."""
    i8_pointer = I8.as_pointer()
    kind = ir.FunctionType(VOID, [i8_pointer, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    start = builder.bitcast(pointer, i8_pointer)
    for offset in [*range(0, size, LINE_BYTES), size - 1]:  # rows may begin within a line
        address = builder.gep(start, [I64(offset)])
        builder.call(function, [address, I32(write), I32(3), I32(1)])


def _write_row(builder, vec, total, out, init, entries, rows, ld, k, epilogue, following=None):
    """out (k,) = epilogue(init + the sum of the entries' rows), in vectors of `total`'s type.

    entries: (first value, values' stride, first index, indices' stride in bytes, the last index
    that may be looked at, how many). `epilogue`: None, or whether there is a ReLU. `following`: a
    row that will be written soon.
    """
    value, value_stride, index, index_stride, last, count = entries
    reach, widened = builder.mul(I64(AHEAD_ENTRIES), index_stride), total.elem != vec.elem

    def to_total(value):
        return builder.fpext(value, total.type) if widened else value

    def number_at(place):
        return builder.zext(builder.load(builder.bitcast(place, I32.as_pointer())), I64)

    def panel(column, vectors, mask):
        def load(pointer, i):
            pointer = builder.gep(pointer, [I64(i * vec.lanes)])
            return vec.load(pointer) if mask is None else vec.load_masked(pointer, mask)

        base = builder.gep(rows, [column])
        sums = [cgutils.alloca_once(builder, total.type) for _ in range(vectors)]
        for place in sums:
            builder.store(total.const(0.0), place)
        if following is not None:
            soon = builder.gep(following, [column])
            _prefetch(builder, soon, vectors * vec.lanes * (4 if vec.is_f32 else 8), write=1)
        places = [cgutils.alloca_once(builder, start.type) for start in (value, index)]
        for place, start in zip(places, (value, index)):
            builder.store(start, place)
        with cgutils.for_range(builder, count):
            from_, here = (builder.load(place) for place in places)
            soon = builder.gep(here, [reach])
            soon = builder.select(builder.icmp_unsigned("<", soon, last), soon, last)
            _prefetch(
                builder, builder.gep(base, [builder.mul(number_at(soon), ld)]),
                vectors * vec.lanes * (4 if vec.is_f32 else 8),
            )  # fmt: skip
            row = builder.gep(base, [builder.mul(number_at(here), ld)])
            x = builder.load(from_)
            x = total.splat(builder.fpext(x, DOUBLE) if widened else x)
            for i, place in enumerate(sums):
                builder.store(total.fma(x, to_total(load(row, i)), builder.load(place)), place)
            for place, now, stride in zip(places, (from_, here), (value_stride, index_stride)):
                builder.store(builder.gep(now, [stride]), place)
        go, begin = builder.gep(out, [column]), builder.gep(init, [column])
        for i, place in enumerate(sums):
            value_out = total.add(to_total(load(begin, i)), builder.load(place))
            value_out = builder.fptrunc(value_out, vec.type) if widened else value_out
            if epilogue is not None:
                passed = vec.select(vec.passes(value_out), value_out, vec.const(0.0))
                value_out = builder.select(epilogue, passed, value_out)
            to = builder.gep(go, [I64(i * vec.lanes)])
            if mask is None:
                vec.store(value_out, to)
            else:
                vec.store_masked(value_out, to, mask)

    _Panels(builder, vec, k, 4 if widened else 8).each(panel)


def _row_body(wide):
    """`wide`: sums in float64 for rows of float32."""

    def of(elem):
        def body(
            builder, out, init, values, value_stride, indices, index_stride, start, stop, last,
            rows, ld, k, epilogue,
        ):  # fmt: skip
            vec = Vectors(builder, elem)
            total = Vectors(builder, DOUBLE, vec.lanes) if wide else vec
            value = builder.gep(values, [builder.mul(start, value_stride)])
            index, end = (
                builder.gep(indices, [builder.mul(entry, index_stride)]) for entry in (start, last)
            )
            entries = value, value_stride, index, index_stride, end, builder.sub(stop, start)
            relu = builder.icmp_signed("==", epilogue, I64(RELU))
            _write_row(builder, vec, total, out, init, entries, rows, ld, k, relu)
            builder.ret_void()

        return body

    return of


def _column_body(elem):
    def body(builder, out, zeros, fresh, pairs, ends, columns, most, rows, ld, k):
        vec, pair = Vectors(builder, elem), 2 * (4 if elem != DOUBLE else 8)
        numbers = builder.bitcast(pairs, I8.as_pointer())
        size = builder.load(builder.gep(ends, [builder.sub(columns, I64(1))]))
        last = builder.mul(builder.sub(builder.sext(size, I64), I64(1)), I64(pair))
        last = builder.gep(numbers, [last])
        begin = cgutils.alloca_once_value(builder, I64(0))
        with cgutils.for_range(builder, columns) as column:
            start = builder.load(begin)
            stop = builder.sext(builder.load(builder.gep(ends, [column.index])), I64)
            builder.store(stop, begin)
            count = builder.sub(stop, start)
            some = builder.or_(fresh, builder.icmp_signed(">", count, I64(0)))
            few = builder.icmp_signed("<=", count, most)
            with builder.if_then(builder.and_(some, few)):
                value = builder.gep(pairs, [builder.add(builder.mul(start, I64(2)), I64(1))])
                index = builder.gep(numbers, [builder.mul(start, I64(pair))])
                to = builder.gep(out, [builder.mul(column.index, k)])
                entries = value, I64(2), index, I64(pair), last, count
                init = builder.select(fresh, zeros, to)
                following = builder.gep(to, [builder.mul(I64(AHEAD_COLUMNS), k)])
                _write_row(builder, vec, vec, to, init, entries, rows, ld, k, None, following)
        builder.ret_void()

    return body


def _row_kinds(p):
    i8_pointer = I8.as_pointer()
    return [p, p, p, I64, i8_pointer, I64, I64, I64, I64, p, I64, I64, I64]


_ROW = "out init values value_stride indices index_stride start stop last rows ld k epilogue"
row_product = routine(
    "row_product", _ROW, VOID, _row_kinds, _row_body(wide=False),
    """out (k,) = init + sum over entries start..stop of value * rows[index*ld ...], then ReLU if
    `epilogue` says so: the sum is made first. `last`: the last entry that may be looked at.""",
)  # fmt: skip
wide_row_product = routine(
    "wide_row_product", _ROW, VOID, _row_kinds, _row_body(wide=True),
    "As `row_product`, with sums in float64, rounded once.",
)  # fmt: skip

column_products = routine(
    "column_products",
    "out zeros fresh pairs ends columns most rows ld k",
    VOID,
    lambda p: [p, p, I1, p, I32.as_pointer(), I64, I64, p, I64, I64],
    _column_body,
    """For each of some columns whose entries are pairs (index as an int32, value), one column's
    after the other's, which end where `ends` says: out[column*k ...] (k,) += the sum of value *
    rows[index*ld ...], or `fresh`: =. Columns of more than `most` entries are left out.""",
)


def _scatter_body(elem):
    def body(builder, delta, k, sums, values, indices, index_stride, start, stop):
        vec = Vectors(builder, elem)
        total = Vectors(builder, DOUBLE, vec.lanes)

        def widened(value):
            return value if elem == DOUBLE else builder.fpext(value, total.type)

        def panel(column, vectors, mask):
            def place(pointer, i):
                return builder.gep(pointer, [builder.add(column, I64(i * vec.lanes))])

            def load(from_, pointer):
                return from_.load(pointer) if mask is None else from_.load_masked(pointer, mask)

            scaled = [widened(load(vec, place(delta, i))) for i in range(vectors)]
            with cgutils.for_range_slice(builder, start, stop, I64(1)) as (entry, _):
                at = builder.mul(index_of(builder, indices, index_stride, entry), k)
                row = builder.gep(sums, [at])
                x = builder.load(builder.gep(values, [entry]))
                x = total.splat(x if elem == DOUBLE else builder.fpext(x, DOUBLE))
                for i, value in enumerate(scaled):
                    to = place(row, i)
                    value = total.fma(x, value, load(total, to))
                    if mask is None:
                        total.store(value, to)
                    else:
                        total.store_masked(value, to, mask)

        _Panels(builder, vec, k, 4).each(panel)
        builder.ret_void()

    return body


scatter_row = routine(
    "scatter_row",
    "delta k sums values indices index_stride start stop",
    VOID,
    lambda p: [p, I64, DOUBLE.as_pointer(), p, I8.as_pointer(), I64, I64, I64],
    _scatter_body,
    """sums[index*k ...] += value * delta (k,), in float64, for each of the
    entries start..stop in turn; `delta` comes first since the numbers are of its type.""",
)


@intrinsic
def index_at(typingctx, indices, stride, place):
    """The number below 2**32 at a place of bytes that hold int32 or int64."""

    def codegen(context, builder, signature, args):
        stride, place = (
            context.cast(builder, value, kind, types.int64)
            for value, kind in zip(args[1:], signature.args[1:])
        )
        return index_of(builder, args[0], stride, place)

    return types.int64(indices, stride, place), codegen


@intrinsic
def pointer_at(typingctx, indptr, stride, place):
    """A row pointer: of any size where it is int64."""

    def codegen(context, builder, signature, args):
        place = context.cast(builder, args[2], signature.args[2], types.int64)
        address = builder.gep(args[0], [builder.mul(args[1], place)])
        result = cgutils.alloca_once(builder, I64)
        with builder.if_else(builder.icmp_signed("==", args[1], I64(8))) as (long, short):
            with long:
                builder.store(builder.load(builder.bitcast(address, I64.as_pointer())), result)
            with short:
                value = builder.load(builder.bitcast(address, I32.as_pointer()))
                builder.store(builder.sext(value, I64), result)
        return builder.load(result)

    return types.int64(indptr, stride, place), codegen
