"""What type checkers say of scripts that use the library (extra ``types``: mypy and pyright).

``python tests/typing/check.py`` prints each checker's summary of `right.py`, `wrong.py`,
`guests.py` and the blocks of README and of the guide, and the share of public names that are typed.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPTS = [HERE / "right.py", HERE / "wrong.py"]
if all(map(importlib.util.find_spec, ("jax", "torch"))):
    SCRIPTS.append(HERE / "guests.py")
PAGES = [ROOT / "README.md", *sorted((ROOT / "fastgrad" / "guide").glob("*.md"))]
Report = dict[str, dict[int, set[str]]]  # by script and line
# What README's blocks, as a script, may do and a strict script may not: leave out annotations, and
# use a name for another thing in the next block.
OF_BLOCKS = (
    "--allow-redefinition", "--allow-untyped-defs", "--allow-untyped-calls",
    "--allow-untyped-decorators",
)  # fmt: skip


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, **env},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def mypy(folder: Path, *options: str) -> Report:
    """The codes of the errors of each script of a folder, line by line, by `mypy --strict`."""
    out = run(
        "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent",
        "--no-error-summary", f"--cache-dir={folder / 'cache'}", *options,
        *sorted(path.name for path in folder.glob("*.py")), cwd=folder, MYPYPATH=str(ROOT),
    )  # fmt: skip
    found: Report = {}
    for line in re.finditer(r"^(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$", out, re.MULTILINE):
        found.setdefault(line[1], {}).setdefault(int(line[2]), set()).add(line[3])
    return found


def pyright(folder: Path, **rules: bool) -> Report:
    """The rules of the errors, without "report", by `pyright`."""
    settings = {"extraPaths": [str(ROOT)], "reportMissingImports": False, **rules}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    out = run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=folder)
    found: Report = {}
    for said in json.loads(out)["generalDiagnostics"]:
        if said["severity"] == "error":
            lines = found.setdefault(Path(said["file"]).stem, {})
            rules_of = lines.setdefault(said["range"]["start"]["line"] + 1, set())
            rules_of.add(said["rule"].removeprefix("report"))
    return found


def of_scripts(checker, folder: Path) -> Report:
    """Of the scripts beside this file."""
    for path in SCRIPTS:
        shutil.copy(path, folder)
    return checker(folder)


def of_pages(checker, folder: Path) -> Report:
    """Of the blocks of README and of the guide, line by line of the page."""
    for page in PAGES:
        (folder / f"{page.stem.lower()}_md.py").write_text(blocks(page), encoding="utf-8")
    if checker is mypy:
        return mypy(folder, *OF_BLOCKS)
    # A loop that might have no turn is the script's own business.
    return pyright(folder, reportPossiblyUnbound=False, reportPossiblyUnboundVariable=False)


def marked() -> Report:
    """What the marks of the scripts' wrong lines name: a code of mypy's and a rule of pyright's."""
    found: Report = {}
    for path in SCRIPTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "  # E: " in line:
                codes = set(line.partition("  # E: ")[2].split(", "))
                found.setdefault(path.stem, {})[number] = codes
    return found


def blocks(source: Path) -> str:
    """The Python blocks of a Markdown file as a script, each line at its place."""
    lines, inside = [], False
    for line in source.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside, line = line == "```python", ""
        lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def public_names(module: str) -> set[str] | None:
    """The `__all__` of a module; None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def untyped(folder: Path) -> tuple[int, dict[str, list[str]]]:
    """(how many public names and members, what `pyright --verifytypes` says of those without a
    known type); public is what is in the `__all__` of a module outside `fastgrad.kernels`."""
    (folder / "fastgrad").symlink_to(ROOT / "fastgrad")
    out = run(
        "pyright", "--verifytypes", "fastgrad", "--ignoreexternal", "--outputjson", "--pythonpath",
        sys.executable, cwd=folder, PYTHONPATH=os.pathsep.join([str(folder), *sys.path[1:]]),
    )  # fmt: skip
    report = json.loads(out)["typeCompleteness"]
    modules = sorted((module["name"] for module in report["modules"]), key=len, reverse=True)
    names = {module: public_names(module) for module in modules}
    count, found = 0, {}
    for symbol in report["symbols"]:
        name = symbol["name"]
        module = next(m for m in modules if name == m or name.startswith(f"{m}."))
        public, first = names[module], name[len(module) + 1 :].partition(".")[0]
        if not symbol["isExported"] or public is None or module.startswith("fastgrad.kernels"):
            continue
        if first and first not in public:
            continue
        count += 1
        if not symbol["isTypeKnown"]:
            found[name] = [said["message"] for said in symbol["diagnostics"]]
    return count, found


def main() -> int:
    bad = 0
    for checker in (mypy, pyright):
        for what, wanted in ((of_scripts, marked()), (of_pages, {})):
            with tempfile.TemporaryDirectory() as name:
                found = what(checker, Path(name))
            same = {s: set(lines) for s, lines in found.items()} == {
                s: set(lines) for s, lines in wanted.items()
            }
            bad += not same
            said = {script: len(lines) for script, lines in found.items()} if same else found
            print(f"{checker.__name__} {what.__name__}: {'as expected' if same else 'NOT'}, {said}")
    with tempfile.TemporaryDirectory() as name:
        count, found = untyped(Path(name))
    print(f"{count - len(found)} of {count} public names and their members are typed; not {found}")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
