"""Units of an experiment that ran on several machines, and their one table."""

import dataclasses
import gzip
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from configs.paper import orderings, question, scaling
from rffr_jax.errors import UserError
from rffr_jax.evaluation.metrics import auc
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import select_method_and_reals
from rffr_jax.examples import Example
from rffr_jax.experiments import experiment
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.claims import check_claims
from rffr_jax.experiments.kept_units import joined_reader, read_units, write_units
from rffr_jax.experiments.run_result import Claim, RunResult, TableSpec

METHODS = {"swap": "swap", "warp": "warp"}
ROWS = ("RFFR", "zero")
TABLE = TableSpec(
    name="orderings",
    variant="64",
    title="",
    columns=tuple(METHODS),
    seen={"swap": ("swap",)},
    note="",
    claims=(Claim("RFFR beats zero", "RFFR", "zero"),),
)


class Machine:
    """Random detectors of some units; people of the test are shared by units."""

    def __init__(self, units: tuple[int, ...], rule: str = "last"):
        self.scores, self.results = {}, []
        for unit in units:
            rng = np.random.default_rng(unit)
            people = rng.choice(12, 6, replace=False)
            examples = [
                Example(f"{m}/{p}", "", int(m != "real"), "faces", m, "", 0, "", f"Person {p}")
                for m in ("real", *METHODS)
                for p in people
            ]
            labels = np.array([e.label for e in examples])
            for number, row in enumerate(ROWS):
                scores = rng.random(len(labels)) + (0.3 - 0.2 * number) * labels
                self._add(unit, row, rule, Predictions(examples, scores))

    def _add(self, unit: int, row: str, rule: str, scores: Predictions):
        parts = {c: select_method_and_reals(scores, m) for c, m in METHODS.items()}
        aucs = {c: auc(part.labels, part.scores) for c, part in parts.items()}
        run = RunResult(
            trained_on="swap",
            method=row,
            rule=rule,
            seed=unit,
            mae_seed=unit,
            aucs=aucs,
            intervals=dict.fromkeys(METHODS, (0.2, 0.9)),
            rules=dict.fromkeys(METHODS, rule),
            training=pathlib.Path("x"),
            evaluations={},
            autoencoder=pathlib.Path("x"),
            seconds=3.0,
        )
        self.results.append(run)
        self.scores[id(run)] = parts

    def read(self, run, column):
        return self.scores[id(run)][column]


def judge(machine, config, units=""):
    kept = read_units(units, config, {run.seed for run in machine.results})
    everyone = [*machine.results, *kept.results]
    reader = joined_reader(kept, machine.read)
    return everyone, check_claims(TABLE, everyone, AucReplicates(everyone, reader))


def test_units_of_other_machines_join_as_if_they_had_run_here(tmp_path):
    config = orderings.get_config("64")
    for name, units in (("a", (0, 1)), ("b", (2, 3))):
        there = Machine(units)
        write_units(tmp_path / name, config, there.results, there.read)
    joined, claims = judge(Machine((4, 5)), config, f"{tmp_path}/a,{tmp_path}/b")
    together, expected = judge(Machine((4, 5, 0, 1, 2, 3)), config)
    assert [run.aucs for run in joined] == [run.aucs for run in together]
    assert [run.seconds for run in joined] == [3.0] * 12
    for claim, other in zip(claims, expected, strict=True):
        np.testing.assert_allclose(claim.pop("ci95"), other.pop("ci95"), atol=1e-12)
        assert claim == other
    assert claims[0]["maes"] == claims[0]["seeds"] == 6


def test_files_name_nobody_and_keep_one_score_an_image(tmp_path):
    there = Machine((0,))
    write_units(tmp_path, orderings.get_config("64"), there.results, there.read)
    text = gzip.decompress((tmp_path / "unit_0.csv.gz").read_bytes()).decode()
    assert "Person" not in text
    assert len(text.splitlines()) == 1 + 3 * 6
    oracle = Machine((1,), rule="oracle")
    write_units(tmp_path, orderings.get_config("64"), oracle.results, oracle.read)
    assert not (tmp_path / "unit_1.csv.gz").exists()


