"""The register-tiled micro-kernel: a panel of C = epilogue(init + A B), all its rows, all of k.

In: A (m, k) through any two strides, or packed in panels of MR rows, read by broadcast loads; B
(k, n) in panels of up to NR columns, rows of a panel contiguous and padded to whole vectors. Out:
up to NR columns of C (m, n), row-major.
Loop order: tiles of MR rows; the K loop, with MR x NV accumulators in registers. They begin with
`init` where it is one row, biases or zeros; where it is C they begin at zero and C, which has had
the time of the loop to come, is added at the end. The order of a sum depends on k alone: a row's
result is the same bits in any batch, at any edge, on any thread.

One micro-kernel serves the three products of a layer by strides alone:
forward A = X (rows), backward dX A = dZ (rows), weight gradient A = X^T (columns of X).
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .routines import Routine
from .simd import (
    I64,
    LANES_F32,
    PATH,
    VECTOR_BYTES,
    VOID,
    Vectors,
    as_it_stands,
    element_type,
    hidden,
    llvm_arguments,
)

# Rows of a tile by its width in vectors, tallest first: MR * NV accumulators, NV vectors of B and
# a broadcast must fit the registers (32, or 16 with AVX2). Heights from MR on, that of the widest
# tile, are multiples of it, so that no tile begins within a panel of a packed A.
TILE_ROWS = {
    "avx512": {1: (12, 6, 4, 2, 1), 2: (12, 6, 4, 2, 1), 3: (6, 4, 2, 1), 4: (6, 4, 2, 1)},
    "avx2": {1: (12, 6, 4, 2, 1), 2: (6, 4, 2, 1)},
    "neon": {1: (12, 6, 4, 2, 1), 2: (12, 6, 4, 2, 1), 3: (6, 4, 2, 1), 4: (6, 4, 2, 1)},
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

    def from_row(self, builder, row) -> Operands:
        """The rows from `row` on, a multiple of MR."""

        def below(base, stride):
            return builder.gep(base, [builder.mul(row, stride)])

        groups = builder.sdiv(row, I64(MR))
        return self._replace(
            c=below(self.c, self.ldc),
            a=builder.gep(self.a, [builder.mul(groups, self.group)]),
            m=builder.sub(self.m, row),
            init=below(self.init, self.ldi),
            act=below(self.act, self.ldact),
            prefetch=below(self.prefetch, self.prs),
            ahead=below(self.ahead, self.pace),
        )


def _prefetch_ahead(vec: Vectors, mr: int, row, given: Operands):
    """What comes after A, `pace` numbers a row, into the L2 cache."""
    builder = vec.builder
    first = builder.gep(given.ahead, [builder.mul(row, given.pace)])
    with builder.if_then(builder.icmp_signed(">", given.pace, I64(0)), likely=False):
        vec.prefetch_span(first, builder.mul(given.pace, I64(mr)))


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


def _tile(vectors: list[Vectors], mr: int, row, a, edge, given: Operands):
    """MR rows by some vectors from row `row`, whose A is at `a`: K loop, then C and epilogue."""
    nv, wide = len(vectors), vectors[0]
    builder = wide.builder
    function = builder.function
    rows = [builder.add(row, I64(r)) for r in range(mr)]
    cells = [(r, v) for r in range(mr) for v in range(nv)]

    def at(base, ld, r, v):
        return builder.gep(base, [builder.add(builder.mul(rows[r], ld), I64(v * wide.lanes))])

    # One pointer moves along k for three rows; the other two are reached by the addressing mode.
    # The heads are hidden from LLVM, which would derive each from the one before: a chain of
    # additions that takes longer than the products.
    stride, heads, places = hidden(builder, given.rs), [], []
    for r in range(mr):
        within = r % MR
        if within % 3 == 0:
            offset = builder.mul(I64(r // MR), given.group)
            offset = builder.add(offset, builder.mul(I64(within), given.rs))
            heads.append(hidden(builder, builder.gep(a, [offset])))
        places.append((len(heads) - 1, within % 3))
    first_prefetched = builder.gep(given.prefetch, [builder.mul(row, given.prs)])
    if nv > 1:  # of a narrow C the lines are near
        with builder.if_then(edge.is_c):
            for r in range(mr):
                for v in range(0, nv, max(1, 64 // VECTOR_BYTES)):
                    wide.prefetch(at(given.c, given.ldc, r, v), level=1)

    before = builder.block
    loop = function.append_basic_block("k")
    after = function.append_basic_block("epilogue")
    builder.cbranch(builder.icmp_signed(">", given.k, I64(0)), loop, after)

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
    sums = [
        _either(builder, edge.first[v], before, value, loop) for (_, v), value in zip(cells, new)
    ]
    _end_of_tile(vectors, cells, sums, at, edge, given)


def _end_of_tile(vectors, cells, sums, at, edge, given):
    """C = epilogue(C + sums), or without C: masked stores at the right edge alone, since AMD's
    processors take 18 operations for a masked store of AVX2."""
    builder, last = vectors[0].builder, len(vectors) - 1
    before = builder.block
    with builder.if_then(edge.is_c):
        added = []
        for (r, v), value in zip(cells, sums):
            p, vec = at(given.init, given.ldi, r, v), vectors[v]
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
        for (r, v), value in zip(cells, sums):
            vec, zero, part = vectors[v], vectors[v].const(0.0), masked and v == last
            if epilogue == RELU:
                value = vec.select(vec.passes(value), value, zero)
            elif epilogue == RELU_BACKWARD:
                p = at(given.act, given.ldact, r, v)
                act = vec.load_masked(p, edge.tail) if part else vec.load(p)
                value = vec.select(vec.passes(act), value, zero)
            p = at(given.c, given.ldc, r, v)
            vec.store_masked(value, p, edge.tail) if part else vec.store(value, p)
        builder.branch(done)
    builder.position_at_end(done)


class _Edge(NamedTuple):
    """What all tiles of a panel have in common."""

    is_there: object  # whether the last vector is not whole
    tail: object  # the mask of its lanes
    is_c: object  # whether init is C itself, not one row
    first: object  # what the accumulators begin with

    @classmethod
    def of(cls, vectors, given):
        builder, last = vectors[0].builder, vectors[-1]
        rest = builder.sub(given.columns, I64((len(vectors) - 1) * vectors[0].lanes))
        is_there = builder.icmp_signed("<", rest, I64(last.lanes))
        is_c = builder.icmp_signed("!=", given.ldi, I64(0))
        edge = cls(is_there, last.first_lanes(rest), is_c, None)
        return edge._replace(first=_beginnings(vectors, edge, given))


def _panel(nv: int, elem: ir.Type):
    """All rows, in tiles: the tallest while there are enough, then lower ones."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        vectors = [vec] * nv
        edge, first = _Edge.of(vectors, given), (I64(0), given.a)
        for mr in TILE_ROWS[nv]:
            first = _rows_of_tiles(vectors, mr, first, edge, given)
        builder.ret_void()

    return body


