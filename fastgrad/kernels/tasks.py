"""The tasks of a step: what one thread does on its own, without waiting for another.

In: the arrays of a step, a workspace with its plan, the number of the task. Out: the task's slice
of the panels (PACK), its own part or rows of the workspace (ROWS), its rows of the gradient
(WEIGHTS), its slice of the gradient (REDUCE), and nothing else; a row task of training first
gathers its rows of X and the targets (`at.ORDER`). `network.py` says in which order.
"""

from __future__ import annotations

from numba import types

from . import layout as at
from . import losses
from .blocks import backward, forward, output_delta, weight_gradient, write_mask
from .gather import gather, gather_rows
from .jit import inner, pasted
from .norms import penalty, sum_of_squares
from .pack import pack, pack_transposed
from .partials import add_partials, add_sums
from .rows import pack_skinny
from .simd import integers, integers_at, lanes, pointer, pointer_at, retype, shift
from .sums import add_exactly, settled

PACK, ROWS, WEIGHTS, REDUCE = 0, 1, 2, 3


@pasted
def pack_slice(index, slices, theta, workspace, plan):
    """Panels of one of `slices` parts of every W."""
    job, vl = plan[at.JOB], lanes(workspace)
    for layer in range(plan[at.LAYERS]):
        r = at.HEADER + layer * at.RECORD
        d, k = plan[r + at.D], plan[r + at.K]
        blocks = (d + vl - 1) // vl
        start = min(d, blocks * index // slices * vl)
        stop = min(d, blocks * (index + 1) // slices * vl)
        if start == stop:
            continue
        w = shift(theta, plan[r + at.WEIGHT])
        if plan[at.LOSS] >= 0 or job == at.FORWARD:
            panels = shift(workspace, plan[r + at.PANELS])
            if plan[r + at.SKINNY]:
                pack_skinny(panels, w, d, k, start, stop)
            elif plan[r + at.IN_PLACE] == 0:
                pack(panels, w, k, d, k, start, stop)
        back = job >= at.GRADIENT_AND_INPUT or (job == at.GRADIENT and layer > 0)
        if back and plan[r + at.FEW_BACK] == 0:
            pack_transposed(shift(workspace, plan[r + at.PANELS_T]), w, k, d, k, start, stop)


@pasted
def rows_task(
    index, origin, scale, theta, bias, x, y, s, out, dx, scratch, panels, workspace, workspace64,
    plan
):  # fmt: skip
    """All blocks of one row task; returns its sum of losses."""
    job, layers, wide = plan[at.JOB], plan[at.LAYERS], plan[at.WIDE]
    stored = min(plan[at.ROWS], origin + plan[at.STORE_ROWS])
    first = origin + index * plan[at.TASK_ROWS]
    stop = min(stored, first + plan[at.TASK_ROWS])
    part = shift(workspace, plan[at.TASK_BASE] + index * plan[at.TASK_STRIDE])
    last = at.HEADER + (layers - 1) * at.RECORD
    d, k, ld = plan[at.HEADER + at.D], plan[last + at.K], plan[last + at.LD]
    grad = out if plan[at.DIRECT] else part
    flush, size = plan[at.FLUSH_BLOCKS], plan[at.GRAD_SIZE]
    partial = shift(part, plan[at.HEADER + at.PARTIAL])
    sums = shift(workspace64, plan[at.SUMS] + index * size)
    if flush and not wide:
        for i in range(size):
            sums[i] = 0.0
    loss, lost, waiting = 0.0, 0.0, 0
    order = integers_at(plan[at.ORDER])
    for row in range(first, stop, plan[at.BLOCK_ROWS]):
        m = min(plan[at.BLOCK_ROWS], stop - row)
        if plan[at.ORDER]:
            gather_rows(shift(x, row * d), pointer_at(plan[at.X_FROM], x), shift(order, row), m, d)
            if plan[at.LOSS] == losses.CROSS_ENTROPY:
                gather(shift(y, row), pointer_at(plan[at.Y_FROM], y), shift(order, row), m, 1)
            else:
                gather(shift(y, row * k), pointer_at(plan[at.Y_FROM], y), shift(order, row), m, k)
        x_block = shift(x, row * d)
        place = row - origin if wide else 0
        if plan[at.LOSS] >= 0 or job == at.FORWARD:
            forward(x_block, m, place, part, theta, bias, shift(out, row * k), panels, plan)
        if job == at.FORWARD:
            write_mask(y, out, row, m, k)
            continue
        delta = shift(part, plan[last + at.DELTA] + place * ld)
        value = output_delta(delta, ld, y, s, row, m, k, scale, plan, workspace64)
        loss, lost = add_exactly(loss, lost, value)
        if job == at.LOSS_ONLY:
            continue
        backward(
            x_block,
            (plan[at.ROWS] - row - m) * d,
            m,
            place,
            part,
            grad,
            theta,
            shift(dx, row * d),
            waiting == 0,
            scratch,
            panels,
            plan,
        )
        waiting += 1
        if flush and not wide and (waiting == flush or row + m == stop):
            for i in range(size):
                sums[i] += partial[i]
            waiting = 0
    return settled(loss, lost)


@pasted
def weights_task(index, origin, x, out, scratch, workspace, workspace64, plan):
    """Some rows of one W: their gradient over all stored rows, added to the float64 sums if there
    will be more."""
    layer = plan[at.LAYERS] - 1
    while plan[at.HEADER + layer * at.RECORD + at.FIRST_WEIGHT_TASK] > index:
        layer -= 1
    r = at.HEADER + layer * at.RECORD
    start = (index - plan[r + at.FIRST_WEIGHT_TASK]) * plan[at.WEIGHT_ROWS]
    count = min(plan[at.WEIGHT_ROWS], plan[r + at.D] - start)
    m = min(plan[at.STORE_ROWS], plan[at.ROWS] - origin)
    part = shift(workspace, plan[at.TASK_BASE])
    x_block = shift(x, origin * plan[at.HEADER + at.D])
    grad = out if plan[at.DIRECT] else part
    beyond = (plan[at.ROWS] - origin - m) * plan[at.HEADER + at.D]
    first_row, fresh = types.int64(0), types.boolean(True)  # literals would compile it again
    weight_gradient(
        r, start, count, x_block, beyond, first_row, m, part, grad, fresh, scratch, workspace, plan
    )
    if plan[at.FLUSH_BLOCKS]:
        base = plan[at.HEADER + at.PARTIAL]
        k, ldg = plan[r + at.K], plan[r + at.LDG]
        if plan[r + at.TURNED]:
            for j in range(k):
                begin = plan[r + at.PARTIAL] + j * ldg + start
                _add_to_sums(begin, count, base, part, workspace64, origin == 0, plan)
        else:
            begin = plan[r + at.PARTIAL] + start * ldg
            _add_to_sums(begin, count * ldg, base, part, workspace64, origin == 0, plan)
        if start == 0:
            _add_to_sums(plan[r + at.PARTIAL_BIAS], k, base, part, workspace64, origin == 0, plan)


@inner
def _add_to_sums(begin, size, base, part, workspace64, fresh, plan):
    sums = shift(workspace64, plan[at.SUMS] + begin - base)
    partial = shift(part, begin)
    for i in range(size):
        sums[i] = partial[i] + (0.0 if fresh else sums[i])


@inner
def _sum_partials(
    out, row_step, column_step, first, ld, rows, columns, workspace, workspace64, plan
):
    """out[r*row_step + c*column_step] from element `first` of every partial on, a row ld long."""
    tasks = types.int64(1) if plan[at.WIDE] else plan[at.TASKS]
    if plan[at.FLUSH_BLOCKS]:
        sums = shift(workspace64, plan[at.SUMS] + first - plan[at.HEADER + at.PARTIAL])
        size = plan[at.GRAD_SIZE]
        add_sums(out, row_step, column_step, sums, ld, rows, columns, size, tasks)
    else:
        partial = shift(workspace, plan[at.TASK_BASE] + first)
        stride = plan[at.TASK_STRIDE]
        add_partials(out, row_step, column_step, partial, ld, rows, columns, stride, tasks)


@pasted
def reduce_slice(index, theta, out, workspace, workspace64, plan):
    """A slice of the gradient from the partials; returns its sum of squared weights if l2."""
    slices, l2 = plan[at.SLICES], workspace64[at.L2]
    gradient = plan[at.JOB] == at.GRADIENT or plan[at.JOB] == at.GRADIENT_AND_INPUT
    add_up = gradient and plan[at.DIRECT] == 0
    squares = 0.0
    if l2 == 0.0 and not add_up:
        return squares
    for layer in range(plan[at.LAYERS]):
        r = at.HEADER + layer * at.RECORD
        d, k, ldg = plan[r + at.D], plan[r + at.K], plan[r + at.LDG]
        start, stop = d * index // slices, d * (index + 1) // slices
        rows, columns, row_step, column_step, step = stop - start, k, k, types.int64(1), ldg
        if plan[r + at.TURNED]:
            rows, columns, row_step, column_step, step = k, stop - start, types.int64(1), k, 1
        offset = plan[r + at.WEIGHT] + start * k
        if add_up:
            _sum_partials(
                shift(out, offset),
                row_step,
                column_step,
                plan[r + at.PARTIAL] + start * step,
                ldg,
                rows,
                columns,
                workspace,
                workspace64,
                plan,
            )
            if index == 0:
                first = plan[r + at.PARTIAL_BIAS]
                _sum_partials(
                    shift(out, plan[r + at.BIAS_OUT]),
                    k,
                    types.int64(1),
                    first,
                    k,
                    types.int64(1),
                    k,
                    workspace,
                    workspace64,
                    plan,
                )
        if l2 != 0.0:
            w, count = shift(theta, offset), (stop - start) * k
            if gradient:
                squares += penalty(w, count, shift(out, offset), l2)
            else:
                squares += sum_of_squares(w, count)
    return squares


@pasted
def plan_of(buffer):
    """(plan, workspace64) of a workspace."""
    plan = integers(pointer(buffer))
    return plan, shift(pointer(buffer), plan[at.BUFFER64])


@pasted
def task(phase, index, origin, thread, scale, theta, bias, x, y, s, out, dx, buffer):
    """One task of a phase, by a thread with a number; `origin` is the first row of the store."""
    theta, x, out = pointer(theta), pointer(x), pointer(out)
    plan, workspace64 = plan_of(buffer)
    workspace = retype(shift(pointer(buffer), plan[at.BUFFER]), theta)
    scratch = shift(workspace, plan[at.SCRATCH] + thread * plan[at.SCRATCH_STRIDE])
    panels, slices = workspace, plan[at.SLICES]
    packs = phase == ROWS and plan[at.THREAD] and plan[at.PANEL_STRIDE]
    if phase == PACK or packs:
        if packs:
            panels, slices = shift(workspace, index * plan[at.PANEL_STRIDE]), types.int64(1)
        pack_slice(types.int64(0) if packs else index, slices, theta, panels, plan)
    if phase == ROWS:
        workspace64[plan[at.PARTS] + origin // plan[at.TASK_ROWS] + index] = rows_task(
            index,
            origin,
            scale,
            theta,
            pointer(bias),
            x,
            pointer(y),
            pointer(s),
            out,
            pointer(dx),
            scratch,
            panels,
            workspace,
            workspace64,
            plan,
        )
    elif phase == WEIGHTS:
        weights_task(index, origin, x, out, scratch, workspace, workspace64, plan)
    elif phase == REDUCE:
        workspace64[plan[at.PARTS] + plan[at.TASKS] + index] = reduce_slice(
            index, theta, out, workspace, workspace64, plan
        )
