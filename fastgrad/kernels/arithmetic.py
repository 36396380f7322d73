"""What formulas of losses, activations and optimisers are written in: numbers that are vectors.

`v.mul(a, b)` and the like make LLVM for all lanes of the target's vectors; NaN and infinity go
through every one of them.
"""

from __future__ import annotations

from . import vmath
from .simd import Vectors


class Arithmetic(Vectors):
    """The operations of one element type on one builder."""

    def mul(self, a, b):
        return self.builder.fmul(a, b)

    def sub(self, a, b):
        return self.builder.fsub(a, b)

    def div(self, a, b):
        return self.builder.fdiv(a, b)

    def neg(self, a):
        return self.builder.fsub(self.const(-0.0), a)

    def abs(self, a):
        return vmath.absolute(self, a)

    def less(self, a, b):
        """Whether a < b; false for NaN."""
        return self.builder.fcmp_ordered("<", a, b)

    def greater(self, a, b):
        """Whether a > b; false for NaN."""
        return self.builder.fcmp_ordered(">", a, b)

    def exp(self, a):
        return vmath.exp(self, a)

    def expm1_negative(self, a):
        """exp(a) - 1 for a <= 0."""
        return vmath.expm1_negative(self, a)

    def log1p(self, a):
        return vmath.log1p(self, a)

    def tanh(self, a):
        return vmath.tanh(self, a)

    def sqrt(self, a):
        return self.builder.call(
            self.declare(f"llvm.sqrt.{self.suffix}", self.type, [self.type]), [a]
        )

    def sigmoid(self, a):
        return vmath.sigmoid(self, a)

    def zero_below(self, value, least):
        """0 in the place of what is smaller than `least`; NaN stays."""
        size = self.declare(f"llvm.fabs.{self.suffix}", self.type, [self.type])
        small = self.less(self.builder.call(size, [value]), least)
        return self.select(small, self.const(0.0), value)

    def flush_subnormals(self, value):
        """0 in the place of subnormal numbers."""
        return self.zero_below(value, self.const(2.0**-126 if self.is_f32 else 2.0**-1022))
