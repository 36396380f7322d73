"""What the tests of Jacobians and of curvature share: problems away from kinks, and their twins."""

from functools import partial

import numpy as np
from helpers import wide

import fastgrad as fg
from fastgrad import reference_derivatives as twins
from fastgrad.losses import LOSSES

SIZES = [[5, 4], [4, 3, 2], [6, 13, 9, 3], [7, 40, 1], [20, 48, 33, 4]]
OPTIONS = ("activation", "output_activation")


def network(sizes, loss="mse", dtype=np.float64, **options):
    sizes = [*sizes[:-1], max(sizes[-1], LOSSES[loss].least_outputs)]
    return fg.MLP(sizes, loss, dtype=dtype, **options)


def draw(rng, net, n, weighted=False):
    """(theta, X, y, sample_weight) as drawn: ordinary numbers, so no pre-activation is a kink's."""
    theta = rng.standard_normal(net.n_parameters) / np.sqrt(max(net.layer_sizes))
    X, k = rng.standard_normal((n, net.n_inputs)), net.n_outputs
    y = {
        "cross_entropy": lambda: rng.integers(0, k, n),
        "logistic": lambda: rng.integers(0, 2, (n, k)).astype(float),
        "poisson": lambda: rng.poisson(2.0, (n, k)).astype(float),
    }.get(net.loss_name, lambda: 2 * rng.standard_normal((n, k)))()
    s = None
    if weighted:
        s = rng.integers(0, 4, n).astype(float)
        s[rng.integers(n)] = 2
    arrays = [a if a is None or a.dtype.kind == "i" else a.astype(net.dtype) for a in (theta, X, y)]
    return *arrays, s if s is None else s.astype(net.dtype)


def options_of(net, loss=True):
    """Of a network, for its twins."""
    found = {name: getattr(net, name) for name in OPTIONS}
    if loss:
        found.update(l2=net.l2, huber_delta=net.huber_delta, quantile=net.quantile)
    return found


def twin(function, net, *arrays, s=None, **more):
    """A twin in float64, of arrays in its order: theta, X, ...; y and v as they are there."""
    of_loss = function not in (twins.mlp_jvp, twins.mlp_vjp, twins.mlp_jacobian)
    arrays = [a if a is None or a.dtype.kind == "i" else wide(a) for a in arrays]
    extra = {"loss": net.loss_name, "sample_weight": wide(s)} if of_loss else {}
    call = partial(function, *arrays, layer_sizes=net.layer_sizes)
    return call(**extra, **options_of(net, of_loss), **more)
