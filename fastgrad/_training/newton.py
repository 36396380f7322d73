"""Newton's step by conjugate gradients: products with the Gauss-Newton matrix, a trust region.

Vectors are float64, whatever the network's dtype; products are rounded to it.
"""

from __future__ import annotations

import numpy as np

from .full_batch import CONVERGED, NOT_FINITE, Step

MOST_FORCING = 0.5  # of the residual that is left, relative to the gradient
_GAMMA, _SAFEGUARD = 0.9, 0.1
_LARGEST = 1e100  # radius, whose square is finite


def step(problem, theta, first_radius, products, tolerance, state):
    """One step that lowers the loss; CONVERGED or NOT_FINITE if there is none.

    The radius as in Nocedal and Wright, *Numerical Optimization* (2006), algorithm 4.1.
    """
    loss, g = problem.loss_and_grad(theta)
    norm = float(np.linalg.norm(g))
    if not (np.isfinite(loss) and np.isfinite(norm)):
        return NOT_FINITE
    if norm == 0:
        return CONVERGED
    radius = min(state.get("radius", first_radius), _LARGEST)
    forcing = _forcing(norm, state)
    while radius > 0:
        d, Gd, inside = truncated_cg(
            lambda v: problem.ggn_product(theta, v), g, radius, forcing * norm, products
        )
        promised = -float(g @ d + 0.5 * (d @ Gd))
        if not np.isfinite(promised):
            return NOT_FINITE
        trial = (theta + d).astype(theta.dtype)
        if promised <= tolerance * abs(loss) or np.array_equal(trial, theta):
            return CONVERGED
        new_loss, used = problem.loss(trial), radius
        gain = (loss - new_loss) / promised
        if not gain >= 0.25:  # NaN too
            radius = 0.25 * float(np.linalg.norm(d))
        elif gain > 0.75 and not inside:
            radius = min(2 * radius, _LARGEST)
        if new_loss < loss:
            state = {"radius": radius, "forcing": forcing, "norm": norm}
            return Step(trial, new_loss, {"radius": used}, state)
    return CONVERGED


def _forcing(norm, state) -> float:
    """Eisenstat and Walker's second choice, which does not fall faster than its own square."""
    if not state:
        return MOST_FORCING
    forcing, before = _GAMMA * min(1.0, norm / state["norm"]) ** 2, _GAMMA * state["forcing"] ** 2
    if before > _SAFEGUARD:
        forcing = max(forcing, before)
    return min(MOST_FORCING, max(forcing, np.finfo(np.float64).eps))


def truncated_cg(product, g, radius, residual, most):
    """(d, G d, whether d is inside the radius) for d near the minimum of g d + d G d / 2.

    Steihaug's: from 0 along conjugate directions until G d + g is no longer than `residual`, after
    `most` products, or where the path, whose distance from 0 only grows, leaves the radius.
    """
    d, Gd, r = np.zeros_like(g), np.zeros_like(g), g.copy()
    along, square = -r, float(r @ r)
    for _ in range(most):
        G_along = product(along)
        curve = float(along @ G_along)
        length = square / curve if curve > 0 else np.inf
        if not np.linalg.norm(d + length * along) < radius:
            length = _to_radius(d, along, radius)
            return d + length * along, Gd + length * G_along, False
        d, Gd, r = d + length * along, Gd + length * G_along, r + length * G_along
        before, square = square, float(r @ r)
        if np.sqrt(square) <= residual:
            break
        along = -r + (square / before) * along
    return d, Gd, True


def _to_radius(d, along, radius) -> float:
    """The t >= 0 at which d + t along is as long as the radius."""
    scale = float(np.linalg.norm(along))
    unit = along / scale
    half, rest = float(d @ unit), max(0.0, radius**2 - float(d @ d))
    root = np.sqrt(half**2 + rest)
    return (rest / (root + half) if half > 0 else root - half) / scale
