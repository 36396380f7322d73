"""What a table is read from: files by their endings, folders, standard input."""

from __future__ import annotations

import contextlib
import glob
import io
import lzma
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import datasets
from . import svmlight
from .arrow import pyarrow

ENDINGS = (".csv", ".tsv", ".npy", ".npz", ".parquet")
_ALIASES = {".txt": ".csv", ".dat": ".csv", ".data": ".csv", ".tab": ".tsv", ".pq": ".parquet"}
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".br": "brotli", ".xz": "xz"}


@dataclass
class Source:
    """One file: its name in messages, what it is, and where; `content` of what can be read once.

    `partition` are the columns that a path spells, as "year=2019/part.parquet".
    """

    name: str
    ending: str
    path: Path | None
    codec: str | None = None
    content: bytes | None = None
    partition: tuple[tuple[str, str], ...] = ()

    @contextlib.contextmanager
    def open(self, progress=None):
        """A binary file of the decompressed content; `progress` is told of bytes as they come."""
        with self._raw(progress) as raw:
            if self.codec == "xz":
                with lzma.open(raw) as file:
                    yield file
            elif self.codec is not None:
                yield pyarrow(self.name).CompressedInputStream(raw, self.codec)
            else:
                yield raw

    def open_native(self):
        """pyarrow's file of the decompressed content, read without Python where it can be."""
        pa = pyarrow(self.name)
        if self.content is not None:
            raw = pa.BufferReader(self.content)
        elif self.codec == "xz":
            return pa.PythonFile(lzma.open(self.path), "r")
        else:
            raw = pa.OSFile(str(self.path))
        return raw if self.codec is None else pa.CompressedInputStream(raw, self.codec)

    def _raw(self, progress):
        if self.content is not None:
            return io.BytesIO(self.content)
        return open(self.path, "rb") if progress is None else _Watched(self.path, progress)

    @property
    def size(self) -> int:
        return len(self.content) if self.content is not None else self.path.stat().st_size


class _Watched(io.FileIO):
    def __init__(self, path, progress):
        super().__init__(path)
        self._progress = progress

    def read(self, size=-1):
        data = super().read(size)
        self._progress(len(data))
        return data


def find(names) -> list[Source]:
    """The files of a command's data: each a file, a folder of files, a pattern as "part-*.csv" or
    "-"."""
    sources = []
    for name in names:
        if glob.has_magic(name) and not os.path.lexists(name):
            sources += _matching(name)
            continue
        if name == "-":
            content = sys.stdin.buffer.read()
            sources.append(_of_content("standard input", content))
            continue
        path = Path(name)
        if not os.path.lexists(path):
            raise ValueError(
                f"{name}: no such file; expected a file ({', '.join(ENDINGS)}, .svm), a folder of "
                f"them, - for standard input, or one of the embedded sets "
                f"{', '.join(datasets.names())}"
            )
        if path.is_dir():
            sources += _folder(path)
        elif not path.is_file() or not path.suffix:  # as /dev/stdin, or <(zcat table.csv.gz)
            sources.append(_of_content(name, path.read_bytes()))
        else:
            sources.append(of_path(path))
    endings = {source.ending for source in sources}
    if len(sources) > 1 and not (endings <= {".csv", ".tsv"} or endings == {".parquet"}):
        first = {source.ending: source.name for source in reversed(sources)}
        raise ValueError(
            f"{' and '.join(sorted(endings))} files together, as "
            f"{' and '.join(first[ending] for ending in sorted(endings))}; expected one file, or "
            f"several of CSV or of Parquet"
        )
    return sources


def _matching(pattern: str) -> list[Source]:
    """The files that a pattern names, in the order of their names."""
    paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    found = [
        of_path(path, keys_of(path.parts[:-1]))
        for path in paths
        if path.is_file() and not path.name.endswith(".history.csv")
    ]
    if not found:
        raise ValueError(f"{pattern}: no file matches; expected CSV or Parquet files")
    return found


def keys_of(folders) -> list[tuple[str, str]]:
    """The columns that names of folders spell, as "year=2019"."""
    return [tuple(part.split("=", 1)) for part in folders if "=" in part]


def _of_content(name: str, content: bytes) -> Source:
    ending, codec = ".csv", None
    if content[:4] == b"PAR1":
        ending = ".parquet"
    elif content[:2] == b"\x1f\x8b":
        codec = "gzip"
    return Source(name, ending, None, codec, content)


def stem(name: str) -> str:
    """The name of a file without the endings that say what it is."""
    path = Path(os.path.abspath(name))  # "." has a name too
    if path.suffix.lower() in CODECS:
        path = path.with_suffix("")
    known = *ENDINGS, *_ALIASES, *svmlight.ENDINGS
    return path.stem if path.suffix.lower() in known else path.name


def _ending(path: Path) -> tuple[str, str | None]:
    codec = CODECS.get(path.suffix.lower())
    suffix = (path.with_suffix("") if codec else path).suffix.lower()
    return _ALIASES.get(suffix, suffix), codec


def of_path(path, partition=()) -> Source:
    """A file by the ending of its name; a ValueError for one that is unknown."""
    path = Path(path)
    ending, codec = _ending(path)
    if ending not in ENDINGS or (codec and ending not in (".csv", ".tsv")):
        raise ValueError(
            f"{path}: unknown ending {path.suffix!r}; expected one of {', '.join(ENDINGS)} "
            f"(CSV also compressed: {', '.join(CODECS)})"
        )
    return Source(str(path), ending, path, codec, partition=tuple(partition))


def _folder(folder: Path) -> list[Source]:
    """Its tables in the order of their names; hidden files, "_SUCCESS" and histories are none."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(part.startswith((".", "_")) for part in inside.parts):
            continue
        if path.name.endswith(".history.csv"):
            continue
        if _ending(path)[0] in (".csv", ".tsv", ".parquet"):
            found.append(of_path(path, keys_of(inside.parts[:-1])))
    if not found:
        raise ValueError(f"{folder}: a folder without tables; expected CSV or Parquet files in it")
    return found
