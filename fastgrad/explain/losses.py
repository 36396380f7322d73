"""The two steps of a loss: its value, and the delta at its outputs where going back begins."""

from __future__ import annotations

import numpy as np

from .. import reference
from .checks import differences, twin
from .outputs import FORMULAS, NOTES, identity_network, output_gradient, output_loss
from .steps import Step, Value


class LossSteps:
    """The steps of one loss at outputs (n, k).

    `parameters` are the loss's own (`huber_delta`, `quantile`), `symbol` names the outputs.
    """

    def __init__(self, loss: str, outputs, y, parameters=None, *, symbol="Z"):
        self.name, self.outputs, self.y = loss, outputs, y
        self.parameters = parameters or {}
        self.row, self.value_latex, self.slope_latex = FORMULAS[loss]
        self.symbol = symbol
        k = outputs.shape[1]
        extra = "".join(f", {name}={number:g}" for name, number in self.parameters.items())
        self.net = f'fg.MLP([{k}, {k}], loss="{loss}"{extra})'
        self.theta = f"np.append(np.eye({k}), np.zeros({k}))"

    def _notes(self):
        return (NOTES[self.name],) if self.name in NOTES else ()

    def _targets(self):
        if self.y.ndim == 1:
            return Value(r"\mathbf{y}", self.y, ("n",))
        return Value("Y", self.y, ("n", "k"))

    def _numbers(self):
        known = {"huber_delta": r"\delta", "quantile": r"\tau"}
        return tuple(Value(known[n], np.array(v), ()) for n, v in self.parameters.items())

    def proba(self):
        """The probabilities, for the two losses that take logits."""
        net = f"{self.net}.predict_proba({self.theta}, {self.symbol})"
        made, theta = identity_network(self.name, self.outputs.shape[1], **self.parameters)
        name = "softmax" if self.name == "cross_entropy" else r"\sigma"
        name = rf"\operatorname{{{name}}}" if name == "softmax" else name
        return Value(
            f"{name}({self.symbol})", made.predict_proba(theta, self.outputs), ("n", "k"), net
        )

    def value(self, given=()) -> Step:
        loss = output_loss(self.name, self.outputs, self.y, **self.parameters)
        source = f"{self.net}.loss({self.theta}, {self.symbol}, y)"
        values = (*given, self._targets(), *self._numbers())
        if self.name in ("cross_entropy", "logistic"):
            values += (self.proba(),)
        values += (Value("C", np.array(loss), (), source),)
        expected, _ = reference.LOSSES[self.name](self.outputs.copy(), self.y, **self.parameters)
        return Step(
            f"The loss: {self.name}",
            self.row,
            self.value_latex,
            values,
            notes=self._notes(),
            checks=(twin("C", loss, expected),),
        )

    def slope(self) -> Step:
        delta = output_gradient(self.name, self.outputs, self.y, **self.parameters)
        source = f"{self.net}.grad_input({self.theta}, {self.symbol}, y)"
        symbol = rf"\frac{{\partial C}}{{\partial {self.symbol}}}"
        check = differences(
            f"C by {self.symbol}".replace("_", ""),
            lambda outputs: output_loss(self.name, outputs, self.y, **self.parameters),
            self.outputs,
            delta.reshape(1, -1),
        )
        return Step(
            "The loss by the outputs: the first delta",
            self.row,
            self.slope_latex,
            (Value(symbol, delta, ("n", "k"), source),),
            notes=(
                "Written in the shape of the outputs, as Δ is. The call is a network of one layer "
                "with W = I and b = 0: its output is its input.",
            ),
            checks=(check,),
        )
