"""Activations of hidden layers, element by element over a block (formula 28).

In: pre-activations z (m, k) with a leading dimension. Out: activations, in their place. Backward,
in: the gradient by the activations, and the activations, from which the slope is computed, so that
nothing else is stored; out: the gradient by the pre-activations, in its place. Loop order: rows,
vectors of columns, in a pass over a block in the L1 cache. For the identity and ReLU the epilogue
of the product does it (`micro_kernel.py`); the formulas of the others are rows of
`fastgrad/activations.py`.
"""

from __future__ import annotations

from numba.core import cgutils

from .arithmetic import Arithmetic
from .routines import table
from .simd import I64, VOID


def _kinds(p):
    return [p, I64, p, I64, I64, I64]


ACTIVATIONS, apply_activation = table(
    "activation",
    "z ldz a lda m k",
    VOID,
    _kinds,
    """a[i*lda + j] = f(z[i*ldz + j]) for i < m, j < k, by the code of f.""",
)
SLOPES, apply_slope = table(
    "slope",
    "delta ldd a lda m k",
    VOID,
    _kinds,
    """delta[i*ldd + j] *= f'(z) where f(z) = a[i*lda + j], by the code of f.""",
)
BENDS, apply_bend = table(
    "bend",
    "tangent delta a t ld m k",
    VOID,
    lambda p: [p, p, p, p, I64, I64, I64],
    """The chain rule of `apply_slope` along a tangent, by the code of f (formula 34):
    tangent *= f'(z), tangent += delta * f''(z) / f'(z) * t and delta *= f'(z), element by element,
    where t is the tangent of a = f(z) and all have leading dimension ld.""",
)


def _over_block(elem, formula):
    """`formula(arithmetic, first, second, mask)`: a value and its place, in the second array (an
    activation) or in the first (a slope); see `add_activation`."""

    def body(builder, first, ld_first, second, ld_second, m, k):
        v = Arithmetic(builder, elem)
        blocks = builder.sdiv(builder.add(k, I64(v.lanes - 1)), I64(v.lanes))
        with cgutils.for_range(builder, m) as row, cgutils.for_range(builder, blocks) as block:
            column = builder.mul(block.index, I64(v.lanes))
            mask = v.first_lanes(builder.sub(k, column))
            one, other = (
                builder.gep(base, [builder.add(builder.mul(row.index, ld), column)])
                for base, ld in ((first, ld_first), (second, ld_second))
            )
            value, place = formula(v, one, other, mask)
            v.store_masked(value, place, mask)
        builder.ret_void()

    return body


def _bend_body(elem, slope, bend):
    def body(builder, tangent, delta, a, t, ld, m, k):
        v = Arithmetic(builder, elem)
        blocks = builder.sdiv(builder.add(k, I64(v.lanes - 1)), I64(v.lanes))
        with cgutils.for_range(builder, m) as row, cgutils.for_range(builder, blocks) as block:
            column = builder.mul(block.index, I64(v.lanes))
            mask = v.first_lanes(builder.sub(k, column))
            places = [
                builder.gep(base, [builder.add(builder.mul(row.index, ld), column)])
                for base in (tangent, delta, a, t)
            ]
            r, d, output, along = (v.load_masked(place, mask) for place in places)
            factor = slope(v, output)
            r = v.mul(r, factor)
            if bend:
                r = v.fma(v.mul(d, bend(v, output)), along, r)
            v.store_masked(r, places[0], mask)
            v.store_masked(v.mul(d, factor), places[1], mask)
        builder.ret_void()

    return body


def add_activation(name: str, value, slope, bend) -> int:
    """The code of an activation: value(v, z), slope(v, a) and bend(v, a), the second derivative
    over the first (None: 0 everywhere), in `Arithmetic`."""

    def forward(v, z, a, mask):
        return value(v, v.load_masked(z, mask)), a

    def backward(v, delta, a, mask):
        factor = slope(v, v.load_masked(a, mask))
        return v.mul(v.load_masked(delta, mask), factor), delta

    code = ACTIVATIONS.add(name, lambda elem: _over_block(elem, forward))
    SLOPES.add(name, lambda elem: _over_block(elem, backward))
    BENDS.add(name, lambda elem: _bend_body(elem, slope, bend))
    return code
