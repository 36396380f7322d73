"""Files of numbers: CSV, NPY, NPZ, Parquet, or an embedded set by name -> columns and a target."""

from __future__ import annotations

import csv
import zipfile
from array import array
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from .. import datasets
from .errors import UserError

ENDINGS = (".csv", ".tsv", ".npy", ".npz", ".parquet")


@dataclass
class Table:
    """X (n, d) float64 with the names of its columns; the target (n,) of numbers or text, or None.

    `names` is None where the file has none (NPY, NPZ, CSV without a header).
    """

    source: str
    X: np.ndarray
    names: list[str] | None
    target: np.ndarray | None = None
    target_name: str = ""

    def require_finite(self) -> Table:
        """The first NaN or infinity is an error that says where."""
        if not np.isfinite(self.X).all():
            row, column = np.argwhere(~np.isfinite(self.X))[0]
            raise UserError(
                f"{self.source}: row {row + 1}, column {self.column(column)}: "
                f"{self.X[row, column]}; expected a finite number"
            )
        target = self.target
        if target is not None and target.dtype.kind == "f" and not np.isfinite(target).all():
            row = int(np.argmax(~np.isfinite(target)))
            raise UserError(
                f"{self.source}: row {row + 1}, column {self.target_name}: {target[row]}; "
                f"expected a finite number"
            )
        return self

    def column(self, index: int) -> str:
        return self.names[index] if self.names else str(index)


def load(source: str, target: str | None, need_target: bool, inputs=None) -> Table:
    """A table; `target` is a column's name or number, by default the last.

    `need_target`: without, the target is taken out only where it is named and there.
    `inputs`: names of the columns to read where the file has names, in this order; the others may
    hold anything.
    """
    path = Path(source)
    if source in datasets.names():
        data = datasets.load(source)
        if target not in (None, data.target_name):
            raise UserError(f"the target of {source} is {data.target_name}, not {target}")
        table = Table(source, data.X, list(data.feature_names), data.y, data.target_name)
        return table
    if not path.exists():
        raise UserError(
            f"{source}: no such file; expected a file ({', '.join(ENDINGS)}) or one of the "
            f"embedded sets {', '.join(datasets.names())}"
        )
    readers = {
        ".csv": _csv, ".tsv": _csv, ".npy": _npy, ".npz": _npz, ".parquet": _parquet,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{source}: unknown ending {path.suffix!r}; expected one of {', '.join(ENDINGS)}"
        )
    try:
        table = reader(path, target, need_target, inputs)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes what it does not know for pickled objects, and advises to allow them.
        reason = "not a file of numbers" if "pickle" in str(error) else error
        raise UserError(f"{source}: cannot be read: {reason}") from None
    if not table.X.shape[0]:
        raise UserError(f"{source}: no rows; expected at least one")
    if not table.X.shape[1]:
        raise UserError(f"{source}: no columns beside the target; expected at least one input")
    return table.require_finite()


def _position(source, names, columns: int, target, need_target: bool) -> int | None:
    """Where the target is, or None."""
    if target is None:
        return columns - 1 if need_target else None
    if names and target in names:
        return names.index(target)
    if not names and target.lstrip("-").isdigit() and -columns <= int(target) < columns:
        return int(target) % columns
    if not need_target:
        return None
    known = ", ".join(names) if names else f"numbers 0 to {columns - 1} (the file has no header)"
    raise UserError(f"{source}: no column {target!r}; expected one of {known}")


def _inputs(source, names, columns: int, position: int | None, inputs) -> list[int]:
    """Where the inputs are: all but the target, or those asked for by name."""
    if not names or not inputs:
        return [index for index in range(columns) if index != position]
    for name in inputs:
        if name not in names:
            raise UserError(f"{source}: no column {name!r}; the model expects {', '.join(inputs)}")
    return [names.index(name) for name in inputs]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv(path: Path, target, need_target: bool, inputs) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=delimiter)
        try:
            first = next((row for row in rows if row), None)
            if first is None:
                raise UserError(f"{path}: empty; expected rows of numbers")
            columns, line = len(first), rows.line_num
            header = not any(_is_number(cell) for cell in first)
            names = [cell.strip() for cell in first] if header else None
            if names and len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise UserError(f"{path}: line {line}: the column {twice!r} is there twice")
            position = _position(path, names, columns, target, need_target)
            chosen = _inputs(path, names, columns, position, inputs)
            values, targets = array("d"), []
            for row in rows if header else chain([first], rows):
                if not row:
                    continue
                if len(row) != columns:
                    raise UserError(
                        f"{path}: line {rows.line_num}: {len(row)} cells; expected {columns}"
                    )
                if position is not None:
                    targets.append(row[position])
                try:
                    values.extend([float(row[index]) for index in chosen])
                except ValueError:
                    _blame(path, rows.line_num, row, names, chosen)
        except csv.Error as error:
            raise UserError(f"{path}: line {rows.line_num}: {error}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8 text; expected a CSV file") from None
    width = len(chosen)
    X = np.array(values).reshape(-1, width) if width else np.empty((len(targets), 0))
    table = Table(str(path), X, [names[index] for index in chosen] if names else None)
    if position is not None:
        table.target = _numbers_or_text(targets, path, header)
        table.target_name = names[position] if names else str(position)
    return table


