"""Machine code by address, compiled once a dtype when it is wanted, and kept; fields of records."""

import numba
import numpy as np
import pytest
from helpers import run_python
from llvmlite import ir
from numba.extending import intrinsic
from test_cache import DAMAGE, kernels_in

from fastgrad.kernels import records
from fastgrad.kernels.record_types import REAL, Record, RecordType
from fastgrad.kernels.records import CALL, LAYER, PLAN, WORKER
from fastgrad.kernels.simd import I64, pointer

START = """
import sys
import numpy as np
import fastgrad as fg
from fastgrad import losses
from fastgrad.kernels import routines
from helpers import draw_problem, twin, wide

compiled = []  # or loaded

def noted(kind):
    compile_ = kind._compile
    def noting(code, real):
        address = compile_(code, real)
        compiled.append((code.name, str(real)))
        return address
    kind._compile = noting

for kind in (routines.Routine, routines.Procedure):
    noted(kind)

def right(loss, dtype, **options):
    net = fg.MLP([5, 7, 3], loss, dtype=dtype, **options)
    theta, X, y, _ = draw_problem(np.random.default_rng(1), [5, 7, 3], 30, loss, np.dtype(dtype))
    expected = twin(theta, X, y, [5, 7, 3], loss, **options)
    for _ in range(2):
        value, grad = net.loss_and_grad(theta, X, y)
        np.testing.assert_allclose(value, expected[0], rtol=1e-5)
        np.testing.assert_allclose(grad, expected[1], rtol=1e-4, atol=1e-5)
"""

WANTED = """
assert not compiled and all(not code._cells.any() for code, _ in routines._by_cell.values())
right("mse", "f4")
first = set(compiled)
assert len(first) == len(compiled), "compiled twice"
assert ("step", "float32") in first and ("loss_mse", "float32") in first
assert {real for _, real in first} == {"float32"}
tables = ("loss_", "labelled_loss_", "one_pass_", "activation_", "slope_")
assert [name for name, _ in first if name.startswith(tables)] == ["loss_mse"]
right("huber", "f4")
assert set(compiled) - first == {("loss_huber", "float32")}
right("mse", "f4", activation="tanh")
assert compiled[-2:] == [("activation_tanh", "float32"), ("slope_tanh", "float32")]
right("mse", "f8")
assert {(name, "float64") for name, _ in first} == {c for c in compiled if c[1] == "float64"}
assert len(set(compiled)) == len(compiled)
"""


def test_what_is_wanted_is_compiled_once_a_dtype_and_nothing_else():
    run_python(START + WANTED)


KEPT = """
import llvmlite.binding
from numba.core import types
names = ["softmax", "loss_mse", "gather_rows"]
made = []
library = routines.Routine._library
routines.Routine._library = lambda code, elem: made.append(code.name) or library(code, elem)
found = {code.name: code for code, _ in routines._by_cell.values()}
for name in names:
    for real in (types.float32, types.float64):
        address = found[name].resolve(real)
        assert address and found[name].resolve(real) == address
print(*made)
"""


def test_routines_are_kept_for_later_processes_and_damaged_files_are_replaced(tmp_path):
    def made(**environment):
        out = run_python(START + KEPT, NUMBA_CACHE_DIR=str(tmp_path), **environment)
        return out.split()

    each = ["softmax", "softmax", "loss_mse", "loss_mse", "gather_rows", "gather_rows"]
    assert made(FASTGRAD_CACHE="0") == each and not kernels_in(tmp_path)
    assert made() == each
    files = kernels_in(tmp_path)
    assert len(files) == 6 and all(path.name.startswith("routine.") for path in files)
    assert made() == [] and kernels_in(tmp_path) == files
    paths = sorted(files)[: len(DAMAGE)]
    whole = [path.read_bytes() for path in paths]
    for path, damage in zip(paths, DAMAGE):
        path.write_bytes(damage(path.read_bytes()))
    assert len(made()) == len(DAMAGE)
    assert all(len(path.read_bytes()) > 0.9 * len(data) for path, data in zip(paths, whole))
    assert made() == []


