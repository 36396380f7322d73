"""Settings of the interpreter, of NumPy, of Numba and of the processor: each works, or is refused
in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sampled

PROGRAM = Path(__file__).parent / "sampled.py"
REFUSAL = "NUMBA_DISABLE_JIT is set, and fastgrad's kernels are machine code alone; unset it"


@pytest.fixture(scope="module")
def plain():
    """What every call gives here."""
    found = sampled.outcomes()
    assert not any(":" in outcome for name, outcome in found.items() if " 1 " in name)
    return found


def python(*args, **env):
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def test_optimised_without_docstrings_and_with_warnings_as_errors(plain):
    done = python("-OO", "-W", "error", PROGRAM)
    assert json.loads(done.stdout) == plain, done.stderr


def test_errors_of_numpy_at_every_rounding(plain):
    with np.errstate(all="raise"):
        assert sampled.outcomes() == plain


def test_flush_to_zero_that_another_library_has_set(plain):
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush")
    try:
        flushed = sampled.outcomes()
    finally:
        torch.set_flush_denormal(False)
    assert {name: flushed[name] for name in plain if " 1 " in name} == {
        name: outcome for name, outcome in plain.items() if " 1 " in name
    }
    assert flushed.keys() == plain.keys()


def test_without_numbas_compiler_importing_is_an_error_of_one_sentence():
    done = python("-c", "import fastgrad", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: {REFUSAL}"
    done = python("-m", "fastgrad", "info", "--json", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 2 and done.stderr == f"fastgrad: {REFUSAL}\n"
    assert json.loads(done.stdout) == {"error": REFUSAL, "code": 2}
    assert python("-m", "fastgrad", "--version", NUMBA_DISABLE_JIT="0").returncode == 0


def test_a_compiler_that_is_turned_off_later_is_said_too():
    code = (
        "import numba, fastgrad.kernels.jit as jit\n"
        "numba.config.DISABLE_JIT = 1\n"
        "jit.kernel(lambda x: x)"
    )
    done = python("-c", code)
    assert done.stderr.splitlines()[-1] == f"ImportError: {REFUSAL}"
