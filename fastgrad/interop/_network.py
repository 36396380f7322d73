"""What several guests ask of a network."""

from __future__ import annotations

import numpy as np

from .._core.calls import checked_network
from ..kernels import records as at
from ..network import MLP

__all__ = ["checked_network", "loss_and_grads", "with_dtype"]


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
