"""A minibatch's rows, put side by side.

In: an array of rows, the numbers of those wanted (int64). Out: these rows, contiguous, in that
order. Loop order: rows, vectors of columns, the last one masked, so nothing beside is written.
"""

from __future__ import annotations

from numba.core import cgutils

from .gemv import RowGroup
from .jit import inner
from .routines import routine
from .simd import I64, VOID, Vectors


def _gather_body(elem):
    def body(builder, out, source, order, rows, columns):
        along = RowGroup(Vectors(builder, elem), columns)
        with cgutils.for_range(builder, rows) as row:
            number = builder.load(builder.gep(order, [row.index]))
            to = builder.gep(out, [builder.mul(row.index, columns)])
            come = builder.gep(source, [builder.mul(number, columns)])

            def copy(column, mask, come=come, to=to):
                value = along.load(builder.gep(come, [column]), mask)
                along.store(value, builder.gep(to, [column]), mask)

            along.over_columns(copy)
        builder.ret_void()

    return body


gather_rows = routine(
    "gather_rows",
    "out source order rows columns",
    VOID,
    lambda p: [p, p, I64.as_pointer(), I64, I64],
    _gather_body,
    """out[r*columns + j] = source[order[r]*columns + j] for
    j < columns, and nothing else.""",
)


@inner
def gather_labels(out, source, order, m):
    """out[r] = source[order[r]], of int64."""
    for i in range(m):
        out[i] = source[order[i]]
