"""Each loss by its formula, its normalisation, its identities and its far ends."""

import mpmath
import numpy as np
import pytest
from helpers import DTYPES, EPS, F64, LOSSES, assert_close, assert_same_bits, draw_problem

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")


def through(out, y, loss, sample_weight=None, **options):
    """(loss, d loss / d out) of given outputs: a layer of identity weights passes them on."""
    out = np.asarray(out)
    k = out.shape[1]
    net = fg.MLP([k, k], loss=loss, dtype=out.dtype, **options)
    theta = net.flatten([(np.eye(k, dtype=out.dtype), np.zeros(k, out.dtype))])
    value, _ = net.loss_and_grad(theta, out, y, sample_weight)
    return value, net.grad_input(theta, out, y, sample_weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 3, 16, 17, 32, 33, 65])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_row18_row25_row26_row27_value_and_derivative_are_the_twins(rng, loss, dtype, k, weighted):
    n = 21
    out = rng.normal(size=(n, k)).astype(dtype) * 3
    y = (rng.integers(0, k, n) if loss == "cross_entropy"
         else rng.integers(0, 2, (n, k)).astype(dtype))  # fmt: skip
    s = rng.uniform(0, 2, n).astype(dtype) if weighted else None
    value, delta = through(out, y, loss, s)
    wide = None if s is None else s.astype(F64)
    expected, expected_delta = ref.LOSSES[loss](out.astype(F64), y, wide)
    assert_close(value, expected, dtype, 16)
    assert_close(delta, expected_delta, dtype, 16)


def test_row18_mse_is_a_mean_over_samples_and_outputs_without_a_half():
    value, delta = through([[1.0, 2.0], [3.0, 4.0]], np.zeros((2, 2)), "mse")
    assert value == (1 + 4 + 9 + 16) / 4
    np.testing.assert_array_equal(delta, np.array([[1, 2], [3, 4]]) * 2 / 4)


def test_row27_huber_is_a_mean_over_samples_and_outputs_quadratic_then_linear():
    out = np.array([[0.5, -0.5], [2.0, 3.0], [-4.0, 5.0]])
    value, delta = through(out, np.zeros((3, 2)), "huber", huber_delta=2.0)
    # within: e^2 / 2; at the joint 2; beyond: 2 (|e| - 1)
    assert value == pytest.approx((0.125 + 0.125 + 2 + 4 + 6 + 8) / 6, rel=1e-15)
    np.testing.assert_allclose(delta, np.array([[0.5, -0.5], [2, 2], [-2, 2]]) / 6, rtol=1e-15)


def test_row27_huber_with_a_wide_delta_is_half_the_mse_and_with_a_narrow_one_the_absolute_error():
    rng = np.random.default_rng(1)
    out, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 3))
    squared = through(out, y, "mse")
    wide = through(out, y, "huber", huber_delta=1e6)
    assert wide[0] == pytest.approx(squared[0] / 2, rel=1e-14)
    np.testing.assert_allclose(wide[1], squared[1] / 2, rtol=1e-14)
    narrow = through(out, y, "huber", huber_delta=1e-6)
    assert narrow[0] / 1e-6 == pytest.approx(np.abs(out - y).mean(), rel=1e-5)


def test_row26_logistic_is_a_sum_over_outputs_and_a_mean_over_samples():
    value, delta = through(np.zeros((4, 3)), np.ones((4, 3)), "logistic")
    assert value == pytest.approx(3 * np.log(2), rel=1e-15)
    np.testing.assert_allclose(delta, np.full((4, 3), -0.5 / 4), rtol=1e-15)


def test_row25_cross_entropy_is_a_mean_over_samples():
    value, delta = through(np.zeros((4, 5)), np.array([0, 1, 2, 3]), "cross_entropy")
    assert value == pytest.approx(np.log(5), rel=1e-15)
    np.testing.assert_allclose(delta, (0.2 - np.eye(4, 5)) / 4, rtol=1e-14)


def test_row25_two_classes_are_row26_of_the_difference_of_logits():
    rng = np.random.default_rng(2)
    out, labels = 5 * rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    two, delta = through(out, labels, "cross_entropy")
    z = out[:, 1:] - out[:, :1]
    one, delta_z = through(z, labels.astype(float), "logistic")
    assert two == pytest.approx(one, rel=1e-13)
    np.testing.assert_allclose(delta, np.hstack([-delta_z, delta_z]), rtol=1e-11, atol=1e-16)


def test_row25_a_shift_of_all_logits_changes_nothing_and_deltas_sum_to_zero():
    rng = np.random.default_rng(3)
    out, labels = np.round(rng.normal(size=(20, 7)), 2), rng.integers(0, 7, 20)
    value, delta = through(out, labels, "cross_entropy")
    shifted, shifted_delta = through(out + 2.0**20, labels, "cross_entropy")
    assert shifted == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(shifted_delta, delta, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-16)


