"""GEMV: products with few columns, as dot products of rows and as sums of scaled rows.

In: rows of X with a leading dimension, and a vector. Out: each row's dot product with it (forward),
or the rows' sum weighted by it (weight gradient). Where a layer has few outputs, a tile of
`gemm.py` would leave most of a vector's lanes idle; here the lanes run along the inputs. Loop
order: groups of G rows, vectors of columns. A group's G sums run side by side, so that none waits
for another, and become one vector by a transposing reduction (3 operations a row against 8 for one
at a time). The order of a row's sum is the same in a group and alone.
"""

from __future__ import annotations

from itertools import chain

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .micro_kernel import RELU_BACKWARD, STORE
from .routines import procedure, routine
from .simd import I1, I32, I64, VOID, Vectors, shift
from .tuning import DOT_ELEMENTS


def group_rows(vec: Vectors) -> int:
    """Rows of a group: eight sums keep two FMA units busy; a reduction takes at most `lanes`."""
    return min(8, vec.lanes)


def transposed_sums(vec: Vectors, vectors):
    """The sums of G vectors, G <= lanes, as one vector of G, in the order of `Vectors.reduce`.

    A round adds the halves of every segment. Of two vectors, the first's sums are wanted in the
    lower half of each segment and the second's in the upper, where they come about the other way
    round: a blend and one shuffle for two vectors.
    """
    builder, wide = vec.builder, ir.VectorType(I32, vec.lanes)
    count, half = len(vectors), vec.lanes // 2
    numbers = range(vec.lanes)
    while half:
        many = len(vectors) // 2
        pairs = zip(vectors[:many], vectors[many:]) if many else [(vectors[0], vectors[0])]
        own = [lane + vec.lanes * bool(lane & half) for lane in numbers]
        other = [(lane ^ half) + vec.lanes * bool(lane & half) for lane in numbers]
        vectors = [
            builder.fadd(
                *(builder.shuffle_vector(*pair, ir.Constant(wide, x)) for x in (own, other))
            )
            for pair in pairs
        ]
        half //= 2
    if count == vec.lanes:
        return vectors[0]
    first = ir.Constant(ir.VectorType(I32, count), list(range(0, vec.lanes, vec.lanes // count)))
    return builder.shuffle_vector(vectors[0], vectors[0], first)


class RowGroup:
    """G rows of X together: their dot products, then their part of dw."""

    def __init__(self, vec, d):
        self.vec, self.builder = vec, vec.builder
        self.whole = self.builder.sdiv(d, I64(vec.lanes))
        tail = self.builder.srem(d, I64(vec.lanes))
        self.tail = vec.first_lanes(tail)
        self.has_tail = self.builder.icmp_signed(">", tail, I64(0))

    def over_columns(self, visit):
        """`visit(column, mask)` for every vector of columns: None, but for the last."""
        builder, lanes = self.builder, I64(self.vec.lanes)
        with cgutils.for_range(builder, self.whole) as block:
            visit(builder.mul(block.index, lanes), None)
        with builder.if_then(self.has_tail):
            visit(builder.mul(self.whole, lanes), self.tail)

    def load(self, pointer, mask):
        return self.vec.load(pointer) if mask is None else self.vec.load_masked(pointer, mask)

    def store(self, value, pointer, mask):
        if mask is None:
            self.vec.store(value, pointer)
        else:
            self.vec.store_masked(value, pointer, mask)

    def sums(self, rows, weights):
        """Of each row with each of some weights, row by row: a vector of partial sums."""
        vec, builder = self.vec, self.builder
        sums = [[cgutils.alloca_once(builder, vec.type) for _ in weights] for _ in rows]
        for sum_ in chain(*sums):
            builder.store(vec.const(0.0), sum_)

        def visit(column, mask):
            factors = [self.load(builder.gep(w, [column]), mask) for w in weights]
            for row, of_row in zip(rows, sums):
                x = self.load(builder.gep(row, [column]), mask)
                for sum_, factor in zip(of_row, factors):
                    builder.store(vec.fma(x, factor, builder.load(sum_)), sum_)

        self.over_columns(visit)
        return [builder.load(sum_) for sum_ in chain(*sums)]

    def dots(self, rows, w):
        """w . x of each row: one vector of them (G > 1), or a scalar (G = 1)."""
        vec, sums = self.vec, self.sums(rows, [w])
        return vec.reduce(vec.add, sums[0]) if len(sums) == 1 else transposed_sums(vec, sums)

    def add_rows(self, dw, rows, errors, dw_tail=None):
        """dw += sum of error * row, in two chains, so that each waits half as long.

        dw_tail: as `tail_of` makes it, instead of the end of dw.
        """
        vec, builder = self.vec, self.builder
        factors = [vec.splat(e) for e in errors]

        def visit(column, mask):
            place, at_end = builder.gep(dw, [column]), dw_tail is not None and mask is not None
            before = builder.load(dw_tail) if at_end else self.load(place, mask)
            chains = [before, vec.const(0.0)]
            for r, (row, factor) in enumerate(zip(rows, factors)):
                x = self.load(builder.gep(row, [column]), mask)
                chains[r % 2] = vec.fma(factor, x, chains[r % 2])
            total = builder.fadd(*chains) if len(rows) > 1 else chains[0]
            builder.store(total, dw_tail) if at_end else self.store(total, place, mask)

        self.over_columns(visit)

    def _end(self, base):
        return self.builder.gep(base, [self.builder.mul(self.whole, I64(self.vec.lanes))])

    def tail_of(self, base):
        """A register with the last numbers of an array, which fill no vector: a processor waits
        for a masked store before it loads from there again."""
        tail = cgutils.alloca_once(self.builder, self.vec.type)
        self.builder.store(self.vec.load_masked(self._end(base), self.tail), tail)
        return tail

    def store_tail(self, tail, base):
        self.vec.store_masked(self.builder.load(tail), self._end(base), self.tail)


def add_to(builder, place, value):
    builder.store(builder.fadd(builder.load(place), value), place)


def in_groups(vec, m, count, run):
    """`run(first row, rows of the group)` over m rows: whole groups, then row by row."""
    builder = vec.builder
    whole = builder.sdiv(m, I64(count))
    with cgutils.for_range(builder, whole) as group:
        run(builder.mul(group.index, I64(count)), count)
    start = builder.mul(whole, I64(count))
    with cgutils.for_range(builder, builder.sub(m, start)) as row:
        run(builder.add(start, row.index), 1)


def _dot_body(elem):
    def body(builder, z, ldz, x, ldx, d, w, b, act, ldact, epilogue, m):
        vec = Vectors(builder, elem)
        is_store, is_backward = (
            builder.icmp_signed("==", epilogue, I64(x)) for x in (STORE, RELU_BACKWARD)
        )

        def run(first, count):
            numbers = [builder.add(first, I64(r)) for r in range(count)]
            rows = [builder.gep(x, [builder.mul(number, ldx)]) for number in numbers]
            sums = RowGroup(vec, d).dots(rows, w)
            for r, number in enumerate(numbers):
                sum_ = builder.extract_element(sums, I32(r)) if count > 1 else sums
                value = builder.fadd(sum_, b)
                zero = ir.Constant(elem, 0.0)
                other = builder.load(builder.gep(act, [builder.mul(number, ldact)]))
                sign = builder.select(is_backward, other, value)
                keep = builder.or_(is_store, builder.fcmp_unordered(">", sign, zero))
                value = builder.select(keep, value, zero)
                builder.store(value, builder.gep(z, [builder.mul(number, ldz)]))

        in_groups(vec, m, group_rows(vec), run)
        builder.ret_void()

    return body


def _add_body(elem):
    def body(builder, out, x, ldx, d, factor, ldf, m):
        vec = Vectors(builder, elem)

        def run(first, count):
            numbers = [builder.add(first, I64(r)) for r in range(count)]
            rows = [builder.gep(x, [builder.mul(number, ldx)]) for number in numbers]
            factors = [
                builder.load(builder.gep(factor, [builder.mul(number, ldf)])) for number in numbers
            ]
            RowGroup(vec, d).add_rows(out, rows, factors)

        in_groups(vec, m, group_rows(vec), run)
        builder.ret_void()

    return body


def _sum_body(elem):
    def body(builder, out, x, ldx, d, fresh, m):
        vec = Vectors(builder, elem)
        count, columns = group_rows(vec), RowGroup(vec, d)

        def visit(column, mask):
            sums = [cgutils.alloca_once(builder, vec.type) for _ in range(count)]
            for sum_ in sums:
                builder.store(vec.const(0.0), sum_)

            def run(first, rows):
                for r in range(rows):
                    place = builder.add(builder.mul(builder.add(first, I64(r)), ldx), column)
                    add_to(builder, sums[r], columns.load(builder.gep(x, [place]), mask))

            in_groups(vec, m, count, run)
            parts = [builder.load(sum_) for sum_ in sums]
            while len(parts) > 1:
                parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2])]
            place = builder.gep(out, [column])
            before = builder.select(fresh, vec.const(0.0), columns.load(place, mask))
            columns.store(builder.fadd(before, parts[0]), place, mask)

        columns.over_columns(visit)
        builder.ret_void()

    return body


