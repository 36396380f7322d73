"""svmlight files: sparse rows with one target each, read by scikit-learn's loader.

A line is a target and "column:value" pairs. Columns are numbered from 1, or from 0 if the caller
says so: guessed from the numbers of one file, the next file could be read another way.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .layout import Reading
from .table import Column, Table

ENDINGS = (".svm", ".svmlight", ".libsvm")
TARGET = "target"


@dataclass(eq=False)
class SparseTable(Table):
    """A table whose one column is the target, and whose inputs are `X`, CSR of float64."""

    X: object = None

    def complete(self, filled=()) -> Table:
        return self  # cells are never missing


def are_svmlight(data: list[str]) -> bool:
    """Whether the files of a command are; an error where some are and others are not."""
    kinds = {_is_svmlight(name) for name in data}
    if len(kinds) > 1:
        raise ValueError("svmlight files and others together; expected files of one kind")
    return kinds == {True}


def _is_svmlight(name: str) -> bool:
    path = Path(name)
    packed = path.suffix.lower() in (".gz", ".bz2")  # which the loader unpacks
    return (path.with_suffix("") if packed else path).suffix.lower() in ENDINGS


def _matching(name: str) -> list[str]:
    """The files that a pattern names, in the order of their names."""
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise ValueError(f"{name}: no file matches; expected svmlight files")
    return found


def read(data: list[str], reading: Reading, columns: int | None = None) -> SparseTable:
    """The rows of files, also by a pattern as "part-*.svm"; `columns`: of X (None: up to the last
    that occurs)."""
    try:
        from scipy.sparse import vstack
        from sklearn.datasets import load_svmlight_files
    except ImportError:
        raise ValueError(
            f'{data[0]}: svmlight files need scikit-learn: pip install "fastgrad[sklearn]"'
        ) from None
    data = [found for name in data for found in _matching(name)]
    for name in data:
        if not Path(name).is_file():
            raise ValueError(f"{name}: no such file")
    try:
        found = load_svmlight_files(
            data, n_features=columns, dtype=np.float64, zero_based=reading.zero_based
        )
    except (ValueError, OSError, EOFError, OverflowError) as error:
        raise ValueError(f"{', '.join(data)}: {_words(error, reading, columns)}") from None
    X = found[0] if len(data) == 1 else vstack(found[::2], format="csr")
    y = np.concatenate(found[1::2])
    if np.isfinite(y).all() and (y == np.rint(y)).all() and (np.abs(y) < 2**53).all():
        y = y.astype(np.int64)
    name = data[0] if len(data) == 1 else f"{data[0]}, ... ({len(data)} files)"
    table = SparseTable(
        name, {TARGET: Column(y)}, len(y), False, [TARGET],
        [(source, part.shape[0]) for source, part in zip(data, found[::2])], X=X,
    )  # fmt: skip
    if not np.isfinite(X.data).all():
        entry = int(np.argmin(np.isfinite(X.data)))
        row = int(np.searchsorted(X.indptr, entry, side="right")) - 1
        column = X.indices[entry] + (not reading.zero_based)
        raise ValueError(f"{table.where(row)}, column {column}: {X.data[entry]}; expected a finite "
                         f"number")  # fmt: skip
    return table


def _words(error, reading: Reading, columns) -> str:
    text = str(error)
    if "nvalid index 0" in text:
        return "column 0; expected 1 or more, or --zero-based"
    if "n_features was set" in text:
        return f"columns beyond {columns}, those of the model; expected no others"
    return f"not an svmlight file: {text}"
