"""fastgrad: the loss and closed-form gradient of ReLU neurons, layers and networks, on the CPU."""

from . import calculus, datasets, schedules
from ._version import __version__
from .checkpoint import load_checkpoint
from .dense import affine, affine_relu, affine_relu_backward
from .gradcheck import (
    GradientCheck,
    assert_gradient,
    assert_jacobian,
    check_gradient,
    check_jacobian,
    numerical_gradient,
    numerical_jacobian,
)
from .history import History
from .interop import numba as _overloads  # noqa: F401 - registers `@njit` twins
from .metrics import evaluate
from .models import load_model, save_model
from .network import MLP
from .neuron import neuron_grad, neuron_loss_and_grad, relu, relu_mask
from .optimizers import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from .runtime import (
    config,
    get_num_threads,
    num_threads,
    set_num_threads,
    show_config,
)
from .training import FitResult, fit

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "FitResult",
    "GradientCheck",
    "History",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "__version__",
    "affine",
    "affine_relu",
    "affine_relu_backward",
    "assert_gradient",
    "assert_jacobian",
    "calculus",
    "check_gradient",
    "check_jacobian",
    "config",
    "datasets",
    "evaluate",
    "fit",
    "get_num_threads",
    "load_checkpoint",
    "load_model",
    "neuron_grad",
    "neuron_loss_and_grad",
    "num_threads",
    "numerical_gradient",
    "numerical_jacobian",
    "relu",
    "relu_mask",
    "save_model",
    "schedules",
    "set_num_threads",
    "show_config",
]
