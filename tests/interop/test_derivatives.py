"""Jacobians and second derivatives against PyTorch's and JAX's automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.func import grad, hessian, jacrev, jvp, vjp, vmap
from torch.nn import functional as F

import fastgrad as fg
from fastgrad.activations import ACTIVATIONS
from fastgrad.losses import LOSSES

# PyTorch's own forward mode warns of what it is made with.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

TOLERANCE = 1e-10
ACTIVATION = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "leaky_relu": F.leaky_relu,
}
EACH = {
    "mse": lambda z, y, net: ((z - y) ** 2).mean(-1),
    "huber": lambda z, y, net: torch.where(
        (z - y).abs() <= net.huber_delta,
        (z - y) ** 2 / 2,
        net.huber_delta * ((z - y).abs() - net.huber_delta / 2),
    ).mean(-1),
    "logistic": lambda z, y, net: (F.softplus(z) - y * z).sum(-1),
    "cross_entropy": lambda z, y, net: F.cross_entropy(z, y, reduction="none"),
    "absolute_error": lambda z, y, net: (z - y).abs().mean(-1),
    "quantile": lambda z, y, net: torch.maximum(
        net.quantile * (y - z), (1 - net.quantile) * (z - y)
    ).mean(-1),
    "poisson": lambda z, y, net: (z.exp() - y * z).sum(-1),
}


def layers_of(net, theta):
    start = 0
    for d, k in zip(net.layer_sizes, net.layer_sizes[1:]):
        stop = start + d * k
        yield theta[start:stop].reshape(d, k), theta[stop : stop + k]
        start = stop + k


def outputs(net, theta, X, activation=None):
    names = [net.activation] * (len(net.layer_sizes) - 2) + [net.output_activation]
    for (W, b), name in zip(layers_of(net, theta), names):
        X = (activation or ACTIVATION[name])(X @ W + b)
    return X


def torch_loss(net, theta, X, y, s):
    each = EACH[net.loss_name](outputs(net, theta, X), y, net)
    penalty = sum((W**2).sum() for W, _ in layers_of(net, theta))
    return (s * each).sum() / s.sum() + net.l2 / 2 * penalty


def problem(loss, activation, output_activation="identity", sizes=(5, 9, 6, 3), n=17):
    rng = np.random.default_rng(34)
    net = fg.MLP(sizes, loss, activation=activation, output_activation=output_activation, l2=0.2)
    k = sizes[-1]
    theta = rng.normal(size=net.n_parameters) * 0.4
    y = {
        "cross_entropy": rng.integers(0, k, n),
        "logistic": rng.integers(0, 2, (n, k)).astype(float),
        "poisson": rng.poisson(2.0, (n, k)).astype(float),
    }.get(loss, 2 * rng.normal(size=(n, k)))
    X, s, v = rng.normal(size=(n, sizes[0])), rng.uniform(0.5, 2, n), rng.normal(size=theta.size)
    return net, theta, X, y, s, v


def assert_close(actual, expected):
    """Relative to the largest entry."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


CASES = [(activation, "identity") for activation in ACTIVATIONS]
CASES += [("relu", "relu"), ("sigmoid", "relu")]


@pytest.mark.parametrize(("activation", "output"), CASES)
def test_row30_jacobians_are_autodiffs(activation, output):
    net, theta, X, _, _, v = problem("mse", activation, output)
    t_theta, t_X, t_v = map(torch.tensor, (theta, X, v))
    c, u = torch.cos(torch.arange(51.0, dtype=torch.float64)).reshape(17, 3), torch.sin(t_X)

    def f(theta, X=t_X):
        return outputs(net, theta, X)

    gtheta, gX = fg.jacobians.vjp(net, theta, X, c.numpy(), need_gX=True)
    for mine, other in zip((gtheta, gX), vjp(f, t_theta, t_X)[1](c)):
        assert_close(mine, other)
    mine = fg.jacobians.jvp(net, theta, X, v, u.numpy())
    assert_close(mine, jvp(f, (t_theta, t_X), (t_v, u))[1])
    assert_close(fg.jacobians.jacobian(net, theta, X), jacrev(f)(t_theta))
    by_inputs = vmap(jacrev(lambda x: f(t_theta, x[None])[0]))(t_X)
    assert_close(fg.jacobians.input_jacobian(net, theta, X), by_inputs)


