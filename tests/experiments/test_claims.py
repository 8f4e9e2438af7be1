"""The paper's orderings, judged over the people of the test and the trainings."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax.experiments import claims
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.run_result import Claim, TableSpec
from tests.experiments.measurements import made_up_scores, measured

COLUMNS = ("DF", "F2F", "FSW")
FIVE = (0, 1, 2, 3, 4)


def table(*claims: Claim) -> TableSpec:
    return TableSpec("t", "synthetic", "t", COLUMNS, {c: (c,) for c in COLUMNS}, "", claims)


def check_claims(made, runs, scores=made_up_scores):
    return claims.check_claims(made, runs, AucReplicates(runs, scores, replicates=200))


def claim(better="Ours", worse="ViT", trained_on="F2F", column="") -> Claim:
    return Claim(f"{better} beats {worse}", better, worse, trained_on, column)


def auc(run, column):
    scores = made_up_scores(run, column)
    return roc_auc_score(scores.labels, scores.scores)


def test_auc_is_taken_within_a_training_then_averaged():
    rng = np.random.default_rng(0)
    seeds = (3, 5, 8, 9)
    ours = measured(rng, COLUMNS, seeds=seeds, at=0.71)
    vit = measured(rng, COLUMNS, method="ViT", seeds=seeds[::-1], maes=(None,))
    (entry,) = check_claims(table(claim()), [*vit, *ours])
    by_mae: dict[int | None, list[float]] = {0: [], 1: []}
    for run in ours:
        (rival,) = (other for other in vit if other.seed == run.seed)
        means = [(auc(one, "DF") + auc(one, "FSW")) / 2 for one in (run, rival)]
        by_mae[run.mae_seed].append(means[0] - means[1])
    assert entry["difference"] == pytest.approx(np.mean(list(by_mae.values())))
    assert (entry["seeds"], entry["maes"]) == (4, 2)
    assert {one["mae_seed"]: one["difference"] for one in entry["by_mae"]} == {
        mae: pytest.approx(np.mean(differences)) for mae, differences in by_mae.items()
    }


def verdict_of(better, worse, **changes):
    made = dataclasses.replace(claim("a", "b"), **changes)
    (entry,) = check_claims(table(made), [*better, *worse])
    return entry["verdict"]


def test_an_ordering_holds_only_over_five_trainings():
    rng = np.random.default_rng(1)
    both = "these MAEs and these seeds"
    for seeds, maes, given in [
        (FIVE, FIVE, ""),
        (FIVE, (0,), "these MAEs"),
        ((0,), FIVE, "these seeds"),
        ((0,), (0,), both),
        (FIVE, (None,), ""),
        ((0, 1, 2, 3), (None,), "these seeds"),
    ]:
        about = {"seeds": seeds, "maes": maes}
        high = measured(rng, COLUMNS, method="a", at=0.95, **about)
        low = measured(rng, COLUMNS, method="b", at=0.5, **about)
        assert verdict_of(high, low) == (f"better given {given}" if given else "holds")
        swapped = [dataclasses.replace(run, method="b") for run in high]
        swapped += [dataclasses.replace(run, method="a") for run in low]
        assert verdict_of(swapped, []) == (f"worse given {given}" if given else "contradicted")
    assert verdict_of(high, []) == "not measured"
    assert verdict_of(high, low, caveat="from random weights") == "no confirmed ordering"


def test_equal_rows_are_unresolved():
    rng = np.random.default_rng(2)
    equal = [measured(rng, COLUMNS, method=method, seeds=FIVE, maes=(None,)) for method in "ab"]
    assert verdict_of(*equal) == "unresolved"


def test_seeds_with_a_mae_of_their_own_are_one_factor():
    def row(method, at, count):
        rng = np.random.default_rng(count)
        runs = measured(rng, COLUMNS, method=method, at=at, seeds=range(count), maes=(0,))
        return [dataclasses.replace(run, mae_seed=run.seed) for run in runs]

    assert verdict_of(row("a", 0.95, 5), row("b", 0.5, 5)) == "holds"
    assert verdict_of(row("a", 0.95, 4), row("b", 0.5, 4)) == "better given these MAEs"


def test_every_training_and_rule_is_judged_and_their_mean():
    rng = np.random.default_rng(4)
    runs = [
        run
        for trained_on in ("DF", "FSW")
        for method in ("Ours", "ViT")
        for rule in ("last", "oracle")
        for run in measured(rng, COLUMNS, trained_on=trained_on, method=method, rule=rule)
    ]
    made = table(claim(trained_on="", column="F2F"))
    entries = check_claims(made, runs)
    assert [(entry["rule"], entry["trained_on"]) for entry in entries] == [
        (rule, trained_on) for rule in ("last", "oracle") for trained_on in ("DF", "FSW", "(mean)")
    ]
    for one, two, mean in (entries[:3], entries[3:]):
        assert mean["difference"] == pytest.approx((one["difference"] + two["difference"]) / 2)
        width, widths = (
            [entry["ci95"][1] - entry["ci95"][0] for entry in some] for some in ([mean], [one, two])
        )
        assert width[0] < min(widths)


def test_only_maes_that_both_rows_have_are_compared():
    rng = np.random.default_rng(5)
    ours = measured(rng, COLUMNS, maes=(0, 1, 2))
    other = measured(rng, COLUMNS, method="ViT", maes=(1, 2, 3))
    (entry,) = check_claims(table(claim()), [*ours, *other])
    assert [one["mae_seed"] for one in entry["by_mae"]] == [1, 2]


def test_one_person_says_nothing_of_others():
    rng = np.random.default_rng(7)
    runs = [r for m in ("Ours", "ViT") for r in measured(rng, COLUMNS, method=m, seeds=FIVE)]
    (entry,) = check_claims(
        table(claim()), runs, lambda run, column: made_up_scores(run, column, people=1)
    )
    assert (entry["verdict"], entry["ci95"]) == ("unresolved", None)


def test_a_claim_about_unseen_fakes_needs_some():
    rng = np.random.default_rng(6)
    runs = [r for m in ("Ours", "ViT") for r in measured(rng, COLUMNS, trained_on="all", method=m)]
    made = TableSpec("t", "synthetic", "t", COLUMNS, {"all": COLUMNS}, "", (claim(trained_on=""),))
    (entry,) = check_claims(made, runs)
    assert (entry["verdict"], entry["difference"]) == ("not measured", None)
