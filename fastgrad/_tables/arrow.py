"""Arrow's columns as ours; pyarrow is imported when a file or a frame first needs it."""

from __future__ import annotations

import contextlib

import numpy as np

from .table import Column, text


def pyarrow(what: str):
    """The module, or an ImportError that names the extra."""
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f'{what} needs pyarrow: pip install "fastgrad[train]"') from None
    return pyarrow


@contextlib.contextmanager
def at_most(threads: int | None):
    """A bound on the threads that read."""
    if threads is None:
        yield
        return
    pa = pyarrow("a table")
    before = pa.cpu_count()
    pa.set_cpu_count(min(threads, before))
    try:
        yield
    finally:
        pa.set_cpu_count(before)


def column(data) -> Column:
    """A ChunkedArray of any type."""
    import pyarrow as pa
    from pyarrow import types as t

    kind = data.type
    if isinstance(kind, pa.BaseExtensionType):
        data = data.cast(kind.storage_type)
        kind = data.type
    if t.is_dictionary(kind):
        if not _is_plain(kind.value_type):
            return _unusable(data)
        return _words(data.unify_dictionaries().combine_chunks(), category=True)
    if is_text(kind):
        # In one piece first: a dictionary a chunk, unified, takes twenty times as long.
        return _words(data.cast(pa.large_string()).combine_chunks().dictionary_encode())
    if t.is_null(kind):
        return Column(np.full(len(data), np.nan))
    if t.is_decimal(kind) or t.is_float16(kind):
        data = data.cast(pa.float64())
        kind = data.type
    if not (t.is_boolean(kind) or t.is_integer(kind) or t.is_floating(kind)):
        return _unusable(data)
    missing = None
    if data.null_count:
        missing = np.asarray(data.is_null())
        data = data.fill_null(False if t.is_boolean(kind) else 0)
    return Column(np.array(data), missing)


def plain_numbers(data):
    """A ChunkedArray of integers or floats without a null, as an array; else None."""
    from pyarrow import types as t

    kind = data.type
    if data.null_count or not (t.is_integer(kind) or t.is_floating(kind)) or t.is_float16(kind):
        return None
    if data.num_chunks != 1:
        data = data.combine_chunks()
        return data.to_numpy() if not hasattr(data, "num_chunks") else np.asarray(data)
    return data.chunk(0).to_numpy()


def spelt_numbers(data):
    """What a ChunkedArray of text spells, as float64; None unless every cell is a plain number."""
    import pyarrow as pa

    try:
        found = data.cast(pa.float64())
    except pa.ArrowException:
        return None
    return None if found.null_count else np.asarray(found)


def is_dictionary(data) -> bool:
    from pyarrow import types

    return types.is_dictionary(data.type)


def _unusable(data) -> Column:
    return Column(np.zeros(len(data)), unusable=str(data.type))


def is_text(kind) -> bool:
    """Whether an Arrow type is text."""
    from pyarrow import types as t

    return t.is_string(kind) or t.is_large_string(kind) or getattr(
        t, "is_string_view", lambda kind: False
    )(kind)  # fmt: skip


def _is_plain(kind) -> bool:
    from pyarrow import types as t

    return is_text(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind)


def _words(data, category: bool = False) -> Column:
    """A DictionaryArray."""
    if not len(data.dictionary):
        return Column(np.full(len(data), -1, np.int64), words=[])
    codes = np.asarray(data.indices.fill_null(-1) if data.null_count else data.indices)
    return text(codes.astype(np.int64), data.dictionary.to_pylist(), category)
