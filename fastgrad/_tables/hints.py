"""Messages about tables name the options of the shell; in Python they name arguments."""

from __future__ import annotations

import contextlib
import re

_ARGUMENTS = (
    (r"--impute mean or --drop-missing", "impute=True"),
    (r"--impute mean", "impute=True"),
    (r" with --drop-missing", ""),
    (r"--(features|drop|target)(?= (?:names|and|both)\b|[,;]|$)", r"\1"),
    (r"--(drop|task|unknown) '([^']*)'", r'\1="\2"'),
    (r"--(drop|task|unknown) ([^\s,;:()]+)", r'\1="\2"'),
    (r"--force", "force=True"),
    (r"--no-header", 'csv={"header": False}'),
    (r"--decimal ,", 'csv={"decimal": ","}'),
    (r"--skip-rows", 'csv["skip"]'),
    (r"--(encoding|nulls|sep)", r'csv["\1"]'),
)


@contextlib.contextmanager
def in_python():
    """A ValueError from within says `impute=True` where it said `--impute mean`."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        for option, argument in _ARGUMENTS:
            text = re.sub(option, argument, text)
        if type(error) is not ValueError or text == str(error):
            raise
        raise ValueError(text) from None
