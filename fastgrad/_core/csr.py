"""A sparse X as kernels take it: three arrays that were checked (`check.sparse_rows`), and views.

Rows are found by their pointers, so some rows of an X are the same arrays with fewer pointers, and
rows in another order need no copy at all.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..kernels import validate
from ..kernels.records import PLAN

_MOST = 2**31  # entries of a chunk, which are counted in int32


class Csr:
    """X (n, d) in CSR; `data`, `indices` and `indptr` are plain arrays."""

    def __init__(self, data, indices, indptr, columns: int):
        self.data, self.indices, self.indptr = data, indices, indptr
        self.shape = (indptr.size - 1, columns)
        self.dtype = data.dtype

    @classmethod
    def of_no_entries(cls, rows: int, columns: int, dtype) -> Csr:
        indptr = np.zeros(rows + 1, np.int64)
        return cls(np.zeros(0, dtype), indptr[:0], indptr, columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> Csr:
        """Consecutive rows, as a slice, without a copy; or those of an array of numbers."""
        if not isinstance(rows, slice):
            return self._taken(rows)
        start, stop, _ = rows.indices(len(self))
        return Csr(self.data, self.indices, self.indptr[start : stop + 1], self.shape[1])

    def _taken(self, rows: np.ndarray) -> Csr:
        counts = (self.indptr[rows + 1] - self.indptr[rows]).astype(np.int64, copy=False)
        indptr = np.concatenate(([0], np.cumsum(counts)))
        places = np.repeat(self.indptr[rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return Csr(self.data[places], self.indices[places], indptr, self.shape[1])

    def without_duplicates(self) -> Csr:
        """The same rows with every column once: itself, if that is so."""
        if validate.first_row_out_of_order(self.indices, self.indptr) < 0:
            return self
        start, stop = int(self.indptr[0]), int(self.indptr[-1])
        numbers = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        order = np.lexsort((self.indices[start:stop], numbers))
        columns, numbers = self.indices[start:stop][order], numbers[order]
        first = np.ones(order.size, bool)
        first[1:] = (np.diff(columns) != 0) | (np.diff(numbers) != 0)
        if first.all():
            return self
        places = np.flatnonzero(first)
        data = np.add.reduceat(self.data[start:stop][order], places)
        indptr = np.searchsorted(numbers[places], np.arange(len(self) + 1))
        return Csr(data, columns[places], indptr.astype(np.int64, copy=False), self.shape[1])

    def arrays(self):
        """With their names, as errors show them."""
        names = ("X.data", "X.indices", "X.indptr")
        return zip((self.data, self.indices, self.indptr), names)

    def parts(self, entries: np.ndarray) -> tuple:
        """`kernels.bind.SPARSE_PARTS`; one machine code whatever the integers are."""
        return (
            self.data, self.indices.view(np.uint8), self.indptr.view(np.uint8), entries,
            self.indices.itemsize, self.indptr.itemsize, int(self.indptr[-1]) - 1,
        )  # fmt: skip

    def most_entries(self, rows: int) -> int:
        """Of so many consecutive rows, from the first on."""
        bounds = np.append(self.indptr[:-1:rows], self.indptr[-1])
        return int(np.diff(bounds).max(initial=0))

    def lengths(self, order) -> np.ndarray:
        """Entries of each row of `order`."""
        return (self.indptr[order + 1] - self.indptr[order]).astype(np.int64, copy=False)


def named_arrays(X):
    """The arrays of a checked X, dense or sparse, with their names."""
    return X.arrays() if type(X) is Csr else [(X, "X")]


def sorts_entries(plan) -> bool:
    """Whether a step needs room for the entries of a chunk."""
    return plan.vector[PLAN.buckets] > 0


def _room(plan, entries: int) -> np.ndarray:
    """An array of those that the plan keeps, or a larger one in its place."""
    if entries >= _MOST:
        raise ValueError(
            f"X has {entries} stored entries in {plan.vector[PLAN.chunk_rows]} rows; expected "
            f"fewer than {_MOST}: pass fewer rows at a time"
        )
    try:
        room = plan.entries.pop()
    except IndexError:
        room = None
    if room is None or room.size < 2 * entries:
        room = np.empty(2 * entries + entries // 4, plan.dtype)
    return room


@contextmanager
def bound_rows(plan, X):
    """X as a kernel's argument: an array itself, or a `Csr`'s parts with room for the entries of a
    chunk where dW needs it."""
    if type(X) is not Csr:
        yield X
        return
    needed = sorts_entries(plan)
    with _parts(plan, X, X.most_entries(int(plan.vector[PLAN.chunk_rows])) if needed else 0) as x:
        yield x


@contextmanager
def bound_batches(plan, last, X, order):
    """The same of rows in `order`, batches of the plan's rows; the last may have a plan of its own,
    else `last` is the plan."""
    if type(X) is not Csr:
        yield X
        return
    rows = int(plan.vector[PLAN.n])
    rest = order.size % rows
    parts = [(plan, order[: order.size - rest]), (last, order[order.size - rest :])]
    needed = max(_most_of_batches(*part, X) for part in parts)
    with _parts(plan if sorts_entries(plan) else last, X, needed) as x:
        yield x


def _most_of_batches(plan, order, X) -> int:
    """Entries of a chunk of a batch, where a step needs room for them."""
    if not order.size or not sorts_entries(plan):
        return 0
    rows, chunk = (int(plan.vector[place]) for place in (PLAN.n, PLAN.chunk_rows))
    starts = np.arange(0, order.size, rows)[:, None] + np.arange(0, rows, chunk)
    return int(np.add.reduceat(X.lengths(order), starts.ravel()).max())


@contextmanager
def _parts(plan, X, entries: int):
    room = _room(plan, entries) if entries else np.empty(0, plan.dtype)
    try:
        yield X.parts(room)
    finally:
        if entries:
            plan.entries.append(room)
