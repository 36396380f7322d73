"""Trained models: a network with its parameters and what stands between it and raw tables.

A table's columns are found by name, encoded (text one-hot, missing cells filled) and scaled; the
network's outputs become values in the target's units, or the names of classes.

One ``.npz`` of plain arrays and a text of JSON, as checkpoints are; the command line writes and
reads the same file. Loading runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import checkpoint as store
from . import metrics, stack
from ._core import check, files
from ._core.calls import checked_network
from ._core.csr import Csr
from ._core.names import list_public
from ._core.shown import short
from ._tables import encode, frames, hints, model_fields, read, roles
from ._tables.svmlight import SparseTable
from ._tables.table import BOOLEANS, Table
from .datasets.prepare import scaled
from .kernels.engine import probabilities
from .network import MLP
from .typing import Numbers, PathLike, SparseRows, Values

if TYPE_CHECKING:
    from ._training.stream import Stream

__all__ = ["Model", "load_model", "save_model"]
list_public(globals())

KIND = "model"


class Frame(Protocol):
    """A data frame: pandas, Polars or Arrow."""

    @property
    def columns(self) -> Any: ...


Data: TypeAlias = Numbers | SparseRows | Frame


@dataclass(eq=False, init=False, repr=False)
class Model:
    """What `load_model` returns. Arguments and errors as for `save_model`.

    Attributes
    ----------
    net : MLP
    theta : ndarray (p,) or (m, p)
        Of the network, or of m networks, an ensemble: the mean of what they predict is predicted.
    mean, scale : ndarray (d,), float64
        The network is given (inputs - mean) / scale.
    target_mean, target_scale : float64 or ndarray (k,)
        Of a regression: `predict` gives outputs * target_scale + target_mean; for "poisson" the
        rates, exp(outputs), which have none.
    features : list of str, or None
        Names of the columns of X, one for each input unless `encoding` says otherwise.
    target : str, or list of k str
        Name of what is predicted.
    classes : list, or None
        What class 0, 1, ... is called; None without classes (a regression, and "logistic" of
        several outputs, which are yes or no each).
    summary : dict
        What else was to be kept.
    encoding : dict of str
        Of columns that are not plain numbers, by name (by position without `features`): "values"
        of text, an input each, and what becomes of a "missing" cell. The command line learns it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> Model(fg.MLP([1, 1]), np.array([2.0, 1.0]), scale=10.0).predict([[5.0]])
    array([[2.]])
    >>> model = Model(fg.MLP([2, 1]), np.array([1.0, 10.0, 0.0]), features=["a", "b"])
    >>> import pandas
    >>> model.predict(pandas.DataFrame({"b": [3.0], "more": [0.0], "a": [1.0]}))
    array([[31.]])
    """

    net: MLP[Any]
    theta: NDArray[Any]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    target_mean: NDArray[np.float64]
    target_scale: NDArray[np.float64]
    features: list[str] | None
    target: str | list[str]
    classes: list[Any] | None
    summary: dict[str, Any]
    encoding: dict[str, Any]

    def __init__(
        self,
        net: MLP[Any],
        theta: Numbers,
        mean: Values[Any] = 0.0,
        scale: Values[Any] = 1.0,
        target_mean: Values[Any] = 0.0,
        target_scale: Values[Any] = 1.0,
        features: Sequence[str] | None = None,
        target: str | Sequence[str] = "",
        classes: Sequence[Any] | NDArray[Any] | None = None,
        summary: dict[str, Any] | None = None,
        encoding: dict[str, Any] | None = None,
    ) -> None:
        checked_network(net)
        theta = model_fields.check_parameters(theta, net)
        self.net, self.theta = net, model_fields.check_finite(np.array(theta), "theta")
        for name, value in (("mean", mean), ("scale", scale)):
            value = model_fields.check_numbers(value, name, net.n_inputs)
            setattr(self, name, np.array(np.broadcast_to(value, net.n_inputs)))
        for name, value, least in (
            ("target_mean", target_mean, 0.0), ("target_scale", target_scale, 1.0)
        ):  # fmt: skip
            value = model_fields.check_numbers(value, name, net.n_outputs)
            if net.spec.loss.link != "identity" and (value != least).any():
                raise ValueError(
                    f"{name} is for a regression whose outputs are targets, scaled; the loss is "
                    f"{net.loss_name!r}"
                )
            setattr(self, name, value)
        self.encoding = model_fields.check_encodings({} if encoding is None else encoding)
        self.features = model_fields.check_features(features, net.n_inputs, self.encoding)
        self.classes = model_fields.check_classes(classes, net)
        self.target = model_fields.check_target(target, net.n_outputs)
        self.summary = {} if summary is None else summary
        try:
            json.dumps(self.summary)
        except (TypeError, ValueError) as error:
            raise TypeError(f"summary cannot be written as JSON: {error}") from None

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        target = f" of {self.target!r}" if self.target else ""
        return (
            f"Model({self.net!r}, theta {short(self.theta)},\n"
            f"    {self.task}{target} from {len(self.columns)} columns{classes})"
        )

    @property
    def task(self) -> Literal["regression", "classification"]:
        """Whether this is a "regression" or a "classification"."""
        return self.net.spec.loss.task

    @property
    def columns(self) -> list[str]:
        """The columns of X: `features`, or "0", "1", ... where they have no names."""
        if self.features is not None:
            return self.features
        return list(map(str, range(self.net.n_inputs - encode.input_count(0, self.encoding))))

    def is_text(self, column: str) -> bool:
        """Whether a column's cells are names, which keep their spelling."""
        values = self.encoding.get(column, encode.Encoding()).values
        return values is not None and values != tuple(BOOLEANS)

    def inputs(self, X: Data, *, allow_nan: bool = False) -> NDArray[Any]:
        """What the network is given for X: a data frame, or numbers (n, columns) of any dtype.

        A sparse X (`scipy.sparse`) stays sparse: it is divided by `scale`, and `mean` must be 0.

        Raises
        ------
        TypeError, ValueError
            If a column is not there, or a cell is missing (unless `allow_nan`), infinite or not
            what the column had in training; the message names row and column. An array of numbers
            without an `encoding` is taken as it is.

        Examples
        --------
        >>> import fastgrad as fg
        >>> Model(fg.MLP([1, 1]), [2.0, 1.0], mean=1.0).inputs([[5]])
        array([[4.]])
        """
        with nullcontext() if isinstance(X, Table) else hints.in_python():
            return self._inputs(X, allow_nan)

    def _inputs(self, X: Any, allow_nan: bool) -> NDArray[Any]:
        if isinstance(X, SparseTable):
            X = X.X
        if check.is_sparse(X):
            return self._sparse_inputs(X)
        if frames.is_frame(X):
            wanted = roles.for_model(self)
            X = frames.from_frame(X, lambda names: wanted("X", names, [], True).inputs)
        elif self.encoding and not isinstance(X, Table):
            X = check.matrix(metrics._converted(X, "X", check.F64), "X", check.F64,
                             len(self.columns))  # fmt: skip
            X = read.matrix("X", X, roles.for_model(self), first=0)
        if isinstance(X, Table):
            names = X.inputs()
            encodings = {there: self.encoding[mine] for there, mine in zip(names, self.columns)
                         if mine in self.encoding}  # fmt: skip
            X = encode.inputs(X, names, encodings, allow_nan)
        X = check.matrix(metrics._converted(X, "X", check.F64), "X", check.F64, self.net.n_inputs)
        with np.errstate(under="ignore", over="ignore"):  # infinity shows in the outputs
            return scaled(X, self.mean, self.scale).astype(self.net.dtype)

    def _sparse_inputs(self, X: Any) -> Csr:
        if self.encoding:
            raise TypeError("X is sparse; expected a table, since the model encodes its columns")
        if self.mean.any():
            raise TypeError(
                "X is sparse, but the model takes a mean from its inputs, after which no column is "
                "mostly zeros: use X.toarray()"
            )
        X = check.sparse_rows(X, "X", self.net.dtype, self.net.n_inputs, convert=True)
        if (self.scale == 1.0).all():
            return X
        stored = int(X.indptr[-1])
        with np.errstate(under="ignore", over="ignore"):  # infinity shows in the outputs
            data = (X.data[:stored] / self.scale[X.indices[:stored]]).astype(self.net.dtype)
        return Csr(data, X.indices, X.indptr, X.shape[1])

    def predict(
        self, X: Data | Stream, *, threads: int | None = None, allow_nan: bool = False
    ) -> NDArray[Any]:
        """Values in the units of the target, float64 (n, k); for a classification `classify`'s.

        Parameters
        ----------
        X : data frame, or array or sparse (n, columns), or Stream
            A frame's columns (pandas, Polars, Arrow) are found by name, others are ignored. So are
            those of a stream's files, which are read block by block, in the order of the files; how
            the stream itself understands them does not matter.
        threads : int, optional
        allow_nan : bool
            Whether a prediction may be NaN or infinite; the class of such a row is None.

        Raises
        ------
        TypeError, ValueError
            As for `inputs`, and if a prediction is NaN or infinite; the message names the row.

        Examples
        --------
        >>> import fastgrad as fg
        >>> Model(fg.MLP([1, 1]), [2.0, 1.0], target_scale=100.0).predict([[1.0]])
        array([[300.]])
        """
        if self.task == "classification":
            return self.classify(X, threads=threads, allow_nan=allow_nan)
        return self._outputs(X, threads, allow_nan)

    def predict_proba(
        self, X: Data | Stream, *, threads: int | None = None, allow_nan: bool = False
    ) -> NDArray[Any]:
        """Probabilities (n, classes): a column for each of `classes`; without, as `MLP`'s.

        Parameters and errors as for `predict`.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="logistic")
        >>> Model(net, [0.0, 0.0], classes=["no", "yes"]).predict_proba([[1.0]])
        array([[0.5, 0.5]])
        """
        if self.task == "regression":
            raise ValueError(f"the loss {self.net.loss_name!r} has no probabilities; use predict")
        z = self._outputs(X, threads, allow_nan)
        if self.classes is not None and z.shape[1] == 1:
            z = np.hstack([-z, z])  # 1 - p would lose the small ones
        if len(z):
            probabilities(z, self.net.spec.loss.link == "softmax")
        return z

    def classify(
        self, X: Data | Stream, *, threads: int | None = None, allow_nan: bool = False
    ) -> NDArray[Any]:
        """The names of the classes (n,); without `classes` 0 and 1 (n, k).

        Parameters and errors as for `predict`; a ValueError for a regression.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="logistic")
        >>> Model(net, [1.0, 0.0], classes=["no", "yes"]).classify([[-3.0], [2.0]]).tolist()
        ['no', 'yes']
        """
        if self.task == "regression":
            raise ValueError(f"the loss {self.net.loss_name!r} has no classes; use predict")
        out = self._outputs(X, threads, allow_nan)
        unknown = ~np.isfinite(out).all(axis=1)
        if self.classes is None:
            labels = (out > 0).astype(np.int64)
        else:
            codes = out.argmax(axis=1) if out.shape[1] > 1 else (out[:, 0] > 0).astype(np.int64)
            labels = np.array(self.classes)[codes]
        if unknown.any():
            labels = labels.astype(object)
            labels[unknown] = None
        return labels

    def outputs(self, Z: NDArray[Any], *, threads: int | None = None) -> NDArray[Any]:
        """What the network, or the ensemble, says of Z (n, d) that `inputs` made: (n, k), as
        `MLP.predict` or `fastgrad.stack.ensemble`.

        Examples
        --------
        >>> import fastgrad as fg
        >>> Model(fg.MLP([1, 1]), [[2.0, 1.0], [4.0, 1.0]]).outputs([[1.0]])
        array([[4.]])
        """
        if self.theta.ndim == 2:
            return stack.ensemble(self.net, self.theta, Z, threads=threads)
        return self.net.predict(self.theta, Z, threads=threads)

    def _outputs(self, X, threads, allow_nan: bool) -> np.ndarray:
        """Values of a regression in their units, float64; else logits of the network's dtype."""
        if metrics.is_stream(X):
            return self._outputs_of_stream(X, threads, allow_nan)
        out = self.outputs(self.inputs(X, allow_nan=allow_nan), threads=threads)
        if self.task == "regression":
            with np.errstate(under="ignore", over="ignore", invalid="ignore"):
                out = self.net.spec.loss.values(out).astype(np.float64)
                out = out * self.target_scale + self.target_mean
        if not allow_nan and not np.isfinite(out).all():
            row = int(np.argmin(np.isfinite(out).all(axis=1)))
            place = X.where(row) if isinstance(X, Table) else f"X: row {row}"
            raise ValueError(
                f"{place}: the prediction is {out[row][~np.isfinite(out[row])][0]}; expected a "
                f"finite one: look for NaN or huge numbers in this row, or allow NaN"
            )
        return out

    def _outputs_of_stream(self, stream, threads, allow_nan: bool) -> np.ndarray:
        from .streams import for_prediction

        with hints.in_python():
            tables = for_prediction(stream, self).tables()
            parts = [self._outputs(table, threads, allow_nan) for table in tables]
        if not parts:
            raise ValueError(f"{stream.source}: no rows; expected at least one")
        return np.concatenate(parts)

    def save(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Write it; see `save_model`."""
        path = files.check_place(path, "path")
        if path.exists() and not overwrite and not files.written_into(path):
            raise FileExistsError(
                f"path {path} exists; pass overwrite=True, or choose another name"
            )
        header = {
            "network": store.specification(self.net), "features": self.features,
            "target": self.target, "classes": self.classes, "summary": self.summary,
            "target_mean": self.target_mean.tolist(), "target_scale": self.target_scale.tolist(),
        }  # fmt: skip
        if self.theta.ndim == 2:
            header["networks"] = len(self.theta)
        if self.encoding:
            header["encoding"] = {name: e.as_dict() for name, e in self.encoding.items()}
        arrays = {"theta": self.theta, "mean": self.mean, "scale": self.scale}
        files.write(path, KIND, header, arrays, exclusive=not overwrite)


def save_model(
    path: PathLike,
    net: MLP[Any],
    theta: Numbers,
    *,
    mean: Values[Any] = 0.0,
    scale: Values[Any] = 1.0,
    target_mean: Values[Any] = 0.0,
    target_scale: Values[Any] = 1.0,
    features: Sequence[str] | None = None,
    target: str | Sequence[str] = "",
    classes: Sequence[Any] | NDArray[Any] | None = None,
    summary: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a trained model to a file that `load_model` and the command line read.

    Parameters
    ----------
    path : str or path
        Of an ``.npz``; written whole or not at all.
    net : MLP
    theta : array (p,) or (m, p)
        Finite numbers of the network's dtype; of m networks, an ensemble: predictions are then the
        mean of theirs (probabilities, values, rates), as `fastgrad.stack.ensemble` has it.
    mean, scale : float or array (d,)
        What was done to the inputs before training, (X - mean) / scale; those of
        `datasets.standardize`, or ``scale=16`` where X / 16 was trained on.
    target_mean, target_scale : float or array (k,)
        The same of the targets of a regression; not for "poisson", whose targets are counts.
    features : sequence of d str, optional
        Names of the columns of X, by which they are found in a table or a data frame.
    target : str, or sequence of k str
        Name of what is predicted.
    classes : sequence of str or of numbers, optional
        What class 0, 1, ... is called: k for "cross_entropy", two for "logistic" of one output.
        Without, the numbers themselves.
    summary : dict, optional
        Anything else that JSON can hold.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is False.
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X, y = np.array([[10.0], [20.0], [30.0], [40.0]]), np.array([0, 0, 1, 1])
    >>> Z, scaling = fg.datasets.standardize(X)
    >>> net = fg.MLP([1, 2], loss="cross_entropy")
    >>> result = fg.fit(net, Z, y, epochs=500, optimizer=fg.Adam(0.1), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "sizes.npz")
    ...     fg.save_model(path, net, result.theta, mean=scaling.mean, scale=scaling.scale,
    ...                   classes=["small", "large"])
    ...     model = fg.load_model(path)
    >>> model.classify([[12.0], [38.0]]).tolist()
    ['small', 'large']
    """
    model = Model(
        net, theta, mean, scale, target_mean, target_scale, features, target, classes, summary
    )  # fmt: skip
    model.save(path, overwrite=overwrite)


def load_model(path: PathLike) -> Model:
    """Read a model that `save_model` or the command line wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    model : Model
        With `net`, `theta`, and `predict`, `predict_proba` and `classify` of raw X.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model, or damaged; the message names the file.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.load_model("missing.npz")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'missing.npz'
    """
    header, arrays = files.read(path, KIND)
    try:
        return Model(
            store.network_of(header["network"]), arrays["theta"], arrays["mean"], arrays["scale"],
            *(header[name] for name in ("target_mean", "target_scale", "features", "target",
                                        "classes", "summary")),
            encoding=header.get("encoding", {}),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise files.damaged(path, KIND, error) from None
