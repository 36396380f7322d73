"""One neuron: loss, dC/dw and dC/db in one pass over X (formulas 18 to 20).

In: X (n, d) row-major, w, b, y, weights. Out: the loss and db are returned, dw is written.
Loop order: row tasks (fixed by the shapes), blocks of rows, groups of G rows. A group's G dot
products run side by side, so that their sums do not wait on each other; the G sums become one
vector by a transposing reduction (3 operations a row against 8 for one at a time); mask, error and
loss are vector operations; then dw takes the G rows while they are in L1. Block sums go to float64.
No array of n elements is made.
"""

from __future__ import annotations

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils

from .jit import inner, kernel, parallel_kernel
from .rounding import control_word, set_control_word
from .routines import routine
from .rows import RowGroup, broadcast, group_rows, load_vector
from .simd import (
    DOUBLE,
    I1,
    I32,
    I64,
    VOID,
    Vectors,
    integers,
    null_like,
    pointer,
    retype,
    shift,
)
from .sums import Sum, add_exactly, settled, sum_of

# The plan's vector
ROWS, INPUTS, TASKS, TASK_ROWS, BLOCK_ROWS, WEIGHTED, STRIDE, BUFFER64, BUFFER = range(9)
HEADER = 9
SUMS = 4  # of a task, behind those of dw: the loss and db, with what each lost


def _block_body(elem):
    def body(builder, dw, sums, x, d, w, b, y, s, m):
        vec = Vectors(builder, elem)
        group = group_rows(vec)
        weighted = builder.icmp_unsigned("!=", builder.ptrtoint(s, I64), I64(0))

        def run(start, stop, count):
            """Rows start..stop, `count` at a time."""
            kind = ir.VectorType(elem, count) if count > 1 else elem
            zero = ir.Constant(kind, [0.0] * count if count > 1 else 0.0)
            one = ir.Constant(kind, [1.0] * count if count > 1 else 1.0)
            infinite = ir.Constant(kind, [float("inf")] * count if count > 1 else float("inf"))
            none = ir.Constant(ir.VectorType(I1, count), [0] * count) if count > 1 else I1(0)
            bias = broadcast(builder, b, kind)
            loss, db = (Sum(builder, kind) for _ in range(2))
            weight = cgutils.alloca_once_value(builder, one)
            ignored = cgutils.alloca_once_value(builder, none)
            steps = builder.sdiv(builder.sub(stop, start), I64(count))
            columns = RowGroup(vec, count, d)
            with cgutils.for_range(builder, steps) as step:
                first = builder.add(start, builder.mul(step.index, I64(count)))
                rows = [
                    builder.gep(x, [builder.mul(builder.add(first, I64(r)), d)])
                    for r in range(count)
                ]
                z = builder.fadd(columns.dots(rows, w), bias)
                with builder.if_then(weighted):
                    weights = load_vector(builder, s, first, kind)
                    builder.store(weights, weight)
                    known = builder.fcmp_ordered("<", builder.fmul(z, zero), infinite)
                    nothing = builder.fcmp_ordered("==", weights, zero)
                    builder.store(builder.and_(known, nothing), ignored)
                active = builder.fcmp_unordered(">", z, zero)  # not (z <= 0)
                error = builder.fsub(
                    builder.select(active, z, zero), load_vector(builder, y, first, kind)
                )
                error = builder.select(builder.load(ignored), zero, error)
                scaled = builder.fmul(builder.load(weight), error)
                loss.add(builder.fmul(scaled, error))
                scaled = builder.select(active, scaled, zero)
                db.add(scaled)
                errors = [
                    builder.extract_element(scaled, I32(r)) if count > 1 else scaled
                    for r in range(count)
                ]
                columns.add_rows(dw, rows, errors)
            loss.add_to(sums)
            db.add_to(builder.gep(sums, [I64(2)]))

        whole = builder.mul(builder.sdiv(m, I64(group)), I64(group))
        run(I64(0), whole, group)
        run(whole, m, 1)
        builder.ret_void()

    return body


