"""What an optimiser does to each parameter, in vectors: formula 21 and what grew out of it.

In: pointers to theta, the gradient and the state (its slots at a fixed `stride`), how many numbers,
and the formula's own numbers, each of theta's type. Out: theta and state, in place. Loop order: one
pass in groups of vectors, the last vector masked: nothing beside them is read or written. g is
multiplied by its small factor before it is squared: g^2 alone would be infinite from 2e19 on in
float32.

The new theta of a group stays in registers until all of it is there. Other threads have read theta,
so a processor must take its cache lines back: one after the other where other stores lie between,
several at a time where not (Adam, 3,750 numbers of float64 a thread: 8.7 us, here 5.5).

Subnormal numbers in the state are flushed to 0. One that decays would stay subnormal for ever (0.9
times the smallest is the smallest again), where an operation costs some processors 100 cycles.
"""

from __future__ import annotations

from numba.core import cgutils

from .arithmetic import Arithmetic
from .routines import routine
from .simd import I64, VECTOR_BYTES, VOID

GROUP = min(8, max(1, 256 // VECTOR_BYTES))  # vectors of theta that are written at once


def _sgd(v, x, g, factor, decay, lr):
    """theta -= lr * g."""
    return [v.sub(x, v.mul(lr, v.fma(g, factor, v.mul(decay, x))))]


def _momentum(v, x, g, mean, factor, decay, lr, mu, direct, carried):
    """v = mu v + g; theta -= lr * (direct g + carried v)."""
    g = v.fma(g, factor, v.mul(decay, x))
    mean = v.flush_subnormals(v.fma(mu, mean, g))
    return [v.sub(x, v.mul(lr, v.fma(direct, g, v.mul(carried, mean)))), mean]


def _rmsprop(v, x, g, square, factor, decay, lr, rho, complement, eps, least):
    """s = rho s + complement g^2; theta -= lr * g / (sqrt(s) + eps); g^2 is 0 where |g| < least."""
    g = v.fma(g, factor, v.mul(decay, x))
    kept = v.zero_below(g, least)
    square = v.flush_subnormals(v.fma(rho, square, v.mul(v.mul(complement, kept), kept)))
    return [v.sub(x, v.div(v.mul(lr, g), v.add(v.sqrt(square), eps))), square]


def _adam(
    v, x, g, mean, square, factor, decay, from_mean, rate, beta2, complement2, eps, least, size,
    unbias, shrink,
):  # fmt: skip
    """m = m + rate (g - m), or g + rate (g - m) unless `from_mean`; v = beta2 v + complement2 g^2;
    theta = shrink theta - size * m / (unbias sqrt(v) + eps); g^2 is 0 where |g| < least."""
    g = v.fma(g, factor, v.mul(decay, x))
    kept = v.zero_below(g, least)
    base = v.select(v.builder.fcmp_ordered("==", from_mean, v.const(1.0)), mean, g)
    mean = v.flush_subnormals(v.fma(rate, v.sub(g, mean), base))
    square = v.flush_subnormals(v.fma(beta2, square, v.mul(v.mul(complement2, kept), kept)))
    direction = v.div(mean, v.fma(v.sqrt(square), unbias, eps))
    return [v.sub(v.mul(x, shrink), v.mul(size, direction)), mean, square]


def _body(elem, formula, slots: int):
    def body(builder, theta, grad, state, stride, count, *numbers):
        v = Arithmetic(builder, elem)
        numbers = [v.splat(number) for number in numbers]
        kept = [builder.gep(state, [builder.mul(stride, I64(slot))]) for slot in range(slots)]

        def take(first, load, store):
            """One vector's state is written; its new theta, and where that goes."""
            x, g, *places = (builder.gep(base, [first]) for base in (theta, grad, *kept))
            new, *state = formula(v, *(load(place) for place in (x, g, *places)), *numbers)
            for value, place in zip(state, places):
                store(value, place)
            return new, x

        whole = builder.sdiv(count, I64(v.lanes))
        groups = builder.sdiv(whole, I64(GROUP))
        with cgutils.for_range(builder, groups) as group:
            first = builder.mul(group.index, I64(GROUP * v.lanes))
            news = [
                take(builder.add(first, I64(i * v.lanes)), v.load, v.store) for i in range(GROUP)
            ]
            for new, place in news:
                v.store(new, place)
        grouped = builder.mul(groups, I64(GROUP))
        with cgutils.for_range(builder, builder.sub(whole, grouped)) as block:
            first = builder.mul(builder.add(grouped, block.index), I64(v.lanes))
            v.store(*take(first, v.load, v.store))
        tail = v.first_lanes(builder.srem(count, I64(v.lanes)))

        def store_tail(value, place):
            v.store_masked(value, place, tail)

        first = builder.mul(whole, I64(v.lanes))
        store_tail(*take(first, lambda place: v.load_masked(place, tail), store_tail))
        builder.ret_void()

    return body


def _update(formula, slots: int):
    """(theta, grad, state, stride, count, numbers of the formula, one by one)."""
    code = formula.__code__
    numbers = code.co_varnames[3 + slots : code.co_argcount]  # behind v, x, g and the state
    return routine(
        f"update{formula.__name__}",
        f"theta grad state stride count {' '.join(numbers)}",
        VOID,
        lambda p: [p, p, p, I64, I64] + [p.pointee] * len(numbers),
        lambda elem: _body(elem, formula, slots),
        formula.__doc__,
    )


sgd, momentum = _update(_sgd, 0), _update(_momentum, 1)
rmsprop, adam = _update(_rmsprop, 1), _update(_adam, 2)
