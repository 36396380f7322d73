"""What the functions of a network share: the checks of its arguments and of where to write."""

from __future__ import annotations

import numpy as np

from ..network import MLP
from . import check
from .csr import Csr


def checked_network(net) -> MLP:
    if not isinstance(net, MLP):
        raise TypeError(f"net is a {type(net).__name__}; expected an MLP")
    return net


def inputs(net, theta, X, nonempty: bool = False, sparse: bool = False):
    """theta (p,) and X (n, d) of a network, checked; `sparse`: whether X may be."""
    checked_network(net)
    if check.plain_step(theta, net.n_parameters, X, net.n_inputs, net.dtype):
        return theta, X
    return net._inputs(theta, X, nonempty=nonempty, sparse=sparse)


def loss_arguments(net, theta, X, y, sample_weight, sparse: bool = False):
    """theta, X, y and sample_weight of a network's loss, checked; X of one row or more."""
    checked_network(net)
    return net._checked(theta, X, y, sample_weight, sparse=sparse)


def tangents(net, n: int, tangent, tangent_X, names) -> tuple:
    """Of theta (p,) and of X (n, d), of the network's dtype; one of them may be None."""
    of_theta, of_X = names
    if tangent is not None:
        hint = ": one number for each of theta"
        tangent = check.vector(tangent, of_theta, net.dtype, net.n_parameters, hint)
    if tangent_X is not None:
        tangent_X = check.matrix(tangent_X, of_X, net.dtype, net.n_inputs)
        check.rows(tangent_X, of_X, n)
    elif tangent is None:
        raise ValueError(f"{of_theta} is None; expected an array unless {of_X} is given")
    return tangent, tangent_X


def output(value, name: str, shape, dtype, names, given, checked) -> np.ndarray:
    """A fresh array, or the caller's, disjoint from the arguments of these names as they were given
    and as they are after their checks."""
    if value is None:
        return np.empty(shape, dtype)
    made = [
        pair
        for array, name_ in zip(checked, names)
        for pair in (array.arrays() if type(array) is Csr else [(array, name_)])
    ]
    return check.output(value, name, shape, dtype, *zip(given, names), *made)


def outputs(value, both, flag: str, theta, X, names, given, checked) -> tuple:
    """`output` like theta and, where the argument `flag` asks for `both`, one like X; else None."""
    if not check.boolean(both, flag):
        return output(value, "out", theta.shape, theta.dtype, names, given, checked), None
    try:
        first, second = (None, None) if value is None else value
    except (TypeError, ValueError):
        raise TypeError(f"out is no pair of arrays, which {flag} asks for") from None
    first = output(first, "out[0]", theta.shape, theta.dtype, names, given, checked)
    names, given = (*names, "out[0]"), (*given, first)
    return first, output(second, "out[1]", X.shape, theta.dtype, names, given, checked)
