"""Formulas 30, 34 and 35: products with the Jacobian, and with matrices of second derivatives.

Each takes a small network and its numbers, those of formula 24 where none are given.
"""

from __future__ import annotations

import numpy as np

from .. import calculus, curvature, jacobians
from ..network import MLP
from .checks import differences, identity, numbers, same
from .networks import EXAMPLE, NetworkSteps, slope_of
from .outputs import identity_network, output_gradient
from .steps import Step, Value

SIZES, THETA, INPUTS, TARGETS = (EXAMPLE[name] for name in ("layer_sizes", "theta", "X", "y"))


def steps_of(layer_sizes, theta, X, y, loss, activation):
    net = MLP(layer_sizes, loss=loss, activation=activation)
    return NetworkSteps(net, theta, X, y)


def _along(name: str, value, p: int):
    """A direction in the parameters; 0.5, −1, 0.25, 0.5, … where none is given."""
    if value is None:
        return np.resize([0.5, -1.0, 0.25], p)
    value = numbers(value, name, 1)
    same(name, value, (p,))
    return value


def given_to(steps, *vectors):
    """θ, X, y and other vectors of p numbers, (name in LaTeX, array)."""
    y = steps.y
    return (
        Value(r"\theta", steps.theta, ("p",)),
        Value("X", steps.X, ("n", "d")),
        Value(r"\mathbf{y}", y, ("n",)) if y.ndim == 1 else Value("Y", y, ("n", "k")),
        *(Value(name, array, ("p",)) for name, array in vectors),
    )


def row_30(
    layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, tangent=None, cotangent=None, loss="mse",
    activation="relu",
):  # fmt: skip
    """Jacobian-vector products."""
    steps = steps_of(layer_sizes, theta, X, y, loss, activation)
    net, theta, X = steps.net, steps.theta, steps.X
    v = _along("tangent", tangent, theta.size)
    out = steps.A[-1]
    if cotangent is None:
        cotangent = np.resize([1.0, -0.5, 2.0], out.shape)
    cotangent = numbers(cotangent, "cotangent", 2)
    same("cotangent", cotangent, out.shape)
    forward = jacobians.jvp(net, theta, X, v)
    back = jacobians.vjp(net, theta, X, cotangent)
    return (
        *_tangents(steps, v),
        Step(
            "Forward mode in one call: θ moves, the outputs move",
            30,
            (r"\dot{A} = J \mathbf{v}, \quad J = \frac{\partial A}{\partial \theta}",),
            (Value(r"J \mathbf{v}", forward, ("n", "k"), "fg.jacobians.jvp(net, theta, X, v)"),),
            notes=("J would be (n·k, p); only its product with v is formed.",),
            checks=(
                identity("J v and the last step before", forward, _tangents_of(steps, v)[-1]),
                differences(
                    "A(θ + t v) by t",
                    lambda t: net.predict(theta + t * v, X),
                    0.0,
                    forward.reshape(-1, 1),
                ),
            ),
        ),
        Step(
            "Reverse mode: a cotangent of the outputs to a gradient",
            30,
            (r"\mathbf{u}^T J, \text{ the gradient of } \sum_{ij} U_{ij} A_{ij}",),
            (
                Value("U", cotangent, ("n", "k")),
                Value(r"\mathbf{u}^T J", back[None], ("1", "p"),
                      "fg.jacobians.vjp(net, theta, X, U)", True),
            ),
            notes=(
                "The way back of formula 24, from any U: with U the derivative of a loss by the "
                "outputs it is that loss's gradient. u is U as one vector.",
            ),
            checks=(
                differences(
                    "u·A by θ",
                    lambda t: np.sum(cotangent * net.predict(t, X)),
                    theta,
                    back[None],
                ),
                identity("u·(J v) and (uᵀJ)·v", np.sum(cotangent * forward), back @ v),
            ),
        ),
    )  # fmt: skip