def test_units_that_do_not_fit_are_refused(tmp_path):
    config, here = orderings.get_config("64"), Machine((0,))
    write_units(tmp_path / "a", config, here.results, here.read)
    with pytest.raises(UserError, match=r"unit 0 is in .* and in this machine"):
        read_units(f"{tmp_path}/a", config, (0,))
    with pytest.raises(UserError, match=r"unit 0 is in .*a/unit_0\.json and in .*a/unit_0\.json"):
        read_units(f"{tmp_path}/a,{tmp_path}/a", config, ())
    with pytest.raises(UserError, match=r"units=gone holds no unit_N\.json"):
        read_units("gone", config, ())
    other = orderings.get_config("64")
    other.detect.steps = 7
    with pytest.raises(UserError, match=r"\(detect\.steps is 3000 there and 7 here\)"):
        read_units(f"{tmp_path}/a", other, ())
    other = orderings.get_config("64")
    other.data.test = ("csv:others/{seed}.csv",)
    with pytest.raises(UserError, match=r"\(columns\.\w+\.test is .*others/\{seed\}"):
        read_units(f"{tmp_path}/a", other, ())
    other = orderings.get_config("64")
    other.evaluate.frames_per_video = 1
    with pytest.raises(UserError, match=r"\(evaluate\.frames_per_video is 0 there and 1 here\)"):
        read_units(f"{tmp_path}/a", other, ())
    facts = json.loads((tmp_path / "a/unit_0.json").read_text())
    assert not any("unit0" in str(value) for value in facts["settings"].values())


def test_an_entry_that_no_row_reads_may_differ_or_be_missing(tmp_path):
    config, there = orderings.get_config("64"), Machine((0,))
    unread, row = "detect.backbone.image_size", config.rows["05_ours"].detect
    write_units(tmp_path, config, there.results, there.read)
    facts = json.loads((tmp_path / "unit_0.json").read_text())
    del facts["settings"][unread]
    (tmp_path / "unit_0.json").write_text(json.dumps(facts))
    config.detect.backbone.image_size = 98
    assert read_units(str(tmp_path), config, ()).results
    row.backbone = {"weights": "weights/dinov2"}
    # It counts where one row reads it.
    facts["settings"]["rows.05_ours.detect.backbone.weights"] = "weights/dinov2"
    (tmp_path / "unit_0.json").write_text(json.dumps(facts))
    with pytest.raises(
        UserError, match=r"\(detect\.backbone\.image_size is None there and 98 here"
    ):
        read_units(str(tmp_path), config, ())


def test_every_column_keeps_its_own_reals_and_sure_scores_stay_apart(tmp_path):
    config, here = orderings.get_config("64"), Machine((0,))
    margins = np.linspace(20.0, 33.0, 3 * 6)
    images = dict.fromkeys(e for m in METHODS for e in here.read(here.results[0], m).examples)
    sure = dict(zip(images, 1 / (1 + np.exp(-margins)), strict=True))
    for run in here.results:
        for column, part in here.scores[id(run)].items():
            own = part.examples[1:] if column == "swap" else part.examples  # the first is real
            part = Predictions(own, np.array([sure[e] for e in own]))
            here.scores[id(run)][column] = part
            run.aucs[column] = auc(part.labels, part.scores)
    write_units(tmp_path, config, here.results, here.read)
    kept = read_units(str(tmp_path), config, ())
    for run, there in zip(here.results, kept.results, strict=True):
        for column in METHODS:
            before, after = here.read(run, column), joined_reader(kept, here.read)(there, column)
            assert len(after.scores) == len(before.scores)
            assert auc(after.labels, after.scores) == auc(before.labels, before.scores)
            np.testing.assert_allclose(np.sort(after.scores), np.sort(before.scores), rtol=1e-8)


