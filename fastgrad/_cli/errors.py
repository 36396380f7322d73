"""What goes wrong by a user's doing: one line, an exit code, no traceback."""

from __future__ import annotations

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class UserError(Exception):
    """A message in one line: which file, row or column, and what was expected."""

    def __init__(self, message: str, code: int = USAGE):
        super().__init__(" ".join(str(message).split()))
        self.code = code
