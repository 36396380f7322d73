"""Gradients of single samples against NumPy twins, loops over rows, differences, identities."""

import tracemalloc

import numpy as np
import pytest
from helpers import (
    CUTS,
    DTYPES,
    F32,
    F64,
    LAYOUTS,
    LOSSES,
    OF_VALUES,
    assert_close,
    assert_same_bits,
    draw_problem,
    forget_plans,
    run_for_each,
    run_python,
    set_tuning,
    snapshot,
    wide,
)
from hypothesis import given
from hypothesis import strategies as st
from test_network import smooth_problem

import fastgrad as fg
from fastgrad import per_sample
from fastgrad import reference_per_sample as ref
from fastgrad._core.fast_path import FastPath
from fastgrad.activations import ACTIVATIONS
from fastgrad.kernels import gram as gram_kernels
from fastgrad.kernels import tuning

pytestmark = pytest.mark.usefixtures("one_thread")
ONE_OF_EACH = (
    per_sample.grad_norms,
    per_sample.grads,
    lambda *a, **o: per_sample.clipped_loss_and_grad(*a[:4], 1.0, *a[4:], **o)[1],
)


def problem(rng, sizes, n, loss="mse", dtype=F64, weighted=False, **options):
    """(net, theta, X, y, weights) and the twins' options."""
    net = fg.MLP(sizes, loss, dtype=dtype, **options)
    theta, X, y, s = draw_problem(rng, sizes, n, loss, dtype, weighted)
    names = "activation", "output_activation"
    own = {name: options[name] for name in names if name in options} | {"sample_weight": wide(s)}
    return net, (theta, X, y, s), ((wide(theta), wide(X), y, sizes, loss), own)


# against the twins


@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=5), n=st.integers(1, 40),
    loss=st.sampled_from(LOSSES), dtype=st.sampled_from(DTYPES), weighted=st.booleans(),
    activation=st.sampled_from([*ACTIVATIONS]), relu=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_row31_row32_row33_random_networks_are_the_twins(
    widths, n, loss, dtype, weighted, activation, relu, seed
):
    rng = np.random.default_rng(seed)
    widths[-1] += loss == "cross_entropy"
    output = "relu" if relu and loss in OF_VALUES else "identity"
    net, (theta, X, y, s), (twin, own) = problem(
        rng, widths, n, loss, dtype, weighted, l2=0.3, activation=activation,
        output_activation=output,
    )  # fmt: skip
    expected = ref.grads(*twin, **own)
    found = per_sample.grads(net, theta, X, y, s)
    norms = per_sample.grad_norms(net, theta, X, y, s)
    assert found.dtype == norms.dtype == dtype
    assert_close(found, expected, dtype, 512)
    assert_close(norms, np.linalg.norm(expected, axis=1), dtype, 512)
    most = float(np.median(norms)) or 1.0
    loss_, grad = per_sample.clipped_loss_and_grad(net, theta, X, y, most, s)
    plain, whole = net.loss_and_grad(theta, X, y, s)
    assert type(loss_) is float and loss_ == pytest.approx(plain, rel=1e-6, abs=1e-30)
    value = ref.clipped_loss_and_grad(*twin, most, l2=0.3, **own)[1]
    size = np.abs(whole).max(initial=1.0)  # clipped sums may cancel
    assert_close(np.append(grad, size), np.append(value, size), dtype, 512)
    found = per_sample.gram(net, theta, X, y, sample_weight=s)
    assert_close(found, ref.gram(expected, expected), dtype, 512)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[5, 1], [3, 7, 2], [40, 33, 17, 10]], ids=str)
