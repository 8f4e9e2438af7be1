"""The tables that are written: numbers beside the published, and the four formats."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from rffr_jax.experiments import tables
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.published import PUBLISHED
from rffr_jax.experiments.run_result import Claim, TableSpec
from rffr_jax.experiments.table_formats import format_markdown, latex
from rffr_jax.experiments.tables import write_tables
from tests.experiments.measurements import made_up_scores, measured, predictions

FF = ("DF", "F2F", "FSW", "NT")
TABLE_1 = TableSpec(
    "table1",
    "faceforensics",
    "Table 1: train on one, test on four",
    FF,
    {column: (column,) for column in FF},
    "",
    (Claim("ours beats a plain ViT", "Ours", "ViT"),),
    command="python -m rffr_jax.main --config=configs/paper/table1.py:faceforensics",
)
NASTY = r"a_b & 50% {x} #1 $y$ ~^ \cmd | [z] *"


def build_table(table, runs, columns=None):
    replicates = AucReplicates(runs, made_up_scores, replicates=200)
    return tables.build_table(table, runs, columns or {}, replicates)


def on_f2f(rng, **others):
    return [
        *measured(rng, FF, rule="oracle", at=0.80, **others),
        *measured(rng, FF, rule="oracle", method="ViT", maes=(None,), at=0.72, **others),
    ]


def test_our_rows_stand_behind_the_published_ones_they_are_to_reach():
    made = build_table(TABLE_1, on_f2f(np.random.default_rng(0)), {})
    assert len(made["published"]) == len(PUBLISHED["table1"])
    assert len(made["rows"]) == len(PUBLISHED["table1"]) + 2
    shown = [(row["trained_on"], row["method"], row["source"]) for row in made["rows"]]
    published = shown.index(("F2F", "Ours", "published"))
    assert shown[published + 1] == ("F2F", "Ours", "measured")
    assert shown[published + 2] == ("F2F", "ViT", "measured")
    assert (made["seeds"], made["mae_seeds"]) == ([0, 1, 2], [0, 1])
    cell = made["rows"][published]["cells"]["DF"]
    assert cell["auc"] == 0.9375
    assert "93.44" in cell["note"]


def test_a_number_says_how_far_it_is_from_the_published_one():
    rng = np.random.default_rng(1)
    made = build_table(TABLE_1, on_f2f(rng))
    (ours,) = (r for r in made["rows"] if (r["method"], r["source"]) == ("Ours", "measured"))
    (vit,) = (r for r in made["rows"] if (r["method"], r["source"]) == ("ViT", "measured"))
    printed = {"DF": 0.9375, "F2F": 0.9961, "FSW": 0.7862, "NT": 0.7956, "mean_all": 0.8781}
    said = []
    for column, value in printed.items():
        cell = ours["cells"][column]
        assert cell["published"] == value
        assert cell["difference"] == pytest.approx(cell["auc"] - value)
        points, spread = 100 * cell["difference"], 100 * cell["sd"]
        said.append(f"{column.replace('mean_all', 'mean (all)')} {points:+.1f} ± {spread:.1f}")
    line = f"Ours, trained on F2F, rule oracle, measured - published, points: {', '.join(said)}."
    assert line in format_markdown(made)
    assert ours["cells"]["mean_unseen"]["published"] is None
    assert {cell["published"] for cell in vit["cells"].values()} == {None}

    other_rule = [dataclasses.replace(run, rule="last") for run in on_f2f(rng)]
    rows = build_table(TABLE_1, other_rule)["rows"]
    assert {cell["difference"] for row in rows for cell in row["cells"].values()} == {None}


def test_on_other_data_the_published_rows_stand_apart():
    table = dataclasses.replace(TABLE_1, variant="synthetic", note="made-up faces")
    made = build_table(table, on_f2f(np.random.default_rng(2)), {})
    assert {row["source"] for row in made["rows"]} == {"measured"}
    for row in made["rows"]:
        assert {(c["published"], c["difference"]) for c in row["cells"].values()} == {(None, None)}
    above, below = format_markdown(made).split("own rows, published, on other data")
    assert "93.75" in below
    assert "93.75" not in above
    assert "made-up faces" in above


def markdown_rows(text):
    """Every table of a Markdown text as lists of rows of cells, headings first."""
    tables = [[]]
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= {"|", "-"}:
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            tables[-1].append([cell.strip() for cell in cells])
        elif not line.startswith("|") and tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_markdown_shows_per_cent_and_the_best_in_bold():
    rng = np.random.default_rng(3)
    table = dataclasses.replace(TABLE_1, variant="synthetic")
    runs = on_f2f(rng) + measured(rng, FF, rule="last", at=0.9)
    made = build_table(table, runs)
    ours, vit, last = (row["cells"] for row in made["rows"])
    headings, *shown = markdown_rows(format_markdown(made))[0]
    assert headings == ["method", "rule", *FF, "mean (all)", "mean (unseen)"]
    names = [*FF, "mean_all", "mean_unseen"]
    for cells, line in zip((ours, vit, last), shown, strict=True):
        for name, text in zip(names, line[2:], strict=True):
            low, high = cells[name]["ci95"]
            number = f"{100 * cells[name]['auc']:.1f} ± {100 * cells[name]['sd']:.1f}"
            mark = "†" if name == "F2F" else ""
            expected = f"{number}{mark} [{100 * low:.1f}, {100 * high:.1f}]"
            rival = {id(ours): vit, id(vit): ours, id(last): None}[id(cells)]
            best = rival is not None and cells[name]["auc"] > rival[name]["auc"]
            assert text == (f"**{expected}**" if best else expected)
    assert [line[:2] for line in shown] == [["Ours", "oracle"], ["ViT", "oracle"], ["Ours", "last"]]
    assert "All rows: trained on F2F, source measured." in format_markdown(made)


def test_intervals_over_five_trainings_say_nothing_of_given_ones():
    rng = np.random.default_rng(8)
    runs = measured(rng, FF, seeds=range(5), maes=(None,))
    text = format_markdown(build_table(TABLE_1, runs))
    assert "the interval speaks of no others." in text
    assert "Here," not in text
    (one,) = measured(rng, FF, seeds=(0,), maes=(None,))
    text = format_markdown(build_table(TABLE_1, [one]))
    assert "Here, given this training: all rows." in text


def test_inference_time_has_a_column_where_a_row_has_it():
    rng = np.random.default_rng(4)
    table = dataclasses.replace(TABLE_1, name="table9", claims=())
    runs = measured(rng, FF, method="4x4", rule="oracle", inference_seconds=0.0123)
    headings, *rows = markdown_rows(format_markdown(build_table(table, runs)))[0]
    assert headings[-1] == "one image"
    assert [row[-1] for row in rows] == [
        "4 x MAE inference",
        "16 x MAE inference",
        "0.0123 s",
        "36 x MAE inference",
    ]
    assert rows[1][2:7] == ["93.44", "99.61†", "78.62", "79.56", "87.81"]


def test_a_table_names_maes_that_lose_to_simple_inpainting(tmp_path):
    rng = np.random.default_rng(4)
    good = {"mae": 0.01, "ridge": 0.02, "telea": 0.03, "mean_face": 0.07, "to_training": 1.0}
    weak = good | {"mae": 0.025}
    runs = [
        *measured(rng, FF, maes=(0,), mae_check=good),
        *measured(rng, FF, maes=(1,), mae_check=weak),
        *measured(rng, FF, method="Zero", maes=(0,), mae_check=good),
        *measured(rng, FF, method="ViT", maes=(None,)),
        *measured(rng, FF, method="Converted", maes=(2,)),
    ]
    made = build_table(dataclasses.replace(TABLE_1, variant="synthetic"), runs)
    write_tables(tmp_path, made)
    texts = {end: (tmp_path / f"table1.{end}").read_text() for end in ("csv", "md", "tex")}
    headings, *rows = markdown_rows(texts["md"])[0]
    assert headings[-1] == "MAE error"
    assert [row[-1] for row in rows] == ["1.25§", "0.50", "-", "-"]
    doubt = "its error on unseen faces is 1.25 times that of a ridge regression"
    warning = f"not what was manipulated. Ours, the MAE of seed 1: {doubt}."
    assert "§: the MAE does not know faces well." in texts["md"]
    assert warning in texts["md"]
    assert latex(warning) in texts["tex"]
    assert r"1.25\S{}" in texts["tex"]
    for line in csv.DictReader(texts["csv"].splitlines()):
        if line["source"] == "measured":
            expected = {"Ours": "1.250", "Zero": "0.500"}.get(line["method"], "")
            assert line["mae_error_ratio"] == expected
            assert (f"MAE of seed 1: {doubt}" in line["note"]) == (line["method"] == "Ours")


def test_a_table_marks_detectors_that_count_as_untrained(tmp_path):
    rng = np.random.default_rng(4)
    good = {"loss": 0.2, "auc": 0.8, "reference_auc": 0.7}
    runs = [
        *measured(rng, FF, maes=(0,), detector_check=good),
        *measured(rng, FF, method="Zero", maes=(0,), detector_check=good | {"auc": 0.7}),
        *measured(
            rng, FF, method="Early", maes=(None,),
            detector_check={"loss": 0.689, "auc": None, "reference_auc": None},
        ),
        *measured(rng, FF, method="Converted", maes=(2,)),
    ]  # fmt: skip
    made = build_table(dataclasses.replace(TABLE_1, variant="synthetic"), runs)
    write_tables(tmp_path, made)
    texts = {end: (tmp_path / f"table1.{end}").read_text() for end in ("csv", "md", "tex")}
    headings, *rows = markdown_rows(texts["md"])[0]
    assert headings[-1] == "own / reference"
    assert [row[-1] for row in rows] == ["80.0 / 70.0", "70.0 / 70.0¶", "-¶", "-"]
    assert "its training loss is 0.689, near ln 2." in texts["md"]
    low = "its AUC is 70.0, and that of a logistic regression on energies of high-pass filters 70.0"
    assert low in texts["md"]
    assert r"70.0 / 70.0\P{}" in texts["tex"]
    for line in csv.DictReader(texts["csv"].splitlines()):
        expected = {"Ours": "80.0", "Zero": "70.0"}.get(line["method"], "")
        assert line["own_auc"] == (expected if line["source"] == "measured" else "")
        marked = line["source"] == "measured" and line["method"] in ("Zero", "Early")
        assert ("near ln 2" in line["note"] or low in line["note"]) == marked


def test_the_rule_of_each_column_is_told_where_they_differ():
    table = TableSpec("table2", "faceforensics", "t", ("Celeb-DF", "DFDC"), {}, "")
    rules = {"Celeb-DF": "oracle", "DFDC": "transfer"}
    runs = measured(
        np.random.default_rng(5), table.columns, trained_on="FF", rule="transfer", rules=rules
    )
    made = build_table(table, runs)
    text = format_markdown(made)
    rows = markdown_rows(text)[0][1:]
    told = {tuple(row[:2]) for row in rows if row[0] == "Ours"}
    assert told == {("Ours", "Celeb-DF: oracle, DFDC: transfer")}
    assert "chosen on one foreign data set, tested on another" in text


def test_four_files_say_all_that_must_be_said(tmp_path):
    rng = np.random.default_rng(6)
    columns = {column: predictions(rng, column) for column in FF}
    theirs = {e.id: e for part in columns.values() for e in part.examples}
    file = tmp_path / "theirs.csv"
    lines = [f"{e.id},{e.dataset},{e.label},{rng.uniform()}" for e in theirs.values()]
    file.write_text("\n".join(["id,dataset,label,score", *lines, "more,d,0,0.5"]) + "\n")
    note = "made-up data: 100 % {synthetic}"
    table = dataclasses.replace(TABLE_1, external={"Other_tool": f"external:{file}"}, note=note)
    runs = on_f2f(rng)
    made = build_table(table, runs, columns)
    write_tables(tmp_path / "out", made)
    assert json.loads((tmp_path / "out/table1.json").read_text()) == made
    texts = {end: (tmp_path / f"out/table1.{end}").read_text() for end in ("csv", "md", "tex")}
    assert texts["md"] == format_markdown(made) + "\n"
    for text in texts.values():
        assert table.command.split()[-1] in text.replace("\n", " ")
        assert "oracle" in text
    assert note in texts["csv"]
    assert note in texts["md"]
    assert latex(note) in texts["tex"]
    claims = markdown_rows(texts["md"])[1]
    verdict = "**better given these MAEs and these seeds**"
    assert [claim[:2] for claim in claims[1:]] == [["ours beats a plain ViT", verdict]]
    assert "Other_tool: 1 of its examples" in texts["md"]
    assert (
        "Here, given these MAEs and these seeds: Ours; given these seeds: ViT; "
        "given this training: Other_tool."
    ) in texts["md"]
    assert "Seeds of detectors: 0, 1, 2; of MAEs: 0, 1." in texts["md"]

    read = list(csv.DictReader(texts["csv"].splitlines()))
    assert len(read) == sum(len(row["cells"]) for row in made["rows"])
    flat = [(row, column) for row in made["rows"] for column in row["cells"]]
    for line, (row, column) in zip(read, flat, strict=True):
        cell = row["cells"][column]
        assert (line["method"], line["column"]) == (row["method"], column)
        assert float(line["auc"]) == pytest.approx(100 * cell["auc"], abs=0.0501)
        if row["source"] == "published":
            assert float(line["auc"]) == pytest.approx(100 * cell["auc"], abs=1e-9)
            assert line["seeds"] == ""
        if row["source"] == "measured":
            assert line["seeds"] == "0 1 2"
            assert line["ci95_given"] == " and ".join(cell["given"]) != ""
            assert float(line["ci95_low"]) == pytest.approx(100 * cell["ci95"][0], abs=0.0501)
    assert {line["source"] for line in read} == {"published", "measured", "external"}


def environments_close(text):
    """Whether every \\begin has its \\end, in order."""
    open_ones = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            open_ones.append(name)
        elif not open_ones or open_ones.pop() != name:
            return False
    return not open_ones


@pytest.mark.parametrize("variant", ["faceforensics", "synthetic"])
def test_latex_is_balanced_and_escaped(tmp_path, variant):
    rng = np.random.default_rng(7)
    columns = (*FF, NASTY)
    table = dataclasses.replace(
        TABLE_1,
        **{"variant": variant, "columns": columns, "title": NASTY, "note": NASTY},
        command=f"first\nsecond {NASTY}",
    )
    runs = [
        run
        for method in (NASTY, "Ours")
        for run in measured(rng, columns, method=method, trained_on="[label")
    ]
    write_tables(tmp_path, build_table(table, runs))
    text = (tmp_path / "table1.tex").read_text()
    comment, body = text.split("\n", 1)
    assert comment.startswith("% Made by: first second")
    assert environments_close(body)
    plain = re.sub(r"\\[%&#$_{}\\]", "", body)  # without what is escaped
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[%#~_^]", re.sub(r"\\label\{.*?\}", "", plain))
    tables = re.findall(r"\\begin\{tabular\}\{([lc]+)\}(.*?)\\end\{tabular\}", body, re.DOTALL)
    assert len(tables) == (2 if variant == "faceforensics" else 3)
    for form, rows in tables:
        lines = [line for line in rows.splitlines() if line and line != r"\hline"]
        for line in lines:
            assert line.endswith(r" \\")
            assert not line.startswith(("[", "*"))
            assert len(re.findall(r"(?<!\\)&", line)) == len(form) - 1
    assert r"\textbf{" in body


def test_latex_escapes_every_special_character():
    escaped = latex(NASTY)
    unescaped = escaped.replace(r"\textbackslash{}", "\0").replace(r"\textbar{}", "|")
    unescaped = unescaped.replace(r"\textasciitilde{}", "~").replace(r"\textasciicircum{}", "^")
    unescaped = re.sub(r"\{([\[\]*-])\}", r"\1", unescaped)
    assert re.sub(r"\\([&%$#_{}])", r"\1", unescaped).replace("\0", "\\") == NASTY


def test_no_row_is_the_best_in_a_column_of_controls():
    rng = np.random.default_rng(11)
    runs = [run for method in ("a", "b") for run in measured(rng, FF, method=method)]
    table = dataclasses.replace(TABLE_1, variant="synthetic", controls=FF[:1], claims=())
    text = format_markdown(build_table(table, runs))
    rows = markdown_rows(text)[0]
    column = rows[0].index(FF[0])
    assert not any(row[column].startswith("**") for row in rows[1:])
    assert any(row[column + 1].startswith("**") for row in rows[1:])
    assert f"{FF[0]}: AUC of real faces under one trace of manipulation" in text
