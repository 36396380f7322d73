"""One neuron against its NumPy twin, differences and identities."""

import numpy as np
import pytest
from helpers import DTYPES, F32, F64, assert_close, assert_same_bits, dyadic, edge_sizes, wide
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")


def draw_neuron(rng, n, d, dtype, weighted=False):
    w, b = dyadic(rng, d, dtype, 8, 1), 0.25
    X, y = dyadic(rng, (n, d), dtype, 4, 2), dyadic(rng, n, dtype)
    s = rng.integers(1, 5, n).astype(dtype) if weighted else None
    return w, b, X, y, s


def check_against_twin(w, b, X, y, s, dtype):
    loss, gw, gb = fg.neuron_loss_and_grad(w, b, X, y, s)
    expected = ref.neuron_loss_and_grad(wide(w), b, wide(X), wide(y), wide(s))
    assert type(loss) is float and type(gb) is float and gw.dtype == dtype
    assert_close(loss, expected[0], dtype)
    assert_close(gw, expected[1], dtype)
    assert_close(gb, expected[2], dtype, 256)


@given(
    n=st.integers(1, 60), d=st.integers(0, 70), dtype=st.sampled_from(DTYPES),
    weighted=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_row18_row19_row20_loss_and_gradient_are_the_twins(n, d, dtype, weighted, seed):
    problem = draw_neuron(np.random.default_rng(seed), n, d, dtype, weighted)
    check_against_twin(*problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 8, 9, 511, 512, 513, 1025, 5000])
def test_row18_row19_row20_around_groups_and_blocks_of_rows(rng, n, dtype):
    for d in edge_sizes(dtype):
        check_against_twin(*draw_neuron(rng, n, d, dtype, n % 2 == 0), dtype)


@pytest.mark.parametrize("weighted", [False, True])
def test_row19_row20_gradient_is_the_numerical_one(rng, weighted):
    n, d = 40, 6
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    w = rng.normal(size=d)
    s = rng.uniform(0.5, 2, n) if weighted else None
    b = _bias_away_from_kinks(X @ w)

    def f(theta):
        loss, gw, gb = fg.neuron_loss_and_grad(theta[:-1].copy(), theta[-1], X, y, s)
        return loss, np.append(gw, gb)

    fg.assert_gradient(f, np.append(w, b), rtol=1e-7)