def test_row33_gram_of_two_sets_in_many_tiles(rng, sizes, dtype):
    n, n2 = tuning.GRAM_ROWS + 1, gram_kernels.PACK_COLUMNS + 9
    net, (theta, X, y, _), (twin, own) = problem(rng, sizes, n, "huber", dtype, l2=0.2)
    _, (_, X2, y2, s2), (twin2, own2) = problem(rng, sizes, n2, "huber", dtype, True)
    G, G2 = ref.grads(*twin, **own), ref.grads(twin[0], *twin2[1:], **own2)
    both = per_sample.gram(net, theta, X, y, X2, y2, sample_weight2=s2)
    assert both.shape == (n, n2)
    assert_close(both, ref.gram(G, G2), dtype, 256)
    own = per_sample.gram(net, theta, X2, y2, sample_weight=s2)
    assert_close(own, ref.gram(G2, G2), dtype, 256)
    assert_same_bits(own, own.T.copy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "n", "n2"),
    [([5, 1], 100, 270), ([4, 6, 3], 40, 91), ([3, 17, 70], 3, 5), ([6, 9, 7, 10], 29, 61)],
    ids=str,
)
def test_row33_ntk_is_the_product_of_jacobians(rng, sizes, n, n2, dtype):
    for output in ("identity", "relu"):
        net, (theta, X, *_), _ = problem(
            rng, sizes, n, dtype=dtype, l2=0.2, activation="tanh", output_activation=output
        )
        X2 = problem(rng, sizes, n2, dtype=dtype)[1][1]
        J, J2 = (ref.jacobian(wide(theta), wide(x), sizes, output, "tanh") for x in (X, X2))
        k = sizes[-1]
        assert_close(per_sample.ntk(net, theta, X, X2), ref.ntk(J, J2), dtype, 256)
        own = per_sample.ntk(net, theta, X)
        assert own.shape == (n, n, k, k)
        assert_close(own, ref.ntk(J, J), dtype, 256)
        assert_same_bits(own, own.transpose(1, 0, 3, 2).copy())
        traces = np.trace(ref.ntk(J, J2), axis1=2, axis2=3) / k
        assert_close(per_sample.ntk(net, theta, X, X2, trace=True), traces, dtype, 256)
        own = per_sample.ntk(net, theta, X, trace=True)
        assert_same_bits(own, own.T.copy())


# differences, loops over single rows, identities


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("loss", LOSSES)
def test_row31_a_samples_gradient_is_the_numerical_one(rng, loss, weighted):
    net, penalised = fg.MLP([4, 6, 3], loss), fg.MLP([4, 6, 3], loss, l2=0.4)
    theta, X, y, s = smooth_problem(rng, net.layer_sizes, 4, loss, weighted)
    found = per_sample.grads(penalised, theta, X, y, s)
    for i in range(4):

        def own(t, i=i):
            return net.loss(t, X[i : i + 1], y[i : i + 1]) * (1 if s is None else s[i])

        fg.assert_gradient((own, lambda t, i=i: found[i]), theta, rtol=1e-7)


