"""The fast path: a call like one that was checked in Python leaves its checks to compiled code.

After a call whose arrays were checked, `FastPath.open` prepares what the next one of this size
needs: kernels (`kernels/fast_path.py`) compiled for these types of arguments and nothing else,
which bind, check and run by themselves, and refuse what does not fit. Then the checks in Python say
what is wrong. On 8-64-64-3 with a few rows that is more than half of the time of a call, on 128
rows of 64-128-10 a tenth.
"""

from __future__ import annotations

from time import perf_counter

from ..kernels import tuning
from ..kernels.calls import address_of
from ..kernels.engine import parallel_step
from ..kernels.fast_path import REFUSED
from . import threads as _threads

_NOT_OPEN = (TypeError, RuntimeError)  # what a call for which a kernel is not open ends with


class FastPath:
    """Into one pair of kernels: `brief` makes the steps of a plan that is not parallel, `long`
    those of a parallel one."""

    def __init__(self, brief, long, most: int = 32, refused=REFUSED):
        """most: sizes that it is kept open for; refused: what the kernels return then."""
        self._brief, self._long, self._most, self._refused = brief, long, most, refused
        self._call = brief.call
        self._checked = 0  # calls
        self._address = [0, 0]  # of the parallel kernel; whether serial ones are open to `long`
        self.plans: dict = {}  # by what tells sizes apart

    def call(self, key, *arguments):
        """What the kernel returns; None where it is not open for these arguments or refuses."""
        plan = self.plans.get(key)
        if plan is None:
            return None
        free = plan.free
        try:  # as `plan.lease()`, which costs 50 ns as a call
            buffer = free.pop()
        except IndexError:
            buffer = plan.lease()
        try:
            if plan.parallel:
                result = self.launch(plan, (*arguments, buffer))
            else:
                result = self._call(*arguments, buffer)
        except _NOT_OPEN:
            result = self._refused
        free.append(buffer)
        return None if result == self._refused else result

    def open(self, key, plan, *given) -> None:
        """For calls like this one, whose arguments have been checked: one or several tuples.

        Not after the very first: it may be the only one, and would compile kernels for nothing.
        """
        self._checked += 1
        if self._checked <= tuning.FAST_PATH_AFTER:
            return
        buffer = plan.lease()
        try:
            if self._allow(plan, [(*arguments, buffer) for arguments in given]):
                if len(self.plans) >= self._most:
                    self.plans.clear()
                self.plans[key] = plan
        finally:
            plan.free.append(buffer)

    def _allow(self, plan, given) -> bool:
        """Under the rules of `threads.launch` as they are now; False if it cannot be opened."""
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
                first, *_, buffer = given[0]
                self._address[0] = address_of(parallel_step, (first, buffer))
        return True

    def launch(self, plan, args):
        """A parallel plan's step, by the rules of `threads.launch`; one of _NOT_OPEN if it is not
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
        if result != self._refused and (threads > 1 or not wanted):
            choice.took(threads > 1, perf_counter() - began)
        return result
