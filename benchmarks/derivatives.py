"""Products with Jacobians and with second derivatives, gradients and Hessians: of all contenders.

As `contenders.py`, for works of the kinds in `KINDS`; the one array that a step makes stands for
the gradient, the loss is 0. Everything is made anew in each step: no graph is kept from the step
before. A Hessian is compared by its products with three vectors.
"""

from __future__ import annotations

import warnings

import numpy as np

from .contenders import NotApplicable, _flat
from .workloads import layers

KINDS = "vjp", "jvp", "ggn_vp", "hvp", "gradient", "hessian"
NUMBERS = 2e7  # of one intermediate result of a Hessian, at most; more is made in parts


def vectors(work):
    """v (p,), a cotangent (n, k), and three columns (p, 3)."""
    rng = np.random.default_rng([1, work.n, *work.sizes])
    shapes = work.parameters, (work.n, work.sizes[-1]), (work.parameters, 3)
    return [rng.standard_normal(shape).astype(work.dtype) for shape in shapes]


def _read(work):
    if work.kind == "hessian":
        columns = vectors(work)[2]
        return lambda matrix: (0.0, (np.asarray(matrix) @ columns).ravel())
    return lambda result: (0.0, np.asarray(result).ravel())


def fastgrad(work, theta, X, y, threads):
    import fastgrad as fg

    net = fg.MLP(work.sizes, work.loss, activation=work.activation, dtype=work.dtype)
    v, cotangent, _ = vectors(work)
    step = {
        "vjp": lambda: fg.jacobians.vjp(net, theta, X, cotangent),
        "jvp": lambda: fg.jacobians.jvp(net, theta, X, v),
        "ggn_vp": lambda: fg.curvature.ggn_vp(net, theta, X, y, v),
        "hvp": lambda: fg.curvature.hvp(net, theta, X, y, v),
        "gradient": lambda: net.loss_and_grad(theta, X, y)[1],
        "hessian": lambda: fg.curvature.hessian(net, theta, X, y),
    }[work.kind]
    return step, _read(work)


def numpy(work, theta, X, y, threads):
    """The closed forms, of the three products where a Hessian is asked for."""
    from fastgrad import reference
    from fastgrad import reference_derivatives as ref

    v, cotangent, columns = (array.astype(theta.dtype) for array in vectors(work))
    options = {"activation": work.activation}
    of_loss = work.sizes, work.loss

    def three():
        products = [ref.mlp_hvp(theta, X, y, c, *of_loss, **options) for c in columns.T]
        return np.array(products).T

    step = {
        "vjp": lambda: ref.mlp_vjp(theta, X, cotangent, work.sizes, **options)[0],
        "jvp": lambda: ref.mlp_jvp(theta, X, v, work.sizes, **options),
        "ggn_vp": lambda: ref.mlp_ggn_vp(theta, X, y, v, *of_loss, **options),
        "hvp": lambda: ref.mlp_hvp(theta, X, y, v, *of_loss, **options),
        "gradient": lambda: reference.mlp_loss_and_grad(theta, X, y, *of_loss, **options)[1],
        "hessian": three,
    }[work.kind]
    return step, lambda result: (0.0, result.ravel())


