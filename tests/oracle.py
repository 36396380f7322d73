"""FORMULAS.md in extended precision, with a bound on the error of every result (see `bounds`).

Apart from `fastgrad.reference`. No bound is fitted; two numbers are promises instead, of the guide
and of `kernels/vmath.py`: a loss adds up its terms to within 8 units, whatever their number; exp,
log and log1p are right to 2 ulp.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from bounds import WORK, Bounded, joined, magnitude, settled, size

U64 = 2.0**-53
LOSS_UNITS, ULPS = 8, 2
TINY_NORM = 2.0**-537  # root of the smallest subnormal of float64


# losses: outputs and targets to the terms of the mean, and their slopes by the outputs


def squared(ar, z, y, _):
    """Formula 18: e^2 and 2 e, e = z - y: a rounding of e, one of its square."""
    e = ar.difference(z, ar.exact(y))
    return ar.times(e, e), Bounded(
        2 * e.value, 2 * e.error, e.overflow | (2 * size(e) > ar.largest)
    )


def huber(ar, z, y, threshold):
    """Formula 27: slope at most min(threshold, |e|), then two roundings of the value; the slope is
    e cut off at the threshold, Lipschitz 1."""
    e = ar.difference(z, ar.exact(y))
    far, error = np.abs(e.value), settled(e)
    value = np.where(far <= threshold, e.value**2 / 2, threshold * (far - threshold / WORK(2)))
    value = ar.rounded(value, np.minimum(threshold, size(e)) * error, None, 2, 2)
    slope = np.clip(e.value, -threshold, threshold)
    return value, Bounded(slope, _at_most(2 * threshold, error), np.zeros(slope.shape, bool))


def _at_most(most, error):
    """A bound that cannot exceed `most`, unless the operand may be no number at all."""
    return np.where(np.isinf(error), np.inf, np.fmin(most, error))


def sigmoid(ar, z) -> Bounded:
    """With t = exp(-|z|) to 2 ulp: 2 ULPS u and eta each in the numerator and the denominator
    1 + t, whose sum and quotient round once. The derivative s(1 - s) grows by at most e^|dz|, and
    is at most 1/4."""
    t, dz = np.exp(-np.abs(z.value)), settled(z)
    value = np.where(z.value > 0, 1 / (1 + t), t / (1 + t))
    steep = np.where(dz <= 1, magnitude(t / (1 + t) ** 2) * np.expm1(dz), np.inf)
    error = _at_most(1, np.minimum(steep, dz / 4))
    most = np.minimum(magnitude(value) + error, 1)
    return ar.rounded(value, error, most, 4 * ULPS + 2, 4 * ULPS + 1)


def logistic(ar, z, y, _):
    """Formula 26. From the output: the slope s(z) - y, at most 1, changes by at most |dz|/4. At
    z' itself: exp and log1p to 2 ulp (log1p is Lipschitz 1, and at most t), y z and the difference,
    which are exact for y = 0 and 1, and the sum."""
    p, dz = sigmoid(ar, z), settled(z)
    t, y = np.exp(-np.abs(z.value)), ar.exact(y)
    line = np.where(z.value <= 0, 0, z.value) - y.value * z.value
    error = np.fmin(1, magnitude(p.value - y.value) + dz / 4) * dz
    most = 4 * ULPS * np.where(dz > 1, 1, magnitude(t) * np.exp(dz))
    fraction = (y.value > 0) & (y.value < 1)
    most += np.where(fraction, 2 * size(z), 0)
    value = ar.rounded(np.log1p(t) + line, error + ar.gamma(1) * most, None, 1, 4 * ULPS + 1)
    return value, ar.difference(p, y)


def softmax(ar, z):
    """Formula 25: (probabilities, log of the sum, the row maximum). z - max rounds once, by
    u |z - max| in the exponent; exp is right to 2 ulp; their sum makes gamma_k; the quotient is a
    division and a product. From the outputs: p grows by at most e^(2 max |dz|)."""
    k = z.value.shape[1]
    top = z.value.max(axis=1, keepdims=True)
    far, dz = z.value - top, settled(z).max(axis=1, keepdims=True)
    t = np.exp(far)
    total = t.sum(axis=1, keepdims=True)
    p, share = t / total, magnitude(t / total)
    grown = np.exp(ar.u * (magnitude(far) + 2 * dz)) * (1 + ar.gamma(2 * ULPS))
    grown = np.where(t > 0, grown, 1)
    whole = (share * grown).sum(axis=1, keepdims=True) * (1 + ar.gamma(k)) - 1
    whole += 2 * ULPS * k * ar.eta
    relative = grown * (1 + ar.gamma(3)) / np.maximum(1 - whole, 0) - 1
    error = share * (np.exp(2 * dz) * relative + np.expm1(2 * dz))
    proba = ar.rounded(p, np.where(dz <= 1, error, _at_most(1, dz)), None, 1, 2 * ULPS + 3)
    log_error = whole / np.maximum(1 - whole, 0)
    return proba, Bounded(np.log(total), log_error, np.zeros(total.shape, bool)), top


def cross_entropy(ar, z, labels, _):
    """Formula 25: log of the sum, to 2 ulp, less z_label - max, which rounds once, as does their
    difference. From the outputs: E = |dz_label| + max |dz| in every exponent moves it by at most
    E, and by (1 - p_label)(e^E - 1)."""
    rows = np.arange(len(labels))
    p, log_sum, top = softmax(ar, z)
    offset = z.value[rows, labels] - top[:, 0]
    value, dz = log_sum.value[:, 0] - offset, settled(z)
    E = dz[rows, labels] + dz.max(axis=1)
    error = np.fmin(E, magnitude(1 - p.value[rows, labels]) * np.expm1(E))
    logs = magnitude(log_sum.value[:, 0]) + log_sum.error[:, 0] + 2 * dz.max(axis=1)
    error = np.where(E > 0, error, 0) + log_sum.error[:, 0]
    error = error + ar.gamma(2 * ULPS) * logs + ar.u * (magnitude(offset) + E)
    hot = ar.exact(np.arange(z.value.shape[1]) == labels[:, None])
    return ar.rounded(value, error, None, 1, 2 * ULPS), ar.difference(p, hot)


def absolute(ar, z, y, _):
    """Formula 29: |e|; the slope is its sign, unknown where e' may have either."""
    e = ar.difference(z, ar.exact(y))
    return e._replace(value=np.abs(e.value)), Bounded(*_sign(e, 1, 1))


