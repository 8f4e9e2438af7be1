"""Bars and validation curves: what they show is what was measured."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.experiments import figures
from rffr_jax.experiments.figures import (
    COLOURS,
    moving_average,
    plot_bars,
    plot_validation_curves,
    row_labels,
    validation_curves,
)
from tests.experiments.example import COLUMNS, cell, experiment, row


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in order."""
    kept = []
    save = figures._save
    monkeypatch.setattr(figures, "_save", lambda f, *rest: kept.append(f) or save(f, *rest))
    return kept


def assert_png_and_pdf(stem):
    with Image.open(stem.with_suffix(".png")) as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 200
    pdf = stem.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"%%EOF" in pdf[-16:]
    assert b"CreationDate" not in pdf


def test_labels_say_what_tells_rows_apart():
    rows = [row("a", {}), row("b", {}), row("a", {}) | {"rule": "oracle"}]
    assert row_labels(rows) == ["a, last", "b, last", "a, oracle"]
    assert row_labels(rows[:2]) == ["a", "b"]
    assert row_labels([row("a", {}), row("a", {}, trained_on="F2F")]) == ["rows, a", "F2F, a"]


def test_bars_stand_on_chance_and_reach_the_mean(tmp_path, drawn):
    _, _, summary = experiment(tmp_path / "runs", ["one $x$", "two", "three"])
    summary["rows"].append(row("theirs", {"rows": cell([0.99])}, "published"))
    summary["rows"][0]["cells"]["rows"] = cell([0.31, 0.45])
    assert plot_bars(tmp_path / "fig1", summary) == tmp_path / "fig1.png"
    assert_png_and_pdf(tmp_path / "fig1")
    axes, key = drawn[0].axes
    tops = sorted(p.get_y() + p.get_height() for p in axes.patches if p.get_y() == 50)
    keys = (*COLUMNS, "mean_all", "mean_unseen")
    measured = summary["rows"][:3]
    expected = sorted(100 * one["cells"][key]["auc"] for one in measured for key in keys)
    np.testing.assert_allclose(tops, expected)
    dots = np.concatenate([c.get_offsets()[:, 1] for c in axes.collections[1::2]])
    runs = [100 * r["auc"] for m in measured for k in keys for r in m["cells"][k]["runs"]]
    np.testing.assert_allclose(np.sort(dots), np.sort(runs))
    assert axes.get_ylim()[0] < 31
    assert [t.get_text() for t in key.get_legend().get_texts()] == [" one $x$", " two", " three"]
    assert [tick.get_text() for tick in axes.get_xticklabels()][-2:] == ["mean", "mean unseen"]
    assert {to_hex(p.get_facecolor()) for p in axes.patches} == {c.lower() for c in COLOURS[:3]}


def test_bars_have_a_panel_for_what_was_trained_on(tmp_path, drawn):
    _, _, summary = experiment(tmp_path / "runs", ["one", "two"])
    summary["rows"].append(row("two", {"columns": cell([0.6])}, trained_on="columns"))
    plot_bars(tmp_path / "fig1", summary)
    first, second, _ = drawn[0].axes
    assert [axes.get_title() for axes in (first, second)] == [
        "trained on rows",
        "trained on columns",
    ]
    (alone,) = second.patches
    assert to_hex(alone.get_facecolor()) == COLOURS[1].lower()
    assert alone.get_x() > 1 > first.patches[1].get_x()
    assert first.get_ylim() == second.get_ylim()


@pytest.mark.parametrize("methods", [["one"], ["one", "two", "three", "four"]])
def test_long_names_of_columns_do_not_touch(tmp_path, drawn, methods):
    names = ["autoencoder_swap", "expression_transfer", "real, brightness edge", "real, format"]
    _, _, summary = experiment(tmp_path / "runs", methods)
    summary["columns"] = names
    for one in summary["rows"]:
        one["cells"] = {name: cell([0.6]) for name in names}
    plot_bars(tmp_path / "bars", summary)
    ticks = drawn[0].axes[0].get_xticklabels()
    shown = [tick.get_text().replace("_\n", "_").replace("\n", " ") for tick in ticks]
    assert shown == names
    places = [tick.get_window_extent() for tick in ticks]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(places))


def test_bars_of_nothing_measured(tmp_path):
    _, _, summary = experiment(tmp_path / "runs", [])
    with pytest.raises(UserError, match="table5 has no measured row"):
        plot_bars(tmp_path / "fig1", summary)


@pytest.mark.parametrize(("count", "window"), [(1, 1), (9, 1), (9, 5), (3, 7), (1, 3), (8, 15)])
def test_moving_average_is_the_mean_of_the_neighbours(count, window):
    values = np.random.default_rng(count + window).normal(size=count)
    half = window // 2
    expected = [np.mean(values[max(0, i - half) : i + half + 1]) for i in range(count)]
    np.testing.assert_allclose(moving_average(values, window), expected, atol=1e-12)


