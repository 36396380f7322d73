"""A step of a network: forward, loss and backward of a block of rows while it is in cache.

In: flat parameters, X, targets. Out: the loss and the flat gradient (or outputs, or dX).
Four phases, each a number of independent tasks that the plan fixed from the shapes alone:

- PACK: a slice of every W into panels (and of its transpose, for dX);
- ROWS: a task takes its rows block by block: every layer forward, the loss, every layer backward,
  its own partial gradient accumulated; nothing but X, y and the weights is read from memory;
- WEIGHTS, only in wide networks, where a private gradient a task would cost more than it saves: the
  row tasks store their deltas, then a task sums X^T dZ over all stored rows for its rows of W;
- REDUCE: a slice of the gradient is the sum of the partials in task order, in float64, plus l2.

Serial or parallel, the tasks are the same, so the bits are. A task writes only its slice of the
panels (PACK), its own part or rows of the workspace (ROWS), its rows of the gradient (WEIGHTS), its
slice of the gradient (REDUCE).
One layer with a given output gradient (`affine_relu_backward`) is the same step, and so is a
forward pass that also writes the ReLU mask. Formulas 18 to 20, 23 and 24.
"""

from __future__ import annotations

from numba import prange, types

from . import layout as at
from . import losses
from .blocks import backward, forward, output_delta, weight_gradient, write_mask
from .jit import inner, kernel, parallel_kernel, pasted
from .norms import penalty, sum_of_squares
from .pack import pack, pack_transposed
from .partials import add_partials
from .rows import pack_skinny
from .simd import integers, lanes, pointer, retype, shift
from .tickets import take, wait_until


@pasted
def pack_slice(index, theta, workspace, plan):
    slices, job = plan[at.SLICES], plan[at.JOB]
    vl = lanes(workspace)
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
    index, origin, scale, theta, bias, x, y, s, out, dx, scratch, workspace, workspace64, plan
):
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
    loss, waiting = 0.0, 0
    for row in range(first, stop, plan[at.BLOCK_ROWS]):
        m = min(plan[at.BLOCK_ROWS], stop - row)
        x_block = shift(x, row * d)
        place = row - origin if wide else 0
        if plan[at.LOSS] >= 0 or job == at.FORWARD:
            forward(x_block, m, place, part, theta, bias, shift(out, row * k), workspace, plan)
        if job == at.FORWARD:
            write_mask(y, out, row, m, k)
            continue
        delta = shift(part, plan[last + at.DELTA] + place * ld)
        loss += output_delta(delta, ld, y, s, row, m, k, scale, plan, workspace64)
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
            workspace,
            plan,
        )
        waiting += 1
        if flush and not wide and (waiting == flush or row + m == stop):
            for i in range(size):
                sums[i] += partial[i]
            waiting = 0
    return loss


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
        add_partials(out, row_step, column_step, sums, ld, rows, columns, size, tasks)
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


@inner
def weight_sum(s, n):
    """Sum of the sample weights in float64, in four interleaved chains."""
    s = pointer(s)
    a = b = c = d = 0.0
    stop = n // 4 * 4
    for i in range(0, stop, 4):
        a += s[i]
        b += s[i + 1]
        c += s[i + 2]
        d += s[i + 3]
    for i in range(stop, n):
        a += s[i]
    return (a + b) + (c + d)


@inner
def _scale(s, plan):
    """1 / (n or sum of weights), and also / k for the losses that are means over outputs."""
    total = weight_sum(s, plan[at.ROWS]) if plan[at.WEIGHTED] else float(plan[at.ROWS])
    if plan[at.LOSS] == losses.MSE or plan[at.LOSS] == losses.HUBER:
        total *= plan[at.HEADER + (plan[at.LAYERS] - 1) * at.RECORD + at.K]
    return 1.0 / total


PACK, ROWS, WEIGHTS, REDUCE = 0, 1, 2, 3


@pasted
def _plan_of(buffer):
    """(plan, workspace64) of a workspace."""
    plan = integers(pointer(buffer))
    return plan, shift(pointer(buffer), plan[at.BUFFER64])


