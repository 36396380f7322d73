"""The register-tiled micro-kernel and the loops around it: C = epilogue(init + A B).

In: A (m, k) through any two strides, read in place by broadcast loads; B (k, n) in panels of up
to NR columns, rows of a panel contiguous and padded to whole vectors. Out: C (m, n), row-major.
Loop order: panels of columns; blocks of KC of the k products, so that a block of the panel stays
in cache; tiles of MR rows; the K loop, with MR x NV accumulators in registers. The order of a sum
depends on k alone: a row's result is the same bits in any batch, at any edge, on any thread.

One micro-kernel serves the three products of a layer by strides alone:
forward A = X (rows), backward dX A = dZ (rows), weight gradient A = X^T (columns of X).
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import inner
from .routines import Routine, procedure
from .simd import (
    I64,
    LANES_F32,
    PATH,
    VOID,
    Vectors,
    as_it_stands,
    element_type,
    hidden,
    lanes,
    llvm_arguments,
    shift,
)
from .tuning import KC_COLUMNS, KC_ROWS, PREFETCH_ELEMENTS

# Rows of a tile by its width in vectors, tallest first: MR * NV accumulators, NV vectors of B and
# a broadcast must fit the registers (32, or 16 with AVX2).
TILE_ROWS = {
    "avx512": {1: (8, 4, 2, 1), 2: (12, 6, 4, 2, 1), 3: (8, 4, 2, 1), 4: (6, 4, 2, 1)},
    "avx2": {1: (8, 4, 2, 1), 2: (6, 4, 2, 1)},
    "neon": {1: (8, 4, 2, 1), 2: (8, 4, 2, 1), 3: (8, 4, 2, 1), 4: (6, 4, 2, 1)},
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

    @classmethod
    def kinds(cls, elem: ir.Type) -> Operands:
        """Pointers and whole numbers."""
        pointers = {"c", "a", "b", "init", "act", "prefetch"}
        return cls(*(elem.as_pointer() if name in pointers else I64 for name in cls._fields))

    def from_row(self, builder, row) -> Operands:
        """The rows from `row` on."""

        def below(base, stride):
            return builder.gep(base, [builder.mul(row, stride)])

        return self._replace(
            c=below(self.c, self.ldc),
            a=below(self.a, self.rs),
            m=builder.sub(self.m, row),
            init=below(self.init, self.ldi),
            act=below(self.act, self.ldact),
            prefetch=below(self.prefetch, self.prs),
        )


def _tile(vectors: list[Vectors], mr: int, row, tail, given: Operands):
    """MR rows by some vectors from row `row`: init, K loop, epilogue."""
    nv, wide, last = len(vectors), vectors[0], vectors[-1]
    builder = wide.builder
    function = builder.function
    rows = [builder.add(row, I64(r)) for r in range(mr)]

    def at(base, ld, r, v):
        return builder.gep(base, [builder.add(builder.mul(rows[r], ld), I64(v * wide.lanes))])

    def load(base, ld, r, v):
        p = at(base, ld, r, v)
        return wide.load(p) if v < nv - 1 else last.load_masked(p, tail)

    def store(value, r, v):
        p = at(given.c, given.ldc, r, v)
        wide.store(value, p) if v < nv - 1 else last.store_masked(value, p, tail)

    cells = [(r, v) for r in range(mr) for v in range(nv)]
    start = [load(given.init, given.ldi, r, v) for r, v in cells]
    # One pointer moves along k for three rows; the other two are reached by the addressing mode.
    # The heads are hidden from LLVM, which would derive each from the one before: a chain of
    # additions that takes longer than the products.
    stride = hidden(builder, given.rs)
    heads = [hidden(builder, builder.gep(given.a, [builder.mul(r, given.rs)])) for r in rows[::3]]
    first_prefetched = builder.gep(given.prefetch, [builder.mul(row, given.prs)])

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
    for r in range(mr):
        place = builder.gep(a_column[r // 3], [builder.mul(stride, I64(r % 3))])
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
        *zip(sums, start, new),
    ]
    for phi, first, following in loop_values:
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    again = builder.cbranch(builder.icmp_signed("<", next_index, given.k), loop, after)
    again.set_metadata("llvm.loop", as_it_stands(builder.module))

    builder.position_at_end(after)
    result = []
    for first, following in zip(start, new):
        phi = builder.phi(first.type)
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
        result.append(phi)
    done = function.append_basic_block("done")
    plain, relu, back = (function.append_basic_block(x) for x in ("store", "relu", "relu_back"))
    switch = builder.switch(given.epilogue, plain)
    switch.add_case(I64(RELU), relu)
    switch.add_case(I64(RELU_BACKWARD), back)
    for block in (plain, relu, back):
        builder.position_at_end(block)
        for (r, v), value in zip(cells, result):
            vec, zero = vectors[v], vectors[v].const(0.0)
            if block is relu:
                value = vec.select(vec.passes(value), value, zero)
            elif block is back:
                value = vec.select(vec.passes(load(given.act, given.ldact, r, v)), value, zero)
            store(value, r, v)
        builder.branch(done)
    builder.position_at_end(done)


def _panel(nv: int, elem: ir.Type):
    """All rows, in tiles: the tallest while there are enough, then lower ones."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        tail = vec.first_lanes(builder.sub(given.columns, I64((nv - 1) * vec.lanes)))
        first = I64(0)
        for mr in TILE_ROWS[nv]:
            first = _rows_of_tiles([vec] * nv, mr, first, tail, given)
        builder.ret_void()

    return body