def _sign(e, above, below):
    """(`above` where e > 0, -`below` where e < 0, 0 between; the error, 0 where e's sign is sure;
    nowhere an overflow)."""
    value = np.where(e.value > 0, above, np.where(e.value < 0, -below, 0 * e.value))
    far, error = magnitude(e.value), settled(e)
    sure = (far > error) | (error == 0)
    wrong = np.where(np.isinf(error), np.inf, float(above + below))
    return value, np.where(sure, 0, wrong), np.zeros(value.shape, bool)


def pinball(ar, z, y, level):
    """Formula 29: e times its slope, 1 - level or -level; level and 1 - level round, to u in all,
    and so does the product. The value is Lipschitz 1."""
    e, level = ar.difference(z, ar.exact(y)), WORK(level)
    slope, unsure, _ = _sign(e, 1 - level, level)
    value = ar.rounded(slope * e.value, settled(e) + 2 * ar.u * size(e))
    return value, ar.rounded(slope, unsure + 2 * ar.u, None, 0, 0)


def poisson(ar, z, y, _):
    """Formula 29: rate - y z and rate - y; the rate exp(z), to 2 ulp, grows by at most e^|dz|.
    Beyond the dtype's range nothing is known of it: it may be beyond the extended one too."""
    top, y = np.log(WORK(ar.largest)) + 1, ar.exact(y)
    beyond = np.isfinite(z.value) & (z.value > top)
    value = np.exp(np.where(beyond, top, z.value))
    error = np.where(beyond, np.inf, magnitude(value) * np.expm1(settled(z)))
    rate = ar.rounded(value, error, None, 2 * ULPS, ULPS)
    return ar.difference(rate, ar.times(y, z)), ar.difference(rate, y)


