"""Hard numbers: NaN, infinity, denormals, saturation, many rows, wide ranges."""

import numpy as np
import pytest
from helpers import DTYPES, EPS, F32, F64, LOSSES, draw_problem, twin, wide

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")


def positive_problem(loss, sizes, n, dtype):
    """All of X and theta above 0, so that every unit is active and nothing is hidden by a ReLU."""
    rng = np.random.default_rng(8)
    net = fg.MLP(sizes, loss=loss, dtype=dtype)
    theta = rng.uniform(0.1, 1, net.n_parameters).astype(dtype)
    X = rng.uniform(0.1, 1, (n, sizes[0])).astype(dtype)
    _, _, y, _ = draw_problem(rng, sizes, n, loss, dtype)
    return net, theta, X, y


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [[19, 5], [3, 18, 2]], ids=str)
def test_nan_and_infinity_anywhere_show_in_the_loss(loss, dtype, value, sizes):
    net, theta, X, y = positive_problem(loss, sizes, 13, dtype)
    assert np.isfinite(net.loss(theta, X, y))
    arrays = {"X": X, "theta": theta}
    if loss != "cross_entropy" and (loss != "logistic" or np.isnan(value)):
        arrays["y"] = y
    for name, array in arrays.items():
        for place in range(array.size):
            bad = array.copy()
            bad.flat[place] = value
            arguments = {"theta": theta, "X": X, "y": y, name: bad}
            assert not np.isfinite(net.loss(**arguments)), f"{name}.flat[{place}]"
            total, grad = net.loss_and_grad(**arguments)
            assert not np.isfinite(total), f"{name}.flat[{place}]"
            if np.isnan(value):
                assert np.isnan(total) and np.isnan(grad).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_row18_nan_and_infinity_anywhere_show_in_a_neurons_loss(rng, dtype):
    n, d = 21, 19
    w, X = rng.uniform(0.1, 1, d).astype(dtype), rng.uniform(0.1, 1, (n, d)).astype(dtype)
    y, s = np.zeros(n, dtype), np.ones(n, dtype)
    for name, array in {"w": w, "X": X, "y": y, "sample_weight": s}.items():
        for place in range(array.size):
            for value in (np.nan, np.inf):
                bad = array.copy()
                bad.flat[place] = value
                arguments = {"w": w, "b": 0.0, "X": X, "y": y, "sample_weight": s, name: bad}
                loss, gw, _ = fg.neuron_loss_and_grad(**arguments)
                assert not np.isfinite(loss), f"{name}.flat[{place}] = {value}"
                assert not np.isfinite(gw).all()
    for b in (np.nan, np.inf):
        assert not np.isfinite(fg.neuron_loss_and_grad(w, b, X, y)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_sample_weight_shows_in_the_loss(dtype, value):
    net, theta, X, y = positive_problem("mse", [3, 4, 2], 13, dtype)
    for place in range(13):
        s = np.ones(13, dtype)
        s[place] = value
        assert not np.isfinite(net.loss(theta, X, y, s))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_spoils_its_own_row_alone(dtype):
    net, theta, X, _ = positive_problem("cross_entropy", [19, 18, 5], 40, dtype)
    clean, proba = net.predict(theta, X), net.predict_proba(theta, X)
    X[17, 3] = np.nan
    others = np.arange(40) != 17
    for before, after in ((clean, net.predict(theta, X)), (proba, net.predict_proba(theta, X))):
        assert np.isnan(after[17]).all()
        assert after[others].tobytes() == before[others].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_row16_a_pre_activation_of_zero_of_either_sign_passes_nothing(dtype):
    net = fg.MLP([1, 1], output_activation="relu", dtype=dtype)
    for x in (0.0, -0.0):
        theta, X, y = (np.array(v, dtype) for v in ([1, 0], [[x]], [3]))
        loss, grad = net.loss_and_grad(theta, X, y)
        assert loss == 9 and not grad.any()
    loss, gw, gb = fg.neuron_loss_and_grad(np.ones(2, dtype), -0.0, -np.zeros((3, 2), dtype),
                                           np.ones(3, dtype))  # fmt: skip
    assert loss == 1 and not gw.any() and gb == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dead_units_have_gradients_of_exactly_zero(rng, loss, dtype):
    net = fg.MLP([4, 18, 3], loss=loss, dtype=dtype)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 30, loss, dtype)
    W, b = net.unflatten(theta)[0]
    dead = np.arange(18) % 3 == 0
    W[:, dead], b[dead] = 0, -1
    _, grad = net.loss_and_grad(theta, X, y)
    (gW, gb), (gW2, _) = net.unflatten(grad)
    assert not gW[:, dead].any() and not gb[dead].any() and not gW2[dead].any()
    assert gW[:, ~dead].any()
    b[:] = -100  # all of them: the loss is that of the output bias, the hidden layer stays
    value, grad = net.loss_and_grad(theta, X, y)
    assert np.isfinite(value)
    (gW, gb), _ = net.unflatten(grad)
    assert not gW.any() and not gb.any()


