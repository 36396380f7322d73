"""What a model may hold beside its network: scales, names, encodings and classes, checked."""

from __future__ import annotations

import numpy as np

from .. import metrics
from .._core import check, stacked
from ..network import MLP
from . import encode


def check_parameters(theta, net: MLP) -> np.ndarray:
    """(p,), or (m, p) with m >= 1."""
    array = check.as_array(theta, "theta")
    if array.ndim != 2:
        return check.vector(theta, "theta", net.dtype, net.n_parameters, ": one flat vector")
    array = stacked.parameters(theta, net, "theta")
    if not len(array):
        raise ValueError("theta has 0 networks; expected one or more")
    return array


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(array).all():
        position = int(np.argmin(np.isfinite(array)))
        raise ValueError(
            f"{name} has the value {array.flat[position]} at position {position}; expected "
            f"finite numbers"
        )
    return array


def check_numbers(value, name: str, size: int) -> np.ndarray:
    """One number or (size,), float64, finite; a scale above 0."""
    array = check.float_array(metrics._converted(value, name, check.F64), name, check.F64)
    if array.shape not in ((), (size,)):
        raise ValueError(f"{name} has shape {array.shape}; expected one number or ({size},)")
    check_finite(array, name)
    if name.endswith("scale") and not (array > 0).all():
        raise ValueError(f"{name} has the value {array.min()}; expected numbers above 0")
    return np.array(array)


def check_encodings(encoding) -> dict:
    """Encodings by name, from their dicts where they come from a file."""
    if not isinstance(encoding, dict) or not all(isinstance(name, str) for name in encoding):
        raise TypeError(f"encoding is {encoding!r}; expected a dict by name of column")
    return {
        name: value if isinstance(value, encode.Encoding) else encode.Encoding(**value)
        for name, value in encoding.items()
    }


def check_features(features, d: int, encoding: dict) -> list[str] | None:
    """Names of columns that make d inputs, none twice where they are looked for by name."""
    if features is None:
        columns = d - encode.input_count(0, encoding)
        names = list(map(str, range(max(columns, 0))))
    else:
        names = features if isinstance(features, str) else list(features)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"features is {features!r}; expected names, one for each input")
        columns = len(names)
        if encode.input_count(columns, encoding) != d:
            raise ValueError(
                f"features has {columns} names; expected "
                f"{d - encode.input_count(0, encoding)}, one for each input"
            )
        if len(set(names)) < columns:
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"features has {twice!r} twice; expected every name once")
    for name in encoding:
        if name not in names:
            raise ValueError(f"encoding has {name!r}, which is no column of features")
    return None if features is None else [str(name) for name in names]


def check_target(target, k: int):
    if isinstance(target, str):
        return target
    names = list(target) if isinstance(target, (list, tuple)) else [None]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"target is {target!r}; expected a name, or one for each output")
    if len(names) != k:
        raise ValueError(f"target has {len(names)} names; expected {k}, one for each output")
    return names


def check_classes(classes, net: MLP) -> list | None:
    """Names of one kind, none twice."""
    loss = net.spec.loss
    single = loss.takes_logits and not loss.labelled and net.n_outputs == 1
    if not loss.labelled and not single:
        if classes is not None:
            raise ValueError(
                f"classes are for one classification; the network has {net.n_outputs} outputs of "
                f"{net.loss_name!r}"
            )
        return None
    expected = 2 if single else net.n_outputs
    if classes is None:
        return list(range(expected))
    names = np.array(classes)
    if names.ndim != 1 or names.dtype.kind not in "biufU":
        raise TypeError(f"classes is {classes!r}; expected names, or numbers, one for each class")
    names = names.tolist()
    if len(names) != expected or len(set(names)) != expected:
        raise ValueError(f"classes is {names}; expected {expected} that are all different")
    return names