sum_rows = routine(
    "sum_rows",
    "out x ldx d fresh m",
    VOID,
    lambda p: [p, p, I64, I64, I1, I64],
    _sum_body,
    """out (d,) (+)= sum of m rows of x, in chains side by side: a group's
    rows each have their own, so that many equal terms are not added to one large sum; `fresh`
    overwrites.""",
)
dot_rows = routine(
    "dot_rows",
    "z ldz x ldx d w b act ldact epilogue m",
    VOID,
    lambda p: [p, I64, p, I64, I64, p, p.pointee, p, I64, I64, I64],
    _dot_body,
    """z[r*ldz] = epilogue(w . x[r] + b) for m rows of
    d; epilogues as in `gemm`.

    act[r*ldact] is always read, so it must be a valid address: z itself will do.
    """,
)
add_rows = routine(
    "add_rows",
    "out x ldx d factor ldf m",
    VOID,
    lambda p: [p, p, I64, I64, p, I64, I64],
    _add_body,
    "out (d,) += sum over m rows of factor[r*ldf] * x[r].",
)


def _back_arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, p, i, i, i, p, i, i


@procedure(types.none, _back_arguments)
def few_rows_back(dx, ldx, delta, ld, w, m, d, k, act, ldact, epilogue):
    """dx (m, d) = epilogue(delta (m, k) w^T): w (d, k) is read in place, once for all rows."""
    block = max(8, DOT_ELEMENTS // k // 8 * 8)
    for i in range(0, d, block):
        count = min(block, d - i)
        for r in range(m):
            dot_rows(
                shift(dx, r * ldx + i),
                1,
                shift(w, i * k),
                k,
                k,
                shift(delta, r * ld),
                0.0,
                shift(act, r * ldact + i),
                1,
                epilogue,
                count,
            )
