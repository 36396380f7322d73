"""Rows 6 to 17 of the paper's table: `fastgrad.calculus` against differences and identities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastgrad import calculus as fc
from fastgrad.gradcheck import numerical_gradient, numerical_jacobian

pytestmark = pytest.mark.filterwarnings("error")

SMALL = settings(max_examples=40, deadline=None, database=None)
DTYPES = [np.float32, np.float64]
OPS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "greater": np.greater,
}
W = np.array([0.7, -1.3, 2.1, 0.4])
X = np.array([1.5, 0.6, -0.9, -2.2])
numbers = st.floats(-100, 100, allow_subnormal=False)


def vectors(n=None):
    return arrays(np.float64, n if n is not None else st.integers(1, 6), elements=numbers)


def close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-9, atol=1e-10)


def rng_arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


# Row 3: the rules of scalar derivatives


def test_row03_nine_times_x_plus_x_squared_of_the_paper():
    for x in (-1.5, 0.0, 2.0):
        inner = fc.sum_rule(fc.power_rule(x, 1), fc.power_rule(x, 2))
        derivative = fc.constant_multiple_rule(9.0, inner)
        close(derivative, 9 + 18 * x)
        close(derivative, numerical_gradient(lambda t: 9 * (t + t**2), x))


def test_row03_every_rule_is_the_numerical_derivative_entry_by_entry():
    f, g, df, dg = np.sin(X), X**3, np.cos(X), 3 * X**2
    for derivative, function in (
        (fc.constant_rule(X), lambda t: 0 * t + 7.0),
        (fc.constant_multiple_rule(-2.5, df), lambda t: -2.5 * np.sin(t)),
        (fc.power_rule(X, 3), lambda t: t**3),
        (fc.power_rule(X, -2), lambda t: t**-2.0),
        (fc.sum_rule(df, dg), lambda t: np.sin(t) + t**3),
        (fc.difference_rule(df, dg), lambda t: np.sin(t) - t**3),
        (fc.product_rule(f, df, g, dg), lambda t: np.sin(t) * t**3),
    ):
        J = numerical_jacobian(function, X, step=1e-4)
        np.testing.assert_allclose(np.diag(derivative), J, rtol=1e-8, atol=1e-8)


def test_row03_power_rule_of_the_zeroth_power_is_zero_at_zero():
    np.testing.assert_array_equal(fc.power_rule([0.0, -1.0, np.inf], 0), [0, 0, 0])
    assert fc.power_rule(0.0, 1) == 1


# Row 6: stacked gradients, the identity


def test_row06_stack_gradients_is_the_jacobian_of_the_paper():
    x, y = 1.5, -0.7
    gradients = [[6 * y * x, 3 * x**2], [2, 8 * y**7]]
    J = numerical_jacobian(lambda t: [3 * t[0] ** 2 * t[1], 2 * t[0] + t[1] ** 8], [x, y])
    close(fc.stack_gradients(gradients), J)
    close(fc.stack_gradients(gradients, layout="denominator"), J.T)


def test_row06_stack_gradients_takes_m_other_than_n():
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert fc.stack_gradients(rows).shape == (2, 3)
    assert fc.stack_gradients(rows, layout="denominator").shape == (3, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row06_identity_jacobian(dtype):
    J = fc.identity_jacobian(3, dtype=dtype)
    assert J.dtype == dtype
    np.testing.assert_array_equal(J, np.diag([1, 1, 1]))
    close(J, numerical_jacobian(lambda t: t, [1.0, 2.0, 3.0]))


# Rows 7 to 9: element-wise operations, expanded scalars


@pytest.mark.parametrize("op", OPS)
def test_row07_elementwise_jacobians_are_diagonal(op):
    for J, diagonal in zip(
        fc.elementwise_jacobians(op, W, X), fc.elementwise_jacobians_diag(op, W, X), strict=True
    ):
        assert J.shape == (4, 4)
        np.testing.assert_array_equal(J, np.diag(diagonal))


@pytest.mark.parametrize("op", OPS)
def test_row07_elementwise_jacobians_of_functions_by_the_chain_rule(op):
    def y(w, x):
        return OPS[op](w**2, np.sin(x)).astype(float)

    dw, dx = fc.elementwise_jacobians_diag(op, W**2, np.sin(X))
    close(np.diag(fc.chain(dw, 2 * W, diagonals=True)), numerical_jacobian(lambda w: y(w, X), W))
    close(
        np.diag(fc.chain(dx, np.cos(X), diagonals=True)), numerical_jacobian(lambda x: y(W, x), X)
    )


@pytest.mark.parametrize("op", OPS)
def test_row08_elementwise_jacobians_are_the_numerical_ones(op):
    Jw, Jx = fc.elementwise_jacobians(op, W, X)
    close(Jw, numerical_jacobian(lambda w: OPS[op](w, X).astype(float), W))
    close(Jx, numerical_jacobian(lambda x: OPS[op](W, x).astype(float), X))


def test_row08_elementwise_jacobians_of_the_paper():
    ones = np.ones(4)
    for op, dw, dx in (
        ("add", ones, ones),
        ("subtract", ones, -ones),
        ("multiply", X, W),
        ("divide", 1 / X, -W / X**2),
        ("greater", 0 * ones, 0 * ones),
        ("maximum", [0, 0, 1, 1], [1, 1, 0, 0]),
    ):
        actual = fc.elementwise_jacobians_diag(op, W, X)
        np.testing.assert_allclose(actual, (dw, dx), rtol=1e-15)


def test_row08_a_tie_of_maximum_goes_to_the_first_argument():
    dw, dx = fc.elementwise_jacobians_diag("maximum", [2.0, 0.0], [2.0, -0.0])
    np.testing.assert_array_equal(dw, [1, 1])
    np.testing.assert_array_equal(dx, [0, 0])


@SMALL
@given(vectors(5), vectors(5))
def test_row08_maximum_gives_the_whole_derivative_to_one_argument(w, x):
    dw, dx = fc.elementwise_jacobians_diag("maximum", w, x)
    np.testing.assert_array_equal(dw + dx, np.ones(5))
    np.testing.assert_array_equal(dw * w + dx * x, np.maximum(w, x))


def test_row08_nan_passes_through_maximum_to_both_arguments():
    nan = np.nan
    dw, dx = fc.elementwise_jacobians_diag("maximum", [nan, 1, nan], [1, nan, nan])
    np.testing.assert_array_equal(dw, np.ones(3))
    np.testing.assert_array_equal(dx, np.ones(3))


def test_row08_nan_is_not_hidden_by_multiply_and_divide():
    dw, dx = fc.elementwise_jacobians_diag("multiply", [np.nan, 1.0], [1.0, np.nan])
    np.testing.assert_array_equal(np.isnan(dw), [False, True])
    np.testing.assert_array_equal(np.isnan(dx), [True, False])
    _, dx = fc.elementwise_jacobians_diag("divide", [np.nan, 1.0], [1.0, np.nan])
    assert np.isnan(dx).all()


def test_row08_divide_by_zero_warns_as_numpy_does():
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        dw, dx = fc.elementwise_jacobians_diag("divide", [3.0], [0.0])
    assert dw == np.inf
    assert dx == -np.inf


def test_row08_divide_does_not_overflow_where_the_quotient_is_finite():
    _, dx = fc.elementwise_jacobians_diag("divide", np.float32([1e30]), np.float32([1e25]))
    np.testing.assert_allclose(dx, [-1e-20], rtol=1e-6)


@pytest.mark.parametrize("op", OPS)
def test_row09_scalar_expansion_is_a_column(op):
    z = 0.8
    Jx, Jz = fc.elementwise_jacobians(op, X, z)
    assert Jx.shape == (4, 4)
    assert Jz.shape == (4, 1)
    close(Jx, numerical_jacobian(lambda x: OPS[op](x, z).astype(float), X))
    close(Jz, numerical_jacobian(lambda t: OPS[op](X, t).astype(float), z))


@pytest.mark.parametrize("op", OPS)
def test_row09_scalar_expansion_in_front(op):
    Jz, Jx = fc.elementwise_jacobians(op, 0.8, X)
    close(Jz, numerical_jacobian(lambda t: OPS[op](t, X).astype(float), 0.8))
    close(Jx, numerical_jacobian(lambda x: OPS[op](0.8, x).astype(float), X))


def test_row09_scalar_expansion_of_the_paper():
    z = 3.0
    for op, dx, dz in (("add", np.eye(4), np.ones(4)), ("multiply", np.eye(4) * z, X)):
        Jx, Jz = fc.elementwise_jacobians(op, X, z)
        np.testing.assert_array_equal(Jx, dx)
        np.testing.assert_array_equal(Jz, dz[:, None])
        Jx, Jz = fc.elementwise_jacobians(op, X, z, layout="denominator")
        np.testing.assert_array_equal(Jx, dx)
        np.testing.assert_array_equal(Jz, dz[None, :])


def test_row09_scalar_expansion_jacobians_are_those_of_elementwise():
    for op in OPS:
        for layout in ("numerator", "denominator"):
            pairs = zip(
                fc.scalar_expansion_jacobians(op, X, 0.8, layout=layout),
                fc.elementwise_jacobians(op, X, 0.8, layout=layout),
                strict=True,
            )
            for mine, theirs in pairs:
                np.testing.assert_array_equal(mine, theirs)


# Row 10: sums


def test_row10_sum_gradient_adds_up_the_rows():
    (A,) = rng_arrays((3, 4))
    gradient = numerical_gradient(lambda x: np.sum(np.tanh(A @ x)), X)
    J = (1 - np.tanh(A @ X) ** 2)[:, None] * A
    close(fc.sum_gradient(J), gradient)
    close(fc.sum_gradient(J.T, layout="denominator"), gradient)


def test_row10_sum_of_x_has_gradient_ones():
    np.testing.assert_array_equal(fc.sum_gradient(fc.identity_jacobian(4)), np.ones(4))
    np.testing.assert_array_equal(fc.scaled_sum_gradients(X)[0], np.ones(4))


def test_row10_sum_of_x_times_z():
    dx, dz = fc.scaled_sum_gradients(X, 2.5)
    close(dx, numerical_gradient(lambda x: np.sum(x * 2.5), X))
    close(dz, numerical_gradient(lambda z: np.sum(X * z), 2.5))
    assert dx.shape == (4,)
    assert np.ndim(dz) == 0


@SMALL
@given(vectors(), numbers)
def test_row10_sum_of_x_times_z_is_the_sum_of_row09(x, z):
    Jx, Jz = fc.elementwise_jacobians("multiply", x, z)
    dx, dz = fc.scaled_sum_gradients(x, z)
    np.testing.assert_array_equal(fc.sum_gradient(Jx), dx)
    np.testing.assert_allclose(fc.sum_gradient(Jz), [dz], rtol=1e-12, atol=1e-11)


# Rows 11 to 14: the chain rules

AT = [0.3, 0.9, 1.2]


@pytest.mark.parametrize("x", AT)
def test_row11_single_variable_chain_sin_of_square(x):
    derivative = fc.chain(np.cos(x**2), 2 * x)
    assert np.ndim(derivative) == 0
    close(derivative, 2 * x * np.cos(x**2))
    close(derivative, numerical_gradient(lambda t: np.sin(t**2), x))


@pytest.mark.parametrize("x", AT)
def test_row11_single_variable_chain_of_four(x):
    """ln(sin(x³)²): u1 = x³, u2 = sin u1, u3 = u2², u4 = ln u3."""
    u2 = np.sin(x**3)
    derivative = fc.chain(1 / u2**2, 2 * u2, np.cos(x**3), 3 * x**2)
    close(derivative, 6 * x**2 * np.cos(x**3) / np.sin(x**3))
    close(derivative, numerical_gradient(lambda t: np.log(np.sin(t**3) ** 2), x, step=1e-4))


@pytest.mark.parametrize("x", AT)
def test_row12_total_derivative_of_the_paper(x):
    close(fc.total_derivative(1, [1], [2 * x]), 1 + 2 * x)  # x + x²
    close(fc.total_derivative(0, [x**2, x], [1, 2 * x]), 3 * x**2)  # x · x²
    c = np.cos(x + x**2)
    sine = fc.total_derivative(c, [c], [2 * x])  # sin(x + x²)
    close(sine, np.cos(x + x**2) * (1 + 2 * x))
    close(sine, numerical_gradient(lambda t: np.sin(t + t**2), x))


def test_row12_total_derivative_by_a_vector():
    (A,) = rng_arrays((3, 4))

    def f(x, u):
        return x @ x * np.prod(u)

    u = A @ X
    partial_u = np.prod(u) / u * (X @ X)
    gradient = fc.total_derivative(2 * X * np.prod(u), partial_u, A)
    assert gradient.shape == (4,)
    np.testing.assert_allclose(
        gradient, numerical_gradient(lambda x: f(x, A @ x), X), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("x", AT)
def test_row13_vector_chain_of_the_paper(x):
    """[ln x², sin 3x] by g = [x², 3x]."""
    outer, inner = np.array([[1 / x**2, 0], [0, np.cos(3 * x)]]), np.array([[2 * x], [3]])
    J = fc.chain(outer, inner, diagonals=True)
    close(J, [[2 / x], [3 * np.cos(3 * x)]])
    close(J, numerical_jacobian(lambda t: [np.log(t**2), np.sin(3 * t)], x, step=1e-4))


def test_row13_vector_chain_of_three_maps_between_spaces():
    A, B, C = rng_arrays((2, 3), (3, 5), (5, 4))
    h = C @ X
    g = B @ np.tanh(h)
    factors = [A * np.cos(g), B, np.diag(1 - np.tanh(h) ** 2), C]
    J = fc.chain(*factors)
    close(J, numerical_jacobian(lambda x: A @ np.sin(B @ np.tanh(C @ x)), X))
    denominator = fc.chain(*(factor.T for factor in factors), layout="denominator")
    close(denominator, J.T)


@SMALL
@given(st.integers(0, 2**32 - 1))
def test_row13_vector_chain_is_associative(seed):
    A, B, C = rng_arrays((2, 3), (3, 5), (5, 4), seed=seed)
    close(fc.chain(A, B, C), fc.chain(fc.chain(A, B), C))
    close(fc.chain(A, B, C), fc.chain(A, fc.chain(B, C)))
    np.testing.assert_array_equal(fc.chain(A, fc.identity_jacobian(3)), A)


def test_row14_diagonal_chain_is_an_elementwise_product():
    J = numerical_jacobian(lambda x: np.sin(x**2), X, step=2e-4)
    diagonal = fc.chain(np.cos(X**2), 2 * X, diagonals=True)
    assert diagonal.shape == (4,)
    close(np.diag(diagonal), J)


@pytest.mark.parametrize("layout", ["numerator", "denominator"])
def test_row14_diagonal_chain_equals_the_matrix_product(layout):
    A, B, d, e = rng_arrays((2, 4), (4, 3), 4, 3)
    full = A @ np.diag(d) @ B @ np.diag(e) * 1.7
    if layout == "denominator":
        A, B, full = A.T, B.T, full.T
    close(fc.chain(A, d, B, 1.7, e, layout=layout, diagonals=True), full)
    close(fc.chain(d, B, layout=layout, diagonals=True), fc.chain(np.diag(d), B, layout=layout))


def test_row11_row13_row14_one_function_a_rule_is_chain_of_its_case():
    A, B = rng_arrays((2, 4), (4, 3))
    assert fc.single_variable_chain(2.0, 3.0, 4.0) == fc.chain(2.0, 3.0, 4.0) == 24
    np.testing.assert_array_equal(fc.vector_chain(A, B), fc.chain(A, B))
    np.testing.assert_array_equal(
        fc.vector_chain(A.T, B.T, layout="denominator"), fc.vector_chain(A, B).T
    )
    np.testing.assert_array_equal(fc.diagonal_chain(W, X), fc.chain(W, X, diagonals=True))


# Rows 15 to 17: the neuron


def test_row15_affine_gradients_are_the_numerical_ones():
    b = 0.3
    dw, dx, db = fc.affine_gradients(W, X)
    close(dw, numerical_gradient(lambda w: w @ X + b, W))
    close(dx, numerical_gradient(lambda x: W @ x + b, X))
    close(db, numerical_gradient(lambda t: W @ X + t, b))
    np.testing.assert_array_equal(dw, X)
    np.testing.assert_array_equal(dx, W)


def test_row15_dot_product_is_the_sum_of_row08_multiply():
    dw, dx, _ = fc.affine_gradients(W, X)
    for gradient, J in zip((dw, dx), fc.elementwise_jacobians("multiply", W, X), strict=True):
        np.testing.assert_array_equal(fc.sum_gradient(J), gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row16_relu_derivative_at_the_kink_and_its_neighbours(dtype):
    tiny, inf = np.finfo(dtype).smallest_subnormal, np.inf
    z = np.array([-inf, -1, -tiny, -0.0, 0.0, tiny, 1, inf, np.nan], dtype=dtype)
    derivative = fc.relu_derivative(z)
    assert derivative.dtype == dtype
    np.testing.assert_array_equal(derivative, [0, 0, 0, 0, 0, 1, 1, 1, 1])


@SMALL
@given(arrays(np.float64, array_shapes(max_dims=1), elements=st.floats(allow_nan=True)))
def test_row16_relu_derivative_is_that_of_maximum_with_zero_in_front(z):
    _, dz = fc.elementwise_jacobians_diag("maximum", 0.0, z)
    np.testing.assert_array_equal(fc.relu_derivative(z), dz)


def test_row16_relu_derivative_is_the_numerical_one_off_the_kink():
    J = numerical_jacobian(lambda z: np.maximum(z, 0), W)
    close(np.diag(fc.relu_derivative(W)), J)
    assert fc.relu_derivative(W.reshape(2, 2)).shape == (2, 2)
    assert np.ndim(fc.relu_derivative(3)) == 0


@pytest.mark.parametrize("b", [-5.0, 5.0])
def test_row17_activation_gradients_are_the_numerical_ones(b):
    dw, db = fc.activation_gradients(W, X, b)
    close(dw, numerical_gradient(lambda w: np.maximum(0, w @ X + b), W))
    close(db, numerical_gradient(lambda t: np.maximum(0, W @ X + t), b))
    np.testing.assert_array_equal(dw, X if b > 0 else np.zeros(4))
    assert db == (b > 0)


def test_row17_activation_gradients_at_the_kink_are_zero():
    dw, db = fc.activation_gradients([1.0, 2.0], [3.0, 4.0], -11.0)
    np.testing.assert_array_equal(dw, [0, 0])
    assert db == 0


@SMALL
@given(vectors(3), vectors(3), numbers)
def test_row17_activation_gradients_are_rows_15_and_16_chained(w, x, b):
    dz_dw, _, dz_db = fc.affine_gradients(w, x)
    active = fc.relu_derivative(w @ x + b)
    dw, db = fc.activation_gradients(w, x, b)
    np.testing.assert_array_equal(dw, fc.chain(active, dz_dw[None, :])[0])
    assert db == fc.chain(active, dz_db)


def test_row17_nan_in_z_passes_x():
    dw, db = fc.activation_gradients([np.nan, 1.0], [3.0, 4.0], 0.0)
    np.testing.assert_array_equal(dw, [3, 4])
    assert db == 1


def test_row17_an_inactive_neuron_gives_exact_zeros_beside_an_infinity():
    dw, db = fc.activation_gradients([-1.0, 1.0], [np.inf, 4.0], 0.0)
    np.testing.assert_array_equal(dw, [0, 0])
    assert db == 0


# Rows 15 and 23: products with the Jacobians of a layer, none of them formed


@pytest.mark.parametrize("k", [(), (3,)], ids=["neuron", "layer"])
def test_row15_affine_jvp_is_the_numerical_directional_derivative(k):
    X0, W0, b0, Xd, Wd, bd = rng_arrays((5, 4), (4, *k), k, (5, 4), (4, *k), k)

    def along(t):
        return (X0 + t * Xd) @ (W0 + t * Wd) + (b0 + t * bd)

    expected = numerical_jacobian(along, 0.0).reshape(5, *k)
    Z_dot = fc.affine_jvp(X0, W0, Xd, Wd, bd)
    assert Z_dot.shape == expected.shape
    close(Z_dot, expected)
    parts = [fc.affine_jvp(X0, W0, **{n: d}) for n, d in zip(DIRECTIONS, (Xd, Wd, bd), strict=True)]
    close(sum(parts), Z_dot)
    np.testing.assert_array_equal(fc.affine_jvp(X0, W0), np.zeros((5, *k)))


DIRECTIONS = ("X_dot", "W_dot", "b_dot")


@pytest.mark.parametrize("k", [(), (3,)], ids=["neuron", "layer"])
def test_row15_affine_vjp_is_the_numerical_gradient(k):
    X0, W0, b0, grad_Z = rng_arrays((5, 4), (4, *k), k, (5, *k))
    gX, gW, gb = fc.affine_vjp(grad_Z, X0, W0)
    close(gX, numerical_gradient(lambda t: np.sum(grad_Z * (t @ W0 + b0)), X0))
    close(gW, numerical_gradient(lambda t: np.sum(grad_Z * (X0 @ t + b0)), W0))
    close(gb, numerical_gradient(lambda t: np.sum(grad_Z * (X0 @ W0 + t)), b0))
    assert (gX.shape, gW.shape, np.shape(gb)) == (X0.shape, W0.shape, k)


@SMALL
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_row15_affine_vjp_is_the_transpose_of_affine_jvp(seed, n, d, k):
    X0, W0, Xd, Wd, bd, grad_Z = rng_arrays((n, d), (d, k), (n, d), (d, k), k, (n, k), seed=seed)
    forward = np.sum(grad_Z * fc.affine_jvp(X0, W0, Xd, Wd, bd))
    gradients = fc.affine_vjp(grad_Z, X0, W0)
    backward = sum(np.sum(g * t) for g, t in zip(gradients, (Xd, Wd, bd), strict=True))
    close(forward, backward)


def test_row15_affine_vjp_of_one_sample_is_affine_gradients():
    gX, gW, gb = fc.affine_vjp([1.0], X[None, :], W)
    dw, dx, db = fc.affine_gradients(W, X)
    np.testing.assert_array_equal(gX[0], dx)
    np.testing.assert_array_equal(gW, dw)
    assert gb == db


def test_row15_affine_vjp_adds_the_bias_up_in_float64():
    n = 3 * 10**5
    grad_Z = np.full((n, 1), 0.1, np.float32)
    _, _, gb = fc.affine_vjp(grad_Z, np.zeros((n, 1), np.float32), np.zeros((1, 1), np.float32))
    assert gb.dtype == np.float32
    np.testing.assert_allclose(gb, n * np.float64(np.float32(0.1)), rtol=1e-7)


def test_row16_relu_jvp_and_vjp_are_the_diagonal_jacobian():
    z, t, g = rng_arrays((3, 4), (3, 4), (3, 4))
    J = numerical_jacobian(lambda v: np.maximum(v, 0), z)
    close(fc.relu_jvp(z, t).ravel(), J @ t.ravel())
    close(fc.relu_vjp(g, z).ravel(), g.ravel() @ J)
    close(np.sum(g * fc.relu_jvp(z, t)), np.sum(fc.relu_vjp(g, z) * t))


def test_row16_relu_products_choose_and_do_not_multiply():
    z = np.array([-1.0, 0.0, 1.0, np.nan, 1.0])
    above = np.array([np.inf, np.nan, np.nan, 5.0, -np.inf])
    for product in (fc.relu_jvp(z, above), fc.relu_vjp(above, z)):
        np.testing.assert_array_equal(product, [0, 0, np.nan, 5, -np.inf])


# Dtypes, ownership, errors

CALLS = {
    "stack_gradients": (lambda w, x: fc.stack_gradients([w, x])),
    "elementwise_jacobians_diag": (lambda w, x: fc.elementwise_jacobians_diag("multiply", w, x)),
    "elementwise_jacobians": (lambda w, x: fc.elementwise_jacobians("greater", w, x)),
    "sum_gradient": (lambda w, x: fc.sum_gradient(np.stack([w, x]))),
    "scaled_sum_gradients": (lambda w, x: fc.scaled_sum_gradients(w, x[0])),
    "chain": (lambda w, x: (fc.chain(w, x, diagonals=True), fc.chain(w))),
    "total_derivative": (lambda w, x: fc.total_derivative(w[0], w, x)),
    "constant_rule": (lambda w, x: fc.constant_rule(w)),
    "constant_multiple_rule": (lambda w, x: fc.constant_multiple_rule(w[0], x)),
    "power_rule": (lambda w, x: fc.power_rule(w, x[0])),
    "sum_rule": fc.sum_rule,
    "difference_rule": fc.difference_rule,
    "product_rule": (lambda w, x: fc.product_rule(w, x, x, w)),
    "scalar_expansion_jacobians": (lambda w, x: fc.scalar_expansion_jacobians("divide", w, x[0])),
    "single_variable_chain": (lambda w, x: fc.single_variable_chain(w[0], x[0])),
    "vector_chain": (lambda w, x: fc.vector_chain(w[None], x[:, None])),
    "diagonal_chain": fc.diagonal_chain,
    "affine_gradients": fc.affine_gradients,
    "relu_derivative": (lambda w, x: fc.relu_derivative(w)),
    "activation_gradients": (lambda w, x: fc.activation_gradients(w, x, x[1])),
    "affine_jvp": (lambda w, x: fc.affine_jvp(w[None], x, w[None], x, x[0])),
    "affine_vjp": (lambda w, x: fc.affine_vjp(w[:1], x[None], w)),
    "relu_jvp": fc.relu_jvp,
    "relu_vjp": fc.relu_vjp,
}


def flat(result):
    if isinstance(result, tuple):
        return [leaf for part in result for leaf in flat(part)]
    return [result]


def test_every_public_name_is_tested_for_dtype():
    assert set(CALLS) | {"identity_jacobian"} == set(fc.__all__)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64), (">f4", "f4")],
)
def test_dtype_of_floats_is_kept_and_integers_become_float64(name, given_dtype, expected):
    w, x = np.array([1, -2, 3], given_dtype), np.array([4, 5, 6], given_dtype)
    for leaf in flat(CALLS[name](w, x)):
        assert leaf.dtype == expected


@pytest.mark.parametrize("name", CALLS)
def test_returned_arrays_are_new_and_the_arguments_unchanged(name):
    w, x = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    w.flags.writeable = x.flags.writeable = False
    for leaf in flat(CALLS[name](w, x)):
        assert not np.shares_memory(leaf, w)
        assert not np.shares_memory(leaf, x)
        if np.ndim(leaf):
            assert leaf.flags.writeable


def test_lists_integers_and_python_numbers_take_the_dtype_they_meet():
    w = np.float32([1, 2])
    for other in (
        [3.0, 4.0],
        [3, 4],
        [True, False],
        3.0,
        np.array([3, 4]),
        np.array([True, False]),
    ):
        for diagonal in fc.elementwise_jacobians_diag("multiply", w, other):
            assert diagonal.dtype == np.float32


@pytest.mark.parametrize("bad", [np.float16, np.longdouble, np.complex128, object, str])
@pytest.mark.parametrize("name", ["relu_derivative", "affine_gradients", "chain"])
def test_dtype_that_is_not_served_is_a_type_error(name, bad):
    x = np.array([1, 2]).astype(bad)
    with pytest.raises(TypeError, match=r"has dtype .*; expected float32, float64 or integers"):
        CALLS[name](x, x)


def test_float32_beside_float64_is_a_type_error_that_says_how_to_convert():
    with pytest.raises(TypeError, match=r"w is float32, x is float64.* x\.astype\(np\.float32\)"):
        fc.affine_gradients(np.float32([1]), np.float64([1]))
    with pytest.raises(TypeError, match=r"x is float32, w is float64.* w\.astype"):
        fc.affine_gradients(np.float64([1]), np.float32([1]))


def test_masks_are_not_dropped_without_a_word():
    with pytest.raises(TypeError, match="x is a masked array; fill or drop"):
        fc.affine_gradients([1.0, 2.0], np.ma.array([3.0, 4.0], mask=[True, False]))


V2, V3, M23, M32 = np.ones(2), np.ones(3), np.ones((2, 3)), np.ones((3, 2))
EQUAL = "expected equal shapes"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fc.stack_gradients([]), "gradients is empty"),
        (lambda: fc.stack_gradients([V2, M23]), r"gradients\[1\] has shape \(2, 3\); expected a v"),
        (
            lambda: fc.stack_gradients([V2, V3]),
            r"gradients\[0\] has shape \(2,\), gradients\[1\] has shape \(3,\); " + EQUAL,
        ),
        (lambda: fc.stack_gradients([V2], layout="rows"), "layout is 'rows'; expected 'numerator'"),
        (lambda: fc.stack_gradients([[1, [2]]]), r"gradients\[0\] cannot be made an array"),
        (lambda: fc.identity_jacobian(-1), "n is -1; expected 0 or more"),
        (
            lambda: fc.elementwise_jacobians_diag("power", V2, V2),
            "op is 'power'; expected one of a",
        ),
        (lambda: fc.elementwise_jacobians_diag(["add"], V2, V2), "op is .*; expected one of add"),
        (
            lambda: fc.elementwise_jacobians_diag("add", V3, np.ones(4)),
            r"w has shape \(3,\), x has shape \(4,\); " + EQUAL,
        ),
        (
            lambda: fc.elementwise_jacobians_diag("add", 1.0, 2.0),
            r"x has shape \(\); expected a ve",
        ),
        (lambda: fc.elementwise_jacobians("add", M23, V3), r"w has shape \(2, 3\); expected a sc"),
        (lambda: fc.elementwise_jacobians("add", V3, M23), r"x has shape \(2, 3\); expected a sc"),
        (lambda: fc.elementwise_jacobians("add", V3, V3, layout=None), "layout is None"),
        (lambda: fc.sum_gradient(V3), r"jacobian has shape \(3,\); expected a matrix"),
        (lambda: fc.sum_gradient(M23, layout=""), "layout is ''"),
        (lambda: fc.scaled_sum_gradients(M23), r"x has shape \(2, 3\); expected a vector"),
        (lambda: fc.scaled_sum_gradients(V3, V3), r"z has shape \(3,\); expected a scalar"),
        (lambda: fc.chain(), "derivatives is empty"),
        (
            lambda: fc.chain(V2, M23),
            r"derivatives\[0\] has shape \(2,\), .* write a gradient \(1, 2\)",
        ),
        (lambda: fc.chain(M23, 2.0, V3), r"derivatives\[2\] has shape \(3,\), .* scalar \(3, 1\)"),
        (lambda: fc.chain(V3, V3), "may be a gradient or a diagonal: .* or pass diagonals=True"),
        (lambda: fc.chain(V2, M23.T, layout="denominator"), "may be a gradient or a diagonal"),
        (lambda: fc.chain(V3, layout="x"), "layout is 'x'"),
        (lambda: fc.chain(np.ones((1, 1, 1))), r"derivatives\[0\] has shape \(1, 1, 1\); expected"),
        (
            lambda: fc.chain(M23, 2.0, M23),
            r"\[0\] has shape \(2, 3\), derivatives\[2\] has shape \(2, 3\); .* numerator layout",
        ),
        (
            lambda: fc.chain(M23, np.ones((6, 3)), layout="denominator"),
            r"\[0\] has shape \(2, 3\), derivatives\[1\] has shape \(6, 3\).* denominator layout",
        ),
        (
            lambda: fc.chain(M23, V2, diagonals=True),
            r"shape \(2, 3\), derivatives\[1\] has shape \(2,\)",
        ),
        (
            lambda: fc.chain(V2, V3, diagonals=True),
            r"shape \(2,\), derivatives\[1\] has shape \(3,\)",
        ),
        (lambda: fc.constant_multiple_rule(V2, 1.0), r"c has shape \(2,\); expected a scalar"),
        (lambda: fc.power_rule(V2, V2), r"n has shape \(2,\); expected a scalar"),
        (lambda: fc.sum_rule(V2, V3), r"df has shape \(2,\), dg has shape \(3,\); " + EQUAL),
        (lambda: fc.difference_rule(V2, 1.0), r"df has shape \(2,\), dg has shape \(\); "),
        (lambda: fc.product_rule(V2, V2, V3, V2), r"g has shape \(3,\), f has shape \(2,\); "),
        (
            lambda: fc.scalar_expansion_jacobians("add", V3, V3),
            r"z has shape \(3,\); expected a sc",
        ),
        (lambda: fc.single_variable_chain(1.0, V2), r"derivatives\[1\] has shape \(2,\); expected"),
        (lambda: fc.single_variable_chain(), "derivatives is empty"),
        (lambda: fc.vector_chain(V2, M23), r"jacobians\[0\] has shape \(2,\); expected a matrix"),
        (
            lambda: fc.vector_chain(M23, M23),
            r"jacobians\[0\] has shape \(2, 3\), jacobians\[1\] has shape \(2, 3\)",
        ),
        (lambda: fc.diagonal_chain(V2, M23), r"diagonals\[1\] has shape \(2, 3\); expected a ve"),
        (
            lambda: fc.diagonal_chain(V2, V3),
            r"diagonals\[0\] has shape \(2,\), diagonals\[1\] has shape \(3,\)",
        ),
        (lambda: fc.total_derivative(M23, V2, V2), r"partial_x has shape \(2, 3\); expected a sc"),
        (lambda: fc.total_derivative(1.0, 2.0, 3.0), r"partials_u has shape \(\); expected a vec"),
        (
            lambda: fc.total_derivative(V3, V2, M32),
            r"du_dx .* \(3, 2\), partials_u .* \(2,\), partial_x .* \(3,\); expected .* \(2, 3\)",
        ),
        (lambda: fc.total_derivative(1.0, V2, V3), r"expected du_dx of shape \(2,\)"),
        (lambda: fc.affine_gradients(V2, V3), r"w has shape \(2,\), x has shape \(3,\); " + EQUAL),
        (lambda: fc.affine_gradients(M23, M23), r"w has shape \(2, 3\); expected a vector"),
        (lambda: fc.activation_gradients(V2, V2, V2), r"b has shape \(2,\); expected a scalar"),
        (lambda: fc.activation_gradients(V2, V3, 0), r"w has shape \(2,\), x has shape \(3,\)"),
        (lambda: fc.affine_jvp(V3, V3), r"X has shape \(3,\); expected a matrix"),
        (
            lambda: fc.affine_jvp(M23, 1.0),
            r"W has shape \(\); expected a vector \(n,\) or a matrix",
        ),
        (
            lambda: fc.affine_jvp(M23, V2),
            r"X has shape \(2, 3\), W has shape \(2,\); expected the columns of X to be",
        ),
        (
            lambda: fc.affine_jvp(M23, V3, X_dot=M32),
            r"X_dot has shape \(3, 2\), X has shape \(2, 3",
        ),
        (lambda: fc.affine_jvp(M23, V3, W_dot=V2), r"W_dot has shape \(2,\), W has shape \(3,\)"),
        (
            lambda: fc.affine_jvp(M23, M32, b_dot=V3),
            r"b_dot has shape \(3,\), one row of X @ W has shape \(2,\)",
        ),
        (lambda: fc.affine_vjp(V3, M23, V3), r"grad_Z has shape \(3,\), X @ W has shape \(2,\); "),
        (lambda: fc.affine_vjp(V2, M23, V2), "expected the columns of X to be"),
        (lambda: fc.relu_jvp(V2, V3), r"z has shape \(2,\), z_dot has shape \(3,\); " + EQUAL),
        (lambda: fc.relu_vjp(V2, V3), r"grad_a has shape \(2,\), z has shape \(3,\); " + EQUAL),
    ],
)
def test_errors_name_the_argument_and_the_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [int, np.float16, complex])
def test_identity_jacobian_refuses_other_dtypes(dtype):
    with pytest.raises(TypeError, match=r"dtype is .*; expected float32 or float64"):
        fc.identity_jacobian(2, dtype=dtype)
