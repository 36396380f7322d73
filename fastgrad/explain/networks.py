"""A network: formula 23 layer by layer, forwards and back (formula 24)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import calculus, reference
from .._core.calls import checked_network
from ..dense import affine, affine_relu
from ..network import MLP
from ..typing import ActivationName, Numbers
from .checks import differences, identity, numbers, same, small, twin
from .losses import LossSteps
from .steps import Explanation, Step, Value

MOST_PARAMETERS = 4096
EXAMPLE = {
    "layer_sizes": [2, 3, 1],
    "theta": [1.0, -1.0, 0.5, 0.5, 1.0, -1.0, 0.0, 0.5, 2.0, 1.0, -0.5, 2.0, 0.25],
    "X": [[1.0, 2.0], [-1.0, 0.5]],
    "y": [1.0, 0.0],
}
_SLOPES = {
    "relu": r"A > 0",
    "identity": "1",
    "tanh": "1 - A^2",
    "sigmoid": r"A \odot (1 - A)",
    "softplus": r"1 - \exp(-A)",
    "leaky_relu": r"1 \text{ for } A > 0, \text{ else } 0.01",
}
_VALUES = {
    "relu": r"\max(0, Z)",
    "identity": "Z",
    "tanh": r"\tanh(Z)",
    "sigmoid": r"1 / (1 + \exp(-Z))",
    "softplus": r"\ln(1 + \exp(Z))",
    "leaky_relu": r"Z \text{ for } Z > 0, \text{ else } 0.01 Z",
}


def network(net: MLP[Any], theta: Numbers, X: Numbers, y: Numbers) -> Explanation:
    """The derivation of a small network's gradient, layer by layer with these numbers (formula 24).

    Forwards: Z = A W + b and the activation of each layer, then the loss. Back: from the loss by
    the outputs through each layer to ∂C/∂W and ∂C/∂b, and at the end the flat gradient.

    Parameters
    ----------
    net : MLP
        Any loss and activation; at most 4096 parameters.
    theta : array (p,)
    X : array (n, d)
        A few samples.
    y : array
        Targets, as `MLP.loss_and_grad` takes them.

    Returns
    -------
    explanation : Explanation

    Raises
    ------
    TypeError, ValueError
        If numbers are not finite, shapes do not fit or are too large to be written out; the message
        names the argument.

    Notes
    -----
    Numbers are taken as float64; each derivative is checked by five-point differences.

    Examples
    --------
    >>> import fastgrad as fg
    >>> net = fg.MLP([2, 3, 1])
    >>> explanation = fg.explain.network(net, net.init(seed=0), [[1.0, 2.0]], [0.5])
    >>> explanation.ok, explanation.steps[-1].title
    (True, 'The gradient: one flat vector')
    """
    checked_network(net)
    with np.errstate(all="ignore"):  # what overflows is an error of its own
        steps = NetworkSteps(net, theta, X, y).all()
    sizes = "-".join(map(str, net.layer_sizes))
    return Explanation(f"A network {sizes}, {net.loss_name}: the gradient by all parameters", steps)


class NetworkSteps:
    """The steps of a network's derivation."""

    def __init__(self, net, theta, X, y):
        settings = net.spec.settings()
        self.net = net = MLP(settings.pop("layer_sizes"), **{**settings, "dtype": np.float64})
        if net.n_parameters > MOST_PARAMETERS:
            raise ValueError(
                f"net has {net.n_parameters} parameters; expected at most {MOST_PARAMETERS}: "
                "explain a smaller network"
            )
        self.theta, self.X = numbers(theta, "theta", 1), numbers(X, "X", 2)
        same("theta", self.theta, (net.n_parameters,))
        n = len(self.X)
        same("X", self.X, (n, net.n_inputs))
        small("∂C/∂Z", n, max(net.layer_sizes), "fewer rows, as in X[:8], y[:8]")
        self.loss, self.grad = net.loss_and_grad(self.theta, self.X, y)  # also checks y
        self.y = y = np.asarray(y)
        if not net.spec.loss.labelled:
            self.y = y.astype(np.float64).reshape(n, net.n_outputs)
        self.layers, self.grads = net.unflatten(self.theta), net.unflatten(self.grad)
        self.last = len(self.layers)
        own = net.spec.loss.parameter
        self.parameters = {own.name: getattr(net, own.name)} if own else {}
        self.A, self.Z = [self.X], []
        for place, (W, b) in enumerate(self.layers, 1):
            self.Z.append(affine(self.A[-1], W, b))
            self.A.append(self._activated(place))

    def all(self):
        at_loss = LossSteps(
            self.net.loss_name, self.A[-1], self.y, self.parameters, symbol=f"A_{self.last}"
        )
        steps = [self.forward(place) for place in range(1, self.last + 1)]
        steps += [at_loss.value(), at_loss.slope()]
        by_A = at_loss.slope().values[0].array
        for place in range(self.last, 0, -1):
            delta = self.through(place, by_A)
            steps.append(self.back(place, by_A, delta))
            if place > 1:
                by_A = calculus.affine_vjp(delta, self.A[place - 1], self.layers[place - 1][0])[0]
        return (*steps, self.flat())

    # what a layer is

    def activation(self, place: int) -> str:
        return self.net.output_activation if place == self.last else self.net.activation

    def size(self, place: int) -> str:
        return "d" if place == 0 else "k" if place == self.last else f"k{'₀₁₂₃₄₅₆₇₈₉'[place % 10]}"

    def _activated(self, place: int):
        """The activation of the last Z."""
        name, Z = self.activation(place), self.Z[-1]
        if name == "relu":
            W, b = self.layers[place - 1]
            return affine_relu(self.A[place - 1], W, b)[0]
        if name == "identity":
            return Z.copy()
        return activation_of(name, Z)

    def through(self, place: int, by_A):
        """Δ = ∂C/∂A ⊙ the slope of the activation."""
        name = self.activation(place)
        if name == "relu":
            return calculus.relu_vjp(by_A, self.Z[place - 1])
        return by_A * slope_of(name, self.A[place])

    # the steps

    def forward(self, place: int) -> Step:
        W, b = self.layers[place - 1]
        before, name = self._input(place), self.activation(place)
        k, d = self.size(place), self.size(place - 1)
        values = (
            *((Value("X", self.X, ("n", "d")),) if place == 1 else ()),
            Value(f"W_{place}", W.copy(), (d, k), f"net.unflatten(theta)[{place - 1}][0]"),
            Value(rf"\mathbf{{b}}_{place}", b.copy(), (k,),
                  f"net.unflatten(theta)[{place - 1}][1]"),
            Value(f"Z_{place}", self.Z[place - 1], ("n", k),
                  f"fg.affine({before}, W_{place}, b_{place})"),
            Value(f"A_{place}", self.A[place], ("n", k), self._source(place)),
        )  # fmt: skip
        sizes, twins = self.net.layer_sizes, (self.net.output_activation, self.net.activation)
        expected = reference.mlp_forward(self.theta, self.X, sizes, *twins)[place]
        return Step(
            f"Layer {place} forwards",
            24,
            (
                f"Z_{place} = {before} W_{place} + \\mathbf{{b}}_{place}",
                f"A_{place} = {_VALUES[name].replace('Z', f'Z_{place}')}",
            ),
            values,
            checks=(twin(f"A{place}", self.A[place], expected),),
        )

    def _input(self, place: int) -> str:
        return "X" if place == 1 else f"A_{place - 1}"

    def _source(self, place: int) -> str:
        name, W = self.activation(place), f"W_{place}, b_{place}"
        if name == "relu":
            return f"fg.affine_relu({self._input(place)}, {W})[0]"
        if name == "identity":
            return ""
        return f"fg.explain.activation_of({name!r}, Z_{place})"

    def back(self, place: int, by_A, delta) -> Step:
        gW, gb = self.grads[place - 1]
        (W, b), A = self.layers[place - 1], self.A[place - 1]
        k, d, before = self.size(place), self.size(place - 1), self._input(place)
        name, l2 = self.activation(place), self.net.l2
        penalty = rf" + \lambda W_{place}" if l2 else ""
        slope = _SLOPES[name].replace("A", f"A_{place}")
        formulas = [
            rf"\Delta_{place} = \frac{{\partial C}}{{\partial A_{place}}}"
            + (rf" \odot ({slope})" if name != "identity" else ""),
            rf"\frac{{\partial C}}{{\partial W_{place}}} = {before}^T \Delta_{place}{penalty}",
            rf"\frac{{\partial C}}{{\partial \mathbf{{b}}_{place}}} = \vec{{1}}^T \Delta_{place}",
        ]
        grads = "net.unflatten(net.loss_and_grad(theta, X, y)[1])"
        values = [
            Value(rf"\Delta_{place}", delta, ("n", k), self._delta_source(place)),
            Value(rf"\frac{{\partial C}}{{\partial W_{place}}}", gW.T.copy(), (k, d),
                  f"{grads}[{place - 1}][0].T", True),
            Value(rf"\frac{{\partial C}}{{\partial \mathbf{{b}}_{place}}}", gb[None].copy(),
                  ("1", k), f"{grads}[{place - 1}][1][None]", True),
        ]  # fmt: skip
        by_X, by_W, by_b = calculus.affine_vjp(delta, A, W)
        start = sum(w.size + c.size for w, c in self.layers[: place - 1])
        checks = [
            differences(f"C by Z{place}", lambda Z: self._tail(place, Z), self.Z[place - 1],
                        delta.reshape(1, -1)),
            identity(f"{'XA'[place > 1]}ᵀΔ of this step and ∂C/∂W{place}", by_W + l2 * W, gW),
            identity(f"1ᵀΔ of this step and ∂C/∂b{place}", by_b, gb),
            differences(f"C by W{place}", lambda t: self._at(t, start), W, gW.reshape(1, -1)),
            differences(f"C by b{place}", lambda t: self._at(t, start + W.size), b, gb[None]),
        ]  # fmt: skip
        notes = [] if not l2 else [f"λ = {l2:g}: the penalty λ/2·‖W‖² adds λ W; biases have none."]
        if place > 1:
            formulas.append(
                rf"\frac{{\partial C}}{{\partial A_{place - 1}}} = \Delta_{place} W_{place}^T"
            )
            values.append(
                Value(rf"\frac{{\partial C}}{{\partial A_{place - 1}}}", by_X, ("n", d),
                      f"fg.calculus.affine_vjp(Delta_{place}, {before}, W_{place})[0]")
            )  # fmt: skip
            notes.append(f"Layer {place - 1} goes on from its ∂C/∂A.")
        title = f"Layer {place} back"
        return Step(title, 24, tuple(formulas), tuple(values), (), tuple(notes), tuple(checks))

    def _delta_source(self, place: int) -> str:
        name = self.activation(place)
        if name == "relu":
            return f"fg.calculus.relu_vjp(dC_dA_{place}, Z_{place})"
        if name == "identity":
            return ""
        return f"dC_dA_{place} * fg.explain.slope_of({name!r}, A_{place})"

    def _at(self, part, start: int) -> float:
        """The loss with some parameters moved."""
        moved = self.theta.copy()
        moved[start : start + part.size] = part.ravel()
        return self.net.loss(moved, self.X, self.y)

    def _tail(self, place: int, Z) -> float:
        """The loss from Z of this layer on, without the penalty: by the NumPy twin."""
        A = reference.ACTIVATIONS[self.activation(place)][0](Z.copy())
        for after in range(place + 1, self.last + 1):
            W, b = self.layers[after - 1]
            A = reference.ACTIVATIONS[self.activation(after)][0](reference.affine(A, W, b))
        return reference.LOSSES[self.net.loss_name](A, self.y, **self.parameters)[0]

    def flat(self) -> Step:
        blocks = [
            f"{name}{place}" for place in range(1, self.last + 1) for name in ("∂C/∂W", "∂C/∂b")
        ]
        source = "net.loss_and_grad(theta, X, y)[1][None]"
        values = (
            Value("C", np.array(self.loss), (), "net.loss_and_grad(theta, X, y)[0]"),
            Value(r"\frac{\partial C}{\partial \theta}", self.grad[None], ("1", "p"), source, True),
        )
        value, grad = reference.mlp_loss_and_grad(
            self.theta, self.X, self.y, self.net.layer_sizes, self.net.loss_name,
            self.net.output_activation, self.net.l2, activation=self.net.activation,
            **self.parameters,
        )  # fmt: skip
        return Step(
            "The gradient: one flat vector",
            24,
            (r"\frac{\partial C}{\partial \theta} = [\text{layer by layer, row by row}]",),
            values,
            notes=(f"In the order of theta: {', '.join(blocks)}. All of it comes from one call.",),
            checks=(
                twin("C", self.loss, value),
                twin("∂C/∂θ", self.grad, grad),
                differences(
                    "C by θ",
                    lambda t: self.net.loss(t, self.X, self.y),
                    self.theta,
                    self.grad[None],
                ),
            ),
        )


def activation_of(name: ActivationName, Z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The activation of that name at Z (n, k), by the library's kernels.

    A network of two layers, both W = I and b = 0, has it between them.
    """
    k = Z.shape[1]
    net = MLP([k, k, k], activation=name)
    return net.predict(net.flatten([(np.eye(k), np.zeros(k))] * 2), Z)


def slope_of(name: ActivationName, A: NDArray[np.float64]) -> NDArray[np.float64]:
    """The slope of the activation of that name, from its output A (formula 28)."""
    return reference.ACTIVATIONS[name][1](np.ones_like(A), A)
