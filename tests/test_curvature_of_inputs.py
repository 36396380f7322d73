"""Products with the Hessian by theta and X together: differences, identities, plans, errors."""

from functools import partial

import numpy as np
import pytest
from curved import SIZES, draw, network
from helpers import (
    CUTS,
    DTYPES,
    F64,
    LAYOUTS,
    assert_close,
    assert_same_bits,
    cut_plans,
    forget_plans,
    snapshot,
)
from hypothesis import given
from hypothesis import strategies as st

from fastgrad import reference_derivatives as twins
from fastgrad.activations import ACTIVATIONS
from fastgrad.curvature import ggn_vp, hvp, output_hvp
from fastgrad.jacobians import input_jacobian, jacobian, vjp
from fastgrad.losses import LOSSES


def difference(gradients, theta, X, v, v_X, activation):
    """Five points of (p + n d) gradients along (v, v_X), close together where there are kinks."""
    h = 1e-6 if activation in ("relu", "leaky_relu") else 1e-4
    far = [
        np.concatenate([part.reshape(-1) for part in gradients(theta + i * h * v, X + i * h * v_X)])
        for i in (-2, -1, 1, 2)
    ]
    return (far[0] - 8 * far[1] + 8 * far[2] - far[3]) / (12 * h)


def both(pair):
    return np.concatenate([part.reshape(-1) for part in pair])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_row34_is_the_difference_of_both_gradients(rng, loss, activation):
    for case, sizes in enumerate(SIZES[:4]):
        net = network(sizes, loss, activation=activation, l2=0.3 * (case % 2))
        theta, X, y, s = draw(rng, net, 15, weighted=case % 2 == 0)
        v, v_X = rng.standard_normal(theta.size), rng.standard_normal(X.shape)

        def gradients(theta, X, net=net, y=y, s=s):
            return net.loss_and_grad(theta, X, y, s)[1], net.grad_input(theta, X, y, s)

        found = both(hvp(net, theta, X, y, v, s, v_X=v_X, need_X=True))
        expected = difference(gradients, theta, X, v, v_X, activation)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ["identity", "relu"])
def test_row34_of_outputs_is_the_difference_of_vjp(rng, activation, output):
    for sizes in SIZES[:4]:
        net = network(sizes, activation=activation, output_activation=output)
        theta, X, *_ = draw(rng, net, 15)
        cotangent = rng.standard_normal((15, net.n_outputs))
        v, v_X = rng.standard_normal(theta.size), rng.standard_normal(X.shape)

        def gradients(theta, X, net=net, cotangent=cotangent):
            return vjp(net, theta, X, cotangent, need_gX=True)

        found = both(output_hvp(net, theta, X, cotangent, v, v_X=v_X, need_X=True))
        expected = difference(gradients, theta, X, v, v_X, activation)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_row35_is_the_jacobians_product_with_the_losses_curvature(rng, loss):
    net = network([4, 7, 3], loss, activation="softplus")
    theta, X, y, s = draw(rng, net, 14, weighted=True)
    v, v_X, out = (
        rng.standard_normal(theta.size),
        rng.standard_normal(X.shape),
        net.predict(theta, X),
    )
    parameters = {"huber_delta": net.huber_delta, "quantile": net.quantile}
    J, J_X = jacobian(net, theta, X), input_jacobian(net, theta, X)
    H = twins.output_hessian(out, y, loss, s, **parameters)
    moved = np.einsum("nip,p->ni", J, v) + np.einsum("nid,nd->ni", J_X, v_X)
    curved = np.einsum("nij,nj->ni", H, moved)
    product, product_X = ggn_vp(net, theta, X, y, v, s, v_X=v_X, need_X=True)
    assert_close(product, np.einsum("nip,ni->p", J, curved), F64, 300)
    assert_close(product_X, np.einsum("nid,ni->nd", J_X, curved), F64, 300)


@given(st.integers(0, 10**9))
def test_row34_row35_are_symmetric(seed):
    rng = np.random.default_rng(seed)
    net = network([5, 8, 4, 3], rng.choice(list(LOSSES)), activation=rng.choice(list(ACTIVATIONS)))
    theta, X, y, s = draw(rng, net, 10, weighted=True)
    cotangent = rng.standard_normal((10, net.n_outputs))
    pairs = [(rng.standard_normal(theta.size), rng.standard_normal(X.shape)) for _ in range(2)]
    for product in (
        lambda v, u: hvp(net, theta, X, y, v, s, v_X=u, need_X=True),
        lambda v, u: ggn_vp(net, theta, X, y, v, s, v_X=u, need_X=True),
        lambda v, u: output_hvp(net, theta, X, cotangent, v, v_X=u, need_X=True),
    ):
        a, b = (both(product(*pair)) for pair in pairs)
        size = max(np.abs(a).max(), np.abs(b).max(), 1e-300)
        assert abs(both(pairs[0]) @ b - both(pairs[1]) @ a) <= 1e-11 * size * a.size


