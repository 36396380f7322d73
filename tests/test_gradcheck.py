"""Numerical derivatives on the paper's examples (rows 3 to 5, 11 to 13), and verdicts that bite."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastgrad.gradcheck import (
    assert_gradient,
    assert_jacobian,
    check_gradient,
    check_jacobian,
    numerical_gradient,
    numerical_jacobian,
)

pytestmark = pytest.mark.filterwarnings("error")

SMALL = settings(max_examples=40, deadline=None, database=None)
STENCILS = ["five_point", "central"]


# Numerical derivatives

SCALAR_RULES = {
    "constant": (lambda x: 99.0, lambda x: 0.0),
    "multiplication by a constant": (lambda x: 3 * x, lambda x: 3.0),
    "power": (lambda x: x**3, lambda x: 3 * x**2),
    "sum": (lambda x: x**2 + 3 * x, lambda x: 2 * x + 3),
    "difference": (lambda x: x**2 - x**3, lambda x: 2 * x - 3 * x**2),
    "product": (lambda x: x**2 * x, lambda x: x**2 + x * 2 * x),
    "chain": (lambda x: np.log(x**2), lambda x: 1 / x**2 * 2 * x),
    "9(x + x²)": (lambda x: 9 * (x + x**2), lambda x: 9 + 18 * x),
}


@pytest.mark.parametrize("stencil", STENCILS)
@pytest.mark.parametrize("x", [-2.5, 0.75, 30.0])
@pytest.mark.parametrize("rule", SCALAR_RULES)
def test_row03_scalar_rules(rule, x, stencil):
    f, derivative = SCALAR_RULES[rule]
    numerical = numerical_gradient(f, x, stencil=stencil)
    assert np.ndim(numerical) == 0
    np.testing.assert_allclose(numerical, derivative(x), rtol=1e-8, atol=1e-9)
    assert check_gradient((f, derivative), x, stencil=stencil).ok


def f_paper(t):
    return 3 * t[0] ** 2 * t[1]


def g_paper(t):
    return 2 * t[0] + t[1] ** 8


POINTS = [(1.0, 1.0), (-0.7, 1.2), (3.0, -0.5)]


@pytest.mark.parametrize("point", POINTS)
def test_row04_gradients_of_the_paper(point):
    x, y = point
    np.testing.assert_allclose(
        numerical_gradient(f_paper, point), [6 * y * x, 3 * x**2], rtol=1e-10
    )
    np.testing.assert_allclose(numerical_gradient(g_paper, point), [2, 8 * y**7], rtol=1e-9)
    assert check_gradient((g_paper, lambda t: [2, 8 * t[1] ** 7]), point).ok
    assert not check_gradient((g_paper, lambda t: [2, 8 * t[1] ** 8]), [3.0, 1.2]).ok


@pytest.mark.parametrize("point", POINTS)
def test_row05_jacobian_of_the_paper_in_both_layouts(point):
    x, y = point
    J = np.array([[6 * y * x, 3 * x**2], [2, 8 * y**7]])

    def both(t):
        return [f_paper(t), g_paper(t)]

    np.testing.assert_allclose(numerical_jacobian(both, point), J, rtol=1e-9)
    numerical = numerical_jacobian(both, point, layout="denominator")
    np.testing.assert_allclose(numerical, J.T, rtol=1e-9)
    assert check_jacobian((both, lambda t: J), point).ok
    assert check_jacobian((both, lambda t: J.T), point, layout="denominator").ok
    assert not check_jacobian((both, lambda t: J.T), point).ok
    assert not check_jacobian((both, lambda t: J), point, layout="denominator").ok


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (lambda x: np.sin(x**2), lambda x: 2 * x * np.cos(x**2)),
        (lambda x: np.log(np.sin(x**3) ** 2), lambda x: 6 * x**2 / np.tan(x**3)),
    ],
)
def test_row11_single_variable_chain_is_confirmed_and_a_lost_factor_is_not(f, derivative):
    assert check_gradient((f, derivative), 0.9).ok
    assert not check_gradient((f, lambda x: derivative(x) / x), 0.9).ok


@pytest.mark.parametrize(
    ("f", "derivative", "partial"),
    [
        (lambda x: x + x**2, lambda x: 1 + 2 * x, lambda x: 1.0),
        (
            lambda x: np.sin(x + x**2),
            lambda x: np.cos(x + x**2) * (1 + 2 * x),
            lambda x: np.cos(x + x**2),
        ),
        (lambda x: x * x**2, lambda x: 3 * x**2, lambda x: x**2),
    ],
)
def test_row12_total_derivative_is_confirmed_and_the_partial_one_is_not(f, derivative, partial):
    assert check_gradient((f, derivative), 0.7).ok
    assert not check_gradient((f, partial), 0.7).ok


def test_row13_vector_chain_is_confirmed():
    def fun(x):
        return [np.log(x**2), np.sin(3 * x)], [[2 / x], [3 * np.cos(3 * x)]]

    assert check_jacobian(fun, 1.3).ok


@SMALL
@given(
    arrays(np.float64, 5, elements=st.floats(-3, 3)),
    st.floats(-100, 100),
)
def test_five_points_are_exact_for_polynomials_up_to_degree_four(coefficients, x):
    poly = np.polynomial.Polynomial(coefficients)
    size = np.abs(coefficients) @ np.maximum(1, abs(x)) ** np.arange(5)
    np.testing.assert_allclose(
        numerical_gradient(poly, x), poly.deriv()(x), rtol=1e-9, atol=1e-11 * size
    )


def test_five_points_are_more_accurate_than_two():
    errors = [abs(numerical_gradient(np.exp, 1.0, stencil=s) - math.e) for s in STENCILS]
    assert errors[0] < 1e-11 < errors[1] < 1e-9


def test_step_is_scaled_by_large_coordinates_alone():
    seen = []
    numerical_gradient(lambda t: seen.append(t.copy()) or t.sum(), [1e-3, 1e6], step=1e-2)
    moved = np.abs(np.array(seen) - [1e-3, 1e6]).max(axis=0)
    np.testing.assert_allclose(moved, [2e-2, 2e4])


def test_shapes_of_theta_and_of_values():
    (theta, A) = np.arange(6.0).reshape(2, 3), np.arange(1.0, 5.0).reshape(2, 2)
    gradient = numerical_gradient(lambda t: np.sum(t**2), theta)
    np.testing.assert_allclose(gradient, 2 * theta, rtol=1e-9, atol=1e-9)
    J = numerical_jacobian(lambda t, A: A @ t, theta, args=(A,))
    np.testing.assert_allclose(J, np.kron(A, np.eye(3)), atol=1e-9)


# A network 5-4-1 with the paper's cost, and what can go wrong in its gradient

N, D, K = 40, 5, 4
SHAPES = {"W1": (D, K), "b1": (K,), "w2": (K,), "b2": ()}


def network(theta, X, y, h=K, spoil=None):
    """Return the cost (1/N) Σ (w2·max(0, W1ᵀx + b1) + b2 − y)² and its gradient, spoilt or not."""
    W1, b1 = theta[: D * h].reshape(D, h), theta[D * h : D * h + h]
    w2, b2 = theta[D * h + h : D * h + 2 * h], theta[-1]
    Z = X @ W1 + b1
    A = np.maximum(Z, 0)
    e = A @ w2 + b2 - y
    delta = 2 * e / len(y)
    if spoil == "1/N":
        delta = delta * len(y)
    elif spoil == "half":
        delta = delta / 2
    elif spoil == "sign":
        delta = -delta
    dZ = np.outer(delta, w2)
    if spoil != "mask":
        dZ = dZ * (Z > 0)
    dW1 = X.T @ dZ
    if spoil == "transposed":
        dW1 = dW1.T
    grad = np.concatenate([dW1.ravel(), dZ.sum(axis=0), A.T @ delta, [delta.sum()]])
    if spoil == "zero":
        grad = np.zeros_like(grad)
    elif isinstance(spoil, int):
        grad[spoil] *= 1 + 1e-4
    return np.mean(e**2), grad


@pytest.fixture
def data():
    rng = np.random.default_rng(7)
    return rng.normal(size=(N, D)), rng.normal(size=N)


def theta_of(h, seed=3):
    return 0.5 * np.random.default_rng(seed).normal(size=D * h + 2 * h + 1)


@pytest.mark.parametrize("stencil", STENCILS)
@pytest.mark.parametrize("h", [K, 60], ids=["entries", "directions"])
def test_right_gradient_passes(data, h, stencil):
    result = check_gradient(network, theta_of(h), (*data, h), stencil=stencil)
    assert result.ok
    assert bool(result)
    assert result.max_relative_error < 1e-6
    assert not result.at_kink
    assert not result.inconclusive
    assert (result.index is None) == (h == 60)
    assert ("29 entries" in result.message) == (h == K)
    assert ("20 random directions" in result.message) == (h == 60)


@pytest.mark.parametrize("seed", range(10))
def test_right_gradient_passes_with_kinks_close_to_the_point(data, seed):
    """400 rows × 20 units: some pre-activation changes sign inside nearly every stencil."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(400, D)), rng.normal(size=400)
    theta = theta_of(20, seed + 100)
    Z = X @ theta[: D * 20].reshape(D, 20) + theta[D * 20 : D * 20 + 20]
    assert np.abs(Z).min() < 2e-3
    assert_gradient(network, theta, (X, y, 20))


