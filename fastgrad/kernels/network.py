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
from numba.extending import overload

from . import layout as at
from . import losses
from .calls import call
from .jit import OPTIONS, inner, kernel, parallel_kernel
from .rounding import control_word, set_control_word
from .sharing import claim, count_one, wait_until
from .simd import integers, pointer, shift
from .sums import add_exactly, settled, sum_of
from .tasks import PACK, REDUCE, ROWS, WEIGHTS, plan_of, task


def _rows_that_count(s, plan):
    """n, or the sum of the sample weights."""


@overload(_rows_that_count, jit_options=OPTIONS)
def _rows_that_count_typed(s, plan):
    if s.dtype == types.uint8:  # a mask beside a given output gradient
        return lambda s, plan: float(plan[at.ROWS])

    def rows(s, plan):
        return sum_of(pointer(s), plan[at.ROWS]) if plan[at.WEIGHTED] else float(plan[at.ROWS])

    return rows


@inner
def batch_scale(s, plan):
    """1 / (n or sum of weights), and also / k for the losses that are means over outputs."""
    total = _rows_that_count(s, plan)
    if plan[at.LOSS] == losses.MSE or plan[at.LOSS] == losses.HUBER:
        total *= plan[at.HEADER + (plan[at.LAYERS] - 1) * at.RECORD + at.K]
    return 1.0 / total


@inner
def _stages(plan):
    """How many times tasks are handed out: pack, then rows (and weights) store by store, reduce."""
    stores = (plan[at.ROWS] + plan[at.STORE_ROWS] - 1) // plan[at.STORE_ROWS]
    return 2 + stores * (1 + plan[at.WIDE])


@inner
def _stage(number, plan):
    """(phase, first row of the store, number of tasks)."""
    if number == 0:
        return PACK, 0, 0 if plan[at.THREAD] and plan[at.PANEL_STRIDE] else plan[at.SLICES]
    if number == _stages(plan) - 1:
        return REDUCE, 0, 0 if plan[at.JOB] == at.FORWARD else plan[at.SLICES]
    wide = plan[at.WIDE]
    origin = (number - 1) // (1 + wide) * plan[at.STORE_ROWS]
    if wide and number % 2 == 0:
        return WEIGHTS, origin, plan[at.WEIGHT_TASKS]
    rows = min(plan[at.STORE_ROWS], plan[at.ROWS] - origin)
    return ROWS, origin, (rows + plan[at.TASK_ROWS] - 1) // plan[at.TASK_ROWS]


@inner
def step_loss(scale, workspace64, plan):
    """The parts in task order, plus l2 / 2 times the sum of squared weights."""
    if plan[at.JOB] == at.FORWARD or plan[at.LOSS] < 0:
        return 0.0
    first, tasks = plan[at.PARTS], plan[at.TASKS]
    loss, lost, squares = 0.0, 0.0, 0.0
    for t in range(tasks):
        loss, lost = add_exactly(loss, lost, workspace64[first + t])
    for t in range(plan[at.SLICES]):
        squares += workspace64[first + tasks + t]
    return settled(loss, lost) * scale + 0.5 * workspace64[at.L2] * squares


@inner
def turn_of(turn, thread, count, plan):
    """The task of a stage that a thread looks at in its turn: its own share first."""
    index = turn + thread * count // plan[at.SCRATCHES]
    return index - count if index >= count else index


@kernel
def step(theta, bias, x, y, s, out, dx, buffer):
    """All tasks of all phases, one after the other; returns the loss.

    With a thread's copy of the plan: those tasks that nobody else has claimed, each once all tasks
    of earlier stages are done; the loss is then `step_loss`, after the last.
    """
    plan, workspace64 = plan_of(buffer)
    shares = plan[at.THREAD] != 0
    scale = workspace64[at.SCALE] if shares else batch_scale(s, plan)
    done = integers(shift(workspace64, plan[at.DONE]))
    thread = max(plan[at.THREAD] - 1, 0)
    before = plan[at.PASSED]  # 0 if nobody shares
    for number in range(_stages(plan)):
        phase, origin, count = _stage(number, plan)
        if shares:
            wait_until(done, before)
        for turn in range(count):
            index = turn_of(turn, thread, count, plan)
            if shares and not claim(shift(done, (1 + index) * at.LINE), before + 1):
                continue
            task(phase, index, origin, thread, scale, theta, bias, x, y, s, out, dx, buffer)
            if shares:
                count_one(done)
        before += count
    if shares:
        plan[at.PASSED] = before
        return 0.0
    return step_loss(scale, workspace64, plan)


@inner
def own_plan(thread, buffer):
    """The workspace as one of several threads sees it: with a copy of the plan of its own."""
    plan, _ = plan_of(buffer)
    size = at.HEADER + plan[at.LAYERS] * at.RECORD
    offset = plan[at.BUFFER64] + plan[at.COPIES] + thread * plan[at.COPY_STRIDE]
    view = buffer[offset:]
    own = integers(pointer(view))
    for i in range(size):
        own[i] = plan[i]
    own[at.BUFFER64] -= offset
    own[at.BUFFER] -= offset
    own[at.THREAD] = thread + 1
    return view


@inner
def open_tasks(s, buffer):
    """Before threads share the tasks: none is claimed or done."""
    plan, workspace64 = plan_of(buffer)
    workspace64[at.SCALE] = batch_scale(s, plan)
    done = integers(shift(workspace64, plan[at.DONE]))
    for line in range(1 + plan[at.CLAIMS]):
        done[line * at.LINE] = 0


@parallel_kernel
def step_parallel(address, theta, bias, x, y, s, out, dx, buffer):
    """`step`, which is at `address`, with the tasks shared among the threads; what a task writes is
    its own."""
    plan, workspace64 = plan_of(buffer)
    open_tasks(s, buffer)
    word = control_word()
    for thread in prange(plan[at.SCRATCHES]):  # more than threads: the rest find nothing to do
        own_word = control_word()
        set_control_word(word)
        view = own_plan(types.int64(thread), buffer)
        call(0.0, address, (theta, bias, x, y, s, out, dx, view))
        set_control_word(own_word)
    return step_loss(workspace64[at.SCALE], workspace64, plan)


@kernel
def probabilities(out, is_softmax):
    """Outputs (n, k) to probabilities, in place."""
    if is_softmax:
        losses.softmax(pointer(out), out.shape[0], out.shape[1])
    else:
        losses.sigmoid(pointer(out), out.shape[0], out.shape[1])
