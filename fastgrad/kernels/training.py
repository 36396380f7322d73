"""Minibatch training: any number of steps in one compiled call, by one thread or by several.

In: the address of an optimiser's update, the data, the order of the rows. Out: parameters and
optimiser state after a step for each batch, and the sum of their losses. Loop order: batches; for
each one network step, which gathers its rows block by block, and one update. All batches have the
same size and plan; a shorter last batch has a plan and a workspace of its own.

Threads stay for all steps of a call: they take the tasks of a step, and slices of the update after
it, from the work queue. What a task computes does not depend on who does it, nor do the bits.
"""

from __future__ import annotations

import math

from numba import prange, types

from . import optimizers as opt
from .bind import bind_rows_source, bind_step, bind_targets_source
from .calls import call_address
from .engine import batch_scale, join, leave, open_queue, step, step_loss, task_in_turn, work_queue
from .jit import inner, kernel, parallel_kernel
from .records import LINE, SCALE, call_in, worker_of
from .rounding import control_word, set_control_word
from .simd import pointer, shift
from .sums import add_exactly, rounded_sum
from .tuning import UPDATE_UNIT
from .work_queue import claim, count_one, spin_until

# Of a batch, in `results`: its loss, what it counts in the sum of losses, its gradient's factor.
LOSS, WEIGHT, FACTOR = 0, 1, 2
RESULTS = 3


@inner
def _near_one(s, m, total):
    """Weights of a very small sum times a power of two that brings the largest near 1: the network
    divides by their sum, and only their ratios count."""
    if total >= (1e-30 if s.itemsize == 4 else 1e-290):
        return
    most = s[0]
    for i in range(m):
        most = max(most, s[i])
    _, power = math.frexp(most)
    for i in range(m):
        s[i] = math.ldexp(s[i], -power)


@inner
def _weight(s_out, s, order, first, m):
    """What a batch counts: its rows, or the sum of its weights, which are gathered into s_out."""
    if s is None:
        return float(m)
    total = lost = 0.0
    for i in range(m):
        s_out[i] = s[order[first + i]]
        total, lost = add_exactly(total, lost, float(s_out[i]))
    total = rounded_sum(total, lost)
    if total != 0.0:
        _near_one(s_out, m, total)
    return total


@inner
def _bind(buffer, theta, grad, x, y, x_batch, y_batch, s_batch):
    """The CALL in a workspace, for steps whose rows are gathered from x and y; those of a sparse x
    are read where they are."""
    call = call_in(buffer, pointer(theta))
    bind_step(call, theta, x_batch, y_batch, s_batch, grad, None)
    bind_rows_source(call, x)
    bind_targets_source(call, y)
    return call


@kernel
def train_steps(
    update_address, total, theta, grad, state, hyper, rates, x, y, s, order, x_batch, y_batch,
    s_batch, buffer, last_buffer, results, hypers,
):  # fmt: skip
    """The batches of `order`; returns `total` plus their (loss * rows, or * sum of weights).

    The running total, a pair as `add_exactly` has it, comes in, so that its rounding does not
    depend on how steps make up calls.

    Batch b has the rows order[b * m], ... (int64), m as x_batch has; a shorter last batch has
    the workspace `last_buffer`. Step i has the learning rate rates[i]: a batch whose weights are
    all 0 is no step. s and s_batch are None without weights. `results` and `hypers` are the
    parallel twin's.
    """
    m, made = x_batch.shape[0], 0
    call = _bind(buffer, theta, grad, x, y, x_batch, y_batch, s_batch)
    last = _bind(last_buffer, theta, grad, x, y, x_batch, y_batch, s_batch)
    for first in range(0, order.size, m):
        rows = min(m, order.size - first)
        weight = _weight(s_batch, s, order, first, rows)
        if weight == 0.0:
            continue
        now = call if rows == m else last
        worker = worker_of(now, 0)
        worker.order = shift(pointer(order), first)
        loss = step(now, worker)
        hyper[opt.LR] = rates[made]
        call_address(0.0, update_address, (theta, grad, state, hyper))
        total = add_exactly(total[0], total[1], loss * weight)
        made += 1
    leave(worker_of(call, 0))
    leave(worker_of(last, 0))
    return total


@inner
def _is_mine(worker, queue):
    """Whether this thread does the only task of a stage."""
    spin_until(queue, worker.passed)
    return claim(shift(queue, LINE), worker.passed + 1)


