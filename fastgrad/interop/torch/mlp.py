"""`FusedMLP`: a whole network as one node of the graph, with one flat parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ...network import MLP
from ...typing import ActivationName, LossName, OutputActivationName
from .._network import with_dtype
from .activations import MODULES
from .fused import Fused
from .tensors import NUMPY, array, floats


class FusedMLP(Fused, nn.Module):
    """A whole network as one node of the graph, with one flat parameter.

    ``module(x)`` gives the outputs (n, k); ``module(x, y)`` gives the loss, computed in one pass
    together with all gradients, so that its `backward()` costs next to nothing; `step_loss` gives
    the loss and leaves the gradient in `theta.grad` without a graph, the cheapest of the three.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs d, hidden widths, outputs k.
    loss : str
        As in `fastgrad.MLP`, where each normalisation is stated.
    activation : str
        Of the hidden layers, as in `fastgrad.MLP`.
    output_activation : {"identity", "relu"}
    l2 : float
        `l2`/2 times the sum of squared weights is added to the loss of ``module(x, y)``.
    dtype : torch.float32 or torch.float64, optional
        PyTorch's default dtype if not given.
    **parameters : float
        Of the loss, by name, as in `fastgrad.MLP`: `huber_delta`, `quantile`.

    Attributes
    ----------
    theta : nn.Parameter (p,)
        All parameters, layer by layer W (d, k) row-major and b (k,).
    net : fastgrad.MLP
        The network of theta's dtype: ``net.predict(theta, X)`` for NumPy users.

    Notes
    -----
    An optimiser sees one parameter, which makes its step as cheap as it can be; weight decay of an
    optimiser is on biases too, `l2` is not. Second derivatives are there, by `theta` and x: under
    ``create_graph=True`` a product with the Hessian is exact and one pass (`fastgrad.curvature`:
    `hvp` for ``module(x, y)``, `output_hvp` for ``module(x)``), and so is the gradient of a penalty
    on a gradient, or of a differential equation's residual. Third derivatives, vmap and forward
    mode are errors that say so. The backward pass of ``module(x)`` makes the forward
    pass again (a third more arithmetic than with a loss included).

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import FusedMLP
    >>> model = FusedMLP([8, 16, 3], loss="cross_entropy")
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
    >>> loss = model(x, y)
    >>> loss.backward()
    >>> optimizer.step()
    >>> model(x).shape
    torch.Size([32, 3])
    """

    def __init__(
        self,
        layer_sizes: Iterable[int],
        loss: LossName = "mse",
        *,
        activation: ActivationName = "relu",
        output_activation: OutputActivationName = "identity",
        l2: float = 0.0,
        dtype: torch.dtype | None = None,
        **parameters: float,
    ) -> None:
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in NUMPY:
            raise TypeError(f"dtype is {dtype}; expected torch.float32 or torch.float64")
        self._net = MLP(
            layer_sizes, loss, activation=activation, output_activation=output_activation, l2=l2,
            dtype=NUMPY[dtype], **parameters,
        )  # fmt: skip
        self.theta: nn.Parameter = nn.Parameter(torch.empty(self._net.n_parameters, dtype=dtype))
        self.reset_parameters()

    @property
    def net(self) -> MLP[Any]:
        """The network of theta's dtype."""
        dtype = self.theta.dtype
        if dtype not in NUMPY:
            raise TypeError(f"theta has dtype {dtype}; expected torch.float32 or torch.float64")
        if self._net.dtype != NUMPY[dtype]:  # after module.double() or module.float()
            self._net = with_dtype(self._net, NUMPY[dtype])
        return self._net

    def _parameters_of_net(self):
        return self.net, (floats(self.theta, "theta"),)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, by He's rule and PyTorch's generator."""
        seed = int(torch.randint(2**62, ()))
        with torch.no_grad():
            self.theta.copy_(torch.from_numpy(self.net.init(seed)))

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """[(weight (k, d), bias (k,)), ...]: views of theta in PyTorch's layout."""
        floats(self.theta, "theta")
        return [
            (torch.from_numpy(W).t(), torch.from_numpy(b))
            for W, b in self.net.unflatten(array(self.theta))
        ]

    def extra_repr(self) -> str:
        return repr(self.net)[len("MLP(") : -1]

    def to_torch(self) -> nn.Sequential:
        """The same network as `nn.Sequential` of `nn.Linear` and activations, with its own copy of
        the parameters: the way back from `from_torch`."""
        modules, layers = [], self.layers()
        for index, (weight, bias) in enumerate(layers):
            linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            modules.append(linear)
            last = index == len(layers) - 1
            activation = self.net.output_activation if last else self.net.activation
            if activation != "identity":
                modules.append(MODULES[activation]())
        return nn.Sequential(*modules)