def _halved_panel(nv: int, elem: ir.Type, whole):
    """The same with half a vector at the right; what is too low for the tallest tile goes to
    `whole`."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        half = Vectors(builder, elem, vec.lanes // 2)
        vectors = [vec] * (nv - 1) + [half]
        edge = _Edge.of(vectors, given)
        row, _ = _rows_of_tiles(vectors, TILE_ROWS[nv][0], (I64(0), given.a), edge, given)
        with builder.if_then(builder.icmp_signed("<", row, given.m)):
            whole.call(builder, elem, given.from_row(builder, row))
        builder.ret_void()

    return body


def _rows_of_tiles(vectors, mr, first, edge, given):
    """Tiles of `mr` rows from `first` on, a row and where its A is; the first that is left."""
    builder = vectors[0].builder
    came_from = builder.block
    groups, rows = divmod(mr, MR)
    assert groups == 0 or rows == 0, "a tile would end within a panel of A"
    height = builder.mul(given.group, I64(groups)) if groups else builder.mul(given.rs, I64(mr))
    test, tile, rest = (
        builder.append_basic_block(f"{name}{mr}") for name in ("rows", "tile", "rest")
    )
    builder.branch(test)
    builder.position_at_end(test)
    row, a = (builder.phi(value.type) for value in first)
    row.add_incoming(first[0], came_from)
    a.add_incoming(first[1], came_from)
    following = builder.add(row, I64(mr))
    builder.cbranch(builder.icmp_signed("<=", following, given.m), tile, rest)
    builder.position_at_end(tile)
    if mr == TILE_ROWS[len(vectors)][0]:
        _prefetch_ahead(vectors[0], mr, row, given)
    _tile(vectors, mr, row, a, edge, given)
    row.add_incoming(following, builder.block)
    a.add_incoming(builder.gep(a, [height]), builder.block)
    builder.branch(test)
    builder.position_at_end(rest)
    return row, a


def _panel_routines(nv: int):
    """For panels of `nv` vectors: whole, and with half a vector at the right."""

    def routine_of(name, body):
        return Routine(name, VOID, lambda elem: list(Operands.kinds(elem)), body)

    whole = routine_of(f"panel_{nv}", lambda elem: _panel(nv, elem))
    if not HALVES:
        return whole, whole
    return whole, routine_of(f"panel_{nv}_half", lambda elem: _halved_panel(nv, elem, whole))


PANEL_ROUTINES = {nv: _panel_routines(nv) for nv in TILE_ROWS}


@intrinsic
def panel(typingctx, nv, operands):
    """One panel of C, `columns` wide in `nv` vectors: all its rows, all of k.

    The operands are a tuple of those of `Operands`:
    c[i, j] = epilogue(init[i, j] + sum over k of a[i // MR * group + i % MR * rs + k*cs] *
    b[k*ldb + j]), where `group` is MR * rs unless a is packed. Only the first `columns` of c, init
    and act are touched; b is read in whole vectors. Beside the product of row i and k,
    prefetch[i*prs + k*pcs] is prefetched into the L2 cache.
    """

    def codegen(context, builder, signature, args):
        given = types.void(*operands.types)
        elem = element_type(given.args[0])
        values = [builder.extract_value(args[1], i) for i in range(len(given.args))]
        kinds = Operands.kinds(elem)
        given = Operands(*llvm_arguments(context, builder, given, values, kinds))
        width = context.cast(builder, args[0], signature.args[0], types.int64)
        vl = Vectors(builder, elem).lanes
        last = builder.sub(given.columns, builder.mul(builder.sub(width, I64(1)), I64(vl)))
        halved = builder.icmp_signed("<=", last, I64(vl // 2))
        done = builder.append_basic_block("panel_done")
        switch = builder.switch(width, done)
        for vectors, (whole, half) in PANEL_ROUTINES.items():
            block = builder.append_basic_block(f"panel{vectors}")
            switch.add_case(I64(vectors), block)
            builder.position_at_end(block)
            if half is whole:
                whole.call(builder, elem, given)
            else:
                with builder.if_else(halved) as (then, otherwise):
                    with then:
                        half.call(builder, elem, given)
                    with otherwise:
                        whole.call(builder, elem, given)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(nv, operands), codegen
