"""Workspaces: what a step's kernel writes beside the user's arrays, kept for the next step.

A workspace is one buffer, leased for a step. A plan keeps as many as were ever in use at once; but
where all plans together keep too much, those that made theirs longest ago let go of them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np

from ..kernels import tuning
from ..kernels.jit import jitable
from ..kernels.records import CALL, LINE, WORKER_STRIDE
from ..kernels.simd import VECTOR_BYTES
from .choice import CallChoice

_makers: dict = {}  # plans (weak references) by id, in the order in which they last made one
_since = 0  # bytes made since all were last looked at


@jitable
def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


@jitable
def workspace_layout(length, workers, doubles, elements, itemsize):
    """(first word of the workers, of the plan, of the sums, of the work, words in all), of a plan
    of `length` words; the CALL comes first. Whole vectors."""
    first_worker = round_up(CALL.size, LINE)
    plan = first_worker + workers * WORKER_STRIDE
    sums = plan + round_up(length, LINE)
    work = round_up(sums + doubles, VECTOR_BYTES // 8)
    words = round_up(work + -(-elements * itemsize // 8), VECTOR_BYTES // 8)
    return first_worker, plan, sums, work, words


@jitable
def write_workspace(words, start, layout, vector):
    """The records in a new workspace: `words`, as int64, at the address `start`."""
    first_worker, plan, sums, work, _ = layout
    words[:sums] = 0
    words[plan : plan + vector.size] = vector
    words[CALL.worker], words[CALL.plan] = start + 8 * first_worker, start + 8 * plan
    words[CALL.sums], words[CALL.work] = start + 8 * sums, start + 8 * work


@dataclass(eq=False)
class Plan:
    """A step's PLAN, and workspaces for it: CALL, WORKERs, the PLAN, float64 numbers, then numbers
    of the parameters' type."""

    vector: np.ndarray
    parallel: bool
    dtype: np.dtype
    elements: int
    doubles: int
    cleared: int = 0  # elements that begin as zeros: an idle lane must not hold a subnormal, which
    # costs some processors 100 cycles an operation
    workers: int = 1
    scalars: tuple[float, ...] = ()
    free: list = field(default_factory=list)  # a lease ends with `free.append(workspace)`
    choice: CallChoice = field(default_factory=CallChoice)
    choices: dict = field(default_factory=dict)  # the same for stacks, by their sizes
    entries: list = field(default_factory=list)  # room for those of sparse rows (`csr.py`)

    def lease(self) -> np.ndarray:
        """A workspace that nobody else uses."""
        try:
            return self.free.pop()
        except IndexError:
            return self._new_workspace()

    def __post_init__(self):
        self._layout = workspace_layout(
            self.vector.size, self.workers, self.doubles, self.elements, self.dtype.itemsize
        )

    @property
    def words(self) -> int:
        """Of a workspace."""
        return int(self._layout[4])

    def _new_workspace(self) -> np.ndarray:
        _let_go(self, 8 * self.words)
        return self.workspaces(1)[0]

    def workspaces(self, count: int) -> np.ndarray:
        """(count, words): new ones, at addresses of whole vectors."""
        words, (_, _, sums, work, _) = self.words, self._layout
        unit = VECTOR_BYTES // 8
        memory = np.empty(count * words + unit)
        start = -(memory.__array_interface__["data"][0] // 8) % unit
        rows = memory[start : start + count * words].reshape(count, words)
        start = rows.__array_interface__["data"][0]
        for number, row in enumerate(rows):
            write_workspace(
                row.view(np.int64), start + 8 * words * number, self._layout, self.vector
            )
            row[sums : sums + len(self.scalars)] = self.scalars
            row[work:].view(self.dtype)[: self.cleared] = 0
        return rows


def _let_go(plan: Plan, size: int) -> None:
    """Before a plan makes a workspace of `size` bytes: the oldest that are too much, now and then.

    Without a lock, which a child made by `fork` could find locked: every step is one operation.
    """
    global _since
    key = id(plan)
    _makers.pop(key, None)
    _makers[key] = weakref.ref(plan, lambda _: _makers.pop(key, None))
    _since += size
    if _since < tuning.IDLE_BYTES // 4:
        return
    _since, idle = 0, 0
    for place, reference in enumerate(reversed(list(_makers.values()))):
        other = reference()
        if other is not None:
            idle += sum(buffer.nbytes for buffer in [*other.free, *other.entries])
            if idle > tuning.IDLE_BYTES and place >= tuning.KEPT_PLANS:
                other.free.clear()
                other.entries.clear()
