"""A minibatch's rows, put side by side.

In: an array of rows, the numbers of those wanted (int64). Out: these rows, contiguous, in that
order. Rows of X are copied in vectors, the last one masked, so nothing beside them is written;
targets, which are few and may be whole numbers, one by one.
"""

from __future__ import annotations

from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import inner
from .simd import I64, VOID, Vectors, define, element_type, llvm_arguments, name_of, shift


def _gather_body(elem):
    def body(builder, out, source, order, rows, columns):
        vec = Vectors(builder, elem)
        whole = builder.sdiv(columns, I64(vec.lanes))
        rest = builder.srem(columns, I64(vec.lanes))
        has_tail = builder.icmp_signed(">", rest, I64(0))
        tail = vec.first_lanes(rest)
        with cgutils.for_range(builder, rows) as row:
            number = builder.load(builder.gep(order, [row.index]))
            to = builder.gep(out, [builder.mul(row.index, columns)])
            come = builder.gep(source, [builder.mul(number, columns)])
            with cgutils.for_range(builder, whole) as step:
                at = builder.mul(step.index, I64(vec.lanes))
                vec.store(vec.load(builder.gep(come, [at])), builder.gep(to, [at]))
            with builder.if_then(has_tail):
                at = builder.mul(whole, I64(vec.lanes))
                value = vec.load_masked(builder.gep(come, [at]), tail)
                vec.store_masked(value, builder.gep(to, [at]), tail)
        builder.ret_void()

    return body


@intrinsic
def gather_rows(typingctx, out, source, order, rows, columns):
    """out[r*columns + j] = source[order[r]*columns + j] for j < columns, and nothing else."""

    def codegen(context, builder, signature, args):
        elem = element_type(signature.args[0])
        p = elem.as_pointer()
        kinds = [p, p, I64.as_pointer(), I64, I64]
        name = f"fastgrad_gather_{name_of(elem)}"
        function = define(builder, name, VOID, kinds, _gather_body(elem))
        builder.call(function, llvm_arguments(context, builder, signature, args, kinds))
        return context.get_dummy_value()

    return types.void(out, source, order, rows, columns), codegen


@inner
def gather(out, source, order, m, width):
    """m targets of `width` numbers of any type, of the rows in `order`."""
    for i in range(m):
        target, row = shift(out, i * width), shift(source, order[i] * width)
        for j in range(width):
            target[j] = row[j]
