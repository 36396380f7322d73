"""Trained models: a network with its parameters and what stands between it and raw numbers.

One ``.npz`` of plain arrays and a text of JSON, as checkpoints are; the command line writes and
reads the same file. Loading runs no code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from . import checkpoint as store
from . import metrics
from ._core import check, files
from .network import MLP

__all__ = ["Model", "load_model", "save_model"]

KIND = "model"


@dataclass(eq=False)
class Model:
    """What `load_model` returns. Arguments and errors as for `save_model`.

    Attributes
    ----------
    net : MLP
    theta : ndarray (p,)
    mean, scale : ndarray (d,), float64
        The network is given (X - mean) / scale.
    target_mean, target_scale : float64 or ndarray (k,)
        Of a regression: `predict` gives outputs * target_scale + target_mean.
    features : list of d str, or None
        Names of the columns of X.
    target : str
        Name of what is predicted.
    classes : list, or None
        What class 0, 1, ... is called; None without classes ("mse", "huber", and "logistic" of
        several outputs, which are yes or no each).
    summary : dict
        What else was to be kept.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> Model(fg.MLP([1, 1]), np.array([2.0, 1.0]), scale=10.0).predict([[5.0]])
    array([[2.]])
    """

    net: MLP
    theta: np.ndarray
    mean: np.ndarray = 0.0
    scale: np.ndarray = 1.0
    target_mean: np.ndarray = 0.0
    target_scale: np.ndarray = 1.0
    features: list[str] | None = None
    target: str = ""
    classes: list | None = None
    summary: dict = field(default_factory=dict)

    def __post_init__(self):
        net = self.net
        metrics.require_network(net)
        theta = check.vector(self.theta, "theta", net.dtype, net.n_parameters, ": one flat vector")
        self.theta = _finite(np.array(theta), "theta")
        for name in ("mean", "scale"):
            value = _numbers(getattr(self, name), name, net.n_inputs)
            setattr(self, name, np.array(np.broadcast_to(value, net.n_inputs)))
        for name, least in (("target_mean", 0.0), ("target_scale", 1.0)):
            value = _numbers(getattr(self, name), name, net.n_outputs)
            if self.task == "classification" and (value != least).any():
                raise ValueError(f"{name} is for a regression; the loss is {net.loss_name!r}")
            setattr(self, name, value)
        self.features = _features(self.features, net.n_inputs)
        self.classes = _classes(self.classes, net)
        if not isinstance(self.target, str):
            raise TypeError(f"target is {self.target!r}; expected a name")
        try:
            json.dumps(self.summary)
        except (TypeError, ValueError) as error:
            raise TypeError(f"summary cannot be written as JSON: {error}") from None

    @property
    def task(self) -> str:
        """Whether this is a "regression" or a "classification"."""
        return "classification" if self.net.spec.loss.takes_logits else "regression"

    def inputs(self, X) -> np.ndarray:
        """What the network is given for X (n, d) of any dtype of numbers.

        Examples
        --------
        >>> import fastgrad as fg
        >>> Model(fg.MLP([1, 1]), [2.0, 1.0], mean=1.0).inputs([[5]])
        array([[4.]])
        """
        X = check.matrix(metrics._converted(X, "X", check.F64), "X", check.F64, self.net.n_inputs)
        return ((X - self.mean) / self.scale).astype(self.net.dtype)

    def predict(self, X, *, threads: int | None = None) -> np.ndarray:
        """Values in the units of the target, float64 (n, k); logits for a classification.

        Examples
        --------
        >>> import fastgrad as fg
        >>> Model(fg.MLP([1, 1]), [2.0, 1.0], target_scale=100.0).predict([[1.0]])
        array([[300.]])
        """
        out = self.net.predict(self.theta, self.inputs(X), threads=threads)
        return out.astype(np.float64) * self.target_scale + self.target_mean

    def predict_proba(self, X, *, threads: int | None = None) -> np.ndarray:
        """Probabilities (n, classes): a column for each of `classes`; without, as `MLP`'s.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="logistic")
        >>> Model(net, [0.0, 0.0], classes=["no", "yes"]).predict_proba([[1.0]])
        array([[0.5, 0.5]])
        """
        p = self.net.predict_proba(self.theta, self.inputs(X), threads=threads)
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    def classify(self, X, *, threads: int | None = None) -> np.ndarray:
        """The names of the classes (n,); without `classes` 0 and 1 (n, k).

        Raises
        ------
        ValueError
            If this is a regression, or an output is NaN.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="logistic")
        >>> Model(net, [1.0, 0.0], classes=["no", "yes"]).classify([[-3.0], [2.0]]).tolist()
        ['no', 'yes']
        """
        labels = self.net.classify(self.theta, self.inputs(X), threads=threads)
        return labels if self.classes is None else np.array(self.classes)[labels]

    def save(self, path, *, overwrite: bool = False) -> None:
        """Write it; see `save_model`."""
        path = files.check_place(path, "path")
        if path.exists() and not overwrite:
            raise ValueError(f"path {path} exists; pass overwrite=True, or choose another name")
        header = {
            "network": store.specification(self.net), "features": self.features,
            "target": self.target, "classes": self.classes, "summary": self.summary,
            "target_mean": self.target_mean.tolist(), "target_scale": self.target_scale.tolist(),
        }  # fmt: skip
        arrays = {"theta": self.theta, "mean": self.mean, "scale": self.scale}
        files.write(path, KIND, header, arrays, exclusive=not overwrite)


def save_model(
    path,
    net: MLP,
    theta,
    *,
    mean=0.0,
    scale=1.0,
    target_mean=0.0,
    target_scale=1.0,
    features=None,
    target: str = "",
    classes=None,
    summary=None,
    overwrite: bool = False,
) -> None:
    """Write a trained model to a file that `load_model` and the command line read.

    Parameters
    ----------
    path : str or path
        Of an ``.npz``; written whole or not at all.
    net : MLP
    theta : array (p,)
        Finite numbers of the network's dtype.
    mean, scale : float or array (d,)
        What was done to the inputs before training, (X - mean) / scale; those of
        `datasets.standardize`, or ``scale=16`` where X / 16 was trained on.
    target_mean, target_scale : float or array (k,)
        The same of the targets of a regression.
    features : sequence of d str, optional
        Names of the columns of X, by which the command line finds them in a table.
    target : str
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
    TypeError, ValueError
        If an argument does not fit, or the file exists; the message names it.

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
        net, theta, mean, scale, target_mean, target_scale, features, target, classes,
        {} if summary is None else summary,
    )  # fmt: skip
    model.save(path, overwrite=overwrite)


