"""Data that do not fit in memory: a folder of Parquet or CSV files as a source of rows.

`stream` reads the files once, to learn what its columns are, and gives a `Stream`, which `fit` and
`evaluate` take in the place of arrays. It holds windows of rows, whatever the files hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os

import numpy as np

from ._core import check
from ._tables import roles
from ._tables.blocks import Folder
from ._tables.encoder import Encoder
from ._tables.held_out import Share
from ._tables.layout import Reading
from ._tables.learn import Learnt, block_table, learn, source_name
from ._tables.sources import find, keys_of, of_path
from ._training.sources import Arrays
from ._training.windows import Windows
from .models import Model

__all__ = ["Stream", "stream"]

WINDOW = 2**18  # rows, unless another is given
_SAMPLE = 2**16  # bytes at a file's beginning and end that stand for it in a checkpoint


class Stream:
    """Rows of files, as `stream` makes it; `fit` and `evaluate` take it as X, without y.

    Attributes
    ----------
    rows : int
        To train on.
    window : int
        Rows of a window.
    ahead : int
        Windows that are read while one is used.
    n_inputs, n_outputs : int
        Sizes of a network for it: of inputs, and of classes or targets.
    features, target : list of str; str or list of str
    classes : list or None
        Of a classification, in the order of their numbers.
    encoding : dict
        Of columns that are not plain numbers, as `Model.encoding` has it.
    mean, scale : ndarray (n_inputs,), float64
        What was found and the network is given, (inputs - mean) / scale; 0 and 1 where nothing is
        standardized.
    held_out : Stream or None
        The rows that were held out.

    Examples
    --------
    See `stream`.
    """

    def __init__(self, folder, learnt, weight, window: int, ahead: int, threads, share=None):
        """Not called by users: see `stream`. `share`: a `Share` of the rows, None: all."""
        self._folder, self._learnt, self._share = folder, learnt, share
        self.weight, self.window, self.ahead, self.threads = weight, window, ahead, threads
        self.held_out = None
        self.units = folder.units()
        self._all_rows, self._counts = learnt.rows, None  # by units; None: not counted yet
        self.classes, self.encoding = learnt.classes, learnt.encoding
        self.mean, self.scale = learnt.mean, learnt.scale
        self.features = list(learnt.features)
        names = learnt.targets
        self.target = names[0] if len(names) == 1 else list(names)

    def __repr__(self) -> str:
        rows = "" if self._all_rows is None else f"{self.rows} rows, "
        return f"Stream({self.source!r}, {rows}{self.n_inputs} inputs, window={self.window})"

    @property
    def source(self) -> str:
        """Its files in a word or two."""
        return source_name(self._folder)

    @property
    def files(self) -> list[str]:
        """The names of its files, in order."""
        return self._folder.names()

    @property
    def task(self) -> str:
        """Whether this is a "regression" or a "classification"."""
        return self._learnt.task

    @property
    def n_inputs(self) -> int:
        return len(self.mean)

    @property
    def n_outputs(self) -> int:
        return len(self._learnt.targets) if self.classes is None else len(self.classes)

    @property
    def rows(self) -> int:
        return sum(self._unit_rows())

    def model(self, net, theta=None, *, summary=None) -> Model:
        """A `Model` of a network that was trained on this stream, which reads tables as it does.

        Parameters
        ----------
        net : MLP
        theta : array (p,) or (m, p), optional
            Zeros unless given.
        summary : dict, optional

        Raises
        ------
        ValueError
            If the network's inputs or outputs are not the stream's.

        Examples
        --------
        See `stream`.
        """
        found, loss = self._learnt, net.spec.loss
        if net.n_inputs != self.n_inputs:
            raise ValueError(
                f"net has {net.n_inputs} inputs; the columns of {self.source} make {self.n_inputs}"
            )
        if found.task and loss.task != found.task:
            raise ValueError(
                f"the loss {net.loss_name} is for a {loss.task}; {self.source} is a {found.task}"
            )
        if found.task == "regression" and net.n_outputs != len(found.targets):
            raise ValueError(
                f"net has {net.n_outputs} outputs; {self.source} has {len(found.targets)} targets"
            )
        shifted = loss.link == "identity"
        return Model(
            net, np.zeros(net.n_parameters, net.dtype) if theta is None else theta,
            self.mean, self.scale, found.target_mean if shifted else 0.0,
            found.target_scale if shifted else 1.0, self.features, self.target, self.classes,
            {} if summary is None else summary, self.encoding,
        )  # fmt: skip

    def tables(self):
        """Tables of some rows each, in the order of the files, as `Model.predict` takes them."""
        for unit in self.units:
            first = unit.first
            for data in self._folder.read(unit, self._folder.roles.inputs, self.threads != 1):
                columns = {name: _column(data.column(name)) for name in data.column_names}
                yield block_table(self._folder, unit, first, data, columns)
                first += data.num_rows

    def rows_of(self, units, skip: int, labelled: bool, net, stopped):
        """Encoded blocks of the rows of these units but the first `skip`, until `stopped()`."""
        folder, weight = self._folder, self.weight if labelled else None
        encoder = Encoder(folder, self.model(net), weight, labelled)
        wanted = folder.wanted if labelled else folder.roles.inputs
        counts = None if self._all_rows is None else dict(zip(self.units, self._unit_rows()))
        begins = self._begins() if self._share is not None else None
        for unit in units:
            if counts is not None and skip >= counts[unit]:
                skip -= counts[unit]
                continue
            seen = used = 0
            for data in folder.read(unit, wanted, self.threads != 1):
                if stopped():
                    return
                first, kept = unit.first + seen, None
                if self._share is not None:
                    keep = self._share.of(begins[unit] + seen, data.num_rows)
                seen += data.num_rows
                if self._share is not None:
                    kept, data = np.flatnonzero(keep), data.filter(_boolean(keep))
                used, rows = used + data.num_rows, data.num_rows
                dropped, skip = min(skip, rows), max(0, skip - rows)
                if dropped == rows:
                    continue
                if dropped:
                    data = data.slice(dropped)
                    first, kept = (
                        (first + dropped, None) if kept is None else (first, kept[dropped:])
                    )
                yield encoder.block(unit, first, data, kept)
            if counts is not None and used != counts[unit]:
                name = folder.readers[unit.part].source.name
                raise ValueError(
                    f"{name}: {used} rows; expected {counts[unit]}, as when it was first read"
                )

    def fixed(self) -> dict:
        """What a checkpoint compares: the files, and how their columns are understood."""
        found = self._learnt
        text = json.dumps([
            self.features, self.target, self.classes, self.weight,
            {name: encoding.as_dict() for name, encoding in self.encoding.items()},
            *(np.asarray(value).tolist() for value in (
                self.mean, self.scale, found.target_mean, found.target_scale)),
            None if self._share is None else [self._share.seed, self._share.low, self._share.high],
        ])  # fmt: skip
        for part in range(len(self._folder.readers)):
            self._folder.check_unchanged(part)
        marks = [_mark(reader.source) for reader in self._folder.readers]
        return {"files": marks, "columns": hashlib.sha256(text.encode()).hexdigest()}

    def for_fit(self, net, batch_size: int | None, shuffle: bool):
        """The source of `fit`: arrays where a window holds all rows. `batch_size` None: all."""
        self.model(net)
        if not self.rows:
            raise ValueError(f"{self.source}: no rows; expected at least one")
        if self.rows <= self.window:
            X, y, s = self.arrays(net)
            rows = np.iinfo(np.int64).max if batch_size is None else batch_size
            source = Arrays(net, X, y, s, rows, shuffle)
        else:
            source = Windows(net, self, batch_size, shuffle)
        source.fixed.update(self.fixed())
        return source

    def arrays(self, net) -> tuple:
        """(X, y, sample weights or None) of all rows, in order, as a network takes them."""
        x, y, s = Windows(net, self, None, False).all()
        return x, y if net.spec.loss.labelled else y.reshape(len(x), -1), s

    def blocks(self, net, labelled: bool = True):
        """(x, y or None, sample weights or None) of some rows each, in order, for evaluation."""
        return Windows(net, self, None, False, labelled).blocks()

    def _unit_rows(self) -> list[int]:
        """The rows of each unit that are in this stream."""
        if self._counts is None:
            if self._all_rows is None:
                self._all_rows = [self._count(unit) for unit in self.units]
            self._counts = self._all_rows
            if self._share is not None:
                begins = self._begins()
                self._counts = [
                    self._share.count(begins[unit], rows)
                    for unit, rows in zip(self.units, self._all_rows)
                ]
        return self._counts

    def _begins(self) -> dict:
        """How many rows are before each unit's."""
        ends = np.cumsum([0, *self._all_rows])
        return dict(zip(self.units, ends.tolist()))

    def _count(self, unit) -> int:
        rows = self._folder.rows(unit)
        if rows is not None:
            return rows
        columns = self._folder.wanted[:1]
        return sum(data.num_rows for data in self._folder.read(unit, columns, self.threads != 1))

    def _part(self, low: float, high: float, seed: int) -> Stream:
        """The rows whose number of `Share` is in [low, high)."""
        return Stream(
            self._folder, self._learnt, self.weight, self.window, self.ahead, self.threads,
            Share(seed, low, high),
        )  # fmt: skip


