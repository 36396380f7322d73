"""Every activation of the table: its formula, its gradient, and everywhere that a network goes."""

import numpy as np
import pytest
from helpers import DTYPES, EPS, assert_close, assert_same_bits, draw_problem, wide

import fastgrad as fg
from fastgrad import reference as ref
from fastgrad.activations import ACTIVATIONS

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = [(5, 7, 3), (3, 1, 17, 2), (9, 33, 20, 1), (2, 64, 65, 4)]


def problem(rng, sizes, n, activation, loss="mse", dtype=np.float64, **options):
    net = fg.MLP(sizes, loss, activation=activation, dtype=dtype, **options)
    theta = (rng.standard_normal(net.n_parameters) / np.sqrt(sizes[0])).astype(dtype)
    _, X, y, s = draw_problem(rng, sizes, n, loss, np.dtype(dtype), True)
    return net, theta, rng.standard_normal(X.shape).astype(dtype), y, s


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_row28_networks_are_their_twins(rng, activation, sizes, dtype):
    for n in (1, 30, 301):
        net, theta, X, y, s = problem(rng, sizes, n, activation, dtype=dtype, l2=0.1)
        options = {"l2": 0.1, "sample_weight": wide(s), "activation": activation}
        args = wide(theta), wide(X), y.astype(float), sizes, "mse"
        expected, expected_grad = ref.mlp_loss_and_grad(*args, **options)
        loss, grad = net.loss_and_grad(theta, X, y, s)
        assert_close(loss, expected, dtype, 64)
        assert_close(grad, expected_grad, dtype, 256)
        out = ref.mlp_forward(*args[:2], sizes, activation=activation)[-1]
        assert_close(net.predict(theta, X), out, dtype, 64)
        assert net.loss(theta, X, y, s) == loss
        assert_close(
            net.grad_input(theta, X, y, s), ref.mlp_grad_input(*args, **options), dtype, 256
        )


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "logistic"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_row28_gradients_are_the_numerical_ones(rng, activation, loss):
    net, theta, X, y, s = problem(rng, (3, 6, 5, 2), 12, activation, loss)
    if activation.endswith("relu"):  # away from the kink
        theta += 0.05 * np.sign(theta)
    report = fg.check_gradient(net.loss_and_grad, theta, (X, y, s))
    assert report.ok, report


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_row28_the_slope_of_an_output_is_the_numerical_one(activation, dtype):
    """One hidden unit of weight 1: outputs are the activation's, the inputs' gradient its slope."""
    net = fg.MLP([1, 1, 1], activation=activation, dtype=dtype)
    theta = np.array([1, 0, 1, 0], dtype)
    X = np.linspace(-6, 6, 97)[:, None]
    X = X[np.abs(X[:, 0]) > 0.05].astype(dtype)
    out = net.predict(theta, X)
    twin = ref.ACTIVATIONS[activation][0](X.copy())
    np.testing.assert_allclose(out, twin, rtol=4 * EPS[np.dtype(dtype)], atol=0)
    targets = out - X.dtype.type(0.5 * len(X))  # d loss / d out is 1
    slope, h, exact = net.grad_input(theta, X, targets), 1e-3, X.astype(float)
    value = lambda x: ref.ACTIVATIONS[activation][0](x.copy())  # noqa: E731
    points = [value(exact + k * h) for k in (-2, -1, 1, 2)]
    numerical = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * h)
    np.testing.assert_allclose(slope, numerical, rtol=0, atol=64 * EPS[np.dtype(dtype)] + 1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_same_bits_however_a_step_is_cut_and_from_compiled_code(rng, activation):
    from fastgrad.interop.numba import network

    net, theta, X, y, _ = problem(rng, (20, 40, 60, 5), 3000, activation)
    expected = net.loss_and_grad(theta, X, y, threads=1)
    for found in (net.loss_and_grad(theta, X, y), network(net, 3000).loss_and_grad(theta, X, y)):
        assert found[0] == expected[0]
        assert_same_bits(found[1], expected[1])
    rows = [net.predict(theta, X[i : i + 1]) for i in range(5)]
    assert_same_bits(np.concatenate(rows), net.predict(theta, X)[:5])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinity_show(rng, activation, dtype):
    net, theta, X, y, _ = problem(rng, (4, 9, 2), 20, activation, dtype=dtype)
    X[3, 1] = np.nan
    loss, grad = net.loss_and_grad(theta, X, y)
    assert np.isnan(loss) and np.isnan(grad).any()
    assert np.isnan(net.predict(theta, X)[3]).all()
    assert not np.isnan(net.predict(theta, X)[4:]).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_saving_and_starting(rng, activation, tmp_path):
    net = fg.MLP([2, 16, 1], activation=activation, dtype="f4")
    X = rng.uniform(-1, 1, (400, 2))
    y = X[:, 0] - 0.5 * X[:, 1]
    result = fg.fit(net, X, y, optimizer=fg.Adam(0.01), epochs=60, seed=0)
    assert fg.evaluate(net, result.theta, X, y).score > 0.98
    fg.save_model(tmp_path / "m.npz", net, result.theta)
    assert fg.load_model(tmp_path / "m.npz").net == net
    assert (net == fg.MLP([2, 16, 1], dtype="f4")) == (activation == "relu")
    assert repr(net).count(activation) == (activation != "relu")
    wide_net = fg.MLP([1000, 1000, 1], activation=activation)
    spread = np.std(wide_net.unflatten(wide_net.init(0))[0][0]) * np.sqrt(1000)
    assert spread == pytest.approx(np.sqrt(ACTIVATIONS[activation].variance), rel=0.01)


@pytest.mark.parametrize("name", ["swish", "ReLU", ""])
def test_an_unknown_activation_is_named_with_those_that_are_known(name):
    with pytest.raises(ValueError, match=f"activation is {name!r}; expected one of identity, relu"):
        fg.MLP([2, 3, 1], activation=name)
    with pytest.raises(TypeError, match="activation is 3; expected one of"):
        fg.MLP([2, 3, 1], activation=3)
