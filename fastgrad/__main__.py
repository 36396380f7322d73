"""`python -m fastgrad`: the command line."""

from __future__ import annotations

import sys


def main(argv=None) -> int:
    """Run the command line and return its exit code.

    Examples
    --------
    >>> main(["train", "missing.csv"])
    2
    """
    from ._cli.main import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