def test_curves_are_the_logs_of_all_runs(tmp_path, drawn):
    table, measured, _ = experiment(tmp_path / "runs", ["one", "two"])
    curves = validation_curves([*measured, measured[0]], table.columns)
    assert list(curves) == list(COLUMNS)
    for column in COLUMNS:
        for method in ("one", "two"):
            for run, one in zip(
                curves[column][method], [m for m in measured if m.method == method], strict=True
            ):
                lines = map(json.loads, (one.training / "metrics.jsonl").read_text().splitlines())
                logged = {r["step"]: r[f"auc_{column}"] for r in lines if r["split"] == "faces"}
                assert run == logged
    plot_validation_curves(tmp_path / "fig5", curves, "title $", "note", window=3)
    assert_png_and_pdf(tmp_path / "fig5")
    axes = next(axes for axes in drawn[0].axes if axes.get_title() == "columns")
    thick = [line for line in axes.lines if line.get_linewidth() > 1.5]
    runs = curves["columns"]["two"]
    mean = [np.mean([100 * run[step] for run in runs]) for step in (10, 20, 30)]
    expected = [np.mean(mean[:2]), np.mean(mean), np.mean(mean[1:])]
    np.testing.assert_allclose(thick[1].get_ydata(), expected)
    thin = [line for line in axes.lines if line.get_linewidth() == 0.7]
    np.testing.assert_allclose(thin[2].get_ydata(), [100 * v for v in runs[0].values()])
    assert "moving average over 3 evaluations" in drawn[0].get_suptitle()
    assert "mean over 2 runs" in drawn[0].get_suptitle()


def test_a_column_may_be_a_data_set_or_have_another_name(tmp_path):
    _, measured, _ = experiment(tmp_path / "runs", ["one"], seeds=1)
    curves = validation_curves(measured, ("faces", "C", "nowhere"), {"C": "columns"})
    assert list(curves) == ["faces", "C"]
    assert curves["C"] == validation_curves(measured, ("columns",))["columns"]
    assert curves["faces"] != curves["C"]


def test_each_kind_of_training_has_panels_of_its_own(tmp_path):
    _, measured, _ = experiment(tmp_path / "runs", ["one", "two"], seeds=1)
    one, two = measured[0], next(run for run in measured if run.method == "two")
    reference = dataclasses.replace(one, method="logistic regression", tests_training=False)
    other = dataclasses.replace(two, method="one", trained_on="other fakes")
    curves = validation_curves([one, reference, other], COLUMNS)
    assert list(curves) == [
        f"{column}, trained on {label}"
        for label in (one.trained_on, "other fakes")
        for column in COLUMNS
    ]
    assert all(list(of_method) == ["one"] for of_method in curves.values())


def test_rows_that_share_their_trainings_share_a_curve_with_both_names(tmp_path, drawn):
    _, measured, _ = experiment(tmp_path / "runs", ["one", "two"])
    ones = [run for run in measured if run.method == "one"]
    same = [dataclasses.replace(run, method="same as one") for run in ones]
    part = [dataclasses.replace(ones[0], method="part of one")]
    alone = validation_curves(measured, COLUMNS)
    curves = validation_curves([*measured, *same, *part], COLUMNS)
    for column in COLUMNS:
        assert list(curves[column]) == ["one and same as one", "two", "part of one"]
        assert curves[column]["one and same as one"] == alone[column]["one"]
        assert curves[column]["two"] == alone[column]["two"]
        assert curves[column]["part of one"] == alone[column]["one"][:1]
    plot_validation_curves(tmp_path / "fig5", curves, "title")
    legend = next(axes.get_legend() for axes in drawn[0].axes if axes.get_legend())
    assert [text.get_text().strip() for text in legend.get_texts()] == [*curves[COLUMNS[0]]]


def test_curves_of_a_real_training(detector, tmp_path):
    _, (one,), _ = experiment(tmp_path / "runs", ["one"], seeds=1)
    real = type(one)(**{**vars(one), "training": detector})
    curves = validation_curves([real], COLUMNS)
    assert [set(run) for column in COLUMNS for run in curves[column]["one"]] == [{2, 4}, {2, 4}]


def test_curves_that_cannot_be_drawn(tmp_path):
    with pytest.raises(UserError, match=r"name data\.validation"):
        plot_validation_curves(tmp_path / "fig5", {}, "title")
    with pytest.raises(UserError, match="odd number"):
        plot_validation_curves(tmp_path / "fig5", {"a": {"b": [{1: 0.5}]}}, "title", window=2)