def check_threads(function, size, dtype):
    """`function` of keywords v_X, need_X, threads: bits, and what is left out is what is 0."""
    v_X = function.keywords["v_X"]
    one, two, more = (both(function(need_X=True, threads=threads)) for threads in (1, 2, None))
    assert_same_bits(one, two)
    assert_same_bits(one, more)
    assert_close(function(), one[:size], dtype)
    still = function(v_X=None, need_X=True)
    assert_close(both(still), both(function(v_X=np.zeros_like(v_X), need_X=True)), dtype)
    assert_close(still[0], function(v_X=None), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cut", CUTS)
def test_the_same_bits_on_any_number_of_threads_and_without_what_is_0(rng, cut, dtype, monkeypatch):
    cut_plans(cut, monkeypatch.setattr)
    try:
        for sizes, loss, activation in (
            ([6, 13, 7, 3], "cross_entropy", "relu"),
            ([6, 13, 7, 3], "mse", "tanh"),
            ([70, 65, 50, 3], "huber", "relu"),  # so wide that weight tasks copy operands
        ):
            net = network(sizes, loss, dtype, activation=activation, l2=0.1)
            theta, X, y, s = draw(rng, net, 260, weighted=True)
            cotangent = rng.standard_normal((260, net.n_outputs)).astype(dtype)
            v, v_X = theta[::-1].copy(), X[::-1].copy()
            for function in hvp, ggn_vp:
                check_threads(partial(function, net, theta, X, y, v, s, v_X=v_X), v.size, dtype)
            function = partial(output_hvp, net, theta, X, cotangent, v, v_X=v_X)
            check_threads(function, v.size, dtype)
    finally:
        forget_plans()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits_and_stays_as_it_was(rng, layout):
    net = network([5, 7, 3], "mse")
    theta, X, y, s = draw(rng, net, 11, weighted=True)
    v, v_X = rng.standard_normal(theta.size), rng.standard_normal(X.shape)
    arrays = [LAYOUTS[layout](a) for a in (theta, X, y, v, s)]
    direction = LAYOUTS[layout](v_X)
    before = snapshot(*arrays, direction)
    for function in (hvp, ggn_vp):
        found = both(function(net, *arrays, v_X=direction, need_X=True))
        assert_same_bits(found, both(function(net, theta, X, y, v, s, v_X=v_X, need_X=True)))
    assert snapshot(*arrays, direction) == before


@pytest.mark.parametrize("where", ["theta", "X", "cotangent", "v", "v_X"])
def test_nan_shows(rng, where):
    net = network([3, 4, 2], "mse")
    theta, X, y, _ = draw(rng, net, 9)
    arrays = {
        "theta": theta, "X": X, "cotangent": y, "v": np.ones_like(theta), "v_X": np.ones_like(X),
    }  # fmt: skip
    arrays[where].flat[2] = np.nan
    theta, X, y, v, v_X = arrays.values()
    for function in (hvp, ggn_vp, output_hvp):
        found = both(function(net, theta, X, y, v, v_X=v_X, need_X=True))
        assert np.isnan(found).any()


def test_out_is_a_pair(rng):
    net = network([5, 7, 3], "mse")
    theta, X, y, _ = draw(rng, net, 11)
    v, out = rng.standard_normal(theta.size), (np.full_like(theta, np.nan), np.full_like(X, np.nan))
    for function in (hvp, ggn_vp, output_hvp):
        found = function(net, theta, X, y, v, v_X=X, need_X=True, out=out)
        assert all(a is b for a, b in zip(found, out))
        assert_same_bits(both(out), both(function(net, theta, X, y, v, v_X=X, need_X=True)))


X0, Y0, T0 = np.ones((4, 5)), np.ones((4, 3)), np.ones(66)
BAD = [
    (dict(v=None), ValueError, "v is None; expected an array unless v_X is given"),
    (dict(v_X=X0[1:]), ValueError, "v_X has 3 rows, X has 4"),
    (dict(v_X=X0[:, 1:]), ValueError, r"v_X has shape \(4, 4\)"),
    (dict(v_X=X0.astype("f")), TypeError, "v_X has dtype float32"),
    (dict(need_X=2), TypeError, "need_X is 2"),
    (dict(need_X=True, out=T0), TypeError, "out is no pair of arrays, which need_X asks for"),
    (dict(need_X=True, out=(T0, X0)), ValueError, r"out\[0\] overlaps theta"),
    (dict(need_X=True, out=(None, X0)), ValueError, r"out\[1\] overlaps X"),
    (dict(v_X=T0[:20].reshape(4, 5), out=T0), ValueError, "out overlaps"),
    (dict(threads=0), ValueError, "threads is 0"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_name_the_argument(arguments, error, message):
    net = network([5, 7, 3], "mse")
    before = snapshot(T0, X0, Y0)
    for function in (hvp, ggn_vp, output_hvp):
        with pytest.raises(error, match=message):
            function(net, T0, X0, Y0, **{"v": np.ones(66), **arguments})
    assert snapshot(T0, X0, Y0) == before


def test_errors_of_outputs_name_the_argument():
    net = network([5, 7, 3], "mse")
    for arguments, error, message in (
        ((net, T0, X0[:0], Y0[:0], T0), ValueError, "X has 0 rows"),
        ((net, T0, X0, Y0[1:], T0), ValueError, "cotangent has 3 rows, X has 4"),
        ((1, T0, X0, Y0, T0), TypeError, "net is a int"),
    ):
        with pytest.raises(error, match=message):
            output_hvp(*arguments)
