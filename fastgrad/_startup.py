"""Ctrl-C while the command line is still being imported ends in one line, not in a traceback.

Python imports this package before the code that could catch `KeyboardInterrupt`, and Numba takes a
second; so the package imports this first.
"""

from __future__ import annotations

import os
import signal
import sys


def _is_program() -> bool:
    """Whether this process is `python -m fastgrad` or the script `fastgrad`."""
    words = getattr(sys, "orig_argv", [])
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    script = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0]
    return (sys.argv[:1] == ["-m"] and module == ["fastgrad"]) or script == "fastgrad"


def _end(number, frame) -> None:
    os.write(2, b"fastgrad: interrupted\n")
    if "--json" in sys.argv:
        os.write(1, b'{"error": "interrupted", "code": 130}\n')
    os._exit(130)


def ready() -> None:
    """From here on Ctrl-C raises `KeyboardInterrupt`, which is caught."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
