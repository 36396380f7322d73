"""Columns → inputs of a network: numbers as they are, text and booleans one-hot, missing cells
filled.

What is learnt from the training rows is an `Encoding` a column; the model keeps it and applies it
by name, so that training, prediction and scoring cannot differ.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass

import numpy as np

from ..datasets.prepare import moments
from .table import BOOLEANS, Column, Table, numbers, share_of_numbers, text, written_amount

MANY = 1000  # distinct values that are never taken for classes or text unasked
FEW = 50  # that always are; between these they are where each comes four times on average


@dataclass(frozen=True)
class Encoding:
    """How a column becomes inputs.

    `values`: an input each, 1 where the cell is this value; None for numbers. `fill` is what a
    missing number becomes, and of text all inputs; None: it is an error. `indicator`: one more
    input, 1 where the cell is missing. `unknown`: whether another value is an "error" or "zero" in
    all inputs.
    """

    values: tuple[str, ...] | None = None
    fill: float | None = None
    indicator: bool = False
    unknown: str = "error"

    @property
    def width(self) -> int:
        return (1 if self.values is None else len(self.values)) + self.indicator

    def as_dict(self) -> dict:
        """For JSON; `Encoding(**...)` is the way back."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __post_init__(self):
        values, fill = self.values, self.fill
        if values is not None:
            if isinstance(values, str) or not all(isinstance(v, str) for v in values) or not values:
                raise TypeError(f"values is {values!r}; expected names")
            if len(set(values)) < len(values):
                raise ValueError(f"values is {values!r}; expected every one once")
            object.__setattr__(self, "values", tuple(values))
        if fill is not None and not (type(fill) in (int, float) and np.isfinite(fill)):
            raise TypeError(f"fill is {fill!r}; expected a finite number")
        if not isinstance(self.indicator, bool) or self.unknown not in ("error", "zero"):
            raise ValueError(f"indicator is {self.indicator!r}, unknown {self.unknown!r}")


def too_many(distinct: int, rows: int) -> bool:
    """Whether so many values are no classes, and no text to encode, unless the user says so."""
    return distinct >= MANY or (distinct > FEW and 4 * distinct > rows)


def learn(table: Table, training, *, impute: bool, unknown: str, force: bool) -> dict:
    """Encodings by name of the inputs of a table, for columns that are not plain numbers.

    `training` are the rows from which means are taken.
    """
    learnt = {}
    _check_usable(table, force)
    for name in table.inputs():
        amount = "" if force else written_amount(table, name)
        if amount:
            raise ValueError(
                f"{amount}; leave it out with --drop, or take it for text with --force"
            )
        column = table.columns[name]
        _check_filled(table, name, impute)
        values, fill, absent = None, 0.0 if impute else None, bool(column.absent().any())
        if _is_text(table, name):
            used = np.unique(column.values[column.values >= 0])
            values = tuple(sorted(column.words[code] for code in used))
        elif column.values.dtype.kind == "b":
            values = tuple(BOOLEANS)
        elif impute:
            known = numbers(table, name)[training]
            known = known[np.isfinite(known)]
            fill = float(moments(known)[0]) if len(known) else 0.0
        if values is not None or impute:
            learnt[name] = Encoding(values, fill, absent, unknown)
    return learnt


def _check_usable(table: Table, force: bool) -> None:
    """One error for all columns that cannot be inputs, or only if the user says so."""
    columns = {name: table.columns[name] for name in table.inputs()}
    unusable = [name for name, column in columns.items() if column.unusable]
    distinct = {
        name: len(np.unique(column.values[column.values >= 0]))
        for name, column in columns.items()
        if column.words is not None and not force and not _spells_numbers(table, column)
    }
    many = [name for name, count in distinct.items() if too_many(count, table.rows)]
    if not unusable and not many:
        return
    name = [*unusable, *many][0]
    reason = (
        f"holds {columns[name].unusable}; expected numbers, text or true and false"
        if unusable
        else f"has {distinct[name]} different values in {table.rows} rows, an input each"
    )
    drop = ",".join(f'"{name}"' if "," in name else name for name in [*unusable, *many])
    raise ValueError(
        f"{table.source}: column {name} {reason}: leave it out with --drop {shlex.quote(drop)}"
        f"{'' if unusable else ' (or add --force)'}"
    )