def _blame(path, line: int, row, names, chosen):
    for index in chosen:
        cell = row[index]
        if not _is_number(cell):
            column = names[index] if names else str(index)
            given = repr(cell) if cell.strip() else "an empty cell"
            raise UserError(
                f"{path}: line {line}, column {column}: {given}; expected a number "
                f"(only the target may be text)"
            )


def _numbers_or_text(cells, path, header: bool) -> np.ndarray:
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        cells = [cell.strip() for cell in cells]
        if "" in cells:
            row = cells.index("") + 1
            raise UserError(f"{path}: row {row}: the target is empty; expected a value") from None
        return np.array(cells)


def _matrix(path, data, target, need_target: bool) -> Table:
    data = np.asarray(data)
    if data.ndim != 2 or data.dtype.kind not in "biuf":
        raise UserError(
            f"{path}: an array of shape {data.shape} and dtype {data.dtype}; "
            f"expected two dimensions of numbers, a row a sample"
        )
    position = _position(path, None, data.shape[1], target, need_target)
    if position is None:
        return Table(str(path), np.asarray(data, np.float64), None)
    y = data[:, position].astype(np.float64)
    X = np.delete(data, position, axis=1).astype(np.float64)
    return Table(str(path), X, None, y, str(position))


def _npy(path, target, need_target: bool, inputs) -> Table:
    return _matrix(path, np.load(path, mmap_mode="r", allow_pickle=False), target, need_target)


def _npz(path, target, need_target: bool, inputs) -> Table:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        names = list(stored)
        name = target or "y"
        if "X" in names and (name in names or not need_target):
            X = stored["X"]
            y = stored[name] if name in names else None
        elif len(names) == 1:
            return _matrix(path, stored[names[0]], target, need_target)
        else:
            raise UserError(
                f"{path}: arrays {', '.join(names)}; expected X and {name}, or one array alone"
            )
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise UserError(
            f"{path}: X of shape {X.shape} and dtype {X.dtype}; expected (n, d) numbers"
        )
    if y is not None and (y.shape not in ((X.shape[0],), (X.shape[0], 1))
                          or y.dtype.kind not in "biufU"):  # fmt: skip
        raise UserError(
            f"{path}: {name} of shape {y.shape} and dtype {y.dtype}; expected ({X.shape[0]},), "
            f"a value a row of X"
        )
    if y is not None:
        y = y.reshape(-1)
        y = y if y.dtype.kind == "U" else y.astype(np.float64)
    return Table(str(path), X.astype(np.float64), None, y, name if y is not None else "")


def _parquet(path, target, need_target: bool, inputs) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f'{path}: Parquet needs pyarrow: pip install "fastgrad[parquet]"') from None
    try:
        data = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a Parquet file: {error}") from None
    names = data.column_names
    position = _position(path, names, len(names), target, need_target)
    chosen = [names[index] for index in _inputs(path, names, len(names), position, inputs)]
    X = np.empty((data.num_rows, len(chosen)))
    for index, name in enumerate(chosen):
        column = data[name]
        if column.null_count:
            row = column.is_null().to_pylist().index(True) + 1
            raise UserError(f"{path}: row {row}, column {name}: empty; expected a number")
        values = column.to_numpy()
        if values.dtype.kind not in "biuf":
            raise UserError(f"{path}: column {name} is {column.type}; expected numbers")
        X[:, index] = values
    table = Table(str(path), X, chosen)
    if position is not None:
        column = data[names[position]]
        if column.null_count:
            row = column.is_null().to_pylist().index(True) + 1
            raise UserError(f"{path}: row {row}: the target is empty; expected a value")
        values = column.to_numpy()
        kind = np.float64 if values.dtype.kind in "biuf" else str
        table.target, table.target_name = values.astype(kind), names[position]
    return table
