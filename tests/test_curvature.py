"""Second derivatives: twins, differences of gradients, identities, plans, layouts, errors."""

import numpy as np
import pytest
from curved import SIZES, draw, network, twin
from helpers import (
    CUTS,
    DTYPES,
    F32,
    F64,
    LAYOUTS,
    LOSSES,
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
from fastgrad.curvature import ggn, ggn_diagonal, ggn_vp, hessian, hvp, kfac_factors, operator
from fastgrad.jacobians import jacobian
from fastgrad.kernels import tuning

KINKED = ("relu", "leaky_relu", "identity")


def check(net, theta, X, y, s, rng, matrices=True):
    """All functions against their twins, within roundings of the largest number."""
    v = rng.standard_normal(theta.size).astype(net.dtype)
    close = {"dtype": net.dtype, "units": 1000}
    product, gn_product = (f(net, theta, X, y, v, s) for f in (hvp, ggn_vp))
    assert product.dtype == net.dtype
    assert_close(product, twin(twins.mlp_hvp, net, theta, X, y, v, s=s), **close)
    assert_close(gn_product, twin(twins.mlp_ggn_vp, net, theta, X, y, v, s=s), **close)
    if not matrices:
        return
    G, H = ggn(net, theta, X, y, s), hessian(net, theta, X, y, s)
    expected = twin(twins.mlp_ggn, net, theta, X, y, s=s)
    assert_close(G, expected, **close)
    assert_close(ggn_diagonal(net, theta, X, y, s), np.diag(expected), **close)
    assert_close(H @ v, product, **close)
    for matrix in (G, H):
        assert_same_bits(matrix, matrix.T.copy())
    factors = kfac_factors(net, theta, X, y, s)
    for pair, expected in zip(factors, twin(twins.mlp_kfac_factors, net, theta, X, y, s=s)):
        for a, b in zip(pair, expected):
            assert_close(a, b, **close)
            assert_same_bits(a, a.T.copy())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_row34_to_row37_are_their_twins(rng, loss, activation, dtype):
    plain = not fg.losses.LOSSES[loss].takes_logits
    for case, sizes in enumerate(SIZES):
        output = "relu" if plain and case % 2 else "identity"
        net = network(
            sizes, loss, dtype, activation=activation, output_activation=output, l2=0.1 * (case % 2)
        )
        theta, X, y, s = draw(rng, net, 23, weighted=case % 3 == 0)
        check(net, theta, X, y, s, rng, matrices=net.n_parameters < 400)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_row34_to_row37_few_rows(rng, n):
    for loss in ("mse", "cross_entropy"):
        net = network([3, 5, 2], loss, activation="tanh")
        check(net, *draw(rng, net, n), rng)


def functions_of_rows(net, theta, v):
    """All that are means over samples, of (X, y, sample_weight)."""
    return (
        lambda X, y, s=None: hvp(net, theta, X, y, v, s),
        lambda X, y, s=None: ggn_vp(net, theta, X, y, v, s),
        lambda X, y, s=None: ggn_diagonal(net, theta, X, y, s),
        lambda X, y, s=None: hessian(net, theta, X, y, s),
        lambda X, y, s=None: ggn(net, theta, X, y, s),
        lambda X, y, s=None: kfac_factors(net, theta, X, y, s)[0][1],
    )


def test_a_loop_over_rows_is_the_whole(rng):
    net = network([4, 6, 3], "cross_entropy", activation="tanh")
    theta, X, y, s = draw(rng, net, 12, weighted=True)
    for function in functions_of_rows(net, theta, rng.standard_normal(theta.size)):
        single = [function(X[i : i + 1], y[i : i + 1]) for i in range(12)]
        assert_close(function(X, y), np.mean(single, axis=0), F64)
        weighted = np.average(single, axis=0, weights=s)
        assert_close(function(X, y, s), weighted, F64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_row34_is_the_five_point_difference_of_gradients(rng, loss, activation):
    net = network([4, 7, 5, 2], loss, activation=activation, l2=0.3)
    theta, X, y, s = draw(rng, net, 15, weighted=True)
    v, h = rng.standard_normal(theta.size), 1e-4
    far = [net.loss_and_grad(theta + i * h * v, X, y, s)[1] for i in (-2, -1, 1, 2)]
    difference = (far[0] - 8 * far[1] + 8 * far[2] - far[3]) / (12 * h)
    np.testing.assert_allclose(hvp(net, theta, X, y, v, s), difference, rtol=1e-7, atol=1e-8)


@given(st.integers(0, 10**9))
def test_row34_row35_are_symmetric_and_linear(seed):
    rng = np.random.default_rng(seed)
    loss = rng.choice(LOSSES)
    net = network([5, 8, 4, 3], loss, activation=rng.choice(list(ACTIVATIONS)), l2=0.1)
    theta, X, y, s = draw(rng, net, 10, weighted=True)
    u, v = rng.standard_normal((2, theta.size))
    for product in (hvp, ggn_vp):
        a, b = product(net, theta, X, y, u, s), product(net, theta, X, y, v, s)
        size = max(np.abs(a).max(), np.abs(b).max())
        assert abs(u @ b - v @ a) <= 1e-11 * size * theta.size
        both = product(net, theta, X, y, u - 2 * v, s)
        np.testing.assert_allclose(both, a - 2 * b, rtol=1e-9, atol=1e-11 * size)
        assert product is hvp or v @ b >= -1e-12 * size


@pytest.mark.parametrize("loss", LOSSES)
def test_row35_is_the_jacobians_product_with_the_losses_curvature(rng, loss):
    net = network([4, 7, 3], loss, activation="softplus")
    theta, X, y, s = draw(rng, net, 14, weighted=True)
    v, out = rng.standard_normal(theta.size), net.predict(theta, X)
    parameters = {"huber_delta": net.huber_delta, "quantile": net.quantile}
    J, H = jacobian(net, theta, X), twins.output_hessian(out, y, loss, s, **parameters)
    expected = np.einsum("nip,nij,njq,q->p", J, H, J, v, optimize=True)
    assert_close(ggn_vp(net, theta, X, y, v, s), expected, F64, 300)


@pytest.mark.parametrize("loss", LOSSES)
def test_row34_is_row35_where_outputs_are_affine_in_theta(rng, loss):
    net = network([6, 3], loss, l2=0.2)
    theta, X, y, s = draw(rng, net, 30, weighted=True)
    v = rng.standard_normal(theta.size)
    assert_close(hvp(net, theta, X, y, v, s), ggn_vp(net, theta, X, y, v, s), F64)
    assert_close(hessian(net, theta, X, y, s), ggn(net, theta, X, y, s), F64)


def test_row37_of_a_single_row_is_the_block_itself(rng):
    net = network([4, 3], "cross_entropy")
    theta, X, y, _ = draw(rng, net, 1)
    [(A, B)] = kfac_factors(net, theta, X, y)
    assert_close(np.kron(A, B), ggn(net, theta, X, y), F64)


def test_row37_of_many_rows_of_a_linear_layer_with_constant_curvature(rng):
    """The curvature of a squared loss is the same for all rows: the approximation is exact."""
    net = network([5, 3], "mse")
    theta, X, y, s = draw(rng, net, 40, weighted=True)
    [(A, B)] = kfac_factors(net, theta, X, y, s)
    assert_close(np.kron(A, B), ggn(net, theta, X, y, s), F64)


def test_l2_adds_to_weights_alone(rng):
    plain, bent = network([3, 4, 2], "mse"), network([3, 4, 2], "mse", l2=0.5)
    theta, X, y, _ = draw(rng, plain, 9)
    v = rng.standard_normal(theta.size)
    expected = np.zeros_like(theta)
    for W, _ in plain.unflatten(expected):
        W += 0.5
    for product in (hvp, ggn_vp):
        got = product(bent, theta, X, y, v) - product(plain, theta, X, y, v)
        assert_close(got, expected * v, F64)
    assert_close(ggn_diagonal(bent, theta, X, y) - ggn_diagonal(plain, theta, X, y), expected, F64)
    for matrix in (hessian, ggn):
        got = matrix(bent, theta, X, y) - matrix(plain, theta, X, y)
        assert_close(got, np.diag(expected), F64)


def test_rows_of_weight_0_do_not_count_whatever_their_targets(rng):
    for loss in ("mse", "huber", "logistic", "poisson"):
        net = network([3, 4, 2], loss, activation="tanh")
        theta, X, y, _ = draw(rng, net, 9)
        s, v = np.ones(9), rng.standard_normal(theta.size)
        s[4], y[4] = 0, np.nan
        rest = np.arange(9) != 4
        for function in functions_of_rows(net, theta, v):
            assert_close(function(X, y, s), function(X[rest], y[rest]), F64)


@pytest.mark.parametrize("where", ["theta", "X", "y", "v", "sample_weight"])
@pytest.mark.parametrize("loss", ["mse", "huber", "logistic", "poisson", "absolute_error"])
def test_nan_shows(rng, loss, where):
    net = network([3, 4, 2], loss)
    theta, X, y, _ = draw(rng, net, 9)
    arrays = {"theta": theta, "X": X, "y": y, "v": np.ones_like(theta), "sample_weight": np.ones(9)}
    arrays[where].flat[2] = np.nan
    theta, X, y, v, s = arrays.values()
    assert np.isnan(hvp(net, theta, X, y, v, s)).any()
    assert np.isnan(ggn_vp(net, theta, X, y, v, s)).any()
    if where != "v":
        assert np.isnan(ggn_diagonal(net, theta, X, y, s)).any()
        assert np.isnan(hessian(net, theta, X, y, s)).any()
        assert np.isnan(ggn(net, theta, X, y, s)).any()


def test_row16_at_the_kink_there_is_no_second_derivative():
    """A unit at z = 0 passes nothing, and its jump of slope is not seen."""
    net = network([1, 1, 1])
    theta, X, y = np.array([1.0, 0.0, 1.0, 0.0]), np.zeros((1, 1)), np.ones((1, 1))
    expected = np.zeros((4, 4))
    expected[3, 3] = 2
    assert_same_bits(hessian(net, theta, X, y), expected)
    assert_same_bits(hvp(net, theta, X, y, np.ones(4)), expected @ np.ones(4))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cut", CUTS)
def test_the_same_bits_on_any_number_of_threads(rng, cut, dtype, monkeypatch):
    for name in dir(tuning):
        monkeypatch.setattr(tuning, name, getattr(tuning, name))  # as they were, afterwards
    cut_plans(cut)
    try:
        for loss, activation in (("cross_entropy", "relu"), ("mse", "tanh")):
            net = network([6, 13, 7, 3], loss, dtype, activation=activation, l2=0.1)
            theta, X, y, s = draw(rng, net, 260, weighted=True)
            check(net, theta, X, y, s, rng)
            v = theta[::-1].copy()
            for function in (hvp, ggn_vp, ggn_diagonal, hessian, ggn, kfac_factors):
                arrays = (X, y, v, s) if function in (hvp, ggn_vp) else (X, y, s)
                one, two, more = (
                    _flat(function(net, theta, *arrays, threads=threads))
                    for threads in (1, 2, None)
                )
                assert_same_bits(one, two)
                assert_same_bits(one, more)
        net = network([70, 65, 50, 3], "huber", dtype)  # so wide that weight tasks copy operands
        check(net, *draw(rng, net, 130, weighted=True), rng, matrices=False)
    finally:
        forget_plans()


def _flat(result):
    parts = [part for pair in result for part in pair] if isinstance(result, list) else [result]
    return np.concatenate([part.reshape(-1) for part in parts])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_matrix_of_more_rows_than_a_chunk(rng, dtype):
    net = network([2, 3, 1], "mse", dtype, activation="softplus")
    theta, X, y, _ = draw(rng, net, 5000)
    check(net, theta, X, y, None, rng, matrices=False)
    H, halves = hessian(net, theta, X, y), [slice(0, 2000), slice(2000, 5000)]
    parts = [len(X[rows]) / 5000 * hessian(net, theta, X[rows], y[rows]) for rows in halves]
    assert_close(H, sum(parts), dtype, 100)
    for column, product in zip(np.eye(len(H), dtype=dtype), H):
        assert_close(product, hvp(net, theta, X, y, column), dtype, 200)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits_and_stays_as_it_was(rng, layout):
    net = network([5, 7, 3], "mse")
    theta, X, y, s = draw(rng, net, 11, weighted=True)
    v = rng.standard_normal(theta.size)
    arrays = [LAYOUTS[layout](a) for a in (theta, X, y, v, s)]
    before = snapshot(*arrays)
    for function in (hvp, ggn_vp):
        assert_same_bits(function(net, *arrays), function(net, theta, X, y, v, s))
    theta_, X_, y_, _, s_ = arrays
    for function in (ggn_diagonal, hessian, ggn, lambda *given: _flat(kfac_factors(*given))):
        assert_same_bits(function(net, theta_, X_, y_, s_), function(net, theta, X, y, s))
    assert snapshot(*arrays) == before


def test_out_is_written_and_returned(rng):
    net = network([5, 7, 3], "cross_entropy")
    theta, X, y, _ = draw(rng, net, 11)
    v, p = rng.standard_normal(theta.size), theta.size
    for function, arrays, shape in (
        (hvp, (X, y, v), (p,)),
        (ggn_vp, (X, y, v), (p,)),
        (ggn_diagonal, (X, y), (p,)),
        (hessian, (X, y), (p, p)),
        (ggn, (X, y), (p, p)),
    ):
        out = np.full(shape, np.nan)
        assert function(net, theta, *arrays, out=out) is out
        assert_same_bits(out, function(net, theta, *arrays))


def test_scipy_takes_the_operator(rng):
    pytest.importorskip("scipy")
    from scipy.sparse.linalg import cg, eigsh

    for dtype in DTYPES:
        net = network([4, 6, 2], "mse", dtype, activation="tanh", l2=0.5)
        theta, X, y, s = draw(rng, net, 30, weighted=True)
        for kind, matrix in (("hessian", hessian), ("ggn", ggn)):
            A, whole = operator(net, theta, X, y, s, kind=kind), matrix(net, theta, X, y, s)
            assert A.shape == whole.shape and A.dtype == dtype
            V = rng.standard_normal((theta.size, 3)).astype(dtype)
            assert_close(A @ V, whole @ V, dtype, 200)
            assert_close(A.T @ V[:, 0], whole @ V[:, 0], dtype, 200)
        top = eigsh(A, k=1, return_eigenvectors=False)
        assert_close(top, np.linalg.eigvalsh(whole)[-1:], dtype, 1000)
    solution, info = cg(A, V[:, 0], rtol=1e-10)
    assert info == 0
    np.testing.assert_allclose(whole @ solution, V[:, 0], atol=1e-7)


def test_scipy_minimises_with_products(rng):
    minimize = pytest.importorskip("scipy.optimize").minimize
    net = network([2, 6, 1], "mse", activation="tanh")
    X = rng.uniform(-1, 1, (60, 2))
    y, theta = np.abs(X[:, :1]), net.init(seed=1)
    result = minimize(
        net.loss_and_grad, theta, args=(X, y), jac=True, method="trust-krylov",
        hessp=lambda theta, v, X, y: hvp(net, theta, X, y, v), options={"maxiter": 60},
    )  # fmt: skip
    assert result.fun < 0.05 * net.loss(theta, X, y)


X0, Y0, T0 = np.ones((4, 5)), np.ones((4, 3)), np.ones(66)
BAD = [
    (lambda net: hvp("net", T0, X0, Y0, T0), TypeError, "net is a str; expected an MLP"),
    (lambda net: hvp(net, T0[1:], X0, Y0, T0), ValueError, r"theta has shape \(65,\)"),
    (lambda net: hvp(net, T0, X0[:0], Y0[:0], T0), ValueError, "X has 0 rows"),
    (lambda net: hvp(net, T0, X0, Y0[1:], T0), ValueError, "y has 3 rows, X has 4"),
    (lambda net: hvp(net, T0, X0, Y0, T0[1:]), ValueError, r"v has shape \(65,\)"),
    (lambda net: hvp(net, T0, X0, Y0, T0.astype("f")), TypeError, "v has dtype float32"),
    (lambda net: hvp(net, T0, X0, Y0, T0, -X0[:, 0]), ValueError, "sample_weight has the value -1"),
    (lambda net: hvp(net, T0, X0, Y0, T0, out=T0), ValueError, "out overlaps theta"),
    (lambda net: hvp(net, T0, X0, Y0, np.ones(66), out=T0[:5]), ValueError, r"out has shape \(5,"),
    (lambda net: (lambda v: hvp(net, T0, X0, Y0, v, out=v))(T0 + 0), ValueError, "overlaps v"),
    (lambda net: ggn_vp(net, T0, X0, Y0, T0, threads=0), ValueError, "threads is 0"),
    (lambda net: ggn_vp(None, T0, X0, Y0, T0), TypeError, "net is a NoneType"),
    (lambda net: ggn_diagonal(1, T0, X0, Y0), TypeError, "net is a int"),
    (lambda net: ggn_diagonal(net, T0, X0, Y0, out=X0), ValueError, r"out has shape \(4, 5\)"),
    (lambda net: kfac_factors(net, T0, X0, Y0[:, 1:]), ValueError, r"y has shape \(4, 2\)"),
    (lambda net: kfac_factors(1, T0, X0, Y0), TypeError, "net is a int"),
    (lambda net: hessian(net, T0, X0, Y0, out=T0), ValueError, r"out has shape \(66,\)"),
    (lambda net: hessian(1, T0, X0, Y0), TypeError, "net is a int"),
    (lambda net: ggn(net, T0, X0, Y0, 0 * X0[:, 0]), ValueError, "sample_weight is zero every"),
    (lambda net: operator(net, T0, X0, Y0, kind="fisher"), ValueError, "kind is 'fisher'"),
    (lambda net: operator(1, T0, X0, Y0), TypeError, "net is a int"),
    (lambda net: operator(net, T0, X0[1:], Y0), ValueError, "y has 4 rows, X has 3"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_errors_name_the_argument(call, error, message):
    net = network([5, 7, 3], "mse")
    before = snapshot(T0, X0, Y0)
    with pytest.raises(error, match=message):
        call(net)
    assert snapshot(T0, X0, Y0) == before


def test_a_matrix_that_nothing_can_hold_is_a_memory_error():
    net = network([3000, 2000, 2000], dtype=F32)
    theta = np.zeros(net.n_parameters, F32)
    with pytest.raises(MemoryError, match="matrix asks for"):
        ggn(net, theta, np.zeros((1, 3000), F32), np.zeros((1, 2000), F32))
