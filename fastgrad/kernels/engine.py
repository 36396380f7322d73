"""A step of a network: forward, loss and backward of a block of rows while it is in cache.

In: a CALL, with its PLAN, and the WORKER of this thread. Out: the loss and the flat gradient (or
outputs, or dX). Four phases, each a number of independent tasks that the plan fixed from the shapes
alone:

- pack: a slice of every W into panels (and of its transpose, for dX);
- rows: a task takes its rows block by block: every layer forward, the loss, every layer backward,
  the task's gradient accumulated; nothing but X, y and the weights is read from memory;
- weights, only in wide networks, where a private gradient a task would cost more than it saves: the
  row tasks keep their deltas, then a task sums X^T dZ over all rows of the chunk for its rows of W;
  where X is sparse (`csr_columns.py`) row tasks put its entries into buckets of columns;
- reduce: a slice of the gradient is the sum of the tasks' in task order, in float64, plus l2.

Threads take tasks from a work queue, stage by stage: a phase is one stage, but in wide networks
rows and weights alternate, chunk by chunk of rows. Serial or parallel, the tasks are the same, so
the bits are. What a task writes is its own (`tasks.py`).
One layer with a given output gradient (`affine_relu_backward`) is the same step, and so is a
forward pass that also writes the ReLU mask. Formulas 18 to 20, 23 and 24.
"""

from __future__ import annotations

from numba import prange, types

from . import losses
from .counts import parts_of, quotient
from .hessian import unit_task
from .jit import inner, kernel, parallel_kernel
from .record_types import RecordType
from .records import (
    CALL,
    GRADIENT,
    L2,
    LINE,
    LOSS,
    MATRIX,
    OF_ROWS,
    OUTPUTS,
    SCALE,
    WORKER,
    call_in,
    worker_of,
)
from .rounding import control_word, set_control_word
from .routines import procedure
from .row_tasks import rows_task
from .simd import integers, null_like, pointer, shift
from .sums import add_exactly, rounded_sum, sum_of
from .tasks import pack_slice, reduce_slice, weights_task
from .work_queue import claim, count_one, spin_until

PACK, ROWS, WEIGHTS, REDUCE = 0, 1, 2, 3


@inner
def batch_scale(call, plan):
    """1 / (n or sum of weights; 1 for what is of each row), and also / k for the losses that are
    means over outputs."""
    total = float(plan.n)
    if plan.want & OF_ROWS and plan.want & GRADIENT == 0:
        total = 1.0
    elif plan.weighted:
        total = sum_of(call.weights, plan.n)
    return 1.0 / (total * plan.averaged)


@inner
def _stages(plan):
    """How many stages there are: pack, then rows (and weights) chunk by chunk, reduce."""
    return 2 + parts_of(plan.n, plan.chunk_rows) * (1 + plan.wide)


@inner
def _stage(number, stages, plan, worker):
    """(phase, first row of the chunk, number of tasks)."""
    if number == 0:
        own = worker.parallel and plan.panel_stride
        return PACK, 0, 0 if own else plan.slices
    if number == stages - 1:
        return REDUCE, 0, 0 if plan.want & OUTPUTS else plan.slices
    origin = ((number - 1) >> plan.wide) * plan.chunk_rows
    if (number - 1) & plan.wide:
        return WEIGHTS, origin, plan.weight_tasks
    rows = min(plan.chunk_rows, plan.n - origin)
    return ROWS, origin, parts_of(rows, plan.task_rows)


@inner
def step_loss(call, plan):
    """The tasks' losses in their order, plus l2 / 2 times the sum of squared weights."""
    if plan.want & LOSS == 0:
        return 0.0
    place, tasks, sums = plan.losses, plan.tasks, call.sums
    loss, lost, squares = 0.0, 0.0, 0.0
    for t in range(tasks):
        loss, lost = add_exactly(loss, lost, sums[place + t])
    for t in range(plan.slices):
        squares += sums[place + tasks + t]
    return rounded_sum(loss, lost) * sums[SCALE] + 0.5 * sums[L2] * squares


