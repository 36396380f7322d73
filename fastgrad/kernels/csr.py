"""Products with sparse rows (CSR): of X's rows with W, and of its columns with the deltas.

In: values, column numbers and row pointers as SciPy keeps them, in any order and with duplicates,
which add up. Out: rows of Z = X W + b; or dW = X^T dZ, of which only the columns that occur are
more than zeros. Formula 38. Nothing of X's dense shape is made.

A row of Z is the sum of its entries' rows of W, x_ij W_j, held in registers: loop order entries,
vectors. Rows of W lie anywhere, so the line of the entry `AHEAD` ones on is asked for meanwhile
(4.7 ms against 6.9 for 1.5 million entries of 64 float32). For one output it is a dot product whose
four sums are float64: scalar loads beat the gather instruction, 0.70 ms against 0.95.

dW has two variants, which the plan chooses from:
- SCATTERED, where W is small: each row task adds x_ij dZ_i to row j of a float64 gradient of its
  own, while the row is in cache; these are added up in task order.
- GATHERED, where W is large: a chunk's entries are sorted by column (count, places, fill: a stable
  counting sort), and a row of dW is the sum of its column's entries' rows of dZ, in float64
  registers and in the order of the rows, written once. That is the product above with other
  arrays, so it is the same routine. Beside it were tried, in ms on one thread for 47,236 x 64 and
  1.5 million entries: sort and gather 6.3 + 4.5; adding into dW in place 6.1, but in float32, and
  to share it each thread must look at all rows; blocks of columns with a cursor a row 13 to 32.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .gemm import RELU, STORE
from .gemv import sum_rows
from .jit import inner
from .records import CALL, PLAN, WORKER, RecordType, is_given, layer_of
from .routines import procedure, routine
from .simd import DOUBLE, I8, I32, I64, VECTOR_BYTES, VOID, Vectors, lanes, shift

AHEAD = 12  # entries whose rows are asked for
_LINE = 64  # bytes of a cache line


def _index(builder, indices, stride, place):
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


def _prefetch(builder, pointer, size):
    """The lines of a row into the L1 cache."""
    i8_pointer = I8.as_pointer()
    kind = ir.FunctionType(VOID, [i8_pointer, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    start = builder.bitcast(pointer, i8_pointer)
    for offset in range(0, size, _LINE):
        address = builder.gep(start, [I64(offset)])
        builder.call(function, [address, I32(0), I32(3), I32(1)])


def _row_body(wide):
    """`wide`: sums in float64 for rows of float32."""

    def of(elem):
        widened = wide and elem != DOUBLE

        def body(
            builder, out, init, values, value_stride, indices, index_stride, start, stop, last,
            rows, ld, k, epilogue,
        ):  # fmt: skip
            vec = Vectors(builder, elem)
            total = Vectors(builder, DOUBLE, vec.lanes) if widened else vec

            def to_total(value):
                return builder.fpext(value, total.type) if widened else value

            def panel(column, vectors, mask):
                def load(pointer, i):
                    pointer = builder.gep(pointer, [I64(i * vec.lanes)])
                    return vec.load(pointer) if mask is None else vec.load_masked(pointer, mask)

                begin = builder.gep(init, [column])
                sums = [
                    cgutils.alloca_once_value(builder, to_total(load(begin, i)))
                    for i in range(vectors)
                ]
                with cgutils.for_range_slice(builder, start, stop, I64(1)) as (entry, _):
                    soon = builder.add(entry, I64(AHEAD))
                    soon = builder.select(builder.icmp_signed("<", soon, last), soon, last)
                    soon = builder.mul(_index(builder, indices, index_stride, soon), ld)
                    _prefetch(
                        builder, builder.gep(rows, [builder.add(soon, column)]),
                        vectors * vec.lanes * (4 if vec.is_f32 else 8),
                    )  # fmt: skip
                    at = builder.mul(_index(builder, indices, index_stride, entry), ld)
                    row = builder.gep(rows, [builder.add(at, column)])
                    x = builder.load(builder.gep(values, [builder.mul(entry, value_stride)]))
                    x = total.splat(builder.fpext(x, DOUBLE) if widened else x)
                    for i, place in enumerate(sums):
                        value = total.fma(x, to_total(load(row, i)), builder.load(place))
                        builder.store(value, place)
                relu = builder.icmp_signed("==", epilogue, I64(RELU))
                go = builder.gep(out, [column])
                for i, place in enumerate(sums):
                    value = builder.load(place)
                    value = builder.fptrunc(value, vec.type) if widened else value
                    passed = vec.select(vec.passes(value), value, vec.const(0.0))
                    value = builder.select(relu, passed, value)
                    to = builder.gep(go, [I64(i * vec.lanes)])
                    if mask is None:
                        vec.store(value, to)
                    else:
                        vec.store_masked(value, to, mask)

            _Panels(builder, vec, k, 4 if widened else 8).each(panel)
            builder.ret_void()

        return body

    return of


def _row_kinds(p):
    i8_pointer = I8.as_pointer()
    return [p, p, p, I64, i8_pointer, I64, I64, I64, I64, p, I64, I64, I64]


_ROW = "out init values value_stride indices index_stride start stop last rows ld k epilogue"
row_product = routine(
    "row_product", _ROW, VOID, _row_kinds, _row_body(wide=False),
    """out (k,) = init + sum over entries start..stop of value * rows[index*ld ...], then ReLU if
    `epilogue` says so. `last`: the last entry that may be looked at.""",
)  # fmt: skip
wide_row_product = routine(
    "wide_row_product", _ROW, VOID, _row_kinds, _row_body(wide=True),
    "As `row_product`, with sums in float64, rounded once.",
)  # fmt: skip


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
                at = builder.mul(_index(builder, indices, index_stride, entry), k)
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
        return _index(builder, args[0], stride, place)

    return types.int64(indices, stride, place), codegen


@intrinsic
def _pointer_at(typingctx, indptr, stride, place):
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


@intrinsic
def _int32s(typingctx, base):
    """The same address as a pointer to int32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], I32.as_pointer())

    return types.CPointer(types.int32)(base), codegen


