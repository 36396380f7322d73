"""Blocks → rows as a network takes them, by a model's description of the columns.

In: an Arrow table of some rows. Out: its rows in a window's arrays. Columns of plain numbers, which
need no copy, go through a scratch of some rows that stays in cache: they are gathered, scaled in
float64 and rounded to the network's dtype, with the bits of `Model.inputs`.
"""

from __future__ import annotations

import numpy as np

from ..datasets.prepare import scaled
from . import arrow, encode, labels
from .learn import block_table, number_column

SCRATCH = 2**16  # float64 numbers


class Encoder:
    """Of the rows of a folder for one model; `weight`: a column of sample weights or None."""

    def __init__(self, folder, model, weight: str | None = None, labelled: bool = True):
        self._folder, self._model, self._weight = folder, model, weight
        self._columns = [
            (there, model.encoding.get(mine))
            for there, mine in zip(folder.roles.inputs, model.columns)
        ]
        self._labelled = labelled
        self._scaled = bool(model.mean.any() or (model.scale != 1).any())
        rows = max(64, SCRATCH // model.net.n_inputs)
        kind = np.float64 if self._scaled else model.net.dtype
        self._scratch = np.empty((rows, model.net.n_inputs), kind)

    def block(self, unit, first: int, data, kept=None) -> Block:
        """`first`: the row of the file with which the block begins; `kept`: which of its rows
        these are, None: all."""
        return Block(self, unit, first, data, kept)


class Block:
    """Rows that are ready to be written."""

    def __init__(self, encoder: Encoder, unit, first: int, data, kept):
        self._encoder, self.rows = encoder, data.num_rows
        folder = encoder._folder
        self._table = block_table(folder, unit, first, data, {}, kept)
        self._parts, place = [], 0
        for name, encoding in encoder._columns:
            column = data.column(name)
            part = arrow.plain_numbers(column) if encoding is None else None
            if part is None:
                self._table.columns[name] = arrow.column(column)
                encoding = encoding or encode.Encoding()
                part = np.zeros((self.rows, encoding.width))
                encode.column_inputs(self._table, name, encoding, part)
                self._parts += [(place + j, part[:, j]) for j in range(encoding.width)]
                place += encoding.width
            else:
                self._parts.append((place, part))
                place += 1
        self._y = self._targets(data) if encoder._labelled else None
        self._s = self._weights(data) if encoder._weight is not None else None

    def write(self, start: int, stop: int, x_out, y_out, s_out) -> None:
        """Rows start to stop into x_out (stop - start, d), y_out (stop - start, k) or (...,)."""
        if y_out is not None:
            y_out[...] = self._y[start:stop].reshape(y_out.shape)
        if s_out is not None:
            s_out[...] = self._s[start:stop]
        scratch, model = self._encoder._scratch, self._encoder._model
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(start, stop, len(scratch)):
                last = min(stop, first + len(scratch))
                z = scratch[: last - first]
                for place, part in self._parts:
                    z[:, place] = part[first:last]
                if self._encoder._scaled:
                    np.subtract(z, model.mean, out=z)
                    np.divide(z, model.scale, out=z)
                out = x_out[first - start : last - start]
                out[...] = z
                if not np.isfinite(out.sum()) and not np.isfinite(out).all():
                    self._write_slowly(first, last, out)

    def _write_slowly(self, start: int, stop: int, out) -> None:
        """Where differences leave the range of float64; a ValueError that names what cannot be."""
        model = self._encoder._model
        x = np.empty(out.shape)
        for place, part in self._parts:
            x[:, place] = part[start:stop]
        out[...] = scaled(x, model.mean, model.scale)
        if np.isfinite(out).all():
            return
        row, place = np.argwhere(~np.isfinite(out))[0]
        names = encode.input_names(self._encoder._folder.roles.inputs, model.encoding)
        where, value = self._table.where(start + int(row), names[place]), x[row, place]
        if np.isnan(value):
            raise ValueError(
                f"{where}: missing; expected a number: fill it in, or train with --impute mean"
            )
        if np.isinf(value):
            raise ValueError(f"{where}: {value}; expected a finite number")
        raise ValueError(
            f"{where}: {value} is too large for {model.net.dtype} beside the other rows: correct "
            f"it or leave the row out"
        )

    def _targets(self, data) -> np.ndarray:
        model, table = self._encoder._model, self._table
        if model.classes is not None and model.classes == list(range(len(model.classes))):
            codes = arrow.plain_numbers(data.column(table.targets[0]))
            if codes is not None and codes.dtype.kind in "iu" and len(codes):
                if 0 <= codes.min() and codes.max() < len(model.classes):
                    return codes
        for name in table.targets:
            table.columns[name] = arrow.column(data.column(name))
        y = labels.of_model(model, table)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            row, place = np.argwhere(~np.isfinite(y.reshape(len(y), -1)))[0]
            raise ValueError(
                f"{table.where(int(row), table.targets[place])}: the target is too large for "
                f"{model.net.dtype} beside the other rows"
            )
        return y

    def _weights(self, data) -> np.ndarray:
        name, table = self._encoder._weight, self._table
        s = np.asarray(number_column(table, data, name), np.float64)
        bad = ~((s >= 0) & (s <= np.finfo(self._encoder._model.net.dtype).max))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(f"{table.where(row, name)}: a weight of {s[row]}; expected 0 or more")
        return s
