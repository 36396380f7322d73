"""The members of an ``.npz`` that are asked for, and no other: nothing else is unpacked.

A member's size stands in the archive's directory and is compared with what it may be before a byte
is read; its checksum is compared before its content is looked at. `ValueError` and what `zipfile`
raises mean damage.
"""

from __future__ import annotations

import io
import json
import math
import zipfile

import numpy as np

from . import fields

HEADER_BYTES = 2**27  # of the text of a header, four a character
_NPY_BYTES = 2**16  # at most, of what stands before the numbers
_MOST_ROWS = 16  # where the table does not say how many
_DEFLATE = 1032  # no byte of deflate holds more
_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(archive: zipfile.ZipFile):
    """The JSON text `header`, as plain values."""
    header = _member(archive, "header", HEADER_BYTES)
    if header.shape != () or header.dtype.kind != "U":
        raise ValueError(f"header has shape {header.shape} and dtype {header.dtype}; expected text")
    encoding = "utf-32-be" if header.dtype.str[0] == ">" else "utf-32-le"
    # str() of what is no character is a SystemError
    return json.loads(header.tobytes().decode(encoding))


def read_arrays(archive: zipfile.ZipFile, table: dict) -> dict:
    """The arrays of a table of name -> (shape, dtype), and of its "name?" those that are there."""
    held = set(archive.namelist())
    arrays = {}
    for key, (expected, expected_dtype) in table.items():
        name = key.rstrip("?")
        if name != key and f"{name}.npy" not in held:
            continue
        lengths = [_MOST_ROWS if length is None else length for length in expected]
        most = math.prod(lengths) * np.dtype(expected_dtype).itemsize
        array = _member(archive, name, most)
        fields.check_shape(name, array.shape, array.dtype, expected, expected_dtype)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    return arrays


def _member(archive, name: str, most: int) -> np.ndarray:
    """An array of up to `most` bytes."""
    info = _info(archive, f"{name}.npy")
    limit = archive.fp.seek(0, io.SEEK_END)
    packed = info.compress_size
    unpacked = packed if info.compress_type == zipfile.ZIP_STORED else _DEFLATE * packed
    if packed > limit or info.file_size > min(unpacked, most + _NPY_BYTES):
        raise ValueError(f"{name} says that it has {info.file_size} bytes; expected fewer")
    data = bytearray(archive.read(info))
    stream = io.BytesIO(data[:_NPY_BYTES])
    try:
        version = np.lib.format.read_magic(stream)
        shape, columns_first, dtype = _VERSIONS[version](stream)
    except Exception:  # NumPy evaluates a text: syntax, tokens, types, values
        raise ValueError(f"{name} is no array of NumPy") from None
    first = stream.tell()
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{name} has shape {shape} and dtype {dtype}; expected plain numbers")
    if len(data) - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {len(data) - first} bytes; its shape is {shape}")
    return np.ndarray(shape, dtype, data, first, order="F" if columns_first else "C")


def _info(archive, name: str):
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} members {name}; expected one")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in an unknown way; expected stored or deflated")
    return found[0]
