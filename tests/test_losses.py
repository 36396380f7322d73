"""Each loss by its formula, its normalisation, its identities and its far ends."""

import mpmath
import numba
import numpy as np
import pytest
from helpers import (
    DTYPES,
    ELEMENTWISE,
    EPS,
    F64,
    LOSSES,
    OF_VALUES,
    assert_close,
    assert_same_bits,
    draw_problem,
    draw_targets,
    twin,
)

import fastgrad as fg
from fastgrad import reference as ref
from fastgrad.interop.numba import network
from fastgrad.kernels.arithmetic import Arithmetic
from fastgrad.kernels.records import ANY_TARGETS
from fastgrad.kernels.routines import routine
from fastgrad.kernels.simd import I64, VOID, pointer
from fastgrad.losses import LOSSES as ROWS

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
def test_row18_row25_row26_row27_row29_value_and_derivative_are_the_twins(
    rng, loss, dtype, k, weighted
):
    n = 21
    out = rng.normal(size=(n, k)).astype(dtype) * 3
    y = draw_targets(rng, loss, n, k, dtype)
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


@pytest.mark.parametrize("loss", ELEMENTWISE)
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
@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_a_row_of_weight_zero_does_not_count_whatever_its_target(rng, loss, dtype, k, huge):
    net = fg.MLP([4, 5, k], loss, dtype=dtype)
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 23, loss, dtype, True)
    s[:3], s[3:] = 0, s[3:] + 1
    odd = y.copy()
    odd[:3] = huge if ROWS[loss].target_kind == ANY_TARGETS else np.nan
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


# every row of the table of losses