def _halved_panel(nv: int, elem: ir.Type, whole):
    """The same with half a vector at the right; what is too low for the tallest tile goes to
    `whole`."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        half = Vectors(builder, elem, vec.lanes // 2)
        tail = half.first_lanes(builder.sub(given.columns, I64((nv - 1) * vec.lanes)))
        vectors = [vec] * (nv - 1) + [half]
        row = _rows_of_tiles(vectors, TILE_ROWS[nv][0], I64(0), tail, given)
        with builder.if_then(builder.icmp_signed("<", row, given.m)):
            whole.call(builder, elem, given.from_row(builder, row))
        builder.ret_void()

    return body


def _rows_of_tiles(vectors, mr, first, tail, given):
    """Tiles of `mr` rows from row `first` on; the first row that is left."""
    builder = vectors[0].builder
    came_from = builder.block
    test, tile, rest = (
        builder.append_basic_block(f"{name}{mr}") for name in ("rows", "tile", "rest")
    )
    builder.branch(test)
    builder.position_at_end(test)
    row = builder.phi(I64)
    row.add_incoming(first, came_from)
    following = builder.add(row, I64(mr))
    builder.cbranch(builder.icmp_signed("<=", following, given.m), tile, rest)
    builder.position_at_end(tile)
    _tile(vectors, mr, row, tail, given)
    row.add_incoming(following, builder.block)
    builder.branch(test)
    builder.position_at_end(rest)
    return row


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
    c[i, j] = epilogue(init[i, j] + sum over k of a[i*rs + k*cs] * b[k*ldb + j]). Only the first
    `columns` of c, init and act are touched; b is read in whole vectors. Beside the product of row
    i and k, prefetch[i*prs + k*pcs] is prefetched into the L2 cache.
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


PANELS = 0  # as `ldb`: B lies in the panels that `pack` wrote


@inner
def prefetch_strides(nr, k, m):
    """(pcs, prs) that prefetch the next k rows of a packed panel in the course of this one."""
    if k * nr < PREFETCH_ELEMENTS:  # it is in the L2 already
        return 0, 0
    return max(nr * MR // m, 1), k * nr // m


@inner
def gemm_loops(
    c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, act, ldact, epilogue, prefetch, pcs, prs
):
    """The loops of `gemm`. Its integers must not be literals, so that one compilation serves all.

    `prefetch`, `pcs`, `prs`: as in `panel` where B is not packed; of a packed B the next block is
    prefetched instead.
    """
    vl = lanes(c)
    kc = KC_ROWS if cs == 1 else KC_COLUMNS
    if epilogue == RELU_BACKWARD:
        kc = max(k, 1)
    nr = NV * vl
    for j in range(0, n, nr):
        columns = min(nr, n - j)
        nv = (columns + vl - 1) // vl
        b_j, ld_panel, ahead = shift(b, j), ldb, shift(prefetch, j)
        if ldb == PANELS:
            b_j, ld_panel = shift(b, j * k), nv * vl
            pcs, prs = prefetch_strides(nr, k, m)
        for p in range(0, max(k, 1), kc):
            last = p + kc >= k
            first = p == 0
            operands = (
                shift(c, j),
                ldc,
                shift(a, p * cs),
                rs,
                cs,
                shift(b_j, p * ld_panel),
                ld_panel,
                m,
                k - p if last else kc,
                shift(init, j) if first else shift(c, j),
                ldi if first else ldc,
                shift(act, j),
                ldact,
                epilogue if last else STORE,
                columns,
                shift(b_j, (p + kc) * ld_panel) if ldb == PANELS else shift(ahead, p * pcs),
                pcs,
                prs,
            )
            panel(nv, operands)


def _arguments(real):
    p, i = types.CPointer(real), types.int64
    return p, i, p, i, i, p, i, i, i, i, p, i, p, i, i, i


@procedure(types.none, _arguments)
def gemm(c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, act, ldact, epilogue, a_ahead):
    """c (m, n) = epilogue(init + a (m, k) @ b (k, n)).

    a[i, j] is a[i*rs + j*cs]. b lies in packed panels (ldb = PANELS), or row-major with leading
    dimension ldb in memory that may be read to a whole vector past the last column.
    For the epilogue RELU_BACKWARD, act (m, n) are activations. They may lie in c itself, so k is
    then not cut into blocks: c is written once, after act is read. Prefetched meanwhile: the next
    columns of b where a is row-major, else a[a_ahead:].
    """
    prefetch, pcs, prs = shift(a, a_ahead), cs, rs
    if cs == 1:
        nr = NV * lanes(c)
        prefetch, pcs, prs = shift(b, nr), ldb, max(nr // m, 1)
    gemm_loops(
        c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, act, ldact, epilogue, prefetch, pcs, prs
    )