PLANTED = ["1/N", "half", "sign", "mask", "transposed", "zero"]


@pytest.mark.parametrize("stencil", STENCILS)
@pytest.mark.parametrize("h", [K, 60], ids=["entries", "directions"])
@pytest.mark.parametrize("spoil", PLANTED)
def test_planted_error_is_caught(data, spoil, h, stencil):
    result = check_gradient(network, theta_of(h), (*data, h, spoil), stencil=stencil)
    assert not result.ok
    assert not result
    assert not result.inconclusive
    assert result.max_relative_error > 1e-3
    assert "is wrong: analytic" in result.message


@pytest.mark.parametrize("j", range(D * K + 2 * K + 1))
def test_planted_entry_is_named(data, j):
    theta = theta_of(K)
    result = check_gradient(network, theta, (*data, K, j), names=SHAPES)
    assert not result.ok
    assert result.index == (j,)
    np.testing.assert_allclose(result.max_relative_error, 1e-4, rtol=2e-3)
    np.testing.assert_allclose(result.analytic, result.numerical * (1 + 1e-4), rtol=1e-8)
    assert "1 of 29 entries disagree" in result.message
    assert "f is smooth there" in result.message
    inside = np.arange(D * K).reshape(D, K)
    name = {20 + i: f"b1[{i}]" for i in range(4)} | {24 + i: f"w2[{i}]" for i in range(4)}
    name |= {28: "b2"} | {inside[r, c]: f"W1[{r}, {c}]" for r in range(D) for c in range(K)}
    assert result.name == name[j]
    assert result.message.startswith(f"{name[j]} is wrong: analytic ")


