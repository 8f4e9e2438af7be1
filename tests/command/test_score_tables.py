"""`rffr-jax metrics` and `rffr-jax compare` with tables of scores."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import rffr_jax
from rffr_jax.command import entry, score_tables
from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import results_table
from rffr_jax.examples import Example

LABELS = np.arange(60) % 2


def scores(seed: int, strength: float) -> np.ndarray:
    return np.random.default_rng(seed).beta(2 + strength * LABELS, 2).round(6)


@pytest.fixture
def tables(tmp_path):
    """Two tables of the same 60 photographs, of two detectors."""
    for name, values in (("a", scores(0, 0.5)), ("b", scores(1, 6))):
        rows = [f"{i}.png,{LABELS[i]},{values[i]}\n" for i in range(60)]
        (tmp_path / f"{name}.csv").write_text("path,label,score\n" + "".join(rows))
    return [str(tmp_path / name) for name in ("a.csv", "b.csv")]


def test_metrics_of_one_table(tmp_path, tables, capsys):
    out = tmp_path / "out"
    assert entry.run(["metrics", tables[0], "--output", str(out)]) == 0
    table = json.loads((out / "results.json").read_text())
    assert set(table) == {"scores", "about"}
    pooled = table["scores"]["pooled"]
    assert pooled["auc"] == pytest.approx(roc_auc_score(LABELS, scores(0, 0.5)))
    assert pooled["auc_ci95"][0] < pooled["auc"] < pooled["auc_ci95"][1]
    assert table["about"]["trained_methods"] is table["scores"]["mean_unseen"] is None
    assert table["about"]["rule"] == "unknown"
    assert table["about"]["program"]["version"] == rffr_jax.__version__
    text = capsys.readouterr().out
    assert f"{100 * pooled['auc']:.1f}" in text
    assert "60 of 60 images name no source, group or video" in text
    for name in ("roc", "histograms", "reliability"):
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 200
    with pytest.raises(UserError, match=r"--output=.*out holds results.json already"):
        entry.run(["metrics", tables[1], f"--output={out}"])


def test_metrics_are_those_of_evaluate(tmp_path):
    """Of a predictions.csv, and by the columns that it has."""
    examples = [
        Example(f"{i}", f"{i}.png", i % 2, "d", ("real", "swap", "real", "warp")[i % 4], f"v{i}", 0,
                f"s{i // 8}")
        for i in range(60)
    ]  # fmt: skip
    predictions = Predictions(examples, scores(0, 1))
    predictions.write_csv(tmp_path / "predictions.csv")
    arguments = ["metrics", str(tmp_path / "predictions.csv"), f"--output={tmp_path}/out"]
    assert entry.run(arguments) == 0
    table = json.loads((tmp_path / "out/results.json").read_text())
    assert table["d"] == results_table(predictions, {"trained_methods": None})["d"]
    assert set(table["d"]["methods"]) == {"swap", "warp"}


def test_several_tables_stay_apart(tables, capsys):
    assert entry.run(["metrics", *tables]) == 0
    text = capsys.readouterr().out
    for table in tables:
        assert text.count(f"\n{table}  (pooled)") == 2


def test_comparison_of_two_tables(tmp_path, tables, capsys):
    out = tmp_path / "out"
    assert entry.run(["compare", *tables, f"--output={out}"]) == 0
    (found,) = json.loads((out / "comparison.json").read_text())["comparisons"]
    assert found["verdict"] == tables[1]
    assert found["auc_b"] == pytest.approx(roc_auc_score(LABELS, scores(1, 6)))
    assert found["n_clusters"] == 60
    text = capsys.readouterr().out
    assert (out / "comparison.md").read_text().strip() == text.strip()
    with Image.open(out / "comparison.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_neither_jax_nor_a_display_is_imported(tables):
    code = (
        "import sys; from rffr_jax.command import entry; a, b = sys.argv[1:]; "
        "entry.run(['metrics', a]); entry.run(['compare', a, b, '--replicates=100']); "
        "heavy = {'jax', 'flax', 'orbax', 'grain', 'matplotlib.pyplot'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = [sys.executable, "-c", code, *tables]
    found = subprocess.run(run, check=True, capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("command", "content", "message"),
    [
        ("metrics", "id,score\na,1\n", "no column label; a table of predictions has the header"),
        ("metrics", "label,score\n1,high\n", "line 2: score 'high' is no finite number"),
        ("metrics", "label,score\n1,nan\n", "line 2: score 'nan' is no finite number"),
        ("metrics", "label,score\n2,1\n", "line 2: label 2; it must be 0 (real) or 1 (fake)"),
        ("metrics", "label,score\nreal,1\n", "line 2: label 'real' is no finite number"),
        ("metrics", "label,score\n1,0.5\n1,1\n", "has no usable real image among 2"),
        ("metrics", "label,score\n", "no predictions in it"),
        ("metrics", "id,label,score\na,1,1\na,0,1\n", "holds 'a' twice"),
        ("compare", "label,score\n1,1\n0,0\n", "no column id; a table of predictions"),
        ("compare", "id,label,score\nx,1,1\ny,0,0\n", "share no example (data set and id)"),
        ("compare", None, "other.csv does not exist; name workdirs of evaluate, or tables"),
    ],
)
def test_mistakes_are_one_line(tmp_path, tables, command, content, message):
    other = tmp_path / "other.csv"
    if content is not None:
        other.write_text(content)
    files = [tables[0]] * (command == "compare") + [str(other)]
    with pytest.raises(UserError, match=r"^[^\n]+$") as refused:
        entry.run([command, *files, f"--output={tmp_path}/out"])
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["metrics", "compare"])
def test_mistakes_in_flags_are_one_line(command):
    with pytest.raises(UserError, match=f"--speed; usage: rffr-jax {command}") as error:
        entry.run([command, "a.csv", "--speed"])
    assert "\n" not in str(error.value)


def test_titles_of_pictures_are_short(tmp_path, tables, monkeypatch):
    titles = []
    for plot in ("plot_roc", "plot_histograms", "plot_reliability"):
        monkeypatch.setattr(score_tables, plot, lambda file, part, title: titles.append(title))
    entry.run(["metrics", tables[0], f"--output={tmp_path}/one"])
    entry.run(["metrics", *tables, f"--output={tmp_path}/two"])
    names = [pathlib.Path(table).name for table in tables]
    folder = pathlib.Path(tables[0]).parent.name
    assert {title.splitlines()[0] for title in titles} == {f"{folder}/{names[0]}", ", ".join(names)}
