"""What commands read: a table by the options of its file, a model, and rows with their targets."""

from __future__ import annotations

import contextlib
import csv
import sys
import tempfile
from pathlib import Path

from .._core import files
from .._core.progress import Bytes
from .._tables import labels, roles, svmlight
from .._tables.layout import NULLS, Reading, is_separator
from .._tables.read import read
from .._tables.table import Table
from ..models import Model, load_model
from .errors import UserError
from .output import say

SEPARATOR_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}


def reading(args) -> Reading:
    """How the options of a command say its files are written."""
    sep = SEPARATOR_NAMES.get(args.sep, args.sep)
    if sep is not None and not is_separator(sep):
        raise UserError(f"--sep is {args.sep!r}; expected one ASCII character, or tab")
    nulls = NULLS
    if args.nulls is not None:
        nulls = tuple(map(str.strip, next(csv.reader([args.nulls]), [])))
    threads = getattr(args, "threads", None)
    return Reading(
        sep, args.decimal, args.header, nulls, args.encoding, args.skip_rows, threads,
        args.zero_based,
    )  # fmt: skip


def load_table(args, choose, columns: int | None = None) -> Table:
    """The table of a command's data; what was assumed about it is said.

    columns: of sparse rows, where that is known.
    """
    if svmlight.are_svmlight(args.data):
        table = svmlight.read(args.data, reading(args), columns)
        if not table.rows:
            raise UserError(f"{table.source}: no rows; expected at least one")
        return table
    progress = None if args.json or getattr(args, "quiet", False) else Bytes(args.data[0])
    try:
        table, notes = read(args.data, reading(args), choose, progress)
    finally:
        if progress is not None:
            progress.close()
    for note in notes:
        say(note)
    if not table.rows:
        raise UserError(f"{table.source}: no rows; expected at least one")
    return table


def load(path) -> Model:
    """A model; a `UserError` that names the file otherwise."""
    try:
        with _seekable(path) as file:
            return load_model(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a model that `train` saved") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(
            f"{path}: not a model (which comes first, then the data): {error}"
        ) from None


@contextlib.contextmanager
def _seekable(path):
    """A model is read from its end: one that comes through a pipe is put in a file first."""
    piped = path == "-" or (Path(path).exists() and files.written_into(path))
    if not piped:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.npz")
        file.write_bytes(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
        yield file


def load_unlabelled(args, model: Model) -> Table:
    """The model's columns alone: a target may be there, absent, blank or odd."""
    apply_unknown(args, model)
    return load_table(args, roles.for_model(model), model.net.n_inputs)


def load_labelled(args, model: Model):
    """(table, targets as the network takes them)."""
    apply_unknown(args, model)
    table = load_table(args, roles.for_model(model, with_targets=True), model.net.n_inputs)
    if getattr(args, "drop_missing", False):
        fills = {name for name, encoding in model.encoding.items() if encoding.fill is not None}
        pairs = zip(table.inputs(), model.columns)
        table = complete(table, [there for there, mine in pairs if mine in fills])
    return table, labels.of_model(model, table)


def complete(table: Table, filled) -> Table:
    """The rows without a missing cell but in `filled`; how many are left out is said."""
    found = table.complete(filled)
    if found.rows == 0:
        empty = [name for name, column in table.columns.items() if column.absent().all()]
        what = f"column {empty[0]} is empty" if empty else "a cell is missing"
        raise UserError(f"{table.source}: {what} in every row; expected a complete one")
    if found.rows < table.rows:
        lost = table.rows - found.rows
        say(f"{table.source}: {lost} of {table.rows} rows are left out: a cell is missing")
    return found


def apply_unknown(args, model: Model) -> None:
    """`--unknown` of a command comes before what training said."""
    if getattr(args, "unknown", None) is not None:
        for name, encoding in model.encoding.items():
            model.encoding[name] = type(encoding)(**{**encoding.as_dict(), "unknown": args.unknown})
