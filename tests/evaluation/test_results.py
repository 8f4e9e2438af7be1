import dataclasses
import json
import os
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.calibration import Platt
from rffr_jax.evaluation.operating_point import OperatingPoint
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.results import overlap_with_training, results_table
from rffr_jax.evaluation.results_text import format_table
from rffr_jax.evaluation.threshold import Threshold
from rffr_jax.examples import Example
from rffr_jax.runs.atomic_files import write_json

WILSON_0_OF_1 = 0.7934507  # z^2 / (1 + z^2)
DATASET = {"pooled", "methods", "mean_all", "mean_unseen", "reliability", "groups"}
ENTRY = {
    *("auc", "auc_ci95", "ap", "eer", "accuracy", "tpr_at_fpr_1e-2", "video_auc"),
    *("single_frame_auc", "not_reported"),
    *("tpr_at_fpr_1e-3", "at_threshold", "video_at_threshold"),
    *("n_real", "n_fake", "n_bad"),
}


def example(dataset: str, method: str, number: int) -> Example:
    id = f"{method}/{number:03}"
    label = int(method != "real")
    return Example(id, id, label, dataset, method, f"v{number}", 0, f"v{number}")


def a_set(dataset: str, methods: tuple[str, ...], count: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    examples = [example(dataset, m, i) for m in ("real", *methods) for i in range(count)]
    scores = np.array([rng.beta(2 + e.label + len(e.method) % 3, 3) for e in examples])
    return Predictions(examples, scores)


def table_of(predictions: Predictions, trained=("aa",), **more):
    about = {"rule": "last", "checkpoint": "step 100", "trained_methods": list(trained)}
    return results_table(predictions, about, **more)


@pytest.fixture(scope="module")
def two_sets() -> Predictions:
    return concatenate([a_set("x", ("aa", "b", "cccc"), 40, 0), a_set("y", ("b", "aa"), 30, 1)])


@pytest.fixture(scope="module")
def table(two_sets):
    return table_of(two_sets)


def test_each_method_is_measured_against_all_reals(two_sets, table):
    for name, methods in (("x", ("aa", "b", "cccc")), ("y", ("aa", "b"))):
        chosen = [
            (e, score)
            for e, score in zip(two_sets.examples, two_sets.scores, strict=True)
            if e.dataset == name
        ]
        for method in methods:
            pairs = [(e.label, s) for e, s in chosen if e.method in ("real", method)]
            labels, scores = zip(*pairs, strict=True)
            entry = table[name]["methods"][method]
            assert entry["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
            assert entry["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
            assert entry["n_real"] == entry["n_fake"] == len(pairs) // 2
            assert entry["auc_ci95"][0] < entry["auc"] < entry["auc_ci95"][1]
        labels, scores = zip(*((e.label, s) for e, s in chosen), strict=True)
        assert table[name]["pooled"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
        assert table[name]["pooled"]["n_fake"] == sum(labels)


def test_means_over_all_and_over_unseen_methods(table):
    aucs = {method: entry["auc"] for method, entry in table["x"]["methods"].items()}
    assert table["x"]["mean_all"] == pytest.approx(sum(aucs.values()) / 3)
    assert table["x"]["mean_unseen"] == pytest.approx((aucs["b"] + aucs["cccc"]) / 2)
    assert table["y"]["mean_unseen"] == table["y"]["methods"]["b"]["auc"]


def test_without_unseen_methods_there_is_no_mean_of_them():
    table = table_of(a_set("x", ("aa",), 10, 0), trained=("aa", "z"))
    assert table["x"]["mean_unseen"] is None


def test_order_and_batches_change_nothing(two_sets, table):
    order = np.random.default_rng(0).permutation(len(two_sets.examples))
    pieces = [
        Predictions([two_sets.examples[i] for i in part], two_sets.scores[part])
        for part in np.array_split(order, 7)
    ]
    shuffled = table_of(concatenate(pieces))
    assert json.dumps(shuffled) == json.dumps(table)


def test_datasets_do_not_touch_each_other(two_sets, table):
    alone = table_of(two_sets.by_dataset()["y"])
    assert alone["y"] == table["y"]


def test_bad_files_are_counted_and_named():
    good = a_set("x", ("aa", "b"), 10, 0)
    bad = {
        example("x", "real", 90): "truncated",
        example("x", "aa", 91): "zero bytes",
        example("x", "aa", 92): "zero bytes",
    }
    table = table_of(Predictions(good.examples, good.scores, bad))
    assert table["x"]["pooled"]["n_bad"] == 3
    assert table["x"]["methods"]["aa"]["n_bad"] == 3
    assert table["x"]["methods"]["b"]["n_bad"] == 1
    assert table["x"]["pooled"]["n_real"] == 10
    assert table["about"]["bad"]["x"]["real/090"] == "truncated"
    assert "left out of 'x': real/090: truncated" in format_table(table)


def test_one_class_only_is_a_users_mistake():
    reals = Predictions([example("ff", "real", 1)], np.zeros(1))
    with pytest.raises(UserError, match="dataset 'ff' has no usable fake image"):
        table_of(concatenate([a_set("x", ("aa",), 5, 0), reals]))
    only_bad = Predictions([], np.zeros(0), {example("ff", "real", 1): "truncated"})
    with pytest.raises(UserError, match="'ff' has no usable real and no fake image"):
        table_of(only_bad)


def test_nothing_scored_is_a_users_mistake():
    with pytest.raises(UserError, match="no image was scored"):
        table_of(Predictions([], np.zeros(0)))


def test_the_reserved_name_is_refused():
    with pytest.raises(UserError, match="cannot be named 'about'"):
        table_of(a_set("about", ("aa",), 5, 0))


def test_json_comes_back_equal_and_whole(tmp_path, table):
    write_json(tmp_path / "new" / "results.json", table)
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == table
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "new" / "results.json", {"x": float("nan")})
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == table
    assert os.listdir(tmp_path / "new") == ["results.json"]


def test_text_is_aligned_and_says_the_rule(two_sets):
    text = format_table(table_of(two_sets, warnings=["seen before"]))
    lines = text.splitlines()
    width = len(lines[0])
    entries = [line for line in lines if re.search(r"\[[\d.]+, [\d.]+\]", line)]
    assert len(entries) == 7
    assert {len(line) for line in entries} == {width}
    assert len({line.index("[") for line in entries}) <= 2
    assert sum(" aa *" in line for line in lines) == 2
    assert "chosen by rule: last" in text
    assert "warning: seen before" in text
    assert all(line == line.rstrip() and "\t" not in line for line in lines)


def test_text_shows_the_numbers(table):
    line = next(line for line in format_table(table).splitlines() if "cccc" in line)
    entry = table["x"]["methods"]["cccc"]
    low, high = entry["auc_ci95"]
    shown = line.split("cccc")[1].replace("[", "").replace("]", "").replace(",", "").split()
    expected = [entry["auc"], low, high, entry["ap"], entry["eer"], entry["accuracy"]]
    expected += [entry["tpr_at_fpr_1e-2"], entry["video_auc"]]
    texts = ["-" if value is None else f"{100 * value:.1f}" for value in expected]
    assert shown == [*texts, "40", "40", "0"]


def test_one_cluster_shows_no_interval():
    examples = [
        Example(str(i), "", i % 2, "x", "m" if i % 2 else "real", "v", i, "v") for i in range(4)
    ]
    table = table_of(Predictions(examples, np.array([0.1, 0.2, 0.3, 0.4])))
    assert table["x"]["pooled"]["auc_ci95"] is None
    assert re.search(r"75\.0 +- ", format_table(table))


def trained_on(*sources):
    return {"detector": Origins(frozenset(sources))}


def test_originals_seen_in_training_are_named():
    fake = Example("f", "f", 1, "x", "aa", "v1_v2", 0, "v1")
    test = [example("x", "real", 7), fake, example("y", "real", 7), example("x", "real", 8)]
    trained = trained_on(("x", "v7"), ("x", "v1"), ("x", "v99"), ("z", "v7"))
    (warning,) = overlap_with_training(test, trained)
    assert "dataset 'x': 2 of 3" in warning
    assert warning.endswith("seen in training (detector: 2): v1, v7")


def test_each_model_that_saw_them_is_named():
    test = [example("x", "real", i) for i in range(4)]
    trained = {
        "detector": Origins(frozenset([("x", "v0"), ("x", "v1")])),
        "MAE": Origins(frozenset([("x", "v1"), ("x", "v2"), ("y", "v3")])),
    }
    (warning,) = overlap_with_training(test, trained)
    assert "3 of 4" in warning
    assert warning.endswith("(detector: 2, MAE: 2): v0, v1, v2")


def test_a_file_is_known_under_any_name(tmp_path):
    file = str(tmp_path / "a.png")
    seen = Origins.from_examples([Example("a.png", file, 0, "train", "real", "a", 0, "a")])
    test = [Example("b", file, 0, "test", "real", "b", 0, "b"), example("test", "real", 1)]
    (warning,) = overlap_with_training(test, {"detector": seen})
    assert warning.startswith("dataset 'test': 1 of 2 originals")
    assert warning.endswith(": b")


def test_no_overlap_no_warning():
    assert overlap_with_training([example("x", "real", 7)], trained_on(("y", "v7"))) == []


def test_many_overlaps_are_one_line():
    test = [example("x", "real", i) for i in range(500)]
    (warning,) = overlap_with_training(test, trained_on(*(("x", f"v{i}") for i in range(500))))
    assert "500 of 500" in warning
    assert "and 480 more" in warning
    assert "\n" not in warning


def test_decisions_are_counted_by_hand():
    rng = np.random.default_rng(4)
    part = a_set("x", ("aa", "b"), 50, 4)
    groups = rng.choice(["left", "right", ""], size=150)
    examples = [
        dataclasses.replace(e, group=str(g)) for e, g in zip(part.examples, groups, strict=True)
    ]
    part = Predictions(examples, part.scores)
    point = OperatingPoint(Threshold(0.6, calibration=Platt(0.5, 0.2)))
    table = table_of(part, point=point, prevalence=0.1)
    rows = list(zip(examples, part.scores, strict=True))

    def share(chosen):
        flagged = [score > 0.6 for example, score in rows if chosen(example)]
        return sum(flagged) / len(flagged)

    fpr = share(lambda e: e.label == 0)
    for method in ("aa", "b"):
        tpr = share(lambda e, m=method: e.method == m)
        at = table["x"]["methods"][method]["at_threshold"]
        assert (at["fpr"], at["tpr"]) == pytest.approx((fpr, tpr))
        assert at["ppv"] == pytest.approx(0.1 * tpr / (0.1 * tpr + 0.9 * fpr))
    assert set(table["x"]["groups"]) == {"left", "right"}
    for group, entry in table["x"]["groups"].items():
        reals = [e for e, _ in rows if e.group == group and e.label == 0]
        assert entry["n_real"] == len(reals)
        assert entry["fpr"] == pytest.approx(share(lambda e, g=group: e.group == g and not e.label))
        assert entry["tpr"] == pytest.approx(share(lambda e, g=group: e.group == g and e.label))
    text = format_table(table)
    worst = max(("left", "right"), key=lambda g: table["x"]["groups"][g]["fpr"])
    assert f"FPR by group, the highest: {worst} " in text
    assert "threshold 0.6, which nothing chose" in text
    found = table["x"]["reliability"]
    assert sum(bin["n"] for bin in found["bins"]) == 150
    assert found["ece"] != found["ece_calibrated"]


def test_videos_of_several_frames_are_measured_at_their_own_threshold():
    rng = np.random.default_rng(2)
    examples = [
        Example(f"{m}/{v}/{f}", "", int(m != "real"), "x", m, f"{m}{v}", f, f"{v}")
        for m in ("real", "aa", "b")
        for v in range(12)
        for f in range(1 if v < 2 else 4)
    ]
    scores = rng.beta(2 + np.array([e.label for e in examples]), 3)
    part = Predictions(examples, scores)
    how = VideoScore("top_k", 2, 4)
    point = OperatingPoint(Threshold(0.9), Threshold(0.6, 0.1, 20, 20, 0.8, how))
    table = table_of(part, point=point, prevalence=0.1)
    found = table["x"]["methods"]["aa"]["video_at_threshold"]
    means = {"real": [], "aa": []}
    for method, values in means.items():
        for video in range(2, 12):
            own = [
                s for e, s in zip(examples, scores, strict=True) if e.video == f"{method}{video}"
            ]
            values.append(np.mean(sorted(own)[-2:]))
    fpr, tpr = (float(np.mean(np.array(values) > 0.6)) for values in means.values())
    assert 0 < fpr < tpr
    assert (found["fpr"], found["tpr"]) == (fpr, tpr)
    assert found["ppv"] == pytest.approx(0.1 * tpr / (0.1 * tpr + 0.9 * fpr))
    assert (found["n_real"], found["n_fake"]) == (10, 10)
    assert table["x"]["pooled"]["video_at_threshold"]["n_fake"] == 20
    text = format_table(table)
    assert "videos of several frames, at their threshold" in text
    assert f"{100 * fpr:.1f}  {100 * tpr:.1f}" in text

    one_frame = Predictions(
        [e for e in examples if e.frame == 0], scores[[e.frame == 0 for e in examples]]
    )
    for other in (table_of(one_frame, point=point), table_of(part)):
        assert other["x"]["pooled"]["video_at_threshold"] is None
        assert "videos of several" not in format_table(other)


def test_no_decision_without_what_it_needs():
    part = Predictions(
        [example("x", "real", 1), dataclasses.replace(example("x", "aa", 1), group="g")],
        np.array([0.2, 0.3]),
    )
    table = table_of(part)
    assert table["x"]["pooled"]["at_threshold"] == {
        **{"fpr": 0.0, "fpr_high": pytest.approx(WILSON_0_OF_1), "tpr": 0.0},
        **{"ppv": None, "ppv_low": None},
    }
    group = {"n_real": 0, "n_fake": 1, "fpr": None, "fpr_high": None, "tpr": 0.0}
    assert table["x"]["groups"] == {"g": group}
    assert table["x"]["reliability"]["ece_calibrated"] is None
    assert "FPR by group" not in format_table(table)


@pytest.mark.parametrize(
    ("reals", "missing"),
    [(99, ["tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3"]), (100, ["tpr_at_fpr_1e-3"]), (1000, [])],
)
def test_a_rate_that_too_few_reals_can_show_is_not_reported(reals, missing):
    examples = [example("x", "real", i) for i in range(reals)] + [example("x", "aa", 0)]
    table = table_of(Predictions(examples, np.linspace(0, 1, reals + 1)))
    entry = table["x"]["pooled"]
    assert [
        name for name in ("tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3") if entry[name] is None
    ] == missing
    assert list(entry["not_reported"]) == missing
    needed = f"needs 1000 reals, and there are {reals}"
    assert (f"x: tpr_at_fpr_1e-3 is not reported: {needed}" in format_table(table)) == bool(missing)


def test_scores_beyond_0_and_1_have_no_decisions():
    part = a_set("x", ("aa",), 40, 0)
    table = table_of(Predictions(part.examples, 10 * part.scores - 5), trained=())
    own = table_of(part, trained=())
    for name in ("auc", "auc_ci95", "ap", "eer"):
        assert table["x"]["pooled"][name] == own["x"]["pooled"][name]
    assert table["x"]["pooled"]["accuracy"] is table["x"]["pooled"]["at_threshold"] is None
    assert table["x"]["reliability"] is None
    assert "accuracy is not reported: scores lie beyond [0, 1]" in format_table(table)


def test_constant_scores_are_named():
    part = a_set("x", ("aa",), 40, 0)
    rng = np.random.default_rng(0)
    equal = np.where(np.arange(80) < 60, 0.5, part.scores)
    near = 0.7 + 0.001 * rng.random(80)
    for scores, said in (
        (equal, "60 of 80 scores are 0.5"),
        (near, "90% of 80 scores lie from 0.700"),
        (np.full(80, 0.25), "80 of 80 scores are 0.25"),
    ):
        table = table_of(Predictions(part.examples, scores))
        (warning,) = table["about"]["warnings"]
        assert warning.startswith(f"dataset 'x': {said}")
        assert f"warning: {warning}" in format_table(table)
    assert table_of(part)["about"]["warnings"] == []


def test_images_of_which_nothing_says_on_what_they_depend_are_counted():
    part = a_set("x", ("aa",), 10, 0)
    unknown = [dataclasses.replace(e, source="", video=e.id) for e in part.examples[:5]]
    table = table_of(Predictions([*unknown, *part.examples[5:]], part.scores))
    (warning,) = table["about"]["warnings"]
    assert warning.startswith("5 of 20 images name no source, group or video")
