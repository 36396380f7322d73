"""The one way from checked arrays into a step: lease a workspace, fill the CALL, go serial or
parallel, give it back.

After a call whose arrays have been checked in Python the next may take the fast path
(`fast_path.py`).
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ..kernels import tuning
from ..kernels.engine import parallel_step, serial_step
from ..kernels.jit import place_of
from ..kernels.records import CALL
from ..kernels.stack import parallel_stack, serial_stack
from . import threads as _threads
from .choice import CallChoice
from .csr import sorts_entries


def run(plan, kernel, arrays, threads=None, beside=None):
    """A step: `kernel`, one of `bind.run_*`, of checked arrays, whose first is of the plan's dtype.

    threads: the call's own bound (None: the process's); beside: reads from the workspace what the
    kernel returns besides the loss.
    """
    buffer = plan.lease()
    try:
        if not plan.parallel and threads is None:
            return kernel(buffer, *arrays, True)
        kernel(buffer, *arrays, False)
        args = arrays[0], buffer
        loss = _threads.launch(
            serial_step, parallel_step, plan.parallel, threads, args, plan.choice
        )
        return (loss, beside(buffer, arrays[0])) if beside else loss
    finally:
        plan.free.append(buffer)


_without_threads = [0.0]  # seconds of predictions, while the parallel kernel was not compiled
_compiled: set = set()  # dtypes for which it is


def run_outputs(plan, kernel, arrays, flops: int, threads=None) -> None:
    """`run` of a prediction: serial until its work is worth compiling the parallel kernel for."""
    if not plan.parallel or _is_worth_code(arrays[0], flops):
        run(plan, kernel, arrays, threads)
        return
    if threads is not None:
        _threads.check_threads(threads)
    began = perf_counter()
    run(plan, kernel, arrays, 1)
    _without_threads[0] += perf_counter() - began


def _is_worth_code(like, flops: int) -> bool:
    if like.dtype not in _compiled:
        waited = flops / tuning.FLOPS_PER_SECOND + _without_threads[0]
        if waited < tuning.TRIAL_AFTER["nowhere"]:
            if place_of(parallel_step, (like, np.zeros(1))) == "nowhere":
                return False
        _compiled.add(like.dtype)
    return True


def run_stack(plan, kernel, losses, flops, stride, arrays_of, threads=None) -> None:
    """The plan's step for each network of a stack, whose loss goes to `losses` (m,).

    kernel: as in `run`; flops: of one step; stride: of arrays, by positions of CALL, the bytes from
    one network's to the next one's; arrays_of: the kernel's arrays of network i.

    Threads take whole networks; a last round that would leave many of them idle is made one by one
    with threads inside, where the plan has tasks for them. The bits are the same.
    """
    m, bound = len(losses), _threads.bound(threads)
    # Where entries of sparse rows are sorted there is room for those of one network.
    whole = 0 if sorts_entries(plan) else whole_rounds(m, bound, plan)
    if whole:
        _share(plan, kernel, losses[:whole], flops, stride, arrays_of(0), threads, bound)
    for i in range(whole, m):
        losses[i] = run(plan, kernel, arrays_of(i), threads)


def whole_rounds(m: int, threads: int, plan) -> int:
    """How many of m networks whose steps have this plan threads take whole; the rest are fewer than
    the threads, who do better inside them."""
    rest = m % threads
    inside = plan.parallel and rest < tuning.INSIDE * min(threads, plan.workers)
    return m - rest if inside else m


def _share(plan, kernel, losses, flops, stride, arrays, threads, bound) -> None:
    flops += tuning.STEP_FLOPS
    least = tuning.ASLEEP_FLOPS if _threads.threads_sleep() else tuning.PARALLEL_FLOPS
    workers = min(bound, losses.size) if losses.size * flops >= least else 1
    count = max(1, min(losses.size // (4 * workers), int(tuning.PARALLEL_FLOPS // flops)))
    strides = np.zeros(CALL.size, np.int64)
    for field, step in stride.items():
        strides[field] = step
    buffers = [plan.lease() for _ in range(workers)]
    try:
        kernel(buffers[0], *arrays, False)
        first = buffers[0].view(np.int64)[: CALL.size].copy()
        places = np.array([buffer.__array_interface__["data"][0] for buffer in buffers])
        args = losses, arrays[0], first, strides, np.zeros(1, np.int64), count, places
        choice = _choice(plan, losses.size) if workers > 1 else None
        _threads.launch(serial_stack, parallel_stack, workers > 1, threads, args, choice)
    finally:
        plan.free.extend(buffers)


def _choice(plan, m: int) -> CallChoice:
    """Whether threads pay for a stack of m networks, which takes its own time."""
    if m not in plan.choices:
        if len(plan.choices) >= tuning.STACK_CHOICES:
            plan.choices.clear()
        plan.choices[m] = CallChoice()
    return plan.choices[m]
