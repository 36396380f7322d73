"""fastgrad: the loss and closed-form gradient of ReLU neurons, layers and networks, on the CPU."""

from . import _startup  # noqa: F401 - watches over all other imports

# isort: split
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from . import schedules
from ._core.names import list_public as _list_public
from ._version import __version__
from .dense import affine, affine_relu, affine_relu_backward
from .interop import numba as _overloads  # noqa: F401 - registers `@njit` twins
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
from .second_order import LevenbergMarquardt, NewtonCG

if TYPE_CHECKING:
    from . import calculus, curvature, datasets, explain, jacobians, per_sample, plots, stack
    from ._training.result import FitResult
    from .checkpoint import load_checkpoint
    from .gradcheck import (
        GradientCheck,
        assert_gradient,
        assert_jacobian,
        check_gradient,
        check_jacobian,
        numerical_gradient,
        numerical_jacobian,
    )
    from .history import GradientNorms, History
    from .many import FitResults, fit_many
    from .metrics import evaluate
    from .models import load_model, save_model
    from .streams import Stream, stream
    from .training import fit

# A gradient needs none of these: they are imported when they are first asked for.
_LATER = {
    "": (
        "calculus",
        "curvature",
        "datasets",
        "explain",
        "jacobians",
        "per_sample",
        "plots",
        "stack",
    ),
    "checkpoint": ("load_checkpoint",),
    "gradcheck": (
        "GradientCheck",
        "assert_gradient",
        "assert_jacobian",
        "check_gradient",
        "check_jacobian",
        "numerical_gradient",
        "numerical_jacobian",
    ),
    "history": ("GradientNorms", "History"),
    "many": ("FitResults", "fit_many"),
    "metrics": ("evaluate",),
    "models": ("load_model", "save_model"),
    "streams": ("Stream", "stream"),
    "training": ("FitResult", "fit"),
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "FitResult",
    "FitResults",
    "GradientCheck",
    "GradientNorms",
    "History",
    "LevenbergMarquardt",
    "Momentum",
    "Nesterov",
    "NewtonCG",
    "RMSprop",
    "Stream",
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
    "curvature",
    "datasets",
    "evaluate",
    "explain",
    "fit",
    "fit_many",
    "get_num_threads",
    "jacobians",
    "load_checkpoint",
    "load_model",
    "neuron_grad",
    "neuron_loss_and_grad",
    "num_threads",
    "numerical_gradient",
    "numerical_jacobian",
    "per_sample",
    "plots",
    "relu",
    "relu_mask",
    "save_model",
    "schedules",
    "set_num_threads",
    "show_config",
    "stack",
    "stream",
]


_list_public(globals())

if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str):
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if not module:
            return _import_module(f".{name}", __name__)
        value = globals()[name] = getattr(_import_module(f".{module}", __name__), name)
        return value
