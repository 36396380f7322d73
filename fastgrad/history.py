"""What happened in training: a table of numbers, a row an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ._core import files
from ._core.calls import checked_network
from ._core.names import list_public
from ._core.shown import line_plot
from .typing import Numbers, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .network import MLP
    from .training import FitResult

__all__ = ["GradientNorms", "History"]
list_public(globals())


class History:
    """Columns of float64, a row an epoch; a column is an attribute or an item.

    Always `loss` (mean over the epoch's rows, weighted where they have weights, each row before the
    update of its step; after the step where the optimiser takes all rows at once), `learning_rate`
    (of the last step) and `seconds` (since the first step, with what threads' kernels took to
    compile where they were new); with validation `val_loss` and `val_accuracy` or `val_r2`.
    `LevenbergMarquardt` adds `damping` and `NewtonCG` `radius`, as the epoch's step had it.

    Parameters
    ----------
    columns : dict of name -> sequence of numbers
        All of one length.

    Examples
    --------
    >>> history = History({"loss": [2.0, 1.0]})
    >>> history.loss, len(history), history.columns
    (array([2., 1.]), 2, ('loss',))
    """

    def __init__(self, columns: Mapping[str, Sequence[float] | NDArray[Any]]) -> None:
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns have lengths {sorted(lengths)}; expected one length")
        self._names = tuple(columns)
        self._rows = [tuple(map(float, row)) for row in zip(*columns.values())]

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return self._names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        try:
            index = self._names.index(name)
        except ValueError:
            raise KeyError(f"{name!r}; the columns are {', '.join(self._names)}") from None
        return np.array([row[index] for row in self._rows])

    def __getattr__(self, name: str) -> NDArray[np.float64]:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"a History has no attribute {name!r}")
        return self[name]

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.6g}" for name, value in self.last().items())
        return f"History({len(self)} epochs; last: {last or 'none'})"

    def _repr_html_(self) -> str:
        """For a notebook: `plot`'s picture, without matplotlib."""
        if not self._rows:
            return f"<code>{self!r}</code>"
        losses = {"training": "loss", "validation": "val_loss"}
        curves = {label: self[name] for label, name in losses.items() if name in self._names}
        pictures = [line_plot("loss", curves)] if curves else []
        scores = [name for name in self._names if name in ("val_accuracy", "val_r2")]
        for name in scores if curves else self._names:
            title = name.replace("val_", "validation ").replace("r2", "R²").replace("_", " ")
            pictures.append(line_plot(title, {name: self[name]}))
        return f"<div>{''.join(pictures)}</div>"

    def last(self) -> dict[str, float]:
        """The last epoch by name; empty before the first.

        Examples
        --------
        >>> History({"loss": [2.0, 1.0]}).last()
        {'loss': 1.0}
        """
        return dict(zip(self._names, self._rows[-1])) if self._rows else {}

    def append(self, **row: float) -> None:
        """Add an epoch: a value for each column.

        Examples
        --------
        >>> history = History({"loss": []})
        >>> history.append(loss=0.5)
        >>> history["loss"]
        array([0.5])
        """
        if row.keys() != set(self._names):
            raise ValueError(f"the row has {sorted(row)}; expected {sorted(self._names)}")
        self._rows.append(tuple(float(row[name]) for name in self._names))

    @overload
    def to_csv(self, path: None = ...) -> str: ...
    @overload
    def to_csv(self, path: PathLike) -> None: ...
    def to_csv(self, path: PathLike | None = None) -> str | None:
        """The table as CSV: a line of names, a line an epoch (from 1).

        Parameters
        ----------
        path : str or path, optional
            Write it there, over what is there; without, the text is returned.

        Raises
        ------
        ValueError
            If no file can be written there.

        Examples
        --------
        >>> print(History({"loss": [0.5]}).to_csv(), end="")
        epoch,loss
        1,0.5
        """
        lines = [",".join(["epoch", *self._names])]
        for epoch, row in enumerate(self._rows, 1):
            lines.append(",".join([str(epoch), *map(repr, row)]))
        text = "\n".join(lines) + "\n"
        if path is None:
            return text
        with files.replaced(files.check_place(path, "path"), "w") as file:
            file.write(text)
        return None

    def plot(self, path: PathLike | None = None) -> Figure:
        """Loss, and the validation score where there is one, over the epochs.

        Parameters
        ----------
        path : str or path, optional
            Save the picture there (the ending names the format).

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install "fastgrad[plot]"``.

        Examples
        --------
        >>> print(History({"loss": [2.0, 1.0]}).plot())
        Figure(640x400)
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError(
                'history.plot() needs matplotlib: pip install "fastgrad[plot]"'
            ) from None
        scores = [name for name in self._names if name in ("val_accuracy", "val_r2")]
        figure = Figure(figsize=(6.4 * (1 + len(scores)), 4.0), layout="constrained")
        axes = figure.subplots(1, 1 + len(scores), squeeze=False)[0]
        epochs = np.arange(1, len(self) + 1)
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            if name in self._names:
                axes[0].plot(epochs, self[name], label=label)
        axes[0].set(xlabel="epoch", ylabel="loss")
        axes[0].legend()
        for axis, name in zip(axes[1:], scores):
            axis.plot(epochs, self[name], color="C1")
            axis.set(xlabel="epoch", ylabel=f"validation {name[4:].replace('r2', 'R²')}")
        for axis in axes:
            axis.grid(alpha=0.3)
        if path is not None:
            figure.savefig(path)
        return figure


class GradientNorms:
    """The norm of each layer's gradient after every epoch: a callback of `fit`.

    The gradient is that of the loss of all rows given, weights and biases of a layer together.

    Parameters
    ----------
    net : MLP
    X : array (n, d)
    y : array
        As for `MLP.loss_and_grad`; converted to the network's dtype once.

    Attributes
    ----------
    history : History
        Columns `layer_1`, `layer_2`, …; a row an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net, X, y = fg.MLP([1, 4, 1]), np.ones((8, 1)), np.ones(8)
    >>> norms = GradientNorms(net, X, y)
    >>> result = fg.fit(net, X, y, epochs=3, seed=0, callbacks=norms)
    >>> norms.history.columns, len(norms.history)
    (('layer_1', 'layer_2'), 3)
    """

    def __init__(self, net: MLP[Any], X: Numbers, y: Numbers) -> None:
        from . import metrics

        checked_network(net)
        self.net: MLP[Any] = net
        self.X: Any = metrics.inputs(X, "X", net)
        self.y: NDArray[Any] = metrics.targets(net, len(self.X), y, None)[0]
        names = (f"layer_{place}" for place in range(1, len(net.layer_sizes)))
        self.history: History = History({name: [] for name in names})

    def __repr__(self) -> str:
        return f"GradientNorms({self.net!r}, {self.history!r})"

    def __call__(self, result: FitResult[Any]) -> None:
        """Add a row for the parameters that `fit` is at.

        Examples
        --------
        >>> import types
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> norms = GradientNorms(fg.MLP([1, 1]), [[3.0]], [0.0])
        >>> norms(types.SimpleNamespace(theta=np.array([1.0, 1.0])))
        >>> norms.history.layer_1.round(6)
        array([25.298221])
        """
        _, grad = self.net.loss_and_grad(result.theta, self.X, self.y)
        norms = [
            np.hypot(np.linalg.norm(W), np.linalg.norm(b)) for W, b in self.net.unflatten(grad)
        ]
        self.history.append(**dict(zip(self.history.columns, norms)))
