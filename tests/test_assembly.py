"""The machine code of the micro-kernels: full-width FMA in the inner loop, nothing spilt."""

import platform
import re

import pytest
from helpers import run_python
from llvmlite import binding, ir
from numba import types

from fastgrad.kernels import micro_kernel, simd

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
                found.append(list(lines))  # what follows is outside
    return found


def test_the_tables_of_tiles_fit_the_registers():
    for width, rows in micro_kernel.TILE_ROWS.items():
        assert rows[-1] == 1 and list(rows) == sorted(rows, reverse=True)
        assert rows[0] * width + width + 1 <= simd.VECTOR_REGISTERS


PANELS = [panel for pair in micro_kernel.PANEL_ROUTINES.values() for panel in dict.fromkeys(pair)]


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
    heights, counts = micro_kernel.TILE_ROWS[width], set()
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


# On any machine, for another one: LLVM writes the instructions of every target that it knows.
ELSEWHERE = """
import re
import llvmlite.binding as llvm
from llvmlite import binding, ir
from fastgrad.kernels import micro_kernel, simd

assert simd.PATH == "neon"
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
triple = "aarch64-unknown-linux-gnu"
target = llvm.Target.from_triple(triple)
machine = target.create_target_machine(cpu="cortex-a76", opt=3, reloc="pic")
for width, heights in micro_kernel.TILE_ROWS.items():
    for elem in (ir.FloatType(), ir.DoubleType()):
        panel = micro_kernel.PANEL_ROUTINES[width][0]
        module = ir.Module(panel.name)
        module.triple = triple
        kind = ir.FunctionType(panel.result, panel.kinds(elem))
        function = ir.Function(module, kind, panel.name)
        panel.body(elem)(ir.IRBuilder(function.append_basic_block("entry")), *function.args)
        module = llvm.parse_assembly(str(module))
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        label, lines, counts = None, [], set()
        for line in machine.emit_assembly(module).splitlines():
            line = line.split("//")[0].strip()
            name = re.match(r"([.]L[A-Za-z0-9_]+):", line)
            if name:
                label, lines = name[1], []
            elif line and line[0] != ".":
                lines.append(line)
                if label and line.endswith(label) and any("fmla" in x for x in lines):
                    counts.add(sum("fmla" in x for x in lines))
                    assert not [x for x in lines if "sp" in x], (panel.name, lines)
        assert counts == {rows * width for rows in heights}, (panel.name, counts)
"""


def test_inner_loops_for_arm_are_fma_without_spills():
    binding.initialize_all_targets()
    try:
        binding.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM knows no aarch64")
    run_python(ELSEWHERE, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+neon")


def test_a_packed_operand_has_tiles_of_every_height():
    """Of heights from MR on it takes the multiples alone, and all widths have that of one panel."""
    for rows in micro_kernel.TILE_ROWS.values():
        assert micro_kernel.MR in rows and rows[-1] == 1
