"""A table: named columns of numbers or text, and where each of its rows came from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np

_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.I
)
_GROUPS = r"[0-9]{1,3}([.,' \u00a0\u202f][0-9]{3})+([.,][0-9]+)?"
_AMOUNT = re.compile(rf"[+-]?[$€£¥]? ?[+-]?({_GROUPS}|[0-9]+([.,][0-9]+)?) ?[%$€£¥]?")
BOOLEANS = ["False", "True"]


@dataclass(eq=False)
class Column:
    """Values (n,) of numbers or booleans; of text, codes into `words`, -1 where a cell is missing.

    `missing` marks the cells without a number, but for NaN, which says so itself. `category`: the
    words are names, whatever they spell. `unusable` names a type that is neither numbers nor text:
    such a column may be there, unused.
    """

    values: np.ndarray
    missing: np.ndarray | None = None
    words: list[str] | None = None
    category: bool = False
    unusable: str = ""

    def absent(self) -> np.ndarray:
        """Which cells are missing, (n,)."""
        if self.words is not None:
            return self.values < 0
        if self.missing is not None and self.values.dtype.kind != "f":
            return self.missing
        nan = np.isnan(self.values)
        return nan if self.missing is None else nan | self.missing

    def take(self, rows) -> Column:
        """The cells of some rows; words that none of them has are no longer known."""
        values = self.values[rows]
        missing = None if self.missing is None else self.missing[rows]
        if self.words is None:
            return replace(self, values=values, missing=missing)
        used, codes = np.unique(values, return_inverse=True)
        lost = int((used < 0).sum())  # code -1 is the first, if any
        words = [self.words[code] for code in used[lost:]]
        return replace(self, values=codes.reshape(-1) - lost, missing=missing, words=words)

    def cell(self, row: int) -> str:
        """A cell as text."""
        if self.words is None:
            return str(self.values[row].item())
        if self.values[row] < 0:
            return "missing"
        word = self.words[self.values[row]]
        return repr(word if len(word) <= 60 else word[:60] + "...")


@dataclass(eq=False)
class Table:
    """Columns of one length by name; without names (`named` False) "0", "1", ... by position.

    `parts` are the files and their numbers of rows, in order; rows count from `first` in messages,
    in each file anew. `targets` are the columns that training or scoring takes for targets.
    `kept`: which rows of the files these are; None: all.
    """

    source: str
    columns: dict[str, Column]
    rows: int
    named: bool = True
    targets: list[str] = field(default_factory=list)
    parts: list[tuple[str, int]] = field(default_factory=list)
    first: int = 1
    decimal: str = "."
    kept: np.ndarray | None = None

    def where(self, row: int, column: str = "") -> str:
        """As "t.csv: row 3, column a"."""
        source = self.source
        if self.kept is not None:
            row = int(self.kept[row])
        for name, rows in self.parts:
            source = name
            if row < rows:
                break
            row -= rows
        return f"{source}: row {row + self.first}" + (f", column {column}" if column else "")

    def count(self, cells: np.ndarray) -> int:
        """How many cells of a column a mask picks."""
        return int(cells.sum())

    def inputs(self) -> list[str]:
        """The columns that are no targets."""
        return [name for name in self.columns if name not in self.targets]

    def complete(self, filled=()) -> Table:
        """The rows that have no missing cell but in the columns of `filled`."""
        absent = [c.absent() for name, c in self.columns.items() if name not in filled]
        rows = np.flatnonzero(~np.any(absent, axis=0)) if absent else np.arange(self.rows)
        if len(rows) == self.rows:
            return self
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=len(rows), kept=rows)


def text(codes: np.ndarray, values: list, category: bool = False) -> Column:
    """A column of text from codes into `values`, which may be equal once stripped, or None."""
    places: dict[str, int] = {}
    new = [
        -1 if value is None else places.setdefault(str(value).strip(), len(places))
        for value in values
    ]
    table = np.array([*new, -1], np.int64)  # the last is for code -1
    return Column(table[codes], words=list(places), category=category)


def number(word: str, decimal: str = ".") -> float | None:
    """The number that a cell spells, or None: "1_1", "12%" and "<1.0" are none."""
    word = word.strip()
    if decimal != ".":
        word = word.replace(".", "x").replace(decimal, ".")
    return float(word) if _NUMBER.fullmatch(word) else None


def numbers(table: Table, name: str, advice: str = "") -> np.ndarray:
    """A column as float64 (n,), NaN where a cell is missing; a ValueError where one is text.

    `advice` is what to do about the cell.
    """
    column = table.columns[name]
    if column.unusable:
        raise ValueError(
            f"{table.source}: column {name} holds {column.unusable}; expected numbers, text or "
            f"true and false"
        )
    if column.words is not None:
        found = [number(word, table.decimal) for word in column.words]
        if None in found:
            raise ValueError(_odd_cell(table, name, found, advice))
        return np.array([*found, np.nan])[column.values]
    values = column.values.astype(np.float64)
    if column.missing is not None:
        values[column.missing] = np.nan
    return values


def share_of_numbers(column: Column, decimal: str = ".") -> float:
    """Of the cells of text that are not missing, how many are numbers; "007" is a name."""
    if column.category:
        return 0.0
    found = [number(w, decimal) is not None and not is_label(w) for w in column.words]
    present = column.values[column.values >= 0]
    return float(np.array([*found, False])[present].mean()) if len(present) else 0.0


def is_label(word: str) -> bool:
    """Whether digits have a leading zero, as in a postal code."""
    return re.match(r"[+-]?0[0-9]", word) is not None


def written_amount(table: Table, name: str) -> str:
    """Of a column of text all whose cells are numbers, some with thousands separators, a currency
    or a percent sign: what to say of the first of these; else "", as for decimal commas."""
    column = table.columns[name]
    words = column.words or []
    if column.category or len(words) < 3 or any(map(is_label, words)):
        return ""
    odd = [word for word in words if number(word, table.decimal) is None]
    if not odd or not all(map(_AMOUNT.fullmatch, odd)):
        return ""
    commas = all(number(word, ",") is not None for word in odd)
    if commas and not all(re.fullmatch(_GROUPS, word) for word in odd):
        return ""
    marked = set(odd)
    found = np.array([*(word in marked for word in words), False])[column.values]
    row = int(np.argmax(found))
    return (
        f"{table.where(row, name)}: {column.cell(row)}; expected a number without thousands "
        f"separators, currency or percent signs"
        f"{' (--decimal , if it is a decimal comma)' if commas else ''}"
    )


def _odd_cell(table: Table, name: str, found: list, advice: str) -> str:
    column = table.columns[name]
    odd = np.array([value is None for value in found] + [False])[column.values]
    row, numeric = int(np.argmax(odd)), table.count(~odd & (column.values >= 0))
    comma = ""
    if table.decimal == "." and number(column.words[column.values[row]], ",") is not None:
        comma = "a decimal comma? --decimal , reads it; else "
    advice = advice or (
        "correct it, leave the row or the column out, or name it in --nulls if it means missing"
    )
    return (
        f"{table.where(row, name)}: {column.cell(row)}; expected a number ({numeric} of "
        f"{table.rows} cells are): {comma}{advice}"
    )
