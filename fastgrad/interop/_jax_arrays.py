"""Arrays of JAX at the door, and the call back to NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def callback(function, results, *args):
    return jax.pure_callback(function, results, *args, vmap_method="sequential")


def as_arrays(*values):
    return [np.asarray(value) for value in values]


def like(*values):
    return tuple(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values)


def floats(name: str, value, dtype=None):
    """A float32 or float64 array of JAX, or a clear error while tracing."""
    value = jnp.asarray(value)
    if value.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} has dtype {value.dtype}; expected float32 or float64")
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {value.dtype}, the parameters have {np.dtype(dtype)} "
            f"(float64 needs jax.config.update('jax_enable_x64', True))"
        )
    return value


def shape(name: str, value, expected):
    if value.shape != expected:
        raise ValueError(f"{name} has shape {value.shape}; expected {expected}")


def rows(X, d: int, dtype):
    """X (n, d)."""
    X = floats("X", X, dtype)
    if X.ndim != 2 or X.shape[1] != d:
        raise ValueError(f"X has shape {X.shape}; expected (n, {d})")
    return X
