"""The embedded real data: one classification set, one regression set, and what prepares them.

Nothing is downloaded: the files are part of the package, with their sources and licences in
``LICENSES.md`` beside them.
"""

from fastgrad._core.names import list_public
from fastgrad.datasets.embedded import Dataset, load, load_diamonds, load_digits, names
from fastgrad.datasets.prepare import Scaling, split, standardize

__all__ = [
    "Dataset",
    "Scaling",
    "load",
    "load_diamonds",
    "load_digits",
    "names",
    "split",
    "standardize",
]
list_public(globals())
