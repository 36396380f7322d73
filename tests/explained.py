"""What each derivation's numbers should be: hand-written NumPy, one list a formula, in order.

Nothing here calls the library. A list holds the values of all steps as they are shown.
"""

from itertools import pairwise

import numpy as np

NEURON = {
    "w": [1.0, 2.0], "b": -1.0, "X": [[2.0, 1.0], [1.0, 3.0], [0.5, -1.0]], "y": [1.0, 7.0, 1.0],
    "lr": 0.1,
}  # fmt: skip
LAYER = {
    "X": [[1.0, 2.0, -1.0], [3.0, -1.0, 0.5]], "W": [[1.0, -1.0], [0.5, 2.0], [-2.0, 1.0]],
    "b": [0.5, -1.0], "grad": [[0.5, -1.0], [2.0, 1.5]],
}  # fmt: skip
W3, X3 = (1.0, 2.0, -1.0), (0.5, 1.0, 2.0)
X8, X9 = (0.5, 4.0, 2.0), (1.0, -2.0, 0.5)


def column(values):
    return np.asarray(values)[:, None]


def softmax(Z):
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# Formulas 3 to 14


def row_03(x=2.0):
    derivatives = [0, 3 * x**2, 3, 1 + 2 * x, 2 * x - 3 * x**2, 3 * x**2, 9 + 18 * x]
    return [number for derivative in derivatives for number in (x, derivative)]


def row_04(x=1.5, y=0.5):
    return [x, y, [[6 * y * x, 3 * x**2]], x, y, [[2, 8 * y**7]]]


def row_05(x=1.5, y=0.5):
    return [*row_04(x, y), [[6 * y * x, 3 * x**2], [2, 8 * y**7]]]


def row_06(x=X9):
    return [x, np.diag(2 * np.asarray(x)), np.eye(len(x))]


def row_07(w=W3, x=X3):
    w, x = np.asarray(w), np.asarray(x)
    return [
        w, x, np.sin(x), np.diag(2 * w * np.sin(x)),
        w, x, w**2, np.diag(w**2 * np.cos(x)),
    ]  # fmt: skip


def row_08(w=W3, x=X8):
    w, x = np.asarray(w), np.asarray(x)
    one = np.ones_like(w)
    diagonals = [
        (one, one), (one, -one), (x, w), (1 / x, -w / x**2), (1.0 * (w > x), 1.0 * (x > w)),
        (0 * one, 0 * one),
    ]  # fmt: skip
    return [value for dw, dx in diagonals for value in (w, x, np.diag(dw), np.diag(dx))]


def row_09(x=X9, z=3.0):
    n = len(x)
    return [x, z, np.eye(n), np.ones((n, 1)), x, z, np.eye(n) * z, column(x)]


def row_10(x=X9, z=3.0):
    x = np.asarray(x)
    ones = np.ones((1, x.size))
    return [x, np.diag(2 * x), 2 * x[None], x, ones, x, z, z * ones, x.sum()]


def row_11(x=0.9):
    u2 = np.sin(x**3)
    return [
        x, np.cos(x**2), 2 * x, 2 * x * np.cos(x**2),
        1 / u2**2, 2 * u2, np.cos(x**3), 3 * x**2, 6 * x**2 * np.cos(x**3) / np.sin(x**3),
    ]  # fmt: skip


def row_12(x=0.9):
    return [x, 1 + 2 * x, x, np.cos(x + x**2) * (1 + 2 * x), x, 3 * x**2]


def row_13(x=0.9):
    outer = np.diag([1 / x**2, np.cos(3 * x)])
    return [x, outer, [[2 * x], [3]], [[2 / x], [3 * np.cos(3 * x)]]]


def row_14(x=(0.5, 1.0, -1.5)):
    x = np.asarray(x)
    v, slope = np.arange(1, x.size + 1), 2 * x * np.cos(x**2)
    return [x, np.diag(slope), slope, v, (v * (x > 0))[None]]


# The neuron: 1, 2, 15 to 22


