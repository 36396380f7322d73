"""Whole stretches of minibatch training in compiled code, by one thread or by several.

In: the addresses of two compiled kernels (a network step and an optimiser's update), the data, the
order of the rows. Out: parameters and optimiser state after a step for each batch, and the sum of
their losses. For each batch: one network step, which gathers its rows block by block, and one
update. All batches have one size, so one plan, but a shorter last one: the rest, with its own.

Threads stay for all steps of a call and share the tasks of a step and slices of the update after it
(`sharing.py`). What a task computes does not depend on who does it, so neither do the bits.
"""

from __future__ import annotations

import math

from numba import prange, types

from . import layout as at
from . import optimizers as opt
from .calls import call
from .jit import inner, kernel, parallel_kernel
from .network import batch_scale, open_tasks, own_plan, plan_of, step_loss, turn_of
from .rounding import control_word, set_control_word
from .sharing import claim, count_one, wait_until
from .simd import integers, shift
from .sums import add_exactly, settled

SLICE = 16  # a slice of the update is a multiple of it
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
def _weight(s_out, s, order, first, m, weighted):
    """What a batch counts: its rows, or the sum of its weights, which are gathered into s_out."""
    if not weighted:
        return float(m)
    total = lost = 0.0
    for i in range(m):
        s_out[i] = s[order[first + i]]
        total, lost = add_exactly(total, lost, float(s_out[i]))
    total = settled(total, lost)
    if total != 0.0:
        _near_one(s_out, m, total)
    return total


@inner
def _point_to(plan, x, y, order, first):
    """The rows that the next step gathers."""
    plan[at.ORDER] = types.int64(order.ctypes.data) + 8 * first
    plan[at.X_FROM], plan[at.Y_FROM] = x.ctypes.data, y.ctypes.data


@kernel
def train_steps(
    step_address, update_address, total, theta, grad, state, hyper, rates, x, y, s, weighted,
    order, x_batch, y_batch, s_batch, dx, buffer, rest_buffer, results, hypers,
):  # fmt: skip
    """The batches of `order`; returns `total` plus their (loss * rows, or * sum of weights).

    The running total, a pair as `add_exactly` has it, comes in, so that its rounding does not
    depend on how steps make up calls.

    Batch b has the rows order[b * m], ... (int64), m as x_batch has; the rest, if there is one, has
    the workspace `rest_buffer`. Step i has the learning rate rates[i]: a batch whose weights are
    all 0 is no step. `results` and `hypers` are the parallel twin's.
    """
    m, made = x_batch.shape[0], 0
    for first in range(0, order.size, m):
        rows = min(m, order.size - first)
        weight = _weight(s_batch, s, order, first, rows, weighted)
        if weight == 0.0:
            continue
        view = buffer if rows == m else rest_buffer
        plan, _ = plan_of(view)
        _point_to(plan, x, y, order, first)
        loss = call(0.0, step_address, (theta, theta, x_batch, y_batch, s_batch, grad, dx, view))
        plan[at.ORDER] = 0
        hyper[opt.LR] = rates[made]
        call(0.0, update_address, (theta, grad, state, hyper))
        total = add_exactly(total[0], total[1], loss * weight)
        made += 1
    return total


@inner
def _is_mine(plan, done):
    """Whether this thread does the only task of a stage."""
    wait_until(done, plan[at.PASSED])
    return claim(shift(done, at.LINE), plan[at.PASSED] + 1)


@inner
def _wait_for_it(plan, done, mine):
    """Leave that stage behind."""
    if mine:
        count_one(done)
    plan[at.PASSED] += 1
    wait_until(done, plan[at.PASSED])