def _check_filled(table: Table, name: str, impute: bool) -> None:
    absent = table.columns[name].absent()
    if absent.all() and table.rows:
        raise ValueError(
            f"{table.source}: column {name} is empty in every row: leave it out with --drop "
            f"{shlex.quote(name)}"
        )
    if absent.any() and not impute:
        row = int(np.argmax(absent))
        raise ValueError(
            f"{table.where(row, name)}: missing ({absent.sum()} of {table.rows} cells are): fill "
            f"it in, leave the column out, or say --impute mean or --drop-missing"
        )


def _is_text(table: Table, name: str) -> bool:
    """Text, not numbers of which some are misspelt: those are an error that names the first."""
    column = table.columns[name]
    if column.words is None:
        return False
    if _spells_numbers(table, column):
        numbers(table, name)
        return False
    return True


def _spells_numbers(table: Table, column: Column) -> bool:
    """Whether at least half of the cells of text are numbers, with a decimal point or comma."""
    return max(share_of_numbers(column, mark) for mark in (table.decimal, ",")) >= 0.5


def input_count(names: int, encodings: dict) -> int:
    """Inputs of so many columns."""
    return names + sum(encoding.width - 1 for encoding in encodings.values())


def input_names(names, encodings: dict) -> list[str]:
    """What each input is, for messages: "color = red", "age is missing"."""
    found = []
    for name in names:
        encoding = encodings.get(name, Encoding())
        values = encoding.values
        found += [name] if values is None else [f"{name} = {value}" for value in values]
        found += [f"{name} is missing"] * encoding.indicator
    return found


def inputs(table: Table, names, encodings: dict, allow_nan: bool = False) -> np.ndarray:
    """(rows, inputs) float64 of the named columns; a ValueError names the row and the column.

    `allow_nan`: a missing cell without a fill is NaN, not an error.
    """
    X = np.zeros((table.rows, input_count(len(names), encodings)))
    place = 0
    for name in names:
        encoding = encodings.get(name, Encoding())
        column_inputs(table, name, encoding, X[:, place : place + encoding.width], allow_nan)
        place += encoding.width
    return X


def column_inputs(table: Table, name: str, encoding: Encoding, out, allow_nan: bool = False):
    """The inputs of one column, into `out` (rows, encoding.width) of zeros; see `inputs`."""
    absent = (_numbers if encoding.values is None else _one_hot)(table, name, encoding, out)
    if encoding.indicator:
        out[:, -1] = absent
    if absent.any() and encoding.fill is None and not allow_nan:
        row = int(np.argmax(absent))
        raise ValueError(
            f"{table.where(row, name)}: missing; expected "
            f"{'a number' if encoding.values is None else 'a value'}: fill it in, or train "
            f"with --impute mean"
        )


def _numbers(table: Table, name: str, encoding: Encoding, out) -> np.ndarray:
    values = numbers(table, name)
    absent = np.isnan(values)
    if encoding.fill is not None:
        values[absent] = encoding.fill
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise ValueError(f"{table.where(row, name)}: {values[row]}; expected a finite number")
    out[:, 0] = values
    return absent


def _one_hot(table: Table, name: str, encoding: Encoding, out) -> np.ndarray:
    column = as_text(table, name, encoding.values == tuple(BOOLEANS))
    places = {value: i for i, value in enumerate(encoding.values)}
    known = np.array([places.get(word, -1) for word in column.words] + [-1])
    codes, absent = known[column.values], column.absent()
    lost = (codes < 0) & ~absent
    if lost.any() and encoding.unknown == "error":
        row = int(np.argmax(lost))
        raise ValueError(
            f"{table.where(row, name)}: {column.cell(row)}; expected one of the values of "
            f"training, {', '.join(encoding.values[:20])} (--unknown zero takes it for none)"
        )
    rows = np.flatnonzero(codes >= 0)
    out[rows, codes[rows]] = 1
    if encoding.fill is None:
        out[absent] = np.nan
    return absent


def as_text(table: Table, name: str, booleans: bool) -> Column:
    """A column's cells as words; of `booleans` also 0, 1, "true" and "FALSE"."""
    column = table.columns[name]
    if column.unusable:
        numbers(table, name)
    if column.words is not None:
        if not booleans:
            return column
        spelt = {"true": "True", "false": "False", "1": "True", "0": "False"}
        words = [spelt.get(word.lower(), word) for word in column.words]
        return text(column.values, words)
    values, codes = np.unique(column.values, return_inverse=True)
    codes = np.where(column.absent(), -1, codes.reshape(-1))
    if booleans and values.dtype.kind in "biuf" and np.isin(values[values == values], (0, 1)).all():
        values = values.astype(bool)
    elif values.dtype.kind == "f":
        return text(codes, [int(v) if v.is_integer() else v for v in values.tolist()])
    return text(codes, values.tolist())
