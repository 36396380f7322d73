"""Whether threads pay here and now: serial or parallel calls of the same bits."""

import pytest

from fastgrad._core import choice as module
from fastgrad._core.choice import CallChoice
from fastgrad.kernels import tuning


class Machine:
    """A clock, and what a call takes on it."""

    def __init__(self, monkeypatch, serial, parallel):
        self.now, self.serial, self.parallel = 100.0, serial, parallel
        self.choice, self.ways = CallChoice(), []
        monkeypatch.setattr(module, "perf_counter", lambda: self.now)

    def call(self, times=1):
        for _ in range(times):
            parallel = self.choice.parallel()
            seconds = self.parallel if parallel else self.serial
            self.now += seconds
            self.choice.took(parallel, seconds)
            self.ways.append(parallel)

    def share(self):
        """Of parallel calls since it was last asked."""
        ways, self.ways = self.ways, []
        return sum(ways) / len(ways)


@pytest.mark.parametrize("serial", [2e-5, 1e-3, 5e-3, 2.5e-2, 3.5e-2])
def test_threads_that_pay_are_used_but_for_a_serial_call_now_and_then(monkeypatch, serial):
    machine = Machine(monkeypatch, serial, 0.55 * serial)
    machine.call(10)
    assert machine.ways == [True] * 3 + [False] + [True] * 6
    machine.call(max(400, round(5 / serial)))
    assert machine.share() > 0.95


@pytest.mark.parametrize("serial", [2e-5, 1e-3, 5e-3])
@pytest.mark.parametrize("times", [1.6, 50.0])
def test_threads_that_cost_are_given_up(monkeypatch, serial, times):
    machine = Machine(monkeypatch, serial, min(times * serial, 0.9 * tuning.LONG_CALL))
    machine.call(2000)
    assert machine.share() < 0.05


def test_they_are_taken_up_again_once_they_pay(monkeypatch):
    machine = Machine(monkeypatch, 1e-4, 9e-3)
    machine.call(2000)
    machine.parallel = 6e-5
    machine.call(round(2 / 1e-4))  # the longest pause, and some
    machine.share()
    machine.call(2000)
    assert machine.share() > 0.98


def test_two_slow_calls_cost_a_short_pause(monkeypatch):
    machine = Machine(monkeypatch, 1e-4, 6e-5)
    machine.call(1000)
    machine.parallel = 9e-3
    machine.call(2)
    machine.parallel = 6e-5
    machine.share()
    began = machine.now
    while not machine.choice.parallel():
        machine.call()
    assert 0 < machine.now - began < 0.5


def test_bursts_of_calls_whose_first_wakes_the_threads_use_them(monkeypatch):
    machine = Machine(monkeypatch, 4e-4, 2.2e-4)
    for _ in range(100):
        machine.now += 0.3
        machine.parallel = 5e-3
        machine.call()
        machine.parallel = 2.2e-4
        machine.call(40)
    assert machine.share() > 0.95


def test_a_long_call_says_nothing(monkeypatch):
    machine = Machine(monkeypatch, 0.1, 0.2)
    machine.call(100)
    assert machine.share() == 1


def test_a_call_that_compiled_does_not_count(monkeypatch):
    machine = Machine(monkeypatch, 1e-4, 8.0)
    machine.call()
    machine.parallel = 6e-5
    machine.call(500)
    assert machine.share() > 0.99