def _tangents_of(steps, v):
    """Ȧ of each layer along v, by the rules of single layers."""
    found, A_dot = [], None
    for place, (W_dot, b_dot) in enumerate(steps.net.unflatten(v), 1):
        A, W = steps.A[place - 1], steps.layers[place - 1][0]
        Z_dot = calculus.affine_jvp(A, W, A_dot, W_dot, b_dot)
        name = steps.activation(place)
        if name == "relu":
            A_dot = calculus.relu_jvp(steps.Z[place - 1], Z_dot)
        else:
            A_dot = Z_dot * slope_of(name, steps.A[place])
        found += [Z_dot, A_dot]
    return found


def _tangents(steps, v):
    """A step a layer: how Z and A move when θ moves along v."""
    found, made = _tangents_of(steps, v), []
    for place in range(1, steps.last + 1):
        k, before = steps.size(place), "X" if place == 1 else f"A_{place - 1}"
        moved = "" if place == 1 else rf"\dot{{A}}_{place - 1} W_{place} + "
        first = given_to(steps, (r"\mathbf{v}", v)) if place == 1 else ()
        arguments = "None" if place == 1 else f"A_dot_{place - 1}"
        source = (
            f"fg.calculus.affine_jvp({before}, W_{place}, {arguments}, "
            f"*net.unflatten(v)[{place - 1}])"
        )
        made.append(
            Step(
                f"Layer {place}: tangents forwards",
                30,
                (
                    rf"\dot{{Z}}_{place} = {moved}{before} \dot{{W}}_{place} + "
                    rf"\dot{{\mathbf{{b}}}}_{place}",
                    rf"\dot{{A}}_{place} = \dot{{Z}}_{place} \odot \text{{slope}}",
                ),
                (
                    *first,
                    Value(rf"\dot{{Z}}_{place}", found[2 * place - 2], ("n", k), source),
                    Value(rf"\dot{{A}}_{place}", found[2 * place - 1], ("n", k)),
                ),
                notes=("A dot is the derivative along v: Ẇ and ḃ are v, layer by layer.",)
                if place == 1
                else (),
                checks=(
                    differences(
                        f"A{place}(θ + t v) by t",
                        lambda t, place=place: _forward(steps, steps.theta + t * v, place),
                        0.0,
                        found[2 * place - 1].reshape(-1, 1),
                    ),
                ),
            )
        )
    return tuple(made)


def _forward(steps, theta, place: int):
    """A of a layer at other parameters: a network that ends there, W = I and b = 0 after it."""
    sizes = steps.net.layer_sizes[: place + 1]
    p = sum((d + 1) * k for d, k in zip(sizes, sizes[1:]))  # noqa: RUF007
    if place == steps.last:
        return steps.net.predict(theta, steps.X)
    k = sizes[-1]
    net = MLP([*sizes, k], activation=steps.net.activation)
    return net.predict(np.concatenate([theta[:p], np.eye(k).ravel(), np.zeros(k)]), steps.X)


def row_34(
    layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, v=None, loss="mse", activation="relu"
):  # fmt: skip
    """The Hessian times a vector."""
    steps = steps_of(layer_sizes, theta, X, y, loss, activation)
    net, theta, X, y = steps.net, steps.theta, steps.X, steps.y
    v = _along("v", v, theta.size)
    other = np.resize([1.0, 0.0, -0.5, 0.25], theta.size)
    product = curvature.hvp(net, theta, X, y, v)
    along = curvature.hvp(net, theta, X, y, other)
    source = "fg.curvature.hvp(net, theta, X, y, v)"
    return (
        *_tangents(steps, v),
        Step(
            "Along v, the way back moves too",
            34,
            (
                r"\dot{\Delta} \text{ at the outputs} = (\text{curvature of the loss}) \dot{Z}",
                r"\dot{\Delta}_{l-1} = (\dot{\Delta}_l W_l^T + \Delta_l \dot{W}_l^T) \odot "
                r"\text{slope} + \Delta_l W_l^T \odot \text{slope}' \odot \dot{Z}_{l-1}",
                r"\frac{\partial C}{\partial W_l} \text{ moves by } \dot{A}_{l-1}^T \Delta_l"
                r" + A_{l-1}^T \dot{\Delta}_l",
            ),
            (Value(r"H \mathbf{v}", product[None], ("1", "p"), source, True),),
            notes=(
                "H v is how the gradient moves when θ moves along v (Pearlmutter 1994). For ReLU "
                "the slope does not move: slope' is 0. No p by p matrix is formed.",
            ),
            checks=(
                differences(
                    "∂C/∂θ at θ + t v by t",
                    lambda t: net.loss_and_grad(theta + t * v, X, y)[1],
                    0.0,
                    product[:, None],
                ),
                identity("u·(H v) and v·(H u): H is symmetric", other @ product, v @ along),
            ),
        ),
    )


