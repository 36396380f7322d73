"""`fastgrad.explain`: every number of every derivation, recomputed here by hand-written NumPy."""

import json
import re

import numpy as np
import pytest
from explained import EXPECTED, layer_values, network_values, neuron_values, softmax

import fastgrad as fg
from fastgrad.explain import checks, text
from fastgrad.explain.notation import plain, width
from fastgrad.explain.rows import ROWS

TINY = np.finfo(np.float64).tiny


def values_of(explanation):
    return [value for step in explanation.steps for value in step.values]


def agree(explanation, expected):
    """Every value of the explanation, in order, is the expected one; none is left over."""
    found = values_of(explanation)
    assert len(found) == len(expected), [value.symbol for value in found]
    for value, other in zip(found, expected):
        other = np.asarray(other, np.float64)
        assert value.array.shape == other.shape, value.symbol
        np.testing.assert_allclose(value.array, other, rtol=1e-9, atol=1e-12, err_msg=value.symbol)


def products_add_up(explanation):
    for step in explanation.steps:
        for product in step.products:
            total = sum(a * b for _, a, _, b in product.terms)
            np.testing.assert_allclose(product.value, total, rtol=1e-12, atol=1e-14)


def drawn_neuron(seed, n=5, d=3):
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(size=d), "b": rng.normal(), "X": rng.normal(size=(n, d)),
        "y": rng.normal(size=n), "lr": 0.05,
    }  # fmt: skip


def drawn_layer(seed, n=3, d=4, k=2):
    rng = np.random.default_rng(seed)
    return {
        "X": rng.normal(size=(n, d)), "W": rng.normal(size=(d, k)), "b": rng.normal(size=k),
        "grad": rng.normal(size=(n, k)),
    }  # fmt: skip


def drawn_network(loss, activation, seed=0, l2=0.0, output_activation="identity", **numbers):
    rng = np.random.default_rng(seed)
    k = 3 if loss == "cross_entropy" else 2
    net = fg.MLP(
        [3, 4, 4, k], loss=loss, activation=activation, l2=l2,
        output_activation=output_activation, **numbers,
    )  # fmt: skip
    X = rng.normal(size=(5, 3))
    if loss == "cross_entropy":
        y = rng.integers(0, k, 5)
    elif loss in ("logistic", "poisson"):
        y = rng.integers(0, 2, (5, k)).astype(float)
    else:
        y = rng.normal(size=(5, k))
    return net, net.init(seed=seed) + 0.1 * rng.normal(size=net.n_parameters), X, y


# Every number, recomputed


@pytest.mark.parametrize("number", EXPECTED)
def test_every_number_of_a_formula_is_that_of_hand_written_numpy(number):
    explanation = fg.explain.formula(number)
    agree(explanation, EXPECTED[number]())
    products_add_up(explanation)
    assert explanation.ok
    assert explanation.steps[-1].row == number


@pytest.mark.parametrize("number", [n for n in EXPECTED if n in range(3, 15)])
def test_a_formula_takes_the_readers_own_numbers(number):
    own = {
        3: {"x": -1.5}, 4: {"x": -0.3, "y": 1.2}, 5: {"x": 2.0, "y": 0.1}, 6: {"x": [3.0, -4.0]},
        7: {"w": [0.5, 3.0], "x": [-1.0, 0.2]}, 8: {"w": [0.5, 3.0], "x": [-1.0, 0.2]},
        9: {"x": [2.0, 5.0], "z": -0.5}, 10: {"x": [2.0, 5.0, 1.0, 0.0], "z": -0.5},
        11: {"x": -0.4}, 12: {"x": 1.7}, 13: {"x": 0.01}, 14: {"x": [2.0, -0.3]},
    }[number]  # fmt: skip
    explanation = fg.explain.formula(number, **own)
    agree(explanation, EXPECTED[number](**own))
    assert explanation.ok


def test_no_formula_is_without_numbers_to_compare():
    assert list(ROWS) == list(EXPECTED)


@pytest.mark.parametrize("seed", range(6))
def test_row17_row18_row19_row20_row21_a_neuron_on_any_numbers(seed):
    given = drawn_neuron(seed)
    before = {name: np.copy(value) for name, value in given.items()}
    explanation = fg.explain.neuron(**given)
    agree(explanation, neuron_values(**given))
    products_add_up(explanation)
    assert explanation.ok
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])


