"""README's Python blocks run as they stand, one after the other, in one namespace."""

import importlib.util
import re
from pathlib import Path

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"
GUESTS = ("torch", "jax")


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_every_python_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace, ran = {"__name__": "readme"}, 0
    for block in blocks():
        missing = [
            guest for guest in GUESTS
            if re.search(rf"(import|interop\.){guest}\b|import {guest}\b", block)
            and importlib.util.find_spec(guest) is None
        ]  # fmt: skip
        if missing:  # run by the interop tests, where the guest is installed
            continue
        exec(compile(block, str(README), "exec"), namespace)
        ran += 1
    assert ran >= 2
    loss, w, b = (
        capsys.readouterr().out.splitlines()[0].split(maxsplit=1)[0],
        *(namespace[name] for name in ("w", "b")),
    )
    assert float(loss) < 1e-9
    assert abs(w - [1.0, -2.0, 0.5]).max() < 1e-4 and abs(b - 0.3) < 1e-4


def test_the_first_gradient_takes_ten_lines():
    lines = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_every_row_of_the_table_names_public_functions():
    import fastgrad as fg

    rows = re.findall(r"^\| (\d+) \|.*\| (.*?) \|$", README.read_text(encoding="utf-8"), re.M)
    numbers = [int(number) for number, _ in rows]
    assert numbers == sorted(set(numbers)) and {*range(1, 40)} <= set(numbers)
    for _, functions in rows:
        for name in re.findall(r"`([\w.]+)", functions):
            thing = fg
            for part in name.split("."):
                thing = getattr(thing, part, None) or getattr(fg.calculus, part)


def test_every_guarantee_names_tests_that_exist():
    table = README.read_text(encoding="utf-8").split("## What is guaranteed")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
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
