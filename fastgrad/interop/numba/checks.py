"""What compiled code is given: types while it compiles, numbers that several functions check."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from ...kernels.arrays import disjoint, is_native
from ...kernels.fast_path import greatest_target
from ...kernels.jit import OPTIONS
from ...kernels.simd import pointer
from ...kernels.sums import add_exactly, rounded_sum
from ...kernels.validate import labels_inside, values_inside, weight_bounds


def given(kind) -> bool:
    """Whether an optional argument is there."""
    return not (kind is None or isinstance(kind, (types.NoneType, types.Omitted)))


def require(kind, name: str, dtype, *ranks) -> None:
    """A typing error for what is not a C-contiguous array of that dtype."""
    if not isinstance(kind, types.Array):
        raise TypingError(f"{name} is a {kind}; expected an array")
    if kind.dtype != dtype:
        raise TypingError(f"{name} has dtype {kind.dtype}; expected {dtype}")
    if kind.ndim not in ranks:
        raise TypingError(f"{name} has {kind.ndim} dimensions; expected {ranks[0]}")
    if kind.layout != "C":
        raise TypingError(f"{name} is not C-contiguous: use np.ascontiguousarray({name})")


def require_output(kind, name: str, dtype, *ranks) -> None:
    """The same for an array to write to, where it is given."""
    if not given(kind):
        return
    require(kind, name, dtype, *ranks)
    if not kind.mutable:
        raise TypingError(f"{name} is read-only; expected an array to write to")


def require_float(kind, name: str, *ranks):
    """The dtype of a float32 or float64 array."""
    if isinstance(kind, types.Array) and kind.dtype not in (types.float32, types.float64):
        raise TypingError(f"{name} has dtype {kind.dtype}; expected float32 or float64")
    require(kind, name, getattr(kind, "dtype", None), *ranks)
    return kind.dtype


def constant(kind, name: str) -> bool:
    """The value of an argument that decides the type of the result."""
    if isinstance(kind, (bool, types.Omitted, types.BooleanLiteral)):
        return bool(getattr(kind, "value", getattr(kind, "literal_value", kind)))
    raise TypingError(f"{name} is a {kind}; expected the constant True or False")


def parts(kind, name: str, count: int):
    """The types in a tuple of arrays to write to; None for each where it is not given."""
    if not given(kind):
        return (None,) * count
    if not isinstance(kind, types.BaseTuple) or len(kind) != count:
        raise TypingError(f"{name} is a {kind}; expected a tuple of {count} arrays")
    return tuple(kind)


def require_native(array, name):
    """An error where an array from Python has its bytes in another order than this machine."""


@overload(require_native, jit_options=OPTIONS, prefer_literal=True)
def _require_native(array, name):
    if not isinstance(array, types.Array):
        return lambda array, name: None
    name = name.literal_value
    message = f"{name} is byte-swapped: convert it with {name}.astype({name}.dtype.type)"

    def implementation(array, name):
        if not is_native(array):
            raise ValueError(message)

    return implementation


def require_disjoint(out, name, other, other_name):
    """An error where an array to write to and another have a byte in common."""


@overload(require_disjoint, jit_options=OPTIONS, prefer_literal=True)
def _require_disjoint(out, name, other, other_name):
    if not (isinstance(out, types.Array) and isinstance(other, types.Array)):
        return lambda out, name, other, other_name: None
    message = f"{name.literal_value} overlaps {other_name.literal_value}; pass an array of its own"

    def implementation(out, name, other, other_name):
        if not disjoint(out, other):
            raise ValueError(message)

    return implementation


@register_jitable
def check_row_weights(sample_weight, n):
    if sample_weight.size != n:
        raise ValueError("sample_weight has another number of rows than X")
    for i in range(n):
        if sample_weight[i] < 0:
            raise ValueError("sample_weight has a negative value")


@register_jitable
def check_weights(sample_weight, n):
    check_row_weights(sample_weight, n)
    finite, total, lost = True, 0.0, 0.0
    for i in range(n):
        finite &= sample_weight[i] < np.inf
        total, lost = add_exactly(total, lost, float(sample_weight[i]))
    total = rounded_sum(total, lost)
    least, most = weight_bounds(sample_weight.itemsize)
    if total == 0:
        raise ValueError("sample_weight is zero everywhere")
    if total < least or (total > most and finite):
        raise ValueError("sample_weight has a sum out of range; scale it, only its ratios count")


# Of a network's handle and the arrays of its loss


def require_targets(net, theta, y, sample_weight):
    """The dtype of a network whose loss takes arrays of these types beside X."""
    fields = dict(zip(net.fields, net.types))
    dtype, labels = fields["like"].dtype, fields["targets_like"].dtype
    require(theta, "theta", dtype, 1)
    require(y, "y", labels, *((1,) if isinstance(labels, types.Integer) else (2, 1)))
    if given(sample_weight):
        require(sample_weight, "sample_weight", dtype, 1)
    return dtype


def check_targets(net, y):
    """An error where y is not what the network's loss takes."""


@overload(check_targets, jit_options=OPTIONS)
def _check_targets(net, y):
    if isinstance(y.dtype, types.Integer):

        def labels(net, y):
            require_native(y, "y")
            if y.size != net.rows:
                raise ValueError("y has another number of rows than X")
            if not labels_inside(y, net.outputs):
                raise ValueError("y has a label that is not 0 to k - 1")

        return labels

    def values(net, y):
        require_native(y, "y")
        if y.shape[0] != net.rows or y.size != net.rows * net.outputs:
            raise ValueError("y has the wrong shape for X and this network")
        greatest = greatest_target(net.targets)
        if greatest >= 0.0 and not values_inside(pointer(y), y.size, 0.0, greatest):
            raise ValueError("y has a value outside 0 to 1, or below 0")

    return values


def weights_of(net, sample_weight, mean=True):
    """The weights of the samples, checked; an error where they are, or are not, prepared for.

    `mean`: whether their sum is divided by.
    """


@overload(weights_of, jit_options=OPTIONS)
def _weights_of(net, sample_weight, mean=True):
    if not given(sample_weight):

        def none(net, sample_weight, mean=True):
            if net.weighted:
                raise ValueError("sample_weight is missing: the network was prepared for it")

        return none

    def weights(net, sample_weight, mean=True):
        if not net.weighted:
            raise ValueError("sample_weight is given: prepare the network with weighted=True")
        require_native(sample_weight, "sample_weight")
        if mean:
            check_weights(sample_weight, net.rows)
        else:
            check_row_weights(sample_weight, net.rows)
        return sample_weight

    return weights