def test_row19_active_rows_are_the_terms_and_the_rest_are_zeros():
    explanation = fg.explain.neuron([1.0], 0.0, [[1.0], [-1.0], [-2.0], [3.0]], [0.0] * 4)
    step = next(step for step in explanation.steps if step.row == 19)
    assert [len(p.terms) for p in step.products] == [2]
    assert step.products[0].zeros == 2
    assert "Rows 1, 2 are inactive" in step.notes[0]


def test_row20_no_active_row_is_a_gradient_of_zeros():
    explanation = fg.explain.neuron([1.0], -5.0, [[1.0], [2.0]], [1.0, 0.0])
    assert explanation.ok
    agree(explanation, neuron_values([1.0], -5.0, [[1.0], [2.0]], [1.0, 0.0], 0.1))
    assert "nothing moves" in str(explanation)


@pytest.mark.parametrize("seed", range(4))
def test_row23_a_layer_on_any_numbers(seed):
    given = drawn_layer(seed)
    explanation = fg.explain.layer(**given)
    agree(explanation, layer_values(**given))
    products_add_up(explanation)
    assert explanation.ok


def test_row23_the_tensor_is_shown_and_its_product_with_the_cotangent():
    given = drawn_layer(1, n=2, d=3, k=2)
    explanation = fg.explain.layer(**given)
    X, grad = np.asarray(given["X"]), np.asarray(given["grad"])
    tensor = np.einsum("il,jm->ijlm", X, np.eye(2))
    step = explanation.steps[3]
    np.testing.assert_array_equal(step.values[0].array.reshape(2, 2, 3, 2), tensor)
    delta = grad * (X @ given["W"] + given["b"] > 0)
    entries = np.einsum("ij,ijlm->lm", delta, tensor)
    for product, entry in zip(explanation.steps[4].products, entries.ravel()):
        np.testing.assert_allclose(product.value, entry, rtol=1e-12)
        assert len(product.terms) + product.zeros == delta.size
    np.testing.assert_allclose(explanation.steps[5].values[0].array.T, X.T @ delta, rtol=1e-12)


