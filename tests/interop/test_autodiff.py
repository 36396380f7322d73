"""Losses and gradients against PyTorch's and JAX's automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fastgrad as fg

LOSSES = ["mse", "huber", "logistic", "cross_entropy"]
NETS = [[5, 3], [7, 33, 4], [6, 20, 17, 3], [4, 9, 8, 7, 2], [5, 8, 7, 6, 5, 3]]
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def draw(sizes, loss, dtype, weighted, n=61):
    rng = np.random.default_rng(15)
    k = sizes[-1]
    net = fg.MLP(sizes, loss=loss, dtype=dtype, l2=0.05)
    theta = (rng.normal(size=net.n_parameters) * 0.4).astype(dtype)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    if loss == "cross_entropy":
        y = rng.integers(0, k, n)
    elif loss == "logistic":
        y = rng.integers(0, 2, (n, k)).astype(dtype)
    else:
        y = (2 * rng.normal(size=(n, k))).astype(dtype)
    s = rng.uniform(0.5, 2, n).astype(dtype) if weighted else None
    return net, theta, X, y, s


def torch_loss(net, theta, X, y, s):
    from torch.nn import functional as F

    A, start, penalty = X, 0, 0.0
    pairs = list(zip(net.layer_sizes, net.layer_sizes[1:]))
    for i, (d, k) in enumerate(pairs):
        W, b = theta[start : start + d * k].view(d, k), theta[start + d * k : start + d * k + k]
        start += d * k + k
        A = A @ W + b
        A = torch.relu(A) if i < len(pairs) - 1 else A
        penalty = penalty + (W**2).sum()
    each = {
        "mse": lambda: F.mse_loss(A, y, reduction="none").mean(1),
        "huber": lambda: F.huber_loss(A, y, reduction="none").mean(1),
        "logistic": lambda: F.binary_cross_entropy_with_logits(A, y, reduction="none").sum(1),
        "cross_entropy": lambda: F.cross_entropy(A, y, reduction="none"),
    }[net.loss_name]()
    mean = each.mean() if s is None else (s * each).sum() / s.sum()
    return mean + 0.5 * net.l2 * penalty


def by_torch(net, theta, X, y, s):
    theta, X = (torch.tensor(a, requires_grad=True) for a in (theta, X))
    value = torch_loss(net, theta, X, torch.tensor(y), None if s is None else torch.tensor(s))
    value.backward()
    return value.item(), theta.grad.numpy(), X.grad.numpy()


def jax_loss(theta, X, net, y, s):
    A, start, penalty = X, 0, 0.0
    pairs = list(zip(net.layer_sizes, net.layer_sizes[1:]))
    for i, (d, k) in enumerate(pairs):
        W, b = theta[start : start + d * k].reshape(d, k), theta[start + d * k : start + d * k + k]
        start += d * k + k
        A = A @ W + b
        A = jax.nn.relu(A) if i < len(pairs) - 1 else A
        penalty += (W**2).sum()
    if net.loss_name == "cross_entropy":
        each = -jnp.take_along_axis(jax.nn.log_softmax(A), jnp.asarray(y)[:, None], 1)[:, 0]
    elif net.loss_name == "logistic":
        each = (jax.nn.softplus(A) - y * A).sum(1)
    else:
        e = A - y
        if net.loss_name == "huber":
            e = jnp.where(jnp.abs(e) <= 1, e**2 / 2, jnp.abs(e) - 0.5)
        else:
            e = e**2
        each = e.mean(1)
    mean = each.mean() if s is None else (s * each).sum() / s.sum()
    return mean + 0.5 * net.l2 * penalty


def by_jax(net, theta, X, y, s):
    with jax.enable_x64(theta.dtype == np.float64):
        f = jax.value_and_grad(jax_loss, argnums=(0, 1))
        value, (grad, gX) = f(jnp.asarray(theta), jnp.asarray(X), net, y, s)
        assert grad.dtype == theta.dtype
        return float(value), np.asarray(grad), np.asarray(gX)


def check(net, theta, X, y, s, autodiff):
    """Relative to the largest entry of each gradient."""
    value, grad, gX = autodiff(net, theta, X, y, s)
    tolerance = TOLERANCE[theta.dtype]
    mine, my_grad = net.loss_and_grad(theta, X, y, s)
    assert abs(mine - value) < tolerance * abs(value)
    for a, e in ((my_grad, grad), (net.grad_input(theta, X, y, s), gX)):
        assert a.dtype == e.dtype
        assert np.abs(a - e).max() < tolerance * np.abs(e).max()


@pytest.mark.parametrize("autodiff", [by_torch, by_jax])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("sizes", NETS, ids=lambda s: f"depth{len(s) - 1}")
@pytest.mark.parametrize("loss", LOSSES)
def test_row24_row25_row26_row27_gradients_are_autodiffs(loss, sizes, weighted, dtype, autodiff):
    check(*draw(sizes, loss, dtype, weighted), autodiff)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_row16_at_the_kink_and_for_nan_relu_is_pytorchs(dtype):
    z = np.array([-1, -0.0, 0.0, 1, np.nan, np.inf, -np.inf], dtype)
    t = torch.tensor(z, requires_grad=True)
    torch.relu(t).sum().backward()
    np.testing.assert_array_equal(fg.relu(z), torch.relu(t).detach().numpy())
    np.testing.assert_array_equal(fg.relu_mask(z), t.grad.numpy() != 0)


@pytest.mark.parametrize("size", [1e4, 1e6])
@pytest.mark.parametrize("loss", ["logistic", "cross_entropy"])
def test_row25_row26_far_logits_are_pytorchs(loss, size):
    _, theta, X, y, _ = draw([5, 3], loss, np.float64, False)
    check(fg.MLP([5, 3], loss), theta, size * X, y, None, by_torch)
