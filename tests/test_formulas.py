"""The table of formulas: every row has tests that name it.

A test covers row 7 if its name contains `row07` (or `row7`). Row 21 is also the optimisers'.
"""

import ast
import re
from pathlib import Path

import pytest

ROWS = {
    1: "z = w.x + b",
    2: "activation = max(0, z)",
    3: "scalar rules",
    4: "gradients of the paper's f and g",
    5: "their Jacobian, in both layouts",
    6: "stacked gradients; the identity's Jacobian",
    7: "element-wise operations have diagonal Jacobians",
    8: "+, -, *, /, max, >",
    9: "scalar expansion",
    10: "sum reduction",
    11: "single-variable chain rule",
    12: "total derivative",
    13: "vector chain rule",
    14: "its diagonal case",
    15: "derivatives of w.x + b",
    16: "derivative of max(0, z)",
    17: "derivative of the activation",
    18: "the loss C",
    19: "dC/dw",
    20: "dC/db",
    21: "gradient descent",
    22: "augmented weights and inputs",
    23: "a layer",
    24: "a network",
    25: "cross-entropy",
    26: "logistic loss",
    27: "Huber loss",
    28: "activations of hidden layers",
    29: "absolute error, quantile, Poisson",
}


def names_of_tests(source):
    """Functions that pytest collects: test_* at the top of a file or in a Test* class."""
    tree = ast.parse(source)
    classes = [c for c in tree.body if isinstance(c, ast.ClassDef) and c.name.startswith("Test")]
    bodies = [tree.body, *(c.body for c in classes)]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name


def find_by_row():
    found = {row: [] for row in ROWS}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name in names_of_tests(path.read_text(encoding="utf-8")):
            for row in {int(number) for number in re.findall(r"row(\d+)", name)}:
                assert row in found, f"{path.name}: {name} names a row that is not in the table"
                found[row].append(f"{path.name}::{name}")
    return found


TESTS = find_by_row()


@pytest.mark.parametrize("row", ROWS, ids=[f"row{row:02d}" for row in ROWS])
def test_the_row_has_tests(row):
    assert TESTS[row], f"no test names row {row}: {ROWS[row]}"


def test_a_test_is_found_by_its_name_and_a_helper_is_not():
    source = "def test_row07_x(): pass\ndef row08(): pass\nclass TestA:\n def test_row9(self): pass"
    assert list(names_of_tests(source)) == ["test_row07_x", "test_row9"]


def print_table():
    """`python tests/test_formulas.py` prints row, formula and tests."""
    for row, formula in ROWS.items():
        print(f"{row:2} {formula}")
        for name in TESTS[row]:
            print(f"     {name}")


if __name__ == "__main__":
    print_table()