@intrinsic
def _bytes(typingctx, base):
    """The same address as a pointer to bytes."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], I8.as_pointer())

    return types.CPointer(types.uint8)(base), codegen


@intrinsic
def _put_index(typingctx, base, place, number):
    """The element at a place becomes an int32, in its first bytes."""

    def codegen(context, builder, signature, args):
        place, number = (
            context.cast(builder, value, kind, types.int64)
            for value, kind in zip(args[1:], signature.args[1:])
        )
        to = builder.bitcast(builder.gep(args[0], [place]), I32.as_pointer())
        builder.store(builder.trunc(number, I32), to)
        return context.get_dummy_value()

    return types.void(base, place, number), codegen


@inner
def _entries_of(call, worker, row):
    """(first, one past the last) entry of a row of the step, whose rows may be in any order."""
    if is_given(worker.order):
        row = worker.order[row]
    stride = call.indptr_bytes
    return _pointer_at(call.indptr, stride, row), _pointer_at(call.indptr, stride, row + 1)


def _records(real):
    return RecordType(CALL, real), RecordType(PLAN, real), RecordType(WORKER, real)


@procedure(
    types.none,
    lambda real: (*_records(real), types.CPointer(real), *[types.int64] * 4),
)
def sparse_forward(call, plan, worker, c, ldc, row, m, relu):
    """Rows row..row+m of X W + b, into c."""
    layer = layer_of(plan, 0)
    k, stride, last = layer.k, call.index_bytes, call.last_entry
    w, b = shift(call.theta, layer.weight), shift(call.bias, layer.bias)
    for i in range(m):
        start, stop = _entries_of(call, worker, row + i)
        if k > 1:
            row_product(
                shift(c, i * ldc), b, call.x, 1, call.indices, stride, start, stop, last, w, k, k,
                relu,
            )  # fmt: skip
            continue
        z = float(b[0]) + _dot(call.x, call.indices, stride, start, stop, w)
        c[i * ldc] = z
        if relu == RELU and z <= 0.0:
            c[i * ldc] = 0.0


@inner
def _dot(values, indices, stride, start, stop, w):
    """In float64, in four sums."""
    s0 = s1 = s2 = s3 = 0.0
    whole = start + (stop - start) // 4 * 4
    for p in range(start, whole, 4):
        s0 += float(values[p]) * float(w[index_at(indices, stride, p)])
        s1 += float(values[p + 1]) * float(w[index_at(indices, stride, p + 1)])
        s2 += float(values[p + 2]) * float(w[index_at(indices, stride, p + 2)])
        s3 += float(values[p + 3]) * float(w[index_at(indices, stride, p + 3)])
    for p in range(whole, stop):
        s0 += float(values[p]) * float(w[index_at(indices, stride, p)])
    return (s0 + s1) + (s2 + s3)


@procedure(
    types.none,
    lambda real: (
        *_records(real), types.CPointer(types.float64), *[types.CPointer(real)] * 2,
        *[types.int64] * 3, types.boolean,
    ),
)  # fmt: skip
def scattered_gradient(call, plan, worker, sums, db, delta, ld, row, m, fresh):
    """SCATTERED: what rows row..row+m add to dW, in the task's float64 sums (d, k); and db."""
    # Fields once: the compiler cannot know that no store meets the record.
    k, stride, x, indices = layer_of(plan, 0).k, call.index_bytes, call.x, call.indices
    sum_rows(db, delta, ld, k, fresh, m)
    for i in range(m):
        start, stop = _entries_of(call, worker, row + i)
        if k > 1:
            scatter_row(shift(delta, i * ld), k, sums, call.x, call.indices, stride, start, stop)
            continue
        slope = float(delta[i * ld])
        for p in range(start, stop):
            sums[index_at(indices, stride, p)] += slope * float(x[p])


