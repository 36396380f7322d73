"""Processor levels: what a wheel carries machine code for, and whether this process may run it.

A level is a target of LLVM: code for it runs on every processor that has the level's features. Its
vectors must be as wide as those of this process, since panels of weights are laid out by them. Only
code is the level's: block sizes are data, and follow the machine (`_core/tuning.py`).
"""

from __future__ import annotations

import platform
from typing import NamedTuple

from . import simd


class Level(NamedTuple):
    name: str
    machine: str  # as `platform.machine()` has it
    cpu: str  # as LLVM has it
    features: str  # the whole target, but for the baseline of the machine
    simd: str  # the path of vectors that follows from them

    @property
    def environment(self) -> dict[str, str]:
        """Of a process in which Numba compiles for the level."""
        return {"NUMBA_CPU_NAME": self.cpu, "NUMBA_CPU_FEATURES": self.features}

    def runs_on(self, path: str, features: str) -> bool:
        """Whether code of the level is code of a process with this vector path and these features
        (as in "+avx,-sse4a")."""
        wanted = {name for name in self.features.split(",") if name.startswith("+")}
        return path == self.simd and wanted <= set(features.split(","))


_V3 = (
    "+avx,+avx2,+bmi,+bmi2,+crc32,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sahf,+sse3,+sse4.1,"
    "+sse4.2,+ssse3,+xsave"
)
# LLVM tunes plain loops of v4 for 256 bits, those of Zen 4 and 5 for 512, as ours are.
_V4 = f"{_V3},+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl,-prefer-256-bit"

LEVELS = {
    level.name: level
    for level in (
        Level("x86-64-v4", "x86_64", "x86-64-v4", _V4, "avx512"),
        Level("x86-64-v3", "x86_64", "x86-64-v3", _V3, "avx2"),
        Level("aarch64", "arm64", "generic", "+neon", "neon"),
    )
}


def of_this_machine() -> list[Level]:
    """The levels of its kind of processor, which need not be its own."""
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return [level for level in LEVELS.values() if level.machine == machine]


def of_this_process() -> Level | None:
    """The level whose code this process may run beside its own; None: none."""
    features = simd.target_features()
    return next((x for x in of_this_machine() if x.runs_on(simd.PATH, features)), None)
