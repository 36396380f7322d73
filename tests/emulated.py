"""Tests on an emulated ARM processor: the NEON path where no such machine is at hand.

As root on Debian, with `apt-get install qemu-user-static debootstrap`:

    python tests/emulated.py FOLDER                    # the tests of TESTS
    python tests/emulated.py FOLDER tests/test_out.py  # or pytest's own arguments

The first call unpacks Debian's arm64 CPython and PyPI's aarch64 wheels in FOLDER (300 MB). Then
pytest runs in it, two threads; compiled kernels are kept there. Processes that a test starts are
emulated too. It is slow: an hour. No timing there means anything.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QEMU = "qemu-aarch64-static"
PYTHON = "3.11"  # of Debian 12
PACKAGES = "numpy numba pytest hypothesis".split()
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)] + ["manylinux2014_aarch64"]

# Kernels and their reference, plans on every cut, layouts, arrays before unreadable pages.
TESTS = [
    "tests/test_neuron.py", "tests/test_dense.py", "tests/test_plans.py", "tests/test_layouts.py",
    "tests/test_memory.py", "tests/test_out.py",
]  # fmt: skip


def run(*command, **options):
    print("+", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, **options)


def unpack_system(root: Path) -> None:
    """Debian's arm64 CPython and libgomp in `root`."""
    run(
        "debootstrap", "--arch=arm64", "--foreign", "--variant=minbase",
        f"--include=python3,libpython{PYTHON},libgomp1", "bookworm", root,
    )  # fmt: skip
    for package in sorted(root.glob("var/cache/apt/archives/*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)


def unpack_wheels(site: Path) -> None:
    """The packages, for that CPython on aarch64."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--target", site, "--no-compile",
        "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms,
        *PACKAGES,
    )  # fmt: skip


def interpreter(folder: Path) -> Path:
    """A command that is the emulated Python: what tests start as `sys.executable`."""
    root, command = folder / "root", folder / "python"
    words = [QEMU, "-L", root, root / f"usr/bin/python{PYTHON}"]
    command.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
    command.chmod(0o755)
    return command


def emulated(folder: Path, *arguments) -> int:
    """pytest with these arguments on the emulated processor; its exit status."""
    root, python = folder / "root", interpreter(folder)
    variables = {
        "LD_LIBRARY_PATH": root / "usr/lib/aarch64-linux-gnu",
        "PYTHONHOME": root / "usr",
        "PYTHONPATH": f"{folder / 'site'}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": 1,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "+neon",
        "NUMBA_NUM_THREADS": 2,
        "NUMBA_CACHE_DIR": folder / "cache",
        "FASTGRAD_TEST_SLOWER": 20,
    }
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    start = f"import sys, pytest; sys.executable = {str(python)!r}; sys.exit(pytest.main())"
    return subprocess.run(
        [python, "-u", "-c", start, *arguments], cwd=ROOT, env=environment
    ).returncode


def main(arguments) -> int:
    if not arguments:
        print(__doc__)
        return 2
    folder = Path(arguments[0]).resolve()
    os.makedirs(folder, exist_ok=True)
    if not (folder / "root" / "usr/bin" / f"python{PYTHON}").exists():
        unpack_system(folder / "root")
    if not (folder / "site").exists():
        unpack_wheels(folder / "site")
    chosen = arguments[1:] or TESTS
    return emulated(folder, "-v", "-p", "no:cacheprovider", *chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