# GATHERED: the counts of a row task's columns, one array after the other, then the ends of columns.


@inner
def _counts(call, plan, task):
    return shift(_int32s(shift(call.sums, plan.counts)), task * layer_of(plan, 0).d)


@procedure(types.none, lambda real: (*_records(real), *[types.int64] * 3))
def count_entries(call, plan, worker, task, first, stop):
    """How many entries each column has in rows first..stop."""
    counts, stride, indices = _counts(call, plan, task), call.index_bytes, call.indices
    for j in range(layer_of(plan, 0).d):
        counts[j] = 0
    for row in range(first, stop):
        start, end = _entries_of(call, worker, row)
        for p in range(start, end):
            counts[index_at(indices, stride, p)] += 1


@procedure(types.none, lambda real: (*_records(real)[:2], types.int64))
def place_entries(call, plan, tasks):
    """Counts become where each task's entries of a column begin: column by column, task by task."""
    d = layer_of(plan, 0).d
    starts = _counts(call, plan, tasks)
    for j in range(d):
        starts[j] = 0
    for task in range(tasks):
        counts = _counts(call, plan, task)
        for j in range(d):
            starts[j] += counts[j]
    place = 0
    for j in range(d):
        count = starts[j]
        starts[j] = place
        place += count
    for task in range(tasks):
        counts = _counts(call, plan, task)
        for j in range(d):
            count = counts[j]
            counts[j] = starts[j]
            starts[j] += count  # at last, where the column ends


@procedure(types.none, lambda real: (*_records(real), *[types.int64] * 4))
def fill_entries(call, plan, worker, task, origin, first, stop):
    """Rows first..stop to their columns: pairs of the row's number in the chunk, and the value."""
    places, stride, entries = _counts(call, plan, task), call.index_bytes, call.entries
    x, indices = call.x, call.indices
    for row in range(first, stop):
        start, end = _entries_of(call, worker, row)
        for p in range(start, end):
            j = index_at(indices, stride, p)
            place = types.int64(places[j])
            places[j] += 1
            _put_index(entries, 2 * place, row - origin)
            entries[2 * place + 1] = x[p]


@procedure(
    types.none,
    lambda real: (
        *_records(real)[:2], types.CPointer(real), *[types.int64] * 4, types.boolean,
    ),
)  # fmt: skip
def gathered_gradient(call, plan, delta, ld, tasks, start, stop, fresh):
    """Rows start..stop of dW over a chunk, in the caller's array: written if `fresh`, else added,
    in float64 until they are stored."""
    k, entries, ends = layer_of(plan, 0).k, call.entries, _counts(call, plan, tasks)
    stride, last = 2 * VECTOR_BYTES // lanes(entries), ends[layer_of(plan, 0).d - 1] - 1
    zeros, out = shift(call.work, plan.zeros), shift(call.out, layer_of(plan, 0).weight)
    for j in range(start, stop):
        begin = types.int64(ends[j - 1]) if j else types.int64(0)
        if begin == ends[j] and not fresh:
            continue
        dw = shift(out, j * k)
        wide_row_product(
            dw, zeros if fresh else dw, shift(entries, 1), 2, _bytes(entries), stride, begin,
            ends[j], last, delta, ld, k, STORE,
        )  # fmt: skip
