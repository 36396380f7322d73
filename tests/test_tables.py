"""Tables from the shell and from Python: names, types, labels, missing cells, sizes, files."""

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import fastgrad as fg
from fastgrad import __main__ as entry
from fastgrad._core import files, progress

QUICK = ("--layers", "none", "--epochs", 1, "--json", "--force", "-o", "m.npz")


def frame(rows=40, seed=0):
    """Numbers a, b; text color; booleans flag; two targets and labels."""
    rng = np.random.default_rng(seed)
    found = pd.DataFrame(rng.standard_normal((rows, 2)).round(3), columns=["a", "b"])
    found["color"] = np.resize(["red", "blue", "green", "red"], rows)
    found["flag"] = np.resize([True, False, False], rows)
    found["y"] = 2 * found.a + (found.color == "red")
    found["z"] = -found.b
    found["kind"] = np.where(found.a > 0, "up", "down")
    return found


def lines(header, last, rows=40, width=3):
    """CSV text of random numbers whose last cells are given, in turn or by a function."""
    rng = np.random.default_rng(1)
    cells = last if callable(last) else lambda i: last[i % len(last)]
    body = [
        ",".join([*(f"{x:.3f}" for x in rng.standard_normal(width)), str(cells(i))])
        for i in range(rows)
    ]
    return "\n".join([header, *body]) + "\n"


@pytest.fixture
def train(cli, folder):
    """Train on the text of a CSV, or on a file: (summary, model, standard error)."""

    def call(table, *options):
        if "\n" in table:
            (folder / "t.csv").write_text(table, encoding="utf-8")
            table = "t.csv"
        code, out, err = cli("train", table, *QUICK, *options)
        assert code == 0, err
        return json.loads(out), fg.load_model("m.npz"), err

    return call


@pytest.fixture
def refused(cli, folder):
    """What is said about a table or a command that is refused, in one line."""

    def call(table, *options):
        if "\n" in table:
            (folder / "t.csv").write_text(table)
            table = "t.csv"
        found, out, err = cli("train", table, "-o", "no.npz", *QUICK[:4], *options)
        assert (found, out) == (2, "") and err.count("fastgrad:") == err.count("\n") == 1
        return err

    return call


def predicted(cli, *args):
    code, out, err = cli("predict", "m.npz", *args)
    assert code == 0, err
    return out.splitlines()[1:]


# 1. Names


@pytest.mark.parametrize(
    "header",
    ["400.5,410.5,420.5,sugar", "0,1,2,3", "0,1,2,label", "area,2019,2020,price", "nan,-1,1e3,.5",
     "2020-01-01,2020-01-02,x,y", '"a,b","c d",größe,y'],
)  # fmt: skip
def test_names_that_are_numbers_are_names(train, cli, header):
    summary, model, _ = train(lines(header, lambda i: f"{i + 0.5}"))
    names = pd.read_csv("t.csv", nrows=0).columns.tolist()
    assert (model.features, summary["target"]) == (names[:-1], names[-1])
    assert summary["task"] == "regression" and summary["rows"] == 32
    table = pd.read_csv("t.csv")
    assert predicted(cli, "t.csv") == list(map(repr, model.predict(table)[:, 0].tolist()))


def test_a_byte_order_mark_spaces_and_blank_lines_are_no_part_of_names(train):
    _, model, _ = train("\ufeff\n\n" + lines(' a ,"b",c, y', "uv"))
    assert model.features == ["a", "b", "c"] and model.target == "y"


def test_a_first_line_of_numbers_is_doubted_and_no_header_takes_it_for_a_row(train, cli, refused):
    _, _, err = train(lines("0.1,0.2,0.3,7", "01"))
    assert "the first line, 0.1, 0.2, 0.3..., is taken for names; --no-header" in err
    assert "'0.1' is there twice; expected every name once; is it a row?" in refused(
        lines("0.1,0.1,0.3,7", "01")
    )
    summary, model, err = train(lines("0.1,0.2,0.3,1", "01"), "--no-header")
    assert summary["rows"] + 8 == 41 and model.features is None and model.target == "3" and not err
    with_target = predicted(cli, "t.csv", "--no-header")
    pd.read_csv("t.csv", header=None)[[0, 1, 2]].to_csv("x.csv", index=False, header=False)
    assert predicted(cli, "x.csv", "--no-header") == with_target
    for names in ("1,2,3,4", "3,2,1,0"):  # not the positions that the model knows
        Path("names.csv").write_text(lines(names, "01"))
        code, _, err = cli("predict", "m.npz", "names.csv")
        assert code == 2 and "4 input columns; the model expects 3; --no-header if" in err
    _, model, _ = train("t.csv", "--no-header", "--target", "-1", "--drop", 0)
    assert (model.features, model.target) == (["1", "2"], "3")
    assert "no column '9'; expected one of numbers 0 to 3" in refused(
        "t.csv", "--no-header", "--target", 9
    )


def test_columns_without_a_name_are_given_the_one_of_pandas(train):
    _, model, err = train(lines("a,,c,y", "uv"))
    assert model.features == ["a", "Unnamed: 1", "c"] and "column 2 has no name" in err
    _, model, err = train(lines("a,b,c,y", "uv").replace("\n", ",\n"))  # every line ends in a comma
    assert model.target == "y" and "column 5 has no name and no cells: left out" in err
    table = lines("a,b,c,y", "uv").replace("\n", ",\n").replace("y,", "y")  # all but the first
    assert train(table)[1].features == ["a", "b", "c"]
    names, *rows = lines("a,b,c,y", "uv").splitlines()  # as R writes a table
    _, model, err = train("\n".join([names, *(f"row{i},{row}" for i, row in enumerate(rows))]))
    assert model.features == ["a", "b", "c"] and "names the rows: left out" in err


def test_a_first_line_among_text_is_doubted_where_its_numbers_are(train):
    rows = lines("1.5,2,3,setosa", "uv")
    assert "the first line, 1.5, 2, 3..., is taken for names" in train(rows)[2]
    for names in ("0,1,2,kind", "2019,2020,2021,kind", "a,2.5,3.5,kind"):
        assert train(lines(names, "uv"))[2] == ""


def test_lines_above_the_table_are_skipped(train, cli, refused):
    table = lines("a,b,c,y", "uv")
    want = train(table)[0]
    for above in ("made by a tool\n", '# units: "m\n\n', "100,4,u,v\n\n# more\n"):
        skipped = str(above.count("\n"))
        assert train(above + table, "--skip-rows", skipped)[0]["val_loss"] == want["val_loss"]
        assert len(predicted(cli, "t.csv", "--skip-rows", skipped)) == 40
    table = table.replace("\n", ",9,9\n", 2).replace(",9,9\n", "\n", 1)
    assert "row 1: 6 cells; expected 4, as the first line has (--skip-rows leaves" in refused(table)
    table = "above\n\n" + lines("a,b,c,y", "uv") + "1,2\n"
    err = refused(table, "--skip-rows", 1)
    assert "t.csv: row 41: 2 cells; expected 4, as the first line has\n" in err
    assert "t.csv: nothing after 99 lines" in refused(table, "--skip-rows", 99)