@pytest.mark.parametrize("size", [1e4, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["logistic", "cross_entropy"])
def test_row25_row26_saturated_networks_have_finite_losses_and_gradients(rng, loss, dtype, size):
    net = fg.MLP([4, 6, 3], loss=loss, dtype=dtype)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 30, loss, dtype)
    net.unflatten(theta)[1][0][...] *= dtype.type(size)
    value, grad = net.loss_and_grad(theta, X, y)
    expected, expected_grad = twin(theta, X, y, net.layer_sizes, loss)
    assert value == pytest.approx(expected, rel=16 * EPS[dtype])
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-4 if dtype == F32 else 1e-10,
                               atol=64 * EPS[dtype] * np.abs(expected_grad).max())  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_are_not_flushed(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    X = (np.arange(1, 41).reshape(8, 5) * tiny).astype(dtype)
    W = np.array([[1, 2, 4]] * 5, dtype)
    np.testing.assert_array_equal(fg.affine(X, W, np.zeros(3, dtype)), X @ W)
    assert (fg.relu(X) == X).all() and fg.relu_mask(X).all()
    ones = np.ones((8, 3), bool)
    gX, gW, gb = fg.affine_relu_backward((X @ W), np.ones((8, 5), dtype), W, ones)
    np.testing.assert_array_equal(gb, (X @ W).sum(axis=0))
    np.testing.assert_array_equal(gW[0], gb)
    np.testing.assert_array_equal(gX, (X @ W) @ W.T)
    # a loss of denormals against float64's, whose squares do not underflow there
    if dtype == F32:
        net = fg.MLP([5, 3], dtype=F32)
        theta = net.flatten([(W, np.zeros(3, F32))])
        _, grad = net.loss_and_grad(theta, X + F32.type(1), np.zeros((8, 3), F32))
        assert np.isfinite(grad).all() and grad.all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_row19_features_over_twelve_orders_of_magnitude(rng, dtype):
    """Column by column no worse than NumPy's own closed form (with room for luck)."""
    n, d = 2000, 13
    scale = 10.0 ** np.arange(-6, 7)
    X = (rng.normal(size=(n, d)) * scale).astype(dtype)
    w = (rng.normal(size=d) / scale).astype(dtype)
    y = rng.normal(size=n).astype(dtype)
    wide_X, z = X.astype(np.longdouble), X.astype(np.longdouble) @ w.astype(np.longdouble) + 0.5
    e, active = np.maximum(z, 0) - y, z > 0
    exact = (e @ e / n, 2 * (e * active) @ wide_X / n, 2 * e[active].sum() / n)
    mine, numpys = fg.neuron_loss_and_grad(w, 0.5, X, y), ref.neuron_loss_and_grad(w, 0.5, X, y)
    terms = 2 / n * (np.abs(wide(y)) + 3) @ np.abs(wide(X))  # what each column's sum is made of
    for got, numpy_got, true, unit in zip(mine, numpys, exact, (float(exact[0]), terms, terms[6])):
        error = np.max(np.abs(np.asarray(got, np.longdouble) - true) / unit)
        numpy_error = np.max(np.abs(np.asarray(numpy_got, np.longdouble) - true) / unit)
        assert error <= 4 * EPS[dtype]
        assert error <= 2 * numpy_error + 2 * EPS[dtype]


def many_rows(n, d=6):
    """Rows whose sums cannot cancel, so that an accumulator that is too short shows."""
    rng = np.random.default_rng(9)
    X = rng.random((n, d), dtype=F32)
    y = rng.random(n, dtype=F32)
    y -= 1
    return X, y


def check_many_rows(n, rtol):
    X, y = many_rows(n)
    w = np.full(X.shape[1], 0.3, F32)
    loss, gw, gb = fg.neuron_loss_and_grad(w, 0.1, X, y)
    b = float(F32.type(0.1))
    expected = ref.neuron_loss_and_grad(w.astype(F64), b, X.astype(F64), y.astype(F64))
    assert loss == pytest.approx(expected[0], rel=rtol)
    np.testing.assert_allclose(gw, expected[1], rtol=rtol)
    assert gb == pytest.approx(expected[2], rel=rtol)
    for name in ("mse", "huber"):  # most of huber's terms are one number: they round alike
        net = fg.MLP([X.shape[1], 4, 1], name, dtype=F32)
        theta = np.full(net.n_parameters, 0.3, F32)
        loss, grad = net.loss_and_grad(theta, X, y)
        expected, expected_grad = twin(theta, X, y.astype(F64), net.layer_sizes, name)
        assert loss == pytest.approx(expected, rel=rtol)
        np.testing.assert_allclose(grad, expected_grad, rtol=3 * rtol)
    classes = fg.MLP([X.shape[1], 3], loss="cross_entropy", dtype=F32)
    theta = np.linspace(-1, 1, classes.n_parameters).astype(F32)
    labels = (np.arange(n) % 3 == 0).astype(np.int64)
    loss, grad = classes.loss_and_grad(theta, X, labels)
    expected, expected_grad = twin(theta, X, labels, classes.layer_sizes, "cross_entropy")
    assert loss == pytest.approx(expected, rel=rtol)
    np.testing.assert_allclose(grad, expected_grad, rtol=3 * rtol)


def test_row18_row19_a_million_rows_lose_no_accuracy_in_float32():
    check_many_rows(1_000_000, 1e-6)


@pytest.mark.stress
def test_row18_row19_ten_million_rows_lose_no_accuracy_in_float32():
    check_many_rows(10_000_000, 1e-6)


@pytest.mark.stress
@pytest.mark.parametrize("loss", LOSSES)
def test_row24_a_thousand_random_networks_pass_gradcheck(loss):
    from test_network import smooth_problem

    rng = np.random.default_rng(10)
    for case in range(1000):
        sizes = list(rng.integers(1, 6, rng.integers(2, 5)))
        sizes[-1] += loss == "cross_entropy"
        net = fg.MLP(sizes, loss=loss, l2=float(rng.choice([0, 0.2])))
        theta, X, y, s = smooth_problem(rng, net.layer_sizes, 2, loss, case % 2 == 0)
        fg.assert_gradient(net.loss_and_grad, theta, (X, y, s), rtol=1e-7)