LOSSES = {
    "mse": squared, "huber": huber, "logistic": logistic, "cross_entropy": cross_entropy,
    "absolute_error": absolute, "quantile": pinball, "poisson": poisson,
}  # fmt: skip
OVER_OUTPUTS = ("mse", "huber", "absolute_error", "quantile")  # means over outputs too


# activations (formula 28): pre-activations to activations, and to the slope, known from these


def tanh(ar, z) -> Bounded:
    """To 2 ulp; the slope 1 - tanh^2, at most 1, grows by at most e^(2 |dz|)."""
    value, dz = np.tanh(z.value), settled(z)
    steep = np.where(dz <= 1, magnitude(1 - value**2) * np.expm1(2 * dz) / 2, np.inf)
    return ar.rounded(value, _at_most(2, np.minimum(steep, dz)), None, 2 * ULPS, ULPS)


def tanh_slope(ar, a, z) -> Bounded:
    """(1 - a)(1 + a): both round, and their product."""
    one = ar.exact(np.ones(a.value.shape))
    return ar.times(ar.difference(one, a), ar.difference(one, a._replace(value=-a.value)))


def sigmoid_slope(ar, a, z) -> Bounded:
    return ar.times(a, ar.difference(ar.exact(np.ones(a.value.shape)), a))


def softplus(ar, z) -> Bounded:
    """log1p(t) + max(z, 0), t = exp(-|z|): exp and log1p to 2 ulp, and their sum, none of which is
    negative. The slope, sigmoid(z), is at most 1 and grows by at most e^|dz|."""
    t, dz = np.exp(-np.abs(z.value)), settled(z)
    share = np.where(z.value > 0, 1 / (1 + t), t / (1 + t))
    steep = np.where(dz <= 1, magnitude(share) * np.expm1(dz), np.inf)
    value = np.log1p(t) + np.where(z.value <= 0, 0, z.value)
    return ar.rounded(value, np.fmin(steep, dz), None, 4 * ULPS + 1, 4 * ULPS + 1)


def softplus_slope(ar, a, z) -> Bounded:
    """1 - exp(-a), to 2 ulp, with a slope of exp(-a) itself."""
    return ar.rounded(-np.expm1(-a.value), settled(a), None, 2 * ULPS, ULPS)


LEAK = WORK(0.01)


def leaky_relu(ar, z) -> Bounded:
    """Lipschitz 1; the leak rounds, and its product."""
    value = np.where(z.value <= 0, LEAK * z.value, z.value)
    return ar.rounded(value, settled(z), None, 2, 1)


def leaky_relu_slope(ar, a, z) -> Bounded:
    """The leak or 1, unknown where z' may have either sign."""
    sure = (np.abs(z.value) > settled(z)) | (settled(z) == 0)
    value = np.where(z.value <= 0, LEAK, WORK(1))
    return ar.rounded(value, np.where(sure, 0, 1 - float(LEAK)), None, 1, 0)


ACTIVATIONS = {
    "tanh": (tanh, tanh_slope), "sigmoid": (sigmoid, sigmoid_slope),
    "softplus": (softplus, softplus_slope), "leaky_relu": (leaky_relu, leaky_relu_slope),
}  # fmt: skip


def activated(ar, name, z) -> Bounded:
    if name == "identity":
        return z
    return ar.relu(z) if name == "relu" else ACTIVATIONS[name][0](ar, z)


def through_slope(ar, name, delta, a, z) -> Bounded:
    """The gradient by a activation to that by its pre-activation."""
    if name == "identity":
        return delta
    if name == "relu":
        return ar.gate(delta, z)
    return ar.times(delta, ACTIVATIONS[name][1](ar, a, z))