def _torch(work, theta, X, y, threads, compiled):
    """`torch.func`, over weights in `F.linear`'s own layout; Hessians over one flat vector."""
    import torch
    import torch.nn.functional as F
    from torch.func import grad, hessian, jacrev, jvp, vjp, vmap

    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    v, cotangent, _ = vectors(work)
    X, y, cotangent = (torch.from_numpy(array) for array in (X, y, cotangent))
    criterion = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}[work.loss]
    hidden = {"relu": F.relu, "softplus": F.softplus}[work.activation]

    def parts(vector):
        views = (array.T for pair in layers(vector, work.sizes) for array in pair)
        return tuple(torch.from_numpy(array.copy()) for array in views)

    def forward(parameters, X):
        A = X
        for i in range(0, len(parameters), 2):
            A = F.linear(A if i == 0 else hidden(A), parameters[i], parameters[i + 1])
        return A

    def loss(parameters, X, y):
        return criterion(forward(parameters, X), y)

    def of_vector(vector, X, y):
        return loss([a.T for pair in layers(vector, work.sizes) for a in pair], X, y)

    def ggn_vp(parameters, v, X, y):
        out, moved = jvp(lambda p: forward(p, X), (parameters,), (v,))
        curved = jvp(grad(lambda out: criterion(out, y)), (out,), (moved,))[1]
        return vjp(lambda p: forward(p, X), parameters)[1](curved)[0]

    function = {
        "vjp": lambda p, v, X, c: vjp(lambda p: forward(p, X), p)[1](c)[0],
        "jvp": lambda p, v, X, y: (jvp(lambda p: forward(p, X), (p,), (v,))[1].T,),
        "ggn_vp": ggn_vp,
        "hvp": lambda p, v, X, y: jvp(lambda p: grad(loss)(p, X, y), (p,), (v,))[1],
        "gradient": lambda p, v, X, y: grad(loss)(p, X, y),
    }
    if work.kind == "hessian":
        size, first = int(NUMBERS // (work.n * max(work.sizes))) or 1, torch.from_numpy(theta)
        basis = torch.eye(work.parameters, dtype=first.dtype)

        def in_parts(p, v, X, y):  # as `hessian`, which has no way to do it
            def column(v):
                return jvp(lambda p: jacrev(of_vector)(p, X, y), (p,), (v,))[1]

            return torch.cat([vmap(column)(part) for part in basis.split(size)])

        def at_once(p, v, X, y):
            return hessian(of_vector)(p, X, y)

        run = at_once if size >= work.parameters else in_parts
    else:
        run, first = function[work.kind], parts(theta)
    run = torch.compile(run, dynamic=False) if compiled else run
    given = first, parts(v), X, cotangent if work.kind == "vjp" else y
    if work.kind == "hessian":
        return lambda: run(*given).numpy(), _read(work)
    return lambda: run(*given), lambda result: (0.0, _flat(a.numpy().T for a in result))


def torch(work, theta, X, y, threads):
    return _torch(work, theta, X, y, threads, False)


def torch_compile(work, theta, X, y, threads):
    if work.kind == "hessian":
        raise NotApplicable
    return _torch(work, theta, X, y, threads, True)


def jax(work, theta, X, y, threads):
    import jax
    import jax.numpy as jnp

    if work.kind == "hessian" and work.n * work.parameters * max(work.sizes) > 4 * NUMBERS:
        raise NotApplicable  # it has no way to make a Hessian in parts
    jax.config.update("jax_enable_x64", work.dtype == "float64")
    v, cotangent, _ = map(jnp.asarray, vectors(work))
    theta, X, y = jnp.asarray(theta), jnp.asarray(X), jnp.asarray(y)
    hidden = {"relu": jax.nn.relu, "softplus": jax.nn.softplus}[work.activation]

    def forward(theta, X):
        A = X
        for i, (W, b) in enumerate(layers(theta, work.sizes)):
            A = (A if i == 0 else hidden(A)) @ W + b
        return A

    def criterion(out, y):
        if work.loss == "mse":
            return jnp.mean((out - y) ** 2)
        return jnp.mean(jax.nn.logsumexp(out, 1) - jnp.take_along_axis(out, y[:, None], 1)[:, 0])

    def loss(theta, X, y):
        return criterion(forward(theta, X), y)

    def ggn_vp(theta, v, X, y):
        out, moved = jax.jvp(lambda t: forward(t, X), (theta,), (v,))
        curved = jax.jvp(jax.grad(criterion), (out, y), (moved, _no_tangent(y)))[1]
        return jax.vjp(lambda t: forward(t, X), theta)[1](curved)[0]

    def _no_tangent(y):
        return jnp.zeros_like(y) if y.dtype.kind == "f" else np.zeros(y.shape, jax.dtypes.float0)

    run = jax.jit({
        "vjp": lambda t, v, X, c: jax.vjp(lambda t: forward(t, X), t)[1](c)[0],
        "jvp": lambda t, v, X, y: jax.jvp(lambda t: forward(t, X), (t,), (v,))[1],
        "ggn_vp": ggn_vp,
        "hvp": lambda t, v, X, y: jax.jvp(lambda t: jax.grad(loss)(t, X, y), (t,), (v,))[1],
        "gradient": lambda t, v, X, y: jax.grad(loss)(t, X, y),
        "hessian": lambda t, v, X, y: jax.hessian(loss)(t, X, y),
    }[work.kind])  # fmt: skip
    given = theta, v, X, cotangent if work.kind == "vjp" else y
    return (lambda: jax.block_until_ready(run(*given))), _read(work)


def _module(work, theta, X, y, threads):
    """(module, parameters, criterion, X, y, v in the parameters' shapes) of PyTorch's guests."""
    if work.kind not in ("ggn_vp", "hvp"):
        raise NotApplicable
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    modules, tangents = [], []
    pairs = zip(layers(theta, work.sizes), layers(vectors(work)[0], work.sizes))
    for (W, b), (V, c) in pairs:
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        tangents += [torch.from_numpy(V.T.copy()), torch.from_numpy(c.copy())]
        modules += [linear, torch.nn.ReLU()]
    module = torch.nn.Sequential(*modules[:-1])
    data = torch.from_numpy(X), torch.from_numpy(y)
    return module, list(module.parameters()), torch.nn.CrossEntropyLoss(), *data, tangents


def _of_tensors(result):
    return 0.0, _flat(tensor.detach().numpy().T for tensor in result)


def curvlinops(work, theta, X, y, threads):
    module, parameters, criterion, X, y, tangents = _module(work, theta, X, y, threads)
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    kind = HessianLinearOperator if work.kind == "hvp" else GGNLinearOperator
    operator = kind(module, criterion, parameters, [(X, y)], check_deterministic=False)
    return lambda: operator @ tangents, _of_tensors


def backpack(work, theta, X, y, threads):
    module, parameters, criterion, X, y, tangents = _module(work, theta, X, y, threads)
    from backpack.hessianfree.ggnvp import ggn_vector_product
    from backpack.hessianfree.hvp import hessian_vector_product

    def hvp():
        return hessian_vector_product(criterion(module(X), y), parameters, tangents)

    def ggn_vp():
        out = module(X)
        return ggn_vector_product(criterion(out, y), out, module, tangents)

    return (hvp if work.kind == "hvp" else ggn_vp), _of_tensors


CONTENDERS = {
    "fastgrad": fastgrad,
    "numpy": numpy,
    "torch": torch,
    "torch.compile": torch_compile,
    "jax": jax,
    "curvlinops": curvlinops,
    "backpack": backpack,
}
