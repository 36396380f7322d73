"""`fastgrad cache`: where compiled kernels are, how many, how large; clear them, or move them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..kernels import folders
from .errors import UserError
from .output import as_json


def cache(args) -> int:
    place = _place()
    if args.clear and args.move:
        raise UserError("--clear and --move; expected one of them")
    if args.clear:
        return _clear(place, args)
    if args.move:
        return _move(place, Path(args.move).absolute(), args)
    own, others = _kernels(place, others=False), _kernels(place, others=True)
    wheel = sorted(folders.WHEEL.rglob("*.nbc"))
    found = {
        "place": folders.described(), "version": folders.STAMP,
        "kernels": len(own), "bytes": _size(own),
        "other_versions": len({path.parent for path in others}),
        "kernels_of_others": len(others), "bytes_of_others": _size(others),
        "wheel": folders.wheel_folder()[1], "kernels_in_wheel": len(wheel),
        "bytes_in_wheel": _size(wheel),
    }  # fmt: skip
    if args.json:
        print(as_json(found))
        return 0
    print(f"place     {found['place']}")
    print(f"kernels   {_words(own)}, of {folders.STAMP}")
    print(f"others    {_words(others)}, of {found['other_versions']} other versions")
    print(f"wheel     {_words(wheel)}: {found['wheel']}")
    return 0


def _place() -> Path | None:
    """The cache that is written to, or the one that is read where none is."""
    found = folders.cache_folders()
    return Path(found[0][0]) if found else None


def _kernels(place: Path | None, others: bool | None = None, ending: str = "") -> list[Path]:
    """Files of kernels: of these sources and versions, of others, or all; with an `ending` more,
    those that a process was killed at."""
    if place is None:
        return []
    paths = sorted(place.glob(f"*-py*-numba*/*.nbc{ending}"))
    return [p for p in paths if others is None or (p.parent.name != folders.STAMP) == others]


def _size(paths) -> int:
    return sum(path.stat().st_size for path in paths)


def _words(paths) -> str:
    return f"{len(paths)}, {_size(paths) / 2**20:.1f} MiB"


def _clear(place: Path | None, args) -> int:
    """Delete kernels, and the folders that this leaves empty."""
    others = None if args.clear == "all" else True
    paths, unfinished = _kernels(place, others), _kernels(place, others, ".*")
    words = _words(paths)
    for path in [*paths, *unfinished]:
        path.unlink(missing_ok=True)
    _remove_empty(place, {path.parent for path in [*paths, *unfinished]})
    _say(args, {"cleared": len(paths), "place": place and str(place)},
         f"cleared {words}, in {place or 'no place'}")  # fmt: skip
    return 0


def _remove_empty(place, parents) -> None:
    for folder in [*parents, *([place] if place else [])]:
        try:
            folder.rmdir()
        except OSError:  # somebody else's files, or none of ours
            pass


def _move(place: Path | None, target: Path, args) -> int:
    """All kernels to another folder, and the variable that keeps them there."""
    if target.exists() and not target.is_dir():
        raise UserError(f"--move is {target}, a file; expected a folder")
    paths = _kernels(place)
    is_there = paths and target.exists() and place.samefile(target)  # maybe by another name
    for path in [] if is_there else paths:
        to = target / path.parent.name / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, f"{to}.moved")
        os.replace(f"{to}.moved", to)
        path.unlink(missing_ok=True)
    if not is_there:
        _remove_empty(place, {path.parent for path in paths})
    variable = f"{folders.CACHE}={target}"
    _say(args, {"moved": len(paths), "place": str(target), "variable": variable},
         f"moved {len(paths)} kernels to {target}; from now on\nexport {variable}")  # fmt: skip
    return 0


def _say(args, found: dict, words: str) -> None:
    print(as_json(found) if args.json else words)