def mean(ar, terms: Bounded, s, total, penalty=0.0) -> Bounded:
    """Sum of s times the terms over `total`, plus a penalty: the terms' own errors, and 8 units of
    the sum of their sizes."""
    s = s.reshape(-1, *[1] * (terms.value.ndim - 1))
    value = (s * terms.value).sum() / total + penalty
    parts = magnitude(s)
    error = (parts * terms.error).sum() / float(total)
    sizes = (parts * magnitude(terms.value)).sum() / float(total) + magnitude(penalty)
    error += LOSS_UNITS * 2 * ar.u * sizes + terms.value.size * ar.eta / float(total)
    most = (np.maximum(parts, 1) * size(terms)).sum() + magnitude(penalty)
    overflow = ~(most < ar.largest) | terms.overflow.any()
    return Bounded(value, np.where(np.isnan(error), np.inf, error), overflow)


def shares(ar, s, total) -> Bounded:
    """s / total: a sum of n terms in float64, a division, a rounding to the dtype, a product."""
    value = s / total
    return ar.rounded(value, magnitude(value) * (len(s) + 3) * U64, None, 2, 2)


# networks


def split(theta, sizes):
    """[(W, b), ...] of a flat vector: layer by layer W (d, k) row-major and b (k,)."""
    layers, start = [], 0
    for d, k in pairwise(sizes):
        W, b = theta[start : start + d * k], theta[start + d * k : start + (d + 1) * k]
        layers.append((W.reshape(d, k), b))
        start += (d + 1) * k
    return layers


def forward(ar, layers, X, output_relu=False, activation="relu"):
    """Formulas 23 and 28: (pre-activations, activations, X the first)."""
    zs, activations = [], [ar.exact(X)]
    for i, (W, b) in enumerate(layers):
        z = ar.product(activations[-1], ar.exact(W), ar.exact(b))
        zs.append(z)
        output = "relu" if output_relu else "identity"
        activations.append(activated(ar, activation if i < len(layers) - 1 else output, z))
    return zs, activations


def layer_back(ar, delta: Bounded, a: Bounded, W):
    """Formula 23: (delta W^T, a^T delta, 1^T delta)."""
    ones = ar.exact(np.ones((1, len(delta.value))))
    gb = ar.product(ones, delta)
    return ar.product(delta, ar.exact(W).T), ar.product(a.T, delta), gb.row()


def network(
    ar, sizes, loss, theta, X, y, s=None, l2=0.0, parameter=1.0, output_relu=False,
    activation="relu",
):  # fmt: skip
    """Formulas 24 to 29: (loss, gradient, gradient by X). Rows of weight 0 do not count; an
    element-wise output is one of n k terms (`OVER_OUTPUTS`) or of n. `parameter` is the loss's."""
    n, counts = len(X), np.ones(len(X), bool) if s is None else s > 0
    layers = split(theta, sizes)
    idle, _ = forward(ar, layers, X[~counts], False, activation)
    s = np.ones(n, WORK) if s is None else s[counts].astype(WORK)
    total = s.sum() * (sizes[-1] if loss in OVER_OUTPUTS else 1)
    zs, activations = forward(ar, layers, X[counts], output_relu, activation)
    terms, slope = LOSSES[loss](ar, activations[-1], y[counts], parameter)
    squares = sum((W.astype(WORK) ** 2).sum() for W, _ in layers) if l2 else WORK(0)
    value = mean(ar, terms, s, total, l2 / WORK(2) * squares)
    lost = ~(squares < np.finfo(np.float64).max)  # the sum of squares, before its factor
    value = value._replace(overflow=value.overflow | lost)
    delta = ar.times(slope, Bounded(*(part[:, None] for part in shares(ar, s, total))), 1, 4)
    if output_relu:
        delta = ar.gate(delta, zs[-1])
    grads = []
    for i, (W, _) in reversed(list(enumerate(layers))):
        back, gW, gb = layer_back(ar, delta, activations[i], W)
        decay = l2 * W.astype(WORK) if l2 else np.zeros(W.shape, WORK)
        gW = ar.rounded(gW.value + decay, settled(gW), size(gW) + magnitude(decay), 3, 1)
        grads[:0] = [gW, gb]
        delta = through_slope(ar, activation, back, activations[i], zs[i - 1]) if i else back
    result = value, joined(grads), _in_rows(delta, counts)
    return spoiled(result) if may_overflow(ar, idle) else result