SHORT = b"dataset,method\nfaces"
DAMAGES = {
    "empty file": b"",
    "no gzip": SHORT,
    "cut off": gzip.compress(99 * SHORT)[:-12],
    "empty table": gzip.compress(b""),
    "too few columns": gzip.compress(SHORT),
    "no images": gzip.compress(b"dataset,method,label,person,columns\n"),
    "older": gzip.compress(b'dataset,method,label,person,"[]"\nfaces,real,0,x,0.5\n'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_scores_of_a_unit_are_refused(tmp_path, damage):
    config, here = orderings.get_config("64"), Machine((0,))
    write_units(tmp_path, config, here.results, here.read)
    (tmp_path / "unit_0.csv.gz").write_bytes(DAMAGES[damage])
    with pytest.raises(UserError, match=r"unit_0\.json and its \.csv\.gz cannot be read"):
        read_units(str(tmp_path), config, ())


@pytest.mark.parametrize("damage", ["settings", "runs", "seed", "column"])
def test_damaged_facts_of_a_unit_are_refused(tmp_path, damage):
    config, here = orderings.get_config("64"), Machine((0,))
    write_units(tmp_path, config, here.results, here.read)
    file = tmp_path / "unit_0.json"
    facts = json.loads(file.read_text())
    if damage in facts:
        del facts[damage]
    elif damage == "seed":
        del next(iter(facts["runs"].values()))["seed"]
    else:
        facts["runs"]['["swap", "not there", "last"]'] = next(iter(facts["runs"].values()))
    file.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"unit_0\.json and its \.csv\.gz cannot be read"):
        read_units(str(tmp_path), config, ())


def test_units_are_looked_for_before_anything_is_trained(tmp_path):
    config = orderings.get_config("smoke")
    config.units = "gone"
    with pytest.raises(UserError, match=r"units=gone holds no unit_N\.json"):
        experiment.list_experiment(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("paper", "ours", "trained_on", "claim"),
    [
        (orderings, "RFFR", "mouth_render", "RFFR beats high-pass"),
        (question, "backbone + RFFR", "self-blended", "RFFR adds to the backbone"),
        (scaling, "MAE of 5,290 people", "autoencoder_swap", "seven times the people help"),
    ],
    ids=["orderings", "question", "scaling"],
)
def test_units_of_the_repository_alone_make_the_table_of_today(
    tmp_path, capsys, paper, ours, trained_on, claim
):
    """A new entry of a config belongs into their settings, with the value that they had."""
    config = paper.get_config("64")
    config.seeds, config.units = (), f"docs/results/{config.name}-64"
    kept = read_units(config.units, config, own_seeds=())
    seeds = {run.seed for run in kept.results}
    assert seeds == ({3, 4} if paper is scaling else set(range(len(seeds))))
    for run in kept.results:
        for column, expected in run.aucs.items():
            scores = kept.of(run)
            assert scores is not None
            found = scores[column]
            assert auc(found.labels, found.scores) == pytest.approx(expected, abs=1e-6)
    experiment.run(config, tmp_path / "joined")
    table = json.loads((tmp_path / f"joined/{config.name}.json").read_text())
    assert table["seeds"] == sorted(seeds)

    def is_shown(row: Mapping[str, Any]) -> bool:
        return (row["method"], row["trained_on"], row["rule"]) == (ours, trained_on, "last")

    (shown,) = (row for row in table["rows"] if is_shown(row))
    here = [r.aucs["landmark_swap"] for r in kept.results if is_shown(dataclasses.asdict(r))]
    assert shown["cells"]["landmark_swap"]["auc"] == pytest.approx(np.mean(here))
    assert claim in capsys.readouterr().out
    assert not [*(tmp_path / "joined").glob("seed_*"), *(tmp_path / "joined").glob("units")]
