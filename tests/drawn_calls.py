"""Random calls of the numerical API: what to call in Python and in compiled code, and the oracle's
answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import oracle
from bounds import Arithmetic
from draws import draw, draw_shape, draw_weights, plant, spoil_idle_targets
from helpers import LOSSES, OF_VALUES

import fastgrad as fg
from fastgrad.interop.numba import network, optimizer

PARAMETERS = {"huber": "huber_delta", "quantile": "quantile"}
ACTIVATIONS = ["relu", "identity", "tanh", "sigmoid", "softplus", "leaky_relu"]


@numba.njit
def affine(X, w, b, out):
    return (fg.affine(X, w, b, out=out),)


@numba.njit
def affine_relu(X, w, b, out):
    return fg.affine_relu(X, w, b, out=out)


@numba.njit
def affine_relu_backward(grad_a, X, W, mask, out):
    return fg.affine_relu_backward(grad_a, X, W, mask, out=out)


@numba.njit
def relu(Z, out):
    return (fg.relu(Z, out=out),)


@numba.njit
def relu_mask(Z, out):
    return (fg.relu_mask(Z, out=out),)


@numba.njit
def neuron(w, X, y, b, out):
    return fg.neuron_loss_and_grad(w, b, X, y, out=out)


@numba.njit
def weighted_neuron(w, X, y, sample_weight, b, out):
    return fg.neuron_loss_and_grad(w, b, X, y, sample_weight, out=out)


@numba.njit
def loss_and_grad(theta, X, y, net, out):
    return net.loss_and_grad(theta, X, y, out=out)


@numba.njit
def weighted_loss_and_grad(theta, X, y, sample_weight, net, out):
    return net.loss_and_grad(theta, X, y, sample_weight, out=out)


@numba.njit
def predict(theta, X, net, out):
    return (net.predict(theta, X, out=out),)


@numba.njit
def one_step(grad, opt, out):
    opt.step(out, grad)
    return (out,)


@dataclass
class Call:
    """A drawn call: how to make it, and what it must give."""

    name: str
    arrays: dict  # plain
    python: Callable  # (arrays, out, **options) to a result
    expected: Callable  # () to what the oracle says
    compiled: Callable | None = None  # (*arrays, *extra, out)
    extra: tuple = ()
    outs: tuple = ()  # (shape, dtype) of what `out` holds
    swappable: bool = False  # has a compiled form for arrays that are not aligned
    threads: bool = True
    flops: int = 0
    refused: bool = False
    checked: int = 9  # results that the oracle is asked about: of gradients near a NaN, it is not
    start: np.ndarray | None = None  # what `out` holds before: theta of an optimiser
    writes: bool = True  # has `out` in Python


def layer_call(rng, dtype):
    n, d, k = draw_shape(rng)
    X, w = draw(rng, (n, d), dtype), draw(rng, (d, k), dtype, None, d**-0.5)
    single = rng.random() < 0.2
    arrays = {"X": X, "w": w[:, 0].copy()} if single else {"X": X, "w": w, "b": draw(rng, k, dtype)}
    bias = float(draw(rng, 1, dtype)[0])
    if rng.random() < 0.06:
        plant(rng, arrays, dtype)
    with_mask = rng.random() < 0.5
    function = fg.affine_relu if with_mask else fg.affine
    shape = (n,) if single else (n, k)
    ar = Arithmetic(dtype)

    def python(arrays, out=None, **options):
        out = out[0] if out is not None and not with_mask else out
        return function(arrays["X"], arrays["w"], arrays.get("b", bias), out=out, **options)

    def expected():
        W = arrays["w"].reshape(d, -1)
        z = oracle.forward(ar, [(W, arrays.get("b", np.array([bias])))], arrays["X"])[0][0]
        z = z.row() if single else z
        one = ar.exact(np.ones(shape))
        return (ar.relu(z), ar.gate(one, z)) if with_mask else (z,)

    compiled = None if single else affine_relu if with_mask else affine
    outs = ((shape, dtype), (shape, bool)) if with_mask else ((shape, dtype),)
    return Call(function.__name__, arrays, python, expected, compiled, outs=outs,
                swappable=not with_mask, flops=2 * n * d * k)  # fmt: skip


def backward_call(rng, dtype):
    n, d, k = draw_shape(rng)
    arrays = {"grad_a": draw(rng, (n, k), dtype), "X": draw(rng, (n, d), dtype),
              "W": draw(rng, (d, k), dtype), "mask": rng.random((n, k)) < 0.5}  # fmt: skip
    if rng.random() < 0.06:
        plant(rng, arrays, dtype)
    ar = Arithmetic(dtype)

    def python(arrays, out=None, **options):
        return fg.affine_relu_backward(*arrays.values(), out=out, **options)

    def expected():
        delta = ar.exact(np.where(arrays["mask"], arrays["grad_a"], dtype.type(0)))
        return oracle.layer_back(ar, delta, ar.exact(arrays["X"]), arrays["W"])

    outs = ((n, d), dtype), ((d, k), dtype), ((k,), dtype)
    return Call("affine_relu_backward", arrays, python, expected, affine_relu_backward,
                outs=outs, flops=4 * n * d * k)  # fmt: skip


def relu_call(rng, dtype):
    n, d, _ = draw_shape(rng)
    arrays = {"Z": draw(rng, (n, d), dtype)}
    if rng.random() < 0.2:
        plant(rng, arrays, dtype)
    ar, masks = Arithmetic(dtype), rng.random() < 0.5
    function = fg.relu_mask if masks else fg.relu

    def python(arrays, out=None):
        return function(arrays["Z"], out=out and out[0])

    def expected():
        Z = ar.exact(arrays["Z"])
        return (ar.gate(ar.exact(np.ones((n, d))), Z) if masks else ar.relu(Z),)

    return Call(function.__name__, arrays, python, expected, relu_mask if masks else relu,
                outs=(((n, d), bool if masks else dtype),), swappable=not masks,
                threads=False)  # fmt: skip


def neuron_call(rng, dtype):
    n, d, _ = draw_shape(rng)
    arrays = {"w": draw(rng, d, dtype, None, d**-0.5), "X": draw(rng, (n, d), dtype),
              "y": draw(rng, n, dtype)}  # fmt: skip
    bias, ar = float(draw(rng, 1, dtype)[0]), Arithmetic(dtype)
    if rng.random() < 0.25:
        return neuron_grad_call(arrays, bias, ar)
    s, refused = draw_weights(rng, n, dtype)
    if s is None:
        if rng.random() < 0.08:
            plant(rng, arrays, dtype)
    else:
        arrays["sample_weight"] = s
        spoil_idle_targets(rng, arrays["y"], s)

    def python(arrays, out=None, **options):
        w, X, y, *s = arrays.values()
        return fg.neuron_loss_and_grad(w, bias, X, y, *s, out=out and out[0], **options)

    def expected():
        w, X, y, *s = arrays.values()
        return oracle.neuron(ar, w, bias, X, y, *s)

    finite = all(np.isfinite(a).all() for a in arrays.values())
    return Call("neuron_loss_and_grad", arrays, python, expected,
                neuron if s is None else weighted_neuron, (bias,), (((d,), dtype),), s is None,
                flops=4 * n * d, refused=refused,
                checked=9 if finite or s is not None else 1)  # fmt: skip


def neuron_grad_call(arrays, bias, ar):
    arrays = {"w": arrays["w"], "X": arrays["X"]}

    def expected():
        X = ar.exact(arrays["X"])
        z = ar.product(X, ar.exact(arrays["w"][:, None]), ar.exact(np.array([bias])))
        return ar.gate(X, z), ar.gate(ar.exact(np.ones(len(z.value))), z.row())

    return Call("neuron_grad", arrays, lambda a, out=None: fg.neuron_grad(a["w"], bias, a["X"]),
                expected, threads=False)  # fmt: skip


def draw_targets(rng, loss, n, k, dtype):
    if loss == "cross_entropy":
        return rng.integers(0, k, n)
    if loss == "logistic":
        y = rng.random((n, k)) if rng.random() < 0.3 else rng.integers(0, 2, (n, k))
        return y.astype(dtype)
    y = draw(rng, (n, k), dtype)
    return np.abs(y) if loss == "poisson" else y


def network_call(rng, dtype):
    loss = str(rng.choice(LOSSES))
    n, d, k = draw_shape(rng)
    k += loss == "cross_entropy" and k == 1
    sizes = [d, *(int(h) for h in rng.integers(1, 25, rng.integers(0, 3))), k]
    is_relu = loss in OF_VALUES and rng.random() < 0.5
    in_range = loss in ("logistic", "poisson")  # targets: a NaN is in every range
    activation = str(rng.choice(ACTIVATIONS, p=[0.5, *[0.1] * 5]))
    options = {
        "activation": activation,
        "l2": float(rng.choice([0, 0, 0.25])),
        "huber_delta": float(rng.choice([1, 0.5, 16])),
        "quantile": float(rng.choice([0.5, 0.1, 0.75])),
        "output_activation": "relu" if is_relu else "identity",
    }
    net = fg.MLP(sizes, loss, dtype=dtype, **options)
    kind = rng.choice([None, "ordinary", "zeros"], p=[0.5, 0.35, 0.15])
    theta = draw(rng, net.n_parameters, dtype, kind, (2 / max(sizes[:-1])) ** 0.5)
    arrays = {
        "theta": theta,
        "X": draw(rng, (n, d), dtype),
        "y": draw_targets(rng, loss, n, k, dtype),
    }
    s, refused = draw_weights(rng, n, dtype)
    is_planted = s is None and rng.random() < 0.08
    if is_planted:
        plant(rng, arrays, dtype, d * sizes[1], in_range)
    if s is not None:
        arrays["sample_weight"] = s
        spoil_idle_targets(rng, arrays["y"], s, in_range)
    method = str(rng.choice(["loss", "loss_and_grad", "loss_and_grad", "loss_and_grad",
                             "grad_input", "predict", "predict_proba"]))  # fmt: skip
    if method == "predict_proba" and loss not in ("logistic", "cross_entropy"):
        method = "predict"
    if method.startswith("predict"):
        arrays, refused, is_planted = {"theta": theta, "X": arrays["X"]}, False, False

    def python(arrays, out=None, **options):
        if method == "loss_and_grad":
            options["out"] = out and out[0]
        return getattr(net, method)(*arrays.values(), **options)

    def expected():
        ar = Arithmetic(dtype)
        if method.startswith("predict"):
            layers = oracle.split(theta, sizes)
            out = oracle.forward(ar, layers, arrays["X"], is_relu, activation)[1][-1]
            if method == "predict":
                return (out,)
            return (oracle.sigmoid(ar, out) if loss == "logistic" else oracle.softmax(ar, out)[0],)
        value, grad, dX = oracle.network(ar, sizes, loss, *arrays.values(), l2=options["l2"],
                                         parameter=options.get(PARAMETERS.get(loss)),
                                         output_relu=is_relu, activation=activation)  # fmt: skip
        return {"loss": (value,), "grad_input": (dX,), "loss_and_grad": (value, grad)}[method]

    compiled, extra, outs = None, (), ()
    if method == "predict":
        compiled, extra, outs = predict, (network(net, n),), (((n, k), dtype),)
    elif method == "loss_and_grad":
        compiled = loss_and_grad if s is None else weighted_loss_and_grad
        extra, outs = (network(net, n, s is not None),), ((theta.shape, dtype),)
    return Call(f"{net!r}.{method}", arrays, python, expected, compiled, extra, outs,
                compiled is loss_and_grad and loss != "cross_entropy",
                flops=6 * n * theta.size, refused=refused,
                checked=(method != "grad_input") if is_planted else 9,
                writes=method == "loss_and_grad")  # fmt: skip


def draw_options(rng, kind):
    """The numbers of an optimiser."""
    options = {
        "lr": float(rng.choice([1.0, 0.1, 1e-3])),
        "weight_decay": float(rng.choice([0, 0, 0.1])),
        "clip_norm": rng.choice([None, None, 1.0, 1e-3]),
    }
    if kind in ("Momentum", "Nesterov"):
        options["momentum"] = float(rng.choice([0.9, 0.5, 0]))
    if kind == "RMSprop":
        options["rho"] = float(rng.choice([0.99, 0.5, 0]))
    if kind in ("Adam", "AdamW"):
        zero = rng.random() < 0.3
        options["beta1"] = 0.0 if zero else float(rng.choice([0.9, 0.5]))
        options["beta2"] = 0.0 if zero else float(rng.choice([0.999, 0.9]))
    if kind in ("RMSprop", "Adam", "AdamW"):
        options["eps"] = float(rng.choice([1e-8, 1e-3]))
    return options


def optimizer_call(rng, dtype):
    kind = str(rng.choice(["SGD", "Momentum", "Nesterov", "RMSprop", "Adam", "AdamW"]))
    options, p = draw_options(rng, kind), int(rng.integers(2, 200))
    theta = draw(rng, p, dtype, "ordinary" if rng.random() < 0.8 else None)
    same = rng.choice([None, "ordinary", "huge"], p=[0.5, 0.3, 0.2])
    grads = [draw(rng, p, dtype, same) for _ in range(rng.integers(1, 6))]
    arrays = {f"grad{i}": g for i, g in enumerate(grads)}
    make = getattr(fg, kind)

    def python(arrays, out=None):
        x, opt = theta.copy() if out is None else out[0], make(**options)
        for g in arrays.values():
            opt.step(x, g)
        return x

    def compiled(*arguments):
        *grads, out = arguments
        handle = optimizer(make(**options), fg.MLP([p - 1, 1], dtype=dtype))
        for g in grads:
            one_step(g, handle, out)
        return (out,)

    def expected():
        numbers = {**options, "kind": kind, "eps": options.get("eps", 0)}
        return (oracle.optimizer(Arithmetic(dtype), theta, grads, **numbers),)

    return Call(f"{make(**options)!r}.step", arrays, python, expected, compiled,
                outs=((theta.shape, dtype),), swappable=True, threads=False,
                start=theta)  # fmt: skip


KINDS = {layer_call: 0.18, backward_call: 0.12, relu_call: 0.06, neuron_call: 0.18,
         network_call: 0.32, optimizer_call: 0.14}  # fmt: skip
