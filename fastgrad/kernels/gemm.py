"""The register-tiled micro-kernel and the loops around it: C = epilogue(init + A B).

In: A (m, k) through any two strides, read in place by broadcast loads; B (k, n) in panels of up
to NR columns, rows of a panel contiguous and padded to whole vectors. Out: C (m, n), row-major.
Loop order: column panels, then blocks of KC products (a block of the panel stays in cache), then
tiles of MR rows, then the K loop with MR x NV accumulators in registers. The order of a sum
depends on k alone: a row's result is the same bits in any batch, at any edge, on any thread.

One micro-kernel serves the three products of a layer by strides alone:
forward A = X (rows), backward dX A = dZ (rows), weight gradient A = X^T (columns of X).
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import inner, pasted
from .simd import (
    I64,
    LANES_F32,
    LANES_F64,
    PATH,
    VOID,
    Vectors,
    define,
    element_type,
    hidden,
    lanes,
    llvm_arguments,
    loop_alignment,
    name_of,
    shift,
)

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
NR_F64 = NV * LANES_F64
# Products of a block of k: columns of X lie far apart (weight gradient), rows do not.
KC_COLUMNS, KC_ROWS = 128, 1024

MR = TILE_ROWS[NV][0]
SOON_ELEMENTS = 8192  # a panel of so many is worth asking for before its turn

STORE, RELU, GATE = 0, 1, 2


def _tile(
    vec: Vectors,
    mr: int,
    nv: int,
    row,
    tail,
    c,
    ldc,
    a,
    rs,
    cs,
    b,
    ldb,
    k,
    init,
    ldi,
    gate,
    ldg,
    mode,
    soon,
    pace,
    drift,
):
    """MR rows by NV vectors from row `row`: init, K loop, epilogue."""
    builder = vec.builder
    function = builder.function
    rows = [builder.add(row, I64(r)) for r in range(mr)]

    def at(base, ld, r, v):
        return builder.gep(base, [builder.add(builder.mul(rows[r], ld), I64(v * vec.lanes))])

    def load(base, ld, r, v):
        p = at(base, ld, r, v)
        return vec.load(p) if v < nv - 1 else vec.load_masked(p, tail)

    def store(value, r, v):
        p = at(c, ldc, r, v)
        vec.store(value, p) if v < nv - 1 else vec.store_masked(value, p, tail)

    cells = [(r, v) for r in range(mr) for v in range(nv)]
    start = [load(init, ldi, r, v) for r, v in cells]
    # Rows in threes: one pointer moves along k, the others are its neighbours by addressing alone.
    # Hidden, or else LLVM makes one chain of additions of them, longer than the products take.
    stride = hidden(builder, rs)
    heads = [hidden(builder, builder.gep(a, [builder.mul(r, rs)])) for r in rows[::3]]
    first_wanted = builder.gep(soon, [builder.mul(row, drift)])

    before = builder.block
    loop = function.append_basic_block("k")
    after = function.append_basic_block("epilogue")
    builder.cbranch(builder.icmp_signed(">", k, I64(0)), loop, after)

    builder.position_at_end(loop)
    index = builder.phi(I64)
    a_column = [builder.phi(a.type) for _ in heads]
    b_row = builder.phi(b.type)
    wanted = builder.phi(soon.type)
    sums = [builder.phi(vec.type) for _ in cells]
    if nv > 1:  # with one vector the loads are the limit
        vec.prefetch(wanted)
    columns = [vec.load(builder.gep(b_row, [I64(v * vec.lanes)])) for v in range(nv)]
    new = []
    for r in range(mr):
        place = builder.gep(a_column[r // 3], [builder.mul(stride, I64(r % 3))])
        scalar = vec.splat(builder.load(place))
        new += [vec.fma(scalar, columns[v], sums[r * nv + v]) for v in range(nv)]
    next_index = builder.add(index, I64(1))
    steps = [
        (index, I64(0), next_index),
        *((phi, head, builder.gep(phi, [cs])) for phi, head in zip(a_column, heads)),
        (b_row, b, builder.gep(b_row, [ldb])),
        (wanted, first_wanted, builder.gep(wanted, [pace])),
        *zip(sums, start, new),
    ]
    for phi, first, following in steps:
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    again = builder.cbranch(builder.icmp_signed("<", next_index, k), loop, after)
    again.set_metadata("llvm.loop", loop_alignment(builder.module))

    builder.position_at_end(after)
    result = []
    for first, last in zip(start, new):
        phi = builder.phi(vec.type)
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
        result.append(phi)
    done = function.append_basic_block("done")
    plain, relu, gated = (function.append_basic_block(x) for x in ("store", "relu", "gate"))
    switch = builder.switch(mode, plain)
    switch.add_case(I64(RELU), relu)
    switch.add_case(I64(GATE), gated)
    zero = vec.const(0.0)
    for block in (plain, relu, gated):
        builder.position_at_end(block)
        for (r, v), value in zip(cells, result):
            if block is relu:
                value = vec.select(vec.passes(value), value, zero)
            elif block is gated:
                value = vec.select(vec.passes(load(gate, ldg, r, v)), value, zero)
            store(value, r, v)
        builder.branch(done)
    builder.position_at_end(done)


def _panel(nv: int, elem: ir.Type):
    def body(
        builder,
        c,
        ldc,
        a,
        rs,
        cs,
        b,
        ldb,
        m,
        k,
        init,
        ldi,
        gate,
        ldg,
        mode,
        columns,
        soon,
        pace,
        drift,
    ):
        vec = Vectors(builder, elem)
        function = builder.function
        tail = vec.first_lanes(builder.sub(columns, I64((nv - 1) * vec.lanes)))
        first = I64(0)
        for mr in TILE_ROWS[nv]:
            came_from = builder.block
            test = function.append_basic_block(f"rows{mr}")
            tile = function.append_basic_block(f"tile{mr}")
            rest = function.append_basic_block(f"rest{mr}")
            builder.branch(test)
            builder.position_at_end(test)
            row = builder.phi(I64)
            row.add_incoming(first, came_from)
            following = builder.add(row, I64(mr))
            builder.cbranch(builder.icmp_signed("<=", following, m), tile, rest)
            builder.position_at_end(tile)
            _tile(
                vec,
                mr,
                nv,
                row,
                tail,
                c,
                ldc,
                a,
                rs,
                cs,
                b,
                ldb,
                k,
                init,
                ldi,
                gate,
                ldg,
                mode,
                soon,
                pace,
                drift,
            )
            row.add_incoming(following, builder.block)
            builder.branch(test)
            builder.position_at_end(rest)
            first = row
        builder.ret_void()

    return body


@intrinsic
def panel(
    typingctx,
    nv,
    c,
    ldc,
    a,
    rs,
    cs,
    b,
    ldb,
    m,
    k,
    init,
    ldi,
    gate,
    ldg,
    mode,
    columns,
    soon,
    pace,
    drift,
):
    """One panel of C, `columns` wide in `nv` vectors: all its rows, all of k.

    At row i and product k, soon[i*drift + k*pace] is asked into the L2 cache.
    c[i, j] = epilogue(init[i, j] + sum_k a[i*rs + k*cs] * b[k*ldb + j]); only the first `columns`
    of c, init and gate are touched; b is read in whole vectors.
    """

    def codegen(context, builder, signature, args):
        elem = element_type(signature.args[1])
        pointer = elem.as_pointer()
        kinds = [
            pointer,
            I64,
            pointer,
            I64,
            I64,
            pointer,
            I64,
            I64,
            I64,
            pointer,
            I64,
            pointer,
            I64,
            I64,
            I64,
            pointer,
            I64,
            I64,
        ]
        rest = types.void(*signature.args[1:])
        values = llvm_arguments(context, builder, rest, args[1:], kinds)
        width = context.cast(builder, args[0], signature.args[0], types.int64)
        done = builder.append_basic_block("panel_done")
        switch = builder.switch(width, done)
        for nv_ in TILE_ROWS:
            function = define(
                builder, f"fastgrad_panel_{name_of(elem)}_{nv_}", VOID, kinds, _panel(nv_, elem)
            )
            block = builder.append_basic_block(f"panel{nv_}")
            switch.add_case(I64(nv_), block)
            builder.position_at_end(block)
            builder.call(function, values)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    sig = types.void(
        nv,
        c,
        ldc,
        a,
        rs,
        cs,
        b,
        ldb,
        m,
        k,
        init,
        ldi,
        gate,
        ldg,
        mode,
        columns,
        soon,
        pace,
        drift,
    )
    return sig, codegen


PACKED = 0  # as `ldb`: B lies in the panels that `pack` wrote


@inner
def spread(nr, k, m):
    """(pace, drift) that ask for the next k rows of a packed panel in the course of this one."""
    if k * nr < SOON_ELEMENTS:  # it is in the L2 already
        return 0, 0
    return max(nr * MR // m, 1), k * nr // m


@inner
def whole_gemm(c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, gate, ldg, mode, soon, pace, drift):
    """`gemm` of whole numbers alone, so that one compilation serves all its uses.

    `soon`, `pace`, `drift`: as in `panel`, where B is not packed; of a packed B the next block.
    """
    vl = lanes(c)
    kc = KC_ROWS if cs == 1 else KC_COLUMNS
    if mode == GATE:
        kc = max(k, 1)
    nr = NV * vl
    for j in range(0, n, nr):
        columns = min(nr, n - j)
        nv = (columns + vl - 1) // vl
        b_j, step, wanted = shift(b, j), ldb, shift(soon, j)
        if ldb == PACKED:
            b_j, step = shift(b, j * k), nv * vl
            pace, drift = spread(nr, k, m)
        for p in range(0, max(k, 1), kc):
            last = p + kc >= k
            first = p == 0
            panel(
                nv,
                shift(c, j),
                ldc,
                shift(a, p * cs),
                rs,
                cs,
                shift(b_j, p * step),
                step,
                m,
                k - p if last else kc,
                shift(init, j) if first else shift(c, j),
                ldi if first else ldc,
                shift(gate, j),
                ldg,
                mode if last else STORE,
                columns,
                shift(b_j, (p + kc) * step) if ldb == PACKED else shift(wanted, p * pace),
                pace,
                drift,
            )


@pasted
def gemm(c, ldc, a, rs, cs, b, ldb, m, n, k, init, ldi, gate, ldg, mode, ahead=0):
    """c (m, n) = epilogue(init + a (m, k) @ b (k, n)).

    a[i, j] is a[i*rs + j*cs]. b lies in packed panels (ldb = PACKED), or row-major with leading
    dimension ldb in memory that may be read to a whole vector past the last column.
    mode: STORE; RELU, max(0, .); GATE, kept where `not (gate <= 0)`, else 0. The gate may be c
    itself, so a gated product is not cut along k: c holds no partial sums before it is read.
    Asked into the L2 meanwhile: the next columns of b where a is row-major, else a[ahead:].
    """
    soon, pace, drift = shift(a, ahead), types.int64(cs), types.int64(rs)
    if cs == 1:
        nr = NV * lanes(c)
        soon, pace, drift = shift(b, nr), types.int64(ldb), max(nr // m, 1)
    whole_gemm(
        c,
        types.int64(ldc),
        a,
        types.int64(rs),
        types.int64(cs),
        b,
        types.int64(ldb),
        types.int64(m),
        types.int64(n),
        types.int64(k),
        init,
        types.int64(ldi),
        gate,
        types.int64(ldg),
        types.int64(mode),
        soon,
        pace,
        drift,
    )
