"""The register-tiled micro-kernel: a panel of C = epilogue(init + A B), all its rows, all of k.

In: A (m, k) through any two strides, or packed in panels of MR rows, read by broadcast loads; B
(k, n) in panels of up to NR columns, rows of a panel contiguous and padded to whole vectors. Out:
up to NR columns of C (m, n), row-major.
Loop order: tiles of rows (`micro_tile.py`), the tallest first. The order of a sum depends on k
alone: a row's result is the same bits in any batch, at any edge, on any thread.

One micro-kernel serves the three products of a layer by strides alone:
forward A = X (rows), backward dX A = dZ (rows), weight gradient A = X^T (columns of X).
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .micro_tile import (
    HALVES,
    MR,
    NR_F32,
    NV,
    RELU,
    RELU_BACKWARD,
    STORE,
    TILE_ROWS,
    Edge,
    Operands,
    is_divided,
    prefetch_ahead,
    write_tile,
)
from .routines import Routine
from .simd import I64, VOID, Vectors, element_type, llvm_arguments

__all__ = [
    "MR",
    "NR_F32",
    "NV",
    "PANEL_ROUTINES",
    "RELU",
    "RELU_BACKWARD",
    "STORE",
    "TILE_ROWS",
    "panel",
]  # fmt: skip


def _panel(nv: int, elem: ir.Type):
    """All rows, in tiles: the tallest while there are enough, then lower ones."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        vectors = [vec] * nv
        edge, first = Edge.of(vectors, given), (I64(0), given.a)
        for mr in TILE_ROWS[nv]:
            first = _rows_of_tiles(vectors, mr, first, edge, given)
        builder.ret_void()

    return body


def _halved_heights(nv: int):
    """The tallest tile, and the tallest for a packed A."""
    heights = TILE_ROWS[nv]
    return heights[: 1 + next(i for i, mr in enumerate(heights) if not is_divided(mr))]


def _halved_panel(nv: int, elem: ir.Type, whole):
    """The same with half a vector at the right; what is too low for the tallest tiles goes to
    `whole`."""

    def body(builder, *values):
        given, vec = Operands(*values), Vectors(builder, elem)
        half = Vectors(builder, elem, vec.lanes // 2)
        vectors = [vec] * (nv - 1) + [half]
        edge, first = Edge.of(vectors, given), (I64(0), given.a)
        for mr in _halved_heights(nv):
            first = _rows_of_tiles(vectors, mr, first, edge, given)
        with builder.if_then(builder.icmp_signed("<", first[0], given.m)):
            whole.call(builder, elem, given.from_row(builder, *first))
        builder.ret_void()

    return body


def _rows_of_tiles(vectors, mr, first, edge, given):
    """Tiles of `mr` rows from `first` on, a row and where its A is; the first that is left."""
    builder = vectors[0].builder
    came_from = builder.block
    whole = mr >= MR and not is_divided(mr)
    height = builder.mul(given.group, I64(mr // MR)) if whole else builder.mul(given.rs, I64(mr))
    last = builder.select(edge.is_packed, I64(0), given.m) if is_divided(mr) else given.m
    test, tile, rest = (
        builder.append_basic_block(f"{name}{mr}") for name in ("rows", "tile", "rest")
    )
    builder.branch(test)
    builder.position_at_end(test)
    row, a = (builder.phi(value.type) for value in first)
    row.add_incoming(first[0], came_from)
    a.add_incoming(first[1], came_from)
    following = builder.add(row, I64(mr))
    builder.cbranch(builder.icmp_signed("<=", following, last), tile, rest)
    builder.position_at_end(tile)
    if mr == TILE_ROWS[len(vectors)][0]:
        prefetch_ahead(vectors[0], mr, row, given)
    write_tile(vectors, mr, row, a, edge, given)
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
    """One panel of C, `columns` wide in `nv` vectors: all its rows, all of k >= 1.

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