NETWORKS = [
    ("mse", "relu", {}), ("mse", "tanh", {"l2": 0.1}), ("cross_entropy", "relu", {}),
    ("cross_entropy", "softplus", {}), ("logistic", "sigmoid", {}),
    ("huber", "leaky_relu", {"huber_delta": 0.5}), ("poisson", "identity", {}),
    ("quantile", "relu", {"quantile": 0.2}), ("absolute_error", "tanh", {}),
    ("mse", "relu", {"output_activation": "relu", "l2": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "activation", "numbers"), NETWORKS)
def test_row24_a_network_on_any_numbers(loss, activation, numbers):
    net, theta, X, y = drawn_network(loss, activation, **numbers)
    explanation = fg.explain.network(net, theta, X, y)
    agree(explanation, network_values(net, theta, X, y))
    assert explanation.ok, [c.message for s in explanation.steps for c in s.checks if not c.ok]


def test_row24_a_float32_network_is_explained_in_float64():
    net, theta, X, y = drawn_network("mse", "relu")
    narrow = fg.MLP(net.layer_sizes, dtype="float32")
    explanation = fg.explain.network(narrow, theta.astype("f4"), X.astype("f4"), y)
    assert explanation.ok
    assert all(value.array.dtype == np.float64 for value in values_of(explanation))


def test_row25_the_probabilities_are_the_softmax():
    step = fg.explain.formula(25).steps[0]
    np.testing.assert_allclose(step.values[2].array, softmax(step.values[0].array), rtol=1e-12)


# Values come from the calls that stand beside them


NAMES = {
    "∂C/∂a": ("dC_da", lambda a: a[0]), "Δ": ("Delta", None), "∂Z/∂W": ("dZ_dW", None),
    "∂C/∂A": ("grad", None), "∇f": ("grad_f", lambda a: a[0]), "∇g": ("grad_g", lambda a: a[0]),
    "∂f/∂g": ("df_dg", None), "∂g/∂x": ("dg_dx", None), "diag(∂y/∂f)": ("dy_df", None),
    "diag(∂y/∂g)": ("dy_dg", None), "Ȧ₁": ("A_dot_1", None),
    "w′": ("w_new", None), "b′": ("b_new", None),
}  # fmt: skip


def python_name(symbol):
    """(name of a variable, what it is of the array) for the calls of later steps."""
    if symbol in NAMES:
        return NAMES[symbol]
    below = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
    name = symbol.translate(below).replace("∂", "d").replace("/", "_").replace("Δ", "Delta")
    name = re.sub(r"(?<=[A-Za-z])(\d)", r"_\1", name)
    return (name if name.isidentifier() else None), None


@pytest.mark.parametrize(
    "explain",
    [
        *(lambda n=n: fg.explain.formula(n) for n in EXPECTED),
        lambda: fg.explain.neuron(**drawn_neuron(0)),
        lambda: fg.explain.layer(**drawn_layer(0)),
        *(lambda c=c: fg.explain.network(*drawn_network(c[0], c[1], **c[2])) for c in NETWORKS),
    ],
)
def test_every_value_is_what_the_call_beside_it_returns(explain, request):
    case = request.node.callspec.indices["explain"] - len(EXPECTED) - 2
    known = {"fg": fg, "np": np}
    if case >= 0:
        loss, activation, numbers = NETWORKS[case]
        names = ("net", "theta", "X", "y")
        known |= dict(zip(names, drawn_network(loss, activation, **numbers)))
    elif explain().steps[-1].row in (24, *range(30, 36)):
        known |= {k: np.array(v) for k, v in fg.explain.networks.EXAMPLE.items()}
        known["net"] = net = fg.MLP(fg.explain.networks.EXAMPLE["layer_sizes"])
        for place, (W, _) in enumerate(net.unflatten(known["theta"]), 1):
            known[f"W_{place}"] = W
        known["A_1"] = fg.affine_relu(known["X"], *net.unflatten(known["theta"])[0])[0]
    evaluated = 0
    for value in values_of(explain()):
        if "SGD" not in value.source and "w_hat" not in value.source and value.source:
            result = np.asarray(eval(value.source, known), np.float64)
            assert result.size == value.array.size  # (d,), where a row (1, d) is shown
            np.testing.assert_array_equal(result.reshape(value.array.shape), value.array)
            evaluated += 1
        name, part = python_name(value.symbol)
        array = value.array[()] if value.array.ndim == 0 else value.array
        if value.symbol in ("∂C/∂W", "Y"):
            known["y"] = array if value.symbol == "Y" else known.get("y")
        elif name is not None:
            known[name] = array if part is None else part(array)
        if value.symbol == "W" and value.array.ndim == 2:
            known["units"] = np.eye(array.size).reshape(-1, *array.shape)
    assert evaluated


# Checks


def test_every_step_is_checked():
    for number in EXPECTED:
        for step in fg.explain.formula(number).steps:
            assert step.checks, (number, step.title)


def test_a_wrong_derivative_is_found_and_said():
    X = np.array([[1.0, 2.0]])
    check = checks.differences("z by w", lambda w: X @ w, np.array([1.0, 1.0]), [[1.0, 2.5]])
    assert not check.ok and not check.inconclusive
    assert text.check_line(check).startswith("✗ z by w: f[0] by w[1] is wrong")
    step = fg.explain.Step("t", 1, ("z",), checks=(check,))
    assert not fg.explain.Explanation("t", (step,)).ok


def test_a_wrong_value_is_found_and_said():
    check = checks.twin("z", np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    assert not check.ok
    assert text.check_line(check).startswith("✗ z: NOT NumPy's")
    assert not checks.identity("z", np.zeros(2), np.zeros(3)).ok
    assert "NOT equal" in text.check_line(checks.identity("z", np.zeros(2), np.ones(2)))


def test_at_a_kink_the_check_says_that_it_cannot_judge():
    explanation = fg.explain.neuron([1.0], 0.0, [[0.0], [1.0]], [1.0, 2.0])
    unsure = [c for step in explanation.steps for c in step.checks if not c.ok]
    assert unsure and all(check.inconclusive for check in unsure)
    assert explanation.ok
    assert "? C by b: b cannot be judged" in re.sub(r"\s+", " ", str(explanation))


def test_a_point_near_a_pole_is_judged_at_a_shorter_step():
    for x in (1e-3, 0.02, 50.0):
        assert fg.explain.formula(13, x=x).ok


# The renderings


ALL = {
    **{n: (lambda n=n: fg.explain.formula(n)) for n in EXPECTED},
    "neuron": lambda: fg.explain.neuron(**drawn_neuron(3, n=12, d=4)),
    "layer": lambda: fg.explain.layer(**drawn_layer(3, n=4, d=7, k=3)),
    "network": lambda: fg.explain.network(*drawn_network("cross_entropy", "tanh", l2=0.5)),
    "large": lambda: fg.explain.neuron([1e-9, 3e12], 1e-20, [[-1.23e-7, 4e8]] * 2, [1e15, -1e-5]),
}


@pytest.mark.parametrize("name", ALL)
def test_text_fits_80_columns_and_shows_the_values(name):
    explanation = ALL[name]()
    lines = str(explanation).split("\n")
    assert max(map(width, lines)) <= 80
    joined = "\n".join(lines)
    for step in explanation.steps:
        assert step.title in joined
        for formula in step.formula:
            assert formula.replace(" ", "") in joined.replace(" ", "").replace("\n", "")
        for value in step.values:
            assert value.symbol in joined
            for row in text.cells(value.array):
                for shown in row:
                    assert shown in joined
            if value.derivative and text.both_layouts(value):
                for side, transposed in (("numerator", False), ("denominator", True)):
                    assert f"{side} {text.shape(value, transposed)}" in joined


@pytest.mark.parametrize("name", ALL)
def test_shown_numbers_are_the_values_to_four_digits(name):
    for value in values_of(ALL[name]()):
        if max(value.array.shape, default=1) > text.MOST_ROWS:
            continue
        for row, entries in zip(text.cells(value.array), np.atleast_2d(value.array)):
            shown = [float(cell.replace("−", "-")) for cell in row]
            np.testing.assert_allclose(shown, entries, rtol=5.1e-4, atol=TINY)


def test_many_rows_and_columns_leave_the_middle_out():
    shown = text.cells(np.arange(200.0).reshape(10, 20))
    assert len(shown) == text.MOST_ROWS + 1 and shown[4] == ["⋮"] * 9
    assert shown[0] == ["0", "1", "2", "3", "…", "16", "17", "18", "19"]
    assert shown[-1][-1] == "199"


def test_a_matrix_too_wide_for_the_terminal_leaves_out_columns():
    explanation = fg.explain.neuron(**drawn_neuron(3, n=2, d=20))
    assert max(map(width, str(explanation).split("\n"))) <= 80
    assert explanation.ok


@pytest.mark.parametrize("name", ALL)
def test_markdown_is_latex_with_the_same_numbers(name):
    explanation = ALL[name]()
    markdown = explanation._repr_markdown_()
    assert markdown.startswith("### ")
    blocks = re.findall(r"\$\$(.*?)\$\$", markdown, re.DOTALL)
    assert markdown.count("$$") == 2 * len(blocks)
    for block in blocks:
        assert block.count("{") == block.count("}"), block
        assert block.count(r"\begin{bmatrix}") == block.count(r"\end{bmatrix}")
    for step in explanation.steps:
        assert f"(formula {step.row})" in markdown
        for formula in step.latex:
            assert f"$$ {formula} $$" in markdown
        for value in step.values:
            assert value.latex in markdown
    assert "−" not in "".join(blocks)


@pytest.mark.parametrize("name", ALL)
def test_the_dictionary_holds_everything_and_is_json(name):
    explanation = ALL[name]()
    known = json.loads(json.dumps(explanation.as_dict()))
    assert known["ok"] is explanation.ok
    for step, entry in zip(explanation.steps, known["steps"], strict=True):
        assert entry["row"] == step.row and entry["formula"] == list(step.formula)
        assert len(entry["checks"]) == len(step.checks)
        for value, stored in zip(step.values, entry["values"], strict=True):
            assert stored["shape"] == list(value.array.shape)
            if value.derivative:
                layouts = stored["layouts"]
                np.testing.assert_array_equal(layouts["numerator"], value.array)
                np.testing.assert_array_equal(layouts["denominator"], value.array.T)
                np.testing.assert_array_equal(value.denominator, value.numerator.T)
            else:
                np.testing.assert_array_equal(stored["value"], value.array)
                assert value.denominator is value.array
        for product, stored in zip(step.products, entry["products"], strict=True):
            assert stored["symbol"] == product.symbol and stored["value"] == product.value


def test_layouts_are_explained_where_two_are_shown():
    for number, shown in ((1, False), (13, True)):
        explanation = fg.explain.formula(number)
        assert ("a gradient is a row" in str(explanation)) is shown
        assert ("a gradient is a row" in explanation._repr_markdown_()) is shown


def test_repr_is_one_line():
    line = repr(fg.explain.formula(1))
    assert line.startswith("<Explanation: Formula 1") and "\n" not in line


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{a + b}{2}", "(a + b)/2"),
        (r"x^{10}, x_{ij}, x_{d}", "x¹⁰, xᵢⱼ, x_d"),
        (r"x^{ab}", "x^(ab)"),
        (r"\dot{Z} = \hat{w}", "Ż = ŵ"),
        (r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", "[1, 2; 3, 4]"),
        (r"\|g\|^2", "‖g‖²"),
    ],
)
def test_notation_in_unicode(latex, expected):
    assert plain(latex) == expected


@pytest.mark.parametrize("latex", [r"\unknown", "{a", "a}", r"\frac{1}{2"])
def test_notation_that_is_not_known_is_an_error(latex):
    with pytest.raises(ValueError, match="latex has"):
        plain(latex)


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fg.explain.formula(99), ValueError, "number is 99; expected one of 1, 2, 3"),
        (lambda: fg.explain.formula("x"), TypeError, "number is 'x'; expected a whole number$"),
        (
            lambda: fg.explain.formula("4.5.3"),
            TypeError,
            "expected a whole number: section 4.5.3 has the formulas 13, 14",
        ),
        (lambda: fg.explain.formula(13, q=1), TypeError, "formula 13 has no 'q'; it takes x"),
        (lambda: fg.explain.formula(13, x=0.0), ValueError, r"x is 0, where ln\(x²\) has no"),
        (lambda: fg.explain.formula(11, x=0), ValueError, "x is 0, where ln"),
        (lambda: fg.explain.formula(8, x=[1.0, 0.0, 1.0]), ValueError, "x is 0, where w ⊘ x"),
        (lambda: fg.explain.formula(13, x=[1.0]), ValueError, r"x has shape \(1,\); expected a sc"),
        (lambda: fg.explain.formula(13, x="a"), TypeError, "x has dtype .*; expected numbers"),
        (lambda: fg.explain.formula(13, x=np.nan), ValueError, "x is not finite"),
        (lambda: fg.explain.formula(13, x=1e200), ValueError, "formula 13 overflows for the numb"),
        (lambda: fg.explain.layer([[1e300]], [[1e300]], [0.0], [[1.0]]), ValueError,
         "is not finite: the numbers given overflow; expected smaller ones"),
        (lambda: fg.explain.formula(6, x=[]), ValueError, r"x has shape \(0,\); expected at"),
        (lambda: fg.explain.formula(7, x=[1.0]), ValueError, r"x has shape \(1,\); expected"),
        (lambda: fg.explain.formula(25, y=[0, 3]), ValueError, "y has the label 3"),
        (lambda: fg.explain.formula(26, y=[0.0, 2.0, 0.0]), ValueError, "y"),
        (lambda: fg.explain.formula(27, huber_delta=0), ValueError, "huber_delta is 0"),
        (lambda: fg.explain.formula(29, quantile=1.0), ValueError, "quantile is 1"),
        (
            lambda: fg.explain.neuron([1.0, 2.0], 0.0, [[1.0]], [1.0]),
            ValueError,
            r"w has shape \(2,\); expected \(1,\)",
        ),
        (
            lambda: fg.explain.neuron([1.0], 0.0, [[1.0]], [1.0, 2.0]),
            ValueError,
            r"y has shape \(2,\); expected \(1,\)",
        ),
        (lambda: fg.explain.neuron([1.0], 0.0, [1.0], [1.0]), ValueError, r"X has shape \(1,\)"),
        (lambda: fg.explain.neuron([1.0], 0.0, [[1.0]], [1.0], lr=0), ValueError, "lr is 0"),
        (
            lambda: fg.explain.neuron(np.ones(2), 0.0, np.ones((1000, 2)), np.ones(1000)),
            ValueError,
            r"1000 x 1000 entries; expected at most 65536: explain fewer rows, as in X\[:8\]",
        ),
        (
            lambda: fg.explain.layer(np.ones((2, 3)), np.ones((2, 2)), np.ones(2), np.ones((2, 2))),
            ValueError,
            r"W has shape \(2, 2\); expected \(3, 2\)",
        ),
        (
            lambda: fg.explain.layer(np.ones((2, 3)), np.ones((3, 2)), np.ones(3), np.ones((2, 2))),
            ValueError,
            r"b has shape \(3,\); expected \(2,\)",
        ),
        (
            lambda: fg.explain.layer(np.ones((2, 3)), np.ones((3, 2)), np.ones(2), np.ones((3, 2))),
            ValueError,
            r"grad has shape \(3, 2\); expected \(2, 2\)",
        ),
        (
            lambda: fg.explain.network("net", np.ones(2), np.ones((1, 1)), np.ones(1)),
            TypeError,
            "net",
        ),
        (
            lambda: fg.explain.network(fg.MLP([1, 1]), np.ones(3), np.ones((1, 1)), np.ones(1)),
            ValueError,
            r"theta has shape \(3,\); expected \(2,\)",
        ),
        (
            lambda: fg.explain.network(fg.MLP([1, 1]), np.ones(2), np.ones((1, 2)), np.ones(1)),
            ValueError,
            r"X has shape \(1, 2\); expected \(1, 1\)",
        ),
        (
            lambda: fg.explain.network(fg.MLP([1, 1]), np.ones(2), np.ones((1, 1)), np.ones(2)),
            ValueError,
            "y has 2 rows, X has 1",
        ),
        (
            lambda: fg.explain.network(fg.MLP([99, 99]), np.ones(9900), np.ones((1, 99)), [0]),
            ValueError,
            "net has 9900 parameters; expected at most 4096",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


# The command line


def test_cli_lists_the_formulas(cli):
    code, out, err = cli("explain")
    assert (code, err) == (0, "")
    assert out.rstrip("\n") == fg.explain.table()
    assert max(map(width, out.split("\n"))) <= 80
    code, out, _ = cli("explain", "--json")
    assert [row["row"] for row in json.loads(out)["rows"]] == list(ROWS)


def test_cli_explains_a_formula_a_neuron_a_layer_and_a_network(cli):
    assert cli("explain", 13, "x=2")[1].rstrip("\n") == str(fg.explain.formula(13, x=2.0))
    code, out, _ = cli("explain", "neuron", "w=1,2", "b=-1", "X=2,1;1,3", "y=1,7")
    expected = fg.explain.neuron([1.0, 2.0], -1.0, [[2.0, 1.0], [1.0, 3.0]], [1.0, 7.0])
    assert (code, out.rstrip("\n")) == (0, str(expected))
    code, out, _ = cli("explain", "neuron", "w=2", "X=1;3", "y=0,9", "--json")
    assert code == 0 and json.loads(out)["ok"] is True
    tangent = "tangent=" + ",".join(["1"] * 13)
    own = fg.explain.formula(30, tangent=[1.0] * 13, cotangent=[[1.0], [2.0]])
    assert cli("explain", 30, tangent, "cotangent=1;2")[1].rstrip("\n") == str(own)
    assert cli("explain", "layer", "--markdown")[1].startswith("### One layer")
    arguments = ("layer_sizes=1,1", "theta=2,1", "X=1;3", "y=0,9", "activation=tanh")
    code, out, _ = cli("explain", "network", *arguments)
    net = fg.MLP([1, 1], activation="tanh")
    expected = fg.explain.network(net, [2.0, 1.0], [[1.0], [3.0]], [0.0, 9.0])
    assert (code, out.rstrip("\n")) == (0, str(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("99",), "WHAT is '99'; expected neuron, layer, network or a formula from 1 to"),
        (("4.2",), "section 4.2 has the formulas 7, 8"),
        (("neuron", "q=1"), "neuron has no 'q'; it takes w, b, X, y, lr"),
        (("neuron", "q"), "'q' is no number; expected name=value"),
        (("13", "x=a"), "x is 'a'; expected numbers"),
        (("13", "x=1,2"), "x is '1,2'; expected one number"),
        (("neuron", "w=1;2"), "w is '1;2'; expected one row"),
        (("neuron", "X=1,2;3"), "X is '1,2;3'; expected numbers"),
        (("neuron", "w=1,2,3"), "w has shape (3,); expected (2,)"),
        (("network", "loss=none"), "loss is 'none'"),
    ],
)
def test_cli_errors_say_what_was_expected(cli, arguments, message):
    code, out, err = cli("explain", *arguments)
    assert (code, out) == (2, "")
    assert message in err