# 2. Targets


@pytest.mark.parametrize("cell", ["-", "<1.0", "12%", "n/a", '"1,234"', "1 000", "1_000", "$5"])
def test_a_cell_among_numbers_that_is_none_is_an_error_not_a_class(refused, cell):
    table = lines("a,b,c,y", lambda i: cell if i == 6 else i + 0.5)
    err = refused(table)
    assert f"row 7, column y: {cell.strip(chr(34))!r}; expected a number (39 of 40" in err
    assert "--task classification if these are labels" in err
    assert f"row 7, column y: {cell.strip(chr(34))!r}" in refused(table, "--task", "regression")


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "nan", "NULL", "?"])
def test_a_missing_target_is_an_error_that_names_the_row(refused, cell):
    for values in (lambda i: i + 0.5, lambda i: i % 2, lambda i: "uv"[i % 2]):
        table = lines("a,b,c,y", lambda i, values=values: cell if i == 6 else values(i))
        assert "row 7, column y: the target is missing (1 of 40 are)" in refused(table)
    assert "y is empty in every row; expected another --target" in refused(
        lines("a,b,c,y", [cell])
    )  # fmt: skip


def test_nulls_says_what_is_missing(train, refused):
    table = lines("a,b,c,y", ["NA", "DE"])
    assert train(table, "--nulls", "")[1].classes == ["DE", "NA"]
    assert "row 2, column y: the target is missing" in refused(table, "--nulls", "DE,-")


def test_few_odd_cells_among_few_whole_numbers_are_errors_many_are_labels(train, refused):
    assert "row 7" in refused(lines("a,b,c,y", lambda i: "-" if i == 6 else i % 2))
    assert train(lines("a,b,c,y", ["1", "2a", "2b"]))[1].classes == ["1", "2a", "2b"]
    assert train(lines("a,b,c,y", lambda i: "-" if i == 6 else i % 2), "--task",
                 "classification")[1].classes == ["-", "0", "1"]  # fmt: skip


def test_very_many_classes_ask_first(train, refused):
    table = lines("a,b,c,y", lambda i: i + 0.25, rows=99)
    err = refused(table, "--task", "classification")
    assert "y has 99 different values in 99 rows, a class each" in err and "--force" in err
    assert len(train(table, "--task", "classification")[1].classes) == 99  # with --force
    assert "a class each" in refused(lines("a,b,c,y", lambda i: f"name {i}", rows=99))


def test_amounts_that_look_like_classes_are_doubted(train):
    def doubts(cells, *options):
        table = lines("a,b,c,y", cells)
        return "--task regression takes them for amounts" in train(table, *options)[2]

    assert doubts([1950, 1951, 1952]) and doubts([1, 2, 5]) and doubts([0, 10, 20, 30])
    assert not doubts([0, 1, 2]) and not doubts([1, 2, 3]) and not doubts([-1, 1])
    assert not doubts(["1a", "2a", "5a"]) and not doubts([0.5, 1.5, 2.5])
    assert not doubts([1, 2, 5], "--task", "classification")


def test_many_values_that_force_allows_are_said(train):
    err = train(lines("a,b,y,name", lambda i: f"name {i}", rows=99), "--target", "y")[2]
    assert "column name has 99 different values, an input each" in err


@pytest.mark.parametrize(
    "amount",
    [
        '"1,{:03}.5"',
        '"1,{:03}"',
        '"2.{:03},25"',
        "1 {:03}",
        "1'{:03}",
        "${}",
        "{}.5%",
        "{} €",
        "€ {}",
        "-£{}",
    ],
)
def test_amounts_with_separators_and_signs_are_no_text(refused, train, amount):
    table = lines("a,b,y", lambda i: i + 0.5, width=2)
    cells = [amount.format(100 + i) for i in range(40)]
    table = "\n".join(f"{cell},{row}" for cell, row in zip(["x", *cells], table.split("\n")))
    err = refused(table)
    assert "row 1, column x: " in err and cells[0].strip('"') in err
    assert "expected a number without thousands separators, currency or percent signs" in err
    if amount == '"1,{:03}"':
        assert "--decimal , if it is a decimal comma" in err
    else:
        assert train("t.csv")[1].net.n_inputs == 42  # with --force
    err = refused("t.csv", "--target", "x")
    assert "or say --task classification if these are labels" in err


@pytest.mark.parametrize(
    "labels",
    [["1.2.3", "1.2.4", "2.0.0"], ["10-20", "20-30", "5-10"], ["$10", "$5"], ["3a", "4a", "5a"],
     ["$8", "007", "9%"]],
)  # fmt: skip
def test_names_with_digits_in_them_are_text(train, labels):
    assert train(lines("a,b,c,y", labels))[1].classes == labels


# 3. Row numbers


@pytest.mark.parametrize(
    "index",
    [None, pd.Index(np.arange(40)[::-1] ** 2, name="id"),
     pd.MultiIndex.from_arrays([np.arange(40) ** 2, list("uv" * 20)], names=["i", None])],
)  # fmt: skip
def test_the_index_of_a_parquet_file_is_no_column(train, index):
    table = frame()[["a", "b", "kind"]]
    table = table.sample(40, random_state=0) if index is None else table.set_index(index)
    table.to_parquet("t.parquet")
    assert train("t.parquet")[1].features == ["a", "b"]
    _, model, _ = train("t.parquet", "--keep-index", "--drop", *(
        ["__index_level_1__"] if index is not None and index.nlevels > 1 else ["b"]))  # fmt: skip
    assert model.target == "kind" and len(model.features) == 2 + (len(table.index.names) > 1)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_nameless_first_column_of_row_numbers_is_left_out_and_said(train, cli, first):
    table = frame()[["a", "b", "kind"]]
    table.index += first
    table.to_csv("t.csv")
    _, model, err = train("t.csv")
    assert model.features == ["a", "b"]
    assert "column 1 has no name and numbers the rows: left out (--keep-index takes it)" in err
    table.to_csv("u.csv", index=False)
    assert predicted(cli, "u.csv") == predicted(cli, "t.csv")
    _, model, err = train("t.csv", "--keep-index")
    assert model.features == ["Unnamed: 0", "a", "b"] and "left out" not in err
    pd.read_csv("t.csv").to_csv("u.csv")  # written twice, numbered twice
    assert train("u.csv")[1].features == ["a", "b"]