def _task(phase, index, origin, thread, scale, theta, bias, x, y, s, out, dx, buffer):
    theta, x, out = pointer(theta), pointer(x), pointer(out)
    plan, workspace64 = _plan_of(buffer)
    workspace = retype(shift(pointer(buffer), plan[at.BUFFER]), theta)
    scratch = shift(workspace, plan[at.SCRATCH] + thread * plan[at.SCRATCH_STRIDE])
    if phase == PACK:
        pack_slice(index, theta, workspace, plan)
    elif phase == ROWS:
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
            workspace,
            workspace64,
            plan,
        )
    elif phase == WEIGHTS:
        weights_task(index, origin, x, out, scratch, workspace, workspace64, plan)
    else:
        workspace64[plan[at.PARTS] + plan[at.TASKS] + index] = reduce_slice(
            index, theta, out, workspace, workspace64, plan
        )


_pasted_task, _called_task = pasted(_task), inner(_task)


@inner
def _stages(plan):
    """How many times tasks are handed out: pack, then rows (and weights) store by store, reduce."""
    stores = (plan[at.ROWS] + plan[at.STORE_ROWS] - 1) // plan[at.STORE_ROWS]
    return 2 + stores * (1 + plan[at.WIDE])


@inner
def _stage(number, plan):
    """(phase, first row of the store, number of tasks)."""
    if number == 0:
        return PACK, 0, plan[at.SLICES]
    if number == _stages(plan) - 1:
        return REDUCE, 0, 0 if plan[at.JOB] == at.FORWARD else plan[at.SLICES]
    wide = plan[at.WIDE]
    origin = (number - 1) // (1 + wide) * plan[at.STORE_ROWS]
    if wide and number % 2 == 0:
        return WEIGHTS, origin, plan[at.WEIGHT_TASKS]
    rows = min(plan[at.STORE_ROWS], plan[at.ROWS] - origin)
    return ROWS, origin, (rows + plan[at.TASK_ROWS] - 1) // plan[at.TASK_ROWS]


@inner
def _loss(scale, workspace64, plan):
    """The parts in task order, plus l2 / 2 times the sum of squared weights."""
    if plan[at.JOB] == at.FORWARD or plan[at.LOSS] < 0:
        return 0.0
    first, tasks = plan[at.PARTS], plan[at.TASKS]
    loss, squares = 0.0, 0.0
    for t in range(tasks):
        loss += workspace64[first + t]
    for t in range(plan[at.SLICES]):
        squares += workspace64[first + tasks + t]
    return loss * scale + 0.5 * workspace64[at.L2] * squares


@kernel
def step(theta, bias, x, y, s, out, dx, buffer):
    """All tasks of all phases, one after the other; returns the loss."""
    plan, workspace64 = _plan_of(buffer)
    scale = _scale(s, plan)
    for number in range(_stages(plan)):
        phase, origin, count = _stage(number, plan)
        for index in range(count):
            _pasted_task(phase, index, origin, 0, scale, theta, bias, x, y, s, out, dx, buffer)
    return _loss(scale, workspace64, plan)


@inner
def _work(thread, scale, theta, bias, x, y, s, out, dx, buffer):
    """What one thread does: the next task that nobody has taken, once all before its stage are
    done."""
    plan, workspace64 = _plan_of(buffer)
    taken = integers(shift(workspace64, plan[at.TICKETS]))
    done = shift(taken, at.DONE)
    ticket, first = take(taken), 0
    for number in range(_stages(plan)):
        phase, origin, count = _stage(number, plan)
        while ticket < first + count:
            wait_until(done, first)
            _called_task(
                phase, ticket - first, origin, thread, scale, theta, bias, x, y, s, out, dx, buffer
            )
            take(done)
            ticket = take(taken)
        first += count


@parallel_kernel
def step_parallel(theta, bias, x, y, s, out, dx, buffer):
    """`step` with the tasks shared among the threads; what a task writes is its own."""
    plan, workspace64 = _plan_of(buffer)
    scale = _scale(s, plan)
    taken = integers(shift(workspace64, plan[at.TICKETS]))
    taken[0], taken[at.DONE] = 0, 0
    for thread in prange(plan[at.SCRATCHES]):  # more than threads: the rest find nothing to do
        _work(types.int64(thread), scale, theta, bias, x, y, s, out, dx, buffer)
    return _loss(scale, workspace64, plan)


@kernel
def probabilities(out, is_softmax):
    """Outputs (n, k) to probabilities, in place."""
    if is_softmax:
        losses.softmax(pointer(out), out.shape[0], out.shape[1])
    else:
        losses.sigmoid(pointer(out), out.shape[0], out.shape[1])