@pytest.mark.parametrize("size", [1e4, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_row25_row26_far_logits_are_exact(dtype, size):
    z = np.array([[size], [-size], [size], [-size]], dtype)
    value, delta = through(z, np.array([1, 0, 0, 1], dtype), "logistic")
    assert value == size / 2
    np.testing.assert_array_equal(delta.ravel(), [0, 0, 0.25, -0.25])
    out = np.array([[size, -size, 0], [-size, size, 0], [0, 0, size]], dtype)
    value, delta = through(out, np.array([0, 0, 1]), "cross_entropy")
    assert value == pytest.approx(3 * size / 3, rel=4 * EPS[np.dtype(dtype)])
    np.testing.assert_allclose(delta * 3, [[0, 0, 0], [-1, 1, 0], [0, -1, 1]], rtol=1e-6)
    net = fg.MLP([3, 3], loss="cross_entropy", dtype=dtype)
    theta = net.flatten([(np.eye(3, dtype=dtype), np.zeros(3, dtype))])
    np.testing.assert_array_equal(net.predict_proba(theta, out), [[1, 0, 0], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_row25_row26_losses_of_one_row_against_mpmath(dtype):
    """To a few units in the last place of the loss, also where it is tiny."""
    tail = 20.0 if dtype == np.float32 else 40.0
    for z in [-30.0, -tail, -5.5, -1.0, -1e-3, 1e-8, 0.0, 0.7, 3.0, 12.0, tail, 60.0]:
        z = float(dtype.type(z))
        value, delta = through(np.array([[z]], dtype), np.array([1.0], dtype), "logistic")
        with mpmath.workdps(40):
            exact = mpmath.log1p(mpmath.exp(-mpmath.mpf(z)))
            slope = -1 / (1 + mpmath.exp(mpmath.mpf(z)))
        # log1p(e) + z - y z cancels nothing for y = 1 and z > 0: the tail stays relative
        assert abs(value - exact) <= 4 * EPS[dtype] * float(exact)
        assert abs(float(delta[0, 0]) - slope) <= 2 * EPS[dtype]


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_whole_numbers_are_repeated_rows_and_zero_is_a_missing_row(rng, loss):
    sizes = [3, 5, 4]
    net = fg.MLP(sizes, loss=loss)
    theta, X, y, s = draw_problem(rng, sizes, 15, loss, F64, weighted=True)
    s[3] = 0
    times = s.astype(int)
    value, grad = net.loss_and_grad(theta, X, y, s)
    repeated, expected = net.loss_and_grad(theta, np.repeat(X, times, 0), np.repeat(y, times, 0))
    assert value == pytest.approx(repeated, rel=1e-13)
    np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_weights_are_no_weights_whatever_their_size(rng, loss):
    sizes = [3, 5, 4]
    net = fg.MLP(sizes, loss=loss)
    theta, X, y, _ = draw_problem(rng, sizes, 15, loss, F64)
    value, grad = net.loss_and_grad(theta, X, y)
    for size in (1.0, 1e-100, 1e100):
        weighted, w_grad = net.loss_and_grad(theta, X, y, np.full(15, size))
        assert weighted == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(w_grad, grad, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("loss", ["mse", "huber", "logistic"])
def test_targets_of_one_output_may_be_a_vector_or_a_column(rng, loss):
    net = fg.MLP([3, 1], loss=loss)
    theta, X, y, _ = draw_problem(rng, [3, 1], 15, loss, F64)
    assert net.loss(theta, X, y) == net.loss(theta, X, y[:, 0])


def test_row26_probabilities_between_the_labels_are_targets_too():
    value, delta = through(np.array([[0.0]]), np.array([0.25]), "logistic")
    assert value == pytest.approx(np.log(2), rel=1e-15)
    assert delta[0, 0] == 0.25


def test_row25_labels_of_any_integer_type_mean_the_same():
    rng = np.random.default_rng(5)
    out, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    expected, _ = through(out, labels, "cross_entropy")
    for dtype in ["i1", "u1", "i2", "u2", "i4", "u4", "u8", ">i4", ">i8"]:
        assert through(out, labels.astype(dtype), "cross_entropy")[0] == expected
    assert through(out, labels.tolist(), "cross_entropy")[0] == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [2, 10, 16, 31, 40])
def test_row25_a_rows_delta_is_the_same_wherever_the_row_stands(rng, dtype, k):
    n = 40
    out, labels = rng.normal(size=(n, k)).astype(dtype) * 5, rng.integers(0, k, n)
    out[7], out[23, 1] = 3e4, np.nan
    _, whole = through(out, labels, "cross_entropy")
    for start, stop in ((0, 1), (5, 9), (7, 40), (22, 24), (39, 40)):
        _, part = through(out[start:stop], labels[start:stop], "cross_entropy")
        assert np.isnan(part).tolist() == np.isnan(whole[start:stop]).tolist()
        np.testing.assert_allclose(
            part * dtype.type(stop - start), whole[start:stop] * dtype.type(n),
            rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps,
        )  # fmt: skip


@pytest.mark.parametrize("huge", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["mse", "huber", "logistic"])
def test_a_row_of_weight_zero_does_not_count_whatever_its_target(rng, loss, dtype, k, huge):
    net = fg.MLP([4, 5, k], loss, dtype=dtype)
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 23, loss, dtype, True)
    s[:3], s[3:] = 0, s[3:] + 1
    odd = y.copy()
    odd[:3] = np.nan if loss == "logistic" else huge  # logistic targets lie between 0 and 1
    expected, expected_grad = net.loss_and_grad(theta, X, y, s)
    value, grad = net.loss_and_grad(theta, X, odd, s)
    assert value == expected
    assert_same_bits(grad, expected_grad)
    assert_same_bits(net.grad_input(theta, X, odd, s), net.grad_input(theta, X, y, s))
    assert fg.evaluate(net, theta, X, odd, s) == fg.evaluate(net, theta, X, y, s)
    rest, _ = net.loss_and_grad(theta, X[3:], y[3:], s[3:])
    assert value == pytest.approx(rest, rel=16 * EPS[np.dtype(dtype)])
    twin_value, twin_delta = ref.LOSSES[loss](net.predict(theta, X), odd, s)
    assert twin_value == pytest.approx(value, rel=64 * EPS[np.dtype(dtype)])
    assert np.isfinite(twin_delta).all()
    X[0, 0] = np.nan  # an input's NaN is never hidden
    assert np.isnan(net.loss(theta, X, odd, s))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_neurons_row_of_weight_zero_does_not_count_whatever_its_target(rng, dtype):
    w, X, y = (rng.normal(size=shape).astype(dtype) for shape in (4, (23, 4), 23))
    s = rng.uniform(1, 2, 23).astype(dtype)
    s[[2, 22]] = 0  # in a group of rows, and among those left over
    odd = y.copy()
    odd[[2, 22]] = np.nan, 1e30
    expected = fg.neuron_loss_and_grad(w, 0.5, X, y, s)
    for got, want in zip(fg.neuron_loss_and_grad(w, 0.5, X, odd, s), expected):
        assert_same_bits(got, want)
    twin = ref.neuron_loss_and_grad(w, dtype.type(0.5), X, odd, s)
    assert_close(twin[0], expected[0], dtype)
    assert_close(twin[1], expected[1], dtype)
    X[2, 0] = np.nan
    assert np.isnan(fg.neuron_loss_and_grad(w, 0.5, X, odd, s)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 40])
def test_row25_a_row_of_weight_zero_does_not_count_however_far_its_logits(rng, k, dtype):
    most = np.finfo(dtype).max
    out, y = rng.normal(size=(23, k)).astype(dtype), np.arange(23) % k
    s = np.ones(23, dtype)
    s[4] = 0
    expected, _ = through(out, y, "cross_entropy", s)
    out[4], out[4, y[4]] = most, -most
    with np.errstate(over="ignore"):
        value, delta = through(out, y, "cross_entropy", s)
    assert value == expected and not delta[4].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss, options",
    [("absolute_error", {}), ("quantile", {"quantile": 0.8}), ("poisson", {})],
)
def test_row29_value_and_derivative_are_the_twins(rng, loss, options, weighted, k, dtype):
    out = rng.normal(size=(21, k)).astype(dtype)
    y = np.abs(rng.normal(size=(21, k))).astype(dtype)
    s = rng.uniform(0, 2, 21).astype(dtype) if weighted else None
    value, delta = through(out, y, loss, s, **options)
    wide = None if s is None else s.astype(F64)
    expected, expected_delta = ref.LOSSES[loss](out.astype(F64), y.astype(F64), wide, **options)
    assert_close(value, expected, dtype, 16)
    assert_close(delta, expected_delta, dtype, 16)


def test_row29_slopes_are_zero_at_zero_and_nan_shows():
    out = np.array([[1.0], [2.0]])
    for loss in ("absolute_error", "quantile"):
        value, delta = through(out, out.copy(), loss)
        assert value == 0 and not delta.any()
        value, delta = through(out, np.array([[np.nan], [2.0]]), loss)
        assert np.isnan(value) and np.isnan(delta[0, 0])
    with pytest.raises(
        ValueError, match=r"y has the value -1\.0 at position 1; expected 0 or more"
    ):
        through(out, np.array([[1.0], [-1.0]]), "poisson")
    with pytest.raises(ValueError, match=r"quantile is 1\.0; expected between 0 and 1"):
        fg.MLP([2, 1], "quantile", quantile=1)
