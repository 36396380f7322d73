"""GATHERED: dW = X^T dZ of sparse rows, whose entries are sorted by column.

In: a chunk of a sparse X and its deltas. Out: rows of dW, each written once.
A chunk's entries are sorted by column (count, places, fill: a stable counting sort), and a row of
dW is the sum of its column's entries' rows of dZ, in float64 registers and in the order of the
rows. That is the product of `csr_rows.py` with other arrays, so it is the same routine. Beside it
were tried, in ms on one thread for 47,236 x 64 and 1.5 million entries: sort and gather 6.3 + 4.5;
adding into dW in place 6.1, but in float32, and to share it each thread must look at all rows;
blocks of columns with a cursor a row 13 to 32.

The counts of a row task's columns lie one array after the other, then the ends of columns.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .csr import entries_of
from .csr_rows import index_at, wide_row_product
from .jit import inner
from .micro_kernel import STORE
from .records import call_and_plan, layer_of, step_records
from .routines import procedure
from .simd import I8, I32, VECTOR_BYTES, lanes, shift


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
def _counts(call, plan, task):
    return shift(_int32s(shift(call.sums, plan.counts)), task * layer_of(plan, 0).d)


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 3))
def count_entries(call, plan, worker, task, first, stop):
    """How many entries each column has in rows first..stop."""
    counts, stride, indices = _counts(call, plan, task), call.index_bytes, call.indices
    for j in range(layer_of(plan, 0).d):
        counts[j] = 0
    for row in range(first, stop):
        start, end = entries_of(call, worker, row)
        for p in range(start, end):
            counts[index_at(indices, stride, p)] += 1


@procedure(types.none, lambda real: (*call_and_plan(real), types.int64))
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


@procedure(types.none, lambda real: (*step_records(real), *[types.int64] * 4))
def fill_entries(call, plan, worker, task, origin, first, stop):
    """Rows first..stop to their columns: pairs of the row's number in the chunk, and the value."""
    places, stride, entries = _counts(call, plan, task), call.index_bytes, call.entries
    x, indices = call.x, call.indices
    for row in range(first, stop):
        start, end = entries_of(call, worker, row)
        for p in range(start, end):
            j = index_at(indices, stride, p)
            place = types.int64(places[j])
            places[j] += 1
            _put_index(entries, 2 * place, row - origin)
            entries[2 * place + 1] = x[p]


@procedure(
    types.none,
    lambda real: (
        *call_and_plan(real), types.CPointer(real), *[types.int64] * 4, types.boolean,
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
