"""GATHERED: dW = X^T dZ of sparse rows, whose entries are sorted by column.

In: a chunk of a sparse X and its deltas. Out: rows of dW, each written once a chunk.
Columns are cut into buckets, as many as fit the L2 with their rows of dW. A row task puts its
entries into buckets, while their rows are in cache: a stable counting sort with few places, which
writes some tens of streams. A weight task takes a bucket: it sorts its entries, task after task, by
column, again by counting but within the cache, and a row of dW is the sum of its column's entries'
rows of dZ, in the order of the rows, written once. That is the product of `csr_rows.py` with other
arrays, so it is the same routine; columns of many entries are summed in float64. For one output
the second sort is left out: a bucket's sums are in cache.

In ms on one thread for 47,236 x 64 and 1.5 million entries of float32, four chunks: buckets 2.1,
sort and gather 6.8. Beside it were tried: one sort of all columns 6.3 and gather 4.5 to 10; adding
into dW in place 6.1, but in float32, and to share it each thread must look at all rows; adding into
a bucket's rows of dW 11.0; blocks of columns with a cursor a row 13 to 32.

Entries are pairs of two elements: a number of 32 bits, and the value. In buckets the number is the
row's in the chunk and, in its lower 16 bits, the column's in the bucket.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .csr import entries_of
from .csr_rows import column_products, index_at, wide_row_product
from .jit import inner
from .micro_kernel import STORE
from .records import call_and_plan, is_given, layer_of, step_records
from .routines import procedure
from .simd import I8, I32, VECTOR_BYTES, lanes, retype, shift
from .tuning import FLOAT64_ENTRIES, SORTED_ENTRIES

LOW = 0xFFFF


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
def _put_number(typingctx, base, place, number):
    """The element at a place becomes a number of 32 bits, in its first bytes."""

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
def _places(call, plan, task):
    """Where each bucket's entries of a row task begin; at last, where they all end."""
    return shift(_int32s(shift(call.sums, plan.places)), task * (plan.buckets + 1))


@inner
def _entries_before(call, worker, origin, first):
    """Of a chunk, in rows before row `first`."""
    if not is_given(worker.order):
        return entries_of(call, worker, first)[0] - entries_of(call, worker, origin)[0]
    total = 0
    for row in range(origin, first):
        start, stop = entries_of(call, worker, row)
        total += stop - start
    return total


@inner
def _into_buckets(call, plan, worker, places, index_bytes, origin, first, stop):
    """`index_bytes` is a constant where it is called."""
    indices, x, entries, bits = call.indices, call.x, call.entries, plan.bucket_bits
    ends = shift(places, 1)
    for row in range(first, stop):
        start, end = entries_of(call, worker, row)
        for p in range(start, end):
            ends[index_at(indices, index_bytes, p) >> bits] += 1
    place = types.int64(places[0])
    for bucket in range(plan.buckets):
        count = types.int64(ends[bucket])
        ends[bucket] = place
        place += count
    low = (1 << bits) - 1
    for row in range(first, stop):
        start, end = entries_of(call, worker, row)
        number = (row - origin) << 16
        for p in range(start, end):
            j = index_at(indices, index_bytes, p)
            place = types.int64(ends[j >> bits])
            ends[j >> bits] = place + 1  # at last, where the bucket ends
            _put_number(entries, 2 * place, number | (j & low))
            entries[2 * place + 1] = x[p]


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 4))
def bucket_entries(call, plan, worker, task, origin, first, stop):
    """The entries of rows first..stop, a row task's, into buckets."""
    places = _places(call, plan, task)
    places[0] = _entries_before(call, worker, origin, first)
    for bucket in range(plan.buckets):
        places[bucket + 1] = 0
    if call.index_bytes == 4:
        _into_buckets(call, plan, worker, places, 4, origin, first, stop)
    else:
        _into_buckets(call, plan, worker, places, 8, origin, first, stop)


