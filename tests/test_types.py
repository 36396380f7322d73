"""What type checkers say of right and of wrong uses (extra ``types``)."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "typing"))
import check

sys.path.pop(0)


@pytest.fixture(params=[check.mypy, check.pyright], ids=lambda checker: checker.__name__)
def checker(request):
    pytest.importorskip(request.param.__name__)
    return request.param


def test_wrong_uses_are_reported_and_right_ones_are_not(checker, tmp_path):
    for guest in ("scipy", "sklearn"):
        pytest.importorskip(guest)
    found, marks = check.of_scripts(checker, tmp_path), check.marked()
    assert found.keys() == marks.keys()
    for script, lines in found.items():
        assert lines.keys() == marks[script].keys(), script
        for line, codes in lines.items():
            assert codes <= marks[script][line], (script, line)


def test_the_blocks_of_readme_and_guide_are_right(checker, tmp_path):
    assert check.of_pages(checker, tmp_path) == {}


def test_public_names_have_types(tmp_path):
    pytest.importorskip("pyright")
    count, found = check.untyped(tmp_path)
    # scikit-learn has no types, so the base class of estimators is unknown; as is that of a guest
    # that is not installed.
    guests = [name for name in ("torch", "jax", "dask") if not importlib.util.find_spec(name)]
    unknown = "interop.sklearn", "interop.dask.DaskMLP", *(f"interop.{name}" for name in guests)
    odd = {name for name in found if not any(part in name for part in unknown)}
    assert count > 600 and not odd, {name: found[name] for name in odd}