def test_a_nameless_first_column_of_names_is_left_out_and_other_numbers_are_a_column(train):
    table = frame()[["a", "b", "kind"]]
    table.index = [f"row {i}" for i in range(40)]
    table.to_csv("t.csv")
    _, model, err = train("t.csv")
    assert model.features == ["a", "b"] and "names the rows: left out" in err
    table.index = np.arange(40)[::-1] ** 2  # as of shuffled or filtered rows
    table.to_csv("t.csv")
    assert train("t.csv")[1].features == ["a", "b"]
    table.index = np.arange(40) % 7
    table.to_csv("t.csv")
    _, model, err = train("t.csv")
    assert model.features == ["Unnamed: 0", "a", "b"] and "--drop 'Unnamed: 0'" in err


# 4. Prediction without a target, evaluation with one


def test_prediction_needs_no_target(train, cli):
    table = frame()[["a", "b", "kind"]]
    table.to_parquet("t.parquet")
    train("t.parquet")
    want = predicted(cli, "t.parquet")
    for values in (None, "", pd.Timestamp("2020-01-01"), 7):
        table["kind"] = values
        table["more"] = [["lists"]] * 40
        table[["kind", "b", "a", "more"]].to_csv("u.csv", index=False)
        table[["kind", "b", "a", "more"]].to_parquet("u.parquet")
        assert predicted(cli, "u.csv") == want and predicted(cli, "u.parquet") == want
    table[["b", "a"]].to_csv("u.csv", index=False)
    assert predicted(cli, "u.csv") == want


def three_classes(path="m.npz"):
    """A model that says which of three columns is largest."""
    net = fg.MLP([3, 3], loss="cross_entropy")
    fg.save_model(path, net, net.flatten([(np.eye(3), np.zeros(3))]), features=list("abc"),
                  classes=["u", "v", "w"], target="kind", overwrite=True)  # fmt: skip


def test_evaluate_counts_right_and_wrong_by_class(cli, folder):
    three_classes()
    (folder / "t.csv").write_text("kind,a,b,c\nu,9,0,0\nu,9,0,0\nu,0,9,0\nv,0,9,0\n")
    code, out, _ = cli("evaluate", "m.npz", "t.csv", "--json")
    found = json.loads(out)
    assert code == 0 and found["rows"] == 4 and found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx(9 / 4, rel=1e-3)
    assert found["classes"] == ["u", "v", "w"]
    assert found["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["per_class"][0] == {"class": "u", "rows": 3, "precision": 1.0,
                                     "recall": pytest.approx(2 / 3), "f1": 0.8}  # fmt: skip
    assert found["per_class"][2] == {"class": "w", "rows": 0, "precision": None, "recall": None,
                                     "f1": None}  # fmt: skip
    code, out, _ = cli("evaluate", "m.npz", "t.csv", "--plot", "c.svg")
    assert code == 0 and "4 rows: loss 2.25" in out and "accuracy 75.00%" in out
    assert "u           3     1.0000  0.6667  0.8000" in out
    assert "u         2     1     0" in out and "plot: c.svg" in out
    assert "<svg" in (folder / "c.svg").read_text()
    assert "c.svg exists" in cli("evaluate", "m.npz", "t.csv", "--plot", "c.svg")[2]
    (folder / "t.csv").write_text("kind,a,b,c\nx,9,0,0\n")
    code, _, err = cli("evaluate", "m.npz", "t.csv")
    assert code == 2 and "row 1, column kind: 'x'; expected one of the classes u, v, w" in err
    (folder / "t.csv").write_text("a,b,c\n9,0,0\n")
    code, _, err = cli("evaluate", "m.npz", "t.csv")
    assert code == 2 and "no column 'kind'; expected the target among a, b, c" in err


def test_evaluate_gives_errors_in_the_units_of_the_targets(cli, folder):
    net = fg.MLP([1, 2])
    fg.save_model("m.npz", net, np.array([1.0, 1.0, 0.0, 0.0]), features=["x"], target=["u", "v"],
                  target_scale=[1, 10])  # fmt: skip
    (folder / "t.csv").write_text("x,u,v\n1,1,10\n2,2,20\n3,0,33\n4,7,37\n")
    found = json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])
    assert found["mae"] == pytest.approx({"u": 1.5, "v": 1.5}) and found["rmse"][
        "u"
    ] == pytest.approx(18**0.5 / 2)
    code, out, _ = cli("evaluate", "m.npz", "t.csv", "--plot")
    assert code == 0 and "MAE: u 1.5, v 1.5" in out
    assert (folder / "m.evaluation.png").read_bytes()[:4] == b"\x89PNG"
    fg.save_model("m.npz", fg.MLP([1, 1]), np.array([1.0, 0.0]), target="u", overwrite=True)
    (folder / "t.csv").write_text("x,u\n1,1\n3,5\n")
    assert json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])["mae"] == 1.0


# 5. Columns


def test_columns_are_chosen_by_name(train, refused, cli):
    frame().rename(columns={"b": "b,c"}).to_csv("t.csv", index=False)
    _, model, _ = train("t.csv", "--features", 'color,"b,c"', "--target", "y")
    assert model.features == ["color", "b,c"]
    _, model, _ = train("t.csv", "--drop", "b,c", "--drop", "color,flag", "--target", "kind")
    assert model.features == ["a", "y", "z"]
    for options, words in [
        (["--features", "q"], "t.csv: no column 'q'; expected one of a, b,c, color"),
        (["--drop", "q"], "t.csv: no column 'q'"),
        (["--target", "q"], "t.csv: no column 'q'"),
        (["--target", "y", "--drop", "y"], "--drop names 'y', which is the target"),
        (["--target", "y", "--features", "a,y"], "--features names 'y', which is the target"),
        (["--features", "a", "--drop", "a"], "--features and --drop both name 'a'"),
        (["--target", "y", "--target", "y"], "--target names 'y' twice"),
        (["--target", "y,z", "--task", "classification"], "2 targets, y, z; expected one"),
        (["--target", "y,kind"], "row 1, column kind: 'up'; expected a number"),
        (["--sep", "ab"], "--sep is 'ab'; expected one ASCII character"),
        (["--sep", "§"], "--sep is '§'; expected one ASCII character"),
        (["--sep", ";"], "no columns beside the target"),
        (["--encoding", "morse"], "--encoding is morse; expected one such as utf-8"),
    ]:
        assert words in refused("t.csv", *options)


