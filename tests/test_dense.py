"""One layer against its NumPy twin, differences and identities.

Entries are small dyadic numbers, so sums are exact in either precision and in any order: kernel and
twin must agree to the bit, also where a pre-activation is exactly 0.
"""

import numpy as np
import pytest
from helpers import DTYPES, F64, assert_close, dyadic, edge_sizes, lanes, wide
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import reference as ref
from fastgrad.kernels import tuning

pytestmark = pytest.mark.usefixtures("one_thread")


def draw_layer(rng, n, d, k, dtype):
    X, W, b = dyadic(rng, (n, d), dtype), dyadic(rng, (d, k), dtype), dyadic(rng, k, dtype)
    return X, W, b, dyadic(rng, (n, k), dtype)


def check_layer(X, W, b, grad_a):
    expected, expected_mask = ref.affine_relu(X, W, b)
    np.testing.assert_array_equal(fg.affine(X, W, b), ref.affine(X, W, b))
    a, mask = fg.affine_relu(X, W, b)
    assert a.dtype == X.dtype and mask.dtype == bool
    np.testing.assert_array_equal(a, expected)
    np.testing.assert_array_equal(mask, expected_mask)
    assert not np.signbit(a).any()
    got = fg.affine_relu_backward(grad_a, X, W, mask)
    for actual, twin in zip(got, ref.affine_relu_backward(grad_a, X, W, expected_mask)):
        np.testing.assert_array_equal(actual, twin)
        assert actual.dtype == X.dtype
    without = fg.affine_relu_backward(grad_a, X, W, mask, need_gX=False)
    assert without[0] is None
    for a, e in zip(without[1:], got[1:]):
        np.testing.assert_array_equal(a, e)


