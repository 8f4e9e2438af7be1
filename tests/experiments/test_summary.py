"""Means, spreads and intervals of the cells of a table."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from rffr_jax.experiments.run_result import TableSpec
from rffr_jax.experiments.summary import RunAuc, mean_interval, mean_run, measured_rows, summarise
from tests.experiments.measurements import measured

COLUMNS = ("DF", "F2F", "FSW", "NT")
TABLE = TableSpec("table1", "synthetic", "t", COLUMNS, {"F2F": ("F2F",), "all": COLUMNS}, "")


def bounds(made) -> tuple[float, float]:
    """The interval, which is there."""
    found = mean_interval(made)
    assert found is not None
    return found


def runs(rng, seeds, maes, at=0.7):
    return [
        RunAuc(float(auc), (float(auc - low), float(auc + high)), seed, mae)
        for seed in seeds
        for mae in maes
        for auc, low, high in [(at + 0.03 * rng.normal(), *rng.uniform(0.01, 0.05, size=2))]
    ]


@pytest.mark.parametrize(("seeds", "maes"), [(5, (0, 1)), (2, (3,)), (3, (None,))])
def test_the_interval_joins_student_over_seeds_and_the_bootstrap(seeds, maes):
    rng = np.random.default_rng(seeds)
    made = runs(rng, range(seeds), maes)
    rng.shuffle(made)
    by_seed = [[run.auc for run in made if run.seed == seed] for seed in range(seeds)]
    means = [sum(aucs) / len(aucs) for aucs in by_seed]
    low, high = stats.t.interval(
        0.95, seeds - 1, loc=np.mean(means), scale=stats.sem(means)
    )  # SciPy's own interval of a mean
    widths = [np.ptp(np.array(run.interval)) for run in made]
    half = (((high - low) / 2) ** 2 + (sum(widths) / len(widths) / 2) ** 2) ** 0.5
    expected = (sum(means) / seeds - half, sum(means) / seeds + half)
    np.testing.assert_allclose(bounds(made), np.clip(expected, 0, 1), atol=1e-12)


def test_one_seed_has_the_interval_of_the_bootstrap():
    (alone,) = runs(np.random.default_rng(0), [4], [None])
    assert bounds([alone]) == pytest.approx(alone.interval)
    two = runs(np.random.default_rng(1), [4], [0, 1])
    expected = np.mean([np.array(run.interval) for run in two], axis=0)
    assert bounds(two) == pytest.approx(expected)
    cell = summarise([alone])
    assert (cell["sd"], cell["auc"]) == (None, alone.auc)


def test_an_interval_stays_in_the_unit_and_needs_clusters():
    high = runs(np.random.default_rng(2), range(3), [0], at=0.99)
    assert bounds(high)[1] == 1.0
    high[1] = dataclasses.replace(high[1], interval=None)
    assert mean_interval(high) is None
    assert mean_run(high).interval is None


def test_a_cell_keeps_its_runs_and_the_mean_of_each_mae():
    made = runs(np.random.default_rng(3), range(4), (7, 9))
    cell = summarise(made)
    assert cell["sd"] == pytest.approx(stats.tstd([run.auc for run in made]))
    assert [(r["seed"], r["mae_seed"], r["auc"]) for r in cell["runs"]] == [
        (run.seed, run.mae_seed, run.auc) for run in made
    ]
    for one, mae in zip(cell["by_mae"], (7, 9), strict=True):
        aucs = [run.auc for run in made if run.mae_seed == mae]
        assert one == {"mae_seed": mae, "auc": pytest.approx(sum(aucs) / 4)}
    assert cell["auc"] == pytest.approx(np.mean([one["auc"] for one in cell["by_mae"]]))


def test_rows_and_means_are_those_of_a_loop():
    rng = np.random.default_rng(5)
    ours = measured(rng, COLUMNS)
    other = measured(rng, COLUMNS, method="ViT", maes=(None,), inference_seconds=0.5)
    every = measured(rng, COLUMNS, trained_on="all", seeds=(0,))
    rows = measured_rows(TABLE, [*ours, *other, *every])
    assert [(row["trained_on"], row["method"], row["rule"]) for row in rows] == [
        ("F2F", "Ours", "last"),
        ("F2F", "ViT", "last"),
        ("all", "Ours", "last"),
    ]
    for row, members in zip(rows, (ours, other, every), strict=True):
        cells = row["cells"]
        for column in COLUMNS:
            total = sum(run.aucs[column] for run in members)
            assert cells[column]["auc"] == pytest.approx(total / len(members))
            assert cells[column]["seen"] == (column == "F2F" or row["trained_on"] == "all")
        assert cells["mean_all"]["auc"] == pytest.approx(
            sum(cells[column]["auc"] for column in COLUMNS) / 4
        )
        # Spread and interval of a mean are those of the means of each run, not of its columns.
        means = [sum(run.aucs.values()) / 4 for run in members]
        assert cells["mean_all"]["sd"] == pytest.approx(stats.tstd(means))
        assert row["seconds"] == pytest.approx(sum(r.seconds for r in members) / len(members))
    unseen = [sum(run.aucs[c] for c in ("DF", "FSW", "NT")) / 3 for run in ours]
    assert rows[0]["cells"]["mean_unseen"]["auc"] == pytest.approx(sum(unseen) / 6)
    assert "mean_unseen" not in rows[2]["cells"]
    assert [row["inference_seconds"] for row in rows] == [None, 0.5, None]


def test_a_row_without_a_column_has_no_mean():
    rng = np.random.default_rng(6)
    rows = measured_rows(TABLE, measured(rng, COLUMNS[:3]))
    assert list(rows[0]["cells"]) == list(COLUMNS[:3])


def test_each_column_says_its_rule():
    rules = {"DF": "oracle", "F2F": "transfer", "FSW": "transfer", "NT": "transfer"}
    made = measured(np.random.default_rng(7), COLUMNS, rule="transfer", rules=rules)
    cells = measured_rows(TABLE, made)[0]["cells"]
    assert {column: cells[column]["rule"] for column in COLUMNS} == rules
    assert cells["mean_all"]["rule"] == "oracle, transfer"
