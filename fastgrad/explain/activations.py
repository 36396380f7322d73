"""Section 5 of the paper: a neuron's activation and its derivatives (formulas 1, 2, 15 to 17)."""

from __future__ import annotations

import numpy as np

from .. import calculus, reference
from ..dense import affine, affine_relu
from ..neuron import neuron_grad
from .checks import differences, numbers, same, small, twin
from .notation import partial
from .steps import Step, Value


class ActivationSteps:
    """The steps from z = w·x + b to ∂a/∂w and ∂a/∂b."""

    def __init__(self, w, b, X, y):
        self.w, self.b = numbers(w, "w", 1), float(numbers(b, "b", 0))
        self.X, self.y = numbers(X, "X", 2), numbers(y, "y", 1)
        self.n, self.d = self.X.shape
        same("w", self.w, (self.d,))
        same("y", self.y, (self.n,))
        small("∂a/∂z and ∂z/∂w", self.n, max(self.n, self.d), "fewer rows, as in X[:8], y[:8]")
        self.z = affine(self.X, self.w, self.b)
        self.a, self.mask = affine_relu(self.X, self.w, self.b)

    def given(self, *names):
        known = {
            "w": Value(r"\mathbf{w}", self.w, ("d",)),
            "b": Value("b", np.array(self.b), ()),
            "X": Value("X", self.X, ("n", "d")),
            "y": Value(r"\mathbf{y}", self.y, ("n",)),
        }
        return tuple(known[name] for name in names)

    def affine(self):
        z = Value(r"\mathbf{z}", self.z, ("n",), "fg.affine(X, w, b)")
        return Step(
            "The affine output",
            1,
            (r"z_i = \mathbf{w}{\cdot}\mathbf{x}_i + b",),
            (*self.given("w", "b", "X"), z),
            checks=(twin("z", self.z, reference.affine(self.X, self.w, self.b)),),
            notes=("Row i of X is the sample xᵢ; all n of them at once are X w + b.",),
        )

    def activation(self):
        a, mask = reference.affine_relu(self.X, self.w, self.b)
        values = (
            Value(r"\mathbf{a}", self.a, ("n",), "fg.affine_relu(X, w, b)[0]"),
            Value(r"\operatorname{mask}", self.mask, ("n",), "fg.affine_relu(X, w, b)[1]"),
        )
        return Step(
            "The activation",
            2,
            (r"a_i = \max(0, z_i)",),
            values,
            notes=("mask: 1 where the neuron is active, z > 0; 0 where it is not.",),
            checks=(twin("a", self.a, a), twin("mask", self.mask, mask)),
        )

    def affine_gradients(self):
        rows = [calculus.affine_gradients(self.w, x) for x in self.X]
        by_w = calculus.stack_gradients([row[0] for row in rows])
        by_b = np.array([[row[2]] for row in rows])
        source = "np.stack([fg.calculus.affine_gradients(w, x)[0] for x in X])"
        values = (
            Value(partial("z", "w"), by_w, ("n", "d"), source, True),
            Value(r"\frac{\partial \mathbf{z}}{\partial b}", by_b, ("n", "1"), "", True),
        )
        return Step(
            "The affine output by w and by b",
            15,
            (
                r"\frac{\partial z_i}{\partial \mathbf{w}} = \mathbf{x}_i^T",
                r"\frac{\partial z_i}{\partial b} = 1",
            ),
            values,
            notes=(
                "One gradient is a row (1, d): the sample itself. Stacked for all samples they are "
                "the matrix X.",
            ),
            checks=(
                differences("z by w", lambda w: affine(self.X, w, self.b), self.w, by_w),
                differences("z by b", lambda b: affine(self.X, self.w, float(b)), self.b, by_b),
            ),
        )

    def relu_derivative(self):
        slopes = calculus.relu_derivative(self.z)
        jacobian = np.diag(slopes)
        values = (
            Value(r"\operatorname{max}'(\mathbf{z})", slopes, ("n",),
                  "fg.calculus.relu_derivative(z)"),
            Value(partial("a", "z"), jacobian, ("n", "n"), "", True),
        )  # fmt: skip
        return Step(
            "The activation by the affine output",
            16,
            (r"\frac{d}{dz} \max(0, z) = 0 \text{ for } z \le 0,  1 \text{ for } z > 0",),
            values,
            notes=(
                "aᵢ takes zᵢ alone, so the Jacobian is diagonal (section 4.2) and multiplying by "
                "it is multiplying entry by entry by the mask: the matrix is never formed.",
            ),
            checks=(differences("a by z", lambda z: np.maximum(z, 0), self.z, jacobian),),
        )

    def activation_gradients(self):
        by_w, by_b = neuron_grad(self.w, self.b, self.X)
        source = "fg.neuron_grad(w, b, X)[0]"
        values = (
            Value(partial("a", "w"), by_w, ("n", "d"), source, True),
            Value(r"\frac{\partial \mathbf{a}}{\partial b}", by_b[:, None], ("n", "1"), "", True),
        )
        return Step(
            "The activation by w and by b",
            17,
            (
                r"\frac{\partial a_i}{\partial \mathbf{w}} = \frac{\partial a_i}{\partial z_i} "
                r"\frac{\partial z_i}{\partial \mathbf{w}} = \vec{0}^T \text{ for } z_i \le 0,  "
                r"\mathbf{x}_i^T \text{ for } z_i > 0",
                r"\frac{\partial a_i}{\partial b} = 0 \text{ for } z_i \le 0,  "
                r"1 \text{ for } z_i > 0",
            ),
            values,
            notes=("The chain rule: an inactive neuron's row is zeros.",),
            checks=(
                differences(
                    "a by w", lambda w: affine_relu(self.X, w, self.b)[0], self.w, by_w
                ),
                differences(
                    "a by b",
                    lambda b: affine_relu(self.X, self.w, float(b))[0],
                    self.b,
                    by_b[:, None],
                ),
            ),
        )  # fmt: skip
