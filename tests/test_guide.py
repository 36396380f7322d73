"""The Python blocks of each chapter of the guide run as they stand, in one namespace."""

import importlib.util
import re
from pathlib import Path

import pytest

import fastgrad

CHAPTERS = sorted((Path(fastgrad.__file__).parent / "guide").glob("*.md"))
GUESTS = ("torch", "jax", "opacus", "scipy", "dask", "distributed", "mpi4py")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_python_block_of_a_chapter_runs(chapter, folder):
    text, namespace, ran = chapter.read_text(encoding="utf-8"), {"__name__": chapter.stem}, 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        wanted = re.findall(rf"^(?:from|import) ({'|'.join(GUESTS)})\b", block, re.M)
        if any(importlib.util.find_spec(name) is None for name in wanted):
            continue
        exec(compile(block, str(chapter), "exec"), namespace)
        ran += 1
    assert ran


def test_there_are_chapters():
    assert CHAPTERS
