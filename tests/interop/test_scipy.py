"""scipy.optimize: every method that takes a gradient, and least squares with the Jacobian."""

import copy
import pickle

import numpy as np
import pytest
from helpers import run_python
from scipy.optimize import approx_fprime, least_squares, minimize

import fastgrad as fg
from fastgrad.activations import ACTIVATIONS
from fastgrad.interop.scipy import LeastSquares, objective


@pytest.fixture
def problem(rng):
    net = fg.MLP([2, 6, 1], l2=1e-3)
    X = rng.uniform(-1, 1, (60, 2))
    return net, net.init(seed=1), X, np.abs(X[:, :1]) + 0.5 * X[:, 1:]


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG", "BFGS", "TNC", "SLSQP"])
def test_first_order_methods_take_the_network_as_it_is(problem, method):
    net, theta, X, y = problem
    start = net.loss(theta, X, y)
    result = minimize(net.loss_and_grad, theta, args=(X, y), jac=True, method=method)
    assert result.fun < 0.05 * start
    assert result.fun == pytest.approx(net.loss(result.x, X, y))


@pytest.mark.parametrize("method", ["Newton-CG", "trust-constr"])
def test_methods_that_difference_the_gradient(problem, method):
    net, theta, X, y = problem
    options = {"maxiter": 60}
    extra = {} if method == "Newton-CG" else {"hess": "2-point"}
    result = minimize(
        net.loss_and_grad, theta, args=(X, y), jac=True, method=method, options=options, **extra
    )
    assert result.fun < 0.2 * net.loss(theta, X, y)


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "dogleg"])
def test_trust_methods_with_gauss_newton(rng, method):
    """The Hessian of a squared loss without the curvature of the network: 2 / n J^T J."""
    net = fg.MLP([2, 6, 1])
    X = rng.uniform(-1, 1, (60, 2))
    y = np.abs(X[:, :1])
    squares = LeastSquares(net, X, y)

    def hessian(theta, X, y):
        J = squares.jacobian(theta)
        return 2 / len(J) * J.T @ J + 1e-3 * np.eye(theta.size)

    theta = net.init(seed=1)
    result = minimize(
        net.loss_and_grad, theta, args=(X, y), jac=True, hess=hessian, method=method,
        options={"maxiter": 50},
    )  # fmt: skip
    assert result.fun < 0.05 * net.loss(theta, X, y)


