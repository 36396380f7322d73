"""The NumPy twins against slow loops in extended precision, finite differences and identities."""

import math
from itertools import pairwise

import numpy as np
import pytest

from fastgrad import reference as ref

LD = np.longdouble
DTYPES = [np.float32, np.float64]
LOSS_NAMES = sorted(ref.LOSSES)
NETS = [[3, 1], [3, 4], [3, 5, 2], [4, 6, 5, 3], [2, 5, 4, 3, 2]]


def tolerance(dtype):
    return {"rtol": 3e-5, "atol": 3e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


def draw_targets(rng, loss, n, k, dtype=np.float64):
    if loss == "cross_entropy":
        return rng.integers(0, k, n)
    if loss == "logistic":
        return rng.integers(0, 2, (n, k)).astype(dtype)
    y = rng.normal(size=(n, k)).astype(dtype)
    return np.abs(y) if loss == "poisson" else y


def slow_each(loss, z, y, huber_delta=1.0):
    """Loss of one sample, in extended precision; z a list of logits, y a list or a label."""
    z = [LD(v) for v in z]
    if loss == "cross_entropy":
        top = max(z)
        return top + np.log(sum(np.exp(v - top) for v in z)) - z[y]
    total = LD(0)
    for v, t in zip(z, y, strict=True):
        t = LD(t)
        if loss == "mse":
            total += (v - t) ** 2
        elif loss == "huber":
            r = abs(v - t)
            total += r * r / 2 if r <= huber_delta else huber_delta * (r - LD(huber_delta) / 2)
        elif loss == "absolute_error":
            total += abs(v - t)
        elif loss == "quantile":  # the median
            total += abs(v - t) / 2
        elif loss == "poisson":
            total += np.exp(v) - t * v
        else:
            total += (v + np.log1p(np.exp(-v)) if v > 0 else np.log1p(np.exp(v))) - t * v
    return total if loss in ("logistic", "poisson") else total / len(z)


def slow_loss(loss, out, y, sample_weight=None, huber_delta=1.0):
    s = np.ones(len(out)) if sample_weight is None else sample_weight
    pairs = zip(s, out, y, strict=True)
    return sum(LD(w) * slow_each(loss, z, t, huber_delta) for w, z, t in pairs) / sum(map(LD, s))


def slow_out(theta, X, layer_sizes, output_activation="identity"):
    """A network by scalar loops; returns outputs and the smallest distance to a kink."""
    outs, margin = [], math.inf
    for x in X:
        a, at = list(x), 0
        for layer, (d, k) in enumerate(pairwise(layer_sizes)):
            bias = at + d * k
            z = [sum(a[i] * theta[at + i * k + j] for i in range(d)) for j in range(k)]
            a = [z[j] + theta[bias + j] for j in range(k)]
            at = bias + k
            if layer < len(layer_sizes) - 2 or output_activation == "relu":
                margin = min(margin, *(abs(v) for v in a))
                a = [v if v > 0 else 0 * v for v in a]
        outs.append(a)
    return np.array(outs), margin


def five_point(f, x, h=1e-3):
    """Numerical gradient of f at x, fourth order."""
    grad = np.empty(x.size)
    for i in range(x.size):
        values = []
        for step in (-2 * h, -h, h, 2 * h):
            moved = x.copy()
            moved.flat[i] += step
            values.append(f(moved))
        grad[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return grad.reshape(x.shape)


def draw_net(layer_sizes, loss, output_activation="identity", n=5, margin=0.02):
    """Parameters and data with no pre-activation near a kink."""
    for seed in range(5000):
        rng = np.random.default_rng(seed)
        p = sum(d * k + k for d, k in pairwise(layer_sizes))
        theta = rng.normal(size=p) * 0.8
        X = rng.normal(size=(n, layer_sizes[0]))
        if slow_out(theta, X, layer_sizes, output_activation)[1] > margin:
            return theta, X, draw_targets(rng, loss, n, layer_sizes[-1]), rng.uniform(0.1, 2, n)
    raise AssertionError("no data away from the kinks")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [None, 1, 3])
def test_row1_row23_affine_and_relu_against_loops(rng, dtype, k):
    n, d = 6, 4
    X = rng.normal(size=(n, d)).astype(dtype)
    w = rng.normal(size=(d,) if k is None else (d, k)).astype(dtype)
    b = dtype(0.3) if k is None else rng.normal(size=k).astype(dtype)
    W, B = w.reshape(d, -1), np.atleast_1d(b)
    Z = np.empty((n, B.size))
    for i, j in np.ndindex(Z.shape):
        Z[i, j] = sum(LD(X[i, m]) * LD(W[m, j]) for m in range(d)) + LD(B[j])
    got = ref.affine(X, w, b)
    A, mask = ref.affine_relu(X, w, b)
    assert got.dtype == A.dtype == dtype
    assert mask.dtype == bool
    np.testing.assert_allclose(got.reshape(Z.shape), Z, **tolerance(dtype))
    np.testing.assert_array_equal(A, np.where(got > 0, got, 0))
    np.testing.assert_array_equal(mask, got > 0)
    np.testing.assert_array_equal(ref.relu(got), A)


@pytest.mark.parametrize("b", [1, 0.5, np.float64(0.5), np.array(0.5)])
def test_row1_scalar_bias_of_any_kind_keeps_float32(b):
    assert ref.affine(np.ones((2, 3), np.float32), np.ones(3, np.float32), b).dtype == np.float32


def test_row2_row16_kink_signed_zero_and_nan():
    Z = np.array([-np.inf, -1.0, -0.0, 0.0, 5e-324, 1.0, np.inf, np.nan])
    np.testing.assert_array_equal(ref.relu_mask(Z), [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(ref.relu(Z), [0, 0, 0, 0, 5e-324, 1, np.inf, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [None, 1, 3])
def test_row23_backward_against_loops(rng, dtype, k):
    n, d = 7, 4
    X = rng.normal(size=(n, d)).astype(dtype)
    W = rng.normal(size=(d,) if k is None else (d, k)).astype(dtype)
    grad_a = rng.normal(size=(n,) if k is None else (n, k)).astype(dtype)
    mask = rng.random(grad_a.shape) < 0.5
    kept = grad_a.copy()
    gX, gW, gb = ref.affine_relu_backward(grad_a, X, W, mask)
    np.testing.assert_array_equal(grad_a, kept)
    assert gX.dtype == gW.dtype == gb.dtype == dtype
    assert gX.shape == X.shape
    assert gW.shape == W.shape
    G, M, V = grad_a.reshape(n, -1), mask.reshape(n, -1), W.reshape(d, -1)
    want_X, want_W, want_b = np.zeros((n, d)), np.zeros(V.shape), np.zeros(V.shape[1])
    for i in range(n):
        for j in range(V.shape[1]):
            if M[i, j]:
                want_b[j] += G[i, j]
                for m in range(d):
                    want_X[i, m] += float(G[i, j]) * float(V[m, j])
                    want_W[m, j] += float(G[i, j]) * float(X[i, m])
    np.testing.assert_allclose(gX, want_X, **tolerance(dtype))
    np.testing.assert_allclose(gW.reshape(V.shape), want_W, **tolerance(dtype))
    np.testing.assert_allclose(np.atleast_1d(gb), want_b, **tolerance(dtype))
    skipped, again, _ = ref.affine_relu_backward(grad_a, X, W, mask, need_gX=False)
    assert skipped is None
    np.testing.assert_array_equal(again, gW)


def test_row16_inactive_entry_is_zero_whatever_arrives(rng):
    X, W = rng.normal(size=(2, 3)), rng.normal(size=(3, 1))
    for bad in (np.nan, np.inf, -np.inf):
        grad_a = np.array([[bad], [1.0]])
        gX, gW, gb = ref.affine_relu_backward(grad_a, X, W, np.array([[False], [True]]))
        np.testing.assert_array_equal(gX[0], 0)
        np.testing.assert_array_equal(gW[:, 0], X[1])
        assert gb[0] == 1


def test_row17_neuron_grad_rows(rng):
    X, w, b = rng.normal(size=(20, 3)), rng.normal(size=3), 0.1
    dw, db = ref.neuron_grad(w, b, X)
    active = 0
    for i, x in enumerate(X):
        on = sum(w * x) + b > 0
        active += on
        np.testing.assert_array_equal(dw[i], x if on else np.zeros(3))
        assert db[i] == on
    assert 0 < active < 20
    numeric = five_point(lambda v: float(ref.affine_relu(X[:1], v, b)[0][0]), w, 1e-6)
    np.testing.assert_allclose(dw[0], numeric, rtol=1e-7, atol=1e-8)


def slow_neuron(w, b, X, y, s):
    S, C, gw, gb = sum(map(LD, s)), LD(0), [LD(0)] * len(w), LD(0)
    for x, t, weight in zip(X, y, s, strict=True):
        z = sum(LD(u) * LD(v) for u, v in zip(w, x, strict=True)) + LD(b)
        C += weight * (LD(t) - max(LD(0), z)) ** 2 / S
        if z > 0:
            e = z - LD(t)
            gw = [g + 2 * weight * e * LD(v) / S for g, v in zip(gw, x, strict=True)]
            gb += 2 * weight * e / S
    return float(C), np.array(gw, float), float(gb)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 2, 33])
def test_row18_row19_row20_neuron_against_loops(rng, dtype, weighted, n):
    X = rng.normal(size=(n, 3)).astype(dtype)
    w, b, y = rng.normal(size=3).astype(dtype), dtype(0.2), rng.normal(size=n).astype(dtype)
    s = rng.uniform(0, 3, n).astype(dtype) if weighted else None
    loss, gw, gb = ref.neuron_loss_and_grad(w, b, X, y, s)
    assert type(loss) is float
    assert gw.dtype == gb.dtype == dtype
    C, want_w, want_b = slow_neuron(w, b, X, y, np.ones(n) if s is None else s)
    np.testing.assert_allclose(loss, C, **tolerance(dtype))
    np.testing.assert_allclose(gw, want_w, **tolerance(dtype))
    np.testing.assert_allclose(gb, want_b, **tolerance(dtype))


def test_row18_inactive_neuron_has_zero_gradient_and_loss_of_y(rng):
    X, y = rng.random((9, 3)), rng.normal(size=9)
    loss, gw, gb = ref.neuron_loss_and_grad(-np.ones(3), -1.0, X, y)
    np.testing.assert_allclose(loss, np.mean(y**2), rtol=1e-14)
    np.testing.assert_array_equal(gw, 0)
    assert gb == 0


def test_row22_augmented_form_is_the_same(rng):
    X, w, b, y = rng.normal(size=(30, 4)), rng.normal(size=4), 0.7, rng.normal(size=30)
    loss, gw, gb = ref.neuron_loss_and_grad(w, b, X, y)
    augmented = np.column_stack([X, np.ones(30)])
    loss1, gw1, _ = ref.neuron_loss_and_grad(np.append(w, b), 0.0, augmented, y)
    np.testing.assert_allclose(ref.affine(augmented, np.append(w, b), 0.0), ref.affine(X, w, b))
    np.testing.assert_allclose(loss, loss1, rtol=1e-13)
    np.testing.assert_allclose(np.append(gw, gb), gw1, rtol=1e-12)


def test_row18_neuron_is_a_network_of_one_output(rng):
    X, w, y, s = (rng.normal(size=z) for z in ((12, 3), 3, 12, 12))
    loss, gw, gb = ref.neuron_loss_and_grad(w, 0.1, X, y, s**2)
    theta = np.append(w, 0.1)
    value, grad = ref.mlp_loss_and_grad(theta, X, y, [3, 1], "mse", "relu", sample_weight=s**2)
    np.testing.assert_allclose(loss, value, rtol=1e-13)
    np.testing.assert_allclose(np.append(gw, gb), grad, rtol=1e-12)


def test_nan_shows_in_loss_and_gradient(rng):
    X, y = rng.normal(size=(4, 2)), np.ones(4)
    X[2, 0] = np.nan
    loss, gw, gb = ref.neuron_loss_and_grad(np.ones(2), 0.0, X, y)
    assert np.isnan([loss, *gw, gb]).all()
    for loss_name in LOSS_NAMES:
        out = np.array([[0.0, 1.0], [np.nan, 0.0]])
        labels = np.array([0, 1]) if loss_name == "cross_entropy" else np.zeros((2, 2))
        value, delta = ref.LOSSES[loss_name](out, labels)
        assert np.isnan(value)
        assert np.isnan(delta[1, 0])
        assert np.isfinite(delta[0]).all()
    theta = np.ones(3 * 2 + 2)
    theta[0] = np.nan
    assert np.isnan(ref.mlp_forward(theta, np.ones((1, 3)), [3, 2], "relu")[-1][0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_row25_row26_row27_losses_against_loops(rng, loss, weighted, k, dtype):
    n = 6
    out = (3 * rng.normal(size=(n, k))).astype(dtype)
    y = draw_targets(rng, loss, n, k, dtype)
    s = rng.uniform(0, 2, n).astype(dtype) if weighted else None
    kept = out.copy()
    value, delta = ref.LOSSES[loss](out, y, s)
    np.testing.assert_array_equal(out, kept)
    assert type(value) is float
    assert delta.dtype == dtype
    assert delta.shape == (n, k)
    np.testing.assert_allclose(value, float(slow_loss(loss, out, y, s)), **tolerance(dtype))
    numeric = five_point(lambda z: float(slow_loss(loss, z, y, s)), out.astype(float), 1e-4)
    np.testing.assert_allclose(delta, numeric, rtol=1e-5, atol=2e-7)
    value_f, delta_f = ref.LOSSES[loss](np.asfortranarray(out), y, s)
    np.testing.assert_allclose(value_f, value, **tolerance(dtype))
    np.testing.assert_array_equal(delta_f, delta)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_integer_weights_are_repeated_rows(rng, loss):
    out, y, s = rng.normal(size=(5, 3)), draw_targets(rng, loss, 5, 3), np.array([1, 0, 3, 2, 1])
    value, delta = ref.LOSSES[loss](out, y, s.astype(float))
    again, repeated = ref.LOSSES[loss](np.repeat(out, s, axis=0), np.repeat(y, s, axis=0))
    np.testing.assert_allclose(value, again, rtol=1e-13)
    np.testing.assert_allclose(delta[2], repeated[1] + repeated[2] + repeated[3], rtol=1e-13)
    np.testing.assert_array_equal(delta[1], 0)


@pytest.mark.parametrize("loss", ["mse", "huber", "logistic"])
@pytest.mark.parametrize("label_dtype", [np.float32, np.int64, np.bool_])
def test_targets_may_be_flat_when_k_is_1_and_of_any_dtype(rng, loss, label_dtype):
    out = rng.normal(size=(8, 1)).astype(np.float32)
    y = rng.integers(0, 2, 8).astype(label_dtype)
    value, delta = ref.LOSSES[loss](out, y)
    value2, delta2 = ref.LOSSES[loss](out, y[:, None].astype(np.float32))
    assert value == value2
    assert delta.dtype == np.float32
    np.testing.assert_array_equal(delta, delta2)


@pytest.mark.parametrize("huber_delta", [0.25, 1.0, 3.0])
def test_row27_huber_branches_and_joint(huber_delta):
    r = np.array([[0.0], [0.5], [1.0], [1.0 + 1e-9], [-1.0], [2.0], [-1e4]]) * huber_delta
    value, delta = ref.huber(r, np.zeros(7), huber_delta=huber_delta)
    want = float(slow_loss("huber", r, np.zeros((7, 1)), huber_delta=huber_delta))
    np.testing.assert_allclose(value, want, rtol=1e-14)
    clipped = [min(max(v, -huber_delta), huber_delta) / 7 for v in r[:, 0]]
    np.testing.assert_allclose(delta[:, 0], clipped, rtol=1e-14)


def test_row27_huber_with_wide_delta_is_half_mse(rng):
    out, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    value, delta = ref.huber(out, y, huber_delta=1e3)
    value2, delta2 = ref.mse(out, y)
    np.testing.assert_allclose(2 * value, value2, rtol=1e-14)
    np.testing.assert_allclose(2 * delta, delta2, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row25_row26_large_logits(dtype):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        value, delta = ref.logistic(np.array([[1e4], [-1e4]], dtype), np.array([0, 1]))
        assert value == 1e4
        np.testing.assert_array_equal(delta, [[0.5], [-0.5]])
        value, delta = ref.logistic(np.array([[1e4], [-1e4]], dtype), np.array([1, 0]))
        assert value == 0
        np.testing.assert_array_equal(delta, 0)
        out = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype)
        value, delta = ref.cross_entropy(out, np.array([0, 1]))
        assert value == 1e4
        np.testing.assert_array_equal(delta, [[0, 0, 0], [0.5, -0.5, 0]])
        np.testing.assert_array_equal(ref.softmax(out)[0], [1, 0, 0])
        np.testing.assert_array_equal(ref.sigmoid(out)[0], [1, 0, 0.5])


def test_row26_tail_keeps_relative_accuracy():
    value, delta = ref.logistic(np.array([[-40.0]]), np.array([0]))
    np.testing.assert_allclose([value, delta[0, 0]], math.exp(-40), rtol=1e-14)


def test_row25_rows_of_delta_sum_to_zero_and_shift_changes_nothing(rng):
    out, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    value, delta = ref.cross_entropy(out, labels)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-16)
    shifted, _ = ref.cross_entropy(out + rng.normal(size=(9, 1)), labels)
    np.testing.assert_allclose(shifted, value, rtol=1e-13)
    np.testing.assert_allclose(ref.softmax(out).sum(axis=1), 1, rtol=1e-14)
    two = ref.softmax(np.column_stack([np.zeros(9), out[:, 0]]))[:, 1]
    np.testing.assert_allclose(ref.sigmoid(out[:, 0]), two, rtol=1e-14)


def test_row25_two_classes_are_row26(rng):
    z, labels = rng.normal(size=(9, 1)), rng.integers(0, 2, 9)
    value, delta = ref.cross_entropy(np.hstack([np.zeros((9, 1)), z]), labels)
    value2, delta2 = ref.logistic(z, labels)
    np.testing.assert_allclose(value, value2, rtol=1e-13)
    np.testing.assert_allclose(delta[:, 1:], delta2, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_kept_by_every_function(rng, dtype):
    X, theta = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=26).astype(dtype)
    s = np.ones(5, dtype)
    for loss in LOSS_NAMES:
        y = draw_targets(rng, loss, 5, 2, dtype)
        _, grad = ref.mlp_loss_and_grad(theta, X, y, [3, 4, 2], loss, "relu", 0.1, s, 0.5)
        assert grad.dtype == dtype
        gX = ref.mlp_grad_input(theta, X, y, [3, 4, 2], loss, "relu", 0.1, s, 0.5)
        assert gX.dtype == dtype
    assert all(A.dtype == dtype for A in ref.mlp_forward(theta, X, [3, 4, 2]))
    assert all(a.dtype == dtype for a in ref.neuron_grad(theta[:3], 0.1, X))
    assert ref.softmax(X).dtype == ref.sigmoid(X).dtype == ref.relu(X).dtype == dtype
    ref.sgd_step(theta, theta.copy(), np.float64(0.1))
    assert theta.dtype == dtype


@pytest.mark.parametrize("output_activation", ["identity", "relu"])
@pytest.mark.parametrize("layer_sizes", NETS, ids=str)
def test_row24_forward_against_loops(layer_sizes, output_activation):
    theta, X, _, _ = draw_net(layer_sizes, "mse")
    activations = ref.mlp_forward(theta, X, layer_sizes, output_activation)
    assert [A.shape[1] for A in activations] == layer_sizes
    assert activations[0] is X
    want, _ = slow_out(theta, X, layer_sizes, output_activation)
    np.testing.assert_allclose(activations[-1], want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("output_activation", ["identity", "relu"])
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("layer_sizes", NETS, ids=str)
def test_row24_gradient_against_finite_differences(layer_sizes, loss, output_activation):
    theta, X, y, s = draw_net(layer_sizes, loss, output_activation)
    options = {"output_activation": output_activation, "l2": 0.3, "sample_weight": s}
    options["huber_delta"] = 0.7

    def value_at(theta, X):
        layers = ref.unflatten(theta, layer_sizes)
        out, _ = slow_out(theta, X, layer_sizes, output_activation)
        penalty = 0.15 * sum((W**2).sum() for W, _ in layers)
        return float(slow_loss(loss, out, y, s, 0.7)) + float(penalty)

    kept = theta.copy(), X.copy(), y.copy()
    value, grad = ref.mlp_loss_and_grad(theta, X, y, layer_sizes, loss, **options)
    again, grad2 = ref.mlp_loss_and_grad(theta, X, y, layer_sizes, loss, **options)
    gX = ref.mlp_grad_input(theta, X, y, layer_sizes, loss, **options)
    for before, after in zip(kept, (theta, X, y), strict=True):
        np.testing.assert_array_equal(before, after)
    assert value == again
    assert grad is not grad2
    np.testing.assert_array_equal(grad, grad2)
    np.testing.assert_allclose(value, value_at(theta, X), rtol=1e-12)
    close = {"rtol": 1e-6, "atol": 1e-8}
    np.testing.assert_allclose(grad, five_point(lambda t: value_at(t, X), theta, 1e-4), **close)
    np.testing.assert_allclose(gX, five_point(lambda v: value_at(theta, v), X, 1e-4), **close)


def test_row24_biases_are_not_penalised(rng):
    theta, X, y = rng.normal(size=26), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    value, grad = ref.mlp_loss_and_grad(theta, X, y, [3, 4, 2], "mse")
    value2, grad2 = ref.mlp_loss_and_grad(theta, X, y, [3, 4, 2], "mse", l2=0.5)
    weights = np.r_[0:12, 16:24]
    np.testing.assert_allclose(value2 - value, 0.25 * np.sum(theta[weights] ** 2), rtol=1e-12)
    extra = np.zeros(26)
    extra[weights] = 0.5 * theta[weights]
    np.testing.assert_allclose(grad2 - grad, extra, rtol=1e-12, atol=1e-14)


def test_row24_layout_is_row_major_views():
    theta = np.arange(17.0)
    (W1, b1), (W2, b2) = ref.unflatten(theta, [2, 3, 2])
    np.testing.assert_array_equal(W1, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(b1, [6, 7, 8])
    np.testing.assert_array_equal(W2, [[9, 10], [11, 12], [13, 14]])
    np.testing.assert_array_equal(b2, [15, 16])
    W2[0, 0] = -1
    assert theta[9] == -1


def test_row21_sgd_step_is_in_place_and_lowers_the_loss(rng):
    theta, X, y = rng.normal(size=26), rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    value, grad = ref.mlp_loss_and_grad(theta, X, y, [3, 4, 2], "mse")
    want = theta - 0.01 * grad
    ref.sgd_step(theta, grad, 0.01)
    np.testing.assert_array_equal(theta, want)
    assert ref.mlp_loss_and_grad(theta, X, y, [3, 4, 2], "mse")[0] < value