def test_several_targets_of_a_regression(train, cli):
    table = frame()
    table.to_csv("t.csv", index=False)
    summary, model, _ = train("t.csv", "--target", "y", "--target", "z", "--drop", "kind")
    assert summary["target"] == ["y", "z"] == model.target and len(summary["val_rmse"]) == 2
    assert train("t.csv", "--target", "y,z", "--drop", "kind")[0]["val_loss"] == summary["val_loss"]
    code, out, _ = cli("predict", "m.npz", "t.csv")
    names, *rows = out.splitlines()
    assert code == 0 and names == "prediction_y,prediction_z"
    found = [list(map(float, row.split(","))) for row in rows]
    np.testing.assert_array_equal(found, model.predict(table))
    assert json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])["rmse"].keys() == {"y", "z"}


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_separators_and_decimal_commas_are_recognised_and_said(train, cli, sep):
    frame().to_csv("u.csv", index=False)
    frame().to_csv("t.csv", index=False, sep=sep, decimal=",")
    summary, _, err = train("t.csv", "--target", "y")
    assert (
        f"columns are separated by {dict(zip(';|', ['semicolons', 'bars'])).get(sep, 'tabs')}"
        in err
    )
    assert "numbers have decimal commas" in err and summary["task"] == "regression"
    assert predicted(cli, "t.csv") == predicted(cli, "u.csv")
    named = {"\t": "tab", ";": "semicolon", "|": "bar"}[sep]
    assert predicted(cli, "t.csv", "--sep", named) == predicted(cli, "u.csv")
    frame().to_csv("t.csv", index=False, sep=sep)
    assert "decimal" not in train("t.csv")[2]
    frame().to_csv("t.csv", index=False, sep=":")
    assert predicted(cli, "t.csv", "--sep", ":", "--decimal", ".") == predicted(cli, "u.csv")


def test_single_spaces_separate_where_nothing_else_does(train, cli, refused):
    table = frame()[["a", "b", "kind"]]
    table.to_csv("u.csv", index=False)
    want = train("u.csv")[0]["val_loss"]
    table.to_csv("t.csv", sep=" ", index=False)
    summary, _, err = train("t.csv")
    assert summary["val_loss"] == want and "columns are separated by spaces" in err
    assert predicted(cli, "t.csv") == predicted(cli, "u.csv")
    names, *rows = table.to_csv(sep=" ", index=False).splitlines()
    _, model, _ = train("\n".join([names, *(f'"row {i}" {row}' for i, row in enumerate(rows))]))
    assert model.features == ["a", "b"]
    assert "no columns beside the target 'full name'" in refused("full name\nA B\nC D\n")
    assert train(lines("my a,my b,my c,y", "uv"))[1].features == ["my a", "my b", "my c"]


def test_text_and_booleans_are_one_hot_by_name(train, cli, refused):
    table = frame()
    table.to_csv("t.csv", index=False)
    _, model, _ = train("t.csv", "--target", "y", "--drop", "z,kind")
    assert model.net.n_inputs == 2 + 3 + 2
    want = predicted(cli, "t.csv")
    codes = table.assign(color=table.color.astype("category"), flag=table.flag.astype("boolean"))
    codes[codes.columns[::-1]].to_parquet("u.parquet")
    assert predicted(cli, "u.parquet") == want
    for flags in (table.flag.astype(int), table.flag.map({True: "TRUE", False: "false"})):
        table.assign(flag=flags).to_csv("u.csv", index=False)
        assert predicted(cli, "u.csv") == want
    table.assign(color="teal").to_csv("u.csv", index=False)
    code, _, err = cli("predict", "m.npz", "u.csv")
    assert code == 2
    assert "row 1, column color: 'teal'; expected one of the values of training, blue, green" in err
    none = predicted(cli, "u.csv", "--unknown", "zero")
    _, model, _ = train("t.csv", "--target", "y", "--drop", "z,kind", "--unknown", "zero")
    assert predicted(cli, "u.csv") == none and model.encoding["color"].unknown == "zero"
    X = np.zeros((1, 2))
    with pytest.raises(ValueError, match=r"X has shape \(1, 2\); expected \(n, 4\)"):
        model.predict(X)


def test_dictionaries_of_arrow_are_text(train, cli):
    table = frame()[["color", "a", "kind"]]
    table.to_csv("t.csv", index=False)
    columns = pa.table(table)
    for name in ("color", "kind"):
        place = columns.column_names.index(name)
        columns = columns.set_column(place, name, columns[name].dictionary_encode())
    pa.parquet.write_table(columns, "t.parquet", row_group_size=7)
    _, model, _ = train("t.csv")
    again = train("t.parquet")[1]
    assert model.encoding == again.encoding and model.classes == again.classes
    np.testing.assert_array_equal(model.theta, again.theta)
    codes = table.assign(color=pd.Categorical(np.resize([3, 1], 40)))
    codes.to_parquet("t.parquet")
    assert train("t.parquet")[1].encoding["color"].values == ("1", "3")


def test_a_text_column_stays_text_where_a_file_has_numbers_in_it(train, cli, folder):
    train(lines("b,c,a,y", "uv").replace("a,y", "a,y,n").replace("u\n", "u,A1\n")
          .replace("v\n", "v,007\n"), "--target", "y")  # fmt: skip
    (folder / "u.csv").write_text("n,a,b,c\n007,1,1,1\n")
    assert len(predicted(cli, "u.csv")) == 1
    assert fg.load_model("m.npz").encoding["n"].values == ("007", "A1")


def test_columns_that_are_no_inputs_are_named_with_what_to_do(refused, folder):
    table = frame()
    table["when"] = pd.Timestamp("2020-01-01")
    table["who"] = [f"name {i}" for i in range(40)]
    table = pd.concat([table, table.assign(who=table.who + "x")])
    table.to_parquet("t.parquet")
    err = refused("t.parquet", "--target", "y")
    assert "column when holds timestamp" in err and "leave it out with --drop when,who" in err
    err = refused("t.parquet", "--target", "y", "--drop", "when")
    assert "column who has 80 different values in 80 rows, an input each" in err
    assert "'x y'; expected a number (39 of 40 cells are)" in refused(
        lines("a,b,c,y", "uv").replace(lines("a,b,c,y", "uv").split("\n")[3].split(",")[0], "x y")
    )