@pytest.mark.parametrize("j", [0, 7, 299, 300, 359, 360, 420])
def test_planted_entry_is_named_among_many(data, j):
    names = {"W1": (D, 60), "b1": 60, "w2": 60, "b2": ()}
    result = check_gradient(network, theta_of(60), (*data, 60, j), names=names)
    assert not result.ok
    assert result.index == (j,)
    np.testing.assert_allclose(result.max_relative_error, 1e-4, rtol=2e-3)
    assert "random direction" in result.message
    expected = {0: "W1[0, 0]", 7: "W1[0, 7]", 299: "W1[4, 59]", 300: "b1[0]", 359: "b1[59]"}
    assert result.name == expected.get(j, {360: "w2[0]", 420: "b2"}.get(j))


def test_an_error_is_not_excused_by_the_size_of_the_gradient():
    scale = np.array([1e6, 1.0, 1e-3])
    fun = (lambda t: scale @ np.sin(t), lambda t: scale * np.cos(t) * [1, 1, 1.01])
    result = check_gradient(fun, [0.0, 0.1, 0.2])
    assert result.index == (2,)
    np.testing.assert_allclose(result.max_relative_error, 0.01 / 1.01, rtol=1e-3)


def test_an_absolute_error_is_caught_below_what_known_checkers_allow():
    fun = (lambda t: t @ t, lambda t: 2 * t + [0, 1e-8])
    result = check_gradient(fun, [0.1, 0.0])
    assert not result.ok
    assert result.index == (1,)


def test_errors_spread_over_all_entries_are_caught_by_directions():
    fun = (lambda t: t @ t, lambda t: 2 * t * (1 + 1e-5))
    result = check_gradient(fun, np.linspace(-1, 1, 300))
    assert not result.ok
    np.testing.assert_allclose(result.max_relative_error, 1e-5, rtol=1e-2)


