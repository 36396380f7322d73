"""Back through a whole network from the gradient of its outputs: what several guests ask for.

The step's own kernel takes a given output gradient with a mask in the place of targets and weights;
the forward pass is made again block by block while it is in cache, so nothing is stored between.
"""

from __future__ import annotations

import numpy as np

from .._core.plan import network_plan
from .._core.share import share_step
from ..kernels import layout as at
from ..kernels.network import step
from ..network import MLP
from ..runtime import launch


def checked_network(net) -> MLP:
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return net


def output_mask(net, outputs) -> np.ndarray:
    """Where a gradient passes the last layer, as uint8."""
    if net.output_activation == "relu":
        return (~(outputs <= 0)).view(np.uint8)
    return np.ones(outputs.shape, np.uint8)


def backward_plan(net, n: int, job: int):
    """The plan of a step whose output gradient is given."""
    gated = net.output_activation == "relu"
    # The loss is never evaluated, but a code of one asks for the forward pass.
    return network_plan(net.layer_sizes, n, net.dtype, job, 0, gated, False, (net.huber_delta, 0.0))


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
    job = {(True, False): at.GRADIENT, (False, True): at.INPUT}.get(
        (theta_out is not None, X_out is not None), at.GRADIENT_AND_INPUT
    )
    plan, nothing = backward_plan(net, n, job), net._nothing
    buffer = plan.acquire()
    try:
        launch(
            step, share_step, plan.parallel, None,
            (theta, theta, X, grad_out.reshape(-1), output_mask(net, outputs).reshape(-1),
             nothing if theta_out is None else theta_out,
             nothing if X_out is None else X_out.reshape(-1), buffer),
        )  # fmt: skip
    finally:
        plan.free.append(buffer)


def loss_and_grads(net, theta, X, y, sample_weight=None):
    """The loss, its gradient (p,) and its gradient with respect to X (n, d), in one pass."""
    theta, X, y, sample_weight = net._checked(theta, X, y, sample_weight)
    grad, dx = np.empty_like(theta), np.empty_like(X)
    loss = net._run(at.GRADIENT_AND_INPUT, theta, X, y, sample_weight, grad, dx.reshape(-1), None)
    return loss, grad, dx