def test_missing_features_are_an_error_or_imputed_with_an_indicator(train, cli, refused):
    table = frame()[["a", "b", "color", "y"]]
    table.loc[3, "a"] = np.nan
    table.loc[5, "color"] = None
    table.to_csv("t.csv", index=False)
    table.to_parquet("t.parquet")
    for name in ("t.csv", "t.parquet"):
        err = refused(name)
        assert f"{name}: row 4, column a: missing (1 of 40 cells are)" in err
        assert "--impute mean" in err
    _, model, _ = train("t.csv", "--impute", "mean", "--validation", 0)
    assert model.net.n_inputs == (1 + 1) + 1 + (3 + 1)
    assert model.encoding["a"].fill == pytest.approx(table.a.mean())
    assert (model.encoding["a"].indicator, model.encoding["b"].indicator) == (True, False)
    want = predicted(cli, "t.csv")
    assert predicted(cli, "t.parquet") == want
    np.testing.assert_array_equal(model.predict(table)[:, 0], list(map(float, want)))
    filled = table.fillna({"a": model.encoding["a"].fill})
    by_hand = np.column_stack([filled.a, table.a.isna(), table.b,
                               *(table.color == c for c in ("blue", "green", "red")),
                               table.color.isna()])  # fmt: skip
    np.testing.assert_allclose(
        model.inputs(table), (by_hand - model.mean) / model.scale, rtol=1e-6, atol=1e-6
    )
    table["a"] = np.nan
    table.to_csv("u.csv", index=False)
    assert len(predicted(cli, "u.csv")) == 40  # all of a column is missing in prediction
    assert "column a is empty in every row: leave it out with --drop a" in refused(
        "u.csv", "--impute", "mean"
    )
    complete = frame()[["a", "b", "color", "y"]]
    complete.to_csv("v.csv", index=False)
    train("v.csv")
    code, _, err = cli("predict", "m.npz", "t.csv")
    assert code == 2 and "t.csv: row 4, column a: missing; expected a number" in err


def test_rows_with_a_missing_cell_are_left_out_on_request(train, cli, refused):
    table = frame()[["a", "b", "color", "kind"]]
    table.loc[3, "a"] = np.nan
    table.loc[5, "color"] = None
    table.loc[[7, 8], "kind"] = None
    table.to_csv("t.csv", index=False)
    table.to_parquet("t.parquet")
    table.dropna().to_csv("u.csv", index=False)
    table.dropna(subset="kind").to_csv("v.csv", index=False)
    assert "(2 of 40 are)" in refused("t.csv") and "with --drop-missing" in refused("t.csv")

    def scores(file, *options):
        return json.loads(cli("evaluate", "m.npz", file, *options, "--json")[1])

    for file, options, whole, left_out in [
        ("t.csv", [], "u.csv", 4), ("t.parquet", [], "u.csv", 4),
        ("t.csv", ["--impute", "mean"], "v.csv", 2),
    ]:  # fmt: skip
        want = train(whole, *options)[0]
        found, _, err = train(file, "--drop-missing", *options)
        assert found["val_loss"] == want["val_loss"] and found["rows"] == want["rows"]
        assert f"{left_out} of 40 rows are left out: a cell is missing" in err
        assert scores(file, "--drop-missing") == scores(whole)


def test_rows_left_out_count_and_their_cells_do_not(train, refused, cli):
    table = frame()[["a", "b", "kind"]].astype({"b": object})
    table.loc[[7, 8], "kind"] = None
    table.loc[7, "b"] = "x"
    table.to_csv("t.csv", index=False)
    assert train("t.csv", "--drop-missing")[1].net.n_inputs == 2
    table.loc[20, "b"] = "x"
    table.to_csv("t.csv", index=False)
    err = cli("train", "t.csv", *QUICK, "--drop-missing")[2]
    assert "t.csv: row 21, column b: 'x'; expected a number (37 of 38 cells are)" in err
    table.assign(a=None).to_csv("t.csv", index=False)
    assert "column a is empty in every row" in refused("t.csv", "--drop-missing")


# 6. Labels


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["1_1", "11"], ["11", "1_1"]),
        (["02134", "2134"], ["02134", "2134"]),
        ([1234567890123456789, 1234567890123456790], [1234567890123456789, 1234567890123456790]),
        ([2**64 - 2, 2**64 - 1], [2**64 - 2, 2**64 - 1]),
        ([-1, 2**64 - 1], ["-1", "18446744073709551615"]),
        ([3, -1], [-1, 3]),
        (["1.0", "2.0"], [1.0, 2.0]),
        (["1.50", "2.50"], ["1.50", "2.50"]),
        (["1e3", "2e3"], ["1e3", "2e3"]),
        (["+1", "-1"], ["+1", "-1"]),
        (["true", "false"], ["false", "true"]),
        (["0x10", "0x11"], ["0x10", "0x11"]),
        (["٢", "١"], ["١", "٢"]),
        (["A", "a"], ["A", "a"]),
        (['"say ""x"", y"', " b "], ["b", 'say "x", y']),
    ],
)
def test_labels_keep_their_spelling_and_their_identity(train, cli, cells, classes):
    _, model, _ = train(lines("a,b,c,y", cells), "--task", "classification")
    assert model.classes == classes and list(map(type, model.classes)) == list(map(type, classes))
    code, out, _ = cli("predict", "m.npz", "t.csv")
    assert code == 0 and set(pd.read_csv(io.StringIO(out), dtype=str).prediction) <= {
        str(name) for name in classes
    }
    assert json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])["rows"] == 40


def test_labels_of_other_types_are_the_same_labels(train, cli):
    table = frame()[["a", "b"]]
    for values, others in [
        ([3, 5], [[3.0, 5.0], ["3", "5"], ["3.0", "5.00"]]),
        ([True, False], [["true", "FALSE"], ["True", "False"]]),
        (["3", "5"], [[3, 5]]),
        ([2**53, 2**53 + 1], [[str(2**53), str(2**53 + 1)]]),
    ]:
        table.assign(y=np.resize(values, 40)).to_parquet("t.parquet")
        train("t.parquet")
        want = json.loads(cli("evaluate", "m.npz", "t.parquet", "--json")[1])
        for other in others:
            table.assign(y=np.resize(other, 40)).to_csv("u.csv", index=False)
            found = json.loads(cli("evaluate", "m.npz", "u.csv", "--json")[1])
            assert found == want
    train(lines("a,b,c,y", ["9007199254740992", "1"]))
    pd.read_csv("t.csv").assign(y=2**53 + 1).to_csv("u.csv", index=False)
    assert "'9007199254740993'; expected one of the classes" in cli("evaluate", "m.npz", "u.csv")[2]


# 7. Numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e200, 1e-200, 1e307, 1e-320])
def test_columns_and_targets_of_any_size(train, cli, size, dtype):
    table = frame(80)[["a", "b", "y"]]
    options = ["--dtype", dtype, "--optimizer", "lbfgs", "--epochs", 30]
    table.to_csv("t.csv", index=False)
    train("t.csv", *options)
    want = np.array(predicted(cli, "t.csv"), float)
    scaled = (table * [size, size, 1]).assign(y=table.y * size)
    scaled.to_csv("t.csv", index=False)
    summary, *_ = train("t.csv", *options)
    assert summary["val_r2"] > 0.5 and np.isfinite(summary["val_rmse"])
    found = np.array(predicted(cli, "t.csv"), float)
    np.testing.assert_allclose(found / size, want, rtol=1e-3, atol=1e-3)
    code, out, _ = cli("evaluate", "m.npz", "t.csv", "--json")
    assert code == 0 and json.loads(out)["r2"] > 0.5


