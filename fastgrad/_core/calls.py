"""What the functions of a network share: the checks of its arguments and of where to write."""

from __future__ import annotations

import numpy as np

from ..network import MLP
from . import check


def checked_network(net) -> MLP:
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return net


def tangent_of_theta(net, value, name: str) -> np.ndarray:
    """(p,), of the network's dtype."""
    return check.vector(value, name, net.dtype, net.n_parameters, ": one number for each of theta")


def output(value, name: str, shape, dtype, given: dict, checked: dict) -> np.ndarray:
    """A fresh array, or the caller's, disjoint from the arguments as they were given and as they
    are after their checks: both by name."""
    if value is None:
        check.addressable(int(np.prod(shape, dtype=object)), dtype, name)
        return np.empty(shape, dtype)
    both = [(array, argument) for arrays in (given, checked) for argument, array in arrays.items()]
    return check.output(value, name, shape, dtype, *both)
