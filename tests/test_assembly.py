"""The machine code of the micro-kernels: full-width FMA in the inner loop, nothing spilt."""

import platform
import re

import numba
import numpy as np
import pytest

from fastgrad.kernels import gemm, simd
from fastgrad.kernels.jit import OPTIONS

REGISTER = {"avx512": "zmm", "avx2": "ymm"}


@numba.njit(**OPTIONS)
def product(c, a, b, zeros, n, k):
    m, d = a.shape
    gemm.gemm(
        simd.pointer(c), n, simd.pointer(a), d, 1, simd.pointer(b), n, m, n, k,
        simd.pointer(zeros), 0, simd.pointer(c), 0, gemm.STORE,
    )  # fmt: skip


def loops(assembly, function):
    """Bodies of the innermost loops of a function: from a label to the jump back to it."""
    start = re.search(rf"^{function}:$", assembly, re.M).end()
    body = assembly[start : assembly.index(".cfi_endproc", start)]
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


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["f32", "f64"])
def assembly(request):
    dtype = request.param
    n = gemm.NV * (simd.LANES_F32 if dtype == np.float32 else simd.LANES_F64)
    a, b = np.ones((7, 9), dtype), np.ones((9, n), dtype)
    c, zeros = np.zeros((7, n), dtype), np.zeros(n, dtype)
    product(c, a, b, zeros, n, 9)
    assert (c == 9).all()
    text = product.inspect_asm(product.signatures[-1])
    return ("f32" if dtype == np.float32 else "f64"), text


def test_the_tables_of_tiles_fit_the_registers():
    for width, rows in gemm.TILE_ROWS.items():
        assert rows[-1] == 1 and list(rows) == sorted(rows, reverse=True)
        assert rows[0] * width + width + 1 <= simd.VECTOR_REGISTERS


@pytest.mark.parametrize("width", gemm.TILE_ROWS)
def test_inner_loops_are_fma_on_whole_registers_without_spills(assembly, width):
    name, text = assembly
    function = f"fastgrad_panel_{name}_{width}"
    assert f"{function}:" in text
    if platform.machine() not in ("x86_64", "AMD64") or simd.PATH not in REGISTER:
        return  # other targets: the function is there, its instructions are not spelt out here
    register = REGISTER[simd.PATH]
    kind = "ps" if name == "f32" else "pd"
    inner = [
        body for body in loops(text, function) if any("vfmadd" in line for line in body)
    ]  # fmt: skip
    tallest = gemm.TILE_ROWS[width][0]
    counts = set()
    for body in inner:
        multiplications = [line for line in body if re.match(rf"vfmadd\w+{kind}\b", line)]
        counts.add(len(multiplications))
        assert all(f"%{register}" in line for line in multiplications)
        stores = [line for line in body if re.match(rf"vmov\w+\s+%{register}\d+,.*\(", line)]
        assert not stores, f"an accumulator is spilt: {stores}"
    assert any(count % (tallest * width) == 0 and count for count in counts), counts
