"""A linear map of JAX given by a function and its transpose, which `vmap` takes too.

`jax.custom_derivatives.linear_call` is this without a rule for `vmap`, which `jacrev`, `jacfwd` and
`hessian` need.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_linear = Primitive("fastgrad_linear")
_linear.multiple_results = True


def linear(function, transpose, fixed, linear):
    """function(fixed, linear), linear in `linear`; tuples of arrays, and so are its results.

    `transpose(fixed, cotangents)` gives a cotangent for each of `linear`. No derivative by what is
    fixed is taken: hold it by a rule of its own.
    """
    return tuple(
        _linear.bind(*fixed, *linear, function=function, transpose=transpose, count=len(fixed))
    )


def _compute(*args, function, transpose, count):
    return list(function(args[:count], args[count:]))


def _shapes(*args, **params):
    given = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args]
    found = jax.eval_shape(lambda *values: _compute(*values, **params), *given)
    return [jax.core.ShapedArray(result.shape, result.dtype) for result in found]


def _moved(args, tangents, *, count, **params):
    if any(type(tangent) is not ad.Zero for tangent in tangents[:count]):
        raise NotImplementedError("no derivative by what is fixed in a linear map")
    given = map(ad.instantiate_zeros, tangents[count:])
    return [
        _linear.bind(*args[:count], *values, count=count, **params)
        for values in (args[count:], given)
    ]


def _transposed(cotangents, *args, function, transpose, count):
    fixed = args[:count]
    given = tuple(map(ad.instantiate_zeros, cotangents))
    back = linear(transpose, function, fixed, given)
    return [None] * count + list(back)


def _batched(args, axes, *, function, transpose, count):
    """One call of JAX's `vmap`; everything that is linear has the axis, so its cotangents have."""
    size = next(a.shape[axis] for a, axis in zip(args, axes) if axis is not None)
    args = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(args, axes)]
    along = tuple(None if axis is None else 0 for axis in axes[:count])
    given = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else a
        for a, axis in zip(args[count:], axes[count:])
    ]
    function, transpose = (jax.vmap(f, in_axes=(along, 0)) for f in (function, transpose))
    found = linear(function, transpose, args[:count], given)
    return found, [0] * len(found)


_linear.def_impl(_compute)
_linear.def_abstract_eval(_shapes)
ad.primitive_jvps[_linear] = _moved
ad.primitive_transposes[_linear] = _transposed
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_compute, multiple_results=True))