def test_directions_are_seeded(data):
    args = (*data, 60)
    first, again, other = (check_gradient(network, theta_of(60), args, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.max_relative_error != other.max_relative_error


def test_full_limit_and_directions_are_respected(data):
    args = (*data, K)
    message = check_gradient(network, theta_of(K), args, full_limit=10, directions=3).message
    assert message.startswith("all 3 random directions agree")
    message = check_gradient(network, theta_of(60), (*data, 60), full_limit=500).message
    assert message.startswith("all 421 entries agree")


def test_theta_of_any_shape_and_many_entries():
    theta = np.random.default_rng(0).normal(size=(20, 15))

    def gradient(t):
        grad = np.cos(t)
        grad[3, 11] += 0.5
        return grad

    result = check_gradient((lambda t: np.sin(t).sum(), gradient), theta)
    assert result.index == (3, 11)
    assert result.name == "theta[3, 11]"
    assert check_gradient((lambda t: np.sin(t).sum(), np.cos), theta).ok


# Kinks


def relu_sum(t):
    return np.maximum(t, 0).sum()


def relu_sum_gradient(t):
    return (t > 0).astype(float)


@pytest.mark.parametrize("stencil", STENCILS)
def test_right_gradient_at_a_kink_is_inconclusive(stencil):
    result = check_gradient((relu_sum, relu_sum_gradient), [1.0, 0.0, -1.0], stencil=stencil)
    assert not result.ok
    assert result.at_kink
    assert result.inconclusive
    assert result.index == (1,)
    assert result.analytic == 0
    np.testing.assert_allclose(result.numerical, 0.5, rtol=1e-6)
    assert "theta[1] cannot be judged" in result.message
    assert "theta is at a kink (derivative " in result.message
    assert "the analytic value lies between" in result.message


def test_wrong_gradient_at_a_kink_is_wrong():
    result = check_gradient((relu_sum, lambda t: relu_sum_gradient(t) - (t == 0)), [1.0, 0.0])
    assert result.at_kink
    assert not result.inconclusive
    assert "theta[1] is wrong" in result.message
    assert "does not lie between" in result.message


def test_wrong_entry_is_reported_before_a_kink():
    fun = (relu_sum, lambda t: relu_sum_gradient(t) * [1, 1.01, 1])
    result = check_gradient(fun, [0.0, 1.0, 0.0])
    assert result.index == (1,)
    assert not result.at_kink
    assert not result.inconclusive
    assert "3 of 3 entries disagree" in result.message


@pytest.mark.parametrize("stencil", STENCILS)
@pytest.mark.parametrize("gap", [1e-4, 5e-4, 2e-3 / 3, 1e-3, 1.9e-3, 1e-5])
def test_kink_near_the_point_does_no_harm(gap, stencil):
    theta = [gap, -gap, 1.0]
    assert check_gradient((relu_sum, relu_sum_gradient), theta, stencil=stencil).ok
    wrong = check_gradient(
        (relu_sum, lambda t: relu_sum_gradient(t) * 1.001), theta, stencil=stencil
    )
    assert not wrong.ok
    assert not wrong.inconclusive


def test_kink_among_many_parameters_is_inconclusive():
    theta = np.random.default_rng(0).normal(size=300)
    theta[17] = 0
    result = check_gradient((relu_sum, relu_sum_gradient), theta)
    assert not result.ok
    assert result.inconclusive
    assert result.index is None
    assert "a random direction cannot be judged" in result.message


def test_smooth_function_of_high_curvature_is_not_taken_for_a_kink():
    fun = (lambda t: np.tanh(300 * t).sum(), lambda t: 300 / np.cosh(300 * t) ** 2)
    assert check_gradient(fun, [1e-3, -2e-3]).ok
    wrong = check_gradient((fun[0], lambda t: 1.01 * fun[1](t)), [1e-3, -2e-3])
    assert not wrong.ok
    assert not wrong.at_kink


def test_gradient_at_an_exact_minimum_passes():
    rng = np.random.default_rng(2)
    X, w = rng.normal(size=(50, 4)), rng.normal(size=4)
    y = X @ w

    def fun(w):
        e = X @ w - y
        return np.mean(e**2), 2 / 50 * X.T @ e

    w = np.linalg.lstsq(X, y, rcond=None)[0]
    assert np.abs(fun(w)[1]).max() < 1e-14
    assert_gradient(fun, w)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_right_gradient_passes_whatever_the_size_of_the_cost(data, size):
    def fun(theta):
        value, grad = network(theta, *data)
        return size * value, size * grad

    assert_gradient(fun, theta_of(K))


# Not finite, not reproducible


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gradient_that_is_not_finite_is_not_ok(bad):
    result = check_gradient((lambda t: t @ t, lambda t: 2 * t + [0, bad]), [1.0, 2.0])
    assert not result.ok
    assert result.index == (1,)
    assert math.isnan(result.max_relative_error)
    assert f"theta[1] is not finite: two calls at the same theta gave {bad!r}" in result.message


def test_value_that_is_not_finite_is_not_ok():
    def f(t):
        return t[0] if t[1] < 2 else np.nan

    result = check_gradient((f, lambda t: [1.0, 0.0]), [1.0, 2.0])
    assert not result.ok
    assert not result.at_kink
    assert not result.inconclusive
    assert "f is not finite around theta" in result.message
    assert np.isnan(numerical_gradient(f, [1.0, 2.0])).all()


def test_domain_that_ends_near_the_point_does_no_harm():
    def f(t):
        return math.log(t[0]) if t[0] > 0 else math.nan

    assert np.isnan(numerical_gradient(f, [1e-3])).all()
    assert check_gradient((f, lambda t: 1 / t), [1e-3]).ok
    assert not check_gradient((f, lambda t: 1.001 / t), [1e-3]).ok


def test_gradient_that_differs_in_the_last_bit_between_calls_is_not_ok():
    calls = []

    def gradient(t):
        calls.append(1)
        return 2 * t * (1 + 2.0**-52 * (len(calls) % 2)) if len(calls) < 3 else 2 * t

    result = check_gradient((lambda t: t @ t, gradient), [0.0, 2.0])
    assert not result.ok
    assert result.index == (1,)
    assert "theta[1] is not reproducible" in result.message
    assert "4.000000000000001 and 4.0" in result.message


def test_gradient_buffer_that_is_reused_is_no_excuse():
    buffer, scales = np.empty(2), iter([2.0, 3.0])

    def gradient(t):
        np.multiply(next(scales), t, out=buffer)
        return buffer

    assert "not reproducible" in check_gradient((lambda t: t @ t, gradient), [1.0, 2.0]).message


# theta is left alone


def test_theta_is_never_changed_even_by_a_function_that_writes_to_it():
    theta = np.array([1.0, 2.0])

    def f(t):
        value = t @ t
        t[:] = 77
        return value

    def gradient(t):
        grad = 2 * t
        t[:] = 99
        return grad

    assert check_gradient((f, gradient), theta).ok
    assert check_gradient((f, gradient), np.ones(300)).ok
    np.testing.assert_allclose(numerical_gradient(f, theta), [2, 4])
    np.testing.assert_array_equal(theta, [1, 2])


def test_theta_may_be_read_only_integer_or_a_list():
    theta = np.array([1.0, 2.0])
    theta.flags.writeable = False
    for point in (theta, [1, 2], np.array([1, 2]), (1.0, 2.0)):
        assert check_gradient((lambda t: t @ t, lambda t: 2 * t), point).ok


# Jacobians


def test_check_jacobian_names_row_and_column():
    A = np.arange(6.0).reshape(2, 3)
    bad = A.copy()
    bad[1, 2] += 1
    fun = (lambda t: A @ t, lambda t: bad)
    result = check_jacobian(fun, [1.0, 2.0, 3.0], names={"w": 2, "b": ()})
    assert not result.ok
    assert result.index == (1, 2)
    assert result.name == "f[1] by b"
    assert (result.analytic, round(result.numerical, 6)) == (6.0, 5.0)
    transposed = (fun[0], lambda t: bad.T)
    assert check_jacobian(transposed, [1.0, 2.0, 3.0], layout="denominator").index == (1, 2)


def test_check_jacobian_of_many_parameters():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(3, 250))
    fun = (lambda t: np.tanh(A @ t), lambda t: (1 - np.tanh(A @ t) ** 2)[:, None] * A)
    theta = rng.normal(size=250) / 30
    assert check_jacobian(fun, theta).ok

    def spoilt(t):
        J = fun[1](t)
        J[2, 123] += 0.01
        return J

    assert check_jacobian((fun[0], spoilt), theta).index == (2, 123)


# The raising form


def test_assert_gradient_raises_the_message_and_returns_the_result(data):
    theta = theta_of(K)
    assert assert_gradient(network, theta, data).ok
    with pytest.raises(AssertionError, match=r"^W1\[0, 3\] is wrong: analytic .*, numerical"):
        assert_gradient(network, theta, (*data, K, 3), names=SHAPES)
    with pytest.raises(AssertionError, match=r"^theta\[0\] cannot be judged.* at a kink"):
        assert_gradient((relu_sum, relu_sum_gradient), [0.0])


def test_assert_jacobian_raises_the_message_and_returns_the_result():
    assert assert_jacobian((lambda t: 2 * t, lambda t: 2 * np.eye(2)), [1.0, 2.0]).ok
    with pytest.raises(AssertionError, match=r"^f\[0\] by theta\[1\] is wrong: analytic 1"):
        assert_jacobian((lambda t: 2 * t, lambda t: [[2, 1], [0, 2]]), [1.0, 2.0])


# Errors


def square(t):
    return t @ t


def double(t):
    return 2 * t


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.longdouble, complex, object, str])
def test_theta_not_in_float64_is_a_type_error(dtype):
    theta = np.array([1, 2]).astype(dtype)
    for call in (
        lambda: numerical_gradient(square, theta),
        lambda: numerical_jacobian(square, theta),
        lambda: check_gradient((square, double), theta),
    ):
        with pytest.raises(TypeError, match=r"theta has dtype .*; expected float64"):
            call()


