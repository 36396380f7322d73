"""Into panels: what `gemm.py` reads as B, weights and their transposes once a step; and as A.

In: a matrix, row-major, W (d, k) as it lies in theta. Out: panels of up to NR columns, a row of a
panel contiguous, padded with zeros to whole vectors; of MR columns for a transposed A. The
transpose goes through registers, lanes x lanes at a time: 6 times as fast as element by element
(64 x 64 float32: 0.17 against 1.0 us).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .micro_kernel import MR, NV
from .routines import procedure, routine
from .simd import (
    I32,
    I64,
    LANES_F32,
    LANES_F64,
    VOID,
    Vectors,
    define,
    lanes,
    name_of,
    shift,
)

# Rows copied side by side: whole cache lines of the source, and of the panels.
ROWS_AT_ONCE = 8


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, p, i, i, i, i, i


def _copy_body(elem):
    def body(builder, out, width, source, ld, rows, columns):
        vec = Vectors(builder, elem)
        whole = builder.sdiv(columns, I64(vec.lanes))
        rest = builder.srem(columns, I64(vec.lanes))
        has_tail = builder.icmp_signed(">", rest, I64(0))
        tail = vec.first_lanes(rest)
        with cgutils.for_range(builder, rows) as row:
            to = builder.gep(out, [builder.mul(row.index, width)])
            come = builder.gep(source, [builder.mul(row.index, ld)])
            with cgutils.for_range(builder, whole) as block:
                at = builder.mul(block.index, I64(vec.lanes))
                vec.store(vec.load(builder.gep(come, [at])), builder.gep(to, [at]))
            with builder.if_then(has_tail):
                at = builder.mul(whole, I64(vec.lanes))
                vec.store(vec.load_masked(builder.gep(come, [at]), tail), builder.gep(to, [at]))
        builder.ret_void()

    return body


copy_rows = routine(
    "copy_rows",
    "out width source ld rows columns",
    VOID,
    lambda p: [p, I64, p, I64, I64, I64],
    _copy_body,
    """out[r*width + j] = source[r*ld + j] for j < columns;
    whole vectors are written, zeros behind.

    `width` is at least `columns`, in whole vectors.
    """,
)


def _copy_panels_body(elem):
    def body(builder, out, source, ld, rows, columns):
        whole = builder.sdiv(columns, I64(MR))
        beside = builder.mul(whole, I64(MR))
        height = builder.mul(rows, I64(MR))
        across = ir.VectorType(elem, MR).as_pointer()
        size = 4 if elem == ir.FloatType() else 8

        def some(first, count):
            come = builder.gep(source, [builder.mul(first, ld)])
            to = builder.gep(out, [builder.mul(first, I64(MR))])
            with cgutils.for_range(builder, whole) as panel:
                for r in range(count):
                    at = builder.add(builder.mul(I64(r), ld), builder.mul(panel.index, I64(MR)))
                    place = builder.add(builder.mul(panel.index, height), I64(r * MR))
                    value = builder.load(builder.bitcast(builder.gep(come, [at]), across))
                    value.align = size
                    place = builder.bitcast(builder.gep(to, [place]), across)
                    builder.store(value, place).align = size
            with cgutils.for_range(builder, builder.sub(columns, beside)) as rest:
                for r in range(count):
                    at = builder.add(builder.mul(I64(r), ld), builder.add(beside, rest.index))
                    place = builder.add(builder.mul(whole, height), I64(r * MR))
                    value = builder.load(builder.gep(come, [at]))
                    builder.store(value, builder.gep(to, [builder.add(place, rest.index)]))

        groups = builder.sdiv(rows, I64(ROWS_AT_ONCE))
        with cgutils.for_range(builder, groups) as group:
            some(builder.mul(group.index, I64(ROWS_AT_ONCE)), ROWS_AT_ONCE)
        done = builder.mul(groups, I64(ROWS_AT_ONCE))
        with cgutils.for_range(builder, builder.sub(rows, done)) as row:
            some(builder.add(done, row.index), 1)
        builder.ret_void()

    return body


copy_panels = routine(
    "copy_panels",
    "out source ld rows columns",
    VOID,
    lambda p: [p, p, I64, I64, I64],
    _copy_panels_body,
    """Columns in panels of MR, as a product's transposed A:
    out[j // MR * MR * rows + r * MR + j % MR] = source[r*ld + j] for j < columns.""",
)


