"""The one way from checked arrays into a step: lease a workspace, fill the CALL, go serial or
parallel, give it back; and the fast path, which leaves the checks to compiled code too.

A call whose arrays have been checked in Python ends in `run`. After it, `FastPath.open` prepares
what the next call of this kind needs: a kernel compiled for these types of arguments and nothing
else, which binds, checks and runs by itself, and refuses what does not fit. Then the checks in
Python say what is wrong.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ..kernels import tuning
from ..kernels.calls import address_of
from ..kernels.engine import parallel_step, serial_step
from ..kernels.fast_path import REFUSED
from ..kernels.records import CALL
from ..kernels.stack import parallel_stack, serial_stack
from . import threads as _threads

NOT_OPEN = (TypeError, RuntimeError)  # what a call for which the fast path is not open ends with


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


def run_stack(plan, kernel, losses, flops, stride, arrays_of, threads=None) -> None:
    """The plan's step for each network of a stack, whose loss goes to `losses` (m,).

    kernel: as in `run`; flops: of one step; stride: of arrays, by positions of CALL, the bytes from
    one network's to the next one's; arrays_of: the kernel's arrays of network i.

    Threads take whole networks; a last round that would leave many of them idle is made one by one
    with threads inside, where the plan has tasks for them. The bits are the same.
    """
    m, bound = len(losses), _threads.bound(threads)
    whole = whole_rounds(m, bound, plan)
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
        _threads.launch(serial_stack, parallel_stack, workers > 1, threads, args)
    finally:
        plan.free.extend(buffers)


class FastPath:
    """Into one pair of kernels, for one set of argument types.

    A plan that is not parallel is run by `brief`; a parallel one by `launch`.
    """

    def __init__(self, parallel, brief, long):
        self._parallel, self._brief, self._long = parallel, brief, long
        self._address = [0, 0]  # of the parallel kernel; whether serial ones are open to `long`

    def open(self, plan, parallel_args, *given) -> bool:
        """For plans like this one, under the rules of `threads.launch` as they are now.

        parallel_args: of the parallel kernel; given: one or several tuples of arguments of the fast
        kernels. False if it cannot be opened.
        """
        if not plan.parallel:
            for arguments in given:
                self._brief.allow(arguments)
        elif not self._address[0 if _threads.goes_parallel() else 1]:
            if not _threads.start_threads():
                return False
            for arguments in given:
                self._long.allow((1, 1, *arguments))
            self._address[1] = 1
            if _threads.goes_parallel():
                self._address[0] = address_of(self._parallel, parallel_args)
        return True

    def launch(self, plan, args):
        """A parallel plan's step, by the rules of `threads.launch`; one of NOT_OPEN if it is not
        open for them, or if another thread has the threads."""
        (address, is_open), choice = self._address, plan.choice
        wanted = choice.parallel()
        threads = _threads.take_threads() if wanted else 1
        began = perf_counter()
        if threads > 1 and address:
            try:
                result = self._long.call(address, threads, *args)
            finally:
                _threads.return_threads()
        elif threads == 1 and is_open:
            result = self._long.call(0, 0, *args)
        else:
            if threads > 1:
                _threads.return_threads()
            raise TypeError("no call of this kind was checked in Python yet, or threads are taken")
        loss = result[0] if type(result) is tuple else result
        if loss != REFUSED and (threads > 1 or not wanted):
            choice.took(threads > 1, perf_counter() - began)
        return result
