"""What commands write: places that are free, tables as CSV, JSON, words on standard error."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from pathlib import Path

from .._core import files
from .errors import UserError


def say(message: str) -> None:
    """A line on standard error: what was assumed, or what to look at."""
    print(f"fastgrad: {' '.join(message.split())}", file=sys.stderr, flush=True)


def as_json(value) -> str:
    """One line of JSON."""
    return json.dumps(finite_values(value), allow_nan=False)


def finite_values(value):
    """A value of lists and dicts with None for NaN and infinity, which JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_values(item) for key, item in value.items()}
    return [finite_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def apart(places: dict) -> None:
    """Refuse one file under two names: one would overwrite the other."""
    seen = {}
    for name, path in places.items():
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise UserError(f"{name} is {path}, which is {other} too; expected another file")


def read_places(args) -> dict:
    """The files a command reads, by what they are to it."""
    places = {"the model": args.model} if "model" in args else {}
    for name in args.data:
        if name != "-" and Path(name).is_file():  # else it is an embedded set, or a folder
            places[f"the data {name}" if len(args.data) > 1 else "the data"] = name
    return places


def free(path, force: bool) -> None:
    """Refuse what exists; what is no file to be replaced is written into."""
    if Path(path).exists() and not force and not files.written_into(path):
        raise UserError(f"{path} exists; choose another name or add --force")


def write_csv(path, names, columns, force: bool) -> None:
    """A table; None is an empty cell."""
    if Path(path).suffix.lower() in (".parquet", ".pq"):
        _write_parquet(path, names, columns, force)
        return
    with files.replaced(path, "w", exclusive=not force) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*columns))


def _write_parquet(path, names, columns, force: bool) -> None:
    from .._tables.arrow import pyarrow

    pa = pyarrow(f"{path}: Parquet")
    from pyarrow import parquet

    with files.replaced(path, exclusive=not force) as file:
        parquet.write_table(pa.table(dict(zip(names, columns))), file)


def check_picture(path: Path, option: str = "--plot") -> None:
    """Refuse a picture that matplotlib cannot write, before anything is computed."""
    try:
        import matplotlib  # noqa: F401
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise UserError('--plot needs matplotlib: pip install "fastgrad[plot]"') from None
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if picture_kind(path) not in known:
        raise UserError(
            f"{option} {path}: unknown ending {path.suffix!r}; expected one of {', '.join(known)}"
        )


def picture_kind(path: Path) -> str:
    return path.suffix[1:].lower() or "png"


def write_picture(path: Path, figure, force: bool) -> None:
    with files.replaced(path, exclusive=not force) as file:
        figure.savefig(file, format=picture_kind(path))
