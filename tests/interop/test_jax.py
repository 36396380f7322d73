"""JAX: check_grads, the same numbers as JAX's own derivative, jit, vmap, errors."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from helpers import draw_problem, run_python  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import fastgrad as fg  # noqa: E402
from fastgrad.interop.jax import affine_relu, loss, predict  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def own_outputs(net, theta, X):
    start, a = 0, X
    for index, (d, k) in enumerate(pairwise(net.layer_sizes)):
        W = theta[start : start + d * k].reshape(d, k)
        a = a @ W + theta[start + d * k : start + d * k + k]
        start += d * k + k
        if index < len(net.layer_sizes) - 2 or net.output_activation == "relu":
            a = jax.nn.relu(a)
    return a


def own_loss(net, theta, X, y):
    z = own_outputs(net, theta, X)
    if net.loss_name == "mse":
        return jnp.mean((z - y) ** 2)
    if net.loss_name == "logistic":
        return jnp.mean(jnp.sum(jnp.logaddexp(0, z) - y * z, axis=1))
    return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])


def problem(rng, loss_name, output_activation="identity", sizes=(5, 9, 6, 3), n=12):
    net = fg.MLP(sizes, loss_name, output_activation=output_activation)
    _, X, y, _ = draw_problem(rng, sizes, n, loss_name, net.dtype)
    return net, jnp.array(net.init(seed=3)), jnp.array(X + rng.normal(0, 0.1, X.shape)), y


LOSSES = ["mse", "logistic", "cross_entropy"]


@pytest.mark.parametrize("loss_name", LOSSES)
def test_check_grads_of_a_loss(rng, loss_name):
    net, theta, X, y = problem(rng, loss_name)
    check_grads(lambda t, X: loss(net, t, X, y), (theta, X), order=1)


@pytest.mark.parametrize("output_activation", ["identity", "relu"])
def test_check_grads_of_outputs(rng, output_activation):
    net, theta, X, _ = problem(rng, "mse", output_activation)
    check_grads(lambda t, X: predict(net, t, X), (theta, X), order=1)


def test_check_grads_of_a_layer(rng):
    X, W, b = (jnp.array(rng.standard_normal(shape)) for shape in ((7, 5), (5, 4), 4))
    check_grads(affine_relu, (X, W, b), order=1, modes=["rev"])
    np.testing.assert_allclose(affine_relu(X, W, b), jax.nn.relu(X @ W + b), rtol=1e-12)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("loss_name", LOSSES)
def test_loss_and_gradients_are_jaxs(rng, loss_name, jit):
    net, theta, X, y = problem(rng, loss_name, n=200)
    y = jnp.array(y)
    ours = jax.value_and_grad(lambda t, X: loss(net, t, X, y), (0, 1))
    ours = jax.jit(ours) if jit else ours
    value, (dtheta, dx) = ours(theta, X)
    expected, (etheta, ex) = jax.value_and_grad(lambda t, X: own_loss(net, t, X, y), (0, 1))(
        theta, X
    )
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(dtheta, etheta, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, ex, rtol=1e-12, atol=1e-12)
    assert float(loss(net, theta, X, y)) == float(value)


ACTIVATIONS = {
    "relu": jax.nn.relu, "identity": lambda z: z, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus, "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01),
}  # fmt: skip
ELEMENTS = {
    "mse": lambda z, y: ((z - y) ** 2).mean(1),
    "huber": lambda z, y: jnp.where(
        abs(z - y) < 0.7, (z - y) ** 2 / 2, 0.7 * (abs(z - y) - 0.35)
    ).mean(1),
    "absolute_error": lambda z, y: abs(z - y).mean(1),
    "quantile": lambda z, y: jnp.maximum(0.7 * (z - y), -0.3 * (z - y)).mean(1),
    "poisson": lambda z, y: (jnp.exp(z) - y * z).sum(1),
}  # fmt: skip
CASES = [(name, "tanh") for name in ELEMENTS] + [("mse", name) for name in ACTIVATIONS]


@pytest.mark.parametrize("loss_name, activation", CASES)
def test_row28_row29_activations_and_losses_are_jaxs(rng, loss_name, activation):
    net = fg.MLP([5, 9, 6, 3], loss_name, activation=activation, huber_delta=0.7, quantile=0.3)
    theta, X = jnp.array(net.init(seed=3)), jnp.array(rng.standard_normal((30, 5)))
    y, s = jnp.array(rng.poisson(2.0, (30, 3)).astype(float)), jnp.array(rng.uniform(1, 2, 30))

    def outputs(theta, X):
        (W, b), *rest = net.unflatten(np.arange(net.n_parameters))
        a = X @ theta[W] + theta[b]
        for W, b in rest:
            a = ACTIVATIONS[activation](a) @ theta[W] + theta[b]
        return a

    def expected(theta, X):
        return (s * ELEMENTS[loss_name](outputs(theta, X), y)).sum() / s.sum()

    def through_outputs(theta, X):
        return (s * ELEMENTS[loss_name](predict(net, theta, X), y)).sum() / s.sum()

    want, wanted = jax.value_and_grad(expected, (0, 1))(theta, X)
    for ours in (lambda t, X: loss(net, t, X, y, s), through_outputs):
        value, grads = jax.jit(jax.value_and_grad(ours, (0, 1)))(theta, X)
        np.testing.assert_allclose(value, want, rtol=1e-12)
        for grad, right in zip(grads, wanted):
            np.testing.assert_allclose(grad, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("jit", [False, True])
def test_targets_below_zero_of_a_poisson_loss_are_named(jit):
    net = fg.MLP([2, 1], "poisson")
    call = partial(loss, net)
    call = jax.jit(call) if jit else call
    with pytest.raises(Exception, match=r"y has the value -1\.0 at position 2; expected 0 or more"):
        call(jnp.zeros(3), jnp.ones((3, 2)), jnp.array([0.0, 1.0, -1.0])).block_until_ready()


def curved(rng):
    """(our loss, JAX's own, our outputs, JAX's own), of theta and X, and points and tangents."""
    net = fg.MLP([5, 9, 6, 3], "cross_entropy", activation="tanh", l2=0.1)
    theta, X = jnp.array(net.init(0)), jnp.array(rng.standard_normal((12, 5)))
    y, s = jnp.array(rng.integers(0, 3, 12)), jnp.array(rng.uniform(0.5, 2, 12))
    layers = net.unflatten(np.arange(net.n_parameters))

    def outputs(theta, X):
        for W, b in layers:
            X = X @ theta[W] + theta[b]
            X = jnp.tanh(X) if b[0] < layers[-1][1][0] else X
        return X

    def own(theta, X):
        picked = jax.nn.log_softmax(outputs(theta, X))[jnp.arange(12), y]
        penalty = sum((theta[W] ** 2).sum() for W, _ in layers)
        return -(s * picked).sum() / s.sum() + 0.05 * penalty

    v, u = (jnp.array(rng.standard_normal(a.shape)) for a in (theta, X))
    ours = lambda theta, X: loss(net, theta, X, y, s)  # noqa: E731
    return ours, own, partial(predict, net), outputs, theta, X, v, u


def assert_agree(transform, ours, own, *args):
    """With jit and without."""
    expected = jax.tree.leaves(jax.jit(transform(own))(*args))
    for jit in (jax.jit, lambda function: function):
        for found, right in zip(jax.tree.leaves(jit(transform(ours))(*args)), expected):
            np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-13)


def test_row30_forward_mode_is_jaxs(rng):
    ours, own, our_outputs, own_outputs, theta, X, v, u = curved(rng)
    both = lambda f: lambda t, X: jax.jvp(f, (t, X), (v, u))  # noqa: E731
    one = lambda f: lambda t, X: jax.jvp(lambda X: f(t, X), (X,), (u,))  # noqa: E731
    for transform in (both, one):
        assert_agree(transform, ours, own, theta, X)
        assert_agree(transform, our_outputs, own_outputs, theta, X)
    for transform in (jax.jacfwd, jax.jacrev):
        assert_agree(lambda f, t=transform: t(f, (0, 1)), our_outputs, own_outputs, theta, X)


def test_row34_derivatives_of_a_gradient_are_jaxs(rng):
    ours, own, *_, theta, X, v, u = curved(rng)

    def along_theta(f):
        return lambda t, X: jax.jvp(lambda t: jax.grad(f)(t, X), (t,), (v,))

    def along_both(f):
        return lambda t, X: jax.jvp(jax.value_and_grad(f), (t, X), (v, u))

    def along_X(f):
        return lambda t, X: jax.jvp(lambda X: jax.grad(f)(t, X), (X,), (u,))

    def back(f):
        return jax.grad(lambda t, X: f(t, X) ** 2 + jnp.sin(jax.grad(f)(t, X)).sum())

    def back_over_forward(f):
        return jax.grad(lambda t, X: jax.jvp(lambda t: f(t, X), (t,), (v,))[1])

    def linearized(f):
        return lambda t, X: jax.linearize(lambda t: jax.grad(f)(t, X), t)[1](v)

    def back_by_X(f):
        return jax.grad(lambda t, X: jnp.sin(jax.grad(f)(t, X)).sum(), 1)

    def penalty(f):
        return jax.grad(lambda t, X: f(t, X) ** 2 + (jax.grad(f, 1)(t, X) ** 2).sum(), (0, 1))

    def along_theta_of_both(f):
        return lambda t, X: jax.jvp(lambda t: jax.grad(f, (0, 1))(t, X), (t,), (v,))

    transforms = along_theta, along_both, along_X, back, back_over_forward, linearized, jax.hessian
    transforms += back_by_X, penalty, along_theta_of_both
    for transform in transforms:
        assert_agree(transform, ours, own, theta, X)


def test_row34_a_product_has_the_bits_of_hvp(rng):
    net = fg.MLP([5, 8, 3], "cross_entropy", dtype="float32")
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 20, "cross_entropy", net.dtype, True)
    v = rng.standard_normal(theta.size).astype("f4")
    product = jax.jit(lambda t, v: jax.jvp(jax.grad(lambda t: loss(net, t, X, y, s)), (t,), (v,)))
    gradient, moved = product(theta, v)
    np.testing.assert_array_equal(gradient, net.loss_and_grad(theta, X, y, s)[1])
    np.testing.assert_array_equal(moved, fg.curvature.hvp(net, theta, X, y, v, s))


def test_derivatives_that_are_not_there_say_so(rng):
    ours, _, outputs, _, theta, X, v, _ = curved(rng)
    second = lambda t: jax.jvp(jax.grad(lambda t: ours(t, X)), (t,), (v,))[1]  # noqa: E731
    for call, words in (
        (lambda: jax.hessian(lambda t: outputs(t, X).sum())(theta), "no second derivatives here"),
        (lambda: jax.grad(lambda t: v @ second(t))(theta), "no third derivatives"),
        (lambda: jax.jvp(second, (theta,), (v,)), "no third derivatives"),
    ):
        with pytest.raises(NotImplementedError, match=words):
            call()
        with pytest.raises(NotImplementedError, match=words):
            jax.jit(call)()
    net = fg.MLP([5, 3])
    with pytest.raises(ValueError, match="derivative with respect to sample_weight is not"):
        s = jnp.ones(12)
        jax.jvp(lambda s: loss(net, jnp.zeros(18), X, jnp.ones((12, 3)), s), (s,), (s,))


def test_vmap_takes_one_element_at_a_time(rng):
    net, theta, X, y = problem(rng, "mse")
    thetas = jnp.stack([theta, 2 * theta, -theta])
    grads = jax.jit(jax.vmap(jax.grad(lambda t: loss(net, t, X, y))))(thetas)
    for t, grad in zip(thetas, grads):
        np.testing.assert_array_equal(grad, net.loss_and_grad(np.asarray(t), np.asarray(X), y)[1])
    assert jax.vmap(lambda t: predict(net, t, X))(thetas).shape == (3, 12, 3)


def test_sample_weight_and_float32(rng):
    net = fg.MLP([5, 8, 3], "cross_entropy", dtype="float32")
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 20, "cross_entropy", net.dtype, True)
    value, grad = jax.value_and_grad(lambda t: loss(net, t, X, y.astype(np.int32), s))(theta)
    expected, expected_grad = net.loss_and_grad(theta, X, y, s)
    assert value.dtype == jnp.float32
    assert float(value) == np.float32(expected)
    np.testing.assert_array_equal(grad, expected_grad)


def test_wrong_arguments_are_named(rng):
    net, theta, X, y = problem(rng, "mse")
    with pytest.raises(TypeError, match="X has dtype float32, the parameters have float64"):
        loss(net, theta, X.astype(jnp.float32), y)
    with pytest.raises(TypeError, match="X has dtype int64"):
        predict(net, theta, jnp.ones((2, 5), int))
    with pytest.raises(ValueError, match=r"theta has shape \(3,\)"):
        predict(net, theta[:3], X)
    with pytest.raises(ValueError, match=r"X has shape \(12, 4\); expected \(n, 5\)"):
        predict(net, theta, X[:, :4])
    with pytest.raises(TypeError, match="net is a str"):
        predict("net", theta, X)
    with pytest.raises(ValueError, match="derivative with respect to y is not computed"):
        jax.grad(lambda y: loss(net, theta, X, y))(jnp.array(y))
    with pytest.raises(ValueError, match=r"b has shape \(2,\); expected \(4,\)"):
        affine_relu(X, jnp.ones((5, 4)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"W has shape \(5,\); expected \(d, k\)"):
        affine_relu(X, jnp.ones(5), jnp.ones(1))


NUMPY_CALLS = {
    "theta": lambda net, t: net.loss_and_grad(t, np.ones((4, 2)), np.ones(4)),
    "X": lambda net, t: net.predict(np.ones(3), t[:2][None]),
    "y": lambda net, t: net.loss(np.ones(3), np.ones((3, 2)), t),
    "sample_weight": lambda net, t: net.loss(np.ones(3), np.ones((3, 2)), np.ones(3), t),
    "out": lambda net, t: net.loss_and_grad(np.ones(3), np.ones((1, 2)), np.ones(1), out=t),
    "Z": lambda net, t: fg.relu(t),
    "w": lambda net, t: fg.neuron_loss_and_grad(t, 0.0, np.ones((1, 3)), np.ones(1)),
    "b": lambda net, t: fg.affine(np.ones((1, 3)), np.ones(3), t[0]),
    "z": lambda net, t: fg.calculus.relu_derivative(t),
    "l2": lambda net, t: fg.MLP([2, 1], l2=t[0]),
    "lr": lambda net, t: fg.SGD(t[0]),
    "W of layers": lambda net, t: net.flatten([(t[:2, None], t[2:])]),
}


@pytest.mark.parametrize("name", NUMPY_CALLS)
@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_a_tracer_given_to_a_numpy_function_is_named(name, transform):
    net = fg.MLP([2, 1])

    def function(t):
        NUMPY_CALLS[name](net, t)
        return t.sum()

    given = jnp.ones((1, 3)) if transform is jax.vmap else jnp.ones(3)
    if transform is jax.vmap:
        function = jax.jit(jax.vmap(function))
    else:
        function = transform(function)
    with pytest.raises(TypeError, match=f"^{name}.* (is|cannot|has)") as raised:
        function(given)
    if "cannot be made" in str(raised.value):
        assert "use fastgrad.interop.jax" in str(raised.value)


def test_without_jax_the_extra_is_named():
    out = run_python(
        """
        import sys
        sys.modules["jax"] = None
        try:
            import fastgrad.interop.jax
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "fastgrad[jax]"' in out
