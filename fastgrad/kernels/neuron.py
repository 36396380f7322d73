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

from .arrays import is_plain
from .bind import REFUSED, pointer_or_null
from .calls import call_address, thread_bound
from .jit import brief_kernel, inner, kernel, long_kernel, parallel_kernel
from .rounding import control_word, set_control_word
from .routines import procedure, routine
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


def _task_arguments(real):
    p = types.CPointer(real)
    return p, types.float64, p, p, p, types.CPointer(types.float64), types.int64


@procedure(types.none, _task_arguments)
def neuron_task(w, b, x, y, s, workspace, index):
    """One row task: its float64 sums of dw, loss and db into its own part of workspace64."""
    plan = integers(workspace)
    d, stride = plan[INPUTS], plan[STRIDE]
    dw = retype(shift(workspace, plan[BUFFER]), w)
    dw = shift(dw, index * stride)
    sums = shift(workspace, plan[BUFFER64] + index * stride)
    for j in range(d + SUMS):
        sums[j] = 0.0
    first = index * plan[TASK_ROWS]
    stop = min(plan[ROWS], first + plan[TASK_ROWS])
    for row in range(first, stop, plan[BLOCK_ROWS]):
        m = min(plan[BLOCK_ROWS], stop - row)
        for j in range(d):
            dw[j] = 0
        weights = shift(s, row) if plan[WEIGHTED] else null_like(s)
        neuron_block(dw, shift(sums, d), shift(x, row * d), d, w, b, shift(y, row), weights, m)
        for j in range(d):
            sums[j] += dw[j]


_PAIR = types.UniTuple(types.float64, 2)


@procedure(
    _PAIR, lambda real: (types.CPointer(real), types.CPointer(real), types.CPointer(types.float64))
)
def neuron_finish(gw_out, s, workspace):
    """The tasks' sums added in order; normalised. Returns (loss, db)."""
    plan = integers(workspace)
    workspace64 = shift(workspace, plan[BUFFER64])
    d, stride = plan[INPUTS], plan[STRIDE]
    total = float(plan[ROWS])
    if plan[WEIGHTED]:
        total = sum_of(s, plan[ROWS])
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


@inner
def run_neuron(gw_out, w, b, x, y, s, buffer):
    """A serial step of checked arrays; s is None without weights."""
    weights, work = pointer_or_null(s, w), pointer(buffer)
    for index in range(integers(work)[TASKS]):
        neuron_task(pointer(w), b, pointer(x), pointer(y), weights, work, index)
    return neuron_finish(pointer(gw_out), weights, work)


@kernel
def neuron_step(gw_out, w, b, x, y, s, buffer):
    return run_neuron(gw_out, w, b, x, y, s, buffer)


@parallel_kernel
def neuron_step_parallel(gw_out, w, b, x, y, s, buffer):
    """`neuron_step` with the row tasks shared; a task writes its own part of the workspaces."""
    word = control_word()
    for index in prange(integers(pointer(buffer))[TASKS]):
        own_word = control_word()
        set_control_word(word)
        number = types.int64(index)
        weights = pointer_or_null(s, w)
        neuron_task(pointer(w), b, pointer(x), pointer(y), weights, pointer(buffer), number)
        set_control_word(own_word)
    return neuron_finish(pointer(gw_out), pointer_or_null(s, w), pointer(buffer))


@inner
def _takes_neuron(w, x, y, buffer):
    plan = integers(pointer(buffer))
    n, d = plan[ROWS], plan[INPUTS]
    fit = w.size == d and x.shape[0] == n and x.shape[1] == d and y.size == n
    return fit and is_plain(w) and is_plain(x) and is_plain(y)


@brief_kernel
def quick_neuron(w, b, x, y, out, buffer):
    """An unweighted step on the fast path, (loss, db); see `bind.quick_step`."""
    if not _takes_neuron(w, x, y, buffer):
        return REFUSED, 0.0
    return run_neuron(out, w, b, x, y, None, buffer)


@long_kernel
def shared_neuron(parallel, threads, w, b, x, y, out, buffer):
    """`neuron_step_parallel` to `quick_neuron` as `shared_step` is to `quick_step`."""
    if threads and thread_bound() != threads:
        return REFUSED, 0.0
    if not _takes_neuron(w, x, y, buffer):
        return REFUSED, 0.0
    if threads == 0:
        return run_neuron(out, w, b, x, y, None, buffer)
    return call_address((0.0, 0.0), parallel, (out, w, b, x, y, None, buffer))


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