def test_row33_ntk_is_the_product_of_numerical_jacobians(rng):
    net = fg.MLP([3, 5, 2], activation="softplus")
    theta, X = rng.normal(size=net.n_parameters), rng.normal(size=(4, 3))
    J = fg.numerical_jacobian(lambda t: net.predict(t, X).ravel(), theta).reshape(4, 2, -1)
    np.testing.assert_allclose(per_sample.ntk(net, theta, X), ref.ntk(J, J), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", range(5))
def test_row31_row33_batches_of_0_to_4_are_a_loop_over_rows(rng, n, loss, dtype):
    sizes = [6, 5, 3]
    net, (theta, X, y, s), _ = problem(rng, sizes, max(n, 1), loss, dtype, True, l2=0.1)
    X, y, s = X[:n], y[:n], s[:n] + dtype.type(0.5)
    plain = fg.MLP(sizes, loss, dtype=dtype)
    each = [slice(i, i + 1) for i in range(n)]
    expected = [s[i] * plain.loss_and_grad(theta, X[i], y[i])[1].astype(F64) for i in each]
    expected = np.array(expected).reshape(n, net.n_parameters)
    found = per_sample.grads(net, theta, X, y, s)
    assert found.shape == (n, net.n_parameters)
    assert_close(found, expected, dtype)
    norms = per_sample.grad_norms(net, theta, X, y, s)
    assert_close(norms, np.linalg.norm(expected, axis=1), dtype)
    for i in each:
        assert_close(per_sample.grad_norms(net, theta, X[i], y[i], s[i]), norms[i], dtype, 8)
    assert_close(per_sample.gram(net, theta, X, y, sample_weight=s), expected @ expected.T, dtype)
    assert per_sample.gram(net, theta, X, y, X[:2], y[:2]).shape == (n, min(n, 2))
    assert per_sample.ntk(net, theta, X, X[:2]).shape == (n, min(n, 2), 3, 3)
    assert per_sample.ntk(net, theta, X, trace=True).shape == (n, n)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_row31_row32_means_and_the_clip_at_infinity_are_the_gradient(rng, loss, dtype, weighted):
    for sizes, n in (([9, 20, 4], 150), ([5, 3], 40), ([5, 1], 40)):
        sizes = [*sizes[:-1], max(2, sizes[-1])] if loss == "cross_entropy" else sizes
        net, (theta, X, y, s), _ = problem(rng, sizes, n, loss, dtype, weighted, l2=0.1)
        plain = fg.MLP(sizes, loss, dtype=dtype)
        total = n if s is None else s.sum()
        mean = per_sample.grads(net, theta, X, y, s).sum(0, dtype=F64) / total
        gradient = plain.loss_and_grad(theta, X, y, s)[1]
        size = np.abs(per_sample.grads(net, theta, X, y, s)).max()
        assert_close(np.append(mean, size), np.append(gradient, size), dtype)
        expected = net.loss_and_grad(theta, X, y, s)
        for most in (np.inf, 1e30):
            found = per_sample.clipped_loss_and_grad(net, theta, X, y, most, s)
            if sizes != [5, 1]:
                assert found[0] == expected[0]
                assert_same_bits(found[1], expected[1])
            else:  # one neuron's own loop adds in another order
                assert found[0] == pytest.approx(expected[0], rel=1e-5)
                assert_close(found[1], expected[1], dtype, 256)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row32_no_sample_moves_the_clipped_sum_further_than_the_clip(rng, dtype):
    net, (theta, X, y, s), _ = problem(rng, [7, 16, 3], 60, "mse", dtype, True)
    most, total = 0.25, s.sum()
    whole = total * per_sample.clipped_loss_and_grad(net, theta, X, y, most, s)[1]
    lengths = []
    for i in range(60):
        rest = np.delete(np.arange(60), i)
        others = per_sample.clipped_loss_and_grad(net, theta, X[rest], y[rest], most, s[rest])[1]
        lengths.append(np.linalg.norm(whole - (total - s[i]) * others))
    norms = per_sample.grad_norms(net, theta, X, y, s)
    assert (norms > most).any() and (norms < most).any()
    tolerance = 2e-4 if dtype == F32 else 1e-12
    np.testing.assert_allclose(lengths, np.minimum(norms, most), atol=tolerance)


@pytest.mark.parametrize("cut", CUTS)
def test_row31_row32_every_cut_gives_the_same(cut, monkeypatch, rng):
    set_tuning(monkeypatch.setattr, **CUTS[cut])
    for dtype in DTYPES:
        for sizes in ([5, 1], [17, 65, 3], [9, 300, 2], [130, 31, 1, 7]):
            for n in (1, 29, 250):
                forget_plans()
                net, arrays, (twin, own) = problem(rng, sizes, n, "mse", dtype, n == 29, l2=0.1)
                theta, X, y, s = arrays
                G = ref.grads(*twin, **own)
                assert_close(per_sample.grads(net, *arrays), G, dtype, 256)
                norms = per_sample.grad_norms(net, *arrays)
                assert_close(norms, np.linalg.norm(G, axis=1), dtype, 256)
                most = float(np.median(norms)) or 1.0
                found = per_sample.clipped_loss_and_grad(net, theta, X, y, most, s)[1]
                expected = ref.clipped_loss_and_grad(*twin, most, l2=0.1, **own)[1]
                size = np.abs(net.loss_and_grad(*arrays)[1]).max(initial=1.0)
                assert_close(np.append(found, size), np.append(expected, size), dtype, 512)
                assert_close(
                    per_sample.gram(net, *arrays[:3], sample_weight=s), G @ G.T, dtype, 512
                )
    forget_plans()


# numbers of all kinds


@pytest.mark.parametrize("scale", [1e-170, 1e-160, 1e-120, 1e120, 1e150, 1e157])
def test_row31_norms_whose_squares_are_no_numbers(rng, scale):
    """Of one layer, so that the gradient grows as its inputs: beyond the range of squares."""
    net = fg.MLP([5, 3], "absolute_error")
    theta, X, y = rng.normal(size=18), rng.normal(size=(7, 5)), rng.normal(size=(7, 3))
    for weights, inputs in ((scale, 1.0), (1.0, scale), (scale, min(scale, 1 / scale))):
        s, x = np.full(7, weights), X * inputs
        rows = per_sample.grads(fg.MLP([5, 3], "absolute_error"), theta, x, y)
        size = np.abs(rows).max(axis=1, keepdims=True)
        expected = np.linalg.norm(rows / size, axis=1) * size[:, 0] * weights
        if not 1e-290 < s.sum() < 1e290:
            continue
        norms = per_sample.grad_norms(net, theta, x, y, s)
        np.testing.assert_allclose(norms, expected, rtol=1e-13)
        most = float(np.median(norms))
        grad = per_sample.clipped_loss_and_grad(net, theta, x, y, most, s)[1]
        factors = np.minimum(1, most / norms) * weights
        np.testing.assert_allclose(
            grad * (s.sum() / weights), (factors[:, None] / weights * rows).sum(0), rtol=1e-12,
            atol=1e-13 * np.abs(rows).max(),
        )  # fmt: skip


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e18])
def test_row31_norms_whose_squares_are_beyond_float32(rng, scale):
    net = fg.MLP([5, 3], "absolute_error", dtype=F32)
    theta, y = rng.normal(size=18).astype(F32), rng.normal(size=(7, 3)).astype(F32)
    X = (scale * rng.normal(size=(7, 5))).astype(F32)
    rows = per_sample.grads(net, theta, X, y).astype(F64)
    norms = per_sample.grad_norms(net, theta, X, y)
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_show_in_their_own_rows(rng, bad, dtype):
    net, (theta, X, y, _), _ = problem(rng, [4, 8, 3], 20, "mse", dtype, activation="softplus")
    X2, y2 = X.copy(), y.copy()
    X2[3, 1], y2[7, 2] = bad, bad
    spoilt = np.zeros(20, bool)
    spoilt[[3, 7]] = True
    for value in (
        per_sample.grad_norms(net, theta, X2, y2)[:, None],
        per_sample.grads(net, theta, X2, y2),
        per_sample.gram(net, theta, X2, y2, X[:1], y[:1]),
    ):
        assert (np.isfinite(value).all(1) == ~spoilt).all()
    for most in (1e-3, 1e3, np.inf):
        loss, grad = per_sample.clipped_loss_and_grad(net, theta, X2, y2, most)
        assert not np.isfinite(loss) and not np.isfinite(grad).all()
        if most < np.inf:
            assert np.isnan(grad).any(), "an infinite gradient was clipped to a number"
    kernel = per_sample.ntk(net, theta, X2)
    assert not np.isfinite(kernel[3, 3]).any() and np.isfinite(kernel[7, 7]).all()
    theta[-1] = np.nan
    assert np.isnan(per_sample.grad_norms(net, theta, X, y)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_of_weight_zero_has_no_gradient_whatever_its_target(rng, loss, dtype):
    net, (theta, X, y, _), _ = problem(rng, [4, 8, 3], 20, loss, dtype)
    s = np.ones(20, dtype)
    s[5] = 0
    if y.dtype.kind == "f":
        y[5] = np.nan
    norms = per_sample.grad_norms(net, theta, X, y, s)
    assert norms[5] == 0 and np.isfinite(norms).all()
    assert (per_sample.grads(net, theta, X, y, s)[5] == 0).all()
    keep = s > 0
    expected = per_sample.clipped_loss_and_grad(net, theta, X[keep], y[keep], 0.1)[1]
    found = per_sample.clipped_loss_and_grad(net, theta, X, y, 0.1, s)[1]
    assert_close(found, expected, dtype, 256)


# arrays and errors


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits_and_inputs_stay(rng, layout):
    net, arrays, _ = problem(rng, [5, 7, 3], 12, "mse", F32, True)
    laid = [LAYOUTS[layout](a) for a in arrays]
    before = snapshot(*laid)
    for function in (*ONE_OF_EACH, lambda net, *a: per_sample.gram(net, *a[:3], *a[1:3]),
                     lambda net, *a: per_sample.ntk(net, *a[:2], a[1])):  # fmt: skip
        assert_same_bits(function(net, *laid), function(net, *arrays))
    assert snapshot(*laid) == before


def test_out_is_what_is_returned_and_may_not_overlap(rng):
    net, (theta, X, y, _), _ = problem(rng, [5, 7, 3], 12, "mse", F64)
    calls = {
        lambda **o: per_sample.grad_norms(net, theta, X, y, **o): (12,),
        lambda **o: per_sample.grads(net, theta, X, y, **o): (12, theta.size),
        lambda **o: per_sample.clipped_loss_and_grad(net, theta, X, y, 1.0, **o)[1]: theta.shape,
        lambda **o: per_sample.gram(net, theta, X, y, X[:4], y[:4], **o): (12, 4),
        lambda **o: per_sample.ntk(net, theta, X, X[:4], **o): (12, 4, 3, 3),
        lambda **o: per_sample.ntk(net, theta, X, trace=True, **o): (12, 12),
    }
    for call, shape in calls.items():
        out = np.full(shape, np.nan)
        assert call(out=out) is out
        assert_same_bits(out, call())
        with pytest.raises(ValueError, match="out has shape"):
            call(out=np.empty((*shape[:-1], shape[-1] + 1)))
        with pytest.raises(TypeError, match="out has dtype float32"):
            call(out=np.empty(shape, F32))
        with pytest.raises(TypeError, match="out is a list"):
            call(out=[0.0])
    with pytest.raises(ValueError, match="out overlaps theta"):
        per_sample.clipped_loss_and_grad(net, theta, X, y, 1.0, out=theta)
    memory = np.zeros((12, 12))
    with pytest.raises(ValueError, match="out overlaps X2"):
        per_sample.gram(net, theta, X, y, memory.reshape(-1)[:60].reshape(12, 5), y, out=memory)


def test_errors_name_the_argument(rng):
    net, (theta, X, y, s), _ = problem(rng, [5, 7, 3], 12, "mse", F64, True)
    for function in ONE_OF_EACH:
        for arguments, kind, words in (
            ((net.spec, theta, X, y), TypeError, "net is a Network; expected an MLP"),
            ((net, theta[:-1], X, y), ValueError, "theta has shape"),
            ((net, theta.astype(F32), X, y), TypeError, "theta has dtype float32"),
            ((net, theta, X[:, :4], y), ValueError, r"X has shape \(12, 4\); expected \(n, 5\)"),
            ((net, theta, X, y[:5]), ValueError, "y has 5 rows, X has 12"),
            ((net, theta, X, y[:, :2]), ValueError, "y has shape"),
            ((net, theta, X, y, s[:5]), ValueError, "sample_weight has 5 rows, X has 12"),
            ((net, theta, X, y, -s), ValueError, "sample_weight has the value"),
        ):
            with pytest.raises(kind, match=words):
                function(*arguments)
        with pytest.raises(ValueError, match="threads is 0"):
            function(net, theta, X, y, threads=0)
    with pytest.raises(ValueError, match="X has 0 rows"):
        per_sample.clipped_loss_and_grad(net, theta, X[:0], y[:0], 1.0)
    for most in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"max_norm is .*; expected a number above 0"):
            per_sample.clipped_loss_and_grad(net, theta, X, y, most)
    for most in ("1", None, np.ones(2), True):
        with pytest.raises(TypeError, match=r"max_norm is .*; expected one number"):
            per_sample.clipped_loss_and_grad(net, theta, X, y, most)


