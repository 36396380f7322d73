"""Checkpoints: all that `fit` needs to go on as if it had never stopped.

An ``.npz`` of plain arrays and a text of JSON: parameters, best parameters, optimiser state,
generator state, history, and the specification of the run, against which a resumed one is compared.
Loading runs no code (`allow_pickle=False`); writing is atomic.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import fields, files
from ._core.names import list_public
from ._core.shown import short
from .history import History
from .network import MLP
from .optimizers import BY_NAME
from .typing import PathLike

__all__ = ["Checkpoint", "load_checkpoint", "network_of", "save_checkpoint", "specification"]
list_public(globals())


@dataclass(repr=False)
class Checkpoint:
    """A run of `fit` at the end of an epoch.

    Attributes
    ----------
    net : MLP
    theta, best_theta : ndarray (p,)
    optimizer : dict
        For `Optimizer.load_state_dict`.
    history : History
    generator : dict
        State of the generator that shuffles.
    run : dict
        Batch size and what else must not change; `epoch`s done, `best_epoch`, `best`, `waited`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.npz")
    ...     result = fg.fit(fg.MLP([1, 1]), np.ones((4, 1)), np.ones(4), epochs=2, seed=0,
    ...                     checkpoint=path)
    ...     saved = fg.load_checkpoint(path)
    >>> np.array_equal(saved.theta, result.theta), saved.run["epoch"]
    (True, 2)
    """

    net: MLP[Any]
    theta: NDArray[Any]
    best_theta: NDArray[Any]
    optimizer: dict[str, Any]
    history: History
    generator: dict[str, Any]
    run: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"Checkpoint(epoch {self.run.get('epoch')} of {self.net!r},\n"
            f"    theta {short(self.theta)}, optimizer {self.optimizer.get('name')},\n"
            f"    history={self.history!r})"
        )


def specification(net: MLP[Any]) -> dict[str, Any]:
    """A network as plain values; `network_of` is the way back.

    Examples
    --------
    >>> import fastgrad as fg
    >>> specification(fg.MLP([2, 3]))["layer_sizes"]
    [2, 3]
    """
    return net.spec.settings()


def network_of(spec: dict[str, Any]) -> MLP[Any]:
    """The network of a `specification`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> network_of(specification(fg.MLP([2, 3])))
    MLP([2, 3], loss='mse', dtype='float64')
    """
    spec = dict(spec)
    return MLP(spec.pop("layer_sizes"), **spec)


def save_checkpoint(path: PathLike, saved: Checkpoint) -> None:
    """Write a checkpoint: the whole file, or the old one stays.

    Examples
    --------
    See `Checkpoint`; `fit` calls this.
    """
    optimizer = dict(saved.optimizer)
    state = optimizer.pop("state")
    arrays = {"theta": saved.theta, "best_theta": saved.best_theta}
    if state is not None:
        arrays["state"] = state
    for name in saved.history.columns:
        arrays[f"history_{name}"] = saved.history[name]
    header = {
        "network": specification(saved.net),
        "optimizer": optimizer,
        "generator": saved.generator,
        "run": saved.run,
        "history": list(saved.history.columns),
    }
    files.write(path, "checkpoint", header, arrays)


def check_free(path: PathLike) -> None:
    """A FileExistsError where `fit` would write over a file that is there.

    Examples
    --------
    >>> check_free("missing.npz")
    """
    if not os.path.lexists(path):
        return
    try:
        files.read(path, "checkpoint")
    except (OSError, ValueError):
        raise FileExistsError(
            f"checkpoint {path} exists and is no checkpoint that can be read; choose another name"
        ) from None
    raise FileExistsError(
        f"checkpoint {path} exists; pass resume=True to go on from it, or choose another name "
        f"(or delete it)"
    )


def load_checkpoint(path: PathLike) -> Checkpoint:
    """Read a checkpoint that `fit` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    saved : Checkpoint

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint, or damaged; the message names the file.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.load_checkpoint("missing.npz")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'missing.npz'
    """
    header, arrays = files.read(path, "checkpoint")
    try:
        _check_agreement(header, arrays)
        return Checkpoint(
            net=network_of(header["network"]),
            theta=arrays["theta"],
            best_theta=arrays["best_theta"],
            optimizer={**header["optimizer"], "state": arrays.get("state")},
            history=History({name: arrays[f"history_{name}"] for name in header["history"]}),
            generator=header["generator"],
            run=header["run"],
        )
    except (TypeError, ValueError) as error:
        raise files.damaged(path, "checkpoint", error) from None


def _check_agreement(header: dict, arrays: dict) -> None:
    """A ValueError where two parts, each of the right form, do not fit together."""
    run, columns, optimizer = header["run"], header["history"], header["optimizer"]
    for name, inner, outer in (
        ("network", run["network"], header["network"]),
        ("optimizer", run["optimizer"], optimizer["name"]),
        ("waited", run["waited"], run["epoch"] - run["best_epoch"]),
    ):
        if inner != outer:
            raise ValueError(f"run.{name} is {fields.shown(inner)}; expected {fields.shown(outer)}")
    kind = BY_NAME.get(optimizer["name"].lower())
    if kind is not None:  # not one of the user's own
        slots = len(arrays["state"]) if "state" in arrays else 0
        expected = kind._slots if optimizer["steps"] or "state" in arrays else 0
        if slots != expected:
            raise ValueError(
                f"state has {slots} rows after {optimizer['steps']} steps of {optimizer['name']}; "
                f"expected {expected}"
            )
    required = {"loss", "learning_rate", "seconds", *(["val_loss"] if run["validation"] else [])}
    if len(set(columns)) != len(columns) or not required <= set(columns):
        raise ValueError(f"history is {columns}; expected {sorted(required)} among them, each once")
    for name in ("learning_rate", "seconds"):
        if not (arrays[f"history_{name}"] >= 0).all() or np.isinf(arrays[f"history_{name}"]).any():
            raise ValueError(f"history_{name} is not finite, 0 or more, everywhere")
    watched = arrays["history_val_loss" if run["validation"] else "history_loss"]
    best = watched[run["best_epoch"] - 1] if run["best_epoch"] else np.inf
    if run["best"] != best:
        raise ValueError(
            f"run.best is {run['best']}; expected {best}, of epoch {run['best_epoch']}"
        )
