"""Rounding errors of networks on hard data, beside those of NumPy's closed form.

Both are measured against extended precision, entry by entry: the bias and the weights of each input
have a scale of their own.
"""

import numpy as np
import pytest
from helpers import DTYPES, EPS, F64, LOSSES, draw_problem

import fastgrad as fg
from fastgrad import reference as ref

pytestmark = pytest.mark.usefixtures("one_thread")

EXTENDED = np.longdouble
CASES = ["plain", "many rows", "twelve orders", "saturated", "dead units", "denormals"]


def hard_problem(case, loss, dtype):
    """(net, theta, X, y)."""
    rng = np.random.default_rng(18)
    n, sizes = (50_000, [13, 8, 5]) if case == "many rows" else (300, [13, 40, 20, 5])
    net = fg.MLP(sizes, loss=loss, dtype=dtype)
    theta, X = net.init(0), rng.normal(size=(n, 13))
    layers = net.unflatten(theta)
    if case == "many rows":  # nothing cancels
        X, theta = np.abs(X), np.abs(theta)
    elif case == "twelve orders":
        scale = 10.0 ** np.arange(-6, 7)
        X *= scale
        layers[0][0][...] /= scale[:, None]
    elif case == "saturated":
        layers[-1][0][...] *= 1e4
    elif case == "dead units":
        layers[0][1][::3] = layers[1][1][::2] = -1e3
    elif case == "denormals":
        X *= np.finfo(dtype).tiny
    _, _, y, _ = draw_problem(rng, sizes, n, loss, dtype)
    return net, theta, X.astype(dtype), y


def exact_loss_and_grad(net, theta, X, y):
    """Formulas 18 and 24 to 27 in extended precision."""
    layers = net.unflatten(theta.astype(EXTENDED))
    activations = [X.astype(EXTENDED)]
    for i, (W, b) in enumerate(layers):
        z = activations[-1] @ W + b
        activations.append(np.maximum(z, 0) if i < len(layers) - 1 else z)
    n, k = z.shape
    if net.loss_name == "mse":
        value, delta = ((z - y) ** 2).mean(), 2 * (z - y) / (n * k)
    elif net.loss_name == "huber":
        size, e = np.abs(z - y), z - y
        value, delta = np.where(size <= 1, e**2 / 2, size - 0.5).mean(), np.clip(e, -1, 1) / (n * k)
    elif net.loss_name == "logistic":
        value, delta = (np.logaddexp(0, z) - y * z).sum() / n, (1 / (1 + np.exp(-z)) - y) / n
    else:
        top = z.max(axis=1, keepdims=True)
        logs = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
        hot = np.arange(k) == y[:, None]
        value, delta = -logs[hot].sum() / n, (np.exp(logs) - hot) / n
    grad = np.empty(theta.size, EXTENDED)
    for i, (W, b) in reversed(list(enumerate(net.unflatten(grad)))):
        W[...], b[...] = activations[i].T @ delta, delta.sum(axis=0)
        delta = (delta @ layers[i][0].T) * (activations[i] > 0)
    return value, grad


def error(net, result, exact):
    """The worst of loss and gradient, in units of rounding."""
    worst = abs(result[0] - exact[0]) / exact[0]
    ours, true = (net.unflatten(np.asarray(grad, EXTENDED)) for grad in (result[1], exact[1]))
    for (W, b), (true_W, true_b) in zip(ours, true):
        for got, wanted in [(b, true_b), *zip(W, true_W)]:
            size = np.abs(wanted).max()
            off = np.abs(got - wanted).max()
            worst = max(worst, off / size if size else off)  # a dead unit's is exactly 0
    return float(worst) / EPS[net.dtype]


def check_beside(other, case, loss, dtype, least):
    """No more than twice the error of `other` (there is luck in both), or `least` roundings."""
    if dtype == F64 and np.finfo(EXTENDED).eps > 2.0**-60:
        pytest.skip("long double is float64 on this machine")
    net, theta, X, y = hard_problem(case, loss, dtype)
    with np.errstate(over="ignore", under="ignore"):
        exact = exact_loss_and_grad(net, theta, X, y)
        beside = error(net, other(net, theta, X, y), exact)
    own = error(net, net.loss_and_grad(theta, X, y), exact)
    assert own <= max(2 * beside, least), f"{own:.1f} units, the other {beside:.1f}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_networks_are_no_worse_than_numpy(case, loss, dtype):
    def numpys(net, theta, X, y):
        return ref.mlp_loss_and_grad(theta, X, y, net.layer_sizes, net.loss_name)

    check_beside(numpys, case, loss, dtype, least=8)
