"""Networks whose layers keep their own parameters: `FusedSequential`, and `from_torch`."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, Literal, overload

import torch
from torch import nn

from ...network import MLP
from ...typing import LossName
from .activations import KINDS, activation_of
from .dense import DenseReLU
from .fused import Fused
from .mlp import FusedMLP
from .tensors import NUMPY, floats

_LAYERS, _HOOKS = (nn.Linear, DenseReLU), ("_forward_hooks", "_forward_pre_hooks")


class FusedSequential(Fused, nn.Sequential):
    """`nn.Sequential` of `nn.Linear` and activations, computed as one node of the graph.

    It holds the modules that it is given: their names, their parameters and its `state_dict` are
    those of `nn.Sequential`, and layers can be frozen one by one. ``module(x)``, ``module(x, y)``
    and `step_loss` are those of `FusedMLP`, which has one flat parameter instead.

    Parameters
    ----------
    *modules : nn.Linear, activations, DenseReLU, or one OrderedDict of them
        Layers with biases, and the same activation between each two: `nn.ReLU`, `nn.Tanh`,
        `nn.Sigmoid`, `nn.Softplus` (`beta` 1), `nn.LeakyReLU` (slope 0.01), or `nn.Identity` or
        nothing. A last `nn.ReLU` makes the output layer a ReLU. `DenseReLU` counts as both.
    loss, l2, **parameters
        As in `FusedMLP`.

    Raises
    ------
    TypeError, ValueError
        If the modules are anything else; the message says where. Modules may be exchanged later:
        they are looked at again.

    Notes
    -----
    The parameters are copied to one vector at each call, which takes about as long as an
    optimiser's step on them. Hooks of the layers are not run, so they are an error. Softplus has no
    threshold: above 20, PyTorch's leaves out exp(-z), less than 2.1e-9.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from fastgrad.interop.torch import FusedSequential
    >>> model = FusedSequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> _ = model[0].requires_grad_(False)
    >>> model(torch.randn(5, 8), torch.randn(5, 3)).backward()
    >>> list(model.state_dict()), model[0].weight.grad, model[2].weight.grad.shape
    (['0.weight', '0.bias', '2.weight', '2.bias'], None, torch.Size([3, 16]))
    """

    def __init__(
        self, *modules: Any, loss: LossName = "mse", l2: float = 0.0, **parameters: float
    ) -> None:
        super().__init__(*modules)
        if "activation" in parameters:
            raise TypeError("activation is given; expected modules that say which it is")
        self._options = dict(loss=loss, l2=l2, **parameters)
        self._known = self._net = None
        self._read()

    def _read(self) -> None:
        """Find the layers, and make the network of their sizes."""
        self._known = None
        self._layers, activation, last = _layers_of(self)
        sizes = [self._layers[0][1].in_features]
        sizes += [layer.out_features for _, layer in self._layers]
        self._net = MLP(
            sizes, activation=activation, output_activation=last,
            dtype=NUMPY[self._layers[0][1].weight.dtype], **self._options,
        )  # fmt: skip
        self._known = tuple(self._modules.values())
        self._numbered = [
            (part, f"module[{index}]") for index, part in enumerate(self)
            if isinstance(part, (nn.Softplus, nn.LeakyReLU))
        ]  # fmt: skip

    @property
    def net(self) -> MLP[Any]:
        """The network of the parameters' dtype: ``net.predict(theta, X)`` for NumPy users."""
        return self._parameters_of_net()[0]

    def _parameters_of_net(self):
        if self._known != tuple(self._modules.values()):
            self._read()
        for part, name in self._numbered:  # whose numbers may have been changed
            activation_of(part, name)
        parameters = []
        for name, layer in self._layers:
            if any(getattr(layer, hooks) for hooks in _HOOKS):
                raise ValueError(f"{name} has hooks, which are not run in a fused network")
            parameters += [(f"weight of {name}", layer.weight), (f"bias of {name}", layer.bias)]
        dtype = floats(parameters[0][1], parameters[0][0]).dtype
        for name, parameter in parameters:
            floats(parameter, name, dtype)
        if self._net.dtype != NUMPY[dtype]:  # after module.double() or module.float()
            self._read()
        return self._net, tuple(parameter for _, parameter in parameters)

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """[(weight (k, d), bias (k,)), ...]: the parameters."""
        _, parameters = self._parameters_of_net()
        return list(zip(parameters[::2], parameters[1::2]))

    def to_torch(self) -> nn.Sequential:
        """The same network as `nn.Sequential`, with its own copy of the parameters."""
        return nn.Sequential(copy.deepcopy(OrderedDict(self._modules)))


