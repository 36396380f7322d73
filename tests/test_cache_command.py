"""`fastgrad cache`: shows, clears and moves compiled kernels; the line to who waits for them."""

import json
import shutil
import time
from pathlib import Path

import pytest
from helpers import run_python
from test_cache import CALL, kernels_in

from fastgrad.__main__ import main
from fastgrad._cli import patience
from fastgrad.kernels import cache, folders


@pytest.fixture(scope="module")
def two_kernels(tmp_path_factory):
    """A cache with two kernels of these sources."""
    folder = tmp_path_factory.mktemp("kernels") / "cache"
    for dtype in ("f4", "f8"):
        run_python(CALL, dtype, **{folders.CACHE: str(folder)})
    return folder


@pytest.fixture
def place(two_kernels, tmp_path, monkeypatch):
    """A cache with two kernels of these sources and one of others, and somebody's own file."""
    monkeypatch.setenv(folders.CACHE, str(tmp_path / "cache"))
    shutil.copytree(two_kernels, tmp_path / "cache")
    other = tmp_path / "cache" / "0.0.9-py311-numba0.61.0-0123456789ab"
    other.mkdir()
    (other / "engine.step.0.nbc").write_bytes(b"old code")
    (tmp_path / "cache" / "mine.nbc").write_bytes(b"")
    return tmp_path / "cache"


def said(capsys, *words):
    assert main(["cache", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_shows_place_number_size_and_other_versions(place, capsys):
    found = said(capsys)
    assert found["place"] == str(place) and found["version"] == folders.STAMP
    assert (found["kernels"], found["kernels_of_others"], found["other_versions"]) == (2, 1, 1)
    assert found["bytes_of_others"] == 8 and found["kernels_in_wheel"] == 0
    own = kernels_in(place / folders.STAMP)
    assert found["bytes"] == sum(path.stat().st_size for path in own)
    assert main(["cache"]) == 0
    words = capsys.readouterr().out
    assert str(place) in words and "kernels   2, " in words and "others    1, " in words


def test_it_clears_what_is_of_others_or_all_and_nobody_elses_files(place, capsys):
    assert said(capsys, "--clear", "others")["cleared"] == 1
    assert len(kernels_in(place)) == 3 and sorted(p.name for p in place.iterdir()) == [
        folders.STAMP, "mine.nbc",
    ]  # fmt: skip
    assert said(capsys, "--clear")["cleared"] == 2
    assert [path.name for path in place.rglob("*")] == ["mine.nbc"]
    assert said(capsys)["kernels"] == 0


def test_it_moves_them_and_says_what_keeps_them_there(place, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in kernels_in(place) if path.parent != place}
    found = said(capsys, "--move", tmp_path / "new" / "place")
    assert found["moved"] == 3 and found["variable"] == f"FASTGRAD_CACHE={tmp_path / 'new/place'}"
    new = Path(found["place"])
    assert {path.name: path.read_bytes() for path in kernels_in(new)} == before
    assert [path.name for path in place.rglob("*")] == ["mine.nbc"]
    counted = "from fastgrad.kernels.cache import counts\nprint(counts['compiled'])"
    assert run_python(CALL + counted, FASTGRAD_CACHE=str(new)).strip() == "0"
    again = said(capsys, "--move", place)  # this process's own place
    assert again["moved"] == 0


def test_moved_to_where_they_are_by_another_name_they_stay(place, tmp_path, capsys):
    (tmp_path / "link").symlink_to(place)
    for name in (tmp_path / "link", place / ".." / place.name):
        said(capsys, "--move", name)
        assert said(capsys)["kernels"] == 2


def test_what_a_killed_process_left_is_cleared(place, capsys):
    (place / folders.STAMP / "engine.step.0.nbc.0123456789ab").touch()
    assert said(capsys, "--clear", "all")["cleared"] == 3
    assert [path.name for path in place.rglob("*")] == ["mine.nbc"]


def test_a_drive_that_is_not_there(monkeypatch):
    monkeypatch.setattr(folders.os.path, "lexists", lambda path: False)
    assert not folders._is_writable("/no/drive")


def test_wrong_uses(place, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["cache", "--move", str(tmp_path / "file")]) == 2
    assert "expected a folder" in capsys.readouterr().err
    assert main(["cache", "--move", str(tmp_path / "x"), "--clear"]) == 2
    assert "expected one of them" in capsys.readouterr().err


def test_without_a_cache(monkeypatch, capsys):
    monkeypatch.setenv(folders.CACHE, "0")
    assert said(capsys)["place"] == "off" and said(capsys, "--clear")["cleared"] == 0


# the line to who waits


@pytest.fixture
def waiting(monkeypatch, capsys):
    """What is said while `job` runs, with no delay."""
    monkeypatch.setattr(patience, "DELAY", 0.01)

    def said(job, quiet=False):
        with patience.patience(quiet) as started:
            job(started)
            time.sleep(0.1)
        return capsys.readouterr().err

    return said


def test_it_is_said_once_and_only_where_something_compiles(waiting):
    assert waiting(lambda started: None) == ""
    twice = waiting(lambda started: [cache.note_compilation("x") for _ in range(2)])
    assert twice == patience.WORDS + "\n"


def test_it_is_not_said_when_work_has_begun_or_nobody_listens(waiting):
    def begun(started):
        cache.note_compilation("x")
        started(None)

    assert waiting(begun) == ""
    assert waiting(lambda started: cache.note_compilation("x"), quiet=True) == ""
