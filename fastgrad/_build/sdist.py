"""The sdist: setuptools', and what proves and measures the package: tests, benchmarks, changelog."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.sdist import sdist

ROOT = Path(__file__).parents[2]
FILES = ("CHANGELOG.md", "asv.conf.json", "fastgrad/_build/*.py")
FOLDERS = ("tests", "benchmarks")


def more_files() -> list[str]:
    """Of the tree, from its root: what setuptools leaves out, and no compiled file."""
    found = [path for pattern in FILES for path in ROOT.glob(pattern)]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    kept = (p for p in found if p.is_file() and p.suffix not in (".pyc", ".nbi", ".nbc"))
    return sorted(str(p.relative_to(ROOT)) for p in kept)


class Sdist(sdist):
    def make_distribution(self) -> None:
        self.filelist.extend(more_files())
        self.filelist.remove_duplicates()
        super().make_distribution()
