"""The paper's orderings, judged on paired runs."""

import numpy as np
import pytest
from scipy import stats

from rffr_jax.experiments.claims import check_claims
from rffr_jax.experiments.run_result import Claim, TableSpec
from tests.experiments.measurements import measured

COLUMNS = ("DF", "F2F", "FSW")


def table(*claims: Claim) -> TableSpec:
    return TableSpec("t", "synthetic", "t", COLUMNS, {c: (c,) for c in COLUMNS}, "", claims)


def claim(better="Ours", worse="ViT", trained_on="F2F", column="") -> Claim:
    return Claim(f"{better} beats {worse}", better, worse, trained_on, column)


def test_the_difference_is_paired_by_seed_over_means_of_maes():
    rng = np.random.default_rng(0)
    seeds = (3, 5, 8, 9)
    ours = measured(rng, COLUMNS, seeds=seeds, at=0.71)
    vit = measured(rng, COLUMNS, method="ViT", seeds=seeds[::-1], maes=(None,))
    (entry,) = check_claims(table(claim()), [*vit, *ours])
    better, worse = [], []
    by_mae: dict[int | None, list[float]] = {0: [], 1: []}
    for seed in seeds:
        of_seed = {r.mae_seed: (r.aucs["DF"] + r.aucs["FSW"]) / 2 for r in ours if r.seed == seed}
        (other,) = ((r.aucs["DF"] + r.aucs["FSW"]) / 2 for r in vit if r.seed == seed)
        better.append(sum(of_seed.values()) / 2)
        worse.append(other)
        for mae, auc in of_seed.items():
            by_mae[mae].append(auc - other)
    expected = stats.ttest_rel(better, worse).confidence_interval(0.95)
    np.testing.assert_allclose(entry["ci95"], expected, atol=1e-12)
    assert entry["difference"] == pytest.approx(np.mean(better) - np.mean(worse))
    assert entry["seeds"] == 4
    assert {one["mae_seed"]: one["difference"] for one in entry["by_mae"]} == {
        mae: pytest.approx(np.mean(differences)) for mae, differences in by_mae.items()
    }


def test_verdicts():
    rng = np.random.default_rng(1)
    runs = [
        run
        for method, at in (("low", 0.4), ("high", 0.9))
        for run in measured(rng, COLUMNS, method=method, at=at)
    ]
    runs += measured(np.random.default_rng(2), COLUMNS, method="same a")
    runs += measured(np.random.default_rng(3), COLUMNS, method="same b")
    runs += measured(rng, COLUMNS, method="once", seeds=(0,), at=0.1)
    pairs = {
        ("high", "low"): "holds",
        ("low", "high"): "contradicted",
        ("same a", "same b"): "unresolved",
        ("high", "once"): "unresolved",
        ("high", "nobody"): "not measured",
    }
    entries = check_claims(table(*(claim(*pair) for pair in pairs)), runs)
    assert [entry["verdict"] for entry in entries] == list(pairs.values())
    assert entries[3]["ci95"] is None
    assert entries[3]["difference"] > 0.5


def test_every_training_and_rule_is_judged_and_their_mean():
    rng = np.random.default_rng(4)
    runs = [
        run
        for trained_on in ("DF", "FSW")
        for method in ("Ours", "ViT")
        for rule in ("last", "oracle")
        for run in measured(rng, COLUMNS, trained_on=trained_on, method=method, rule=rule)
    ]
    entries = check_claims(table(claim(trained_on="", column="F2F")), runs)
    assert [(entry["rule"], entry["trained_on"]) for entry in entries] == [
        (rule, trained_on) for rule in ("last", "oracle") for trained_on in ("DF", "FSW", "(mean)")
    ]
    for one, two, mean in (entries[:3], entries[3:]):
        assert mean["difference"] == pytest.approx((one["difference"] + two["difference"]) / 2)
        sides = {
            method: [
                np.mean(
                    [
                        run.aucs["F2F"]
                        for run in runs
                        if (run.method, run.rule, run.seed) == (method, mean["rule"], seed)
                    ]
                )
                for seed in (0, 1, 2)
            ]
            for method in ("Ours", "ViT")
        }
        expected = stats.ttest_rel(sides["Ours"], sides["ViT"]).confidence_interval(0.95)
        np.testing.assert_allclose(mean["ci95"], expected, atol=1e-12)


def test_only_maes_that_both_rows_have_are_listed():
    rng = np.random.default_rng(5)
    ours = measured(rng, COLUMNS, maes=(0, 1, 2))
    other = measured(rng, COLUMNS, method="ViT", maes=(1, 2, 3))
    (entry,) = check_claims(table(claim()), [*ours, *other])
    assert [one["mae_seed"] for one in entry["by_mae"]] == [1, 2]


def test_a_claim_about_unseen_fakes_needs_some():
    rng = np.random.default_rng(6)
    runs = [r for m in ("Ours", "ViT") for r in measured(rng, COLUMNS, trained_on="all", method=m)]
    made = TableSpec("t", "synthetic", "t", COLUMNS, {"all": COLUMNS}, "", (claim(trained_on=""),))
    (entry,) = check_claims(made, runs)
    assert (entry["verdict"], entry["difference"]) == ("not measured", None)