def row_35(
    layer_sizes=SIZES, theta=THETA, X=INPUTS, y=TARGETS, v=None, loss="mse", activation="relu"
):  # fmt: skip
    """Gauss and Newton's matrix times a vector."""
    steps = steps_of(layer_sizes, theta, X, y, loss, activation)
    net, theta, X, y = steps.net, steps.theta, steps.X, steps.y
    v = _along("v", v, theta.size)
    tangent = jacobians.jvp(net, theta, X, v)
    curved = _curved(steps, tangent)
    back = jacobians.vjp(net, theta, X, curved)
    product = curvature.ggn_vp(net, theta, X, y, v)
    out = steps.A[-1]

    def gradient_at(outputs):
        return output_gradient(net.loss_name, outputs, y, **steps.parameters)

    return (
        Step(
            "Forward: J v",
            30,
            (r"\dot{A} = J \mathbf{v}",),
            (
                *given_to(steps, (r"\mathbf{v}", v)),
                Value(r"\dot{A}", tangent, ("n", "k"), "fg.jacobians.jvp(net, theta, X, v)"),
            ),
            checks=(
                differences(
                    "A(θ + t v) by t",
                    lambda t: net.predict(theta + t * v, X),
                    0.0,
                    tangent.reshape(-1, 1),
                ),
            ),
        ),
        Step(
            "The loss's curvature at the outputs",
            35,
            (r"U = H_{\text{out}} \dot{A}",),
            (
                Value("U", curved, ("n", "k")),
            ),
            notes=(
                "Row by row, for a row's loss takes its own outputs alone: a Hessian product of "
                "a network whose outputs are its bias.",
            ),
            checks=(
                differences(
                    "∂C/∂A at A + t Ȧ by t",
                    lambda t: gradient_at(out + t * tangent),
                    0.0,
                    curved.reshape(-1, 1),
                ),
            ),
        ),
        Step(
            "Back: Jᵀ U",
            35,
            (r"G \mathbf{v} = J^T H_{\text{out}} J \mathbf{v}",),
            (
                Value(r"G \mathbf{v}", product[None], ("1", "p"),
                      "fg.curvature.ggn_vp(net, theta, X, y, v)", True),
            ),
            notes=(
                "What is left of the Hessian when the network is taken to be affine in θ. v·G v is "
                f"{float(v @ product):.4g}: never below 0 for these losses.",
            ),
            checks=(
                identity("Jᵀ U by vjp and G v by ggn_vp", back, product),
                differences(
                    "Jᵀ ∂C/∂A at A + t Ȧ by t",
                    lambda t: jacobians.vjp(net, theta, X, gradient_at(out + t * tangent)),
                    0.0,
                    product[:, None],
                ),
            ),
        ),
    )  # fmt: skip


def _curved(steps, tangent):
    """H_out Ȧ of the mean over the rows, (n, k)."""
    n, k = tangent.shape
    net, theta = identity_network(steps.net.loss_name, k, **steps.parameters)
    found = np.empty_like(tangent)
    for i, (outputs, move) in enumerate(zip(steps.A[-1], tangent)):
        v = np.append(np.zeros(k * k), move)
        row = outputs[None], steps.y[i : i + 1]
        found[i] = curvature.hvp(net, theta, *row, v)[k * k :] / n
    return found