@procedure(types.none, _arguments)
def pack(out, w, ldw, d, k, start, stop):
    """Rows start..stop of w (d, k) into panels [panel][row][<= NR], zero padded to vectors.

    A panel that starts at column j starts at out[j * d].
    """
    vl = lanes(out)
    nr = NV * vl
    for i in range(start, stop, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, stop - i)
        for j in range(0, k, nr):
            columns = min(nr, k - j)
            width = (columns + vl - 1) // vl * vl
            copy_rows(
                shift(out, j * d + i * width), width, shift(w, i * ldw + j), ldw, rows, columns
            )


def _transpose(vec: Vectors, rows):
    """Lanes x lanes in registers: log2(lanes) rounds that swap off-diagonal blocks."""
    rows, distance = list(rows), vec.lanes // 2
    numbers = ir.VectorType(I32, vec.lanes)
    while distance:
        upper = [bool(lane & distance) for lane in range(vec.lanes)]
        low = [vec.lanes + i - distance if u else i for i, u in enumerate(upper)]
        high = [vec.lanes + i if u else i + distance for i, u in enumerate(upper)]
        for i in range(vec.lanes):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = (
                    vec.builder.shuffle_vector(a, b, ir.Constant(numbers, order))
                    for order in (low, high)
                )
        distance //= 2
    return rows


def _transposed_block(elem, full: bool):
    """One block of up to lanes x lanes; `full` says that none of it is missing."""

    def body(builder, out, width, w, ldw, rows, columns):
        vec = Vectors(builder, elem)
        mask = vec.first_lanes(columns)

        def row(i):
            if full:
                return vec.load(builder.gep(w, [builder.mul(I64(i), ldw)]))
            inside = builder.icmp_signed("<", I64(i), rows)
            here = builder.gep(w, [builder.select(inside, builder.mul(I64(i), ldw), I64(0))])
            return vec.load_masked(here, builder.and_(mask, vec.splat(inside, vec.mask_type)))

        for c, column in enumerate(_transpose(vec, [row(i) for i in range(vec.lanes)])):
            target = builder.gep(out, [builder.mul(I64(c), width)])
            if full:
                vec.store(column, target)
            else:
                with builder.if_then(builder.icmp_signed("<", I64(c), columns)):
                    vec.store(column, target)
        builder.ret_void()

    return body


def transpose_block(builder, elem, *values):
    """out[c*width + i] = w[i*ldw + c] for i < rows, c < columns, both at most `lanes`.

    values: out, width, w, ldw, rows, columns. Whole vectors are written: zeros from `rows` on.
    """
    kinds = [elem.as_pointer(), I64, elem.as_pointer(), I64, I64, I64]
    vl = I64(LANES_F32 if isinstance(elem, ir.FloatType) else LANES_F64)
    whole = builder.and_(
        builder.icmp_signed(">=", values[4], vl), builder.icmp_signed(">=", values[5], vl)
    )
    name = f"fastgrad_transpose_{name_of(elem)}"
    with builder.if_else(whole) as (full, edge):
        for branch, suffix, is_full in ((full, "full", True), (edge, "edge", False)):
            with branch:
                body = _transposed_block(elem, is_full)
                builder.call(define(builder, f"{name}_{suffix}", VOID, kinds, body), values)


def _transposed_block_body(elem):
    def body(builder, *values):
        transpose_block(builder, elem, *values)
        builder.ret_void()

    return body


transposed_block = routine(
    "transposed_block",
    "out width w ldw rows columns",
    VOID,
    lambda p: [p, I64, p, I64, I64, I64],
    _transposed_block_body,
    "(out, width, w, ldw, rows, columns): `transpose_block` of pointers.",
)


@procedure(types.none, _arguments)
def pack_transposed(out, w, ldw, d, k, start, stop):
    """Rows start..stop of w (d, k), as columns of its transpose (k, d), into panels of it.

    start is a multiple of the vector's lanes. A panel that starts at row j of w starts at
    out[j * k]; its width is whole vectors, zero padded.
    """
    vl = lanes(out)
    nr = NV * vl
    for i in range(start, stop, vl):
        j = i // nr * nr
        width = (min(nr, d - j) + vl - 1) // vl * vl
        for q in range(0, k, vl):
            transposed_block(
                shift(out, j * k + q * width + (i - j)),
                width,
                shift(w, i * ldw + q),
                ldw,
                d - i,
                k - q,
            )
