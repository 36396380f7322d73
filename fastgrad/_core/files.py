"""Files of arrays: written whole or not at all, read without running any code.

A file is an ``.npz`` of plain arrays and one text of JSON, `header`, which says what it is. It is
written to a temporary file beside its place, flushed to the disk and then renamed, so whatever
stops the process, the place holds the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
import time
import uuid
import zipfile
import zlib
from pathlib import Path

import numpy as np

from . import archive, fields

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
    """A ValueError that names the argument where no file can be written.

    The folder is tried: a file is made there and removed.
    """
    try:
        place = Path(path)
    except TypeError:
        raise TypeError(f"{name} is {path!r}; expected a file name") from None
    if written_into(place):
        return place
    try:
        os.lstat(place)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # the name is too long, or none at all
        raise ValueError(f"{name} {place}: {_reason(error)}; expected a file name") from None
    folder = Path(os.path.realpath(place)).parent if place.is_symlink() else place.parent
    if os.path.islink(os.path.realpath(place)):
        raise ValueError(f"{name} {place} is a link to itself; expected a file name")
    if place.is_dir() or not place.name:
        raise ValueError(f"{name} {place} is a folder; expected a file name")
    if not folder.is_dir():
        raise ValueError(f"{name} {place}: no folder {folder}; expected an existing one")
    _try_folder(place, folder, name)
    return place


def _try_folder(place: Path, folder: Path, name: str) -> None:
    temporary = temporary_beside(place)
    try:
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise ValueError(
            f"{name} {place}: the folder {folder} cannot be written to: {_reason(error)}"
        ) from None


def _reason(error) -> str:
    return getattr(error, "strerror", None) or str(error)


def temporary_beside(path: Path) -> Path:
    """A name that no other writer takes, of one length however long the path's is."""
    return path.with_name(f"{_prefix(path)}{uuid.uuid4().hex[:12]}.tmp")


def _prefix(path: Path) -> str:
    """What all temporary names of one path begin with: `sweep` deletes what is named so."""
    of_name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return f".fastgrad-{of_name}-"


@contextlib.contextmanager
def replaced(path, mode: str = "wb", exclusive: bool = False):
    """A file object for the new content of `path`; `exclusive`: the path must still be free.

    A link keeps linking, a file its mode; what is no regular file is written into. An error of the
    disk names the file.
    """
    if written_into(path):
        with _named(path), _in_place(os.fspath(path), mode) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    temporary = temporary_beside(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with _named(path), open(temporary, mode, **text) as file:
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
def _named(path):
    """An error of writing, such as a full disk, says which file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


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
    """Remove what killed writers left beside `path`: files of exactly our name, and no new ones."""
    path = Path(path)
    ours = re.compile(re.escape(_prefix(path)) + "[0-9a-f]{12}[.]tmp")
    for stale in path.parent.iterdir():
        if not ours.fullmatch(stale.name):
            continue
        with contextlib.suppress(OSError):
            found = stale.lstat()
            if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > _STALE_SECONDS:
                stale.unlink()


def write(path, kind: str, header: dict, arrays: dict, exclusive: bool = False) -> None:
    text = json.dumps({"kind": kind, "version": fields.VERSION, **header})
    if 4 * len(text) > archive.HEADER_BYTES:
        raise ValueError(
            f"the header of {path} has {len(text)} characters; expected at most "
            f"{archive.HEADER_BYTES // 4}"
        )
    with replaced(path, exclusive=exclusive) as file:
        np.savez(file, header=np.array(text), **arrays)


def read(path, kind: str) -> tuple[dict, dict]:
    """(header, arrays) of a file of that kind, as the tables of `fields` describe them.

    Whatever is wrong with the file is a ValueError that names it.
    """
    wrong = f"{path} is not a fastgrad {kind}"
    path = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise zipfile.BadZipFile("it is no regular file")  # to open it might wait for ever
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is no .npz file")
            with zipfile.ZipFile(file) as members:
                header = archive.read_header(members)
                _check_kind(header, kind, path, wrong)
                return header, _checked(members, header, kind, path)
    except (FileNotFoundError, PermissionError, IsADirectoryError, WrongFileError):
        raise
    except (OSError, EOFError, ValueError, OverflowError, KeyError, NotImplementedError,
            RuntimeError, struct.error, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise ValueError(f"{wrong}, or it is damaged: {error}") from None


class WrongFileError(ValueError):
    """Said already, with the name of the file."""


def _check_kind(header, kind: str, path, wrong: str) -> None:
    found = header.get("kind") if isinstance(header, dict) else None
    if found != kind:
        known = isinstance(found, str) and found in READERS
        hint = f": read it with {READERS[found]}" if known else ""
        raise WrongFileError(f"{wrong}; it is a {fields.shown(found)}{hint}")
    version = header.get("version")
    if type(version) is not int or version != fields.VERSION:
        raise WrongFileError(
            f"{path} is a {kind} of version {fields.shown(version)}; expected {fields.VERSION}"
        )


def _checked(members, header, kind: str, path) -> dict:
    """The arrays, once the header is as the table says."""
    try:
        fields.check_header(header, fields.HEADERS[kind])
        return archive.read_arrays(members, fields.ARRAYS[kind](header))
    except ValueError as error:
        raise damaged(path, kind, error) from None


def damaged(path, kind: str, error) -> ValueError:
    """The error of a file that holds what cannot be."""
    return WrongFileError(f"{path} is a damaged fastgrad {kind}: {error}")
