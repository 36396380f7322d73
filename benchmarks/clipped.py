"""The mean of the samples' gradients, each clipped to a norm: fastgrad's way and its peers'.

As `contenders.py`, for works of the kind "clipped", all with cross-entropy: the loss and
(1/n) sum of min(1, C/||g_i||) g_i with C = `MAX_NORM`, which some rows exceed and some do not.
PyTorch and JAX take `vmap(grad)`, as their guides to per-sample gradients do; Opacus its ghost
clipping, which makes no gradient of a sample either, but goes back twice.
"""

from __future__ import annotations

import warnings

from .contenders import _flat
from .workloads import layers

MAX_NORM = 8.0


def fastgrad(work, theta, X, y, threads):
    import fastgrad as fg

    net = fg.MLP(work.sizes, loss=work.loss, dtype=work.dtype)
    clipped = fg.per_sample.clipped_loss_and_grad
    return (lambda: clipped(net, theta, X, y, MAX_NORM)), lambda result: result


def numpy(work, theta, X, y, threads):
    """The closed form, which forms every gradient."""
    from fastgrad import reference_per_sample as reference

    args = theta, X, y, work.sizes, work.loss, MAX_NORM
    return (lambda: reference.clipped_loss_and_grad(*args)), lambda result: result


def _torch(work, theta, X, y, threads, compiled):
    import torch
    import torch.nn.functional as F
    from torch.func import grad_and_value, vmap

    torch.set_num_threads(threads)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    parameters = [  # F.linear's own layout (k, d)
        torch.from_numpy(array.T.copy()) for pair in layers(theta, work.sizes) for array in pair
    ]

    def own(parameters, x, y):
        A = x
        for i in range(0, len(parameters), 2):
            A = F.linear(A if i == 0 else F.relu(A), parameters[i], parameters[i + 1])
        return F.cross_entropy(A, y)

    def clipped(parameters, X, y):
        grads, losses = vmap(grad_and_value(own), in_dims=(None, 0, 0))(parameters, X, y)
        squares = sum(g.flatten(1).square().sum(1) for g in grads)
        factors = (MAX_NORM / squares.sqrt()).clamp(max=1.0) / len(X)
        return losses.mean(), [torch.tensordot(factors, g, 1) for g in grads]

    run = torch.compile(clipped, dynamic=False) if compiled else clipped

    def step():
        loss, grads = run(parameters, X, y)
        return loss.item(), grads

    return step, lambda result: (result[0], _flat(g.numpy().T for g in result[1]))


def torch(work, theta, X, y, threads):
    return _torch(work, theta, X, y, threads, False)


def torch_compile(work, theta, X, y, threads):
    return _torch(work, theta, X, y, threads, True)


def jax(work, theta, X, y, threads):
    import jax
    import jax.numpy as jnp

    parameters = [(jnp.asarray(W), jnp.asarray(b)) for W, b in layers(theta, work.sizes)]
    X, y = jnp.asarray(X), jnp.asarray(y)

    def own(parameters, x, y):
        A = x
        for i, (W, b) in enumerate(parameters):
            A = (A if i == 0 else jax.nn.relu(A)) @ W + b
        return jax.nn.logsumexp(A) - A[y]

    @jax.jit
    def clipped(parameters, X, y):
        each = jax.vmap(jax.value_and_grad(own), in_axes=(None, 0, 0))
        losses, grads = each(parameters, X, y)
        leaves = jax.tree.leaves(grads)
        squares = sum(jnp.sum(g.reshape(len(X), -1) ** 2, axis=1) for g in leaves)
        factors = jnp.minimum(1.0, MAX_NORM / jnp.sqrt(squares)) / len(X)
        return losses.mean(), [jnp.tensordot(factors, g, 1) for g in leaves]

    def step():
        loss, grads = jax.block_until_ready(clipped(parameters, X, y))
        return float(loss), grads

    return step, lambda result: (result[0], _flat(result[1]))


def opacus(work, theta, X, y, threads):
    """Ghost clipping: `backward` leaves the sum of clipped gradients, before noise is added."""
    import torch
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    modules = []
    for W, b in layers(theta, work.sizes):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        modules += [linear, torch.nn.ReLU()]
    module = GradSampleModuleFastGradientClipping(
        torch.nn.Sequential(*modules[:-1]), max_grad_norm=MAX_NORM, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(module.parameters(), lr=0.0), noise_multiplier=0.0, max_grad_norm=MAX_NORM,
        expected_batch_size=len(X),
    )  # fmt: skip
    criterion = DPLossFastGradientClipping(module, optimizer, torch.nn.CrossEntropyLoss())

    def step():
        loss = criterion(module(X), y)
        loss.backward()
        return loss.item(), [p.grad for p in module.parameters()]

    return step, lambda result: (result[0], _flat(g.numpy().T for g in result[1]) / len(X))


CONTENDERS = {
    "fastgrad": fastgrad,
    "numpy": numpy,
    "torch": torch,
    "torch.compile": torch_compile,
    "jax": jax,
    "opacus": opacus,
}
