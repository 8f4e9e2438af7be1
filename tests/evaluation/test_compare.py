"""Differences between detectors on the same examples."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax import main
from rffr_jax.errors import UserError
from rffr_jax.evaluation.bootstrap import auc_interval
from rffr_jax.evaluation.paired_comparison import (
    MEAN,
    DetectorScores,
    compare,
    distinct_parts,
    holm,
    two_sided_p,
)
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example
from tests import jobs


def examples(clusters: int, each: int = 2, dataset: str = "d") -> list[Example]:
    """`each` frames of a real and of two fakes made of it, in every cluster."""
    return [
        Example(f"{m}/{c}/{f}", f"{m}/{c}/{f}", int(m != "real"), dataset, m, f"{m}{c}", f, f"v{c}")
        for m in ("real", "swap", "warp")
        for c in range(clusters)
        for f in range(each)
    ]


def scored(made: list[Example], strength: float, seed: int, shared_seed: int = 0) -> DetectorScores:
    """Scores of which most of the noise is the same for all runs."""
    shared = np.random.default_rng(shared_seed).normal(size=len(made))
    own = np.random.default_rng(1000 + seed).normal(size=len(made))
    labels = np.array([example.label for example in made])
    return DetectorScores(Predictions(made, shared + 0.3 * own + strength * labels))


def test_the_bootstrap_is_that_of_a_loop():
    """Every replicate by hand: clusters drawn by name, AUC of the copies by scikit-learn."""
    made = examples(12)
    runs = {"a": scored(made, 1.0, 1), "b": scored(made, 0.6, 2)}
    entries = compare(runs, replicates=120, seed=5)
    assert [entry["fakes"] for entry in entries] == ["swap", "warp", MEAN]

    ordered = {name: run.predictions.ordered() for name, run in runs.items()}
    order = ordered["a"].examples
    names = sorted({example.source for example in order})
    rng = np.random.default_rng(np.random.SeedSequence(5))
    drawn = np.concatenate([rng.integers(12, size=(n, 12)) for n in (50, 50, 20)])
    differences = {"swap": [], "warp": [], MEAN: []}
    for draw in drawn:
        aucs = {}
        for method in ("swap", "warp"):
            rows = [
                row
                for number in draw
                for row, example in enumerate(order)
                if example.source == names[number] and example.method in ("real", method)
            ]
            labels = [order[row].label for row in rows]
            for name in runs:
                aucs[name, method] = roc_auc_score(labels, ordered[name].scores[rows])
        for method in ("swap", "warp"):
            differences[method].append(aucs["a", method] - aucs["b", method])
        differences[MEAN].append((differences["swap"][-1] + differences["warp"][-1]) / 2)
    for entry in entries:
        own = np.array(differences[entry["fakes"]])
        np.testing.assert_allclose(entry["ci95"], np.percentile(own, [2.5, 97.5]), atol=1e-12)
        below, above = (own <= 1e-15).sum(), (own >= -1e-15).sum()
        assert entry["p"] == pytest.approx(min(1.0, 2 * (min(below, above) + 1) / 121))
    labels = np.array([e.label for e in order])
    rows = np.array([e.method != "warp" for e in order])
    expected = [roc_auc_score(labels[rows], ordered[n].scores[rows]) for n in "ab"]
    assert [entries[0]["auc_a"], entries[0]["auc_b"]] == pytest.approx(expected)
    assert entries[0]["difference"] == pytest.approx(expected[0] - expected[1])
    assert (entries[0]["n_real"], entries[0]["n_fake"], entries[0]["n_clusters"]) == (24, 24, 12)
    assert entries[2]["n_fake"] == 48


def test_pairing_sees_what_two_intervals_cannot():
    made = examples(60)
    runs = {"good": scored(made, 1.2, 1), "better": scored(made, 1.6, 2)}
    entry = compare(runs, replicates=500)[-1]
    assert entry["verdict"] == "better"
    assert entry["ci95"][1] < 0
    lows, highs = zip(
        *(
            auc_interval(p.labels, p.scores, [e.cluster for e in p.examples], replicates=500)
            for p in (run.predictions for run in runs.values())
        ),
        strict=True,
    )
    assert max(lows) < min(highs)


def test_no_difference_is_unresolved_about_as_often_as_promised():
    made = examples(25, each=1)
    verdicts = []
    for seed in range(40):
        runs = {"a": scored(made, 0.8, 2 * seed, seed), "b": scored(made, 0.8, 2 * seed + 1, seed)}
        verdicts += [entry["verdict"] for entry in compare(runs, replicates=300)]
    assert verdicts.count("unresolved") >= 0.93 * len(verdicts)


def test_a_run_beside_itself_or_in_one_cluster_is_unresolved():
    made = examples(10)
    one = scored(made, 1.0, 1)
    for entry in compare({"a": one, "b": one}, replicates=100):
        assert (entry["difference"], entry["ci95"], entry["p"]) == (0.0, [0.0, 0.0], 1.0)
        assert entry["verdict"] == "unresolved"
    together = [dataclasses.replace(example, group="g") for example in made]
    runs = {"a": scored(together, 5.0, 1), "b": scored(together, 0.0, 2)}
    for entry in compare(runs, replicates=100):
        assert (entry["ci95"], entry["verdict"], entry["n_clusters"]) == (None, "unresolved", 1)


def test_order_of_examples_and_pairs_is_free():
    made = examples(15)
    a, b = scored(made, 1.0, 1), scored(made, 0.2, 2)
    order = np.random.default_rng(3).permutation(len(made))
    moved = DetectorScores(Predictions([made[i] for i in order], b.predictions.scores[order]))
    entries = compare({"a": a, "b": b}, replicates=100)
    assert compare({"a": a, "b": moved}, replicates=100) == entries
    for entry, other in zip(entries, compare({"b": moved, "a": a}, replicates=100), strict=True):
        assert other["difference"] == -entry["difference"]
        np.testing.assert_allclose(other["ci95"], [-x for x in entry["ci95"][::-1]], atol=1e-12)
        assert other["verdict"] == entry["verdict"]


def test_holm_is_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random(7).tolist()
        ranked = sorted(p)
        expected = [
            min(1.0, max((7 - j) * ranked[j] for j in range(ranked.index(value) + 1)))
            for value in p
        ]
        assert holm(p) == pytest.approx(expected)
    assert two_sided_p(np.array([1.0, 2.0, 3.0, np.nan])) == 2 * 1 / 4


def test_many_pairs_need_more_to_be_resolved():
    made = examples(40)
    runs = {f"r{i}": scored(made, 1.0 + 0.15 * i, i) for i in range(5)}
    entries = compare(runs, replicates=400)
    assert len(entries) == 30
    assert all(entry["p_holm"] >= entry["p"] for entry in entries)
    lost = [
        entry
        for entry in entries
        if entry["verdict"] == "unresolved" and not entry["ci95"][0] <= 0 <= entry["ci95"][1]
    ]
    assert lost
    assert all(entry["p_holm"] > 0.05 for entry in lost)


def test_matched_scores_stand_for_their_method():
    made = examples(10)
    a, b = scored(made, 1.0, 1), scored(made, 0.0, 2)
    swap = [i for i, example in enumerate(made) if example.method != "warp"]
    own = Predictions([made[i] for i in swap], a.predictions.scores[swap])
    matched = DetectorScores(b.predictions, {("d", "swap"): own})
    swap_entry, warp_entry, _ = compare({"a": a, "b": matched}, replicates=50)
    assert swap_entry["difference"] == 0.0
    assert warp_entry["difference"] != 0.0


def test_other_examples_are_refused():
    made = examples(4)
    whole = scored(made, 1.0, 1)
    with pytest.raises(UserError, match="needs two runs or more, and 1 is named"):
        compare({"a": whole})
    with pytest.raises(UserError, match="of a are not in b, the first 'warp/3/1' of dataset 'd'"):
        compare({"a": whole, "b": scored(made[:-1], 1.0, 2)})
    with pytest.raises(UserError, match="1 of 24 examples of b are not in a"):
        compare({"a": scored(made[:-1], 1.0, 2), "b": whole})
    flipped = [dataclasses.replace(made[0], label=1, method="swap"), *made[1:]]
    with pytest.raises(UserError, match="'real/0/0' of dataset 'd' has label 0 in a and 1 in b"):
        compare({"a": whole, "b": scored(flipped, 1.0, 2)})
    unknown = [dataclasses.replace(example, source="") for example in made]
    compare({"a": whole, "b": scored(unknown, 1.0, 1)}, replicates=10)
    with pytest.raises(UserError, match="a and b share no example"):
        compare({"a": whole, "b": scored(examples(4, dataset="e"), 1.0, 1)})


def start(workdir, *flags):
    config = f"--config={jobs.CONFIGS}/compare.py"
    return main.run(["rffr_jax", config, f"--workdir={workdir}", *flags])


def test_the_job_reads_workdirs_and_tables(tmp_path, capsys):
    made = examples(20)
    for name, strength in (("one", 0.5), ("two", 2.0)):
        scored(made, strength, 1).predictions.write_csv(tmp_path / name / "predictions.csv")
        about = {"about": {"rule": "source", "checkpoint": "best:d"}}
        (tmp_path / name / "results.json").write_text(json.dumps(about))
    with (tmp_path / "other.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "dataset", "label", "score"))
        writer.writerows((e.id, e.dataset, e.label, 0.5) for e in made)
    runs = f"{tmp_path}/one,{tmp_path}/two,{tmp_path}/other.csv"
    flags = (f"--config.runs={runs}", "--config.replicates=400")
    assert start(tmp_path / "out", *flags) == 0
    table = json.loads((tmp_path / "out" / "compare.json").read_text())
    entries = table["comparisons"]
    assert len(entries) == 9
    assert entries[0]["verdict"] == f"{tmp_path}/two"
    assert entries[1]["auc_b"] == 0.5
    assert table["about"]["runs"][f"{tmp_path}/one"]["rule"] == "source"
    assert table["about"]["runs"][f"{tmp_path}/other.csv"]["rule"] is None
    text = (tmp_path / "out" / "compare.md").read_text()
    assert start(tmp_path / "few", flags[0], "--config.replicates=358") == 2
    assert not (tmp_path / "few").exists()
    said = capsys.readouterr()
    assert text.strip() in said.out
    assert "replicates=358 are too few to resolve any of 9 comparisons" in said.err
    assert text.count("\n| d ") == 9
    assert "one: checkpoint best:d, chosen by rule: source" in text
    assert "corrected for 9 comparisons (Holm)" in text


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("", "needs two runs or more, and 0"),
        ("{0}/one,{0}/one", "one twice"),
        ("{0}/one,{0}/none", "none does not exist; name workdirs of evaluate"),
        ("{0}/one,{0}/words.csv", "words.csv: no column label, score; a table of"),
        ("{0}/one,{0}/broken.csv", "broken.csv: line 2: score 'x' is no finite number"),
        ("{0}/one,{0}/three.csv", "three.csv: line 2: label 3; it must be 0 (real) or 1"),
        ("{0}/one,{0}/empty.csv", "empty.csv: no predictions in it"),
        ("{0}/one,{0}/short.csv", "short.csv: line 2 has not as many cells as the header"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, runs, message):
    scored(examples(3), 1.0, 1).predictions.write_csv(tmp_path / "one" / "predictions.csv")
    for name, line in (("broken", "a,d,1,x"), ("three", "a,d,3,1"), ("short", "a,d")):
        (tmp_path / f"{name}.csv").write_text(f"id,dataset,label,score\n{line}\n")
    (tmp_path / "words.csv").write_text("id,dataset\n")
    (tmp_path / "empty.csv").write_text("id,dataset,label,score\n")
    assert start(tmp_path / "out", f"--config.runs={runs.format(tmp_path)}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/a/scores.csv", "runs/b/scores.csv"], ["a", "b"]),
        (["/d/seed_0/x/last", "/d/seed_0/y/last", "/d/seed_1/x/last"],
         ["seed_0/x", "seed_0/y", "seed_1/x"]),
        (["a.csv", "b.csv"], ["a.csv", "b.csv"]),
        (["run", "run/b"], ["run", "b"]),
        (["same", "same"], ["same", "same"]),
    ],
)  # fmt: skip
def test_tables_name_what_differs(paths, expected):
    assert distinct_parts(paths) == expected
