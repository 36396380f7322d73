"""Whole stretches of minibatch training in compiled code.

In: the addresses of two compiled kernels (a network step, serial or parallel, and an optimiser's
update), the data, the order of the rows. Out: parameters and optimiser state after `count` whole
steps, and the sum of their losses. For each batch: gather its rows into a contiguous buffer, one
network step, one update. All batches of a call have one size, so one plan; a shorter last batch is
a call of its own.
"""

from __future__ import annotations

import math

from . import optimizers as opt
from .calls import call
from .jit import inner, kernel


@inner
def _gather(x_out, y_out, s_out, x, y, s, order, first, weighted):
    """Rows order[first], ... of x (n, d), y (n * k,) and, if `weighted`, s (n,)."""
    m, d = x_out.shape
    k = y_out.size // m
    for i in range(m):
        row = order[first + i]
        for j in range(d):
            x_out[i, j] = x[row, j]
        for j in range(k):
            y_out[i * k + j] = y[row * k + j]
    if weighted:
        for i in range(m):
            s_out[i] = s[order[first + i]]


@inner
def _near_one(s, total):
    """Weights of a very small sum times a power of two that brings the largest near 1: the network
    divides by their sum, and only their ratios count."""
    if total >= (1e-30 if s.itemsize == 4 else 1e-290):
        return
    most = s[0]
    for i in range(s.size):
        most = max(most, s[i])
    _, power = math.frexp(most)
    for i in range(s.size):
        s[i] = math.ldexp(s[i], -power)


@kernel
def train_steps(
    step_address, update_address, total, theta, grad, state, hyper, rates, x, y, s, weighted,
    order, start, count, x_batch, y_batch, s_batch, dx, buffer,
):  # fmt: skip
    """`count` steps; returns `total` plus their (batch loss * rows, or * sum of weights).

    The running total comes in, so that its rounding does not depend on how steps make up calls.

    Batch b has the rows order[start + b * m], ... and the learning rate rates[b].
    """
    m = x_batch.shape[0]
    total = float(total)
    for b in range(count):
        _gather(x_batch, y_batch, s_batch, x, y, s, order, start + b * m, weighted)
        share = float(m)
        if weighted:
            share = 0.0
            for i in range(m):
                share += s_batch[i]
            if share == 0.0:  # nothing counts here: no gradient, no step
                continue
            _near_one(s_batch, share)
        hyper[opt.LR] = rates[b]
        loss = call(0.0, step_address, (theta, theta, x_batch, y_batch, s_batch, grad, dx, buffer))
        call(0.0, update_address, (theta, grad, state, hyper))
        total += loss * share
    return total