class Neuron:
    """All numbers of the neuron, by the name of the step that shows them."""

    def __init__(self, w, b, X, y, lr):
        w, X, y = (np.asarray(array, np.float64) for array in (w, X, y))
        n = len(y)
        z = X @ w + b
        mask = z > 0
        a = np.where(mask, z, 0.0)
        loss = np.mean((y - a) ** 2)
        by_a = 2 / n * (a - y)
        by_z = by_a * mask
        gw, gb = by_z @ X, by_z.sum()
        w1, b1 = w - lr * gw, b - lr * gb
        after = np.mean((y - np.maximum(0, X @ w1 + b1)) ** 2)
        ones = np.ones((n, 1))
        self.affine = [w, b, X, z]
        self.activation = [a, mask]
        self.loss = [y, loss]
        self.affine_gradients = [X, ones]
        self.relu_derivative = [mask, np.diag(1.0 * mask)]
        self.activation_gradients = [X * mask[:, None], column(1.0 * mask)]
        self.loss_by_activation = [by_a[None]]
        self.delta = [by_z[None]]
        self.by_weights = [gw[None]]
        self.by_bias = [[[gb]]]
        self.augmented = [np.append(w, b), np.hstack([X, ones]), np.append(gw, gb)[None]]
        self.descent = [lr, w1, b1, loss, after]

    def of(self, *names):
        return [value for name in names for value in getattr(self, name)]


def neuron_values(w, b, X, y, lr):
    return Neuron(w, b, X, y, lr).of(
        "affine", "activation", "loss", "affine_gradients", "relu_derivative",
        "activation_gradients", "loss_by_activation", "delta", "by_weights", "by_bias", "descent",
    )  # fmt: skip


def _neuron(*names):
    return lambda **given: Neuron(**{**NEURON, **given}).of(*names)


# Layers and networks: 23, 24


def layer_values(X, W, b, grad):
    X, W, b, grad = (np.asarray(array, np.float64) for array in (X, W, b, grad))
    k = W.shape[1]
    Z = X @ W + b
    mask = Z > 0
    delta = grad * mask
    tensor = np.einsum("il,jm->ijlm", X, np.eye(k)).reshape(Z.size, W.size)
    gW = X.T @ delta
    return [
        X, W, b, Z, Z * mask, mask, grad, delta, tensor, delta.reshape(1, -1), gW.reshape(1, -1),
        gW.T, delta.sum(axis=0)[None], (delta @ W.T).T,
    ]  # fmt: skip


ACTIVATIONS = {
    "relu": (lambda Z: np.maximum(Z, 0), lambda Z: 1.0 * (Z > 0)),
    "identity": (lambda Z: Z, np.ones_like),
    "tanh": (np.tanh, lambda Z: 1 / np.cosh(Z) ** 2),
    "sigmoid": (
        lambda Z: 1 / (1 + np.exp(-Z)),
        lambda Z: np.exp(-Z) / (1 + np.exp(-Z)) ** 2,
    ),
    "softplus": (lambda Z: np.log(1 + np.exp(Z)), lambda Z: 1 / (1 + np.exp(-Z))),
    "leaky_relu": (lambda Z: np.where(Z > 0, Z, 0.01 * Z), lambda Z: np.where(Z > 0, 1, 0.01)),
}


def loss_values(name, Z, y, huber_delta=1.0, quantile=0.5):
    """([what is shown between the targets and the loss], loss, derivative by Z)."""
    n, k = Z.shape
    if name == "cross_entropy":
        p = softmax(Z)
        loss = -np.mean(np.log(p[np.arange(n), y]))
        return [p], loss, (p - np.eye(k)[y]) / n
    e = Z - y
    if name == "mse":
        return [], np.mean(e**2), 2 * e / e.size
    if name == "logistic":
        p = 1 / (1 + np.exp(-Z))
        return [p], -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) / n, (p - y) / n
    if name == "huber":
        inside = abs(e) <= huber_delta
        each = np.where(inside, e**2 / 2, huber_delta * (abs(e) - huber_delta / 2))
        slope = np.where(inside, e, huber_delta * np.sign(e))
        return [huber_delta], np.mean(each), slope / e.size
    if name == "absolute_error":
        return [], np.mean(abs(e)), np.sign(e) / e.size
    if name == "quantile":
        each = np.where(e > 0, (1 - quantile) * e, -quantile * e)
        slope = np.where(e > 0, 1 - quantile, np.where(e < 0, -quantile, 0.0))
        return [quantile], np.mean(each), slope / e.size
    return [], np.sum(np.exp(Z) - y * Z) / n, (np.exp(Z) - y) / n


