"""The gradient of a neuron's activation (formula 17); ReLU and its mask (formulas 2 and 16).

In: w, b and rows of X; or a contiguous array. Out: a row of dw and a number of db for each row of
X; or an array of the same size. Plain loops over rows, columns, elements: nothing is added up.
"""

from __future__ import annotations

from .jit import kernel, linked_kernel


@kernel
def neuron_rows(dw_out, db_out, w, b, x):
    """Per row, formula 17: x and 1 where the neuron is active, else 0 (NaN counts as active)."""
    n, d = x.shape
    for i in range(n):
        z = b
        for j in range(d):
            z += w[j] * x[i, j]
        active = not (z <= 0)
        db_out[i] = 1 if active else 0
        for j in range(d):
            dw_out[i, j] = x[i, j] if active else 0


@linked_kernel
def relu(out, z):
    """max(0, z), NaN kept, over contiguous memory."""
    for i in range(z.size):
        out[i] = 0 if z[i] <= 0 else z[i]


@linked_kernel
def relu_mask(out, z):
    """not (z <= 0)."""
    for i in range(z.size):
        out[i] = not (z[i] <= 0)
