"""`python -m fastgrad.guide FOLDER`: copy the notebooks to a folder to work in."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from . import notebooks


def main(argv=None) -> int:
    """Copy the notebooks; the exit code: 0 done, 2 a notebook of that name is there already.

    Examples
    --------
    >>> import contextlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
    ...     main([folder])
    0
    """
    parser = argparse.ArgumentParser(prog="fastgrad.guide", description=main.__doc__.split(";")[0])
    parser.add_argument("folder", type=Path, help="made where it is missing")
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    places = {path: folder / path.name for path in notebooks().values()}
    taken = [place for place in places.values() if place.exists()]
    if taken:
        print(f"fastgrad.guide: {taken[0]} exists; expected a free place", file=sys.stderr)
        return 2
    for path, place in places.items():
        shutil.copyfile(path, place)
        print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