@given(
    n=st.integers(0, 40), d=st.integers(1, 40), k=st.integers(1, 140),
    dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_row01_row02_row16_row23_layer_is_the_twin(n, d, k, dtype, seed):
    check_layer(*draw_layer(np.random.default_rng(seed), n, d, k, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_row23_around_the_edges_of_tiles(rng, dtype):
    rows = [1, 2, 5, 6, 7, 11, 12, 13, 25]
    for k in edge_sizes(dtype):
        for n, d in zip(rows, [1, 3, lanes(dtype) - 1, 4, lanes(dtype) + 1, 9, 2, 17, 8]):
            check_layer(*draw_layer(rng, n, d, k, dtype))
            check_layer(*draw_layer(rng, n, k, d, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [tuning.KC_COLUMNS, tuning.KC_ROWS])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_row23_around_blocks_of_products_and_of_rows(rng, dtype, extra, block):
    """The inner dimension goes in blocks of KC: d forward, k for gX, rows of a block for gW."""
    long = block + extra
    check_layer(*draw_layer(rng, 7, long, 5, dtype))
    check_layer(*draw_layer(rng, 7, 5, long, dtype))
    check_layer(*draw_layer(rng, long, 5, 7, dtype))
    check_layer(*draw_layer(rng, 2 * long + 1, 3, 2, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 31])
@pytest.mark.parametrize("d", [1, 4, 33])
def test_row01_row23_one_neuron_is_a_layer_of_one(rng, n, d, dtype):
    X, W, b, grad_a = draw_layer(rng, n, d, 1, dtype)
    w, bias, grad = W[:, 0].copy(), float(b[0]), grad_a[:, 0].copy()
    np.testing.assert_array_equal(fg.affine(X, w, bias), ref.affine(X, w, bias))
    a, mask = fg.affine_relu(X, w, bias)
    twin, twin_mask = ref.affine_relu(X, w, bias)
    np.testing.assert_array_equal(a, twin)
    np.testing.assert_array_equal(mask, twin_mask)
    gX, gw, gb = fg.affine_relu_backward(grad, X, w, mask)
    e = ref.affine_relu_backward(grad, X, w, twin_mask)
    assert gX.shape == (n, d) and gw.shape == (d,) and np.ndim(gb) == 0
    np.testing.assert_array_equal(gX, e[0])
    np.testing.assert_array_equal(gw, e[1])
    assert gb == e[2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_row01_real_numbers_are_the_twin_within_rounding(rng, dtype):
    X, W, b = (rng.normal(size=s).astype(dtype) for s in [(50, 70), (70, 40), (40,)])
    assert_close(fg.affine(X, W, b), ref.affine(wide(X), wide(W), wide(b)), dtype)


def test_row15_derivatives_of_affine_are_x_w_and_one(rng):
    """Backward of a layer without its ReLU (mask all set), against the numerical Jacobian."""
    n, d, k = 3, 4, 5
    X, W, b, grad_a = (a.astype(F64) for a in draw_layer(rng, n, d, k, F64))
    gX, gW, gb = fg.affine_relu_backward(grad_a, X, W, np.ones((n, k), bool))
    for value, analytic, f in [
        (X, gX, lambda v: fg.affine(v.reshape(n, d), W, b)),
        (W, gW, lambda v: fg.affine(X, v.reshape(d, k), b)),
        (b, gb, lambda v: fg.affine(X, W, v)),
    ]:

        def total(v, f=f):
            return float(np.vdot(grad_a, f(v)))

        numerical = fg.numerical_gradient(total, value.ravel())
        np.testing.assert_allclose(analytic.ravel(), numerical, rtol=1e-9, atol=1e-9)
    # one neuron, one row: d(w.x + b)/dw = x, /dx = w, /db = 1
    x, w = X[:1], W[:, 0].copy()
    gX, gw, gb = fg.affine_relu_backward([1.0], x, w, np.array([True]))
    np.testing.assert_array_equal(gX[0], w)
    np.testing.assert_array_equal(gw, x[0])
    assert gb == 1


def test_row23_backward_is_the_adjoint_of_the_directional_derivative(rng):
    n, d, k = 23, 19, 37
    X, W, b, grad_a = draw_layer(rng, n, d, k, F64)
    dX, dW, db = dyadic(rng, (n, d), F64), dyadic(rng, (d, k), F64), dyadic(rng, k, F64)
    _, mask = fg.affine_relu(X, W, b)
    gX, gW, gb = fg.affine_relu_backward(grad_a, X, W, mask)
    forward = np.where(mask, dX @ W + X @ dW + db, 0)
    assert np.vdot(grad_a, forward) == np.vdot(gX, dX) + np.vdot(gW, dW) + np.vdot(gb, db)


def test_row14_row23_mask_selects_whatever_arrives_there(rng):
    """A masked gradient is chosen, not multiplied: NaN and infinity behind a closed gate are 0."""
    X, W, _, grad_a = draw_layer(rng, 9, 4, 20, F64)
    mask = rng.random((9, 20)) < 0.5
    clean = fg.affine_relu_backward(grad_a, X, W, mask)
    grad_a[~mask] = rng.choice([np.nan, np.inf, -np.inf], (~mask).sum())
    for actual, expected in zip(fg.affine_relu_backward(grad_a, X, W, mask), clean):
        np.testing.assert_array_equal(actual, expected)


def test_row23_sums_over_samples_take_no_mean(rng):
    X, W, _, grad_a = draw_layer(rng, 11, 3, 4, F64)
    mask = np.ones((11, 4), bool)
    _, gW, gb = fg.affine_relu_backward(grad_a, X, W, mask)
    twice = [np.concatenate([a, a]) for a in (grad_a, X)]
    _, gW2, gb2 = fg.affine_relu_backward(*twice, W, np.concatenate([mask, mask]))
    np.testing.assert_array_equal(gW2, 2 * gW)
    np.testing.assert_array_equal(gb2, 2 * gb)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row23_no_rows_give_empty_outputs_and_zero_gradients(dtype):
    X, W, b = np.zeros((0, 3), dtype), np.ones((3, 5), dtype), np.ones(5, dtype)
    a, mask = fg.affine_relu(X, W, b)
    assert a.shape == mask.shape == fg.affine(X, W, b).shape == (0, 5)
    gX, gW, gb = fg.affine_relu_backward(np.zeros((0, 5), dtype), X, W, mask)
    assert gX.shape == (0, 3) and gW.shape == (3, 5) and gb.shape == (5,)
    assert not gW.any() and not gb.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_row16_nan_passes_forward_and_back(dtype):
    X = np.array([[np.nan], [1.0]], dtype)
    a, mask = fg.affine_relu(X, np.array([[-1.0, 2.0]], dtype), np.zeros(2, dtype))
    np.testing.assert_array_equal(a, [[np.nan, np.nan], [0, 2]])
    assert mask.tolist() == [[True, True], [False, True]]
