"""The notebooks run from top to bottom, are shipped without outputs, and their exercises answer."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastgrad as fg
from fastgrad.guide import __main__ as entry
from fastgrad.guide import execute, notebooks

NAMES = ["1_the_paper", "2_gradient_descent", "3_your_own_loss"]
needs_docs = pytest.mark.skipif(
    not (importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel")),
    reason="the extra docs is not installed",
)


def cells(name, kind="code"):
    book = json.loads(notebooks()[name].read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == kind]


def run(name, monkeypatch, change=None):
    """The code cells one after the other, as a kernel runs them."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: None)
    namespace = {"__name__": "guide"}
    try:
        for source in cells(name):
            exec(compile(change(source) if change else source, name, "exec"), namespace)
    finally:
        pyplot.close("all")
    return namespace


def test_the_notebooks_are_these():
    assert list(notebooks()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_no_outputs_and_is_version_4(name):
    book = json.loads(notebooks()[name].read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse("".join(cell["source"]))


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs(name, monkeypatch, capsys):
    run(name, monkeypatch)
    out = capsys.readouterr().out
    assert "agree" in out


def test_exercises_of_the_paper_are_judged(monkeypatch, capsys):
    run("1_the_paper", monkeypatch)
    out = capsys.readouterr().out
    assert out.count("is wrong: analytic") == 4
    assert "w[1] is wrong" in out
    assert "all 12 entries agree" in out


def test_a_right_answer_is_told_so(monkeypatch, capsys):
    answers = {
        "return 0 * x  # your derivative": "return 3 * x**2 - 10 * x",
        "return np.eye(len(x))  # your Jacobian": "return np.diag(2 * z * x)",
        "e = X @ theta[:2] + theta[2] - target": "u = X @ theta[:2] + theta[2]\n"
        "    e = np.where(u > 0, u - target, 0)",
        "return np.zeros_like(X)  # your matrix product of Delta and W": "return Delta @ W.T",
    }
    used = set()

    def answered(source):
        for stub, answer in answers.items():
            if stub in source:
                source = source.replace(stub, answer)
                used.add(stub)
        return source

    run("1_the_paper", monkeypatch, answered)
    assert used == set(answers)
    assert "is wrong" not in capsys.readouterr().out


def test_exercises_of_the_own_loss_are_judged(monkeypatch, capsys):
    run("3_your_own_loss", monkeypatch)
    out = capsys.readouterr().out
    assert "every entry is 5 times the numerical one" in out
    assert out.count("is wrong: analytic") == 2


@needs_docs
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_in_a_kernel_and_shows_its_results(name):
    """In a process of its own: kernels start threads and event loops that warn at their end."""
    code = (
        "import json, sys; from fastgrad.guide import execute, notebooks\n"
        f"book = execute(notebooks()[{name!r}])\n"
        "kinds = [list(o.get('data', ())) for c in book.cells for o in c.get('outputs', ())]\n"
        "print(json.dumps(kinds))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kinds = json.loads(done.stdout.splitlines()[-1])
    wanted = "text/markdown" if name == "1_the_paper" else "image/png"
    assert sum(wanted in kind for kind in kinds) >= 2


def test_notebooks_name_only_what_there_is():
    """Each fg.… of a notebook, but for what is imported when it is first asked for."""
    for name in NAMES:
        for found in re.findall(r"\bfg\.(\w+)", "".join(cells(name))):
            assert hasattr(fg, found), found


def test_copies_go_to_a_free_folder(tmp_path, capsys):
    assert entry.main([str(tmp_path / "new")]) == 0
    copied = sorted(tmp_path.glob("new/*.ipynb"))
    assert [path.stem for path in copied] == NAMES
    assert copied[0].read_bytes() == notebooks()[NAMES[0]].read_bytes()
    assert capsys.readouterr().out.split() == [str(path) for path in copied]
    assert entry.main([str(tmp_path / "new")]) == 2
    assert "exists; expected a free place" in capsys.readouterr().err


def test_without_nbclient_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nbclient", None)
    with pytest.raises(ImportError, match=r'pip install "fastgrad\[docs\]"'):
        execute(Path("none.ipynb"))
