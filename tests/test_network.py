"""Networks against their NumPy twin, five-point differences, identities and invariances."""

import copy
import pickle

import numpy as np
import pytest
from helpers import (
    DTYPES,
    F32,
    F64,
    LOSSES,
    OF_VALUES,
    assert_close,
    assert_same_bits,
    draw_problem,
    draw_targets,
    edge_sizes,
    twin,
    wide,
)
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")

DEPTHS = [[4, 3], [4, 6, 3], [3, 7, 5, 2], [4, 5, 6, 5, 3], [3, 6, 5, 4, 5, 2]]


def smooth_problem(rng, sizes, n, loss, weighted, output_activation="identity"):
    """A problem whose pre-activations and residuals keep away from every kink by 0.02."""
    net = fg.MLP(sizes, loss=loss, output_activation=output_activation)
    for _ in range(5000):
        theta = rng.normal(size=net.n_parameters) * 0.7
        X = rng.normal(size=(n, sizes[0]))
        activations = ref.mlp_forward(theta, X, sizes)
        margin, A = np.inf, X
        for i, (W, b) in enumerate(net.unflatten(theta)):
            Z = A @ W + b
            A = np.maximum(Z, 0)
            if i < len(sizes) - 2 or output_activation == "relu":
                margin = min(margin, np.abs(Z).min())
        k = sizes[-1]
        y = rng.normal(size=(n, k)) * 2
        if loss == "huber":
            margin = min(margin, np.abs(np.abs(activations[-1] - y) - 1).min())
        elif loss in ("absolute_error", "quantile"):
            margin = min(margin, np.abs(activations[-1] - y).min())
        elif loss != "mse":
            y = draw_targets(rng, loss, n, k, F64)
        if margin > 0.02:
            return theta, X, y, rng.uniform(0.5, 2, n) if weighted else None
    raise AssertionError("no point away from the kinks was found")


@pytest.mark.parametrize("sizes", DEPTHS, ids=lambda s: f"depth{len(s) - 1}")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_row24_row25_row26_row27_gradient_is_the_numerical_one(rng, loss, l2, weighted, sizes):
    net = fg.MLP(sizes, loss=loss, l2=l2)
    theta, X, y, s = smooth_problem(rng, sizes, 3, loss, weighted)
    fg.assert_gradient(net.loss_and_grad, theta, (X, y, s), rtol=1e-7)


