"""The rows of files as `fit` and `evaluate` take them: `Stream`, which `fastgrad.stream` makes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._tables import hints
from .._tables.arrow import column as arrow_column
from .._tables.encoder import Encoder
from .._tables.held_out import Share
from .._tables.learn import Learnt, block_table, source_name
from ..models import Model
from ..network import MLP
from ..typing import Numbers
from .sources import Arrays
from .windows import Windows

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

    weight: str | None
    window: int
    ahead: int
    threads: int | None
    held_out: Any  # a Stream; None where no rows are held out
    classes: list[Any] | None
    encoding: dict[str, Any]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    features: list[str]
    target: str | list[str]

    def __init__(
        self, folder: Any, learnt: Any, weight: str | None, window: int, ahead: int,
        threads: int | None, share: Any = None,
    ) -> None:  # fmt: skip
        """Not called by users: see `stream`. `share`: a `Share` of the rows, None: all."""
        self._folder, self._learnt, self._share = folder, learnt, share
        self.weight, self.window, self.ahead, self.threads = weight, window, ahead, threads
        self.held_out = None
        self._in_python = False  # see `_words`
        self._units = folder.units()
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

    def model(
        self, net: MLP[Any], theta: Numbers | None = None, *, summary: dict[str, Any] | None = None
    ) -> Model:
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
        if self.classes and loss.labelled and net.n_outputs != len(self.classes):
            raise ValueError(
                f"net has {net.n_outputs} outputs; {self.source} has {len(self.classes)} classes"
            )
        shifted = loss.link == "identity"
        return Model(
            net, np.zeros(net.n_parameters, net.dtype) if theta is None else theta,
            self.mean, self.scale, found.target_mean if shifted else 0.0,
            found.target_scale if shifted else 1.0, self.features, self.target, self.classes,
            {} if summary is None else summary, self.encoding,
        )  # fmt: skip

    def tables(self) -> Iterator[Any]:
        """Tables of some rows each, in the order of the files, as `Model.predict` takes them."""
        folder = self._folder
        with self._words():
            for unit, first, data, kept in self._read(self._units, 0, folder.roles.inputs):
                columns = {name: arrow_column(data.column(name)) for name in data.column_names}
                yield block_table(folder, unit, first, data, columns, kept)

    def _words(self) -> AbstractContextManager[Any]:
        """Within, messages name arguments where a Python call made the stream, else options."""
        return hints.in_python() if self._in_python else nullcontext()

    def _rows_of(
        self, units: Any, skip: int, labelled: bool, net: MLP[Any], stopped: Any
    ) -> Iterator[Any]:
        """Encoded blocks of the rows of these units but the first `skip`, until `stopped()`."""
        folder, weight = self._folder, self.weight if labelled else None
        encoder = Encoder(folder, self.model(net), weight, labelled)
        wanted = folder.wanted if labelled else folder.roles.inputs
        for block in self._read(units, skip, wanted):
            if stopped():
                return
            yield encoder.block(*block)

    def _read(self, units: Any, skip: int, wanted: Any) -> Iterator[tuple[Any, int, Any, Any]]:
        """Columns of the rows of these units but the first `skip`: (unit, the row of its file that
        they begin with, Arrow table, which of the rows that are there they are, None: all)."""
        folder = self._folder
        counts = None if self._all_rows is None else dict(zip(self._units, self._unit_rows()))
        begins = self._begins() if self._share is not None else None
        for unit in units:
            if counts is not None and skip >= counts[unit]:
                skip -= counts[unit]
                continue
            seen = used = 0
            for data in folder.read(unit, wanted, self.threads != 1):
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
                yield unit, first, data, kept
            if counts is not None and used != counts[unit]:
                name = folder.readers[unit.part].source.name
                raise ValueError(
                    f"{name}: {used} rows; expected {counts[unit]}, as when it was first read"
                )

    def _fixed(self) -> dict[str, Any]:
        """What a checkpoint compares: the files, and how their columns are understood."""
        found = self._learnt
        text = json.dumps([
            self.features, self.target, self.classes, self.weight,
            {name: encoding.as_dict() for name, encoding in self.encoding.items()},
            *(np.asarray(value).tolist() for value in (
                self.mean, self.scale, found.target_mean, found.target_scale)),
        ])  # fmt: skip
        for part in range(len(self._folder.readers)):
            self._folder.check_unchanged(part)
        marks = [_mark(reader.source) for reader in self._folder.readers]
        share = self._share and [self._share.seed, self._share.low, self._share.high]
        columns = hashlib.sha256(text.encode()).hexdigest()
        return {"files": marks, "columns": columns, "share of the rows": share}

    def _for_fit(self, net: MLP[Any], batch_size: int | None, shuffle: bool) -> Any:
        """The source of `fit`: arrays where a window holds all rows. `batch_size` None: all."""
        self.model(net)
        if not self.rows:
            raise ValueError(f"{self.source}: no rows; expected at least one")
        if self.rows <= self.window:
            X, y, s = self._arrays(net)
            rows = np.iinfo(np.int64).max if batch_size is None else batch_size
            source = Arrays(net, X, y, s, rows, shuffle)
        else:
            source = Windows(net, self, batch_size, shuffle)
        source.fixed.update(self._fixed())
        return source

    def _arrays(self, net: MLP[Any]) -> tuple[Any, Any, Any]:
        """(X, y, sample weights or None) of all rows, in order, as a network takes them."""
        x, y, s = Windows(net, self, None, False).all()
        return x, y if net.spec.loss.labelled else y.reshape(len(x), -1), s

    def _blocks(
        self, net: MLP[Any], labelled: bool = True
    ) -> Generator[tuple[Any, Any, Any], None, None]:
        """(x, y or None, sample weights or None) of some rows each, in order, for evaluation."""
        return Windows(net, self, None, False, labelled).blocks()

    def _unit_rows(self) -> list[int]:
        """The rows of each unit that are in this stream."""
        if self._counts is None:
            if self._all_rows is None:
                self._all_rows = [self._count(unit) for unit in self._units]
            self._counts = self._all_rows
            if self._share is not None:
                begins = self._begins()
                self._counts = [
                    self._share.count(begins[unit], rows)
                    for unit, rows in zip(self._units, self._all_rows)
                ]
        return self._counts

    def _begins(self) -> dict:
        """How many rows are before each unit's."""
        ends = np.cumsum([0, *self._all_rows])
        return dict(zip(self._units, ends.tolist()))

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
class Columns(Learnt):
    """What was learnt, under the names of its columns."""

    features: list[str] = dataclasses.field(default_factory=list)
    targets: list[str] = dataclasses.field(default_factory=list)


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