def _bias_away_from_kinks(z):
    """A bias that keeps every z + b off 0 by a margin, in the largest gap of z near 0."""
    near = np.sort(-z[np.abs(z) < 1])
    gap = np.argmax(np.diff(near))
    assert near[gap + 1] - near[gap] > 0.05
    return (near[gap] + near[gap + 1]) / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_row18_row19_worked_by_hand(dtype):
    X, y = np.array([[1, 2], [3, -1], [-9, 0]], dtype), np.array([3, 2, 4], dtype)
    loss, gw, gb = fg.neuron_loss_and_grad(np.array([1, 1], dtype), 0.5, X, y)
    # z = 3.5, 2.5, -8.5: the third row is inactive and adds 16 to the sum, nothing to gradients
    assert loss == pytest.approx((0.25 + 0.25 + 16) / 3, rel=1e-6)
    np.testing.assert_allclose(gw, 2 / 3 * np.array([0.5 + 1.5, 1.0 - 0.5]), rtol=1e-6)
    assert gb == pytest.approx(2 / 3 * 1.0, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row18_row19_all_rows_inactive_give_exact_zeros_and_the_loss_of_y(rng, dtype):
    X, y = np.abs(dyadic(rng, (33, 5), dtype)), dyadic(rng, 33, dtype)
    loss, gw, gb = fg.neuron_loss_and_grad(np.full(5, -1, dtype), -0.5, X, y)
    assert loss == pytest.approx(np.mean(wide(y) ** 2), rel=1e-6)
    assert not gw.any() and gb == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_row18_weights_of_whole_numbers_are_repeated_rows(rng, dtype):
    w, b, X, y, s = draw_neuron(rng, 37, 11, dtype, weighted=True)
    s[::5] = 0
    times = s.astype(int)
    repeated = fg.neuron_loss_and_grad(w, b, np.repeat(X, times, 0), np.repeat(y, times))
    weighted = fg.neuron_loss_and_grad(w, b, X, y, s)
    for a, e in zip(weighted, repeated):
        assert_close(a, e, dtype)


def test_row18_neuron_is_a_network_of_one_relu_output(rng):
    w, b, X, y, s = draw_neuron(rng, 50, 9, F64, weighted=True)
    net = fg.MLP([9, 1], output_activation="relu")
    loss, grad = net.loss_and_grad(np.append(w, b), X, y, s)
    other = fg.neuron_loss_and_grad(w, b, X, y, s)
    assert loss == pytest.approx(other[0], rel=1e-14)
    np.testing.assert_allclose(grad, np.append(other[1], other[2]), rtol=1e-12, atol=1e-15)


def test_row22_augmented_weights_and_inputs_are_the_same_neuron(rng):
    w, b, X, y, _ = draw_neuron(rng, 50, 9, F64)
    hat_X, hat_w = np.column_stack([X, np.ones(50)]), np.append(w, b)
    loss, gw, gb = fg.neuron_loss_and_grad(w, b, X, y)
    hat_loss, hat_gw, hat_gb = fg.neuron_loss_and_grad(hat_w, 0.0, hat_X, y)
    assert hat_loss == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(hat_gw, np.append(gw, gb), rtol=1e-12)
    assert hat_gb == pytest.approx(gb, rel=1e-12)
    np.testing.assert_array_equal(fg.affine(X, w, b), fg.affine(hat_X, hat_w, 0.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_row17_gradients_of_each_row(rng, dtype):
    w, b, X, _, _ = draw_neuron(rng, 61, 7, dtype)
    dw, db = fg.neuron_grad(w, b, X)
    expected = ref.neuron_grad(w, b, X)
    assert_same_bits(dw + 0, expected[0] + 0)
    assert_same_bits(db, expected[1])
    assert 0 < db.sum() < 61  # both kinds of rows were there
    # an active row has x itself and 1, a row at the kink zeros
    X[0], X[1] = 0, 1
    dw, db = fg.neuron_grad(np.zeros(7, dtype), 0.0, X)
    assert not dw.any() and not db.any()
    dw, db = fg.neuron_grad(np.zeros(7, dtype), 0.5, X)
    assert_same_bits(dw, X)
    assert (db == 1).all()


def test_row17_mean_of_row_gradients_gives_row19():
    rng = np.random.default_rng(4)
    w, b, X, y, _ = draw_neuron(rng, 30, 4, F64)
    dw, db = fg.neuron_grad(w, b, X)
    e = fg.relu(fg.affine(X, w, b)) - y
    _, gw, gb = fg.neuron_loss_and_grad(w, b, X, y)
    np.testing.assert_allclose(gw, 2 * np.mean(e[:, None] * dw, axis=0), rtol=1e-12)
    assert gb == pytest.approx(2 * np.mean(e * db), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (100,), (3, 0, 2), (5, 7), (2, 3, 4)])
def test_row02_row16_relu_and_mask_of_any_shape(rng, shape, dtype):
    Z = np.array(dyadic(rng, shape, dtype), dtype)
    for name in ("relu", "relu_mask"):
        got, expected = getattr(fg, name)(Z), getattr(ref, name)(Z.reshape(-1)).reshape(shape)
        assert_same_bits(got, expected + 0 if name == "relu" else expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row02_row16_at_the_kink_beside_it_and_beyond(dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    Z = np.array([0.0, -0.0, tiny, -tiny, huge, -huge, np.inf, -np.inf, np.nan], dtype)
    a = fg.relu(Z)
    np.testing.assert_array_equal(a, np.array([0, 0, tiny, 0, huge, 0, np.inf, 0, np.nan], dtype))
    assert not np.signbit(a[:-1]).any()  # -0 becomes 0
    expected = [False, False, True, False, True, False, True, False, True]
    assert fg.relu_mask(Z).tolist() == expected
    assert fg.relu_mask(a).tolist() == expected  # an activation has the mask of its z


@pytest.mark.parametrize("value", [[-1, 2], (True, False), np.array([3, -4], np.int8), 5, -2.5])
def test_row02_integers_booleans_and_lists_become_float64(value):
    a = fg.relu(value)
    assert a.dtype == F64
    np.testing.assert_array_equal(a, np.maximum(np.asarray(value, float), 0))


def test_neuron_takes_lists_and_integers_in_the_dtype_of_its_parameters():
    loss, gw, gb = fg.neuron_loss_and_grad(np.array([1, 2], F32), 1, [[1, 2], [3, 4]], [5, 6])
    assert (loss, gb) == (18.5, 7.0) and gw.dtype == F32
    assert gw.tolist() == [19.0, 26.0]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    "kind", [float, int, np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint64]
)
def test_any_real_number_is_a_bias_of_one_neuron(rng, dtype, kind):
    X, w, y = rng.random((5, 2)).astype(dtype), np.ones(2, dtype), np.ones(5, dtype)
    b = kind(2)
    for call in (
        lambda b: [fg.affine(X, w, b)],
        lambda b: fg.affine_relu(X, w, b),
        lambda b: fg.neuron_grad(w, b, X),
        lambda b: fg.neuron_loss_and_grad(w, b, X, y),
        lambda b: fg.neuron_loss_and_grad(w, b, X, y.tolist()),
    ):
        for found, want in zip(call(b), call(2.0)):
            assert np.asarray(found).dtype == np.asarray(want).dtype
            np.testing.assert_array_equal(found, want)


def test_a_bias_decides_the_dtype_where_no_array_does():
    assert fg.affine([[1.0]], [2.0], np.float32(1)).dtype == F32
    assert fg.affine([[1.0]], [2.0], np.float64(1)).dtype == F64


@pytest.mark.parametrize(
    "b", [np.array(1.0), np.array([1.0]), np.complex64(1), 1j, np.True_, np.timedelta64(1, "s")]
)
def test_arrays_of_another_dtype_and_what_is_no_real_number_are_no_bias(b):
    X, w, y = np.ones((5, 2), F32), np.ones(2, F32), np.ones(5, F32)
    for _ in range(2):  # before and after the fast path is open
        for call in (
            lambda: fg.affine(X, w, b),
            lambda: fg.neuron_grad(w, b, X),
            lambda: fg.neuron_loss_and_grad(w, b, X, y),
        ):
            with pytest.raises(TypeError, match=r"b (is|has dtype) "):
                call()
        fg.neuron_loss_and_grad(w, 1.0, X, y)
