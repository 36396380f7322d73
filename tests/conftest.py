"""Fixtures of the whole suite."""

import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import fastgrad as fg
from fastgrad import __main__ as entry

collect_ignore = ["typing"]  # what type checkers read: nothing of it is run

# The first example of a test may compile a kernel, so no deadline; derandomised, so that a
# failure is every run's failure. `pytest -m stress --hypothesis-profile=stress` draws anew.
settings.register_profile("quick", max_examples=40, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "stress", max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("quick")


# A shell starts background commands with Ctrl-C ignored, and children inherit that: the tests of
# Ctrl-C, in this process and in others, need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Functions that a run before this one compiled and cached, perhaps with another fastgrad.
for stale in (Path(__file__).parent / "__pycache__").glob("[gl]*.nb[ic]"):  # guards, loops
    stale.unlink(missing_ok=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(folder, capsys):
    """The command line in this process: its exit code, standard output and standard error."""

    def call(*args):
        code = entry.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def rng():
    return np.random.default_rng(20180205)


@pytest.fixture(scope="module")
def one_thread():
    """Serial kernels alone; `threads=` still bounds a call. Parallel twins have their own tests."""
    with fg.num_threads(1):
        yield
