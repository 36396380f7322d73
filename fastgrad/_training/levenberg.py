"""Levenberg and Marquardt's step: the smaller of two systems, damped by the gain ratio.

With b (n k,) the weighted residuals, A (n k, p) their Jacobian and D the l2 of each parameter, the
loss is b b / 2 + theta D theta / 2, its gradient g = A^T b + D theta, its Gauss-Newton matrix
A^T A + D. Both systems give the d of (A^T A + D + damping I) d = -g. They are solved in float64.
"""

from __future__ import annotations

import numpy as np

from .full_batch import CONVERGED, NOT_FINITE, Step

_EPS = np.finfo(np.float64).eps
_TINY = np.finfo(np.float64).tiny
_BLOCK = 64  # unknowns of a substitution's block
GROWTH = 2.0  # of the damping after a step that failed, and twice that after the next


def step(problem, theta, first_damping, tolerance, state):
    """One step that lowers the loss; CONVERGED or NOT_FINITE if there is none.

    Damping as in Madsen, Nielsen and Tingleff, *Methods for non-linear least squares problems*
    (2004), algorithm 3.16.
    """
    loss, g = problem.loss_and_grad(theta)
    if not (np.isfinite(loss) and np.isfinite(g).all()):
        return NOT_FINITE
    if not g.any():
        return CONVERGED
    n_residuals = len(problem.X) * problem.net.n_outputs
    system = (Residuals if n_residuals < theta.size else Normal)(problem, theta, g)
    if not np.isfinite(system.scale):
        return NOT_FINITE
    damping = state.get("damping", first_damping * system.scale)
    growth = state.get("growth", GROWTH)
    while np.isfinite(damping):
        d = system.solve(damping)
        if d is not None and np.isfinite(d).all():
            promised = 0.5 * float(d @ (damping * d - g))
            trial = (theta + d).astype(theta.dtype)
            if promised <= tolerance * loss or np.array_equal(trial, theta):
                return CONVERGED
            new_loss = problem.loss(trial)
            if new_loss < loss:
                gain = min(1.0, (loss - new_loss) / promised)
                next_damping = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3)
                state = {"damping": next_damping, "growth": GROWTH}
                return Step(trial, new_loss, {"damping": damping}, state)
        damping = max(damping, _EPS * system.scale, _TINY) * growth
        growth *= 2
    return NOT_FINITE


class Normal:
    """(p, p): A^T A + D + damping I."""

    def __init__(self, problem, theta, g):
        self._matrix, self._g = problem.ggn(theta), g
        self.scale = float(self._matrix.diagonal().max())

    def solve(self, damping):
        matrix = self._matrix.copy()
        matrix.reshape(-1)[:: len(matrix) + 1] += damping
        return cholesky_solve(matrix, -self._g)


class Residuals:
    """(n k, n k): A L^-1 A^T + I with L = D + damping I, which stays a diagonal.

    d = -L^-1 D theta - L^-1 A^T (A L^-1 A^T + I)^-1 (b - A L^-1 D theta), by Woodbury's identity;
    in this form nothing cancels where the damping is small. It has a least value: rounding grows
    with the largest ratio within L.
    """

    def __init__(self, problem, theta, g):
        self._b, self._A = problem.residuals(theta)
        self._D, self._theta = problem.penalty(), theta.astype(np.float64)
        self.scale = float((np.einsum("ij,ij->j", self._A, self._A) + self._D).max())
        penalised = self._D > 0
        self._products = [  # with what L is on these columns
            (self._A[:, columns] @ self._A[:, columns].T, float(self._D[columns][0]))
            for columns in (penalised, ~penalised)
            if columns.any()
        ]
        self._least = self.scale * (_EPS if len(self._products) == 1 else _EPS**0.5)

    def solve(self, damping):
        damping = max(damping, self._least)
        matrix = np.eye(len(self._b))
        for product, l2 in self._products:
            matrix += product / (l2 + damping)
        L = self._D + damping
        shrunk = self._D * self._theta / L
        x = cholesky_solve(matrix, self._b - self._A @ shrunk)
        return None if x is None else -shrunk - (self._A.T @ x) / L


def cholesky_solve(matrix, b):
    """x of matrix x = b; None where the matrix is not positive definite."""
    try:
        factor = np.linalg.cholesky(matrix)
        return _substitute(factor.T, _substitute(factor, b, 1), -1)
    except np.linalg.LinAlgError:
        return None


def _substitute(T, b, direction):
    """x of T x = b for T lower (direction 1) or upper (-1) triangular, block by block."""
    x, starts = b.copy(), range(0, len(b), _BLOCK)
    for start in starts[::direction]:
        rows = slice(start, start + _BLOCK)
        solved = slice(0, start) if direction > 0 else slice(start + _BLOCK, None)
        x[rows] = np.linalg.solve(T[rows, rows], b[rows] - T[rows, solved] @ x[solved])
    return x
