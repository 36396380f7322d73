"""Products with Jacobians, and Jacobians: twins, differences, identities, layouts, errors."""

import numpy as np
import pytest
from curved import SIZES, draw, network, twin
from helpers import (
    CUTS,
    DTYPES,
    F32,
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

import fastgrad as fg
from fastgrad import reference_derivatives as twins
from fastgrad.activations import ACTIVATIONS
from fastgrad.jacobians import input_jacobian, jacobian, jvp, vjp

UNITS = {F32: 400, F64: 400}


def check(net, theta, X, rng):
    """All four against their twins, within roundings of the largest number."""
    c, v = rng.standard_normal((len(X), net.n_outputs)), rng.standard_normal(theta.size)
    u = rng.standard_normal(X.shape)
    c, v, u = (a.astype(net.dtype) for a in (c, v, u))
    close = {"dtype": net.dtype, "units": UNITS[net.dtype]}
    gtheta, gX = vjp(net, theta, X, c, need_gX=True)
    for a, b in zip((gtheta, gX), twin(twins.mlp_vjp, net, theta, X, c)):
        assert_close(a, b, **close)
    assert_close(vjp(net, theta, X, c), gtheta, **close)
    for along in ((v, None), (v, u), (None, u)):
        t = jvp(net, theta, X, *along)
        wide = [a if a is None else a.astype(F64) for a in along]
        assert_close(t, twin(twins.mlp_jvp, net, theta, X, wide[0], tangent_X=wide[1]), **close)
    J, JX = jacobian(net, theta, X), input_jacobian(net, theta, X)
    for a, b in zip((J, JX), twin(twins.mlp_jacobian, net, theta, X)):
        assert a.dtype == net.dtype
        assert_close(a, b, **close)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_row30_products_and_jacobians_are_their_twins(rng, activation, dtype):
    for sizes, output in zip(SIZES, ["identity", "relu"] * 3):
        net = network(sizes, dtype=dtype, activation=activation, output_activation=output)
        theta, X, *_ = draw(rng, net, 37)
        check(net, theta, X, rng)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_row30_few_rows_and_none(rng, n):
    net = network([3, 7, 2])
    theta = net.init(seed=0)
    X, c, v = rng.standard_normal((n, 3)), rng.standard_normal((n, 2)), rng.standard_normal(44)
    gtheta, gX = vjp(net, theta, X, c, need_gX=True)
    J, JX = jacobian(net, theta, X), input_jacobian(net, theta, X)
    assert J.shape == (n, 2, 44) and JX.shape == (n, 2, 3) and gX.shape == X.shape
    assert_close(gtheta, np.einsum("ik,ikp->p", c, J), F64)
    assert_close(gX, np.einsum("ik,ikd->id", c, JX), F64)
    assert_close(jvp(net, theta, X, v), J @ v, F64)


@given(st.integers(0, 10**9))
def test_row30_a_product_from_the_left_meets_one_from_the_right(seed):
    """c (J v) = (c J) v, and so for X."""
    rng = np.random.default_rng(seed)
    net = network([5, 9, 4, 3], activation=rng.choice(["relu", "tanh", "leaky_relu"]))
    theta, X, *_ = draw(rng, net, 12)
    c, v, u = (rng.standard_normal(s) for s in ((12, 3), theta.size, X.shape))
    gtheta, gX = vjp(net, theta, X, c, need_gX=True)
    both = np.vdot(c, jvp(net, theta, X, v, u))
    np.testing.assert_allclose(gtheta @ v + np.vdot(gX, u), both, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_row30_differences_along_a_tangent(rng, activation):
    net = network([4, 6, 5, 2], activation=activation)
    theta, X, *_ = draw(rng, net, 9)
    v, u, h = rng.standard_normal(theta.size), rng.standard_normal(X.shape), 1e-4
    ways = [net.predict(theta + i * h * v, X + i * h * u) for i in (-2, -1, 1, 2)]
    slope = (ways[0] - 8 * ways[1] + 8 * ways[2] - ways[3]) / (12 * h)
    np.testing.assert_allclose(jvp(net, theta, X, v, u), slope, rtol=1e-8, atol=1e-9)


def test_row30_the_gradient_of_a_loss_is_a_product_with_its_slope(rng):
    net = network([5, 8, 3], "mse")
    theta, X, y, _ = draw(rng, net, 40)
    slope = 2 * (net.predict(theta, X) - y) / y.size
    assert_close(vjp(net, theta, X, slope), net.loss_and_grad(theta, X, y)[1], F64)


def test_row30_losses_of_ones_own(rng):
    """A contrastive loss, REINFORCE with signed weights, a residual of a differential equation."""
    net = network([3, 16, 4], activation="tanh")
    theta, X, h = net.init(seed=1), rng.standard_normal((20, 3)), 1e-5

    def contrastive(out):  # pairs of rows: near each other, and not near the others
        a, b = out[::2], out[1::2]
        return np.logaddexp.reduce(a @ b.T, axis=1).sum() - (a * b).sum()

    def reward(out):  # of the action 0, weighted by an advantage of either sign
        return (np.linspace(-1, 1, 20) * (out[:, 0] - np.logaddexp.reduce(out, axis=1))).sum()

    for loss in (contrastive, reward):
        out = net.predict(theta, X)
        slope = fg.numerical_gradient(loss, out)
        grad = vjp(net, theta, X, slope)
        v = rng.standard_normal(theta.size)
        ahead, behind = (loss(net.predict(theta + i * h * v, X)) for i in (1, -1))
        np.testing.assert_allclose(grad @ v, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cut", CUTS)
def test_the_same_bits_on_any_number_of_threads(rng, cut, dtype, monkeypatch):
    cut_plans(cut, monkeypatch.setattr)
    try:
        net = network([6, 21, 9, 3], dtype=dtype)
        theta, X, *_ = draw(rng, net, 260)
        check(net, theta, X, rng)
        c, v = X[:, :3].copy(), theta[::-1].copy()
        for call in (
            lambda threads: vjp(net, theta, X, c, need_gX=True, threads=threads),
            lambda threads: (jvp(net, theta, X, v, X, threads=threads),),
            lambda threads: (jacobian(net, theta, X, threads=threads),),
            lambda threads: (input_jacobian(net, theta, X, threads=threads),),
        ):
            for a, b, again in zip(call(1), call(2), call(None)):
                assert_same_bits(a, b)
                assert_same_bits(a, again)
    finally:
        forget_plans()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits_and_stays_as_it_was(rng, layout):
    net = network([5, 7, 3])
    theta, X, *_ = draw(rng, net, 11)
    c, v = rng.standard_normal((11, 3)), rng.standard_normal(theta.size)
    arrays = [LAYOUTS[layout](a) for a in (theta, X, c, v)]
    before = snapshot(*arrays)
    lying_theta, lying_X, lying_c, lying_v = arrays
    for a, b in (
        (vjp(net, lying_theta, lying_X, lying_c), vjp(net, theta, X, c)),
        (jvp(net, lying_theta, lying_X, lying_v, lying_X), jvp(net, theta, X, v, X)),
        (jacobian(net, lying_theta, lying_X), jacobian(net, theta, X)),
        (input_jacobian(net, lying_theta, lying_X), input_jacobian(net, theta, X)),
    ):
        assert_same_bits(a, b)
    assert snapshot(*arrays) == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_rows_tangents_do_not_depend_on_its_batch(rng, dtype):
    net = network([40, 37, 9, 2], dtype=dtype, activation="tanh")
    theta, X, *_ = draw(rng, net, 700)
    v, u = theta[::-1].copy(), X[::-1].copy()
    whole = jvp(net, theta, X, v, u)
    for rows in (slice(0, 1), slice(3, 5), slice(50, 179), slice(400, 700)):
        assert_same_bits(jvp(net, theta, X[rows], v, u[rows]), whole[rows])


def test_out_is_written_and_returned(rng):
    net = network([5, 7, 3])
    theta, X, *_ = draw(rng, net, 11)
    c, v = rng.standard_normal((11, 3)), rng.standard_normal(theta.size)
    for call, shape in (
        (lambda out: vjp(net, theta, X, c, out=out), theta.shape),
        (lambda out: jvp(net, theta, X, v, out=out), c.shape),
        (lambda out: jacobian(net, theta, X, out=out), (11, 3, theta.size)),
        (lambda out: input_jacobian(net, theta, X, out=out), (11, 3, 5)),
    ):
        out = np.full(shape, np.nan)
        assert call(out) is out
        assert_same_bits(out, call(None))
    pair = np.full(theta.shape, np.nan), np.full(X.shape, np.nan)
    assert vjp(net, theta, X, c, True, out=pair)[0] is pair[0]
    for a, b in zip(pair, vjp(net, theta, X, c, True)):
        assert_same_bits(a, b)


@pytest.mark.parametrize("where", ["theta", "X", "c", "v"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_nan_shows(rng, where, activation):
    net = network([5, 7, 3], activation=activation)
    theta, X, *_ = draw(rng, net, 11)
    arrays = {"theta": theta, "X": X, "c": np.ones((11, 3)), "v": np.ones_like(theta)}
    arrays[where].flat[3] = np.nan
    theta, X, c, v = arrays.values()
    if where != "v":
        assert np.isnan(vjp(net, theta, X, c)).any()
    if where != "c":
        assert np.isnan(jvp(net, theta, X, v)).any()
    if where in ("theta", "X"):
        assert np.isnan(jvp(net, theta, X, None, np.full_like(X, np.nan))).all()
        assert np.isnan(jacobian(net, theta, X)).any()


def test_row16_at_the_kink_nothing_passes():
    net = network([1, 1, 1], output_activation="relu")
    theta = np.array([1.0, 0.0, 1.0, 0.0])
    for x in (np.zeros((1, 1)), -np.ones((1, 1))):
        assert not jacobian(net, theta, x).any() and not input_jacobian(net, theta, x).any()
        assert not vjp(net, theta, x, np.ones((1, 1))).any()
        assert not jvp(net, theta, x, np.ones(4)).any()


X0, C0, T0 = np.ones((4, 5)), np.ones((4, 3)), np.ones(66)
BAD = [
    (lambda net: vjp("net", T0, X0, C0), TypeError, "net is a str; expected an MLP"),
    (lambda net: vjp(net, T0[1:], X0, C0), ValueError, r"theta has shape \(65,\)"),
    (lambda net: vjp(net, T0, X0[:, 1:], C0), ValueError, r"X has shape \(4, 4\)"),
    (lambda net: vjp(net, T0, X0, C0[1:]), ValueError, "cotangent has 3 rows, X has 4"),
    (lambda net: vjp(net, T0, X0, C0[:, 1:]), ValueError, r"cotangent has shape \(4, 2\)"),
    (lambda net: vjp(net, T0, X0, C0.astype("f")), TypeError, "cotangent has dtype float32"),
    (lambda net: vjp(net, T0, X0, C0, 1), TypeError, "need_gX is 1; expected True or False"),
    (lambda net: vjp(net, T0, X0, C0, out=T0), ValueError, "out overlaps theta"),
    (lambda net: vjp(net, T0, X0, C0, out=T0[1:]), ValueError, r"out has shape \(65,\)"),
    (lambda net: vjp(net, T0, X0, C0, True, out=T0[0]), TypeError, "out is no pair"),
    (
        lambda net: vjp(net, T0, X0, C0, True, out=(T0.copy(), X0)),
        ValueError,
        r"out\[1\] overlaps X",
    ),
    (
        lambda net: (lambda a: vjp(net, T0, X0, C0, True, out=(a[:66], a[:20].reshape(4, 5))))(
            np.ones(70)
        ),
        ValueError,
        r"out\[1\] overlaps out\[0\]",
    ),
    (lambda net: vjp(net, T0, X0, C0, threads=0), ValueError, "threads is 0"),
    (lambda net: vjp(net, T0, X0[:0], C0[:0], threads=0), ValueError, "threads is 0"),
    (lambda net: jvp(net, T0, X0, None), ValueError, "tangent is None"),
    (lambda net: jvp(net, T0, X0, T0[1:]), ValueError, r"tangent has shape \(65,\)"),
    (lambda net: jvp(net, T0, X0, T0, X0[1:]), ValueError, "tangent_X has 3 rows, X has 4"),
    (lambda net: jvp(net, T0, X0, T0, X0[:, 1:]), ValueError, r"tangent_X has shape \(4, 4\)"),
    (lambda net: jvp(net, T0, X0, 1j * T0), TypeError, "tangent has dtype complex128"),
    (lambda net: jvp(net, T0, X0, T0, out=X0[:, :3]), ValueError, "out is not contiguous"),
    (lambda net: jacobian(net, T0, X0, out=C0), ValueError, r"out has shape \(4, 3\)"),
    (lambda net: jacobian(None, T0, X0), TypeError, "net is a NoneType"),
    (lambda net: input_jacobian(net, T0, X0, threads="2"), TypeError, "threads is '2'"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_errors_name_the_argument(call, error, message):
    net = network([5, 7, 3])
    assert net.n_parameters == T0.size
    before = snapshot(T0, X0, C0)
    for _ in range(2):  # before the fast path is open, and after
        with pytest.raises(error, match=message):
            call(net)
        vjp(net, T0, X0, C0)
    assert snapshot(T0, X0, C0) == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("k", "n"), [(1, 7), (3, 7), (3, 3000)])
def test_the_fast_path_of_vjp_has_the_same_bits(rng, k, n, dtype):
    """Every call is made beside it too: a bound on the threads does not take it."""
    net = network([5, 40, k], "mse", dtype)
    theta, X, *_ = draw(rng, net, n)
    path, taken = net._vjp_path, []
    call = path.call
    path.call = lambda *given: taken.append(call(*given)) or taken[-1]
    for _ in range(3):
        c = rng.standard_normal((n, k)).astype(dtype)
        expected = vjp(net, theta, X, c, threads=2)
        found, out = vjp(net, theta, X, c), np.full_like(theta, np.nan)
        assert vjp(net, theta, X, c, out=out) is out
        for other in (found, out, vjp(net, theta, X, np.asfortranarray(c))):
            assert_same_bits(expected, other)
        if k == 1:
            assert_same_bits(expected, vjp(net, theta, X, c[:, 0].copy()))
    assert sum(value is not None for value in taken) >= 5


def test_a_jacobian_that_nothing_can_hold_is_a_memory_error():
    net = network([1, 10**4], dtype=F32)
    with pytest.raises(MemoryError, match="jacobian asks for"):
        jacobian(net, np.zeros(net.n_parameters, F32), np.zeros((10**6, 1), F32))
