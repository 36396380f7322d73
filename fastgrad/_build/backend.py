"""The build backend: setuptools', and compiled kernels in the wheel (PEP 517).

    python -m build                            kernels of every level of this kind of processor
    python -m build -C kernels=none            a pure wheel, for every platform
    python -m build -C kernels=x86-64-v3       these levels, by commas

`FASTGRAD_BUILD_KERNELS` says the same where no option can be given. Without either, what pip builds
on its own (`pip install .`) is pure, since its user waits for it: kernels then compile when they
are first needed. An sdist builds both.

Machine code is of one Numba, one CPython and one kind of processor, and so is the wheel: its tag is
that of the Numba it was compiled with, whose shared libraries are all that it needs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 - hooks
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from setuptools.compat.py310 import tomllib

VARIABLE, OPTION = "FASTGRAD_BUILD_KERNELS", "kernels"
_ROOT = Path(__file__).parents[2]


def wanted(settings=None) -> list[str] | None:
    """Names of levels; [] for all of this kind of processor, None for none."""
    said = (settings or {}).get(OPTION) or os.environ.get(VARIABLE, "")
    said = said.strip().lower()
    if said in ("none", "0") or (not said and "PIP_BUILD_TRACKER" in os.environ):
        return None
    return [] if said in ("", "all", "1") else [name.strip() for name in said.split(",")]


def _setuptools_settings(settings):
    return {name: value for name, value in (settings or {}).items() if name != OPTION}


def get_requires_for_build_wheel(config_settings=None):
    found = build_meta.get_requires_for_build_wheel(_setuptools_settings(config_settings))
    return found if wanted(config_settings) is None else [*found, *_run_time_requirements()]


def _run_time_requirements() -> list[str]:
    with open(_ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["dependencies"]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    settings = _setuptools_settings(config_settings)
    name = build_meta.build_wheel(wheel_directory, settings, metadata_directory)
    levels = wanted(config_settings)
    if levels is None:
        return name
    with tempfile.TemporaryDirectory() as folder:
        kernels = compiled(Path(folder), levels)
        return with_kernels(Path(wheel_directory) / name, kernels, numba_tag()).name


def _run(*args, **environment) -> str:
    """Python in the tree that is built, with nobody's settings for kernels."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FASTGRAD_"))}
    environment = {
        **kept, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment
    }  # fmt: skip
    command = [sys.executable, *map(str, args)]
    return subprocess.run(
        command, check=True, env=environment, cwd=_ROOT, stdout=subprocess.PIPE, text=True
    ).stdout


_LEVELS = """
from fastgrad.kernels import folders, levels
print(folders.STAMP)
for level in levels.of_this_machine():
    print(level.name, *map("=".join, level.environment.items()))
"""


def compiled(folder: Path, names) -> dict[str, bytes]:
    """The files of kernels, by their place in the wheel."""
    stamp, *lines = _run("-c", _LEVELS).splitlines()
    levels = {line.split()[0]: dict(x.split("=") for x in line.split()[1:]) for line in lines}
    for name in names or levels:
        if name not in levels:
            raise SystemExit(f"{OPTION}={name}; expected none, all or {', '.join(levels)}")
    recorded = folder / "recorded"
    _say("finding out which kernels the usual jobs call")
    _run("-m", "fastgrad._usual", "record", recorded,
         NUMBA_NUM_THREADS="2", FASTGRAD_CACHE=str(folder / "own"))  # fmt: skip

    def compile_for(name):
        _say(f"compiling kernels for {name}")
        _run("-m", "fastgrad._usual", "compile", recorded,
             FASTGRAD_CACHE=str(folder / name), **levels[name])  # fmt: skip
        return {
            f"fastgrad/kernels/compiled/{stamp}/{name}/{path.name}": path.read_bytes()
            for path in sorted((folder / name / stamp).glob("*.nbc"))
        }

    with ThreadPoolExecutor() as pool:
        return {k: v for files in pool.map(compile_for, names or levels) for k, v in files.items()}


def _say(words: str) -> None:
    print(f"fastgrad: {words}", file=sys.stderr, flush=True)


def numba_tag() -> str:
    """This Python's tag and the platform of the Numba in use, as in cp311-cp311-linux_x86_64."""
    from importlib.metadata import distribution

    lines = (distribution("numba").read_text("WHEEL") or "").splitlines()
    tags = [line.split(":")[1].strip() for line in lines if line.startswith("Tag:")]
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = ".".join(dict.fromkeys(tag.rsplit("-", 1)[1] for tag in tags))
    return f"{python}-{python}{getattr(sys, 'abiflags', '')}-{platform}"


def with_kernels(pure: Path, files: dict[str, bytes], tag: str) -> Path:
    """The pure wheel with more files and another tag, in its place."""
    name, version = pure.name.split("-")[:2]
    path = pure.with_name(f"{name}-{version}-{tag}.whl")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(pure) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        entries = [entry for entry in old.infolist() if entry.filename != f"{info}/RECORD"]
        record, stamp = [], entries[0].date_time
        for entry in entries:
            data = old.read(entry)
            if entry.filename == f"{info}/WHEEL":
                data = _retagged(data.decode(), tag).encode()
            record.append(_add(new, entry, data))
        for file, data in files.items():
            entry = zipfile.ZipInfo(file, stamp)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            record.append(_add(new, entry, data))
        text = io.StringIO()
        rows = [*record, (f"{info}/RECORD", "", "")]
        csv.writer(text, lineterminator="\n").writerows(rows)
        entry = zipfile.ZipInfo(f"{info}/RECORD", stamp)
        entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
        new.writestr(entry, text.getvalue())
    pure.unlink()
    return path


def _add(archive, entry, data: bytes) -> tuple:
    """Its line of RECORD."""
    archive.writestr(entry, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return entry.filename, f"sha256={digest}", len(data)


def _retagged(text: str, tag: str) -> str:
    python, abi, platforms = tag.split("-")
    lines = [line for line in text.splitlines() if line and not line.startswith("Tag:")]
    lines = ["Root-Is-Purelib: false" if x.startswith("Root-Is-") else x for x in lines]
    return "\n".join([*lines, *(f"Tag: {python}-{abi}-{x}" for x in platforms.split(".")), "", ""])
