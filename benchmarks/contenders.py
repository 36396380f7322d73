"""fastgrad and its peers: for each a function that turns a work and its data into a step.

`make(work, theta, X, y, threads)` returns `(step, read)`: `step()` is what is timed, one loss and a
fresh gradient by all parameters in the library's own form; `read(step())` gives them as (float,
flat array in theta's order), for the comparison of results. Conversions of data come before the
timed part. A peer that does not do a kind of work raises `NotApplicable`.

Libraries are imported inside the functions: each runs in a process of its own.
"""

from __future__ import annotations

import warnings

import numpy as np

from .workloads import layers


class NotApplicable(Exception):
    """This peer has no such work."""


def _flat(grads):
    return np.concatenate([np.asarray(grad).ravel() for grad in grads])


def _from_neuron(result):
    loss, gw, gb = result
    return float(loss), _flat([gw, gb])


def _from_layer(result):
    """A layer has no loss: the sum of its activations stands in for it."""
    A, *grads = result
    return float(np.asarray(A, dtype=np.float64).sum()), _flat(grads)


def fastgrad(work, theta, X, y, threads):
    import fastgrad as fg

    (W, b) = layers(theta, work.sizes)[0]
    if work.kind == "neuron":
        w, bias = W[:, 0].copy(), float(b[0])
        return (lambda: fg.neuron_loss_and_grad(w, bias, X, y)), _from_neuron
    if work.kind == "layer":
        W, b = W.copy(), b.copy()

        def step():
            A, mask = fg.affine_relu(X, W, b)
            return A, *fg.affine_relu_backward(y, X, W, mask)

        return step, _from_layer
    net = fg.MLP(
        work.sizes, loss=work.loss, activation=work.activation,
        output_activation=work.output_activation, dtype=work.dtype,
    )  # fmt: skip
    return (lambda: net.loss_and_grad(theta, X, y)), lambda result: result


def numpy(work, theta, X, y, threads):
    """The closed form in NumPy, as `fastgrad.reference` has it."""
    from fastgrad import reference

    (W, b) = layers(theta, work.sizes)[0]
    if work.kind == "neuron":
        w, bias = W[:, 0].copy(), float(b[0])
        return (lambda: reference.neuron_loss_and_grad(w, bias, X, y)), _from_neuron
    if work.kind == "layer":

        def step():
            A, mask = reference.affine_relu(X, W, b)
            return A, *reference.affine_relu_backward(y, X, W, mask)

        return step, _from_layer
    args = theta, X, y, work.sizes, work.loss, work.output_activation
    return (
        lambda: reference.mlp_loss_and_grad(*args, activation=work.activation)
    ), lambda result: result


def _torch(work, theta, X, y, threads, mode):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    # F.linear's own layout (k, d), as nn.Linear keeps it
    parameters = [
        torch.from_numpy(array.T.copy()).requires_grad_()
        for pair in layers(theta, work.sizes)
        for array in pair
    ]
    pairs = list(zip(parameters[::2], parameters[1::2]))
    if work.kind == "neuron":
        y = y.reshape(-1, 1)
    if work.kind == "layer":
        X.requires_grad_()
    relu_last = work.kind != "network" or work.output_activation == "relu"
    hidden = {"relu": F.relu, "tanh": torch.tanh}[work.activation]
    criterion = {
        "mse": F.mse_loss,
        "cross_entropy": F.cross_entropy,
        "logistic": F.binary_cross_entropy_with_logits,
    }[work.loss]

    def forward(X, pairs):
        A = X
        for i, (W, b) in enumerate(pairs):
            A = F.linear(A, W, b)
            if i < len(pairs) - 1:
                A = hidden(A)
            elif relu_last:
                A = F.relu(A)
        return A

    def objective(X, y, pairs):
        return criterion(forward(X, pairs), y)

    wanted = parameters if work.kind != "layer" else [X, *parameters]
    run = forward if work.kind == "layer" else objective
    if mode:
        run = torch.compile(run, dynamic=False, mode=mode)

    def step():
        for parameter in wanted:
            parameter.grad = None
        if work.kind == "layer":
            A = run(X, pairs)
            A.backward(y)
            return A, wanted
        loss = run(X, y, pairs)
        loss.backward()
        return loss.item(), wanted

    def read(result):
        value, wanted = result
        if work.kind == "layer":
            value = float(value.detach().double().sum())
        grads = [p.grad.numpy() if p is X else p.grad.numpy().T for p in wanted]
        return value, _flat(grads)

    return step, read