def test_a_number_that_is_too_large_is_named(refused, train, folder, cli):
    def planted(cell, row):
        rows = lines("b,c,a,y", lambda i: f"{i / 3:.3f}").split("\n")
        cells = rows[row].split(",")
        cells[1] = cell
        rows[row] = ",".join(cells)
        return "\n".join(rows)

    assert "row 7, column c: -inf; expected a finite number" in refused(planted("-1.8e308", 7))
    assert "row 7, column c: 1e+39 is too large for float32" in refused(
        planted("1e39", 7), "--no-standardize"
    )
    held = int(fg.datasets.split(np.arange(40), np.arange(40), seed=0)[1][0])
    err = refused(planted("1e200", held + 1))
    assert f"row {held + 1}, column c: 1e+200 is too large for float32 beside the other" in err
    err = cli("train", *["t.csv"], *QUICK, "--dtype", "float64")[2]
    assert f"the held-out loss is not finite: t.csv: row {held + 1}, column c" in err
    (folder / "t.csv").write_text(planted("1e25", held + 1))
    code, out, err = cli("train", "t.csv", *QUICK)
    assert code == 1 and json.loads(out)["code"] == 1 and "NaN" not in out
    assert f"row {held + 1}, column c, is the farthest" in err and os.path.exists("m.npz")
    assert fg.load_model("m.npz").summary["val_loss"] is None
    assert "the target is too large for float32" in refused(
        lines("a,b,c,y", lambda i: f"{i}e199"), "--no-standardize"
    )
    code, _, err = cli("train", "t.csv", *QUICK, "--no-standardize", "--dtype", "float64")
    assert code == 1 and "after epoch 1; expected a finite one: leave --no-standardize away" in err


def test_a_prediction_that_is_not_finite_is_an_error_unless_allowed(train, cli, folder):
    train(lines("a,b,c,y", lambda i: i + 0.5))
    (folder / "u.csv").write_text("a,b,c\n0,0,0\n1e200,0,-1e200\n,0,0\n")
    code, _, err = cli("predict", "m.npz", "u.csv")
    assert code == 2 and "u.csv: row 3, column a: missing" in err
    code, out, err = cli("predict", "m.npz", "u.csv", "--allow-nan", "--json")
    found = json.loads(out)["prediction"]
    assert code == 0 and found[1:] == [None, None] and found[0] is not None
    assert "u.csv: row 2: no finite prediction (2 rows)" in err
    (folder / "u.csv").write_text("a,b,c\n0,0,0\n1e200,0,-1e200\n")
    code, _, err = cli("predict", "m.npz", "u.csv")
    assert code == 2 and "u.csv: row 2: the prediction is" in err and "(--allow-nan)" in err
    pd.read_csv("u.csv").assign(y=1).to_csv("v.csv", index=False)
    code, out, err = cli("evaluate", "m.npz", "v.csv", "--json")
    assert code == 1 and json.loads(out)["loss"] is None
    assert "v.csv: row 2: the prediction is not finite" in err
    three_classes()
    (folder / "u.csv").write_text("a,b,c\n0,1,0\nNA,0,0\n")
    assert predicted(cli, "u.csv", "--allow-nan") == ["v", '""']
    model = fg.load_model("m.npz")
    assert model.predict(pd.read_csv("u.csv"), allow_nan=True).tolist() == ["v", None]
    with pytest.raises(ValueError, match="X: row 1, column a: missing"):
        model.predict_proba(pd.read_csv("u.csv"))
    with pytest.raises(ValueError, match="X: row 1: the prediction is nan"):
        model.predict(pd.read_csv("u.csv").to_numpy())


# 8. Files


def test_what_is_no_regular_file_is_written_into(cli, folder):
    three_classes()
    (folder / "t.csv").write_text("a,b,c\n0,1,0\n")
    os.mkfifo("pipe")
    for options in ([], ["--force"]):
        assert cli("predict", "m.npz", "t.csv", "-o", "/dev/null", *options)[0] == 0
        found = []
        reader = threading.Thread(target=lambda f=found: f.append(Path("pipe").read_text()))
        reader.start()
        assert cli("predict", "m.npz", "t.csv", "-o", "pipe", *options)[0] == 0
        reader.join()
        assert found == ["prediction\nv\n"]
    reader = threading.Thread(target=lambda: Path("n.npz").write_bytes(Path("pipe").read_bytes()))
    reader.start()
    assert cli("train", "digits", *QUICK[:4], "-o", "pipe", "--history", "/dev/null")[0] == 0
    reader.join()
    assert fg.load_model("n.npz").target == "digit"
    assert not files.written_into("/dev/shm/model.npz")  # a folder of regular files
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and stat.S_ISFIFO(os.stat("pipe").st_mode)
    code, _, err = cli("predict", "m.npz", "t.csv", "-o", "/dev/full")
    assert code == 1 and "No space left on device: '/dev/full'" in err


def test_a_link_keeps_linking_and_a_file_its_mode(cli, folder):
    three_classes()
    (folder / "t.csv").write_text("a,b,c\n0,1,0\n")
    (folder / "real").mkdir()
    (folder / "real/p.csv").write_text("old")
    os.chmod("real/p.csv", 0o640)
    os.symlink("real/p.csv", "p.csv")
    os.symlink("real/new.csv", "new.csv")
    os.symlink("loop.csv", "loop.csv")
    assert "p.csv exists" in cli("predict", "m.npz", "t.csv", "-o", "p.csv")[2]
    assert cli("predict", "m.npz", "t.csv", "-o", "p.csv", "--force")[0] == 0
    assert cli("predict", "m.npz", "t.csv", "-o", "new.csv")[0] == 0
    for name in ("p.csv", "new.csv"):
        assert os.path.islink(name) and (folder / "real" / name).read_text() == "prediction\nv\n"
    assert stat.S_IMODE(os.stat("real/p.csv").st_mode) == 0o640
    assert "is a link to itself" in cli("predict", "m.npz", "t.csv", "-o", "loop.csv", "--force")[2]


