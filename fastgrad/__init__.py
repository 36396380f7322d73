"""fastgrad: the loss and closed-form gradient of ReLU neurons, layers and networks, on the CPU."""

from . import calculus, datasets, schedules
from ._version import __version__
from .checkpoint import load_checkpoint
from .dense import affine, affine_relu, affine_relu_backward
from .gradcheck import *  # noqa: F403
from .history import History
from .metrics import evaluate
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
