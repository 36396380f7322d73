"""Files of arrays: written whole or not at all, read without running any code.

A file is an ``.npz`` of plain arrays and one text of JSON, `header`, which says what it is. It is
written to a temporary file beside its place, flushed to the disk and then renamed, so whatever
stops the process, the place holds the old file or the new one.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import stat
import sys
import time
import uuid
import zipfile
import zlib
from pathlib import Path

import numpy as np

VERSION = 1
READERS = {"checkpoint": "fastgrad.load_checkpoint", "model": "fastgrad.load_model"}
STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_STALE_SECONDS = 60


def written_into(path) -> bool:
    """Whether a path is no file to be replaced: standard output, a device, a FIFO."""
    name = os.fspath(path)
    if name in STANDARD_OUTPUT or name.startswith(("/dev/fd/", "/proc/self/fd/")):
        return True
    return os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)


def check_place(path, name: str) -> Path:
    """A ValueError that names the argument where no file can be written."""
    try:
        place = Path(path)
    except TypeError:
        raise TypeError(f"{name} is {path!r}; expected a file name") from None
    if written_into(place):
        return place
    folder = Path(os.path.realpath(place)).parent if place.is_symlink() else place.parent
    if os.path.islink(os.path.realpath(place)):
        raise ValueError(f"{name} {place} is a link to itself; expected a file name")
    if place.is_dir() or not place.name:
        raise ValueError(f"{name} {place} is a folder; expected a file name")
    if not folder.is_dir():
        raise ValueError(f"{name} {place}: no folder {folder}; expected an existing one")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{name} {place}: the folder {folder} cannot be written to")
    return place


@contextlib.contextmanager
def replaced(path, mode: str = "wb", exclusive: bool = False):
    """A file object for the new content of `path`; `exclusive`: the path must still be free.

    A link keeps linking, a file its mode; what is no regular file is written into.
    """
    if written_into(path):
        with _in_place(os.fspath(path), mode) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:
            with contextlib.suppress(OSError):  # none is there, or not ours
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _claim(temporary, path)
        else:
            os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _in_place(name: str, mode: str):
    """Text is UTF-8, but on a terminal what that understands."""
    if name not in STANDARD_OUTPUT:
        with open(name, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as file:
            yield file
        return
    sys.stdout.flush()
    if "b" in mode:
        yield sys.stdout.buffer
    elif sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        yield sys.stdout
    else:
        file = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
        try:
            yield file
        finally:
            file.detach()
    sys.stdout.flush()


def _claim(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless somebody has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(f"{path} exists") from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(path) -> None:
    """Remove what killed writers left beside `path`."""
    path = Path(path)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
                stale.unlink()


def write(path, kind: str, header: dict, arrays: dict, exclusive: bool = False) -> None:
    text = json.dumps({"kind": kind, "version": VERSION, **header})
    with replaced(path, exclusive=exclusive) as file:
        np.savez(file, header=np.array(text), **arrays)


def read(path, kind: str) -> tuple[dict, dict]:
    """(header, arrays) of a file of that kind; a ValueError that names the file otherwise."""
    wrong = f"{path} is not a fastgrad {kind}"
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is no .npz file")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        header = json.loads(str(arrays.pop("header")[()]))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
            RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        shown = isinstance(error, (OSError, zipfile.BadZipFile))  # NumPy's advice does not fit
        reason = f": {error}" if shown else ""
        raise ValueError(f"{wrong}, or it is damaged{reason}") from None
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else None
        hint = f": read it with {READERS[found]}" if found in READERS else ""
        raise ValueError(f"{wrong}; it is a {found!r}{hint}")
    if header.get("version") != VERSION:
        raise ValueError(
            f"{path} is a {kind} of version {header.get('version')}; expected {VERSION}"
        )
    return header, arrays
