"""What ends the command line while it is still being imported ends it in one line, not in a
traceback: Ctrl-C, and an environment without Numba's compiler.

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


NO_COMPILER = "NUMBA_DISABLE_JIT is set, and fastgrad's kernels are machine code alone; unset it"


def _end(number, frame) -> None:
    _say("interrupted", 130)


def _say(error: str, code: int) -> None:
    os.write(2, f"fastgrad: {error}\n".encode())
    if "--json" in sys.argv:
        os.write(1, f'{{"error": "{error}", "code": {code}}}\n'.encode())
    os._exit(code)


def ready() -> None:
    """From here on Ctrl-C raises `KeyboardInterrupt`, which is caught."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_program() and os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    _say(NO_COMPILER, 2)
if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