def exact_terms(loss, z, y):
    """(value, slope, curvature, size of the terms that a rounding is relative to) of one output, as
    the loss stands in FORMULAS.md; z and y are numbers of mpmath."""
    e, exp = z - y, mpmath.exp
    if loss == "mse":
        return e**2, 2 * e, 2, e**2
    if loss == "huber":
        if abs(e) <= 1:
            return e**2 / 2, e, 1, e**2
        return abs(e) - 0.5, mpmath.sign(e), 0, abs(e)
    if loss == "absolute_error":
        return abs(e), mpmath.sign(e), 0, abs(e)
    if loss == "quantile":
        level = mpmath.mpf("0.25")
        value, slope = ((1 - level) * e, 1 - level) if e > 0 else (-level * e, -level * (e < 0))
        return value, slope, 0, abs(e)
    if loss == "poisson":
        return exp(z) - y * z, exp(z) - y, exp(z), exp(z) + abs(y * z) + y
    p = 1 / (1 + exp(-z))
    return mpmath.log1p(exp(z)) - y * z, p - y, p * (1 - p), 1 + abs(z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_row18_row26_row27_row29_values_and_slopes_against_mpmath(loss, dtype):
    options = {"quantile": 0.25} if loss == "quantile" else {}
    for z in (-20.5, -3.0, -1.0, -0.75, 0.0, 1e-6, 0.5, 1.0, 2.25, 7.1, 30.0):
        for y in (0.0, 1.0) if loss == "logistic" else (0.0, 0.5, 1.0, 3.0):
            z, y = float(dtype.type(z)), float(dtype.type(y))
            value, delta = through([[dtype.type(z)]], np.array([y], dtype), loss, **options)
            with mpmath.workdps(40):
                exact, slope, _, size = exact_terms(loss, mpmath.mpf(z), mpmath.mpf(y))
                assert abs(value - exact) <= 4 * EPS[dtype] * size, (z, y)
                most = max(abs(slope), size if loss == "poisson" else 1)
                assert abs(float(delta[0, 0]) - slope) <= 4 * EPS[dtype] * most, (z, y)


def row_of(loss):
    """A compiled function of a row's formula: (out (3, m), z (m,), y (m,), parameter)."""
    formula = ROWS[loss].formula

    def body(elem):
        def write(builder, out, z, y, m, parameter):
            v = Arithmetic(builder, elem)
            with numba.core.cgutils.for_range(builder, m) as loop:
                at = [v.splat(builder.load(builder.gep(base, [loop.index]))) for base in (z, y)]
                for part, result in enumerate(formula(v, *at, v.splat(parameter))):
                    place = builder.add(builder.mul(m, I64(part)), loop.index)
                    one = builder.extract_element(result, I64(0))
                    builder.store(one, builder.gep(out, [place]))
            builder.ret_void()

        return write

    kinds = lambda p: [p, p, p, I64, p.pointee]  # noqa: E731
    terms = routine(f"test_{loss}", "out z y m parameter", VOID, kinds, body, "Its formula.")

    @numba.njit
    def call(out, z, y, parameter):
        terms(pointer(out), pointer(z), pointer(y), z.size, parameter)

    return call


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_row18_row26_row27_row29_slope_and_curvature_are_the_numerical_ones(loss):
    """By five points of the value and of the slope, which is not smooth at a kink."""
    z = np.linspace(-4, 4, 83)
    kinks = {"huber": (0.25 - 1, 0.25 + 1), "absolute_error": (0.25,), "quantile": (0.25,)}
    for kink in kinks.get(loss, ()):
        z = z[np.abs(z - kink) > 0.02]
    y, formula, h = np.full(z.size, 0.25), row_of(loss), 1e-3

    def terms(z):
        out = np.full((3, z.size), np.nan)
        formula(out, z, y, 0.25 if loss == "quantile" else 1.0)
        return out

    before2, before, after, after2 = (terms(z + i * h) for i in (-2, -1, 1, 2))
    numerical = (before2 - 8 * before + 8 * after - after2) / (12 * h)
    np.testing.assert_allclose(terms(z)[1:], numerical[:2], rtol=1e-9, atol=1e-9)
    for at in (np.array([-1.5]), np.array([0.5])):
        with mpmath.workdps(40):
            exact = exact_terms(loss, mpmath.mpf(at[0]), mpmath.mpf("0.25"))[:3]
        np.testing.assert_allclose(
            terms(np.full(z.size, at))[:, 0], [float(part) for part in exact], rtol=1e-14
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_row26_row29_nan_in_outputs_and_targets_shows(rng, loss, k, dtype):
    out = rng.normal(size=(23, k)).astype(dtype)
    y = draw_targets(rng, loss, 23, k, dtype)
    for array in (out, y):
        held = array[7, k - 1]
        array[7, k - 1] = np.nan
        value, delta = through(out, y, loss)
        array[7, k - 1] = held
        assert np.isnan(value) and np.isnan(delta[7, k - 1])
        assert np.isnan(delta).sum() == k  # the layer of identity weights has 0 * NaN


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 40])
def test_row29_the_slope_at_the_kink_is_zero(k, dtype):
    y = np.tile(np.array([0.0, -0.0, 1.5], dtype)[:, None], (7, k))
    for loss, options in (("absolute_error", {}), ("quantile", {"quantile": 0.9})):
        for out in (y, -y):
            value, delta = through(out, out.copy(), loss, **options)
            assert value == 0 and not delta.any()


def test_row29_absolute_error_and_quantile_are_means_over_samples_and_outputs():
    out = np.array([[1.0, -2.0], [3.0, 0.0], [-4.0, 0.5]])
    value, delta = through(out, np.zeros((3, 2)), "absolute_error")
    assert value == pytest.approx(10.5 / 6, rel=1e-15)
    np.testing.assert_array_equal(delta, np.sign(out) / 6)
    value, delta = through(out, np.zeros((3, 2)), "quantile", quantile=0.75)
    assert value == pytest.approx((0.25 * 4.5 + 0.75 * 6) / 6, rel=1e-15)
    np.testing.assert_array_equal(delta, np.select([out > 0, out < 0], [0.25, -0.75]) / 6)


def test_row29_poisson_is_a_sum_over_outputs_and_a_mean_over_samples():
    value, delta = through(np.zeros((4, 3)), np.full((4, 3), 3.0), "poisson")
    assert value == 3 * 1.0
    np.testing.assert_array_equal(delta, np.full((4, 3), -2 / 4))


