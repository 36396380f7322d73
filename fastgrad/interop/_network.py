"""What several guests ask of a network."""

from __future__ import annotations

import numpy as np

from .._core.calls import checked_network
from ..curvature import hvp
from ..kernels import records as at
from ..network import MLP

__all__ = ["checked_network", "grad_along", "loss_and_grads", "with_dtype"]


def with_dtype(net, dtype) -> MLP:
    """The same network of another dtype."""
    return MLP(**{**net.spec.settings(), "dtype": dtype})


def loss_and_grads(net, theta, X, y, sample_weight=None):
    """The loss, its gradient (p,) and its gradient with respect to X (n, d), in one pass."""
    theta, X, y, sample_weight = net._checked(theta, X, y, sample_weight, sparse=False)
    grad, dx = np.empty_like(theta), np.empty_like(X)
    want = at.GRADIENT | at.INPUT_GRADIENT
    loss = net._run(want, theta, X, y, sample_weight, grad, dx, None)
    return loss, grad, dx


def grad_along(net, theta, X, y, sample_weight, tangent, tangent_X=None):
    """How the gradient by theta moves as theta moves along `tangent`, and X along `tangent_X`.

    Without `tangent_X` that is `hvp`. With it: the network of inputs [X, tangent_X] and weights
    [W; 0] computes the same, and moves the same as its first weights move along [tangent of W; W].
    Its gradient by these is [X, tangent_X]^T D, so what is looked for is the upper half of its
    change, X^T RD, and the lower half of itself, tangent_X^T D.
    """
    if tangent_X is None:
        return hvp(net, theta, X, y, tangent, sample_weight)
    d, h = net.layer_sizes[:2]
    sizes = (2 * d, *net.layer_sizes[1:])
    wide, first = MLP(**{**net.spec.settings(), "layer_sizes": sizes}), d * h
    zeros = np.zeros(first, net.dtype)
    theta, tangent = (
        np.concatenate([vector[:first], below, vector[first:]])
        for vector, below in ((theta, zeros), (tangent, theta[:first]))
    )
    given = theta, np.concatenate([X, tangent_X], axis=1), y
    moved = hvp(wide, *given, tangent, sample_weight)
    _, grad = wide.loss_and_grad(*given, sample_weight)
    product = np.concatenate([moved[:first], moved[2 * first :]])
    product[:first] += grad[first : 2 * first]
    return product