def test_a_mask_of_theta_is_not_dropped_without_a_word():
    with pytest.raises(TypeError, match="theta is a masked array; fill or drop"):
        numerical_gradient(square, np.ma.array([1.0, 2.0], mask=[True, False]))


@pytest.mark.parametrize("dtype", [np.float32, complex, object])
def test_value_not_in_float64_is_a_type_error(dtype):
    with pytest.raises(TypeError, match=r"f returned dtype .*; expected float64"):
        numerical_gradient(lambda t: np.array(1.0).astype(dtype), [1.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: numerical_gradient(square, []), ValueError, "theta is empty"),
        (lambda: numerical_gradient(square, [1, np.nan]), ValueError, "theta is not finite"),
        (lambda: numerical_gradient(double, [1.0]), ValueError, r"shape \(1,\); expected a scalar"),
        (lambda: numerical_jacobian(lambda t: [], [1.0]), ValueError, r"shape \(0,\); expected at"),
        (lambda: numerical_gradient(square, [1.0], 3), TypeError, "args is a int; expected a tup"),
        (lambda: numerical_gradient(square, [1.0], step=0), ValueError, "step is 0.*; expected a"),
        (lambda: numerical_gradient(square, [1.0], step="x"), TypeError, "step is 'x'; expected"),
        (lambda: numerical_gradient(square, [1.0], step=np.nan), ValueError, "step is nan"),
        (lambda: numerical_gradient(square, [1.0], stencil="3"), ValueError, "stencil is '3'; exp"),
        (lambda: numerical_jacobian(double, [1.0], layout="x"), ValueError, "layout is 'x'"),
        (lambda: check_gradient((square, double), [1.0], rtol=-1), ValueError, "rtol is -1"),
        (lambda: check_gradient((square, double), [1.0], floor=0), ValueError, "floor is 0"),
        (lambda: check_gradient((square, double), [1.0], directions=0), ValueError, "directions"),
        (lambda: check_gradient((square, double), [1.0], directions=2.5), TypeError, "directions"),
        (lambda: check_gradient((square, double), [1.0], args=[1]), TypeError, "args is a list"),
        (
            lambda: check_gradient((square, double), [1.0, 2.0], names={"w": 1}),
            ValueError,
            "names has 1 entries, theta has 2",
        ),
        (lambda: check_gradient((square,), [1.0]), TypeError, "fun is a tuple; expected a call"),
        (lambda: check_gradient(3, [1.0]), TypeError, "fun is a int; expected a callable that"),
        (lambda: check_gradient(square, [1.0]), TypeError, "fun returned a .*; expected a tuple"),
        (lambda: check_gradient(lambda t: (1, 2, 3), [1.0]), TypeError, "a tuple of two"),
        (
            lambda: check_gradient((square, lambda t: t[:1]), [1.0, 2.0]),
            ValueError,
            r"the gradient has shape \(1,\); expected \(2,\) for theta of shape \(2,\)",
        ),
        (
            lambda: check_gradient((square, lambda t: t.astype(complex)), [1.0]),
            TypeError,
            "the gradient has dtype complex128",
        ),
        (
            lambda: check_jacobian((lambda t: t[:1], lambda t: np.ones((2, 1))), [1.0, 2.0]),
            ValueError,
            r"the gradient has shape \(2, 1\); expected \(1, 2\)",
        ),
        (lambda: check_jacobian((double, np.diag), [1.0], layout=2), ValueError, "layout is 2"),
        (lambda: check_jacobian((double, np.diag), [1.0], tol=2), TypeError, "tol"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
