"""The folders of compiled kernels: which sources they are of, where they lie, who may write there.

The cache is one folder a user, for every copy of the package, and in it one folder for each stamp:
what machine code depends on besides its processor. Copies with the same sources have the same
stamp, a clone and an installation alike. A wheel may bring its own (`compiled/STAMP/LEVEL` beside
this file), which is read and never written. Folders are made when something is compiled.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import llvmlite
import numba
from numba.core.registry import cpu_target
from numba.misc.appdirs import AppDirs

from .._version import __version__
from . import levels

CACHE = "FASTGRAD_CACHE"  # a folder, or 0 for none
KERNELS = "FASTGRAD_KERNELS"  # "native": those of a wheel are not used

_HERE = Path(__file__).parent


def digest_of(paths, also: str = "") -> str:
    """Of the names and texts of files."""
    digest = hashlib.sha256(also.encode())
    for path in sorted(paths):
        try:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        except OSError:  # a package without sources beside it: the versions must do
            pass
    return digest.hexdigest()


_SOURCES = [*_HERE.glob("*.py"), *(_HERE.parent / name for name in ("losses.py", "activations.py"))]
_PYTHON = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
SOURCES_DIGEST = digest_of(
    _SOURCES, f"{__version__} {numba.__version__} {llvmlite.__version__} {_PYTHON}"
)
STAMP = f"{__version__}-{_PYTHON}-numba{numba.__version__}-{SOURCES_DIGEST[:12]}"
WHEEL = _HERE / "compiled"


class Place(NamedTuple):
    """A folder of kernels, and the target that those we look for there were compiled for."""

    folder: str
    target: tuple
    writable: bool = False
    in_wheel: bool = False


def own_target() -> tuple:
    """What Numba compiles for in this process: (triple, processor, features)."""
    return cpu_target.target_context.codegen().magic_tuple()


def _user_cache() -> str | None:
    folder = AppDirs(appname="fastgrad", appauthor=False).user_cache_dir
    return folder if os.path.isabs(folder) else None  # a user without a home


def _is_writable(folder: str) -> bool:
    """Whether files can be made there, maybe after the folder itself."""
    while not os.path.lexists(folder):
        below, folder = folder, os.path.dirname(folder)
        if folder == below:  # a drive that is not there
            return False
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def cache_folders() -> list[tuple[str, bool]]:
    """(folder, whether it is written to): the user's own, or the one that the environment names;
    both, where that one can only be read."""
    given = os.environ.get(CACHE, "").strip()
    if given == "0":
        return []
    if given in ("", "1"):
        given = numba.config.CACHE_DIR and os.path.join(numba.config.CACHE_DIR, "fastgrad")
    wanted = [os.path.abspath(given)] if given else []
    if not wanted or not _is_writable(wanted[0]):
        wanted += filter(None, [_user_cache()])
    writable = [folder for folder in wanted if _is_writable(folder)][:1]
    read = [folder for folder in wanted if folder not in writable]
    return [(folder, True) for folder in writable] + [(folder, False) for folder in read]


def wheel_folder() -> tuple[str | None, str]:
    """(where the wheel's kernels for this process are, or None; what to say of it)."""
    if not WHEEL.is_dir():
        return None, "compiled here"
    if os.environ.get(KERNELS, "").strip() == "native":
        return None, f"compiled here, as {KERNELS} says"
    level = levels.of_this_process()
    if not (WHEEL / STAMP).is_dir():
        stamps = ", ".join(sorted(path.name for path in WHEEL.iterdir()))
        return None, f"compiled here (the wheel's are for {stamps})"
    if level is None or not (WHEEL / STAMP / level.name).is_dir():
        return None, "compiled here (the wheel has none for this processor)"
    return str(WHEEL / STAMP / level.name), f"{level.name}, from the wheel; others compiled here"


@lru_cache(maxsize=1)
def places() -> tuple[Place, ...]:
    """Where kernels are looked for; what is compiled goes to the one that is writable."""
    target = own_target()
    found = [
        Place(os.path.join(folder, STAMP), target, writable) for folder, writable in cache_folders()
    ]
    folder, _ = wheel_folder()
    if folder:
        level = levels.of_this_process()
        found.append(Place(folder, (target[0], level.cpu, level.features), in_wheel=True))
    return tuple(found)


def described() -> str:
    """The cache, in words."""
    folders = cache_folders()
    if not folders:
        return "off" if os.environ.get(CACHE, "").strip() == "0" else "off (no folder for it)"
    return ", ".join(folder + ("" if writable else " (read only)") for folder, writable in folders)
