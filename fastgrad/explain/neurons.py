"""One neuron: section 6 of the paper, from the loss to a step of descent (formulas 18 to 22).

Every value is what a function of the library returns; here is the order and the words.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import calculus, reference
from .._core import check
from ..neuron import neuron_loss_and_grad
from ..optimizers import SGD
from ..typing import Numbers, Scalar
from .activations import ActivationSteps
from .checks import differences, identity, twin
from .outputs import output_gradient
from .steps import Explanation, Product, Step, Value

# Two inputs, three samples; the last one is inactive.
EXAMPLE = {
    "w": [1.0, 2.0], "b": -1.0, "X": [[2.0, 1.0], [1.0, 3.0], [0.5, -1.0]], "y": [1.0, 7.0, 1.0],
}  # fmt: skip


def neuron(w: Numbers, b: Scalar, X: Numbers, y: Numbers, *, lr: float = 0.1) -> Explanation:
    """The derivation of one ReLU neuron's gradient, step by step with these numbers.

    From z = w·x + b to C = 1/N Σ (y − max(0, z))² and back (sections 5 and 6 of the paper,
    formulas 1, 2 and 15 to 22), and one step of gradient descent.

    Parameters
    ----------
    w : array (d,)
    b : float
    X : array (n, d)
        A few samples: the Jacobians are written out.
    y : array (n,)
    lr : float
        η, the learning rate of the last step.

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
    >>> explanation = fg.explain.neuron([1.0, 2.0], -1.0, [[2.0, 1.0], [1.0, 3.0]], [1.0, 7.0])
    >>> explanation.ok, len(explanation.steps)
    (True, 11)
    >>> print(explanation.steps[8].title)
    The gradient with respect to the weights
    """
    with np.errstate(all="ignore"):  # what overflows is an error of its own
        steps = NeuronSteps(w, b, X, y, lr)
        made = tuple(step() for step in steps.all)
    return Explanation("One neuron: the gradient of C = 1/N Σ (y − max(0, w·x + b))²", made)


class NeuronSteps(ActivationSteps):
    """The steps of one neuron's derivation."""

    def __init__(self, w, b, X, y, lr=0.1):
        super().__init__(w, b, X, y)
        self.lr = check.positive(lr, "lr")
        self.all = (
            self.affine, self.activation, self.loss, self.affine_gradients, self.relu_derivative,
            self.activation_gradients, self.loss_by_activation, self.delta, self.by_weights,
            self.by_bias, self.descent,
        )  # fmt: skip

    @cached_property
    def loss_and_grad(self):
        return neuron_loss_and_grad(self.w, self.b, self.X, self.y)

    @cached_property
    def by_a(self):
        return output_gradient("mse", self.a[:, None], self.y)[:, 0]

    @cached_property
    def by_z(self):
        return calculus.relu_vjp(self.by_a, self.z)

    def loss_at(self, w, b):
        return neuron_loss_and_grad(w, float(b), self.X, self.y)[0]

    def loss(self):
        loss = self.loss_and_grad[0]
        values = (
            *self.given("y"),
            Value("C", np.array(loss), (), "fg.neuron_loss_and_grad(w, b, X, y)[0]"),
        )
        expected = reference.neuron_loss_and_grad(self.w, self.b, self.X, self.y)[0]
        return Step(
            "The loss",
            18,
            (r"C = \frac{1}{N} \sum_i (y_i - \max(0, \mathbf{w}{\cdot}\mathbf{x}_i + b))^2",),
            values,
            notes=("N = n, the number of samples: the mean over them, no ½.",),
            checks=(twin("C", loss, expected),),
        )

    def loss_by_activation(self):
        net = "fg.MLP([1, 1]).grad_input([1.0, 0.0], a[:, None], y).T"
        values = (
            Value(
                r"\frac{\partial C}{\partial \mathbf{a}}", self.by_a[None], ("1", "n"), net, True
            ),
        )
        return Step(
            "The loss by the activation",
            18,
            (r"\frac{\partial C}{\partial a_i} = -\frac{2}{N} (y_i - a_i)"
             r" = \frac{2}{N} (a_i - y_i)",),
            values,
            notes=(
                "The power rule and the chain rule: the inner derivative of y − a is −1. The call "
                "beside it is a network of one weight 1 and bias 0, whose output is its input.",
            ),
            checks=(
                differences(
                    "C by a", lambda a: np.mean((self.y - a) ** 2), self.a, self.by_a[None]
                ),
            ),
        )  # fmt: skip

    def delta(self):
        values = (
            Value(r"\frac{\partial C}{\partial \mathbf{z}}", self.by_z[None], ("1", "n"),
                  "fg.calculus.relu_vjp(dC_da, z)[None]", True),
        )  # fmt: skip
        return Step(
            "Back through the activation: the cotangent",
            14,
            (
                r"\frac{\partial C}{\partial z_i} = \frac{\partial C}{\partial a_i} "
                r"\frac{\partial a_i}{\partial z_i} = \frac{2}{N} e_i \text{ if active, else } 0",
                r"e_i = \mathbf{w}{\cdot}\mathbf{x}_i + b - y_i",
            ),
            values,
            notes=(
                "A row times a diagonal matrix: a product entry by entry with the mask. The "
                "derivative of the loss by a quantity on the way is called its cotangent.",
            ),
            checks=(
                differences(
                    "C by z",
                    lambda z: np.mean((self.y - np.maximum(z, 0)) ** 2),
                    self.z,
                    self.by_z[None],
                ),
            ),
        )

    def active(self):
        return np.flatnonzero(self.mask)

    def _rows(self):
        """Which rows count, in words."""
        idle = np.flatnonzero(~self.mask)
        if not idle.size:
            return ("Every row is active.",)
        names = ", ".join(map(str, idle[:8])) + (", …" if idle.size > 8 else "")
        plural = idle.size > 1
        return (
            f"Row{'s' * plural} {names} {'are' if plural else 'is'} inactive: y² is in C, and "
            "nothing here.",
        )

    def by_weights(self):
        gw = self.loss_and_grad[1]
        products = tuple(
            Product(
                rf"\frac{{\partial C}}{{\partial w_{{{j}}}}}",
                tuple(
                    (rf"\frac{{2}}{{N}} e_{{{i}}}", float(self.by_z[i]),
                     f"x_{{{i}{j}}}" if max(i, j) < 10 else f"x_{{{i},{j}}}",
                     float(self.X[i, j]))
                    for i in self.active()
                ),
                float(gw[j]),
                self.n - len(self.active()),
            )
            for j in range(self.d)
        )  # fmt: skip
        values = (
            Value(r"\frac{\partial C}{\partial \mathbf{w}}", gw[None], ("1", "d"),
                  "fg.neuron_loss_and_grad(w, b, X, y)[1]", True),
        )  # fmt: skip
        return Step(
            "The gradient with respect to the weights",
            19,
            (
                r"\frac{\partial C}{\partial \mathbf{w}} = \frac{\partial C}{\partial \mathbf{z}} "
                r"\frac{\partial \mathbf{z}}{\partial \mathbf{w}}"
                r" = \frac{2}{N} \sum_{i \text{ active}} e_i \mathbf{x}_i^T",
            ),
            values,
            products,
            notes=(
                *self._rows(),
                "As matrices it is a row (1, n) times a matrix (n, d). The "
                "library returns its d numbers as an array (d,), to be subtracted from w.",
            ),
            checks=(differences("C by w", lambda w: self.loss_at(w, self.b), self.w, gw[None]),),
        )

    def by_bias(self):
        gb = self.loss_and_grad[2]
        terms = tuple(
            (rf"\frac{{2}}{{N}} e_{{{i}}}", float(self.by_z[i]), "1", 1.0) for i in self.active()
        )
        zeros = self.n - len(terms)
        values = (
            Value(r"\frac{\partial C}{\partial b}", np.array([[gb]]), ("1", "1"),
                  "fg.neuron_loss_and_grad(w, b, X, y)[2]", True),
        )  # fmt: skip
        return Step(
            "The derivative with respect to the bias",
            20,
            (r"\frac{\partial C}{\partial b} = \frac{2}{N} \sum_{i \text{ active}} e_i",),
            values,
            (Product(r"\frac{\partial C}{\partial b}", terms, float(gb), zeros),),
            notes=("The same sum with the input 1 in the place of x.",),
            checks=(
                differences("C by b", lambda b: self.loss_at(self.w, b), self.b, [[gb]]),
            ),
        )  # fmt: skip

    def augmented(self):
        """Formula 22: the bias is the weight of an input 1."""
        ones = np.hstack([self.X, np.ones((self.n, 1))])
        together = np.append(self.w, self.b)
        loss, gw, _ = neuron_loss_and_grad(together, 0.0, ones, self.y)
        _, by_w, by_b = self.loss_and_grad
        gradient = Value(
            r"\frac{\partial C}{\partial \hat{\mathbf{w}}}", gw[None], ("1", "d+1"),
            "fg.neuron_loss_and_grad(w_hat, 0.0, X_hat, y)[1]", True,
        )  # fmt: skip
        values = (
            Value(r"\hat{\mathbf{w}}", together, ("d+1",)),
            Value(r"\hat{X}", ones, ("n", "d+1")),
            gradient,
        )
        return Step(
            "The bias as one more weight",
            22,
            (
                r"\hat{\mathbf{w}} = [\mathbf{w}^T, b]^T",
                r"\hat{\mathbf{x}} = [\mathbf{x}^T, 1]^T",
                r"\mathbf{w}{\cdot}\mathbf{x} + b = \hat{\mathbf{w}}{\cdot}\hat{\mathbf{x}}",
            ),
            values,
            notes=(
                "Both derivatives in one row. The library keeps w and b apart: no copy of X with a "
                "column of ones is made.",
            ),
            checks=(
                identity("C and that of w and b", loss, self.loss_and_grad[0]),
                identity("this row and both gradients", gw, np.append(by_w, by_b)),
                differences("C by ŵ", lambda t: self.loss_at(t[:-1], t[-1]), together, gw[None]),
            ),
        )

    def descent(self):
        loss, gw, gb = self.loss_and_grad
        optimizer = SGD(self.lr)
        theta = np.append(self.w, self.b)
        optimizer.step(theta, np.append(gw, gb))
        after = self.loss_at(theta[:-1], theta[-1])
        values = (
            Value(r"\eta", np.array(self.lr), ()),
            Value(r"\mathbf{w}'", theta[:-1].copy(), ("d",), "fg.SGD(lr).step(theta, grad)"),
            Value("b'", np.array(theta[-1]), ()),
            Value("C", np.array(loss), ()),
            Value("C'", np.array(after), (), "fg.neuron_loss_and_grad(w_new, b_new, X, y)[0]"),
        )
        expected = np.append(self.w, self.b)
        reference.sgd_step(expected, np.append(gw, gb), self.lr)
        fell = "The loss fell" if after < loss else "The loss did not fall: η is too large for it"
        fell = "The gradient is 0: nothing moves" if not (gw.any() or gb) else fell
        return Step(
            "One step of gradient descent",
            21,
            (
                r"\mathbf{w}' = \mathbf{w} - \eta \frac{\partial C}{\partial \mathbf{w}}",
                r"b' = b - \eta \frac{\partial C}{\partial b}",
            ),
            values,
            notes=(f"{fell}. (In the calls, theta is [w, b] and w_new, b_new are w′, b′.)",),
            checks=(twin("w' and b'", theta, expected),),
        )
