"""From a table to what a model takes, and models as the command line reads them."""

from __future__ import annotations

import numpy as np

from ..models import Model, load_model
from .errors import UserError
from .table import Table


def load(path) -> Model:
    """A model of one target; a `UserError` that names the file otherwise."""
    try:
        model = load_model(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a model that `train` saved") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(
            f"{path}: not a model (which comes first, then the data): {error}"
        ) from None
    if model.net.n_outputs > 1 and model.classes is None:
        raise UserError(
            f"{path}: a model of {model.net.n_outputs} targets; expected one (from Python "
            f"fastgrad.load_model reads it)"
        )
    return model


def columns(model: Model, table: Table) -> np.ndarray:
    """The model's columns of a table, in its order."""
    X, d = table.X, model.net.n_inputs
    if model.features and table.names:
        missing = [name for name in model.features if name not in table.names]
        if missing:
            raise UserError(
                f"{table.source}: no column {missing[0]!r}; the model expects "
                f"{', '.join(model.features)}"
            )
        X = X[:, [table.names.index(name) for name in model.features]]
    elif X.shape[1] != d:
        raise UserError(f"{table.source}: {X.shape[1]} input columns; the model expects {d}")
    return X


def targets(model: Model, table: Table) -> np.ndarray:
    """A table's target as the network takes it."""
    if table.target is None:
        raise UserError(f"{table.source}: no target; expected a column {model.target!r}")
    if model.classes is None:
        if table.target.dtype.kind != "f":
            raise UserError(f"{table.source}: column {table.target_name} is text; expected numbers")
        y = (table.target - model.target_mean) / model.target_scale
        return y.astype(model.net.dtype)
    codes = encode(table, model.classes)
    return codes if model.net.loss_name == "cross_entropy" else codes.astype(model.net.dtype)


def classes_of(target: np.ndarray) -> list:
    """The classes in order: whole numbers as integers, else numbers or text."""
    values = np.unique(target)
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        return [int(value) for value in values]
    return values.tolist()


def encode(table: Table, classes) -> np.ndarray:
    """Class numbers 0 .. k-1 of a table's target."""
    known = np.array(classes)
    target = table.target
    if (known.dtype.kind == "U") != (target.dtype.kind == "U"):
        target = target.astype(str) if known.dtype.kind == "U" else target
        if known.dtype.kind != "U":
            raise UserError(
                f"{table.source}: column {table.target_name} is text; the model's classes are "
                f"numbers"
            )
    order = np.argsort(known)
    places = np.searchsorted(known, target, sorter=order).clip(max=len(known) - 1)
    codes = order[places]
    wrong = known[codes] != target
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{table.source}: row {row + 1}, column {table.target_name}: {target[row]}; "
            f"expected one of the classes {', '.join(map(str, classes[:20]))}"
        )
    return codes.astype(np.int64)
