"""Sums in float64 whose rounding error does not grow with their length.

In: vectors of the arrays' type, one at a time. Out: their sum as a float64. Numbers of float32 are
added in float64; those of float64 by an error-free addition that keeps what each sum loses (Knuth,
*The Art of Computer Programming*, volume 2, 4.2.2, theorem B), five operations more a vector. The
lanes are added up at the end. So a loss of 10**7 terms is as good as one of ten: the mean of equal
terms log 2 over 1,000 rows and 1,000 outputs is right to 1.2 units, and was off by 970 in a chain
of float32 and by 786 in one of float64.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .jit import pasted
from .routines import routine
from .simd import DOUBLE, I32, I64, Vectors


def _two_sum(builder, a, b):
    """(a + b rounded, what the rounding lost), exactly."""
    total = builder.fadd(a, b)
    of_b = builder.fsub(total, a)
    of_a = builder.fsub(total, of_b)
    return total, builder.fadd(builder.fsub(a, of_a), builder.fsub(b, of_b))


class Sum:
    """A running sum of numbers, or of vectors lane by lane; zero where it is made."""

    def __init__(self, builder, kind):
        """`kind`: the type of what is added, a vector or one number."""
        self.builder, self.lanes = builder, getattr(kind, "count", 1)
        self.is_exact = getattr(kind, "element", kind) == DOUBLE
        self.wide = ir.VectorType(DOUBLE, self.lanes) if self.lanes > 1 else DOUBLE
        self._zero = ir.Constant(self.wide, [0.0] * self.lanes if self.lanes > 1 else 0.0)
        self._total, self._lost = (cgutils.alloca_once(builder, self.wide) for _ in range(2))
        builder.store(self._zero, self._total)
        builder.store(self._zero, self._lost)

    def add(self, value):
        """Add a value of this kind, or one of float64."""
        builder = self.builder
        if value.type != self.wide:
            value = builder.fpext(value, self.wide)
        before = builder.load(self._total)
        if not self.is_exact:
            builder.store(builder.fadd(before, value), self._total)
            return
        total, lost = _two_sum(builder, before, value)
        builder.store(total, self._total)
        builder.store(builder.fadd(builder.load(self._lost), lost), self._lost)

    def _lanes_of(self, place):
        """The sum of the lanes, halves to halves."""
        builder, value, lanes = self.builder, self.builder.load(place), self.lanes
        while lanes > 1:
            lanes //= 2
            undef = ir.Constant(value.type, ir.Undefined)
            halves = (
                ir.Constant(ir.VectorType(I32, lanes), list(range(first, first + lanes)))
                for first in (0, lanes)
            )
            value = builder.fadd(*(builder.shuffle_vector(value, undef, half) for half in halves))
        is_vector = isinstance(value.type, ir.VectorType)
        return builder.extract_element(value, I32(0)) if is_vector else value

    def result(self):
        """The sum of all lanes, a float64; infinite or NaN where what was added was."""
        total, builder = self._lanes_of(self._total), self.builder
        if not self.is_exact:
            return total
        lost = self._lanes_of(self._lost)
        known = builder.fcmp_ordered("==", lost, lost)  # NaN beside a sum that is infinite
        return builder.fadd(total, builder.select(known, lost, DOUBLE(0.0)))

    def add_to(self, place):
        """Add to the pair (sum, what it lost) at an address; see `add_exactly`."""
        builder = self.builder
        beside = builder.gep(place, [I64(1)])
        total, lost = _two_sum(builder, builder.load(place), self._lanes_of(self._total))
        builder.store(total, place)
        lost = builder.fadd(lost, self._lanes_of(self._lost))
        builder.store(builder.fadd(builder.load(beside), lost), beside)


@pasted
def add_exactly(total, lost, value):
    """(total, lost) with `value` added: `total + lost` is the sum, as in `Sum`."""
    after = total + value
    of_value = after - total
    of_total = after - of_value
    return after, lost + ((total - of_total) + (value - of_value))


@pasted
def rounded_sum(total, lost):
    """What `add_exactly` left, rounded to one number."""
    return total + lost if lost == lost else total


def _body(elem):
    def body(builder, x, n):
        vec = Vectors(builder, elem)
        sum_ = Sum(builder, vec.type)
        whole = builder.sdiv(n, I64(vec.lanes))
        with cgutils.for_range(builder, whole) as block:
            sum_.add(vec.load(builder.gep(x, [builder.mul(block.index, I64(vec.lanes))])))
        tail = vec.first_lanes(builder.srem(n, I64(vec.lanes)))
        sum_.add(vec.load_masked(builder.gep(x, [builder.mul(whole, I64(vec.lanes))]), tail))
        builder.ret(sum_.result())

    return body


sum_of = routine(
    "sum_of", "x n", DOUBLE, lambda p: [p, I64], _body, "The sum of x[i], i < n, of a pointer."
)