def test_row31_row33_weights_of_any_size_multiply_what_is_each_rows(rng):
    """Nothing is divided by their sum: it may be 0, or of any size."""
    net, (theta, X, y, _), _ = problem(rng, [5, 7, 3], 12, "mse", F64, True)
    norms, grads = per_sample.grad_norms(net, theta, X, y), per_sample.grads(net, theta, X, y)
    for size in (0.0, 1e-295, 1e295):
        s = np.full(12, size)
        close = np.testing.assert_allclose
        close(per_sample.grad_norms(net, theta, X, y, s), size * norms, rtol=1e-12)
        close(per_sample.grads(net, theta, X, y, s), size * grads, rtol=1e-12)
    assert not per_sample.gram(net, theta, X, y, sample_weight=s * 0.0).any()
    with pytest.raises(ValueError, match="sample_weight is zero everywhere"):
        per_sample.clipped_loss_and_grad(net, theta, X, y, 1.0, np.zeros(12))


def test_errors_name_the_argument_of_the_second_set(rng):
    net, (theta, X, y, s), _ = problem(rng, [5, 7, 3], 12, "mse", F64, True)
    gram, ntk = per_sample.gram, per_sample.ntk
    for call, kind, words in (
        (lambda: gram(net, theta, X, y, X), ValueError, "y2 is None"),
        (lambda: gram(net, theta, X, y, y2=y), ValueError, "X2 is None"),
        (lambda: gram(net, theta, X, y, sample_weight2=s), ValueError, "X2 is None"),
        (lambda: gram(net, theta, X, y, X[:, :2], y), ValueError, "X2 has shape"),
        (lambda: gram(net, theta, X, y, X, y[:3]), ValueError, "y2 has 3 rows, X2 has 12"),
        (lambda: gram(net, theta, X, y, X, y, sample_weight2=s[:3]), ValueError,
         "sample_weight2 has 3 rows, X2 has 12"),
        (lambda: gram(net, theta, X, y, threads=0), ValueError, "threads is 0"),
        (lambda: ntk(net, theta, X, X[:, :2]), ValueError, "X2 has shape"),
        (lambda: ntk(net, theta, X, trace=1), TypeError, "trace is 1; expected True or False"),
        (lambda: ntk(None, theta, X), TypeError, "net is a NoneType; expected an MLP"),
        (lambda: ntk(net, theta, X[:0], threads=0), ValueError, "threads is 0"),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            call()
    labels = fg.MLP([5, 7, 3], "cross_entropy")
    with pytest.raises(ValueError, match="y2 has the label 3"):
        gram(labels, theta, X, np.zeros(12, int), X, np.full(12, 3))


def test_row33_gram_forms_no_gradient(rng):
    """Memory of the result, and of some widths a row: a hundredth of the gradients'."""
    net = fg.MLP([50, 400, 300, 5], "cross_entropy", dtype=F32)
    theta, X, y = net.init(0), rng.normal(size=(150, 50)).astype(F32), rng.integers(0, 5, 150)
    per_sample.gram(net, theta, X, y)
    tracemalloc.start()
    per_sample.gram(net, theta, X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 150 * net.n_parameters / 20


# threads, memory


BITS = """
import sys
from functools import update_wrapper
import numpy as np
import fastgrad as fg
from helpers import cut_plans
from workload import bits
from fastgrad._core import gram, run
launched = []
for module, name in ((run, "parallel_step"), (gram, "parallel_gram")):
    kernel = getattr(module, name)
    def noted(*args, kernel=kernel, name=name):
        launched.append(name)
        return kernel(*args)
    setattr(module, name, update_wrapper(noted, kernel))
for cut in ("many tasks", "wide"):
    cut_plans(cut)
    rng = np.random.default_rng(3)
    for dtype in ("f4", "f8"):
        net = fg.MLP([40, 33, 5], "mse", dtype=dtype, l2=0.1)
        X, y = (rng.normal(size=(300, k)).astype(dtype) for k in (40, 5))
        s, theta, ps = rng.uniform(size=300).astype(dtype), net.init(0), fg.per_sample
        for call in (
            lambda **t: ps.grad_norms(net, theta, X, y, s, **t),
            lambda **t: ps.grads(net, theta, X, y, s, **t),
            lambda **t: ps.clipped_loss_and_grad(net, theta, X, y, 0.5, s, **t),
            lambda **t: ps.gram(net, theta, X, y, X[:200], y[:200], **t),
            lambda **t: ps.gram(net, theta, X, y, **t),
            lambda **t: ps.ntk(net, theta, X[:90], **t),
        ):
            found = {bits(call(threads=t)) for t in (1, 2, 3, 4) if t <= fg.get_num_threads()}
            assert len(found) == 1, "the bits depend on the threads"
            print(*found)
assert {"parallel_step", "parallel_gram"} == set(launched) or fg.get_num_threads() == 1
"""


def test_same_bits_on_1_to_4_threads_and_in_fresh_processes():
    first = run_python(BITS, NUMBA_NUM_THREADS="4").split()
    assert len(first) == 24
    assert run_python(BITS, NUMBA_NUM_THREADS="1").split() == first


GUARDED = """
import sys
from itertools import cycle
import numpy as np
import fastgrad as fg
from guards import check_per_sample
from helpers import LOSSES, cut_plans, edge_sizes
dtype = np.dtype(sys.argv[1])
rng, columns = np.random.default_rng(5), edge_sizes(dtype)
pick = lambda values: int(rng.choice(values))
losses = cycle(LOSSES)
for cut in (None, "many tasks", "wide"):
    if cut:
        cut_plans(cut)
    for case in range(16 if cut is None else 5):
        sizes = [pick(columns) for _ in range(2 + case % 3)]
        n = pick([1, 2, 3, 5, 7, 25]) if cut is None else pick([33, 61, 130])
        check_per_sample(rng, n, sizes, dtype, next(losses), case % 2)
check_per_sample(rng, 300, [3, 2], dtype, "mse", False)
print("swept")
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_flush_against_unreadable_pages(dtype):
    found = run_for_each(GUARDED, ("float32", "float64"), dtype, NUMBA_NUM_THREADS="2")
    assert found.strip() == "swept"


# the fast path


@pytest.mark.parametrize(("loss", "k"), [("mse", 1), ("mse", 3), ("cross_entropy", 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fast_path_has_the_same_bits_and_errors(rng, monkeypatch, loss, k, dtype):
    taken, through = [], FastPath.call

    def counted(*args):
        result = through(*args)
        if result is not None:
            taken.append(result)
        return result

    monkeypatch.setattr(FastPath, "call", counted)
    net, (theta, X, y, _), _ = problem(rng, [5, 7, k], 12, loss, dtype, l2=0.1)
    norms, clipped = per_sample.grad_norms, per_sample.clipped_loss_and_grad
    expected = norms(net, theta, X, y, threads=1), *clipped(net, theta, X, y, 0.5, threads=1)
    shapes = [y] if k == 3 else [y, y[:, 0].copy()]
    for targets in shapes:
        norms(net, theta, X, targets), clipped(net, theta, X, targets, 0.5)
        before = len(taken)
        out = np.empty_like(theta)
        found = norms(net, theta, X, targets), *clipped(net, theta, X, targets, 0.5, out=out)
        assert len(taken) == before + 2 and found[2] is out
        for a, b in zip(found, expected):
            assert_same_bits(a, b)
    wrong = theta[:4].copy()
    for arguments, options, words in (
        ((wrong, X, y), {}, "theta has shape"),
        ((wrong, X, y), {"out": wrong.copy()}, "theta has shape"),
        ((theta, X[:, :4].copy(), y), {}, "X has shape"),
        ((theta, X, y[:5].copy()), {}, "y has 5 rows, X has 12"),
        ((theta, X, y), {"out": np.empty(3, dtype)}, "out has shape"),
        ((theta, X, y), {"out": theta[:12]}, "out"),
    ):
        with pytest.raises(ValueError, match=words):
            norms(net, *arguments, **options)
        with pytest.raises(ValueError, match=words):
            clipped(net, *arguments, 0.5, **options)
    for most in (-1.0, 0.0, float("nan")):
        with pytest.raises(ValueError, match=r"max_norm is .*; expected a number above 0"):
            clipped(net, theta, X, y, most)
    X[3, 1] = np.nan
    assert np.isnan(norms(net, theta, X, y)).tolist() == [i == 3 for i in range(12)]
    assert np.isnan(clipped(net, theta, X, y, 0.5)[1]).any()
