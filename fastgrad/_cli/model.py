"""A trained model in one file: parameters, network, scaling, names; and the way from a table to it.

An ``.npz`` as checkpoints are: plain arrays and JSON, read with ``allow_pickle=False``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import checkpoint as store
from .._core import files
from ..network import MLP
from .errors import UserError
from .table import Table

KIND = "model"


@dataclass
class Model:
    """`classes` is None for a regression; `scaling` arrays are float64."""

    net: MLP
    theta: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    target_mean: float
    target_scale: float
    features: list[str] | None
    target: str
    classes: list | None
    summary: dict

    @property
    def task(self) -> str:
        return "regression" if self.classes is None else "classification"

    def inputs(self, table: Table) -> np.ndarray:
        """The model's columns of a table, scaled, of the network's dtype."""
        X, d = table.X, self.net.n_inputs
        if self.features and table.names:
            missing = [name for name in self.features if name not in table.names]
            if missing:
                raise UserError(
                    f"{table.source}: no column {missing[0]!r}; the model expects "
                    f"{', '.join(self.features)}"
                )
            X = X[:, [table.names.index(name) for name in self.features]]
        elif X.shape[1] != d:
            raise UserError(f"{table.source}: {X.shape[1]} input columns; the model expects {d}")
        return ((X - self.mean) / self.scale).astype(self.net.dtype)

    def targets(self, table: Table) -> np.ndarray:
        """A table's target as the network takes it."""
        if table.target is None:
            raise UserError(f"{table.source}: no target; expected a column {self.target!r}")
        if self.classes is None:
            if table.target.dtype.kind != "f":
                raise UserError(
                    f"{table.source}: column {table.target_name} is text; expected numbers"
                )
            y = (table.target - self.target_mean) / self.target_scale
            return y.astype(self.net.dtype)
        codes = encode(table, self.classes)
        return codes if self.net.loss_name == "cross_entropy" else codes.astype(self.net.dtype)

    def save(self, path, exclusive: bool) -> None:
        header = {
            "network": store.specification(self.net), "features": self.features,
            "target": self.target, "classes": self.classes, "summary": self.summary,
            "target_mean": self.target_mean, "target_scale": self.target_scale,
        }  # fmt: skip
        arrays = {"theta": self.theta, "mean": self.mean, "scale": self.scale}
        files.write(path, KIND, header, arrays, exclusive=exclusive)


def load(path) -> Model:
    """A model that `train` saved; a `UserError` that names the file otherwise."""
    try:
        header, arrays = files.read(path, KIND)
        net = store.network_of(header["network"])
        net.unflatten(arrays["theta"])
        if arrays["mean"].shape != (net.n_inputs,) or arrays["scale"].shape != (net.n_inputs,):
            raise ValueError("its scaling does not fit its network")
        return Model(
            net, arrays["theta"], arrays["mean"], arrays["scale"], header["target_mean"],
            header["target_scale"], header["features"], header["target"], header["classes"],
            header["summary"],
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a model that `train` saved") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a model: {error}") from None


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
    order = np.searchsorted(known, target).clip(max=len(known) - 1)
    wrong = known[order] != target
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{table.source}: row {row + 1}, column {table.target_name}: {target[row]}; "
            f"expected one of the classes {', '.join(map(str, classes[:20]))}"
        )
    return order.astype(np.int64)