@dataclasses.dataclass
class _Columns(Learnt):
    """What was learnt, under the names of its columns."""

    features: list[str] = dataclasses.field(default_factory=list)
    targets: list[str] = dataclasses.field(default_factory=list)


def stream(
    data,
    *,
    target=None,
    features=None,
    drop=None,
    weight: str | None = None,
    like=None,
    window: int = WINDOW,
    ahead: int = 1,
    standardize: bool = True,
    held_out: float = 0.0,
    seed: int = 0,
    task: str = "auto",
    impute: bool = False,
    unknown: str = "error",
    force: bool = False,
    csv: dict | None = None,
    threads: int | None = None,
    progress=None,
) -> Stream:
    """Rows of Parquet or CSV files that `fit` and `evaluate` read window by window.

    One pass over the files learns what their columns are: numbers as they are, text and booleans
    one-hot, means and deviations, classes, how many rows. The files are then read once an epoch. A
    reader's thread fills the next windows while one is trained on, so memory is bounded by
    ``(ahead + 1) * window`` rows of the network's dtype and some MiB of what is being decoded.

    Parameters
    ----------
    data : str, path, sequence of them, or pyarrow.dataset.Dataset
        Files (CSV also compressed), a folder of them, a pattern such as ``"folder/*.parquet"``; of
        a Dataset its files, which must be on this machine. All have the same columns.
    target : str or sequence of str, optional
        The column, or columns of a regression, to predict; the last one unless given.
    features, drop : str or sequence of str, optional
        The columns that are inputs (all others), and those that are not.
    weight : str, optional
        The column of sample weights, 0 or more, which count across the files as they are.
    like : Model or Stream, optional
        Takes the columns as this one does, and learns nothing: for other files than those that
        were trained on. None of the arguments that say what to learn is taken beside it.
    window : int
        Rows that are shuffled together; 2**18 unless given. Where it holds all rows, they are read
        once and kept: `fit` has then the bits that it has of the arrays.
    ahead : int
        Windows that are read while one is used; 0: none, and no thread. No bit depends on it.
    standardize : bool
        Whether inputs, and targets of a regression whose outputs are values, become (value - mean)
        / deviation of the rows to train on.
    held_out : float
        Share of the rows to hold out, drawn one by one; no more than about a window of them.
    seed : int
        Of the rows that are held out.
    task : str
        "classification", "regression", or "auto": a target of text, or of few whole numbers, is
        for a classification.
    impute : bool
        Whether a missing number becomes the mean, and an input more says so; else it is an error.
    unknown : str
        What text is that training did not see: an "error", or "zero" in all its inputs.
    force : bool
        Whether columns of very many values are taken for classes or text all the same.
    csv : dict, optional
        How CSV files are written: `sep`, `decimal`, `header`, `nulls`, `encoding`, `skip`; as they
        look unless given.
    threads : int, optional
        1: pyarrow decodes in the reader's thread alone.
    progress : callable, optional
        Called in the learning pass with a share from 0 to 1 now and then.

    Returns
    -------
    stream : Stream

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, no file is found, a file is damaged, lacks a column or has one
        of another type; the message names the file. Also in `fit`, where a file has changed.
    ImportError
        If pyarrow is missing: ``pip install "fastgrad[train]"``.

    Notes
    -----
    The order of an epoch: the row groups of Parquet, or the files of CSV, are shuffled; their rows,
    in that order, are cut into windows of a whole number of batches, whose rows are shuffled. All
    of it follows from `fit`'s seed, the epoch and the list of files, on any number of threads.
    Without `shuffle` rows come in the order of the files, and `fit` has the bits of the arrays.
    Means and deviations are merged block by block (Chan, Golub and LeVeque 1983).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in range(3):
    ...         text = "".join(f"{x},{2 * x + 1}\\n" for x in range(part, 30, 3))
    ...         _ = pathlib.Path(folder, f"part-{part}.csv").write_text("x,y\\n" + text)
    ...     data = fg.stream(folder + "/*.csv", target="y", task="regression", window=16)
    ...     net = fg.MLP([data.n_inputs, data.n_outputs])
    ...     result = fg.fit(net, data, optimizer=fg.SGD(0.1), epochs=20, batch_size=8, seed=0)
    ...     loss = fg.evaluate(net, result.theta, data).loss
    >>> data.rows, bool(loss < 1e-6)
    (30, True)
    >>> data.model(net, result.theta).predict([[100.0]]).round(2)
    array([[201.]])
    """
    window, ahead = check.integer(window, "window"), check.integer(ahead, "ahead", least=0)
    standardize, force = check.boolean(standardize, "standardize"), check.boolean(force, "force")
    impute, seed = check.boolean(impute, "impute"), check.integer(seed, "seed", least=0)
    threads = None if threads is None else check.integer(threads, "threads")
    held_out = check.non_negative(held_out, "held_out")
    for name, value, known in (
        ("task", task, ("auto", "classification", "regression")),
        ("unknown", unknown, ("error", "zero")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    if held_out >= 1:
        raise ValueError(f"held_out is {held_out}; expected a share below 1")
    sources, reading = _sources(data), _reading(csv)
    more = [] if weight is None else [weight]
    if like is not None:
        if target is not None or features is not None or drop is not None or held_out:
            raise TypeError("target, features, drop or held_out beside like; expected like alone")
        return _like(sources, reading, like, weight, window, ahead, threads)
    dropped = [*_names(drop, "drop"), *more]
    choose = roles.for_training(_names(target, "target"), _names(features, "features"), dropped)
    return of_folder(
        Folder(sources, reading, choose, more), weight=weight, window=window, ahead=ahead,
        standardize=standardize, held_out=held_out, seed=seed, task=task, impute=impute,
        unknown=unknown, force=force, threads=threads, progress=progress,
    )  # fmt: skip


def of_folder(
    folder, *, weight=None, window=WINDOW, ahead=1, standardize, held_out, seed, task, impute,
    unknown, force, threads, progress=None,
) -> Stream:  # fmt: skip
    """As `stream`, of checked arguments."""
    share = Share(seed, 0.0, held_out) if held_out else None
    learnt = learn(
        folder, task=task, impute=impute, unknown=unknown, force=force, held_out=share,
        threads=threads != 1, progress=None if progress is None else _told(folder, progress),
    )  # fmt: skip
    found = {field.name: getattr(learnt, field.name) for field in dataclasses.fields(Learnt)}
    if not standardize:
        found.update(mean=np.zeros(len(learnt.mean)), scale=np.ones(len(learnt.mean)))
        found.update(target_mean=0.0, target_scale=1.0)
    columns = _Columns(**found, features=folder.roles.inputs, targets=folder.roles.targets)
    whole = Stream(folder, columns, weight, window, ahead, threads)
    if not held_out:
        return whole
    expected = held_out * sum(learnt.rows)
    most = held_out * min(1.0, window / max(expected, 1.0))
    made = whole._part(most, 2.0, seed)
    made.held_out = whole._part(0.0, most, seed)
    return made


def _like(sources, reading, like, weight, window, ahead, threads) -> Stream:
    """A stream that takes its columns as a model or another stream does."""
    more = [] if weight is None else [weight]
    if isinstance(like, Model):
        choose = roles.for_model(like, with_targets=True)
        return of_model(
            Folder(sources, reading, choose, more), like, weight, window, ahead, threads
        )
    if not isinstance(like, Stream):
        raise TypeError(f"like is a {type(like).__name__}; expected a Model or a Stream")
    found = like._learnt
    if weight is None and like.weight is not None:
        weight, more = like.weight, [like.weight]
    choose = roles.for_training(found.targets, found.features, None, True)
    folder = Folder(sources, reading, choose, more)
    _read_as(folder, found)
    columns = dataclasses.replace(found, rows=_known_rows(folder))
    return Stream(folder, columns, weight, window, ahead, threads)


def of_model(folder, model, weight=None, window=WINDOW, ahead=1, threads=None) -> Stream:
    """A stream that takes the columns of a folder as a model does; without targets where the
    folder's roles have none."""
    targets = folder.roles.targets
    columns = _Columns(
        model.encoding, model.mean, model.scale, model.task if targets else "", model.classes,
        model.target_mean, model.target_scale, _known_rows(folder), None, list(model.columns),
        list(targets),
    )  # fmt: skip
    _read_as(folder, columns)
    return Stream(folder, columns, weight, window, ahead, threads)


def _read_as(folder, columns) -> None:
    """Columns of CSV as what they were in training, whatever they look like here."""
    if folder.parquet:
        return
    for there, mine in zip(folder.roles.inputs, columns.features):
        encoding = columns.encoding.get(mine)
        if there in folder.kinds:
            text = encoding is not None and encoding.values is not None
            (folder.as_text if text else folder.as_number)(there)
    for name in folder.roles.targets if columns.task == "regression" else ():
        folder.as_number(name)


def _known_rows(folder) -> list[int] | None:
    """The rows of each unit, where the files say it."""
    return [folder.rows(unit) for unit in folder.units()] if folder.parquet else None


def _sources(data) -> list:
    """The files of `stream`'s first argument."""
    if hasattr(data, "files") and hasattr(data, "schema"):  # pyarrow's
        kind = getattr(getattr(data, "filesystem", None), "type_name", "local")
        if kind != "local":
            raise ValueError(f"data is on a file system of kind {kind}; expected files here")
        return [of_path(name, keys_of(os.path.dirname(name).split("/"))) for name in data.files]
    if isinstance(data, (str, os.PathLike)):
        data = [data]
    elif not isinstance(data, (list, tuple)) or not data:
        raise TypeError(
            f"data is a {type(data).__name__}; expected files, a folder, a pattern or a "
            f"pyarrow.dataset.Dataset"
        )
    return find([os.fspath(name) for name in data])


def _names(value, name: str) -> list[str]:
    if value is None:
        return []
    names = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(given, str) for given in names):
        raise TypeError(f"{name} is {value!r}; expected names of columns")
    return names


def _reading(csv) -> Reading:
    known = {field.name for field in dataclasses.fields(Reading)} - {"threads"}
    if csv is None or isinstance(csv, Reading):
        return Reading() if csv is None else csv
    if not isinstance(csv, dict) or set(csv) - known:
        raise TypeError(f"csv is {csv!r}; expected a dict of {', '.join(sorted(known))}")
    return Reading(**csv)


def _told(folder, progress):
    """What the learning pass calls: the share of the files' bytes that are behind."""
    sizes = [reader.source.size for reader in folder.readers]
    ends = np.cumsum([0, *sizes])

    def tell(unit, rows: int) -> None:
        known = folder.rows(unit)
        share = min(1.0, rows / known) if known else 0.0
        groups = getattr(folder.readers[unit.part], "group_rows", [1])
        done = ends[unit.part] + sizes[unit.part] * (unit.group + share) / len(groups)
        progress(float(done / max(ends[-1], 1)))

    return tell


def _mark(source) -> str:
    """A file's name, size and a digest of its ends."""
    if source.path is None:
        content = source.content
        size, ends = len(content), content[:_SAMPLE] + content[-_SAMPLE:]
        name = source.name
    else:
        name, size = source.path.name, source.path.stat().st_size
        with open(source.path, "rb") as file:
            ends = file.read(_SAMPLE)
            file.seek(max(0, size - _SAMPLE))
            ends += file.read(_SAMPLE)
    return f"{name} {size} {hashlib.sha256(ends).hexdigest()[:16]}"


def _boolean(values):
    import pyarrow as pa

    return pa.array(values)


def _column(data):
    from ._tables.arrow import column

    return column(data)
