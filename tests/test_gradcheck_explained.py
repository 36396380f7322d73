"""What `check_gradient` says beside a verdict: f is rounded, one constant factor, no false kink."""

import re

import numpy as np
import pytest

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("one_thread")


def in_float32(f):
    return lambda *args: float(np.float32(f(*args)))


def network_in_float32(theta):
    X = np.random.default_rng(0).standard_normal((20, 3)).astype("f4")
    net = fg.MLP([3, 8, 1], dtype="f4")
    loss, grad = net.loss_and_grad(theta.astype("f4"), X, X[:, 0])
    return loss, grad.astype(float)


T = np.array([0.3, -1.2, 0.7, 2.0]) + 1 / 7
ROUNDED = {
    "rounded": ((in_float32(lambda t: t @ t + 1), lambda t: 2 * t), T),
    "inside": (network_in_float32, fg.MLP([3, 8, 1]).init(0)),
    "summed in float64": (
        (lambda t: np.float64((np.sin(t.astype("f4")) ** 2)).sum(), lambda t: np.sin(2 * t)), T,
    ),
    "printed": ((lambda t: float(f"{t @ t:.7g}"), lambda t: 2 * t), T),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUNDED)
@pytest.mark.parametrize("full_limit", [200, 0])
def test_a_right_gradient_of_a_rounded_function_is_not_called_wrong(case, full_limit):
    fun, theta = ROUNDED[case]
    result = fg.check_gradient(fun, theta, full_limit=full_limit)
    assert not result.ok and result.inconclusive and not result.at_kink
    assert re.search(r"f is rounded to about 1e-[5678]: is it float32\?$", result.message)
    assert "cannot be judged" in result.message


@pytest.mark.parametrize("case", ["rounded", "printed"])
def test_a_wrong_gradient_of_a_rounded_function_is_called_wrong(case):
    (f, grad), theta = ROUNDED[case]
    result = fg.check_gradient((f, lambda t: grad(t) + np.eye(4)[2]), theta)
    assert not result.ok and not result.inconclusive and result.index == (2,)
    assert "is wrong" in result.message and "is it float32?" in result.message
    result = fg.check_gradient((f, lambda t: 2 * grad(t)), theta)
    assert "every entry is 2 times the numerical one" in result.message


@pytest.mark.parametrize(
    "f",
    [lambda t: t @ t, lambda t: np.exp(t).sum(), lambda t: 1e9 + t @ t,
     lambda t: np.sin(50 * t).sum(), lambda t: abs(t).sum(), lambda t: np.floor(t).sum(),
     lambda t: (np.maximum(t - 0.3, 0) ** 2).sum(), lambda t: (abs(t - 0.3) ** 1.5).sum(),
     lambda t: 0.0 * t[0]],
)  # fmt: skip
def test_a_function_in_float64_is_not_called_rounded(f):
    result = fg.check_gradient((f, lambda t: np.full(4, 0.123)), T)
    assert not result.ok and "rounded" not in result.message


@pytest.mark.parametrize("factor", [2.0, 0.5, -1.0, 400.0, 1 / 3, 1e-3])
@pytest.mark.parametrize("size", [2, 7, 300])
def test_a_constant_factor_is_found(factor, size):
    theta = np.random.default_rng(0).standard_normal(size)
    theta[0] = 0  # a derivative of 0 says nothing
    result = fg.check_gradient((lambda t: t @ t, lambda t: factor * 2 * t), np.append(theta, 0.5))
    assert f"every entry is {factor:.7g} times the numerical one" in result.message
    assert not result.ok and not result.inconclusive


def test_a_constant_factor_of_a_jacobian_is_found():
    result = fg.check_jacobian((lambda t: t**2, lambda t: np.diag(4 * t)), T)
    assert "every entry is 2 times the numerical one" in result.message


@pytest.mark.parametrize(
    "grad",
    [lambda t: 2 * t * [2, 2, 2, 3], lambda t: 2 * t * [2, 2, 2, 1], lambda t: 4 * t + 0.01,
     lambda t: np.array([1.2, 0, 0, 0]), lambda t: 2 * t * [2, -2, 2, -2]],
)  # fmt: skip
def test_no_constant_factor_where_there_is_none(grad):
    assert "times the numerical" not in fg.check_gradient((lambda t: t @ t, grad), T).message
    one = fg.check_gradient((lambda t: t @ t, lambda t: 4 * t), [1.0])
    assert "times the numerical" not in one.message  # of one entry any number is


@pytest.mark.parametrize(
    "f",
    [lambda t: t * abs(t), lambda t: abs(t) ** 1.5, lambda t: np.maximum(t, 0) ** 2,
     lambda t: abs(t) ** 1.2, lambda t: t**3 * np.sign(t)],
)  # fmt: skip
def test_nothing_is_a_kink_whose_two_sides_agree(f):
    """All have the derivative 0 at 0, from both sides."""
    result = fg.check_gradient((lambda t: float(f(t[0])), lambda t: np.array([0.25])), [0.0])
    assert not result.ok and not result.at_kink and not result.inconclusive
    assert "is wrong" in result.message