def may_overflow(ar, zs) -> bool:
    """Whether rows of no weight may yet make outputs, or squares of them, that are not finite:
    0 times these is NaN."""
    return any(bool((~(size(z) ** 2 < ar.largest)).any()) for z in zs)


def spoiled(results):
    """The same, of which nothing is known."""
    return tuple(x._replace(error=np.full(np.shape(x.error), np.inf)) for x in results)


def _in_rows(part: Bounded, counts) -> Bounded:
    """The rows that count in their places, zeros between them."""
    whole = [np.zeros((len(counts), part.value.shape[1]), p.dtype) for p in part]
    for p, given in zip(whole, part):
        p[counts] = given
    return Bounded(*whole)


def neuron(ar, w, b, X, y, s=None):
    """Formulas 18 to 20: (loss, dC/dw, dC/db). s e and its product with e or x round once each,
    sums are divided at the end: by a sum of weights and into the dtype, three roundings more."""
    counts = np.ones(len(X), bool) if s is None else s > 0
    idle, _ = forward(ar, [(w[:, None], np.array([b]))], X[~counts])
    X, y = X[counts], y[counts]
    s = np.ones(len(X), WORK) if s is None else s[counts].astype(WORK)
    total = s.sum()
    z = ar.product(ar.exact(X), ar.exact(w[:, None]), ar.exact(np.array([b])))
    e = ar.difference(ar.relu(z), ar.exact(y[:, None]))
    terms = ar.times(e, e, 2, 1)
    scaled = ar.times(e, ar.exact(s[:, None]))
    product = ar.times(scaled, e)  # what overflows or underflows on the way
    value = mean(ar, terms, s, total)
    underflow = product.value.size * ar.eta * (1 + np.max(size(e))) / float(total)
    value = Bounded(value.value, value.error + underflow, value.overflow | product.overflow.any())
    _, gw, gb = layer_back(ar, ar.gate(scaled, z), ar.exact(X), w[:, None])
    factor = Bounded(1 / total, float(1 / total) * (len(s) + 3) * U64, np.False_)
    twice = (ar.rounded(2 * g.value, 2 * settled(g), None, 0, 0) for g in (gw, gb))
    result = value, *(ar.times(g, factor, 2, 1).row() for g in twice)
    return spoiled(result) if may_overflow(ar, idle) else result


# optimisers: formula 21 and what grew out of it


def _gradient(ar, g, x: Bounded, decay, clip) -> Bounded:
    """factor g + decay x. The norm is a float64 sum of p squares; the factor is rounded to the
    dtype, decay too, then a product, and a sum."""
    factor = Bounded(WORK(1), np.float64(0), np.False_)
    if clip is not None:
        norm = np.sqrt((g.astype(WORK) ** 2).sum())
        value = np.minimum(WORK(1), clip / (norm + WORK(1e-6)))
        relative = (g.size + 8) * U64 + TINY_NORM * np.sqrt(g.size) / 1e-6
        lost = not float(norm) < 2.0**511  # the sum of squares may overflow, whatever the dtype
        factor = ar.rounded(value, np.where(lost, np.inf, float(value) * relative))
    scaled = ar.times(factor, ar.exact(g), 0, 0)
    shrunk = decay * x.value
    most = size(scaled) + decay * size(x)
    error = settled(scaled) + decay * settled(x)
    return ar.rounded(scaled.value + shrunk, error, most, 3 if decay else 1, 2)