def network_values(net, theta, X, y):
    """`net` is asked for its settings alone."""
    theta, X, y = np.asarray(theta, np.float64), np.asarray(X, np.float64), np.asarray(y)
    sizes, at, layers = net.layer_sizes, 0, []
    for d, k in pairwise(sizes):
        layers.append((theta[at : at + d * k].reshape(d, k), theta[at + d * k : at + d * k + k]))
        at += (d + 1) * k
    names = [net.activation] * (len(layers) - 1) + [net.output_activation]
    values, A, Zs = [X], [X], []
    for (W, b), name in zip(layers, names):
        Zs.append(A[-1] @ W + b)
        A.append(ACTIVATIONS[name][0](Zs[-1]))
        values += [W, b, Zs[-1], A[-1]]
    if net.loss_name != "cross_entropy":
        y = y.reshape(A[-1].shape)
    own = {
        name: getattr(net, name)
        for name in ("huber_delta", "quantile")
        if net.loss_name == name.partition("_")[0]
    }
    shown, loss, by_A = loss_values(net.loss_name, A[-1], y, **own)
    values += [y, *shown, loss, by_A]
    gradient = []
    for place in range(len(layers) - 1, -1, -1):
        W, b = layers[place]
        delta = by_A * ACTIVATIONS[names[place]][1](Zs[place])
        gW, gb = A[place].T @ delta + net.l2 * W, delta.sum(axis=0)
        gradient = [gW.ravel(), gb, *gradient]
        values += [delta, gW.T, gb[None]]
        if place:
            by_A = delta @ W.T
            values.append(by_A)
    penalty = sum(net.l2 / 2 * np.sum(W**2) for W, _ in layers)
    return [*values, loss + penalty, np.concatenate(gradient)[None]]


class Example:
    """The network of formula 24."""

    layer_sizes, loss_name, activation, output_activation, l2 = (
        (2, 3, 1),
        "mse",
        "relu",
        "identity",
        0,
    )


def row_24():
    theta = [1.0, -1.0, 0.5, 0.5, 1.0, -1.0, 0.0, 0.5, 2.0, 1.0, -0.5, 2.0, 0.25]
    return network_values(Example, theta, [[1.0, 2.0], [-1.0, 0.5]], [1.0, 0.0])


# Losses and activations: 25 to 29


def _loss(name, Z, y, **numbers):
    Z = np.array(Z)
    y = np.array(y) if name == "cross_entropy" else np.array(y).reshape(Z.shape)
    shown, loss, slope = loss_values(name, Z, y, **numbers)
    return [Z, y, *shown, loss, slope]


def row_25():
    return _loss("cross_entropy", [[2.0, 1.0, -1.0], [0.5, -0.5, 1.5]], [0, 1])


def row_26():
    return _loss("logistic", [[2.0], [-0.5], [0.25]], [1.0, 1.0, 0.0])


def row_27():
    return _loss("huber", [[1.5], [4.0], [-2.0]], [1.0, 1.0, 1.0])


def row_28():
    Z = np.array([[-2.0, -0.5, 0.5, 2.0]])
    values = []
    for name in ("leaky_relu", "tanh", "sigmoid", "softplus", "identity"):
        value, slope = ACTIVATIONS[name]
        values += [Z, value(Z), slope(Z)]
    return values


def row_29():
    Z, y = [[1.5], [0.0], [-1.0]], [1.0, 2.0, 0.0]
    return [
        *_loss("absolute_error", Z, y), *_loss("quantile", Z, y, quantile=0.25),
        *_loss("poisson", Z, y),
    ]  # fmt: skip


# Beyond single gradients: 30 to 35, on the network of formula 24


def _example():
    theta = np.array([1.0, -1.0, 0.5, 0.5, 1.0, -1.0, 0.0, 0.5, 2.0, 1.0, -0.5, 2.0, 0.25])
    return theta, np.array([[1.0, 2.0], [-1.0, 0.5]]), np.array([[1.0], [0.0]])


