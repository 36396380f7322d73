"""One step of an optimiser on the flat vector: one fused pass, in place.

In: theta (p,), the gradient, the state (slots * p,), the numbers of `hyper`. Out: theta, state and
the step count, updated. Each loop reads and writes every array once and vectorises as it stands;
scalars are formed in float64 and cast to theta's dtype once. Clipping needs the gradient's norm
first, which is a pass of its own; the clipped gradient is never stored, its factor is part of the
fused loop. Formula 21 and what grew out of it.

A state that decays towards 0 would stay among the subnormal numbers for ever (0.9 times the
smallest is the smallest again), where an operation costs some processors 100 cycles: below the
smallest normal number it is 0.

All kernels have one signature, so that `kernels/training.py` can call any of them by its address.
"""

from __future__ import annotations

import math

from .jit import inner, kernel
from .norms import sum_of_squares
from .simd import pointer

# hyper: float64
LR = 0  # of this step
WEIGHT_DECAY = 1
CLIP_NORM = 2  # 0: no clipping
STEPS = 3  # steps done
OWN = 4  # the first number of a kernel's own
FACTOR, FIRST, STOP = 8, 9, 10  # in a thread's copy: its part of theta, and the gradient's factor
SIZE = 16


@inner
def factor_of(grad, hyper):
    """The factor of the gradient: 1 where it is not clipped."""
    clip = hyper[CLIP_NORM]
    if clip == 0.0:
        return 1.0
    norm = math.sqrt(sum_of_squares(pointer(grad), grad.size))
    factor = clip / (norm + 1e-6)  # 1e-6 as in PyTorch's clip_grad_norm_
    return 1.0 if factor > 1.0 else factor  # NaN stays


@inner
def _begin(theta, grad, state, hyper):
    """(theta, gradient, its factor, the state's slots): of a whole step, which is counted here, or
    of one thread's part of it, which is not."""
    p, first, stop = theta.size, int(hyper[FIRST]), int(hyper[STOP])
    if stop:
        factor = hyper[FACTOR]
    else:
        stop, factor = p, factor_of(grad, hyper)
        hyper[STEPS] += 1.0
    slots = state[first:stop], state[p + first : p + stop]  # what a kernel does not have is empty
    return theta[first:stop], grad[first:stop], factor, slots


@inner
def _smallest(theta):
    """The smallest normal number of theta's dtype."""
    return theta.dtype.type(2.0**-126 if theta.itemsize == 4 else 2.0**-1022)


@inner
def _settled(value, smallest):
    """0 in the place of a subnormal number; NaN stays."""
    return smallest - smallest if abs(value) < smallest else value


@inner
def _least_squared(smallest, share):
    """The least number whose square, times `share`, is normal."""
    return math.sqrt(smallest / max(share, smallest))


@inner
def _square(g, least):
    """g^2, and 0 where it, or its share in a mean, would be subnormal."""
    g = least - least if abs(g) < least else g
    return g * g


@kernel
def sgd(theta, grad, state, hyper):
    """theta -= lr * g (formula 21)."""
    real = theta.dtype.type
    theta, grad, factor, _ = _begin(theta, grad, state, hyper)
    factor = real(factor)
    lr, decay = real(hyper[LR]), real(hyper[WEIGHT_DECAY])
    for i in range(theta.size):
        theta[i] -= lr * (grad[i] * factor + decay * theta[i])
    return 0.0


@kernel
def momentum(theta, grad, state, hyper):
    """v = mu v + g; theta -= lr * v, or lr * (g + mu v) with Nesterov's look ahead."""
    real = theta.dtype.type
    theta, grad, factor, slots = _begin(theta, grad, state, hyper)
    factor, state = real(factor), slots[0]
    lr, decay = real(hyper[LR]), real(hyper[WEIGHT_DECAY])
    mu = real(hyper[OWN])
    # The step is lr * (direct * g + carried * v): (0, 1) without, (1, mu) with look ahead.
    look_ahead = hyper[OWN + 1] != 0.0
    smallest = _smallest(theta)
    direct, carried = real(1.0 if look_ahead else 0.0), mu if look_ahead else real(1.0)
    for i in range(theta.size):
        g = grad[i] * factor + decay * theta[i]
        v = _settled(mu * state[i] + g, smallest)
        state[i] = v
        theta[i] -= lr * (direct * g + carried * v)
    return 0.0


@kernel
def rmsprop(theta, grad, state, hyper):
    """s = rho s + (1 - rho) g^2; theta -= lr * g / (sqrt(s) + eps)."""
    real = theta.dtype.type
    theta, grad, factor, slots = _begin(theta, grad, state, hyper)
    factor, state = real(factor), slots[0]
    lr, decay = real(hyper[LR]), real(hyper[WEIGHT_DECAY])
    rho, rest = real(hyper[OWN]), real(1.0 - hyper[OWN])
    eps = real(hyper[OWN + 1])
    smallest = _smallest(theta)
    least = _least_squared(smallest, rest)
    for i in range(theta.size):
        g = grad[i] * factor + decay * theta[i]
        s = _settled(rho * state[i] + rest * _square(g, least), smallest)
        state[i] = s
        theta[i] -= lr * g / (math.sqrt(s) + eps)
    return 0.0


@kernel
def adam(theta, grad, state, hyper):
    """m, v: means of g and g^2, both freed of their bias towards 0; theta -= lr * m / (sqrt(v) +
    eps). Weight decay joins g (Adam), or shrinks theta by itself (AdamW: hyper[OWN + 3])."""
    real = theta.dtype.type
    theta, grad, factor, slots = _begin(theta, grad, state, hyper)
    factor = real(factor)
    beta1, beta2 = hyper[OWN], hyper[OWN + 1]
    rest1, rest2, beta2_ = real(1.0 - beta1), real(1.0 - beta2), real(beta2)
    eps = real(hyper[OWN + 2])
    steps = hyper[STEPS]
    size = real(hyper[LR] / (1.0 - beta1**steps))
    unbias = real(1.0 / math.sqrt(1.0 - beta2**steps))
    decoupled = hyper[OWN + 3] != 0.0
    shrink = real(1.0 - hyper[LR] * hyper[WEIGHT_DECAY] if decoupled else 1.0)
    decay = real(0.0 if decoupled else hyper[WEIGHT_DECAY])
    smallest = _smallest(theta)
    least = _least_squared(smallest, rest2)
    means, squares = slots
    for i in range(theta.size):
        g = grad[i] * factor + decay * theta[i]
        m = _settled(means[i] + rest1 * (g - means[i]), smallest)
        v = _settled(beta2_ * squares[i] + rest2 * _square(g, least), smallest)
        means[i] = m
        squares[i] = v
        theta[i] = theta[i] * shrink - size * (m / (math.sqrt(v) * unbias + eps))
    return 0.0
