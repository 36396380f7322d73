"""Sample weights in the losses: a row of weight 0 does not count, whatever its target."""

from __future__ import annotations

from . import vmath


def without_weight(vec, weight, output):
    """The lanes of rows that do not count: of weight 0, and of a finite output, since NaN shows."""
    finite = vec.builder.fcmp_ordered("<", vmath.absolute(vec, output), vec.const(float("inf")))
    return vec.builder.and_(vec.builder.fcmp_ordered("==", weight, vec.const(0.0)), finite)


def weighed(vec, weight, value):
    """weight * value, 0 where the weight is 0, whatever finite logits made the value infinite."""
    builder, zero = vec.builder, vec.const(0.0)
    none = builder.fcmp_ordered("==", weight, zero)
    nothing = builder.and_(none, builder.fcmp_ordered("ord", value, value))
    return builder.select(nothing, zero, builder.fmul(weight, value))