neuron_block = routine(
    "neuron_block",
    "dw sums x d w b y s m",
    VOID,
    lambda p: [p, DOUBLE.as_pointer(), p, I64, p, p.pointee, p, p, I64],
    _block_body,
    """dw += sum of s e x over active rows; sums[0] += sum of s e^2,
    sums[2] += sum of s e.

    e is activation - y; `s` may be null. dw is (d,), sums two pairs of float64 as `add_exactly`
    has them. A row of weight 0 does not count, whatever its target.
    """,
)


@inner
def _task(index, w, b, x, y, s, buffer):
    """One row task: its float64 sums of dw, loss and db into its own part of workspace64."""
    plan = integers(pointer(buffer))
    d, stride = plan[INPUTS], plan[STRIDE]
    dw = retype(shift(pointer(buffer), plan[BUFFER]), pointer(w))
    dw = shift(dw, index * stride)
    sums = shift(pointer(buffer), plan[BUFFER64] + index * stride)
    for j in range(d + SUMS):
        sums[j] = 0.0
    first = index * plan[TASK_ROWS]
    stop = min(plan[ROWS], first + plan[TASK_ROWS])
    for row in range(first, stop, plan[BLOCK_ROWS]):
        m = min(plan[BLOCK_ROWS], stop - row)
        for j in range(d):
            dw[j] = 0
        weights = shift(pointer(s), row) if plan[WEIGHTED] else null_like(pointer(s))
        neuron_block(
            dw,
            shift(sums, d),
            shift(pointer(x), row * d),
            d,
            pointer(w),
            b,
            shift(pointer(y), row),
            weights,
            m,
        )
        for j in range(d):
            sums[j] += dw[j]


@inner
def _finish(gw_out, s, buffer):
    """The tasks' sums added in order; normalised. Returns (loss, db)."""
    plan = integers(pointer(buffer))
    workspace64 = shift(pointer(buffer), plan[BUFFER64])
    d, stride = plan[INPUTS], plan[STRIDE]
    total = sum_of(pointer(s), plan[ROWS]) if plan[WEIGHTED] else float(plan[ROWS])
    loss = loss_lost = db = db_lost = 0.0
    for t in range(plan[TASKS]):
        own = shift(workspace64, t * stride)
        for j in range(d if t else 0):
            workspace64[j] += own[j]
        loss, loss_lost = add_exactly(loss, loss_lost + own[d + 1], own[d])
        db, db_lost = add_exactly(db, db_lost + own[d + 3], own[d + 2])
    for j in range(d):
        gw_out[j] = 2.0 * workspace64[j] / total
    return settled(loss, loss_lost) / total, 2.0 * settled(db, db_lost) / total


@kernel
def neuron_step(gw_out, w, b, x, y, s, buffer):
    for index in range(integers(pointer(buffer))[TASKS]):
        _task(index, w, b, x, y, s, buffer)
    return _finish(gw_out, s, buffer)


@parallel_kernel
def neuron_step_parallel(gw_out, w, b, x, y, s, buffer):
    """`neuron_step` with the row tasks shared; a task writes its own part of the workspaces."""
    word = control_word()
    for index in prange(integers(pointer(buffer))[TASKS]):
        own_word = control_word()
        set_control_word(word)
        _task(types.int64(index), w, b, x, y, s, buffer)
        set_control_word(own_word)
    return _finish(gw_out, s, buffer)


@kernel
def neuron_rows(dw_out, db_out, w, b, x):
    """Per row, formula 17: x and 1 where the neuron is active, else 0 (NaN counts as active)."""
    n, d = x.shape
    for i in range(n):
        z = b
        for j in range(d):
            z += w[j] * x[i, j]
        active = not (z <= 0)
        db_out[i] = 1 if active else 0
        for j in range(d):
            dw_out[i, j] = x[i, j] if active else 0


@kernel
def relu(out, z):
    """max(0, z), NaN kept, over contiguous memory."""
    for i in range(z.size):
        out[i] = 0 if z[i] <= 0 else z[i]


@kernel
def relu_mask(out, z):
    """not (z <= 0)."""
    for i in range(z.size):
        out[i] = not (z[i] <= 0)