@pytest.mark.parametrize("output_activation", ["identity", "relu"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_jacobian_is_that_of_the_residuals(rng, output_activation, weighted):
    net = fg.MLP([3, 7, 5, 2], output_activation=output_activation)
    X, y = rng.standard_normal((11, 3)), rng.standard_normal((11, 2))
    s = rng.integers(0, 4, 11).astype(float) if weighted else None
    problem, theta = LeastSquares(net, X, y, s), net.init(seed=0)
    J = problem.jacobian(theta)
    assert J.shape == (22, net.n_parameters)
    np.testing.assert_allclose(
        J, approx_fprime(theta, problem.residuals, 1e-7), rtol=1e-5, atol=1e-5
    )
    scale = (11 if s is None else s.sum()) * 2 / 2
    loss, grad = net.loss_and_grad(theta, X, y, s)
    residuals = problem.residuals(theta)
    np.testing.assert_allclose(0.5 * residuals @ residuals, scale * loss, rtol=1e-12)
    np.testing.assert_allclose(J.T @ residuals, scale * grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_row28_least_squares_with_every_activation(rng, activation):
    """J^T r is the gradient of half the squares, J their numerical derivative."""
    net = fg.MLP([3, 7, 5, 2], activation=activation)
    X, y, theta = rng.standard_normal((11, 3)), rng.standard_normal((11, 2)), net.init(seed=0)
    problem = LeastSquares(net, X, y)
    J = problem.jacobian(theta)
    numerical = fg.numerical_jacobian(problem.residuals, theta)
    np.testing.assert_allclose(J, numerical, rtol=1e-7, atol=1e-8)
    gradient = 11 * net.loss_and_grad(theta, X, y)[1]
    np.testing.assert_allclose(J.T @ problem.residuals(theta), gradient, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss, best", [
    ("absolute_error", np.median), ("poisson", lambda y: np.log(np.mean(y))),
    ("quantile", lambda y: np.quantile(y, 0.8)),
])  # fmt: skip
def test_row29_the_best_constant_of_each_loss(rng, loss, best, dtype):
    """Without inputs: the median, the logarithm of the mean, the quantile."""
    net = fg.MLP([1, 1], loss, dtype=dtype, quantile=0.8)
    X, y = np.zeros((501, 1), dtype), rng.poisson(5.0, 501).astype(dtype) + rng.random(501, "f4")
    function = objective(net, X, y.astype(dtype))
    found = minimize(function, np.zeros(2), jac=True, method="L-BFGS-B")
    assert found.x[1] == pytest.approx(best(y), abs=0.05)
    if loss == "poisson":
        with pytest.raises(ValueError, match=r"y has the value -1\.0 at position 7; expected 0"):
            objective(net, X, np.where(np.arange(501) == 7, -1, y).astype(dtype))(np.zeros(2))


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(rng, method):
    net = fg.MLP([1, 6, 1])
    X = np.linspace(-1, 1, 40).reshape(-1, 1)
    problem = LeastSquares(net, X, np.abs(X))
    result = least_squares(
        problem.residuals, net.init(seed=0), jac=problem.jacobian, method=method, max_nfev=200
    )
    assert result.cost < 1e-3


def test_a_float32_network_in_float64_clothes(rng):
    net = fg.MLP([2, 6, 1], dtype="float32")
    X = rng.uniform(-1, 1, (60, 2)).astype(np.float32)
    function = objective(net, X, np.abs(X[:, :1]))
    theta = net.init(seed=1).astype(np.float64)
    loss, grad = function(theta)
    assert grad.dtype == np.float64
    assert minimize(function, theta, jac=True, method="L-BFGS-B").fun < 0.1 * loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_objectives_can_be_pickled(rng, dtype):
    net = fg.MLP([2, 6, 1], dtype=dtype)
    X = rng.uniform(-1, 1, (20, 2)).astype(dtype)
    y, s, theta = X[:, 0], np.arange(20, dtype=dtype), net.init(seed=1).astype(float)
    for weight in (None, s):
        function = objective(net, X, y, weight)
        for copied in (pickle.loads(pickle.dumps(function)), copy.deepcopy(function)):
            loss, grad = copied(theta)
            assert loss == function(theta)[0] and grad.tobytes() == function(theta)[1].tobytes()
    bound = pickle.loads(pickle.dumps(net.loss_and_grad))
    assert bound(net.init(0), X, y)[0] == net.loss(net.init(0), X, y)
    if dtype == "float64":
        problem = LeastSquares(net, X, y, s)
        copied = pickle.loads(pickle.dumps(problem))
        np.testing.assert_array_equal(copied.residuals(theta), problem.residuals(theta))
        np.testing.assert_array_equal(copied.jacobian(theta), problem.jacobian(theta))


def test_points_of_an_objective_are_named():
    function = objective(fg.MLP([2, 1], dtype="float32"), np.ones((3, 2), "f4"), np.ones(3, "f4"))
    assert function([1, 2, 3])[1].dtype == np.float64
    for bad in ("abc", [1j] * 3, np.ones(3, object), None):
        with pytest.raises(TypeError, match=r"theta has dtype|theta is None"):
            function(bad)
    with pytest.raises(ValueError, match=r"theta has shape \(2,\)"):
        function([1.0, 2.0])


def test_wrong_arguments_are_named():
    net, X = fg.MLP([2, 1]), np.ones((3, 2))
    with pytest.raises(TypeError, match="net is a int; expected an MLP"):
        objective(3, X, X)
    with pytest.raises(TypeError, match="net is a str"):
        LeastSquares("net", X, np.ones(3))
    with pytest.raises(ValueError, match="loss 'huber'; expected 'mse'"):
        LeastSquares(fg.MLP([2, 1], "huber"), X, np.ones(3))
    with pytest.raises(ValueError, match="net has the loss 'poisson'; expected 'mse'"):
        LeastSquares(fg.MLP([2, 1], "poisson"), X, np.ones(3))
    with pytest.raises(TypeError, match="float32; expected float64"):
        LeastSquares(fg.MLP([2, 1], dtype="float32"), X, np.ones(3))
    with pytest.raises(ValueError, match="y has 4 rows, X has 3"):
        LeastSquares(net, X, np.ones(4))
    with pytest.raises(ValueError, match="sample_weight has the value -1"):
        LeastSquares(net, X, np.ones(3), [1, 1, -1])


def test_without_scipy_the_extra_is_named():
    out = run_python(
        """
        import sys
        sys.modules["scipy"] = None
        try:
            import fastgrad.interop.scipy
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "fastgrad[scipy]"' in out


SECOND_ORDER = {
    "trust-krylov": "hessp", "trust-ncg": "hessp", "Newton-CG": "hessp", "trust-constr": "hessp",
    "trust-exact": "hess", "dogleg": "hess",
}  # fmt: skip


@pytest.mark.parametrize("method", SECOND_ORDER)
def test_second_order_methods_take_the_objectives_curvature(rng, method):
    net = fg.MLP([2, 6, 1], activation="tanh", l2=1e-3)
    X = rng.uniform(-1, 1, (60, 2))
    function = objective(net, X, np.abs(X[:, :1]), kind="ggn" if method == "dogleg" else "hessian")
    given = {SECOND_ORDER[method]: getattr(function, SECOND_ORDER[method])}
    start = net.init(seed=1)
    result = minimize(function, start, jac=True, method=method, options={"maxiter": 60}, **given)
    assert result.fun < 0.2 * function(start)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_row34_row35_the_objectives_curvature_is_that_of_the_network(rng, kind, dtype):
    net = fg.MLP([2, 6, 3], "cross_entropy", dtype=dtype, l2=1e-2)
    X, y, s = rng.uniform(-1, 1, (20, 2)).astype(dtype), rng.integers(0, 3, 20), rng.random(20)
    theta, v, s = net.init(seed=1), rng.standard_normal(net.n_parameters), s.astype(dtype)
    function = pickle.loads(pickle.dumps(objective(net, X, y, s, kind=kind)))
    product = {"hessian": fg.curvature.hvp, "ggn": fg.curvature.ggn_vp}[kind]
    matrix = {"hessian": fg.curvature.hessian, "ggn": fg.curvature.ggn}[kind]
    found, whole = function.hessp(theta.astype(float), v), function.hess(theta.astype(float))
    assert found.dtype == whole.dtype == np.float64
    np.testing.assert_array_equal(found, product(net, theta, X, y, v.astype(dtype), s))
    np.testing.assert_array_equal(whole, matrix(net, theta, X, y, s))
    hessp, hess = pickle.loads(pickle.dumps((function.hessp, function.hess)))
    np.testing.assert_array_equal(hessp(theta, v), found)
    np.testing.assert_array_equal(hess(theta), whole)


def test_wrong_arguments_of_the_curvature_are_named():
    net, X = fg.MLP([2, 1]), np.ones((3, 2))
    with pytest.raises(ValueError, match="kind is 'fisher'; expected 'hessian' or 'ggn'"):
        objective(net, X, np.ones(3), kind="fisher")
    function = objective(net, X, np.ones(3))
    with pytest.raises(ValueError, match=r"v has shape \(2,\)"):
        function.hessp(np.ones(3), np.ones(2))
    with pytest.raises(TypeError, match="v has dtype"):
        function.hessp(np.ones(3), [1j, 1, 1])
    with pytest.raises(ValueError, match=r"theta has shape \(2,\)"):
        function.hess(np.ones(2))