def _layers_of(modules) -> tuple[list, str, str]:
    """([(name, layer), ...], activation, output_activation) of modules that make a network."""
    layers, between, after = [], [], "nothing"
    for index, part in enumerate(modules):
        name = f"module[{index}]"
        is_layer = isinstance(part, _LAYERS)
        own = type(part).forward not in (kind.forward for kind in (*_LAYERS, *KINDS))
        if own or not (is_layer or isinstance(part, KINDS)):
            raise TypeError(
                f"{name} is a {type(part).__name__}; expected nn.Linear or one of "
                f"{', '.join(f'nn.{kind.__name__}' for kind in KINDS)}"
            )
        if is_layer:
            _check_layer(part, name, layers)
            if layers:
                between.append((after, name))
            layers.append((name, part))
            after = "relu" if isinstance(part, DenseReLU) else "identity"
        elif not isinstance(part, nn.Identity):
            if after != "identity":
                raise ValueError(f"{name} is a {type(part).__name__}; expected nn.Linear")
            after = activation_of(part, name)
    if not layers:
        raise ValueError("module has no layers; expected at least one nn.Linear")
    if after not in ("identity", "relu"):
        raise ValueError(f"the last activation is {after}; expected nn.ReLU or none at the end")
    hidden = between[0][0] if between else "relu"
    for found, name in between:
        if found != hidden:
            raise ValueError(
                f"the activation before {name} is {found}, before {between[0][1]} it is {hidden}; "
                f"expected the same in all hidden layers"
            )
    return layers, hidden, after


def _check_layer(layer, name: str, before: list) -> None:
    if isinstance(layer.weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"{name} has no shape yet; expected a layer that was called once")
    floats(layer.weight, f"weight of {name}", before[0][1].weight.dtype if before else None)
    if layer.bias is None:
        raise ValueError(f"{name} has no bias; expected one")
    if before and before[-1][1].out_features != layer.in_features:
        raise ValueError(
            f"{name} takes {layer.in_features} inputs; the layer before it gives "
            f"{before[-1][1].out_features}"
        )


@overload
def from_torch(
    module: nn.Sequential, loss: LossName = ..., *, l2: float = ..., flat: Literal[False] = ...,
    **parameters: float,
) -> FusedSequential: ...  # fmt: skip
@overload
def from_torch(
    module: nn.Sequential, loss: LossName = ..., *, l2: float = ..., flat: Literal[True],
    **parameters: float,
) -> FusedMLP: ...  # fmt: skip
def from_torch(
    module: nn.Sequential,
    loss: LossName = "mse",
    *,
    l2: float = 0.0,
    flat: bool = False,
    **parameters: float,
) -> FusedSequential | FusedMLP:
    """A network of one node with the layers and a copy of the parameters of an `nn.Sequential`.

    Parameters
    ----------
    module : nn.Sequential
        `nn.Linear` layers with biases and the same activation between each two, as in
        `FusedSequential`.
    loss, l2
        As in `FusedMLP`.
    flat : bool
        Whether all parameters become one flat vector, the cheapest for an optimiser.
    **parameters : float
        Of the loss, as in `FusedMLP`.

    Returns
    -------
    fused : FusedSequential, or FusedMLP if `flat`
        A `FusedSequential` has the names of `module`: their `state_dict`s exchange, and layers that
        are frozen stay so.

    Raises
    ------
    TypeError, ValueError
        If the module holds anything else; the message says where.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.interop.torch import from_torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    ... )
    >>> fused = from_torch(model)
    >>> x = torch.randn(5, 4)
    >>> torch.allclose(fused(x), model(x), atol=1e-6)
    True
    >>> fused.load_state_dict(model.state_dict())
    <All keys matched successfully>
    """
    if not isinstance(module, nn.Sequential):
        raise TypeError(f"module is a {type(module).__name__}; expected nn.Sequential")
    _layers_of(module)
    modules = copy.deepcopy(OrderedDict(module._modules))
    layered = FusedSequential(modules, loss=loss, l2=l2, **parameters)
    if not flat:
        return layered
    fused = FusedMLP(**{**layered.net.spec.settings(), "dtype": layered.layers()[0][0].dtype})
    with torch.no_grad():
        for (weight, bias), (own_weight, own_bias) in zip(layered.layers(), fused.layers()):
            own_weight.copy_(weight)
            own_bias.copy_(bias)
    return fused