def load_model(path) -> Model:
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
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise files.damaged(path, KIND, error) from None


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(array).all():
        position = int(np.argmin(np.isfinite(array)))
        raise ValueError(
            f"{name} has the value {array.flat[position]} at position {position}; expected "
            f"finite numbers"
        )
    return array


def _numbers(value, name: str, size: int) -> np.ndarray:
    """One number or (size,), float64, finite; a scale above 0."""
    array = check.float_array(metrics._converted(value, name, check.F64), name, check.F64)
    if array.shape not in ((), (size,)):
        raise ValueError(f"{name} has shape {array.shape}; expected one number or ({size},)")
    _finite(array, name)
    if name.endswith("scale") and not (array > 0).all():
        raise ValueError(f"{name} has the value {array.min()}; expected numbers above 0")
    return np.array(array)


def _features(features, d: int) -> list[str] | None:
    if features is None:
        return None
    names = features if isinstance(features, str) else list(features)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"features is {features!r}; expected names, one for each input")
    if len(names) != d:
        raise ValueError(f"features has {len(names)} names; expected {d}, one for each input")
    return [str(name) for name in names]


def _classes(classes, net: MLP) -> list | None:
    """Names of one kind, none twice."""
    single = net.loss_name == "logistic" and net.n_outputs == 1
    if net.loss_name != "cross_entropy" and not single:
        if classes is not None:
            raise ValueError(
                f"classes are for 'cross_entropy' or one output of 'logistic'; the network has "
                f"{net.n_outputs} of {net.loss_name!r}"
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
