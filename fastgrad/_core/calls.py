"""What the functions of a network share: the checks of its arguments and of where to write."""

from __future__ import annotations

import numpy as np

from ..network import MLP
from . import check


def checked_network(net) -> MLP:
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return net


def inputs(net, theta, X):
    """theta (p,) and X (n, d) of a network, checked; 0 rows are allowed."""
    checked_network(net)
    if check.plain_step(theta, net.n_parameters, X, net.n_inputs, net.dtype):
        return theta, X
    return net._inputs(theta, X, nonempty=False, sparse=False)


def loss_arguments(net, theta, X, y, sample_weight):
    """theta, X, y and sample_weight of a network's loss, checked; X dense, of one row or more."""
    checked_network(net)
    return net._checked(theta, X, y, sample_weight, sparse=False)


def tangent_of_theta(net, value, name: str) -> np.ndarray:
    """(p,), of the network's dtype."""
    return check.vector(value, name, net.dtype, net.n_parameters, ": one number for each of theta")


def output(value, name: str, shape, dtype, names, given, checked) -> np.ndarray:
    """A fresh array, or the caller's, disjoint from the arguments of these names as they were given
    and as they are after their checks."""
    if value is None:
        return np.empty(shape, dtype)
    return check.output(value, name, shape, dtype, *zip(given, names), *zip(checked, names))
