"""The demo on the MiniTorch course's problems: the points are the course's, and are learnt."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "minitorch.py"
if not PATH.exists():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)
spec = importlib.util.spec_from_file_location("minitorch", PATH)
minitorch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(minitorch)

RULES = {
    "simple": lambda a, b: a < 0.5,
    "diag": lambda a, b: a + b < 0.5,
    "split": lambda a, b: a < 0.2 or a > 0.8,
    "xor": lambda a, b: (a < 0.5 and b > 0.5) or (a > 0.5 and b < 0.5),
    "circle": lambda a, b: (a - 0.5) ** 2 + (b - 0.5) ** 2 > 0.1,
}


@pytest.mark.parametrize("name", RULES)
def test_points_are_labelled_by_the_problems_rule(name):
    X, y = minitorch.points(name, 200, seed=3)
    assert X.shape == (200, 2) and X.min() >= 0 and X.max() <= 1
    np.testing.assert_array_equal(y, [RULES[name](a, b) for a, b in X])


def test_the_spiral_has_two_arms():
    X, y = minitorch.points("spiral", 50)
    np.testing.assert_array_equal(y, [0] * 25 + [1] * 25)
    for i in (0, 24):
        t = 10 * (i + 5) / 25
        arm = [t * math.cos(t) / 20 + 0.5, t * math.sin(t) / 20 + 0.5]
        other = [-t * math.sin(-t) / 20 + 0.5, -t * math.cos(-t) / 20 + 0.5]
        np.testing.assert_allclose(X[[i, 25 + i]], [arm, other], rtol=1e-12)


def test_the_courses_network_learns_split_in_its_500_epochs():
    seconds, right, count = minitorch.train("split")
    assert count == 50 and right >= 48 and seconds > 0


def test_main_prints_every_problem(capsys):
    assert minitorch.main(["--epochs", "1", "--hidden", "4", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*RULES, "spiral"))
    assert "not measured here" in out
