"""The caches of this machine: what the model of `tuning.py` is asked about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_LINUX = Path("/sys/devices/system/cpu/cpu0/cache")
KIB, MIB = 1024, 1024 * 1024


class Caches(NamedTuple):
    """Bytes that one core may count on."""

    l1: int  # of data
    l2: int
    l3: int


# Where the system does not say; and the bounds within which it is believed. The L3 is shared, with
# strangers too on virtual machines: 2 to 8 MiB of it are counted on, whatever is reported.
UNKNOWN = Caches(32 * KIB, 512 * KIB, 2 * MIB)
LEAST = Caches(16 * KIB, 128 * KIB, 2 * MIB)
MOST = Caches(256 * KIB, 16 * MIB, 8 * MIB)


def caches() -> Caches:
    """What the system reports, a core's share of what is shared, within bounds."""
    found = _from_linux(_LINUX) if sys.platform.startswith("linux") else {}
    if sys.platform == "darwin":
        found = _from_sysctl(_sysctl)
    return bounded(found)


def bounded(found: dict[str, int]) -> Caches:
    """`found`: bytes by "l1", "l2" and "l3", as far as they are known."""
    sizes = UNKNOWN._asdict() | {level: size for level, size in found.items() if size > 0}
    return Caches(*(min(max(sizes[x], least), most) for x, least, most in zip(sizes, LEAST, MOST)))


def _count(cpus: str) -> int:
    """How many processors a list such as "0-3,8" names."""
    pairs = (part.split("-") for part in cpus.split(",") if part)
    return sum(int(pair[-1]) - int(pair[0]) + 1 for pair in pairs)


def _from_linux(folder: Path) -> dict[str, int]:
    """From sysfs: an L2 or L3 that several processors share is divided among them."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            text = {
                name: (index / name).read_text().strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            }
            units = {"K": KIB, "M": MIB, "G": 1024 * MIB}
            size = int(text["size"].rstrip("KMG")) * units.get(text["size"][-1:], 1)
            sharers = max(1, _count(text["shared_cpu_list"]))
        except (OSError, ValueError):  # not there, or not as documented
            continue
        if text["type"] in ("Data", "Unified") and text["level"] in ("1", "2", "3"):
            found[f"l{text['level']}"] = size if text["level"] == "1" else size // sharers
    return found


def _sysctl(name: str) -> int:
    done = subprocess.run(
        ["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True
    )
    return int(done.stdout)


def _from_sysctl(read) -> dict[str, int]:
    """From macOS: of the fast cores, where there are two kinds."""
    found = {}
    for level, name in (("l1", "l1dcachesize"), ("l2", "l2cachesize"), ("l3", "l3cachesize")):
        for key in (f"hw.perflevel0.{name}", f"hw.{name}"):
            try:
                found[level] = read(key)
                break
            except (OSError, ValueError, subprocess.SubprocessError):
                continue
    return found
