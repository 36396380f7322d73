"""What `dir` of a module shows, and what is offered while a name is typed: public names alone."""

from __future__ import annotations

from typing import Any


def list_public(namespace: dict[str, Any]) -> None:
    """Of a module with these `globals()`: its `__all__`."""
    namespace["__dir__"] = lambda: sorted(namespace["__all__"])
