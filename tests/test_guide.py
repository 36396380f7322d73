"""The guide: the Python blocks of each chapter run as they stand, its links lead somewhere.

The table of guarantees names tests that exist, that of formulas public functions.
"""

import importlib.util
import re
from pathlib import Path

import pytest

import fastgrad as fg

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"
GUIDE = Path(fg.__file__).parent / "guide"
CHAPTERS = sorted(GUIDE.glob("*.md"))
GUESTS = ("torch", "jax", "opacus", "scipy", "sklearn", "dask", "distributed", "pyarrow")


def text_of(name):
    return (GUIDE / f"{name}.md").read_text(encoding="utf-8")


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def lacks_a_guest(block):
    named = re.findall(rf"\b({'|'.join(GUESTS)})\b", block)
    return any(importlib.util.find_spec(name) is None for name in named)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_python_block_of_a_chapter_runs(chapter, folder):
    if "fg.plots" in chapter.read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib").use("Agg")
    text, namespace, ran = chapter.read_text(encoding="utf-8"), {"__name__": chapter.stem}, 0
    for block in python_blocks(text):
        if not lacks_a_guest(block):
            exec(compile(block, str(chapter), "exec"), namespace)
            ran += 1
    assert ran or "```python" not in text


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


PAGES = CHAPTERS + ([README] if README.exists() else [])  # no README beside an installed package


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings_that_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.is_file(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_every_formula_names_public_functions():
    rows = re.findall(r"^\| (\d+) \|.*\| (.*?) \|$", text_of("formulas"), re.M)
    numbers = [int(number) for number, _ in rows]
    assert numbers == sorted(set(numbers)) and {*range(1, 40)} <= set(numbers)
    for _, functions in rows:
        for name in re.findall(r"`([\w.]+)", functions):
            thing = fg
            for part in name.split("."):
                thing = getattr(thing, part, None) or getattr(fg.calculus, part)


def test_every_guarantee_names_tests_that_exist():
    rows = [line for line in text_of("guarantees").splitlines() if line.startswith("| ")][1:]
    files = {path.name: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    assert len(rows) >= 15
    for row in rows:
        tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`( \(.*?\))?", row)
        assert tests, row
        for file, name, mark in tests:
            before, found, _ = files[file].partition(f"\ndef {name}(")
            assert found, f"{file}::{name}"
            decorators = before.rsplit("\n\n", 1)[-1]
            assert ("stress" in mark) == ("@pytest.mark.stress" in decorators), f"{file}::{name}"
            if '\ntorch = pytest.importorskip("torch")' in files[file]:
                assert "with torch" in mark, f"{file}::{name}"
