"""Pictures of what the library computes, one call each (extra ``plot``: matplotlib).

Every function draws on `ax`, a matplotlib Axes, or on new ones, and returns them. Colours are those
of Okabe and Ito and the map cividis, which look alike to nobody; nothing is told by colour alone.

- `loss_surface`: the loss of a neuron with two parameters, its gradient, the path of descent;
- `active_rows`, `mask_history`: which samples a neuron is active on, and how that moves;
- `linear_regions`: where a ReLU network of two inputs is one affine function;
- `gradient_check`: the error of numerical derivatives over the step;
- `gradient_norms`: the gradient of each layer in training, by `fastgrad.GradientNorms`.
"""

from .._core.names import list_public
from .checks import gradient_check
from .networks import gradient_norms, linear_regions
from .neurons import active_rows, descent_path, loss_surface, mask_history

__all__ = [
    "active_rows",
    "descent_path",
    "gradient_check",
    "gradient_norms",
    "linear_regions",
    "loss_surface",
    "mask_history",
]
list_public(globals())
