"""Means, spreads and intervals of the cells of a table."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from rffr_jax.evaluation.bootstrap import logit_interval
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.run_result import TableSpec
from rffr_jax.experiments.summary import RunAuc, mean_interval, mean_run, measured_rows, summarise
from tests.experiments.measurements import made_up_scores, measured

COLUMNS = ("DF", "F2F", "FSW", "NT")
TABLE = TableSpec("table1", "synthetic", "t", COLUMNS, {"F2F": ("F2F",), "all": COLUMNS}, "")


def replicates(measured):
    return AucReplicates(measured, made_up_scores, replicates=200)


def rows_of(measured):
    return measured_rows(TABLE, measured, replicates(measured))


def bounds(made) -> tuple[float, float]:
    """The interval, which is there."""
    found, _ = mean_interval(made)
    assert found is not None
    return found


def runs(rng, seeds, maes, at=0.7):
    """Each run varies by 0.03 with the people of the test."""
    return [
        RunAuc(
            at + 0.01 * rng.normal(), at + 0.03 * rng.normal(size=200), (at - 0.1, at), seed, mae
        )
        for seed in seeds
        for mae in maes
    ]


@pytest.mark.parametrize(
    ("seeds", "maes", "given"),
    [
        (5, range(5), []),
        (5, (0, 1), ["these MAEs"]),
        (4, range(5), ["these seeds"]),
        (2, (3,), ["these MAEs", "these seeds"]),
        (5, (None,), []),
        (3, (None,), ["these seeds"]),
        (1, (None,), ["this training"]),
        (1, (4,), ["this training"]),
    ],
)
def test_an_interval_says_which_trainings_it_holds_fixed(seeds, maes, given):
    made = runs(np.random.default_rng(seeds), range(seeds), maes)
    low, high = bounds(made)
    assert mean_interval(made)[1] == given
    mean = float(np.mean([run.auc for run in made]))
    assert low < mean < high
    if "these seeds" in given or "this training" in given:  # only the people of the test vary
        drawn = np.mean([run.redrawn for run in made], axis=0)
        if "these MAEs" in given or len(maes) == 1:
            assert (low, high) == pytest.approx(logit_interval(mean, drawn))


def test_seeds_with_a_mae_of_their_own_are_one_factor():
    rng = np.random.default_rng(1)
    own = [run for seed in range(5) for run in runs(rng, [seed], [seed])]
    assert mean_interval(own)[1] == []
    assert mean_interval(own[:4])[1] == ["these MAEs"]


def test_the_interval_of_a_mean_over_columns_is_that_of_its_replicates():
    rng = np.random.default_rng(2)
    columns = [runs(rng, [0], [0])[0] for _ in range(4)]
    low, high = bounds([mean_run(columns)])
    mean = float(np.mean([run.auc for run in columns]))
    drawn = np.mean([run.redrawn for run in columns], axis=0)
    assert (low, high) == pytest.approx(logit_interval(mean, drawn))
    assert high - low < 0.7 * np.ptp(np.array(bounds(columns[:1])))


def test_where_nothing_varies_the_interval_is_that_of_the_runs():
    perfect = [RunAuc(1.0, np.ones(200), (0.9 + 0.01 * n, 1.0), n) for n in range(5)]
    assert bounds(perfect) == pytest.approx((0.92, 1.0))
    perfect[1] = dataclasses.replace(perfect[1], interval=None)
    assert mean_interval(perfect)[0] is None


def test_one_person_gives_no_interval():
    made = runs(np.random.default_rng(2), range(3), [0])
    made[1] = dataclasses.replace(made[1], interval=None)
    assert mean_interval(made)[0] is None
    assert mean_run(made).interval is None


def test_a_cell_keeps_its_runs():
    made = runs(np.random.default_rng(3), range(4), (7, 9))
    cell = summarise(made)
    assert cell["sd"] == pytest.approx(stats.tstd([run.auc for run in made]))
    assert [(r["seed"], r["mae_seed"], r["auc"]) for r in cell["runs"]] == [
        (run.seed, run.mae_seed, run.auc) for run in made
    ]
    assert cell["auc"] == pytest.approx(np.mean([run.auc for run in made]))


def test_rows_and_means_are_those_of_a_loop():
    rng = np.random.default_rng(5)
    ours = measured(rng, COLUMNS)
    other = measured(rng, COLUMNS, method="ViT", maes=(None,), inference_seconds=0.5)
    every = measured(rng, COLUMNS, trained_on="all", seeds=(0,))
    rows = rows_of([*ours, *other, *every])
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
    rows = rows_of(measured(rng, COLUMNS[:3]))
    assert list(rows[0]["cells"]) == list(COLUMNS[:3])


def test_each_column_says_its_rule():
    rules = {"DF": "oracle", "F2F": "transfer", "FSW": "transfer", "NT": "transfer"}
    made = measured(np.random.default_rng(7), COLUMNS, rule="transfer", rules=rules)
    cells = rows_of(made)[0]["cells"]
    assert {column: cells[column]["rule"] for column in COLUMNS} == rules
    assert cells["mean_all"]["rule"] == "oracle, transfer"


def test_a_column_of_controls_is_part_of_no_mean():
    rng = np.random.default_rng(9)
    runs = measured(rng, COLUMNS)
    table = dataclasses.replace(TABLE, controls=("FSW",))
    (row,) = measured_rows(table, runs, replicates(runs))
    (plain,) = rows_of(runs)
    cells = row["cells"]
    assert cells["FSW"] == plain["cells"]["FSW"]
    for mean, columns in (("mean_all", ("DF", "F2F", "NT")), ("mean_unseen", ("DF", "NT"))):
        expected = np.mean([run.aucs[column] for run in runs for column in columns])
        assert cells[mean]["auc"] == pytest.approx(expected)
