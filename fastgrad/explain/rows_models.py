"""Formulas 1, 2 and 15 to 29: the neuron, layers, networks, losses and activations."""

from __future__ import annotations

import numpy as np

from .. import losses, reference
from .._core import check
from ..network import MLP
from . import layers, networks, neurons
from .checks import differences, numbers, twin
from .losses import LossSteps
from .networks import activation_of, slope_of
from .steps import Step, Value


def _neuron(*names: str):
    """A row made of these steps of the neuron, on the neuron's numbers."""

    def row(
        w=neurons.EXAMPLE["w"], b=neurons.EXAMPLE["b"], X=neurons.EXAMPLE["X"],
        y=neurons.EXAMPLE["y"], lr=0.1,
    ):  # fmt: skip
        steps = neurons.NeuronSteps(w, b, X, y, lr)
        return tuple(getattr(steps, name)() for name in names)

    return row


row_01 = _neuron("affine")
row_02 = _neuron("affine", "activation")
row_15 = _neuron("affine", "affine_gradients")
row_16 = _neuron("affine", "relu_derivative")
row_17 = _neuron("affine", "affine_gradients", "relu_derivative", "activation_gradients")
row_18 = _neuron("affine", "activation", "loss", "loss_by_activation")
_to_delta = ("affine", "activation", "loss", "loss_by_activation", "delta")
row_19 = _neuron(*_to_delta, "by_weights")
row_20 = _neuron(*_to_delta, "by_bias")
row_21 = _neuron("affine", "activation", "loss", "by_weights", "by_bias", "descent")
row_22 = _neuron("affine", "activation", "loss", "by_weights", "by_bias", "augmented")


def row_23(
    X=layers.EXAMPLE["X"], W=layers.EXAMPLE["W"], b=layers.EXAMPLE["b"], grad=layers.EXAMPLE["grad"]
):
    """A layer."""
    return tuple(step() for step in layers.LayerSteps(X, W, b, grad).all)


def row_24(
    layer_sizes=networks.EXAMPLE["layer_sizes"], theta=networks.EXAMPLE["theta"],
    X=networks.EXAMPLE["X"], y=networks.EXAMPLE["y"], loss="mse", activation="relu",
):  # fmt: skip
    """A network."""
    net = MLP(layer_sizes, loss=loss, activation=activation)
    return networks.NetworkSteps(net, theta, X, y).all()


def _loss_row(name: str, Z, y, **parameters):
    """The value and the delta of a loss at outputs Z (n, k)."""
    Z = numbers(Z, "Z", 2)
    loss = losses.get_loss(name)
    y = loss.targets(y, "y", np.dtype(np.float64), *Z.shape)
    y = y if loss.labelled else y.reshape(Z.shape)
    for number, value in parameters.items():
        parameters[number] = loss.parameter.check(value, number)
    steps = LossSteps(name, Z, y, parameters)
    return steps.value((Value("Z", Z, ("n", "k")),)), steps.slope()


def row_25(Z=((2.0, 1.0, -1.0), (0.5, -0.5, 1.5)), y=(0, 1)):
    """Softmax cross-entropy."""
    return _loss_row("cross_entropy", Z, y)


def row_26(Z=((2.0,), (-0.5,), (0.25,)), y=(1.0, 1.0, 0.0)):
    """Logistic loss."""
    return _loss_row("logistic", Z, y)


def row_27(Z=((1.5,), (4.0,), (-2.0,)), y=(1.0, 1.0, 1.0), huber_delta=1.0):
    """Huber loss."""
    return _loss_row("huber", Z, y, huber_delta=huber_delta)


def row_28(Z=((-2.0, -0.5, 0.5, 2.0),)):
    """Activations, and their slopes from the output."""
    Z = numbers(Z, "Z", 2)
    given, steps = Value("Z", Z, ("n", "k")), []
    for name in ("leaky_relu", "tanh", "sigmoid", "softplus", "identity"):
        A = activation_of(name, Z)
        slope = slope_of(name, A)
        twins = reference.ACTIVATIONS[name][0]
        steps.append(
            Step(
                f"The activation {name}",
                28,
                (f"A = {networks._VALUES[name]}",
                 rf"\frac{{\partial A}}{{\partial Z}} = {networks._SLOPES[name]}"
                 r" \text{ entry by entry}"),
                (
                    given,
                    Value("A", A, ("n", "k"), f"fg.explain.activation_of({name!r}, Z)"),
                    Value(r"\frac{dA}{dZ}", slope, ("n", "k"), f"fg.explain.slope_of({name!r}, A)"),
                ),
                notes=("The slope is known from the output: a network stores nothing more.",),
                checks=(
                    twin("A", A, twins(Z.copy())),
                    differences("A by Z", lambda t, f=twins: f(t.copy()), Z,
                                np.diag(slope.ravel())),
                ),
            )
        )  # fmt: skip
    return tuple(steps)


def row_29(Z=((1.5,), (0.0,), (-1.0,)), y=(1.0, 2.0, 0.0), quantile=0.25):
    """Absolute error, quantile and Poisson losses."""
    check.inside_unit(quantile, "quantile")
    return (
        *_loss_row("absolute_error", Z, y),
        *_loss_row("quantile", Z, y, quantile=quantile),
        *_loss_row("poisson", Z, y),
    )
