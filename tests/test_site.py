"""The site: every link and anchor leads somewhere, every public name has its place."""

import html
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import fastgrad as fg
from fastgrad.guide import __main__ as entry
from fastgrad.guide.site import chapters

needs_pdoc = pytest.mark.skipif(
    not (importlib.util.find_spec("pdoc") and importlib.util.find_spec("latex2mathml")),
    reason="the extra docs is not installed",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """{path: text} of a site, made by the command."""
    folder = tmp_path_factory.mktemp("pages") / "site"
    assert entry.main(["--site", str(folder)]) == 0
    found = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    return {path: re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
            for path, text in found.items()}  # fmt: skip


@needs_pdoc
def test_links_and_pictures_lead_to_what_is_there(pages):
    places = {path: {*re.findall(r'\bid="([^"]+)"', text)} for path, text in pages.items()}
    checked = 0
    for page, text in pages.items():
        for link in re.findall(r'\b(?:href|src)="([^"]*)"', text):
            if re.match(r"https?://|data:", link):
                continue
            name, _, anchor = html.unescape(link).partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), f"{page.name}: {link}"
            if anchor and target in places:
                assert anchor in places[target], f"{page.name}: {link}"
            checked += 1
    assert checked > 1000


@needs_pdoc
def test_every_chapter_and_every_public_name_is_there(pages):
    names = {path.stem for path in pages}
    assert {*chapters(), "index"} <= names
    reference = next(text for path, text in pages.items() if path.name == "fastgrad.html")
    for name in fg.__all__:
        module = getattr(fg, name)
        if isinstance(module, type(sys)):
            assert name in names, name
        else:
            assert f'id="{name}"' in reference, name


@needs_pdoc
def test_mathematics_is_drawn_without_a_script_or_the_network(pages):
    formulas = next(text for path, text in pages.items() if path.name == "formulas.html")
    assert formulas.count("<math ") > 60 and "$" not in formulas
    curvature = next(text for path, text in pages.items() if path.name == "curvature.html")
    assert 'href="../formulas.html#formula-34"' in curvature
    assert re.search(r"<li value=34>.*?<math ", curvature)
    for text in pages.values():
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', text)


@needs_pdoc
def test_tables_of_a_docstring_stay_tables(pages):
    calculus = next(text for path, text in pages.items() if path.name == "calculus.html")
    assert re.search(r"<pre>.*single_variable_chain", calculus, re.S)


@needs_pdoc
def test_a_folder_with_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert entry.main([str(tmp_path), "--site"]) == 2
    assert "expected a free folder or an earlier site" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_pdoc_the_error_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pdoc", None)
    assert entry.main([str(tmp_path / "site"), "--site"]) == 2
    assert 'pip install "fastgrad[docs]"' in capsys.readouterr().err
    assert not Path(tmp_path / "site").exists()