@inner
def _part(places, bucket, before, begin, end):
    """Which entries of a task are the bucket's numbers begin..end, where `before` come before; and
    how many it has in all."""
    start, stop = types.int64(places[bucket]), types.int64(places[bucket + 1])
    return start + max(0, begin - before), min(stop, start + end - before), stop - start


@inner
def _sort(pairs, ends, call, plan, tasks, bucket, columns, begin, end):
    """A bucket's entries begin..end by column: pairs of row and value, and where columns end."""
    entries = call.entries
    numbers, stride = _bytes(entries), 2 * VECTOR_BYTES // lanes(entries)
    for j in range(columns):
        ends[j] = 0
    before = 0
    for task in range(tasks):
        first, stop, count = _part(_places(call, plan, task), bucket, before, begin, end)
        before += count
        for p in range(first, stop):
            ends[index_at(numbers, stride, p) & LOW] += 1
    place = 0
    for j in range(columns):
        count = types.int64(ends[j])
        ends[j] = place
        place += count
    before = 0
    for task in range(tasks):
        first, stop, count = _part(_places(call, plan, task), bucket, before, begin, end)
        before += count
        for p in range(first, stop):
            number = index_at(numbers, stride, p)
            place = types.int64(ends[number & LOW])
            ends[number & LOW] = place + 1
            _put_number(pairs, 2 * place, number >> 16)
            pairs[2 * place + 1] = entries[2 * p + 1]


@inner
def _one_output(out, call, plan, delta, scratch, ld, tasks, bucket, columns, fresh):
    """Of a layer of one output: sums in float64, which are in cache."""
    entries, sums = call.entries, retype(scratch, call.sums)
    numbers, stride = _bytes(entries), 2 * VECTOR_BYTES // lanes(entries)
    for j in range(columns):
        sums[j] = 0.0
    for task in range(tasks):
        places = _places(call, plan, task)
        for p in range(places[bucket], places[bucket + 1]):
            number = index_at(numbers, stride, p)
            sums[number & LOW] += float(entries[2 * p + 1]) * float(delta[(number >> 16) * ld])
    for j in range(columns):
        out[j] = sums[j] + (0.0 if fresh else float(out[j]))


@procedure(
    types.none,
    lambda real: (
        *call_and_plan(real), *[types.CPointer(real)] * 2, *[types.int64] * 3, types.boolean,
    ),
)  # fmt: skip
def gathered_gradient(call, plan, delta, scratch, ld, tasks, bucket, fresh):
    """A bucket's rows of dW over a chunk, in the caller's array: written if `fresh`, else added."""
    layer, total = layer_of(plan, 0), 0
    k, first = layer.k, bucket << plan.bucket_bits
    columns, out = (
        min(1 << plan.bucket_bits, layer.d - first),
        shift(call.out, layer.weight + first * k),
    )
    if k == 1:
        _one_output(out, call, plan, delta, scratch, ld, tasks, bucket, columns, fresh)
        return
    for task in range(tasks):
        places = _places(call, plan, task)
        total += types.int64(places[bucket + 1]) - types.int64(places[bucket])
    pairs, ends = scratch, _int32s(shift(scratch, 2 * SORTED_ENTRIES))
    numbers, stride = _bytes(pairs), 2 * VECTOR_BYTES // lanes(pairs)
    zeros, done = shift(call.work, plan.zeros), 0
    while fresh or done < total:
        size = min(SORTED_ENTRIES, total - done)
        _sort(pairs, ends, call, plan, tasks, bucket, columns, done, done + size)
        column_products(
            out, zeros, fresh, pairs, ends, columns, FLOAT64_ENTRIES, delta, ld, k
        )  # fmt: skip
        begin = 0
        for j in range(columns):
            end, dw = types.int64(ends[j]), shift(out, j * k)
            if end - begin > FLOAT64_ENTRIES:
                wide_row_product(
                    dw, zeros if fresh else dw, shift(pairs, 1), 2, numbers, stride, begin, end,
                    size - 1, delta, ld, k, STORE,
                )  # fmt: skip
            begin = end
        fresh, done = False, done + size