@pytest.mark.parametrize("loss", OF_VALUES)
def test_row24_gradient_behind_an_output_relu_is_the_numerical_one(rng, loss):
    net = fg.MLP([3, 5, 2], loss=loss, output_activation="relu")
    theta, X, y, s = smooth_problem(rng, net.layer_sizes, 4, loss, True, "relu")
    if loss not in ("mse", "poisson"):  # behind the ReLU the residuals are others
        y = net.predict(theta, X) + rng.choice([-2.0, -0.5, 0.5, 2.0], (4, 2))
    fg.assert_gradient(net.loss_and_grad, theta, (X, y, s), rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("loss", LOSSES)
def test_row24_gradient_by_the_inputs_is_the_numerical_one(rng, loss, weighted):
    net = fg.MLP([4, 6, 3], loss=loss, l2=0.3)
    theta, X, y, s = smooth_problem(rng, net.layer_sizes, 4, loss, weighted)
    gX = net.grad_input(theta, X, y, s)
    assert gX.shape == X.shape and gX.dtype == X.dtype

    def f(x):
        return net.loss(theta, x.reshape(X.shape), y, s)

    fg.assert_gradient((f, lambda x: gX.ravel()), X.ravel(), rtol=1e-7)


def check_against_twin(rng, sizes, n, loss, dtype, weighted, l2=0.0, relu=False):
    activation = "relu" if relu and loss in OF_VALUES else "identity"
    net = fg.MLP(sizes, loss=loss, dtype=dtype, l2=l2, output_activation=activation)
    theta, X, y, s = draw_problem(rng, sizes, n, loss, dtype, weighted)
    value, grad = net.loss_and_grad(theta, X, y, s)
    options = dict(l2=l2, sample_weight=s, output_activation=activation)
    expected, expected_grad = twin(theta, X, y, sizes, loss, **options)
    assert type(value) is float and grad.dtype == dtype
    assert_close(value, expected, dtype)
    for (gW, gb), (eW, eb) in zip(net.unflatten(grad), net.unflatten(expected_grad)):
        size = max(1.0, np.abs(expected_grad).max()) * np.ones(1)
        assert_close(np.append(gW, size), np.append(eW, size), dtype, 256)
        assert_close(np.append(gb, size), np.append(eb, size), dtype, 256)
    gX = net.grad_input(theta, X, y, s)
    expected_gX = ref.mlp_grad_input(wide(theta), wide(X), y, sizes, loss, activation,
                                     sample_weight=wide(s))  # fmt: skip
    assert_close(gX, expected_gX, dtype, 256)
    out = ref.mlp_forward(wide(theta), wide(X), sizes, activation)[-1]
    assert_close(net.predict(theta, X), out, dtype)
    assert net.loss(theta, X, y, s) == value


@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=6), n=st.integers(1, 40),
    loss=st.sampled_from(LOSSES), dtype=st.sampled_from(DTYPES), weighted=st.booleans(),
    l2=st.sampled_from([0.0, 0.25]), relu=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_row24_random_networks_are_the_twin(widths, n, loss, dtype, weighted, l2, relu, seed):
    if loss == "cross_entropy":
        widths[-1] += 1
    rng = np.random.default_rng(seed)
    check_against_twin(rng, widths, n, loss, dtype, weighted, l2, relu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_row24_widths_around_the_edges_of_tiles(rng, loss, dtype):
    """Each edge as the inputs, as a hidden width and as the outputs."""
    for i, k in enumerate(edge_sizes(dtype)):
        n = (1, 5, 12, 13, 26)[i % 5]
        check_against_twin(rng, [3, k, 4], n, loss, dtype, i % 2 == 0)
        check_against_twin(rng, [k, 5, k + (loss == "cross_entropy")], n, loss, dtype, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [23, 24, 25, 239, 240, 241, 481, 2100])
def test_row24_rows_around_the_edges_of_blocks(rng, n, dtype):
    check_against_twin(rng, [5, 6, 3], n, "mse", dtype, n % 2 == 0)
    check_against_twin(rng, [5, 3], n, "cross_entropy", dtype, n % 2 == 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_row18_row24_loss_alone_has_the_bits_of_loss_and_grad(rng, loss):
    """Also where the work of a gradient is worth several tasks and that of a loss is not."""
    for sizes, n in [([3, 4, 2], 10), ([20, 40, 10], 500), ([30, 64, 8], 1200)]:
        net = fg.MLP(sizes, loss=loss, l2=0.1)
        theta, X, y, s = draw_problem(rng, sizes, n, loss, F64, True)
        X += 1e-3 * rng.normal(size=X.shape)  # sums that do round
        assert net.loss(theta, X, y, s) == net.loss_and_grad(theta, X, y, s)[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_overwritten_and_returned_with_the_same_bits(rng, dtype):
    net = fg.MLP([5, 7, 3], dtype=dtype, l2=0.1)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 20, "mse", dtype)
    loss, grad = net.loss_and_grad(theta, X, y)
    out = np.full(net.n_parameters, np.nan, dtype)
    again, same = net.loss_and_grad(theta, X, y, out=out)
    assert same is out and again == loss
    assert_same_bits(out, grad)


def test_a_returned_array_is_the_callers(rng):
    """Later calls, and writing to what was returned, change nothing."""
    net = fg.MLP([5, 7, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 20, "mse", F64)
    first = net.loss_and_grad(theta, X, y)[1], net.predict(theta, X), net.grad_input(theta, X, y)
    kept = [a.copy() for a in first]
    net.loss_and_grad(2 * theta, X, y), net.predict(2 * theta, X), net.grad_input(2 * theta, X, y)
    for a, e in zip(first, kept):
        assert_same_bits(a, e)
        a[...] = np.nan
    for a, e in zip(
        (net.loss_and_grad(theta, X, y)[1], net.predict(theta, X), net.grad_input(theta, X, y)),
        kept,
    ):
        assert_same_bits(a, e)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[3, 5, 2], [8, 64, 10], [17, 1], [33, 65, 3]], ids=str)
def test_a_rows_prediction_does_not_depend_on_its_batch(rng, sizes, dtype):
    net = fg.MLP(sizes, dtype=dtype)
    theta = net.init(seed=1)
    X = rng.normal(size=(301, sizes[0])).astype(dtype)
    whole = net.predict(theta, X)
    for rows in [slice(0, 1), slice(7, 8), slice(300, 301), slice(5, 18), slice(100, 300)]:
        assert_same_bits(net.predict(theta, X[rows]), whole[rows])
    shuffled = rng.permutation(301)
    assert_same_bits(net.predict(theta, X[shuffled]), whole[shuffled])


def test_he_initialisation_by_its_moments_and_seed():
    net = fg.MLP([200, 300, 100])
    (W1, b1), (W2, b2) = net.unflatten(net.init(seed=3))
    for W, variance in ((W1, 2 / 200), (W2, 1 / 300)):
        assert W.var() == pytest.approx(variance, rel=0.05)
        assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
    assert not b1.any() and not b2.any()
    assert_same_bits(net.init(seed=3), net.init(seed=np.random.default_rng(3)))
    assert not np.array_equal(net.init(seed=3), net.init(seed=4))
    assert not np.array_equal(net.init(), net.init())
    gated = fg.MLP([200, 300], output_activation="relu")
    assert gated.unflatten(gated.init(0))[0][0].var() == pytest.approx(2 / 200, rel=0.05)
    assert fg.MLP([2, 3], dtype="float32").init(0).dtype == F32


def test_row23_flatten_and_unflatten_are_inverse_and_views():
    net = fg.MLP([3, 4, 2])
    theta = np.arange(net.n_parameters, dtype=float)
    layers = net.unflatten(theta)
    assert [W.shape + b.shape for W, b in layers] == [(3, 4, 4), (4, 2, 2)]
    np.testing.assert_array_equal(layers[0][0], np.arange(12.0).reshape(3, 4))
    flat = net.flatten(layers)
    assert_same_bits(flat, theta)
    assert not np.shares_memory(flat, theta)
    layers[1][0][0, 1] = -5
    assert theta[17] == -5
    lists = [(W.tolist(), b.tolist()) for W, b in layers]
    assert_same_bits(net.flatten(lists), theta)


def test_row25_predict_proba_and_classify_of_classes(rng):
    net = fg.MLP([4, 5, 3], loss="cross_entropy")
    theta, X = net.init(0), rng.normal(size=(50, 4))
    out, proba = net.predict(theta, X), net.predict_proba(theta, X)
    np.testing.assert_allclose(proba, ref.softmax(out), rtol=1e-14)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-15)
    labels = net.classify(theta, X)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, out.argmax(axis=1))
    assert len(set(labels)) > 1