def _direction():
    return np.resize([0.5, -1.0, 0.25], 13)


def _gradient(theta, X, y):
    return network_values(Example, theta, X, y)[-1][0]


def _outputs(theta, X):
    W1, b1, W2, b2 = theta[:6].reshape(2, 3), theta[6:9], theta[9:12, None], theta[12]
    return np.maximum(0, X @ W1 + b1) @ W2 + b2


def _moved(theta, v, X):
    """Ż₁, Ȧ₁, Ż₂, Ȧ₂ along v."""
    W1, b1, W2 = theta[:6].reshape(2, 3), theta[6:9], theta[9:12, None]
    V1, c1, V2, c2 = v[:6].reshape(2, 3), v[6:9], v[9:12, None], v[12]
    Z1 = X @ W1 + b1
    moved = X @ V1 + c1
    A_moved = moved * (Z1 > 0)
    out = A_moved @ W2 + np.maximum(Z1, 0) @ V2 + c2
    return [moved, A_moved, out, out]


def _jacobian(theta, X):
    """The outputs' (n, p), a column a parameter."""
    return np.hstack([_moved(theta, unit, X)[-1] for unit in np.eye(theta.size)])


def row_30():
    theta, X, y = _example()
    v, U = _direction(), np.array([[1.0], [-0.5]])
    moved = _moved(theta, v, X)
    return [theta, X, y, v, *moved, moved[-1], U, U.T @ _jacobian(theta, X)]


def _rows():
    theta, X, y = _example()
    G = np.stack([_gradient(theta, X[i : i + 1], y[i : i + 1]) for i in range(len(X))])
    return [theta, X, y, G], G


def row_31():
    values, G = _rows()
    return [*values, np.sqrt(np.sum(G**2, axis=1))]


def row_32():
    values, G = _rows()
    norms = np.sqrt(np.sum(G**2, axis=1))
    theta, X, y = _example()
    clipped = np.mean(np.minimum(1, 1 / norms)[:, None] * G, axis=0)
    return [*values, 1.0, norms, np.mean((_outputs(theta, X) - y) ** 2), clipped[None]]


def row_33():
    values, G = _rows()
    return [*values, G @ G.T]


def row_34():
    """Along a line within one mask the gradient is a cubic, for which five points are exact."""
    theta, X, y = _example()
    v, h = _direction(), 1e-3
    near, far = (
        _gradient(theta + k * h * v, X, y) - _gradient(theta - k * h * v, X, y) for k in (1, 2)
    )
    return [theta, X, y, v, *_moved(theta, v, X), ((8 * near - far) / (12 * h))[None]]


def row_35():
    theta, X, y = _example()
    v, J = _direction(), _jacobian(theta, X)
    curvature = 2 / y.size
    return [theta, X, y, v, (J @ v)[:, None], curvature * (J @ v)[:, None],
            (curvature * J.T @ (J @ v))[None]]  # fmt: skip


EXPECTED = {
    1: _neuron("affine"),
    2: _neuron("affine", "activation"),
    3: row_03, 4: row_04, 5: row_05, 6: row_06, 7: row_07, 8: row_08, 9: row_09, 10: row_10,
    11: row_11, 12: row_12, 13: row_13, 14: row_14,
    15: _neuron("affine", "affine_gradients"),
    16: _neuron("affine", "relu_derivative"),
    17: _neuron("affine", "affine_gradients", "relu_derivative", "activation_gradients"),
    18: _neuron("affine", "activation", "loss", "loss_by_activation"),
    19: _neuron("affine", "activation", "loss", "loss_by_activation", "delta", "by_weights"),
    20: _neuron("affine", "activation", "loss", "loss_by_activation", "delta", "by_bias"),
    21: _neuron("affine", "activation", "loss", "by_weights", "by_bias", "descent"),
    22: _neuron("affine", "activation", "loss", "by_weights", "by_bias", "augmented"),
    23: lambda: layer_values(**LAYER),
    24: row_24, 25: row_25, 26: row_26, 27: row_27, 28: row_28, 29: row_29,
    30: row_30, 31: row_31, 32: row_32, 33: row_33, 34: row_34, 35: row_35,
}  # fmt: skip