@inner
def task_in_turn(turn, worker, count, plan):
    """The task of a stage that a thread looks at in its turn: its own range first."""
    index = turn + quotient(worker.number * count, plan.workers)
    return index - count if index >= count else index


@inner
def _task(phase, index, origin, call, plan, worker):
    """One task of a phase; `origin` is the first row of the chunk."""
    panels = call.work
    if phase == PACK:
        pack_slice(call, plan, panels, index, plan.slices)
    elif phase == ROWS:
        if worker.parallel and plan.panel_stride:
            panels = shift(panels, index * plan.panel_stride)
            pack_slice(call, plan, panels, 0, 1)
        place = plan.losses + quotient(origin, plan.task_rows) + index
        call.sums[place] = rows_task(call, plan, worker, panels, index, origin)
    elif phase == WEIGHTS and plan.want & MATRIX:
        unit_task(call, plan, worker, index, origin)
    elif phase == WEIGHTS:
        weights_task(call, plan, worker, index, origin)
    else:
        call.sums[plan.losses + plan.tasks + index] = reduce_slice(call, plan, index)


@procedure(types.float64, lambda real: (RecordType(CALL, real), RecordType(WORKER, real)))
def step(call, worker):
    """All tasks of all phases, one after the other; returns the loss.

    Where the worker is one of several: the tasks that no other has claimed, each once all tasks of
    earlier stages are done; the loss is then `step_loss`, after the last.
    """
    plan = call.plan
    parallel = worker.parallel != 0
    if not parallel:
        call.sums[SCALE] = batch_scale(call, plan)
    queue = work_queue(call)
    before = worker.passed  # 0 if it is alone
    stages = _stages(plan)
    for number in range(stages):
        phase, origin, count = _stage(number, stages, plan, worker)
        if parallel:
            spin_until(queue, before)
        for turn in range(count):
            index = task_in_turn(turn, worker, count, plan)
            if parallel and not claim(shift(queue, (1 + index) * LINE), before + 1):
                continue
            _task(phase, index, origin, call, plan, worker)
            if parallel:
                count_one(queue)
        before += count
    if parallel:
        worker.passed = before
        return 0.0
    return step_loss(call, plan)


@inner
def work_queue(call):
    """The number of tasks done, and behind it a line for each task of a stage."""
    return integers(shift(call.sums, call.plan.queue))


@inner
def open_queue(call, plan):
    """Before threads take tasks: none is claimed or done."""
    call.sums[SCALE] = batch_scale(call, plan)
    queue = work_queue(call)
    for line in range(1 + plan.queue_tasks):
        queue[line * LINE] = 0


@inner
def join(call, index):
    """The worker of a thread that begins to take tasks."""
    worker = worker_of(call, index)
    worker.number, worker.parallel, worker.passed = index, 1, 0
    return worker


@inner
def leave(worker):
    """The worker is alone again."""
    worker.number, worker.parallel, worker.passed = 0, 0, 0
    worker.order = null_like(worker.order)


@kernel
def serial_step(like, buffer):
    """`step` of the CALL in a workspace, whose dtype is that of `like`."""
    call = call_in(buffer, pointer(like))
    return step(call, worker_of(call, 0))


@parallel_kernel
def parallel_step(like, buffer):
    """`serial_step` by several threads; what a task writes is its own."""
    call = call_in(buffer, pointer(like))
    open_queue(call, call.plan)
    word = control_word()
    for thread in prange(call.plan.workers):  # those without a thread find nothing left
        own_word = control_word()
        set_control_word(word)
        mine = call_in(buffer, pointer(like))
        worker = join(mine, types.int64(thread))
        step(mine, worker)
        leave(worker)
        set_control_word(own_word)
    call = call_in(buffer, pointer(like))
    return step_loss(call, call.plan)


@kernel
def probabilities(out, is_softmax):
    """Outputs (n, k) to probabilities, in place."""
    if is_softmax:
        losses.softmax(pointer(out), out.shape[0], out.shape[1])
    else:
        losses.sigmoid(pointer(out), out.shape[0], out.shape[1])
