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
