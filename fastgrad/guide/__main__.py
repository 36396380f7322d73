"""`python -m fastgrad.guide FOLDER`: the notebooks to work in; with `--site`, the pages to read."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from . import notebooks


def main(argv=None) -> int:
    """Copy the notebooks, or make the pages of the guide and the reference.

    The exit code: 0 done, 2 something else is there already or the extra docs is missing.

    Examples
    --------
    >>> import contextlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
    ...     main([folder])
    0
    """
    parser = argparse.ArgumentParser(prog="fastgrad.guide", description=main.__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="made where it is missing")
    parser.add_argument("--site", action="store_true",
                        help="web pages instead of notebooks (extra docs)")  # fmt: skip
    options = parser.parse_args(argv)
    try:
        (_pages if options.site else _copies)(options.folder)
    except (FileExistsError, ImportError) as error:
        print(f"fastgrad.guide: {error}", file=sys.stderr)
        return 2
    return 0


def _copies(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    places = {path: folder / path.name for path in notebooks().values()}
    taken = [place for place in places.values() if place.exists()]
    if taken:
        raise FileExistsError(f"{taken[0]} exists; expected a free place")
    for path, place in places.items():
        shutil.copyfile(path, place)
        print(place)


def _pages(folder: Path) -> None:
    from .site import site

    for reason in site(folder):
        print(f"left out: {reason}", file=sys.stderr)
    print(folder / "index.html")


if __name__ == "__main__":
    sys.exit(main())
