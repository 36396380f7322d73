"""One step of an optimiser on the flat vector: one fused pass, in place.

In: theta (p,), the gradient, the state (slots * p,), the numbers of `hyper`. Out: theta, state and
the step count, updated. With clipping the gradient's norm comes first, in a pass of its own; then
one pass over all (`updates.py`), in which the clipping is a factor of the gradient. Scalars are
computed in float64 and cast to theta's dtype once.

All kernels have one signature, so that `kernels/training.py` can call any of them by its address.
"""

from __future__ import annotations

import math

import numpy as np

from . import updates
from .jit import inner, kernel
from .norms import sum_of_squares
from .simd import pointer, shift

# hyper: float64
LR = 0  # of this step
WEIGHT_DECAY = 1
CLIP_NORM = 2  # 0: no clipping
STEPS = 3  # steps done
FACTOR, FIRST, STOP = 4, 5, 6  # in a thread's copy: its part of theta, and the gradient's factor
OWN = 8  # the first number of a kernel's own
SIZE = 16


@inner
def _norm_of_large(grad):
    """The norm of numbers whose squares may be too large for float64."""
    total = 0.0
    for i in range(grad.size):
        small = float(grad[i]) * 2.0**-600
        total += small * small
    return math.sqrt(total) * 2.0**600


@inner
def factor_of(grad, hyper):
    """The factor of the gradient: 1 where it is not clipped."""
    clip = hyper[CLIP_NORM]
    if clip == 0.0:
        return 1.0
    norm = math.sqrt(sum_of_squares(pointer(grad), grad.size))
    if norm == np.inf:  # of a number, or of the squares alone
        norm = _norm_of_large(grad)
    factor = clip / (norm + 1e-6)  # 1e-6 as in PyTorch's clip_grad_norm_
    return 1.0 if factor > 1.0 else factor  # NaN stays


@inner
def _begin(theta, grad, state, hyper):
    """(gradient's factor, what to update): of a whole step, which is counted here, or of one
    thread's part of it, which is not."""
    p, first, stop = theta.size, int(hyper[FIRST]), int(hyper[STOP])
    if stop:
        factor = hyper[FACTOR]
    else:
        stop, factor = p, factor_of(grad, hyper)
        hyper[STEPS] += 1.0
    theta, grad, state = pointer(theta), pointer(grad), pointer(state)
    return factor, shift(theta, first), shift(grad, first), shift(state, first), p, stop - first


@inner
def _least_squared(theta, factor):
    """The least number whose square, times `factor`, is a normal number of theta's dtype."""
    smallest = 2.0**-126 if theta.itemsize == 4 else 2.0**-1022
    return math.sqrt(smallest / max(factor, smallest))


@kernel
def sgd(theta, grad, state, hyper):
    """theta -= lr * g (formula 21)."""
    real = theta.dtype.type
    factor, x, g, slots, stride, count = _begin(theta, grad, state, hyper)
    numbers = real(factor), real(hyper[WEIGHT_DECAY]), real(hyper[LR])
    updates.sgd(x, g, slots, stride, count, *numbers)
    return 0.0


@kernel
def momentum(theta, grad, state, hyper):
    """v = mu v + g; theta -= lr * v, or lr * (g + mu v) with Nesterov's look ahead."""
    real = theta.dtype.type
    factor, x, g, slots, stride, count = _begin(theta, grad, state, hyper)
    mu = hyper[OWN]
    # The step is lr * (direct * g + carried * v): (0, 1) without, (1, mu) with look ahead.
    look_ahead = hyper[OWN + 1] != 0.0
    direct, carried = 1.0 if look_ahead else 0.0, mu if look_ahead else 1.0
    numbers = (
        real(factor), real(hyper[WEIGHT_DECAY]), real(hyper[LR]), real(mu), real(direct),
        real(carried),
    )  # fmt: skip
    updates.momentum(x, g, slots, stride, count, *numbers)
    return 0.0


@kernel
def rmsprop(theta, grad, state, hyper):
    """s = rho s + (1 - rho) g^2; theta -= lr * g / (sqrt(s) + eps)."""
    real = theta.dtype.type
    factor, x, g, slots, stride, count = _begin(theta, grad, state, hyper)
    rho, complement = hyper[OWN], real(1.0 - hyper[OWN])
    numbers = (
        real(factor), real(hyper[WEIGHT_DECAY]), real(hyper[LR]), real(rho), complement,
        real(hyper[OWN + 1]), real(_least_squared(theta, complement)),
    )  # fmt: skip
    updates.rmsprop(x, g, slots, stride, count, *numbers)
    return 0.0


@kernel
def adam(theta, grad, state, hyper):
    """m, v: means of g and g^2, both freed of their bias towards 0; theta -= lr * m / (sqrt(v) +
    eps). Weight decay joins g (Adam), or shrinks theta by itself (AdamW: hyper[OWN + 3]). With
    hyper[OWN + 4] eps is Kingma and Ba's epsilon hat: added before the bias is taken out of v."""
    real = theta.dtype.type
    factor, x, g, slots, stride, count = _begin(theta, grad, state, hyper)
    beta1, beta2, lr, steps = hyper[OWN], hyper[OWN + 1], hyper[LR], hyper[STEPS]
    complement2, decay = real(1.0 - beta2), hyper[WEIGHT_DECAY]
    decoupled = hyper[OWN + 3] != 0.0
    unbias = 1.0 / math.sqrt(1.0 - beta2**steps)
    eps = hyper[OWN + 2] * (unbias if hyper[OWN + 4] != 0.0 else 1.0)
    complement1 = real(1.0 - beta1)
    from_mean = complement1 < 0.5  # as in PyTorch's lerp: the error is that of the nearer end
    numbers = (
        real(factor), real(0.0 if decoupled else decay), real(1.0 if from_mean else 0.0),
        complement1 if from_mean else real(complement1 - real(1.0)), real(beta2), complement2,
        real(eps), real(_least_squared(theta, complement2)), real(lr / (1.0 - beta1**steps)),
        real(unbias), real(1.0 - lr * decay if decoupled else 1.0),
    )  # fmt: skip
    updates.adam(x, g, slots, stride, count, *numbers)
    return 0.0
