"""A target column → numbers of a regression, or classes and their codes."""

from __future__ import annotations

import numpy as np

from ..datasets.prepare import scaled
from .encode import FEW, as_text, too_many
from .table import Table, is_label, number, numbers, share_of_numbers, written_amount


def task(table: Table, given: str, force: bool) -> str:
    """Whether this is a "classification" or a "regression"; a ValueError where it is neither.

    So many classes that the user cannot mean it are an error, unless `force`.
    """
    for name in table.targets:
        _check_there(table, name)
    if len(table.targets) > 1:
        if given == "classification":
            raise ValueError(
                f"{len(table.targets)} targets, {', '.join(table.targets)}; expected one for a "
                f"classification"
            )
        return "regression"
    name = table.targets[0]
    column = table.columns[name]
    found = given if given != "auto" else _auto(table, name)
    if found == "classification":
        distinct = len(np.unique(column.values))
        if too_many(distinct, table.rows) and not force:
            raise ValueError(
                f"{table.source}: column {name} has {distinct} different values in {table.rows} "
                f"rows, a class each: another --target, --task regression for numbers, or add "
                f"--force"
            )
    return found


def _check_there(table: Table, name: str) -> None:
    column = table.columns[name]
    if column.unusable:
        numbers(table, name)
    absent = column.absent()
    if absent.all() and table.rows:
        raise ValueError(
            f"{table.source}: column {name} is empty in every row; expected another --target"
        )
    if absent.any():
        row = int(np.argmax(absent))
        raise ValueError(
            f"{table.where(row, name)}: the target is missing ({absent.sum()} of {table.rows} "
            f"are); expected a value: fill it in or leave the row out with --drop-missing (--nulls "
            f"says what is missing)"
        )


def _auto(table: Table, name: str) -> str:
    column = table.columns[name]
    if column.words is None:
        if column.values.dtype.kind == "b":
            return "classification"
        return "classification" if _few_whole(column.values, table.rows) else "regression"
    if column.category:
        return "classification"
    found = [number(word, table.decimal) for word in column.words]
    if None in found and any(value is not None for value in found):
        return _mixed(table, name, found)
    if None in found:
        amount = written_amount(table, name)
        if amount:
            raise ValueError(f"{amount}; or say --task classification if these are labels")
    if None in found and table.decimal == "." and share_of_numbers(column, ",") == 1:
        raise ValueError(
            f"{table.source}: column {name} has decimal commas, as {column.cell(0)}: --decimal , "
            f"reads them; --task classification takes them for labels"
        )
    if None in found or any(map(is_label, column.words)):
        return "classification"
    values = np.array(found)
    return "classification" if _few_whole(values, table.rows) else "regression"


def _few_whole(values, rows: int) -> bool:
    values = np.unique(values)
    whole = np.isfinite(values).all() and (values == np.rint(values)).all()
    return bool(whole) and len(values) <= min(FEW, max(2, rows // 4))


def _mixed(table: Table, name: str, found: list) -> str:
    """Labels some of which look like numbers; numbers of which some are misspelt are an error."""
    codes = table.columns[name].values
    numeric = np.array([value is not None for value in found])[codes]
    share = numeric.mean()
    values = np.array([value for value in found if value is not None])
    if share < 0.1 or (share <= 0.9 and _few_whole(values, table.rows)):
        return "classification"
    row = int(np.argmin(numeric))
    raise ValueError(
        f"{table.where(row, name)}: {table.columns[name].cell(row)}; expected a number "
        f"({table.count(numeric)} of {table.rows} cells are): correct it or leave the row out, or "
        f"say --task classification if these are labels"
    )


def real(table: Table) -> np.ndarray:
    """Targets of a regression, float64 (n,) of one, (n, k) of several."""
    columns = []
    for name in table.targets:
        _check_there(table, name)
        values = numbers(
            table, name, "correct it or leave the row out, or --task classification for labels"
        )
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"{table.where(row, name)}: {values[row]}; expected a finite number")
        columns.append(values)
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def classes(table: Table) -> list:
    """The classes in order: integers and numbers where every label spells one, else text."""
    name = table.targets[0]
    column = table.columns[name]
    if column.words is None:
        values = np.unique(column.values)
        if values.dtype.kind == "f" and (values == np.rint(values)).all() and (
            np.abs(values) < 2**53
        ).all():  # fmt: skip
            values = values.astype(np.int64)
        found = values.tolist()
    else:
        used = np.unique(column.values)
        found = _spelt([column.words[code] for code in used])
    if len(found) < 2:
        raise ValueError(
            f"{table.source}: column {name} is {found[0]} in every row; expected two classes or "
            f"more"
        )
    return found


def _spelt(words: list[str]) -> list:
    """Words as numbers if every one is how its number is written, in order."""
    for kind in (int, float):
        try:
            values = [kind(word) for word in words]
        except ValueError:
            continue
        fit = kind is float or (
            min(values) >= -(2**63) and max(values) < (2**63 if min(values) < 0 else 2**64)
        )
        if fit and [str(value) for value in values] == words and all(v == v for v in values):
            return sorted(values)
    return sorted(words)


def codes(table: Table, known: list) -> np.ndarray:
    """Class numbers 0 .. k-1 of a table's target, int64 (n,)."""
    name = table.targets[0]
    _check_there(table, name)
    column = as_text(table, name, False)
    words, spelt = column.words, [str(value) for value in known]
    if {word.lower() for word in spelt} == {"false", "true"}:
        words, spelt = [word.lower() for word in words], [word.lower() for word in spelt]
    places = {word: i for i, word in enumerate(spelt)}
    exact = 2**53  # from here on two integers may be one float
    values = {value: i for i, value in enumerate(known)
              if not isinstance(value, (str, bool)) and abs(value) < exact}  # fmt: skip

    def place(word: str) -> int:
        found = places.get(word)
        return values.get(number(word, table.decimal), -1) if found is None else found

    found = np.array([place(word) for word in words], np.int64)[column.values]
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise ValueError(
            f"{table.where(row, name)}: {column.cell(row)}; expected one of the "
            f"classes {', '.join(map(str, known[:20]))}"
        )
    return found


def of_model(model, table: Table) -> np.ndarray:
    """A table's targets as the network of a model takes them: scaled, or codes of the classes."""
    if model.classes is not None:
        found = codes(table, model.classes)
        return found if model.net.spec.loss.labelled else found.astype(model.net.dtype)
    y, loss = real(table), model.net.spec.loss
    low = np.argwhere(y.reshape(len(y), -1) < loss.least_target)
    if len(low):
        row, column = low[0]
        value, place = y.reshape(len(y), -1)[row, column], table.where(row, table.targets[column])
        raise ValueError(f"{place}: {value}; expected 0 or more for the loss {loss.name}")
    with np.errstate(under="ignore", over="ignore"):
        return scaled(y, model.target_mean, model.target_scale).astype(model.net.dtype)
