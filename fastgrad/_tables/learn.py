"""What one pass over the blocks of many files learns: how columns become inputs, and targets.

The rules and the messages are those of tables in memory (`encode`, `labels`), asked of a table of
each column's different values. Means and deviations are merged block by block in file order; those
of inputs that stand for values of text follow from their counts.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np

from ..datasets.prepare import Moments
from . import arrow, encode, labels
from .blocks import Folder, RetypeError, Unit
from .distinct import Distinct
from .table import BOOLEANS, Table, number, numbers, written_amount


@dataclass
class Learnt:
    """How columns become inputs and targets, and the rows of each unit: all, and to train on."""

    encoding: dict
    mean: np.ndarray
    scale: np.ndarray
    task: str
    classes: list | None
    target_mean: np.ndarray
    target_scale: np.ndarray
    rows: list[int]
    training: list[int]


def learn(folder: Folder, *, task, impute, unknown, force, held_out, threads, progress) -> Learnt:
    """One pass; more where a column turns out to be text. `held_out`: a `Share` or None."""
    while True:
        try:
            return _Pass(folder, impute, unknown, force, held_out).learnt(task, threads, progress)
        except RetypeError as error:
            if str(folder.kinds[error.column]) == "string":
                raise
            folder.as_text(error.column)


class _Pass:
    def __init__(self, folder, impute, unknown, force, held_out):
        self.folder, self.impute, self.unknown, self.force = folder, impute, unknown, force
        self.held_out = held_out
        roles, self.source = folder.roles, source_name(folder)
        self.numbers = [name for name in roles.inputs if self._is_number(name)]
        self.moments = Moments(len(self.numbers))
        self.missing = dict.fromkeys(self.numbers, 0)
        self.first_missing = dict.fromkeys(self.numbers, "")
        self.words = {n: Distinct(n, force) for n in roles.inputs if n not in self.missing}
        self.targets = [_Target(name, folder, force) for name in roles.targets]
        self.rows, self.training = [], []

    def _is_number(self, name: str) -> bool:
        from pyarrow import types as t

        if any(name in dict(reader.source.partition) for reader in self.folder.readers):
            return False
        kind = self.folder.kinds.get(name)
        if kind is None:
            return True  # of Parquet, null in all files
        if t.is_dictionary(kind) or t.is_boolean(kind) or arrow.is_text(kind):
            return False
        if self.folder.parquet and name in self.folder.readers[0].categories:
            return False
        if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
            return True
        raise ValueError(
            f"{self.source}: column {name} holds {kind}; expected numbers, text or true and "
            f"false: leave it out with --drop {shlex.quote(name)}"
        )

    def learnt(self, task, threads, progress) -> Learnt:
        folder, row = self.folder, 0
        part_rows = [0] * len(folder.readers)
        for unit in folder.units():
            rows = training = 0
            for table in folder.read(unit, threads=threads):
                keep = None
                if self.held_out is not None:
                    keep = ~self.held_out.of(row, table.num_rows)
                self._add(unit, unit.first + rows, table, keep)
                rows, row = rows + table.num_rows, row + table.num_rows
                training += table.num_rows if keep is None else int(keep.sum())
                if progress is not None:
                    progress(unit, rows)
            part_rows[unit.part] += rows
            self.rows.append(rows)
            self.training.append(training)
        if not sum(self.training):
            raise ValueError(f"{self.source}: no rows; expected at least one")
        return self._learnt(task)

    def _add(self, unit: Unit, first: int, data, keep) -> None:
        folder = self.folder
        table = block_table(folder, unit, first, data, {})
        x = np.empty((data.num_rows, len(self.numbers)))
        for place, name in enumerate(self.numbers):
            x[:, place] = number_column(table, data, name)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(x.sum())
        if not finite:
            self._odd_numbers(table, x, keep)
        self.moments.add(x if keep is None else x[keep])
        for name, words in self.words.items():
            words.add(arrow.column(data.column(name)), keep, table.where)
            if words.full:
                self._check_words(name, words)
        for target in self.targets:
            target.add(table, data, keep)

    def _odd_numbers(self, table, x, keep) -> None:
        """Missing cells are counted; an infinite one is an error."""
        for place, name in enumerate(self.numbers):
            infinite, absent = np.isinf(x[:, place]), np.isnan(x[:, place])
            if infinite.any():
                row = int(np.argmax(infinite))
                raise ValueError(
                    f"{table.where(row, name)}: {x[row, place]}; expected a finite number"
                )
            if absent.any():
                self.missing[name] += int((absent if keep is None else absent & keep).sum())
                place_ = table.where(int(np.argmax(absent)), name)
                self.first_missing[name] = self.first_missing[name] or place_

    def _check_words(self, name: str, words: Distinct) -> Table:
        """The table of a column of text; a ValueError where it can be no input."""
        table = words.table(self.source, words.rows, self.folder.decimal)
        table.targets = []
        amount = "" if self.force else written_amount(table, name)
        if amount:
            raise ValueError(
                f"{amount}; leave it out with --drop, or take it for text with --force"
            )
        encode._check_usable(table, self.force)
        if words.full:
            numbers(table, name)  # names the first cell that is none
            raise ValueError(
                f"{self.source}: column {name} is text of numbers, more than {words.most} "
                f"different ones; expected a column of numbers"
            )
        return table

    def _learnt(self, task: str) -> Learnt:
        encoding, means, scales = {}, [], []
        for name in self.folder.roles.inputs:
            if name in self.words:
                found = self._of_words(name, self.words[name])
            else:
                found = self._of_numbers(name)
            if found[0] is not None:
                encoding[name] = found[0]
            means += found[1]
            scales += found[2]
        for target in self.targets:
            target.check()
        task, classes = self._classes(task)
        mean = scale = None
        if task == "regression":
            mean = np.array([target.moments.mean[0] for target in self.targets])
            scale = np.array([target.moments.scale()[0] for target in self.targets])
            for target in self.targets:
                target.check_real(self.source, sum(self.rows))
                if not self.folder.parquet and target.name in self.folder.kinds:
                    self.folder.as_number(target.name)
        single = len(self.targets) == 1
        return Learnt(
            encoding, np.array(means), np.array(scales), task, classes,
            0.0 if mean is None else mean[0] if single else mean,
            1.0 if scale is None else scale[0] if single else scale,
            self.rows, self.training,
        )  # fmt: skip

    def _classes(self, task: str):
        if not self.targets:
            return "", None
        tables = [t.distinct.table(self.source, sum(self.rows), self.folder.decimal)
                  for t in self.targets]  # fmt: skip
        if len(tables) > 1:
            if task == "classification":
                raise ValueError(
                    f"{len(tables)} targets, {', '.join(self.folder.roles.targets)}; expected one "
                    f"for a classification"
                )
            return "regression", None
        task = labels.task(tables[0], task, self.force)
        return task, labels.classes(tables[0]) if task == "classification" else None

    def _of_numbers(self, name: str):
        place, n = self.numbers.index(name), sum(self.training)
        missing, first = self.missing[name], self.first_missing[name]
        if first and not self.moments.rows[place]:
            raise ValueError(
                f"{self.source}: column {name} is empty in every row: leave it out with --drop "
                f"{shlex.quote(name)}"
            )
        if first and not self.impute:
            raise ValueError(
                f"{first}: missing: fill it in, leave the column out, or say --impute mean or "
                f"--drop-missing"
            )
        mean, deviation = self.moments.mean[place], self.moments.deviation[place]
        known = self.moments.rows[place] / n
        scale = float(deviation * np.sqrt(known)) or 1.0
        if not self.impute:
            return None, [mean], [scale]
        fill = encode.Encoding(None, float(mean), bool(first), self.unknown)
        share, spread = _of_share(missing / n)
        return fill, [mean] + [share] * bool(first), [scale] + [spread] * bool(first)

    def _of_words(self, name: str, words: Distinct):
        n = sum(self.training)
        if words.first_missing and not words.counts:
            raise ValueError(
                f"{self.source}: column {name} is empty in every row: leave it out with --drop "
                f"{shlex.quote(name)}"
            )
        if words.first_missing and not self.impute:
            raise ValueError(
                f"{words.first_missing}, column {name}: missing: fill it in, leave the column out, "
                f"or say --impute mean or --drop-missing"
            )
        fill, absent = 0.0 if self.impute else None, bool(words.first_missing)
        share, spread = _of_share(words.missing / n)
        if words.numeric:  # booleans
            values, counts = BOOLEANS, [words.counts.get(False, 0), words.counts.get(True, 0)]
        else:
            table = self._check_words(name, words)
            if not encode._is_text(table, name):
                return self._of_number_words(words, fill, absent, share, spread)
            values = sorted(words.counts)
            counts = [words.counts[value] for value in values]
        found = [_of_share(count / n) for count in counts]
        means = [mean for mean, _ in found] + [share] * absent
        scales = [scale for _, scale in found] + [spread] * absent
        return encode.Encoding(tuple(values), fill, absent, self.unknown), means, scales

    def _of_number_words(self, words: Distinct, fill, absent, share, spread):
        """A column of text whose cells are numbers."""
        values = np.array([number(word, self.folder.decimal) for word in words.counts])
        counts = np.array(list(words.counts.values()), np.float64)
        n, known = sum(self.training), counts.sum()
        mean = float(counts @ values / known)
        scale = float(np.sqrt(counts @ (values - mean) ** 2 / n)) or 1.0
        encoding = None
        if self.impute:
            encoding = encode.Encoding(None, mean, absent, self.unknown)
        return encoding, [mean] + [share] * absent, [scale] + [spread] * absent


class _Target:
    def __init__(self, name: str, folder: Folder, force: bool):
        self.name, self._folder = name, folder
        self.distinct, self.moments = Distinct(name, force), Moments(1)
        self._odd = False  # there is a cell that is no number

    def add(self, table: Table, data, keep) -> None:
        values = None
        if self.distinct.full and not self._odd and arrow.is_text(data.column(self.name).type):
            values = arrow.spelt_numbers(data.column(self.name))
        if values is None:
            values = self._values(table, data, keep)
        if values is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # `check_real` names them
                self.moments.add((values if keep is None else values[keep])[:, None])

    def _values(self, table: Table, data, keep):
        """float64 (rows,); None where a cell is no number, or has been."""
        column = table.columns[self.name] = arrow.column(data.column(self.name))
        if column.unusable:
            numbers(table, self.name)
        self.distinct.add(column, keep, table.where)
        if self.distinct.missing or self.distinct.first_missing:
            raise ValueError(
                f"{self.distinct.first_missing}, column {self.name}: the target is missing; "
                f"expected a value: fill it in or leave the row out (--nulls says what is missing)"
            )
        if self._odd or column.category:
            return None
        if column.words is not None:
            found = [number(word, self._folder.decimal) for word in column.words]
            if None in found:
                self._odd = True
                if self.distinct.full:
                    numbers(table, self.name)  # says which cell
                return None
            return np.array(found, np.float64)[column.values]
        return column.values.astype(np.float64)

    def check(self) -> None:
        if not self.distinct.counts:
            raise ValueError(f"column {self.name}: no rows; expected at least one")

    def check_real(self, source: str, rows: int) -> None:
        """A ValueError that names a cell that is no finite number."""
        labels.real(self.distinct.table(source, rows, self._folder.decimal))
        if not np.isfinite(self.moments.mean[0]):
            raise ValueError(f"{source}: column {self.name} is not finite everywhere")


def _of_share(share: float) -> tuple[float, float]:
    """Mean and deviation of an input that is 1 in this share of the rows, else 0."""
    spread = float(np.sqrt(share * (1 - share)))
    return share, spread or 1.0


def source_name(folder: Folder) -> str:
    names = folder.names()
    return names[0] if len(names) == 1 else f"{names[0]}, ... ({len(names)} files)"


def block_table(folder: Folder, unit: Unit, first: int, data, columns: dict, kept=None) -> Table:
    """A block as a table, whose rows count from `first` of their file in messages."""
    return Table(
        folder.readers[unit.part].source.name, columns, data.num_rows, folder.named,
        list(folder.roles.targets), first=1 + first, decimal=folder.decimal, kept=kept,
    )  # fmt: skip


def number_column(table: Table, data, name: str) -> np.ndarray:
    """A column of numbers (rows,) of any dtype, or float64 with NaN where a cell is missing."""
    plain = arrow.plain_numbers(data.column(name))
    if plain is not None:
        return plain
    table.columns[name] = arrow.column(data.column(name))
    return numbers(table, name)
