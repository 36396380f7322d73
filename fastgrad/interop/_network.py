"""Back through a whole network from the gradient of its outputs: what several guests ask for.

The step's own kernel takes a given output gradient with a mask in the place of targets and weights;
the forward pass is made again block by block while it is in cache, so nothing is stored between.
"""

from __future__ import annotations

import numpy as np

from .._core.plan import network_plan
from .._core.run import run
from ..kernels import records as at
from ..kernels.bind import run_backward
from ..network import MLP


def checked_network(net) -> MLP:
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return net


def with_dtype(net, dtype) -> MLP:
    """The same network of another dtype."""
    return MLP(**{**net.spec.settings(), "dtype": dtype})


def output_mask(net, outputs) -> np.ndarray:
    """Where a gradient passes the last layer, as uint8."""
    if net.output_activation == "relu":
        return (~(outputs <= 0)).view(np.uint8)
    return np.ones(outputs.shape, np.uint8)


def backward_plan(net, n: int, want: int):
    """The plan of a step whose output gradient is given."""
    return network_plan(net.spec.without_penalty(), n, at.COTANGENT | want, False)


def network_backward(net, theta, X, grad_out, outputs, *, theta_out=None, X_out=None):
    """Write d/d theta and d/d X of sum(grad_out * outputs) to what is given of the two.

    theta (p,), X (n, d), grad_out and outputs (n, k) are contiguous arrays of the network's dtype.
    """
    n = X.shape[0]
    if theta_out is None and X_out is None:
        return
    if n == 0:
        if theta_out is not None:
            theta_out[:] = 0
        return
    want = at.GRADIENT if theta_out is not None else 0
    want |= at.INPUT_GRADIENT if X_out is not None else 0
    plan, mask = backward_plan(net, n, want), output_mask(net, outputs)
    run(plan, run_backward, (theta, X, grad_out, mask, theta_out, None, X_out))


def loss_and_grads(net, theta, X, y, sample_weight=None):
    """The loss, its gradient (p,) and its gradient with respect to X (n, d), in one pass."""
    theta, X, y, sample_weight = net._checked(theta, X, y, sample_weight)
    grad, dx = np.empty_like(theta), np.empty_like(X)
    want = at.GRADIENT | at.INPUT_GRADIENT
    loss = net._run(want, theta, X, y, sample_weight, grad, dx, None)
    return loss, grad, dx