INTERRUPTED = """
import os, signal, time
compile_, interrupts = routines.Routine._compile, []

def interrupted(code, real):
    if code.name == sys.argv[1] and len(interrupts) < 2:
        interrupts.append(code.name)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # here Python would raise KeyboardInterrupt
            pass
    return compile_(code, real)

right("mse", "f4")
routines.Routine._compile = interrupted
try:
    right("huber", "f4")
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
right("huber", "f4")
print(len(interrupts))
"""


def test_ctrl_c_while_a_routine_is_compiled_comes_after_it():
    assert run_python(START + INTERRUPTED, "loss_huber").split() == ["interrupted", "1"]


# records


@intrinsic
def _address(typingctx, pointer):
    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], I64)

    return numba.types.int64(pointer), codegen


def record_in(record, real):
    """An intrinsic: the record that an array of int64 holds."""

    @intrinsic
    def view(typingctx, buffer):
        def codegen(context, builder, signature, args):
            array = context.make_array(signature.args[0])(context, builder, value=args[0])
            return builder.bitcast(array.data, ir.IntType(64).as_pointer())

        return RecordType(record, real)(buffer), codegen

    return view


def compiled(source, **scope):
    """The function `f` of some generated lines."""
    exec("\n    ".join(source), scope)
    return numba.njit(scope["f"])


RECORDS = {"call": CALL, "plan": PLAN, "layer": LAYER, "worker": WORKER}


@pytest.mark.parametrize("name", RECORDS)
def test_a_field_of_a_record_is_the_word_at_its_position(name):
    record: Record = RECORDS[name]
    fields = list(record._kinds)
    assert [getattr(record, field) for field in fields] == list(range(record.size))
    kinds = {field: RecordType(record, numba.float64).field(field) for field in fields}
    numbers = [field for field in fields if kinds[field] == numba.int64]
    addresses = [field for field in fields if field not in numbers]
    own = [field for field in addresses if record._kinds[field] == REAL]
    scope = {"view": record_in(record, numba.float64), "address": _address, "record": record}

    read = [f"out[{i}] = r.{field}" if field in numbers else f"out[{i}] = address(r.{field})"
            for i, field in enumerate(fields)]  # fmt: skip
    memory, out = 8 * np.arange(1, record.size + 1), np.zeros(record.size, np.int64)
    compiled(["def f(buffer, out):", "r = view(buffer)", *read], **scope)(memory, out)
    for field, value in zip(fields, out):
        position = getattr(record, field)
        place = memory.ctypes.data + 8 * position if field in own else memory[position]
        assert value == place, field

    write = [f"r.{field} = {7 + i}" for i, field in enumerate(fields) if field in numbers]
    compiled(["def f(buffer):", "r = view(buffer)", *write, "return 0"], **scope)(memory)
    for i, field in enumerate(fields):
        assert memory[i] == (7 + i if field in numbers else 8 * (i + 1)), field

    positions = [f"out[{i}] = record.{field}" for i, field in enumerate(fields)]
    compiled(["def f(out):", *positions], **scope)(out)
    assert out.tolist() == list(range(record.size))


def test_an_address_that_is_written_is_read_as_a_pointer():
    view = record_in(CALL, numba.float64)

    @numba.njit
    def write(buffer, x, labels):
        call = view(buffer)
        call.x, call.labels = pointer(x), pointer(labels)
        return call.x[1] + call.labels[2]

    memory, x, labels = np.zeros(CALL.size, np.int64), np.arange(3.0), np.arange(3)
    assert write(memory, x, labels) == 3.0
    assert memory[[CALL.x, CALL.labels]].tolist() == [x.ctypes.data, labels.ctypes.data]
    assert np.count_nonzero(memory) == 2


def test_the_flags_of_what_is_wanted_are_one_bit_each():
    flags = [records.OUTPUTS, records.MASK, records.LOSS, records.GRADIENT,
             records.INPUT_GRADIENT, records.COTANGENT]  # fmt: skip
    assert sum(flags) == 2 ** len(flags) - 1
