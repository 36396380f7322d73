"""What `fastgrad.stream` makes of the arguments that say which files, which columns and how CSV is
written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np

from .._core import check
from .layout import Reading, is_separator
from .sources import find, keys_of, of_path


def sources_of(data) -> list:
    """The files of `stream`'s first argument."""
    if hasattr(data, "files") and hasattr(data, "schema"):  # pyarrow's
        kind = getattr(getattr(data, "filesystem", None), "type_name", "local")
        if kind != "local":
            raise ValueError(f"data is on a file system of kind {kind}; expected files here")
        if getattr(data, "_scan_options", None):
            raise ValueError(
                "data is a Dataset with a filter, which a stream would not apply; expected one "
                "without: write the rows that are left to files"
            )
        return [of_path(name, keys_of(os.path.dirname(name).split("/"))) for name in data.files]
    if isinstance(data, (str, os.PathLike)):
        data = [data]
    elif not isinstance(data, (list, tuple)):
        raise TypeError(
            f"data is a {type(data).__name__}; expected files, a folder, a pattern or a "
            f"pyarrow.dataset.Dataset"
        )
    elif not data:
        raise ValueError("data is empty; expected at least one file")
    return find([os.fspath(name) for name in data])


def names_of(value, name: str) -> list[str]:
    """Of one name or several; none of None."""
    if value is None:
        return []
    names = [value] if isinstance(value, str) else value
    names = list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(given, str) for given in names):
        raise TypeError(f"{name} is {value!r}; expected names of columns")
    return names


def reading_of(csv) -> Reading:
    """Of `stream`'s argument; what it does not say is as it looks."""
    if csv is None or isinstance(csv, Reading):
        return Reading() if csv is None else csv
    known = ("sep", "decimal", "header", "nulls", "encoding", "skip")
    if not isinstance(csv, dict) or set(csv) - set(known):
        raise TypeError(f"csv is {csv!r}; expected a dict of {', '.join(known)}")
    made = {name: value for name, value in csv.items() if value is not None}  # None: as it looks
    if isinstance(made.get("nulls"), Iterator):  # which gives its strings once
        made["nulls"] = tuple(made["nulls"])

    def are_strings(nulls) -> bool:
        return isinstance(nulls, Iterable) and all(isinstance(text, str) for text in nulls)

    for name, fits, expected in (
        ("sep", is_separator, "one ASCII character"),
        ("decimal", lambda mark: mark in (".", ","), "'.' or ','"),
        ("header", lambda header: isinstance(header, (bool, np.bool_)), "True or False"),
        ("nulls", are_strings, "strings"),
        ("encoding", lambda encoding: isinstance(encoding, str), "one such as utf-8 or latin-1"),
    ):
        if name in made and not fits(made[name]):
            raise ValueError(f"csv[{name!r}] is {made[name]!r}; expected {expected}")
    if "nulls" in made:
        made["nulls"] = tuple(names_of(made["nulls"], "csv['nulls']"))
    if "skip" in made:
        made["skip"] = check.integer(made["skip"], "csv['skip']", least=0)
    return Reading(**made)