def _run(*args, stdin=None, **env):
    done = subprocess.run(
        [sys.executable, "-m", "fastgrad", *args], input=stdin, capture_output=True,
        env={**os.environ, **env},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    return done


def test_standard_input_and_output_in_any_encoding(folder):
    table = frame()[["a", "b", "kind"]].replace({"kind": {"up": "höher"}})
    text = table.to_csv(index=False).encode()
    done = _run("train", "-", "--epochs", "2", "-o", "-", stdin=gzip.compress(text))
    assert done.returncode == 0 and b"standard input: classification of kind" in done.stderr
    (folder / "m.npz").write_bytes(done.stdout)
    (folder / "t.csv").write_bytes(text)
    want = fg.load_model("m.npz").predict(table).tolist()
    for encoding in ("gbk", "ascii"):
        done = _run("predict", "-", "t.csv", stdin=(folder / "m.npz").read_bytes(),
                    PYTHONIOENCODING=encoding)  # fmt: skip
        assert done.stdout.decode().split()[1:] == want  # UTF-8, as in a file
    (folder / "table").write_bytes(text)  # without an ending, as /dev/stdin is
    assert _run("predict", "m.npz", "table").stdout.decode().split()[1:] == want
    done = _run("evaluate", "m.npz", "t.csv", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and rb"h\xf6her" in done.stdout


def test_dashes_that_would_mix_are_refused(cli):
    three_classes()
    assert "both write to standard output" in cli("train", "digits", "-o", "-", "--json")[2]
    assert "both write to" in cli("predict", "m.npz", "digits", "-o", "-", "--json")[2]
    assert "the model and the data are both -" in cli("predict", "-", "-")[2]
    assert "expected --plot FILE" in cli("train", "digits", "-o", "-", "--plot")[2]
    assert "expected --plot FILE" in cli("evaluate", "-", "digits", "--plot")[2]


@pytest.mark.parametrize(
    ("ending", "pack"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress),
     ("zst", lambda data: bytes(pa.Codec("zstd").compress(data)))],
)  # fmt: skip
def test_compressed_files(train, cli, refused, folder, ending, pack):
    text = frame()[["a", "b", "kind"]].to_csv(index=False).encode()
    if ending == "zst":
        with pa.output_stream("t.csv.zst") as file:
            file.write(text)
    else:
        (folder / f"t.csv.{ending}").write_bytes(pack(text))
    _, model, _ = train(f"t.csv.{ending}")
    assert model.features == ["a", "b"]
    assert os.path.exists("m.npz") and len(predicted(cli, f"t.csv.{ending}")) == 40
    (folder / f"bad.csv.{ending}").write_bytes((folder / f"t.csv.{ending}").read_bytes()[:-20])
    assert f"bad.csv.{ending}: cannot be read" in refused(f"bad.csv.{ending}")
    (folder / f"bad.csv.{ending}").write_bytes(text)
    assert f"bad.csv.{ending}: cannot be read" in refused(f"bad.csv.{ending}")


def test_several_files_and_folders(train, cli, refused, folder):
    table = frame()[["a", "b", "color", "kind"]]
    table["b"] = range(40)
    table.to_csv("all.csv", index=False)
    summary, *_ = train("all.csv")
    want = predicted(cli, "all.csv")
    (folder / "parts").mkdir()
    table[:20].to_csv("parts/1.csv", index=False)
    table[20:].assign(b=table.b + 0.0)[["kind", "b", "color", "a"]].to_csv(
        "parts/2.csv", index=False
    )
    (folder / "parts/_SUCCESS").touch()
    (folder / "parts/.hidden.csv").write_text("no")
    code, out, _ = cli("train", "parts", *QUICK[:4], "--json", "-o", "parts/m.npz")
    assert code == 0 and json.loads(out)["val_loss"] == summary["val_loss"]
    assert os.path.exists("parts/m.history.csv")  # which is no part of the table
    assert predicted(cli, "parts") == predicted(cli, "parts/1.csv", "parts/2.csv") == want
    for year, part in ((2019, table[:20]), (2020, table[20:])):
        (folder / f"years/year={year}").mkdir(parents=True)
        part.to_parquet(f"years/year={year}/part.parquet")
    assert predicted(cli, "years") == want
    assert train("years", "--target", "kind")[1].features == ["a", "b", "color", "year"]
    table[20:].drop(columns="b").to_csv("parts/2.csv", index=False)
    assert "parts/2.csv: no column 'b', which parts/1.csv has" in refused("parts")
    table[20:].assign(b="x").to_csv("parts/2.csv", index=False)
    assert "parts/2.csv: row 1, column b: 'x'; expected a number (20 of 40" in refused("parts")
    table[20:].assign(b="x").to_parquet("years/year=2020/part.parquet")
    assert "column b is int64 and" in refused("years", "--target", "kind")
    os.chdir("years/year=2019")
    assert json.loads(cli("train", ".", *QUICK[:5])[1])["saved"]["model"] == "year=2019-model.npz"
    os.chdir("../..")
    (folder / "empty").mkdir()
    assert "empty: a folder without tables" in refused("empty")
    code, _, err = cli("train", "all.csv", "years")
    assert code == 2 and ".csv and .parquet files together" in err


def test_predictions_as_parquet(cli, folder):
    three_classes()
    (folder / "t.csv").write_text("a,b,c\n0,1,0\n")
    assert cli("predict", "m.npz", "t.csv", "-o", "p.parquet", "--proba")[0] == 0
    found = pd.read_parquet("p.parquet")
    assert found.columns.tolist() == ["prediction", "p_u", "p_v", "p_w"]


def test_text_of_another_encoding(train, refused, folder):
    text = lines("a,b,c,y", ["größer", "kleiner"])
    (folder / "u.csv").write_bytes(text.encode("latin-1"))
    assert "u.csv: not UTF-8 text; --encoding latin-1" in refused("u.csv")
    assert train("u.csv", "--encoding", "latin-1")[1].classes == ["größer", "kleiner"]
    (folder / "u.csv").write_bytes(text.encode("utf-16"))
    assert train("u.csv", "--encoding", "utf-16")[1].classes == ["größer", "kleiner"]
    tail = lines("a,b,c,y", "uv", rows=20_000).encode() + "1,2,3,größer\n".encode("latin-1")
    (folder / "u.csv").write_bytes(tail)  # beyond what is looked at first
    assert "not UTF-8 text" in refused("u.csv")
    (folder / "u.csv").write_bytes(tail[:-13] + b"1,2\n")
    assert "u.csv: row 20001: 2 cells; expected 4, as the first line has" in refused("u.csv")


def test_without_pyarrow_the_extra_is_named(cli, folder, monkeypatch):
    (folder / "t.csv").write_text("a,y\n1,2\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = cli("train", "t.csv")
    assert code == 1 and 'needs pyarrow: pip install "fastgrad[train]"' in err
    assert cli("train", "digits", *QUICK)[0] == 0


# 9. Models in Python


def test_a_data_frame_is_taken_by_name(train, cli):
    table = frame()
    table.to_csv("t.csv", index=False)
    _, model, _ = train("t.csv", "--target", "kind", "--drop", "y,z")
    want = predicted(cli, "t.csv")
    shuffled = table[table.columns[::-1]]
    frames = [table, shuffled, shuffled.set_index("z"), pa.table(shuffled),
              shuffled.convert_dtypes(), shuffled.convert_dtypes(dtype_backend="pyarrow"),
              shuffled.astype({"a": object, "color": "category"})]  # fmt: skip
    for each in frames:
        assert model.predict(each).tolist() == model.classify(each).tolist() == want
        np.testing.assert_array_equal(model.predict_proba(each), model.predict_proba(table))
    with pytest.raises(ValueError, match="X: no column 'a'; the model expects a, b, color, flag"):
        model.predict(table.drop(columns="a"))
    with pytest.raises(ValueError, match="X: row 2, column a: missing"):
        model.predict(table.assign(a=table.a.where(table.index != 2)))
    with pytest.raises(ValueError, match="X: row 0, column b: 'x'; expected a number"):
        model.predict(table.assign(b="x"))
    with pytest.raises(ValueError, match="column b holds datetime64"):
        model.predict(table.assign(b=pd.Timestamp("2020-01-01")))
    with pytest.raises(ValueError, match="column b holds objects that are not text"):
        model.predict(table.assign(b=[[1]] * 40))
    with pytest.raises(ValueError, match="X: the column 'a' is there twice"):
        model.predict(pd.concat([table, table], axis=1))


def test_columns_named_by_integers_and_models_without_names(train, rng):
    _, model, _ = train(lines("0,1,2,y", lambda i: i + 0.5))
    table = pd.DataFrame(rng.standard_normal((5, 3)))
    np.testing.assert_array_equal(model.predict(table[[2, 0, 1]]), model.predict(table.to_numpy()))
    fg.save_model("n.npz", fg.MLP([3, 1]), np.array([1.0, 10, 100, 0]))
    model = fg.load_model("n.npz")
    np.testing.assert_array_equal(model.predict(table), model.predict(table.to_numpy()))
    with pytest.raises(ValueError, match="X: 2 input columns; the model expects 3"):
        model.predict(table[[0, 1]])


def test_a_model_saved_without_names_takes_the_columns_before_its_target(cli, folder):
    net = fg.MLP([64, 10], loss="cross_entropy")
    fg.save_model("m.npz", net, net.init(seed=0), scale=16)
    digits = fg.datasets.load_digits()
    want = fg.load_model("m.npz").predict(digits.X)
    assert predicted(cli, "digits", "--threads", 1) == list(map(str, want))
    found = json.loads(cli("evaluate", "m.npz", "digits", "--js")[1])
    assert found["accuracy"] == np.mean(want == digits.y)
    fg.save_model("m.npz", fg.MLP([2, 2]), np.ones(6), overwrite=True)
    (folder / "t.csv").write_text("a,b,u,v\n1,2,4,5\n1,1,3,3\n")
    assert predicted(cli, "t.csv", "--threads", 1) == ["4.0,4.0", "3.0,3.0"]
    assert json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])["mae"] == {"0": 0, "1": 0.5}
    assert json.loads(cli("evaluate", "m.npz", "none.csv", "--j")[1])["code"] == 2


