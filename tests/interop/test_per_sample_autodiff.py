"""Gradients of single samples against PyTorch's and JAX's `vmap(grad)`."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from test_autodiff import LOSSES, NETS, draw, jax_loss, torch_loss
from torch.func import grad, jacrev, vmap

import fastgrad as fg

per_sample = fg.per_sample


def by_torch(net, theta, X, y):
    """(n, p) of the samples' own losses."""

    def own(theta, x, y):
        return torch_loss(net, theta, x[None], y[None], None)

    each = vmap(grad(own), in_dims=(None, 0, 0), randomness="error")
    return each(*map(torch.tensor, (theta, X, y))).numpy()


def by_jax(net, theta, X, y):
    def own(theta, x, y):
        return jax_loss(theta, x[None], net, y[None], None)

    with jax.enable_x64(True):
        each = jax.vmap(jax.grad(own), in_axes=(None, 0, 0))
        return np.asarray(each(*map(jnp.asarray, (theta, X, y))))


def close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("autodiff", "sizes"),
    [*((by_torch, sizes) for sizes in NETS[:4]), (by_jax, NETS[1])],
    ids=lambda a: getattr(a, "__name__", str(a)),
)
@pytest.mark.parametrize("loss", LOSSES)
def test_row31_row32_row33_gradients_of_samples_are_autodiffs(loss, sizes, autodiff):
    net, theta, X, y, s = draw(sizes, loss, np.float64, True)
    plain = fg.MLP(sizes, loss)
    expected = s[:, None] * autodiff(plain, theta, X, y)
    norms = np.linalg.norm(expected, axis=1)
    close(per_sample.grads(net, theta, X, y, s), expected)
    close(per_sample.grad_norms(net, theta, X, y, s), norms)
    close(per_sample.gram(net, theta, X, y, sample_weight=s), expected @ expected.T)
    most = np.median(norms)
    clipped = (np.minimum(1, most / norms)[:, None] * expected).sum(0) / s.sum()
    close(per_sample.clipped_loss_and_grad(plain, theta, X, y, most, s)[1], clipped)


@pytest.mark.parametrize("sizes", NETS[:4], ids=lambda s: f"depth{len(s) - 1}")
def test_row33_ntk_is_that_of_autodiffs_jacobians(sizes):
    net, theta, X, *_ = draw(sizes, "mse", np.float64, False, n=23)

    def outputs(theta, x):
        A, start = x, 0
        for i, (d, k) in enumerate(pairwise(sizes)):
            W, b = theta[start : start + d * k].view(d, k), theta[start + d * k :][:k]
            start += d * k + k
            A = A @ W + b
            A = torch.relu(A) if i < len(sizes) - 2 else A
        return A

    each = vmap(jacrev(outputs), in_dims=(None, 0))
    J = each(torch.tensor(theta), torch.tensor(X)).numpy()
    close(per_sample.ntk(net, theta, X), np.einsum("icp,jep->ijce", J, J))
    close(per_sample.ntk(net, theta, X, X[:5], trace=True),
          np.einsum("icp,jcp->ij", J, J[:5]) / sizes[-1])  # fmt: skip
