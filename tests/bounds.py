"""Values in extended precision, each with a bound on the error of a computed one.

Forward error analysis in the standard model of floating-point arithmetic (Higham, *Accuracy and
Stability of Numerical Algorithms*, 2nd ed., sections 2.2 and 3.1): fl(a op b) = (a op b)(1 + delta)
+ eta' with |delta| <= u and |eta'| <= eta; sums and differences do not underflow. n roundings make
at most gamma_n = n u / (1 - n u), and a sum of n terms at most gamma_n times the sum of their sizes
in any order. u holds the rounding of the extended precision too, so the bounds stand where long
double is float64 as well. Bounds are computed in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WORK = np.longdouble
SPARE_RANGE = np.bool_(np.finfo(WORK).maxexp > np.finfo(np.float64).maxexp)


def magnitude(x) -> np.ndarray:
    return np.abs(x).astype(np.float64)


class Bounded(NamedTuple):
    """An exact value; a computed one is within `error` of it, or not finite where `overflow`."""

    value: np.ndarray
    error: np.ndarray
    overflow: np.ndarray

    @property
    def T(self) -> Bounded:
        return Bounded(*(np.transpose(part) for part in self))

    def row(self) -> Bounded:
        return Bounded(*(np.reshape(part, -1) for part in self))


def violations(computed, expected: Bounded) -> np.ndarray:
    """Where a computed value is neither within its bound nor an overflow that may be.

    What is not finite in extended precision has met a NaN or an infinity, which must show (or has
    overflowed, if that has no range to spare). The factor is for the roundings of the bound itself.
    """
    computed = np.asarray(computed)
    off = np.abs(computed.astype(WORK) - expected.value)
    finite = np.isfinite(computed)
    right = (off <= expected.error * (1 + 2.0**-20)) | (~finite & expected.overflow)
    right |= np.isinf(expected.error)
    return ~np.where(np.isfinite(expected.value) | ~SPARE_RANGE, right, ~finite)


def size(x: Bounded) -> np.ndarray:
    """The most that a computed value can be, in absolute value."""
    return magnitude(x.value) + settled(x)


def settled(x: Bounded) -> np.ndarray:
    """The error of x as an operand: an overflow may have become anything."""
    return np.where(x.overflow, np.inf, x.error)


def joined(parts) -> Bounded:
    return Bounded(*(np.concatenate([np.ravel(part) for part in row]) for row in zip(*parts)))


class Arithmetic:
    """Operations on `Bounded` values as float32 or float64 arithmetic does them."""

    def __init__(self, dtype):
        info = np.finfo(dtype)
        self.u = float(info.eps) / 2 + float(np.finfo(WORK).eps) / 2
        self.eta = float(info.smallest_subnormal)  # twice what one underflow loses
        self.tiny, self.largest = float(info.tiny), float(info.max)

    def gamma(self, n: float) -> float:
        return n * self.u / (1 - n * self.u)

    def exact(self, x) -> Bounded:
        x = np.asarray(x)
        return Bounded(x.astype(WORK), np.zeros(x.shape), np.zeros(x.shape, bool))

    def rounded(self, value, error, most=None, roundings=1, underflows=1) -> Bounded:
        """|fl - value| <= error + gamma_r most + underflows eta: `error` comes from the operands,
        no intermediate result is larger than `most` (the result itself where it is not given)."""
        most = magnitude(value) + error if most is None else most
        error = error + self.gamma(roundings) * most + underflows * self.eta
        error = np.where(np.isnan(error), np.inf, error)
        return Bounded(value, error, ~(most < self.largest))

    def difference(self, a: Bounded, b: Bounded) -> Bounded:
        """One rounding of the result."""
        return self.rounded(a.value - b.value, settled(a) + settled(b), underflows=0)

    def times(self, a: Bounded, b: Bounded, roundings=1, underflows=1) -> Bounded:
        """a' b' - a b = a'(b' - b) + (a' - a) b."""
        error = size(a) * settled(b) + settled(a) * magnitude(b.value)
        return self.rounded(a.value * b.value, error, None, roundings, underflows)

    def quotient(self, a: Bounded, b: Bounded) -> Bounded:
        """a'/b' - a/b = ((a' - a) - (a/b)(b' - b)) / b', for b > 0; unbounded if b' may be 0."""
        value, eb = a.value / b.value, settled(b)
        least = b.value.astype(np.float64) - eb
        error = (settled(a) + magnitude(value) * eb) / np.maximum(least, 0)
        return self.rounded(value, error)

    def root(self, x: Bounded) -> Bounded:
        """|sqrt(x') - sqrt(x)| = |x' - x| / (sqrt(x') + sqrt(x)), so at most sqrt(error) too."""
        value, error = np.sqrt(x.value), settled(x)
        error = np.minimum(np.sqrt(error), error / value.astype(np.float64))
        return self.rounded(value, np.where(x.value == 0, np.sqrt(settled(x)), error))

    def product(self, A: Bounded, B: Bounded, init: Bounded | None = None) -> Bounded:
        """init + A @ B: d products and d + 1 sums in any order, so gamma_(d+2) (|A| |B| + |init|);
        from the operands A'(B' - B) + (A' - A) B."""
        d = A.value.shape[-1]
        value, a, b = A.value @ B.value, size(A), size(B)
        most, error = a @ b, np.zeros(value.shape)
        if settled(B).any():
            error = error + a @ settled(B)
        if settled(A).any():
            error = error + settled(A) @ magnitude(B.value)
        if init is not None:
            value, most, error = value + init.value, most + size(init), error + settled(init)
        return self.rounded(value, error, most, d + 2, d + 1)

    def relu(self, z: Bounded) -> Bounded:
        """Formula 2: |relu(z') - relu(z)| <= |z' - z|; 0 where z' <= 0 for certain. An overflow may
        have been one to -inf, which is 0."""
        dead = z.value + settled(z) <= 0
        return Bounded(
            np.where(z.value <= 0, 0, z.value),
            np.where(dead, 0, settled(z)),
            z.overflow & ~dead,
        )

    def gate(self, g: Bounded, z: Bounded) -> Bounded:
        """Formula 16, g where not (z <= 0): where z' may have either sign, off by the whole g."""
        opened, dead = z.value - settled(z) > 0, z.value + settled(z) <= 0
        error = np.where(dead, 0, np.where(opened, g.error, size(g)))
        value = np.where(z.value <= 0, 0, g.value)
        return Bounded(value, np.where(np.isnan(error), np.inf, error), g.overflow & ~dead)
