"""The different values of a column that comes block by block: how often, and where the first is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .encode import MANY
from .table import Column, Table

_CELLS = 10_000  # that stand for all of a column, in the same shares


@dataclass(eq=False)
class _Standing(Table):
    """A column whose cells stand for those of many files, each for `shares` of them; `places` are
    where they come first."""

    places: list[str] = field(default_factory=list)
    shares: np.ndarray | None = None

    def where(self, row: int, column: str = "") -> str:
        return self.places[row] + (f", column {column}" if column else "")

    def count(self, cells: np.ndarray) -> int:
        return round(float(self.shares[cells].sum()))


class Distinct:
    """`counts` of the rows to train on, by value; values of rows held out are there with 0 or
    more. Once there are more than `most`, no more are gathered: `full`."""

    def __init__(self, name: str, force: bool):
        self.name, self.most = name, np.inf if force else MANY
        self.counts: dict[object, int] = {}
        self._all: dict[object, int] = {}
        self._places: dict[object, str] = {}
        self.rows = 0
        self.missing = 0  # of the rows to train on
        self.first_missing = ""
        self.category = self.numeric = False

    @property
    def full(self) -> bool:
        return len(self.counts) > self.most

    def add(self, column: Column, training, where) -> None:
        """Cells, which of their rows are to train on (None: all), and a row's place by number."""
        absent = column.absent()
        cells = np.ones(len(absent), bool) if training is None else training
        self.rows += len(cells)
        if absent.any():
            self.missing += int((absent & cells).sum())
            self.first_missing = self.first_missing or where(int(np.argmax(absent)))
        if self.full:
            return
        if column.words is None:
            self.numeric = True
            values, firsts, codes = np.unique(
                column.values[~absent], return_index=True, return_inverse=True
            )
            firsts, values = np.flatnonzero(~absent)[firsts], values.tolist()
            codes, cells = codes.reshape(-1), cells[~absent]
        else:
            self.category |= column.category
            values = column.words
            present = column.values >= 0
            codes, cells = column.values[present], cells[present]
            firsts = np.full(len(values), -1)
            rows = np.flatnonzero(present)[::-1]
            firsts[column.values[rows]] = rows
        counts = np.bincount(codes, minlength=len(values)).tolist()
        trained = np.bincount(codes[cells], minlength=len(values)).tolist()
        for value, count, kept, first in zip(values, counts, trained, firsts.tolist()):
            if not count:
                continue
            if value not in self.counts:
                self._places[value] = where(first)
            self.counts[value] = self.counts.get(value, 0) + kept
            self._all[value] = self._all.get(value, 0) + count

    def table(self, source: str, rows: int, decimal: str) -> Table:
        """A table of this column alone that has its values, its text in about the same shares."""
        values = list(self.counts)
        places = [self._places[value] for value in values]
        if self.numeric:
            column = Column(np.array(values))
            cells, shares = np.arange(len(values)), np.array(list(self._all.values()))
        else:
            counts = np.array([self._all[value] for value in values], np.float64)
            few = np.maximum(1, np.rint(counts * (_CELLS / max(counts.sum(), 1))))
            cells = np.repeat(np.arange(len(values)), few.astype(np.int64))
            shares = (counts / few)[cells]
            column = Column(cells, words=values, category=self.category)
        return _Standing(
            source, {self.name: column}, rows, targets=[self.name], decimal=decimal,
            places=[places[cell] for cell in cells], shares=shares,
        )  # fmt: skip