@inner
def _update(update_address, thread, theta, grad, state, own, result, plan, workspace64, done):
    """This thread's slices of the optimiser's step, and the loss."""
    p, slices = theta.size, plan[at.SLICES]
    wait_until(done, plan[at.PASSED])
    own[opt.FACTOR] = result[FACTOR]
    for turn in range(slices):
        index = turn_of(turn, thread, slices, plan)
        if not claim(shift(done, (1 + index) * at.LINE), plan[at.PASSED] + 1):
            continue
        if index == 0:
            result[LOSS] = step_loss(workspace64[at.SCALE], workspace64, plan)
        own[opt.FIRST] = p * index // slices // SLICE * SLICE
        own[opt.STOP] = p if index == slices - 1 else p * (index + 1) // slices // SLICE * SLICE
        if own[opt.STOP] > own[opt.FIRST]:
            call(0.0, update_address, (theta, grad, state, own))
        count_one(done)
    plan[at.PASSED] += slices


@inner
def _join(thread, buffer):
    """(workspace, plan, float64 part, counter of tasks done) as this thread sees them."""
    view = own_plan(thread, buffer)
    plan, workspace64 = plan_of(view)
    return view, plan, workspace64, integers(shift(workspace64, plan[at.DONE]))


@inner
def _train(
    thread, step_address, update_address, theta, grad, state, hyper, rates, x, y, s, weighted,
    order, x_batch, y_batch, s_batch, dx, buffer, rest_buffer, results, hypers,
):  # fmt: skip
    """What one thread does of all batches."""
    m, made, own = x_batch.shape[0], 0, hypers[thread]
    view, plan, workspace64, done = _join(thread, buffer)
    for i in range(opt.SIZE):
        own[i] = hyper[i]
    for first in range(0, order.size, m):
        result = results[first // m]
        rows = min(m, order.size - first)
        if rows < m:
            if thread >= plan_of(rest_buffer)[0][at.SCRATCHES]:
                return
            wait_until(done, plan[at.PASSED])
            view, plan, workspace64, done = _join(thread, rest_buffer)
        if weighted:
            mine = _is_mine(plan, done)
            if mine:
                result[WEIGHT] = _weight(s_batch, s, order, first, rows, True)
                workspace64[at.SCALE] = batch_scale(s_batch, plan)
            _wait_for_it(plan, done, mine)
            if result[WEIGHT] == 0.0:
                continue
        _point_to(plan, x, y, order, first)
        call(0.0, step_address, (theta, theta, x_batch, y_batch, s_batch, grad, dx, view))
        if hyper[opt.CLIP_NORM] != 0.0:
            mine = _is_mine(plan, done)
            if mine:
                result[FACTOR] = opt.factor_of(grad, hyper)
            _wait_for_it(plan, done, mine)
        own[opt.LR] = rates[made]
        own[opt.STEPS] += 1.0
        _update(update_address, thread, theta, grad, state, own, result, plan, workspace64, done)
        made += 1


@parallel_kernel
def train_steps_parallel(
    step_address, update_address, total, theta, grad, state, hyper, rates, x, y, s, weighted,
    order, x_batch, y_batch, s_batch, dx, buffer, rest_buffer, results, hypers,
):  # fmt: skip
    """`train_steps` by several threads; both plans are parallel. `results` has a row for each
    batch, `hypers` for each thread."""
    m, made = x_batch.shape[0], 0
    for b in range(results.shape[0]):
        results[b, WEIGHT], results[b, FACTOR] = float(min(m, order.size - b * m)), 1.0
    open_tasks(s_batch, buffer)
    open_tasks(s_batch, rest_buffer)
    plan, _ = plan_of(buffer)
    word = control_word()
    for thread in prange(plan[at.SCRATCHES]):
        own_word = control_word()
        set_control_word(word)
        _train(
            types.int64(thread), step_address, update_address, theta, grad, state, hyper, rates,
            x, y, s, weighted, order, x_batch, y_batch, s_batch, dx, buffer, rest_buffer, results,
            hypers,
        )  # fmt: skip
        set_control_word(own_word)
    for b in range(results.shape[0]):
        if results[b, WEIGHT] != 0.0:
            hyper[opt.LR] = rates[made]
            hyper[opt.STEPS] += 1.0
            total = add_exactly(total[0], total[1], results[b, LOSS] * results[b, WEIGHT])
            made += 1
    return total
