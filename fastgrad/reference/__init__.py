"""The NumPy twin of every kernel: the oracle for tests and the peer in benchmarks.

Each function is the closed form as a careful NumPy user writes it: matrix products through BLAS,
in place where that is natural, the dtype of the inputs kept (float32 in, float32 out). Arguments
are taken as already checked; nothing is validated here. As an oracle, run a twin in float64: in
float32 it rounds as NumPy and BLAS do.

Shapes: `n` samples (rows of X), `d` inputs, `k` outputs, `p` parameters of a network. One neuron
has ``w (d,)`` and a scalar ``b``, a layer ``W (d, k)`` and ``b (k,)``. All arrays are float32 or
all are float64, but for boolean masks, integer labels (cross_entropy) and 0/1 labels of any
numeric dtype (logistic). Inputs are never written to; `sgd_step` alone updates its argument.

At the kink ReLU'(0) = 0, and NaN is never hidden: relu(NaN) is NaN and the gradient passes, so the
mask is ``not (z <= 0)``. A masked derivative is selected, not multiplied: an inactive entry is 0
whatever arrives there. An infinity in a row of X whose neuron is inactive still turns the weight
gradient into NaN here, since BLAS computes 0 * inf.

Formulas 1 to 22 are those of Parr & Howard, *The Matrix Calculus You Need For Deep Learning*
(arXiv 1802.01528); layers, networks, activations and the other losses (23 to 29) go beyond it.
"""

from .._core.names import list_public
from .layers import (
    affine,
    affine_relu,
    affine_relu_backward,
    neuron_grad,
    neuron_loss_and_grad,
    relu,
    relu_mask,
    sgd_step,
)
from .losses import (
    LOSSES,
    absolute_error,
    cross_entropy,
    huber,
    logistic,
    mse,
    poisson,
    quantile,
    sigmoid,
    softmax,
)
from .networks import (
    ACTIVATIONS,
    mlp_forward,
    mlp_grad_input,
    mlp_loss_and_grad,
    unflatten,
)

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "absolute_error",
    "affine",
    "affine_relu",
    "affine_relu_backward",
    "cross_entropy",
    "huber",
    "logistic",
    "mlp_forward",
    "mlp_grad_input",
    "mlp_loss_and_grad",
    "mse",
    "neuron_grad",
    "neuron_loss_and_grad",
    "poisson",
    "quantile",
    "relu",
    "relu_mask",
    "sgd_step",
    "sigmoid",
    "softmax",
    "unflatten",
]
list_public(globals())