def test_row29_the_median_is_half_the_absolute_error(rng):
    out, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 3))
    (half, slope), (whole, sign) = through(out, y, "quantile"), through(out, y, "absolute_error")
    assert half == pytest.approx(whole / 2, rel=1e-14)
    np.testing.assert_array_equal(slope, sign / 2)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_row29_the_best_constant_is_the_quantile_of_the_targets(level):
    y = np.arange(101.0) ** 2
    losses = [through(np.full((101, 1), z), y, "quantile", quantile=level)[0] for z in y]
    assert np.argmin(losses) == round(100 * level)


@pytest.mark.parametrize("level", [0, 1, -0.5, 2, np.nan])
def test_a_quantile_outside_0_to_1_is_refused(level):
    with pytest.raises(ValueError, match="quantile is"):
        fg.MLP([2, 1], "quantile", quantile=level)


@numba.njit
def compiled_loss(net, theta, X, y):
    return net.loss_and_grad(theta, X, y)[0]


@pytest.mark.parametrize("n", [9, 3000])
@pytest.mark.parametrize(("loss", "bad"), [("poisson", -1.0), ("poisson", -1e-30),
                                           ("logistic", -0.5), ("logistic", 1.5)])  # fmt: skip
def test_targets_out_of_range_are_refused_by_every_path(rng, loss, bad, n):
    net = fg.MLP([3, 40, 2], loss)
    theta, X, y, s = draw_problem(rng, net.layer_sizes, n, loss, F64, True)
    spoilt = y.copy()
    spoilt[n - 1, 1] = bad
    handle = network(net, n)
    expected = net.loss_and_grad(theta, X, y)
    assert compiled_loss(handle, theta, X, y) == expected[0]
    for _ in range(2):  # before and after the fast path was taken
        with pytest.raises(ValueError, match=f"y has the value {bad} at position {2 * n - 1}"):
            net.loss_and_grad(theta, X, spoilt)
        with pytest.raises(ValueError, match="y has the value"):
            net.loss_and_grad(theta, X, spoilt, s)
        with pytest.raises(ValueError, match="y has a value"):
            compiled_loss(handle, theta, X, spoilt)
        assert net.loss_and_grad(theta, X, y)[0] == expected[0]
    spoilt[n - 1, 1] = np.nan
    assert np.isnan(net.loss_and_grad(theta, X, spoilt)[0])
    assert np.isnan(compiled_loss(handle, theta, X, spoilt))


# one output, in one pass over X


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("loss", "activation"),
    [(loss, "identity") for loss in ELEMENTWISE] + [(loss, "relu") for loss in OF_VALUES],
)
def test_row18_row19_row20_one_output_is_the_twin(rng, loss, activation, weighted, dtype):
    rows = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 511, 512, 513, 1025, 3000]
    shapes = [(n, 1 + 7 * i % 40) for i, n in enumerate(rows)]
    shapes += [(rows[13 * d % 14], d) for d in range(1, 41)]
    for n, d in shapes:
        net = fg.MLP([d, 1], loss, dtype=dtype, output_activation=activation)
        theta, X, y, s = draw_problem(rng, [d, 1], n, loss, dtype, weighted)
        theta *= dtype.type(0.5 ** np.ceil(np.log2(d) / 2))  # exact, so that zeros are the twin's
        value, grad = net.loss_and_grad(theta, X, y, s)
        options = {"sample_weight": s, "output_activation": activation}
        expected, slope = twin(theta, X, y, [d, 1], loss, **options)
        out = np.abs(net.predict(theta, X)).max(initial=1)
        assert abs(value - expected) <= 64 * EPS[dtype] * max(abs(expected), out**2, 1)
        assert_close(np.append(grad, 1 + out), np.append(slope, 1 + out), dtype, 256)
        assert net.loss(theta, X, y, s) == value
        again = net.loss_and_grad(theta, X, y[:, 0], s)
        assert again[0] == value
        assert_same_bits(again[1], grad)
