"""Chapters and notebooks for readers of the paper and of the library.

- `1_the_paper.ipynb`: the paper from beginning to end, each formula with numbers;
- `2_gradient_descent.ipynb`: a neuron with two parameters by hand and by `fit`, then the digits;
- `3_your_own_loss.ipynb`: a loss of one's own with `jacobians.vjp`, judged by `check_gradient`.

Chapters are the `.md` files beside them. Notebooks come without outputs; `python -m fastgrad.guide
FOLDER` copies them to a folder to work in. The extra ``docs`` has what `execute` needs, and Jupyter
opens them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._core.names import list_public
from ..typing import PathLike

__all__ = ["execute", "notebooks"]
list_public(globals())


def notebooks() -> dict[str, Path]:
    """The notebooks by name, in order.

    Examples
    --------
    >>> list(notebooks())
    ['1_the_paper', '2_gradient_descent', '3_your_own_loss']
    """
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.ipynb"))}


def execute(path: PathLike, *, timeout: int = 120) -> Any:
    """Run a notebook in a fresh kernel and return it with its outputs.

    Parameters
    ----------
    path : str or path
    timeout : int
        Seconds for one cell.

    Returns
    -------
    notebook : nbformat.NotebookNode

    Raises
    ------
    ImportError
        If nbclient or a kernel is missing: ``pip install "fastgrad[docs]"``.
    nbclient.exceptions.CellExecutionError
        If a cell raises.

    Examples
    --------
    >>> executed = execute(notebooks()["2_gradient_descent"])  # doctest: +SKIP
    """
    try:
        import ipykernel  # noqa: F401 - the kernel is another process
        import nbclient
        import nbformat
    except ImportError:
        raise ImportError(
            'fastgrad.guide.execute needs nbclient and ipykernel: pip install "fastgrad[docs]"'
        ) from None
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=timeout, kernel_name="python3")
    return client.execute()