def torch(work, theta, X, y, threads):
    return _torch(work, theta, X, y, threads, None)


def torch_compile(work, theta, X, y, threads):
    return _torch(work, theta, X, y, threads, "default")


def torch_autotuned(work, theta, X, y, threads):
    """Its compiler tries its products before the first step, which takes a while."""
    return _torch(work, theta, X, y, threads, "max-autotune")


def jax(work, theta, X, y, threads):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    X, y = jnp.asarray(X), jnp.asarray(y)
    parameters = [(jnp.asarray(W), jnp.asarray(b)) for W, b in layers(theta, work.sizes)]
    relu_last = work.kind != "network" or work.output_activation == "relu"
    hidden = {"relu": jax.nn.relu, "tanh": jnp.tanh}[work.activation]

    def forward(parameters, X):
        A = X
        for i, (W, b) in enumerate(parameters):
            A = A @ W + b
            if i < len(parameters) - 1:
                A = hidden(A)
            elif relu_last:
                A = jax.nn.relu(A)
        return A

    def objective(parameters, X, y):
        A = forward(parameters, X)
        if work.loss == "cross_entropy":
            picked = jnp.take_along_axis(A, y[:, None], axis=1)[:, 0]
            return jnp.mean(jax.nn.logsumexp(A, axis=1) - picked)
        if work.loss == "logistic":
            return jnp.mean(jnp.sum(jnp.logaddexp(0, A) - y * A, axis=1))
        return jnp.mean((A.reshape(y.shape) - y) ** 2)

    if work.kind == "layer":

        @jax.jit
        def both(parameters, X, y):
            A, back = jax.vjp(forward, parameters, X)
            [(gW, gb)], gX = back(y)
            return A, gX, gW, gb

        return lambda: jax.block_until_ready(both(parameters, X, y)), _from_layer
    both = jax.jit(jax.value_and_grad(objective))

    def step():
        loss, grads = jax.block_until_ready(both(parameters, X, y))
        return float(loss), grads

    return step, lambda result: (result[0], _flat([g for pair in result[1] for g in pair]))


def pytensor(work, theta, X, y, threads):
    import pytensor
    import pytensor.tensor as pt

    warnings.filterwarnings("ignore")
    pytensor.config.floatX = work.dtype
    X_, y_ = pt.matrix("X", dtype=work.dtype), pt.TensorType(str(y.dtype), (None,) * y.ndim)("y")
    arrays = [array.copy() for pair in layers(theta, work.sizes) for array in pair]
    parameters = [pt.TensorType(work.dtype, (None,) * a.ndim)() for a in arrays]
    relu_last = work.kind != "network" or work.output_activation == "relu"
    A, last = X_, len(arrays) // 2 - 1
    for i, (W, b) in enumerate(zip(parameters[::2], parameters[1::2])):
        A = A @ W + b
        if i < last and work.activation == "tanh":
            A = pt.tanh(A)
        elif i < last or relu_last:
            A = pt.maximum(A, np.asarray(0, work.dtype))
    if work.kind == "layer":
        grads = pytensor.grad((A * y_).sum(), [X_, *parameters])
        value = A
    else:
        if work.loss == "cross_entropy":
            log_p = pt.special.log_softmax(A, axis=1)
            value = -log_p[pt.arange(y_.shape[0]), y_].mean()
        elif work.loss == "logistic":
            value = (pt.softplus(A) - y_ * A).sum(axis=1).mean()
        else:
            value = pt.sqr((A[:, 0] if y.ndim == 1 else A) - y_).mean()
        grads = pytensor.grad(value, parameters)
    function = pytensor.function([X_, y_, *parameters], [value, *grads], mode="NUMBA")
    function.trust_input = True
    read = _from_layer if work.kind == "layer" else lambda r: (float(r[0]), _flat(r[1:]))
    return (lambda: function(X, y, *arrays)), read