def test_an_array_is_encoded_as_a_table_is(train):
    table = frame()[["a", "b", "y"]]
    table.loc[3, "a"] = np.nan
    table.to_csv("t.csv", index=False)
    _, model, _ = train("t.csv", "--impute", "mean")
    np.testing.assert_array_equal(model.predict(table[["a", "b"]].to_numpy()), model.predict(table))


def test_small_probabilities_are_not_lost():
    model = fg.models.Model(fg.MLP([1, 1], loss="logistic", dtype="f4"), np.array([1, 0], "f4"))
    np.testing.assert_allclose(
        model.predict_proba([[17.0], [-17.0]])[:, [0, 1]].min(axis=1), np.exp(-17), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": {"values": []}}, "values is"),
        ({"a": {"values": ["u", "u"]}}, "every one once"),
        ({"a": {"values": [1]}}, "expected names"),
        ({"a": {"fill": "1"}}, "fill is '1'"),
        ({"a": {"unknown": "maybe"}}, "unknown 'maybe'"),
        ({"q": {}}, "encoding has 'q', which is no column"),
        ({"a": {"values": ["u", "v"]}}, "features has 2 names; expected 1"),
        ({"a": {"colour": 1}}, "unexpected keyword"),
        ([1], "expected a dict"),
    ],
)  # fmt: skip
def test_a_model_with_a_damaged_encoding_is_refused(folder, change, words):
    model = fg.models.Model(fg.MLP([2, 1]), np.zeros(3), features=["a", "b"])
    model.save("m.npz")
    header, arrays = files.read("m.npz", "model")
    del header["kind"], header["version"]
    files.write("m.npz", "model", {**header, "encoding": change}, arrays)
    with pytest.raises(ValueError, match=f"m.npz is a damaged fastgrad model.*{words}"):
        fg.load_model("m.npz")


def test_a_file_shows_progress_while_it_is_read(cli, folder, monkeypatch):
    three_classes()
    frame(5000).rename(columns={"flag": "c"}).to_csv("t.csv", index=False)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    code, _, err = cli("predict", "m.npz", "t.csv")
    assert code == 0 and "reading t.csv: 100%" in err
    assert "reading" not in cli("predict", "m.npz", "t.csv", "--json")[2]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress.Bytes("t.csv")
    bar._bar.delay = 0
    for done in (50, 100):
        bar(done, 100)
    bar._bar.refresh()
    bar.close()
    assert "reading t.csv: 100%" in sys.stderr.getvalue()


def test_a_history_writes_itself(folder):
    history = fg.History({"loss": [0.5]})
    assert history.to_csv("h.csv") is None
    assert (folder / "h.csv").read_text() == history.to_csv() == "epoch,loss\n1,0.5\n"
    with pytest.raises(ValueError, match=r"path no/h\.csv: no folder no"):
        history.to_csv("no/h.csv")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_during_start_up_is_one_line(folder, options):
    (folder / "numpy").mkdir()  # found first, and slow
    (folder / "numpy/__init__.py").write_text(
        "print('here', flush=True)\nimport time\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "fastgrad", "train", "digits", *options], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == "fastgrad: interrupted\n"
    assert out == ('{"error": "interrupted", "code": 130}\n' if options else "")


def test_main_is_quiet_about_streams_it_cannot_change(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert entry.main(["info"]) == 0 and "simd" in sys.stdout.getvalue()