def _average(ar, old: Bounded, new: Bounded, keep, take, roundings) -> Bounded:
    """keep old + take new, of which nothing subnormal need be kept, neither a part nor the sum."""
    value = WORK(keep) * old.value + WORK(take) * new.value
    keep, take = float(keep), float(take)
    error = keep * settled(old) + take * settled(new) + 2 * ar.tiny
    return ar.rounded(value, error, keep * size(old) + take * size(new), roundings)


def _square(g: Bounded, take) -> Bounded:
    """take g^2, where g^2 alone may be larger than the dtype holds."""
    error = float(take) * (2 * magnitude(g.value) + settled(g)) * settled(g)
    return Bounded(WORK(take) * g.value**2, error, np.zeros(np.shape(error), bool))


def _number(ar, value, relative=0.0) -> Bounded:
    """A number formed in float64 to within `relative`, rounded to the dtype."""
    return ar.rounded(WORK(value), float(abs(value)) * (relative + 2 * U64))


def _bias(beta, t):
    """1 - beta^t, and its relative error in float64: the power rounds twice."""
    power = WORK(beta) ** t
    return 1 - power, float(2 * power / (1 - power) + 2) * U64


def _momentum(ar, g, x, state, t, o):
    """v = mu v + g; lr v, or lr (g + mu v) with Nesterov's look ahead."""
    state["v"] = v = _average(ar, state["v"], g, o["momentum"], 1, 3)
    step = _average(ar, v, g, o["momentum"], 1, 3) if o["kind"] == "Nesterov" else v
    return ar.times(_number(ar, o["lr"]), step)


def _rmsprop(ar, g, x, state, t, o):
    """s = rho s + (1 - rho) g^2; lr g / (sqrt(s) + eps)."""
    state["v"] = v = _average(ar, state["v"], _square(g, 1 - WORK(o["rho"])), o["rho"], 1, 6)
    root = ar.root(v)
    below = ar.rounded(root.value + WORK(o["eps"]), settled(root), None, 2)
    return ar.quotient(ar.times(_number(ar, o["lr"]), g), below)


def _adam(ar, g, x, state, t, o):
    """m and v, means of g and g^2; lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)."""
    beta1, beta2 = o["beta1"], o["beta2"]
    state["m"] = m = _average(ar, state["m"], g, beta1, 1 - WORK(beta1), 5)
    state["v"] = v = _average(ar, state["v"], _square(g, 1 - WORK(beta2)), beta2, 1, 6)
    (bias1, r1), (bias2, r2) = _bias(beta1, t), _bias(beta2, t)
    root = ar.times(ar.root(v), _number(ar, 1 / np.sqrt(bias2), r2))
    below = ar.rounded(root.value + WORK(o["eps"]), settled(root), None, 2)
    return ar.times(_number(ar, o["lr"] / bias1, r1), ar.quotient(m, below))


_STEPS = {
    "SGD": lambda ar, g, x, state, t, o: ar.times(_number(ar, o["lr"]), g),
    "Momentum": _momentum, "Nesterov": _momentum, "RMSprop": _rmsprop, "Adam": _adam,
    "AdamW": _adam,
}  # fmt: skip


def optimizer(ar, theta, grads, **options) -> Bounded:
    """theta after a step for each gradient; options: kind, lr, weight_decay, clip_norm, its own."""
    zero = ar.exact(np.zeros_like(theta))
    state = {"m": zero, "v": zero}
    decay, decoupled = options["weight_decay"], options["kind"] == "AdamW"

    x = ar.exact(theta)
    for t, g in enumerate(grads, 1):
        g = _gradient(ar, g, x, 0.0 if decoupled else decay, options["clip_norm"])
        step = _STEPS[options["kind"]](ar, g, x, state, t, options)
        if decoupled:
            x = ar.times(x, _number(ar, 1 - WORK(options["lr"]) * WORK(decay), U64))
        x = ar.difference(x, step)
    return x
