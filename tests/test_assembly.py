"""The machine code of the micro-kernels: full-width FMA in the inner loop, nothing spilt."""

import platform
import re

import pytest
from llvmlite import ir
from numba import types

from fastgrad.kernels import gemm, simd

REGISTER = {"avx512": "zmm", "avx2": "ymm"}


def loops(assembly, function):
    """Bodies of the innermost loops of a function: from a label to the jump back to it."""
    start = re.search(rf"^{function}:$", assembly, re.M).end()
    body = assembly[start : assembly.index(".Lfunc_end", start)]
    label, lines, found = None, [], []
    for line in body.splitlines():
        line = line.split("#")[0].strip()
        name = re.match(r"(\.?L\w+):", line)
        if name:
            label, lines = name[1], []
        elif line and not line.startswith("."):
            lines.append(line)
            if re.match(r"j\w+\s", line) and label and line.endswith(label):
                found.append(lines)
    return found


def test_the_tables_of_tiles_fit_the_registers():
    for width, rows in gemm.TILE_ROWS.items():
        assert rows[-1] == 1 and list(rows) == sorted(rows, reverse=True)
        assert rows[0] * width + width + 1 <= simd.VECTOR_REGISTERS


PANELS = [panel for pair in gemm.PANEL_ROUTINES.values() for panel in dict.fromkeys(pair)]


@pytest.mark.parametrize("elem", [ir.FloatType(), ir.DoubleType()], ids=["f32", "f64"])
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_inner_loops_are_fma_on_whole_registers_without_spills(panel, elem):
    is_f32, width = elem == ir.FloatType(), int(panel.name.split("_")[1])
    text = panel.assembly(elem)
    if platform.machine() not in ("x86_64", "AMD64") or simd.PATH not in REGISTER:
        return  # other targets: the function is there, its instructions are not spelt out here
    register, halved = REGISTER[simd.PATH], panel.name.endswith("half")
    kind = "ps" if is_f32 else "pd"
    inner = [
        body
        for body in loops(text, panel.symbol(types.float32 if is_f32 else types.float64))
        if any("vfmadd" in line for line in body)
    ]
    heights, counts = gemm.TILE_ROWS[width], set()
    for body in inner:
        products = [line for line in body if re.match(rf"vfmadd\w+{kind}\b", line)]
        counts.add(len(products))
        narrow = sum(f"%{register}" not in line for line in products)
        assert narrow == (len(products) // width if halved else 0)
        stores = [line for line in body if re.match(r"vmov\w+\s+%[xyz]mm\d+,.*\(", line)]
        assert not stores, f"an accumulator is spilt: {stores}"
        loads = [line for line in body if re.match(r"v\w+\s.*\(%rsp", line)]
        assert not loads, f"a vector comes from the stack: {loads}"
    for rows in heights[:1] if halved else heights:
        assert any(count % (rows * width) == 0 and count for count in counts), (rows, counts)