@pytest.mark.parametrize(("activation", "output"), CASES)
@pytest.mark.parametrize("loss", LOSSES)
def test_row34_row35_row36_second_derivatives_are_autodiffs(loss, activation, output):
    if output == "relu" and LOSSES[loss].takes_logits:
        output = "identity"
    net, theta, X, y, s, v = problem(loss, activation, output)
    t_theta, t_X, t_y, t_s, t_v = map(torch.tensor, (theta, X, y, s, v))
    whole = hessian(lambda theta: torch_loss(net, theta, t_X, t_y, t_s))(t_theta)
    assert_close(fg.curvature.hvp(net, theta, X, y, v, s), whole @ t_v)
    assert_close(fg.curvature.hessian(net, theta, X, y, s), whole)

    out = outputs(net, t_theta, t_X)
    by_outputs = vmap(hessian(lambda z, y: EACH[loss](z[None], y[None], net)[0]))(out, t_y)
    J, weight = jacrev(lambda theta: outputs(net, theta, t_X))(t_theta), t_s / t_s.sum()
    G = torch.einsum("nip,nij,njq,n->pq", J, by_outputs, J, weight)
    G += hessian(lambda t: net.l2 / 2 * sum((W**2).sum() for W, _ in layers_of(net, t)))(t_theta)
    assert_close(fg.curvature.ggn_vp(net, theta, X, y, v, s), G @ t_v)
    assert_close(fg.curvature.ggn(net, theta, X, y, s), G)
    assert_close(fg.curvature.ggn_diagonal(net, theta, X, y, s), torch.diagonal(G))


def test_row34_on_curvlinops_network_with_pytorchs_double_backward():
    """10-5-3 with ReLU, the network of that package's own tests."""
    net, theta, X, y, s, v = problem("cross_entropy", "relu", sizes=(10, 5, 3), n=40)
    t = torch.tensor(theta, requires_grad=True)
    arrays = map(torch.tensor, (X, y, s))
    (gradient,) = torch.autograd.grad(torch_loss(net, t, *arrays), t, create_graph=True)
    (product,) = torch.autograd.grad(gradient @ torch.tensor(v), t)
    assert_close(fg.curvature.hvp(net, theta, X, y, v, s), product)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_row30_row34_row35_are_jaxs(loss, activation):
    with jax.enable_x64(True):
        net, theta, X, y, s, v = problem(loss, activation)
        function = {"relu": jax.nn.relu, "tanh": jnp.tanh}[activation]
        weight = s / s.sum()

        def f(theta):
            A, layers = jnp.asarray(X), list(layers_of(net, theta))
            for i, (W, b) in enumerate(layers):
                A = A @ W + b
                A = function(A) if i < len(layers) - 1 else A
            return A

        def of_outputs(out):
            if loss == "mse":
                return (weight * ((out - y) ** 2).mean(1)).sum()
            picked = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1)[:, 0]
            return -(weight * picked).sum()

        def penalty(theta):
            return net.l2 / 2 * sum((W**2).sum() for W, _ in layers_of(net, theta))

        gradient = jax.grad(lambda theta: of_outputs(f(theta)) + penalty(theta))
        out, tangents = jax.jvp(f, (theta,), (v,))
        assert_close(fg.jacobians.jvp(net, theta, X, v), tangents)
        assert_close(fg.curvature.hvp(net, theta, X, y, v, s), jax.jvp(gradient, (theta,), (v,))[1])
        curved = jax.jvp(jax.grad(of_outputs), (out,), (tangents,))[1]
        (product,) = jax.vjp(f, theta)[1](curved)
        product += jax.jvp(jax.grad(penalty), (theta,), (v,))[1]
        assert_close(fg.curvature.ggn_vp(net, theta, X, y, v, s), product)


def test_gradient_of_a_product_is_the_products_of_the_guests():
    """PyTorch's own gradient of a loss through our outputs is `vjp` of its slope."""
    net, theta, X, *_ = problem("mse", "relu")
    t = torch.tensor(theta, requires_grad=True)
    value = torch.logsumexp(outputs(net, t, torch.tensor(X)), 1).sum()
    value.backward()
    out = torch.tensor(net.predict(theta, X))
    slope = grad(lambda out: torch.logsumexp(out, 1).sum())(out)
    assert_close(fg.jacobians.vjp(net, theta, X, slope.numpy()), t.grad)
