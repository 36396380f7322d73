"""A tile of the micro-kernel (`micro_kernel.py`): its heights, the K loop, C and the epilogue.

In: an LLVM builder, the operands of a panel, the row of C where the tile begins. Out: the tile's
rows of C. Loop order: k, with MR x NV accumulators in registers. They begin with `init` where it is
one row, biases or zeros; where it is C they begin at zero and C, which has had the time of the loop
to come, is added at the end.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from .simd import (
    I64,
    LANES_F32,
    PATH,
    VECTOR_BYTES,
    VOID,
    Vectors,
    as_it_stands,
    define,
    hidden,
    name_of,
)

# Rows of a tile by its width in vectors, tallest first: MR * NV accumulators, NV vectors of B and
# a broadcast must fit the registers (32, or 16 with AVX2). A packed A, in panels of MR rows, has no
# tiles that would end within a panel: of the heights from MR on those alone that are multiples.
_WIDE = {1: (12, 8, 6, 4, 2, 1), 2: (12, 8, 6, 4, 2, 1), 3: (8, 6, 4, 2, 1), 4: (6, 4, 2, 1)}
TILE_ROWS = {
    "avx512": _WIDE,
    "avx2": {1: (12, 6, 4, 2, 1), 2: (6, 4, 2, 1)},
    "neon": _WIDE,
    "plain": {1: (8, 4, 2, 1), 2: (4, 2, 1)},
}[PATH]
NV = max(TILE_ROWS)
NR_F32 = NV * LANES_F32
MR = TILE_ROWS[NV][0]
# A panel's last vector may be half as wide: where 512 bits take two turns (Zen 4) it costs one.
HALVES = PATH == "avx512"

# Epilogues: C as it is; max(0, C); C where `not (act <= 0)`, else 0.
STORE, RELU, RELU_BACKWARD = 0, 1, 2


class Operands(NamedTuple):
    """What `panel` is given beside the number of vectors: LLVM values, or their types."""

    c: object
    ldc: object
    a: object
    rs: object
    cs: object
    group: object
    b: object
    ldb: object
    m: object
    k: object
    init: object
    ldi: object
    act: object
    ldact: object
    epilogue: object
    columns: object
    prefetch: object
    pcs: object
    prs: object
    ahead: object
    pace: object

    @classmethod
    def kinds(cls, elem: ir.Type) -> Operands:
        """Pointers and whole numbers."""
        pointers = {"c", "a", "b", "init", "act", "prefetch", "ahead"}
        return cls(*(elem.as_pointer() if name in pointers else I64 for name in cls._fields))

    def from_row(self, builder, row, a) -> Operands:
        """The rows from `row` on, whose A is at `a`."""

        def below(base, stride):
            return builder.gep(base, [builder.mul(row, stride)])

        return self._replace(
            c=below(self.c, self.ldc),
            a=a,
            m=builder.sub(self.m, row),
            init=below(self.init, self.ldi),
            act=below(self.act, self.ldact),
            prefetch=below(self.prefetch, self.prs),
            ahead=below(self.ahead, self.pace),
        )


def is_divided(mr: int) -> bool:
    """Whether a tile would end within a panel of a packed A, and the next one begin there."""
    return mr > MR and mr % MR != 0


def prefetch_ahead(vec: Vectors, mr: int, row, given: Operands):
    """What comes after A, `pace` numbers a row, into the L2 cache."""
    builder, kind = vec.builder, given.ahead.type

    def body(builder, first, size):
        Vectors(builder, vec.elem).prefetch_span(first, size)
        builder.ret_void()

    # A function, of which LLVM cannot move half before the loop over the tiles.
    with builder.if_then(builder.icmp_signed(">", given.pace, I64(0)), likely=False):
        first = builder.gep(given.ahead, [builder.mul(row, given.pace)])
        size = builder.mul(given.pace, I64(mr))
        name = f"fastgrad_prefetch_{name_of(vec.elem)}"
        builder.call(define(builder, name, VOID, [kind, I64], body), [first, size])


def _beginnings(vectors: list[Vectors], edge, given: Operands):
    """What the accumulators of every tile begin with: init, if it is one row, else zeros."""
    builder, last = vectors[0].builder, len(vectors) - 1
    zeros = [vec.const(0.0) for vec in vectors]
    before = builder.block
    with builder.if_then(builder.not_(edge.is_c)):
        row = []
        for v, vec in enumerate(vectors):
            p = builder.gep(given.init, [I64(v * vectors[0].lanes)])
            row.append(vec.load_masked(p, edge.tail) if v == last else vec.load(p))
        loaded = builder.block
    return [_either(builder, zero, before, value, loaded) for zero, value in zip(zeros, row)]


def _either(builder, first, from_first, second, from_second):
    """The value that came with the block from where control came."""
    phi = builder.phi(first.type)
    phi.add_incoming(first, from_first)
    phi.add_incoming(second, from_second)
    return phi


class _Cells:
    """Addresses of a tile's vectors: one pointer for three rows, of which the other two are reached
    by the addressing mode.

    The pointers are hidden from LLVM, which would derive each from the one before: a chain of
    additions; or multiply for each row, which took as long as 3 steps of the K loop.
    """

    def __init__(self, vec: Vectors, base, ld, row, mr: int):
        self.builder, self.lanes, self.ld = vec.builder, vec.lanes, hidden(vec.builder, ld)
        first = self.builder.gep(base, [self.builder.mul(row, ld)])
        self.heads = [
            hidden(self.builder, self.builder.gep(first, [self.builder.mul(I64(r), ld)]))
            for r in range(0, mr, 3)
        ]

    def __call__(self, r: int, v: int):
        head, within = self.heads[r // 3], self.builder.mul(self.ld, I64(r % 3))
        row = self.builder.gep(head, [within])
        return self.builder.gep(row, [I64(v * self.lanes)])


def write_tile(vectors: list[Vectors], mr: int, row, a, edge, given: Operands):
    """MR rows by some vectors from row `row`, whose A is at `a`: K loop, then C and epilogue."""
    nv, wide = len(vectors), vectors[0]
    builder = wide.builder
    function = builder.function
    cells = [(r, v) for r in range(mr) for v in range(nv)]
    stride, heads, places = hidden(builder, given.rs), [], []
    for r in range(mr):
        within = r if is_divided(mr) else r % MR
        if within % 3 == 0:
            offset = builder.mul(I64((r - within) // MR), given.group)
            offset = builder.add(offset, builder.mul(I64(within), given.rs))
            heads.append(hidden(builder, builder.gep(a, [offset])))
        places.append((len(heads) - 1, within % 3))
    first_prefetched = builder.gep(given.prefetch, [builder.mul(row, given.prs)])
    if nv > 1:  # of a narrow C the lines are near
        with builder.if_then(edge.is_c):
            at = _Cells(wide, given.c, given.ldc, row, mr)
            for r in range(mr):
                for v in range(0, nv, max(1, 64 // VECTOR_BYTES)):
                    wide.prefetch(at(r, v), level=1)

    before = builder.block
    loop = function.append_basic_block("k")
    after = function.append_basic_block("epilogue")
    builder.branch(loop)

    builder.position_at_end(loop)
    index = builder.phi(I64)
    a_column = [builder.phi(given.a.type) for _ in heads]
    b_row = builder.phi(given.b.type)
    prefetched = builder.phi(given.prefetch.type)
    sums = [builder.phi(vectors[v].type) for _, v in cells]
    if nv > 1:  # with one vector the loads are the limit
        wide.prefetch(prefetched)
    columns = [vec.load(builder.gep(b_row, [I64(v * wide.lanes)])) for v, vec in enumerate(vectors)]
    new = []
    for r, (head, multiple) in enumerate(places):
        place = builder.gep(a_column[head], [builder.mul(stride, I64(multiple))])
        scalar = builder.load(place)
        new += [
            vec.fma(vec.splat(scalar), columns[v], sums[r * nv + v])
            for v, vec in enumerate(vectors)
        ]
    next_index = builder.add(index, I64(1))
    loop_values = [
        (index, I64(0), next_index),
        *((phi, head, builder.gep(phi, [given.cs])) for phi, head in zip(a_column, heads)),
        (b_row, given.b, builder.gep(b_row, [given.ldb])),
        (prefetched, first_prefetched, builder.gep(prefetched, [given.pcs])),
        *((phi, edge.first[v], value) for phi, (_, v), value in zip(sums, cells, new)),
    ]
    for phi, first, following in loop_values:
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    again = builder.cbranch(builder.icmp_signed("<", next_index, given.k), loop, after)
    again.set_metadata("llvm.loop", as_it_stands(builder.module))

    builder.position_at_end(after)
    _end_of_tile(vectors, cells, new, row, edge, given)


def _end_of_tile(vectors, cells, sums, row, edge, given):
    """C = epilogue(C + sums), or without C: masked stores at the right edge alone, since AMD's
    processors take 18 operations for a masked store of AVX2."""
    builder, last = vectors[0].builder, len(vectors) - 1
    before, mr = builder.block, 1 + cells[-1][0]
    with builder.if_then(edge.is_c):
        added, at = [], _Cells(vectors[0], given.init, given.ldi, row, mr)
        for (r, v), value in zip(cells, sums):
            p, vec = at(r, v), vectors[v]
            c = vec.load_masked(p, edge.tail) if v == last else vec.load(p)
            added.append(vec.add(c, value))
        adding = builder.block
    sums = [_either(builder, value, before, c, adding) for value, c in zip(sums, added)]
    done = builder.append_basic_block("done")
    cases = {
        (epilogue, masked): builder.append_basic_block(f"{name}{masked}")
        for masked in (0, 1)
        for epilogue, name in ((STORE, "store"), (RELU, "relu"), (RELU_BACKWARD, "relu_back"))
    }
    case = builder.add(builder.mul(given.epilogue, I64(2)), builder.zext(edge.is_there, I64))
    switch = builder.switch(case, cases[STORE, 0])
    for (epilogue, masked), block in cases.items():
        switch.add_case(I64(2 * epilogue + masked), block)
        builder.position_at_end(block)
        to = _Cells(vectors[0], given.c, given.ldc, row, mr)
        if epilogue == RELU_BACKWARD:
            by = _Cells(vectors[0], given.act, given.ldact, row, mr)
        for (r, v), value in zip(cells, sums):
            vec, zero, part = vectors[v], vectors[v].const(0.0), masked and v == last
            if epilogue == RELU:
                value = vec.select(vec.passes(value), value, zero)
            elif epilogue == RELU_BACKWARD:
                p = by(r, v)
                act = vec.load_masked(p, edge.tail) if part else vec.load(p)
                value = vec.select(vec.passes(act), value, zero)
            p = to(r, v)
            vec.store_masked(value, p, edge.tail) if part else vec.store(value, p)
        builder.branch(done)
    builder.position_at_end(done)


class Edge(NamedTuple):
    """What all tiles of a panel have in common."""

    is_there: object  # whether the last vector is not whole
    tail: object  # the mask of its lanes
    is_c: object  # whether init is C itself, not one row
    is_packed: object  # whether A is
    first: object  # what the accumulators begin with

    @classmethod
    def of(cls, vectors, given):
        builder, last = vectors[0].builder, vectors[-1]
        rest = builder.sub(given.columns, I64((len(vectors) - 1) * vectors[0].lanes))
        is_there = builder.icmp_signed("<", rest, I64(last.lanes))
        is_c = builder.icmp_signed("!=", given.ldi, I64(0))
        beside = builder.mul(given.rs, I64(MR))
        is_packed = builder.icmp_signed("!=", given.group, beside)
        edge = cls(is_there, last.first_lanes(rest), is_c, is_packed, None)
        return edge._replace(first=_beginnings(vectors, edge, given))
