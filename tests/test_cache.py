"""The cache of compiled kernels: it may be absent, damaged or contended, and is never stale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import run_python

import fastgrad

CALL = """
import sys
import numpy as np
import fastgrad as fg
a = fg.relu(np.array([-1.0, 2.0], sys.argv[1] if len(sys.argv) > 1 else "f8"))
assert a.tolist() == [0.0, 2.0]
"""


def kernels_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


def copied_package(folder):
    """A second installation, found first where its parent is on PYTHONPATH."""
    package = folder / "site" / "fastgrad"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastgrad.__file__).parent, package, ignore=ignore)
    return package


def test_one_file_a_specialisation_that_later_processes_only_read(tmp_path):
    run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path))
    first = kernels_in(tmp_path)
    assert len(first) == 1
    run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert kernels_in(tmp_path) == first
    run_python(CALL, "f4", NUMBA_CACHE_DIR=str(tmp_path))
    assert len(kernels_in(tmp_path)) == 2


def test_the_switch_turns_it_off(tmp_path):
    code = CALL + "assert fg.config()['cache'] == 'off'"
    run_python(code, NUMBA_CACHE_DIR=str(tmp_path), FASTGRAD_CACHE="0")
    assert not list(tmp_path.rglob("*.*"))


def _flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = [
    lambda data: data[: len(data) // 2],
    _flip,
    lambda data: b"",
    lambda data: b"cos\nsystem\n(S'exit 1'\ntR." * 9,
]
FOUR = (
    CALL
    + """
for dtype in ("f4", "f8"):
    z = np.array([-1.0, 2.0], dtype)
    assert fg.relu(z).tolist() == [0.0, 2.0] and fg.relu_mask(z).tolist() == [False, True]
"""
)


def test_damaged_files_cost_a_compilation_and_are_replaced(tmp_path):
    """Cut in half, one bit flipped, empty, another program's."""
    run_python(FOUR, NUMBA_CACHE_DIR=str(tmp_path))
    paths = list(kernels_in(tmp_path))
    assert len(paths) == 4
    whole = [path.read_bytes() for path in paths]
    for path, data, damage in zip(paths, whole, DAMAGE):
        path.write_bytes(damage(data))
    run_python(FOUR, NUMBA_CACHE_DIR=str(tmp_path))
    assert sorted(kernels_in(tmp_path)) == sorted(paths)
    for path, data, damage in zip(paths, whole, DAMAGE):
        repaired = path.read_bytes()
        assert len(repaired) > 0.9 * len(data) and repaired != damage(data)


FULL = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


def test_a_full_disk_is_not_an_error_and_leaves_nothing_half_written(tmp_path):
    run_python(FULL + CALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


VANISHES = """
import os, shutil
import fastgrad as fg
shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
open(os.environ["NUMBA_CACHE_DIR"], "w").close()
"""


def test_a_folder_that_cannot_be_written_to_is_not_an_error(tmp_path):
    """Also for root, whom permissions do not stop: a file stands where the folder was."""
    folder = tmp_path / "cache"
    folder.mkdir()
    run_python(VANISHES + CALL, NUMBA_CACHE_DIR=str(folder))
    assert folder.is_file()


COPY = """
import os, fastgrad
assert fastgrad.__file__.startswith(os.environ["PYTHONPATH"].split(os.pathsep)[-1])
"""


def at_home(home, package=None, **environment):
    """The environment of a user with this home, and with this copy of the package."""
    environment |= {"NUMBA_CACHE_DIR": "", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"XDG_CACHE_HOME": str(home / "cache")}
    return environment | ({"PYTHONPATH": str(package.parent)} if package else {})


def test_a_read_only_installation_without_a_home_has_no_cache(tmp_path):
    """Read-only for root as well: a file stands where the folders would be made."""
    home = tmp_path / "home"
    home.touch()
    run_python(CALL + "assert fg.config()['cache'].endswith('(read only)')", **at_home(home))
    assert home.is_file() and not kernels_in(tmp_path)


def test_one_cache_for_every_copy_of_the_same_sources_which_stays_as_it_was_installed(tmp_path):
    packages = [copied_package(tmp_path / name) for name in ("one", "two")]
    before = [{path for path in package.parent.rglob("*")} for package in packages]
    counted = "from fastgrad.kernels.cache import counts\n"
    code = COPY + CALL + counted + "print(counts['compiled'], counts['cache'])"
    said = [run_python(code, **at_home(tmp_path / "home", package)) for package in packages]
    assert [line.split() for line in said] == [["1", "0"], ["0", "1"]]
    assert len(kernels_in(tmp_path / "home" / "cache" / "fastgrad")) == 1
    assert [{path for path in package.parent.rglob("*")} for package in packages] == before


ANOTHER_USER = """
import os
access = os.access
os.access = lambda path, mode: access(path, mode) and not str(path).endswith("shared")
"""


def test_a_shared_cache_that_can_only_be_read_and_ones_own_beside_it(tmp_path):
    """Where neither can be written to, what is in the shared one is used all the same."""
    shared, home, nowhere = (tmp_path / name for name in ("shared", "home", "nowhere"))
    run_python(CALL, FASTGRAD_CACHE=str(shared), **at_home(home))
    nowhere.touch()
    counted = "from fastgrad.kernels.cache import counts\nprint(counts['compiled'])"
    first = kernels_in(tmp_path)
    for folder in (home, nowhere):
        said = run_python(
            ANOTHER_USER + CALL + counted, FASTGRAD_CACHE=str(shared), **at_home(folder)
        )
        assert said.strip() == "0"
    assert kernels_in(tmp_path) == first
    run_python(ANOTHER_USER + CALL, "f4", FASTGRAD_CACHE=str(shared), **at_home(home))
    assert len(kernels_in(home)) == 1 and kernels_in(shared) == first


def test_kernels_that_are_found_do_without_numbas_function_library(tmp_path):
    """Its import takes longer than all of ours."""
    code = CALL + "print('numba.np.arraymath' in sys.modules)"
    said = [run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).strip() for _ in range(2)]
    assert said == ["True", "False"]


def test_an_upgraded_helper_or_another_cpu_never_reads_old_machine_code(tmp_path):
    """relu is in neuron.py; a changed vmath.py, of which it knows nothing, makes it anew."""
    package = copied_package(tmp_path)
    cache = tmp_path / "cache"
    environment = {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": str(cache)}
    code = CALL + f"assert fg.__file__.startswith({str(package)!r})"
    run_python(code, **environment)
    assert len(kernels_in(cache)) == 1
    helper = package / "kernels" / "vmath.py"
    helper.write_text(helper.read_text(encoding="utf-8") + "\nNEWER = 1\n", encoding="utf-8")
    run_python(code, **environment)
    assert len(kernels_in(cache)) == 2
    run_python(code, **environment, NUMBA_CPU_NAME="generic")
    assert len(kernels_in(cache)) == 3


def test_six_processes_at_once_on_a_cold_cache(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "error"}
    here = Path(__file__).parent
    processes = [
        subprocess.Popen([sys.executable, "-c", CALL], env=env, cwd=here, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=170)
        assert process.returncode == 0, errors.decode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1 and files[0].suffix == ".nbc", files
    before = kernels_in(tmp_path)
    run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert kernels_in(tmp_path) == before
