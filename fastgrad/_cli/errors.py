"""What goes wrong by a user's doing: one line, an exit code, no traceback."""

from __future__ import annotations

from pathlib import Path

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class UserError(Exception):
    """A message in one line: which file, row or column, and what was expected."""

    def __init__(self, message: str, code: int = USAGE):
        super().__init__(" ".join(str(message).split()))
        self.code = code


def apart(files: dict) -> None:
    """Refuse one file under two names: one would overwrite the other."""
    seen = {}
    for name, path in files.items():
        other = seen.setdefault(Path(path).resolve(), name)
        if other != name:
            raise UserError(f"{name} is {path}, which is {other} too; expected another file")