@inner
def _wait_for_it(worker, queue, mine):
    """Leave that stage behind."""
    if mine:
        count_one(queue)
    worker.passed = worker.passed + 1
    spin_until(queue, worker.passed)


@inner
def _update(update_address, call, worker, theta, grad, state, own, result, queue):
    """This thread's slices of the optimiser's step, and the loss."""
    plan = call.plan
    p, slices = theta.size, plan.slices
    spin_until(queue, worker.passed)
    own[opt.FACTOR] = result[FACTOR]
    for turn in range(slices):
        index = task_in_turn(turn, worker, slices, plan)
        if not claim(shift(queue, (1 + index) * LINE), worker.passed + 1):
            continue
        if index == 0:
            result[LOSS] = step_loss(call, plan)
        own[opt.FIRST] = p * index // slices // UPDATE_UNIT * UPDATE_UNIT
        stop = p * (index + 1) // slices // UPDATE_UNIT * UPDATE_UNIT
        own[opt.STOP] = p if index == slices - 1 else stop
        if own[opt.STOP] > own[opt.FIRST]:
            call_address(0.0, update_address, (theta, grad, state, own))
        count_one(queue)
    worker.passed = worker.passed + slices


@inner
def _train(
    thread, update_address, theta, grad, state, hyper, rates, s, order, m, s_batch, buffer,
    last_buffer, results, hypers,
):  # fmt: skip
    """What one thread does of all batches."""
    made, own = 0, hypers[thread]
    call = call_in(buffer, pointer(theta))
    worker, queue = join(call, thread), work_queue(call)
    for i in range(opt.SIZE):
        own[i] = hyper[i]
    for first in range(0, order.size, m):
        result = results[first // m]
        rows = min(m, order.size - first)
        if rows < m:
            last = call_in(last_buffer, pointer(theta))
            if thread >= last.plan.workers:
                break
            spin_until(queue, worker.passed)
            leave(worker)
            call = last
            worker, queue = join(call, thread), work_queue(call)
        if s is not None:
            mine = _is_mine(worker, queue)
            if mine:
                result[WEIGHT] = _weight(s_batch, s, order, first, rows)
                call.sums[SCALE] = batch_scale(call, call.plan)
            _wait_for_it(worker, queue, mine)
            if result[WEIGHT] == 0.0:
                continue
        worker.order = shift(pointer(order), first)
        step(call, worker)
        if hyper[opt.CLIP_NORM] != 0.0:
            mine = _is_mine(worker, queue)
            if mine:
                result[FACTOR] = opt.factor_of(grad, hyper)
            _wait_for_it(worker, queue, mine)
        own[opt.LR] = rates[made]
        own[opt.STEPS] += 1.0
        _update(update_address, call, worker, theta, grad, state, own, result, queue)
        made += 1
    leave(worker)


@parallel_kernel
def train_steps_parallel(
    update_address, total, theta, grad, state, hyper, rates, x, y, s, order, x_batch, y_batch,
    s_batch, buffer, last_buffer, results, hypers,
):  # fmt: skip
    """`train_steps` by several threads; both plans are parallel. `results` has a row for each
    batch, `hypers` for each thread."""
    m, made = x_batch.shape[0], 0
    for b in range(results.shape[0]):
        results[b, WEIGHT], results[b, FACTOR] = float(min(m, order.size - b * m)), 1.0
    last = _bind(last_buffer, theta, grad, x, y, x_batch, y_batch, s_batch)
    open_queue(last, last.plan)
    call = _bind(buffer, theta, grad, x, y, x_batch, y_batch, s_batch)
    open_queue(call, call.plan)
    word = control_word()
    for thread in prange(call.plan.workers):
        own_word = control_word()
        set_control_word(word)
        _train(
            types.int64(thread), update_address, theta, grad, state, hyper, rates, s, order, m,
            s_batch, buffer, last_buffer, results, hypers,
        )  # fmt: skip
        set_control_word(own_word)
    for b in range(results.shape[0]):
        if results[b, WEIGHT] != 0.0:
            hyper[opt.LR] = rates[made]
            hyper[opt.STEPS] += 1.0
            total = add_exactly(total[0], total[1], results[b, LOSS] * results[b, WEIGHT])
            made += 1
    return total
