"""A step of a network: forward, loss and backward of a block of rows while it is in cache.

In: a CALL, with its PLAN, and the WORKER of this thread. Out: the loss and the flat gradient (or
outputs, or dX). Four phases, each a number of independent tasks that the plan fixed from the shapes
alone:

- pack: a slice of every W into panels (and of its transpose, for dX);
- rows: a task takes its rows block by block: every layer forward, the loss, every layer backward,
  its own gradient accumulated; nothing but X, y and the weights is read from memory;
- weights, only in wide networks, where a private gradient a task would cost more than it saves: the
  row tasks store their deltas, then a task sums X^T dZ over all stored rows for its rows of W;
- reduce: a slice of the gradient is the sum of the tasks' in task order, in float64, plus l2.

Serial or parallel, the tasks are the same, so the bits are. A task writes only its slice of the
panels (pack), its own part or rows of the workspace (rows), its rows of the gradient (weights), its
slice of the gradient (reduce).
One layer with a given output gradient (`affine_relu_backward`) is the same step, and so is a
forward pass that also writes the ReLU mask. Formulas 18 to 20, 23 and 24.
"""

from __future__ import annotations

from numba import prange, types

from . import losses
from .jit import inner, kernel, parallel_kernel
from .records import (
    CALL,
    L2,
    LINE,
    LOSS,
    OUTPUTS,
    SCALE,
    WORKER,
    RecordType,
    call_in,
    worker_of,
)
from .rounding import control_word, set_control_word
from .routines import procedure
from .sharing import claim, count_one, wait_until
from .simd import integers, null_like, pointer, shift
from .sums import add_exactly, settled, sum_of
from .tasks import pack_slice, reduce_slice, rows_task, weights_task

PACK, ROWS, WEIGHTS, REDUCE = 0, 1, 2, 3


@inner
def batch_scale(call, plan):
    """1 / (n or sum of weights), and also / k for the losses that are means over outputs."""
    total = float(plan.rows)
    if plan.weighted:
        total = sum_of(call.weights, plan.rows)
    return 1.0 / (total * plan.averaged)


@inner
def _stages(plan):
    """How many times tasks are handed out: pack, then rows (and weights) store by store, reduce."""
    stores = (plan.rows + plan.store_rows - 1) // plan.store_rows
    return 2 + stores * (1 + plan.wide)


@inner
def _stage(number, plan, worker):
    """(phase, first row of the store, number of tasks)."""
    if number == 0:
        own = worker.shares and plan.panel_stride
        return PACK, 0, 0 if own else plan.slices
    if number == _stages(plan) - 1:
        return REDUCE, 0, 0 if plan.want & OUTPUTS else plan.slices
    wide = plan.wide
    origin = (number - 1) // (1 + wide) * plan.store_rows
    if wide and number % 2 == 0:
        return WEIGHTS, origin, plan.weight_tasks
    rows = min(plan.store_rows, plan.rows - origin)
    return ROWS, origin, (rows + plan.task_rows - 1) // plan.task_rows


@inner
def step_loss(call, plan):
    """The parts in task order, plus l2 / 2 times the sum of squared weights."""
    if plan.want & LOSS == 0:
        return 0.0
    parts, tasks, sums = plan.parts, plan.tasks, call.sums
    loss, lost, squares = 0.0, 0.0, 0.0
    for t in range(tasks):
        loss, lost = add_exactly(loss, lost, sums[parts + t])
    for t in range(plan.slices):
        squares += sums[parts + tasks + t]
    return settled(loss, lost) * sums[SCALE] + 0.5 * sums[L2] * squares


@inner
def turn_of(turn, worker, count, plan):
    """The task of a stage that a thread looks at in its turn: its own share first."""
    index = turn + worker.number * count // plan.workers
    return index - count if index >= count else index


@inner
def _task(phase, index, origin, call, plan, worker):
    """One task of a phase; `origin` is the first row of the store."""
    panels = call.work
    if phase == PACK:
        pack_slice(call, plan, panels, index, plan.slices)
    elif phase == ROWS:
        if worker.shares and plan.panel_stride:
            panels = shift(panels, index * plan.panel_stride)
            pack_slice(call, plan, panels, 0, 1)
        part = plan.parts + origin // plan.task_rows + index
        call.sums[part] = rows_task(call, plan, worker, panels, index, origin)
    elif phase == WEIGHTS:
        weights_task(call, plan, worker, index, origin)
    else:
        call.sums[plan.parts + plan.tasks + index] = reduce_slice(call, plan, index)


@procedure(types.float64, lambda real: (RecordType(CALL, real), RecordType(WORKER, real)))
def step(call, worker):
    """All tasks of all phases, one after the other; returns the loss.

    With a worker that shares: those tasks that nobody else has claimed, each once all tasks of
    earlier stages are done; the loss is then `step_loss`, after the last.
    """
    plan = call.plan
    shares = worker.shares != 0
    if not shares:
        call.sums[SCALE] = batch_scale(call, plan)
    done = integers(shift(call.sums, plan.done))
    before = worker.passed  # 0 if nobody shares
    for number in range(_stages(plan)):
        phase, origin, count = _stage(number, plan, worker)
        if shares:
            wait_until(done, before)
        for turn in range(count):
            index = turn_of(turn, worker, count, plan)
            if shares and not claim(shift(done, (1 + index) * LINE), before + 1):
                continue
            _task(phase, index, origin, call, plan, worker)
            if shares:
                count_one(done)
        before += count
    if shares:
        worker.passed = before
        return 0.0
    return step_loss(call, plan)


@inner
def open_tasks(call, plan):
    """Before threads share the tasks: none is claimed or done."""
    call.sums[SCALE] = batch_scale(call, plan)
    done = integers(shift(call.sums, plan.done))
    for line in range(1 + plan.claims):
        done[line * LINE] = 0


@inner
def join(call, index):
    """The worker of a thread that begins to share."""
    worker = worker_of(call, index)
    worker.number, worker.shares, worker.passed = index, 1, 0
    return worker


@inner
def leave(worker):
    """As a worker that does not share begins."""
    worker.number, worker.shares, worker.passed = 0, 0, 0
    worker.order = null_like(worker.order)


@kernel
def serial_step(like, buffer):
    """`step` of the CALL in a workspace, whose dtype is that of `like`."""
    call = call_in(buffer, pointer(like))
    return step(call, worker_of(call, 0))


@parallel_kernel
def parallel_step(like, buffer):
    """`serial_step` with the tasks shared among the threads; what a task writes is its own."""
    call = call_in(buffer, pointer(like))
    open_tasks(call, call.plan)
    word = control_word()
    for thread in prange(call.plan.workers):  # more than threads: the rest find nothing to do
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