def sklearn(work, theta, X, y, threads):
    """`LinearModelLoss` for a linear model, `MLPClassifier._backprop` for a classifying network."""
    if work.kind != "network" or work.loss not in ("logistic", "cross_entropy"):
        raise NotApplicable
    if len(work.sizes) == 2:
        return _sklearn_linear(work, theta, X, y, threads)
    return _sklearn_network(work, theta, X, y)


def _sklearn_linear(work, theta, X, y, threads):
    from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    d, k = work.sizes
    if k > 1 and work.loss == "logistic":
        raise NotApplicable
    coef = theta.reshape(d + 1, k)  # W, then b: the features of one output are a column
    if k == 1:
        coef, base = coef[:, 0].copy(), HalfBinomialLoss()
    else:
        coef, base = coef.T, HalfMultinomialLoss(n_classes=k)
        coef = np.asfortranarray(coef)
    model, y = LinearModelLoss(base, fit_intercept=True), y.ravel().astype(work.dtype)
    step = lambda: model.loss_gradient(coef, X, y, n_threads=threads)  # noqa: E731
    return step, lambda result: (float(result[0]), np.asarray(result[1]).T.ravel())


def _sklearn_network(work, theta, X, y):
    from sklearn.neural_network import MLPClassifier

    sizes, k = work.sizes, work.sizes[-1]
    if work.loss == "logistic" and k > 1:
        raise NotApplicable
    classes = max(k, 2)
    net = MLPClassifier(sizes[1:-1], alpha=0.0, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.fit(np.resize(X[:1], (classes, sizes[0])), np.arange(classes))
    net.coefs_ = [W.copy() for W, _ in layers(theta, sizes)]
    net.intercepts_ = [b.copy() for _, b in layers(theta, sizes)]
    target = y.astype(bool) if k == 1 else np.eye(k, dtype=bool)[y]
    activations = [X] + [None] * (len(sizes) - 1)
    deltas = [None] * (len(sizes) - 1)
    coef_grads = [np.empty_like(W) for W in net.coefs_]
    intercept_grads = [np.empty_like(b) for b in net.intercepts_]

    def step():
        return net._backprop(X, target, None, activations, deltas, coef_grads, intercept_grads)

    def read(result):
        loss, coef_grads, intercept_grads = result
        return float(loss), _flat([g for pair in zip(coef_grads, intercept_grads) for g in pair])

    return step, read


CONTENDERS = {
    "fastgrad": fastgrad,
    "numpy": numpy,
    "torch": torch,
    "torch.compile": torch_compile,
    "torch.autotuned": torch_autotuned,
    "jax": jax,
    "pytensor": pytensor,
    "sklearn": sklearn,
}


def contender(peer: str, work):
    """What makes the step of a peer for a work."""
    from . import clipped, derivatives

    if work.kind == "clipped":
        found = clipped.CONTENDERS
    elif work.kind in derivatives.KINDS:
        found = derivatives.CONTENDERS
    else:
        found = CONTENDERS
    if peer not in found:
        raise NotApplicable
    return found[peer]


def exact(work):
    """(loss, flat gradient) of the NumPy twin in float64: what every result is held against."""
    from dataclasses import replace

    from .workloads import data

    theta, X, y = data(work)
    y = y if work.loss == "cross_entropy" else y.astype(np.float64)
    step, read = contender("numpy", work)(
        replace(work, dtype="float64"), theta.astype(np.float64), X.astype(np.float64), y, 1
    )
    return read(step())
