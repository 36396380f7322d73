"""`train`, `evaluate` and `predict` over files that are read window by window."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .. import datasets, streams
from .._core import files
from .._core.progress import Bytes
from .._tables import roles, svmlight
from .._tables.blocks import Folder
from .._tables.read import notes_of
from .._tables.sources import find
from .._tables.table import Table
from .._training.tally import Tally
from ..metrics import score_name
from . import inputs
from .errors import UserError
from .output import say

STREAM_BYTES = 2**30  # of CSV or Parquet; more are not read at once


def is_streamed(args) -> bool:
    """Whether a command's data are read window by window: asked for, or too large."""
    if svmlight.are_svmlight(args.data):
        if args.window is not None:
            raise UserError("--window is not for svmlight files, which are read at once")
        return False
    if args.window is not None:
        return True
    if "-" in args.data or (len(args.data) == 1 and args.data[0] in datasets.names()):
        return False
    sources = [s for s in find(args.data) if s.ending in (".csv", ".tsv", ".parquet")]
    size = sum(source.size for source in sources)
    if size > STREAM_BYTES:
        say(
            f"{size / 2**30:.1f} GiB of files are read in windows of {streams.WINDOW} rows, in "
            f"which they are shuffled (--window)"
        )
    return size > STREAM_BYTES


def refuse(args, **options) -> None:
    """A `UserError` where an option is not for files that are read in windows."""
    for name, given in options.items():
        if given:
            raise UserError(f"--{name.replace('_', '-')} takes all rows at once: {_SMALLER}")


_SMALLER = "expected files below 1 GiB and no --window beside it"


def for_training(args) -> streams.Stream:
    """The stream of `train`'s data, learnt."""
    refuse(args, drop_missing=args.drop_missing, networks=args.networks > 1)
    choose = roles.for_training(args.target, args.features, args.drop, args.keep_index)
    folder = _folder(args, choose)
    progress = None if args.json or args.quiet else Bytes(args.data[0])
    size = sum(reader.source.size for reader in folder.readers)
    try:
        return streams.of_folder(
            folder, window=args.window or streams.WINDOW, standardize=args.standardize,
            held_out=args.validation, seed=args.seed, task=args.task, unknown=args.unknown or
            "error", impute=args.impute is not None, force=args.force, threads=args.threads,
            progress=None if progress is None else lambda share: progress(int(share * size), size),
        )  # fmt: skip
    finally:
        if progress is not None:
            progress.close()


def as_table(data) -> Table:
    """A table without rows that has a stream's columns."""
    targets = [data.target] if isinstance(data.target, str) else data.target
    folder = data._folder
    columns = dict.fromkeys([*folder.roles.inputs, *targets])
    rows = data.rows + (data.held_out.rows if data.held_out is not None else 0)
    return Table(data.source, columns, rows, folder.named, list(targets))


def for_model(args, model, with_targets: bool) -> streams.Stream:
    """The stream of data that a model is to predict or to be scored on."""
    inputs.apply_unknown(args, model)
    folder = _folder(args, roles.for_model(model, with_targets))
    window = args.window or streams.WINDOW
    return streams.of_model(folder, model, window=window, threads=args.threads)


def _folder(args, choose) -> Folder:
    folder = Folder(find(args.data), inputs.reading(args), choose)
    for note in notes_of(folder.readers, folder.wanted):
        say(note)
    return folder


def scored(args, model) -> dict:
    """What `evaluate` finds, in one pass."""
    refuse(args, drop_missing=args.drop_missing)
    net, data = model.net, for_model(args, model, True)
    k = len(model.classes) if model.classes is not None else net.n_outputs
    confusion, sizes = np.zeros((k, k), np.int64), np.zeros(k)

    def seen(out, y) -> None:
        if model.classes is not None:
            right = y[:, 0].astype(np.int64)
            codes = out.argmax(axis=1) if out.shape[1] > 1 else (out[:, 0] > 0).astype(np.int64)
            confusion[...] += np.bincount(right * k + codes, minlength=k * k).reshape(k, k)
        elif model.task == "regression":
            sizes[...] += np.abs(out.astype(np.float64) - y).sum(axis=0)

    tally = Tally(net, seen)
    tally.add_stream(model.theta, data, args.threads)
    if not tally.rows:
        raise UserError(f"{data.source}: no rows; expected at least one")
    scores = tally.scores()
    found = {
        "rows": tally.rows, "loss": scores.loss, score_name(net): scores.score,
        "confusion": confusion,
    }  # fmt: skip
    if model.task == "regression":
        scale = np.broadcast_to(model.target_scale, k)
        with np.errstate(under="ignore", over="ignore"):
            found["rmse"] = np.sqrt(tally.mean_squares()) * scale
            found["mae"] = sizes / tally.rows * scale
    return found


def write_predictions(args, model, path, predictions) -> int:
    """Predictions of a stream, by `predictions(table)` → (names, columns): CSV or Parquet, written
    as they come; how many rows there are."""
    data, rows = for_model(args, model, False), 0
    parquet = Path(path).suffix.lower() in (".parquet", ".pq")
    exclusive = not args.force
    with files.replaced(path, "wb" if parquet else "w", exclusive=exclusive) as file:
        writer = None
        for table in data.tables():
            names, columns = predictions(table)
            if parquet:
                writer = _write_parquet(file, writer, names, columns)
            else:
                if writer is None:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(names)
                writer.writerows(zip(*columns))
            rows += table.rows
        if not rows:
            raise UserError(f"{data.source}: no rows; expected at least one")
        if parquet:
            writer.close()
    return rows


def _write_parquet(file, writer, names, columns):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(dict(zip(names, columns)))
    if writer is None:
        writer = parquet.ParquetWriter(file, table.schema)
    writer.write_table(table.cast(writer.schema))
    return writer