@pytest.mark.parametrize("k", [1, 3])
def test_row26_predict_proba_and_classify_of_logits(rng, k):
    net = fg.MLP([4, 5, k], loss="logistic")
    theta, X = net.init(0), rng.normal(size=(50, 4))
    out = net.predict(theta, X)
    np.testing.assert_allclose(net.predict_proba(theta, X), ref.sigmoid(out), rtol=1e-14)
    labels = net.classify(theta, X)
    assert labels.shape == ((50,) if k == 1 else (50, k))
    np.testing.assert_array_equal(labels.reshape(50, k), out > 0)


def test_no_rows_give_empty_predictions():
    net = fg.MLP([4, 5, 3], loss="cross_entropy", dtype=F32)
    theta, X = net.init(0), np.zeros((0, 4), F32)
    assert net.predict(theta, X).shape == net.predict_proba(theta, X).shape == (0, 3)
    assert net.predict(theta, X).dtype == F32
    assert net.classify(theta, X).shape == (0,)


def test_row21_gradient_descent_over_minibatches_finds_the_line():
    """w <- w - lr dC/dw with net.loss_and_grad, against the twin's steps and the known answer."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.25
    net = fg.MLP([3, 1])
    theta, by_twin = np.zeros(4), np.zeros(4)
    for step in range(400):
        batch = slice(step % 4 * 16, step % 4 * 16 + 16)
        _, grad = net.loss_and_grad(theta, X[batch], y[batch])
        theta = theta - 0.1 * grad
        ref.sgd_step(by_twin, twin(by_twin, X[batch], y[batch], [3, 1], "mse")[1], 0.1)
        np.testing.assert_allclose(theta, by_twin, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(theta, [1.0, -2.0, 0.5, 0.25], rtol=1e-8)


def test_scipy_minimises_the_network_as_it_is(rng):
    from scipy.optimize import minimize

    X = rng.normal(size=(80, 4))
    y = np.maximum(X @ [1.0, -1.0, 0.5, 2.0], 0)
    net = fg.MLP([4, 8, 1])
    theta = net.init(seed=0)
    result = minimize(net.loss_and_grad, theta, args=(X, y), jac=True, method="L-BFGS-B")
    assert result.fun < 1e-3 * net.loss(theta, X, y)


def test_row24_deep_networks_of_one_neuron_a_layer_are_a_product():
    sizes = [1] * 30
    net = fg.MLP(sizes)
    theta = net.flatten([([[1.5]], [0.0])] * 29)
    X = np.array([[2.0], [1.0]])
    np.testing.assert_allclose(net.predict(theta, X), 1.5**29 * X, rtol=1e-14)


def test_l2_penalises_weights_and_not_biases(rng):
    theta, X, y, _ = draw_problem(rng, [3, 4, 2], 9, "mse", F64)
    plain, grad = fg.MLP([3, 4, 2]).loss_and_grad(theta, X, y)
    net = fg.MLP([3, 4, 2], l2=0.5)
    loss, l2_grad = net.loss_and_grad(theta, X, y)
    layers = net.unflatten(theta)
    assert loss == pytest.approx(plain + 0.25 * sum((W**2).sum() for W, _ in layers), rel=1e-14)
    penalty = net.flatten([(0.5 * W, 0 * b) for W, b in layers])
    np.testing.assert_allclose(l2_grad, grad + penalty, rtol=1e-13, atol=1e-16)


REMAKES = [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]


@pytest.mark.parametrize("remake", [lambda net: net, *REMAKES])
@pytest.mark.parametrize(
    ("name", "value"),
    [("l2", 1.0), ("huber_delta", 2.0), ("layer_sizes", (3, 5, 2)), ("dtype", F64),
     ("loss_name", "mse"), ("output_activation", "relu"), ("n_parameters", 3)],
)  # fmt: skip
def test_a_network_stays_as_it_was_made(rng, remake, name, value):
    net = remake(fg.MLP([3, 4, 2], loss="huber", huber_delta=0.5, l2=0.1, dtype=F32))
    before = getattr(net, name)
    with pytest.raises(AttributeError, match=f"{name} of an MLP is read-only; make another"):
        setattr(net, name, value)
    with pytest.raises(AttributeError, match=f"{name} of an MLP is read-only; make another"):
        delattr(net, name)
    assert getattr(net, name) == before


def test_a_network_takes_no_misspelt_attributes():
    with pytest.raises(AttributeError, match="an MLP has no attribute 'L2', and takes no new"):
        fg.MLP([3, 2]).L2 = 1.0


def test_networks_are_equal_by_what_they_were_made_with():
    options = dict(loss="huber", dtype=F32, l2=0.5, huber_delta=2.0)
    net, twin = fg.MLP([3, 2], **options), fg.MLP((3, 2), **{**options, "dtype": "f4"})
    assert net == twin and hash(net) == hash(twin) and len({net, twin}) == 1
    changes = [{"loss": "mse"}, {"dtype": F64}, {"l2": 0.0}, {"huber_delta": 1.0},
               {"output_activation": "relu"}]  # fmt: skip
    assert all(net != fg.MLP([3, 2], **{**options, **change}) for change in changes)
    assert net != fg.MLP([3, 3], **options) and net != "MLP"


@pytest.mark.parametrize("remake", REMAKES)
def test_copies_and_pickles_compute_the_same_bits(rng, remake):
    net = fg.MLP([3, 4, 2], loss="huber", huber_delta=0.5, l2=0.1, dtype=F32)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "huber", F32)
    loss, grad = net.loss_and_grad(theta, X, y)
    other = remake(net)
    assert other == net and repr(other) == repr(net)
    again, same = other.loss_and_grad(theta, X, y)
    assert again == loss
    assert_same_bits(same, grad)


def test_more_shapes_than_a_network_keeps_plans_for(rng):
    net = fg.MLP([3, 2])
    theta = net.init(0)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
    first = net.loss(theta, X[:5], y[:5])
    for n in range(1, 100):
        net.loss(theta, X[:n], y[:n])
    assert net.loss(theta, X[:5], y[:5]) == first


def test_fast_paths_keep_no_plan_that_was_forgotten(rng):
    net = fg.MLP([3, 2])
    theta, X, y = net.init(0), rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
    for _ in range(2):
        net.loss_and_grad(theta, X, y)
        fg.per_sample.grad_norms(net, theta, X, y)
        fg.jacobians.vjp(net, theta, X, y)
    paths = net._path, net._row_path, net._vjp_path
    assert all(path.plans for path in paths)
    for n in range(1, 40):
        net.loss(theta, X[:n], y[:n])
    assert not any(path.plans for path in paths)


def test_plans_forgotten_by_another_thread_meanwhile(rng, monkeypatch):
    net = fg.MLP([3, 2])
    theta, X, y = net.init(0), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    expected = net.loss(theta, X, y)
    run = net._run

    def run_and_forget(*args):
        result = run(*args)
        net._plans.clear()
        return result

    monkeypatch.setattr(net, "_run", run_and_forget)
    assert net.loss_and_grad(theta, X, y)[0] == expected


def test_glorot_initialisation_by_its_variance():
    net = fg.MLP([200, 300, 100])
    theta = net.init(0, "glorot")
    assert_same_bits(theta, net.init(0, "glorot"))
    for (W, b), variance in zip(net.unflatten(theta), (2 / 500, 2 / 400)):
        assert W.var() == pytest.approx(variance, rel=0.05)
        assert not b.any()
    with pytest.raises(ValueError, match="method is 'xavier'"):
        net.init(0, "xavier")


def test_scipy_trains_the_digits():
    from scipy.optimize import minimize

    X, X_test, y, y_test = fg.datasets.split(fg.datasets.load_digits(), seed=0)
    net = fg.MLP([64, 128, 10], loss="cross_entropy", l2=1e-3)
    result = minimize(
        net.loss_and_grad, net.init(seed=0), args=(X / 16, y), jac=True, method="L-BFGS-B",
        options={"maxiter": 150},
    )  # fmt: skip
    assert (net.classify(result.x, X_test / 16) == y_test).mean() >= 0.97
