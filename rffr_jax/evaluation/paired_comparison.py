"""Which of several detectors has the higher AUC on the same examples.

Differences of AUC come from a paired bootstrap over clusters: every replicate draws clusters once
and measures all detectors on them. An example that is hard for all detectors does not widen the
interval of their difference.
"""

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap, metrics
from rffr_jax.evaluation.plots import UNRESOLVED, plot_comparison
from rffr_jax.evaluation.predictions import Predictions, independence_warnings
from rffr_jax.evaluation.results import select_method_and_reals
from rffr_jax.evaluation.results_text import format_interval
from rffr_jax.evaluation.score_files import DetectorScores, describe_scores, read_scores
from rffr_jax.examples import FAKE
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.atomic_files import write_json, write_text

REPLICATES = 10_000
LEVEL = 0.05
MEAN = "(mean)"
HEADINGS = ("dataset", "fakes", "a", "b", "AUC a", "AUC b", "a - b", "95 %", "p (Holm)", "better")


def comparison_table(names: Sequence[str], replicates: int = REPLICATES) -> dict[str, Any]:
    """Reads scores and compares them: the content of compare.json.

    Args:
      names: workdirs of `evaluate`, or tables of predictions; two or more.
      replicates: as for `compare`.

    Returns:
      `comparisons`, as `compare` returns them, and `about`.

    Raises:
      UserError: as for `read_scores` and `compare`, or too few replicates for any verdict.
    """
    runs, about = {}, {}
    for name in names:
        if name in runs:
            raise UserError(f"runs names {name} twice; name different runs as A,B")
        runs[name], about[name] = read_scores(pathlib.Path(name))
    entries = compare(runs, replicates=replicates)
    fewest = math.ceil(2 * len(entries) / LEVEL) - 1
    if replicates < fewest:
        raise UserError(
            f"replicates={replicates} are too few to resolve any of {len(entries)} "
            f"comparisons; set replicates={10 * fewest}"
        )
    reference = next(iter(runs.values())).predictions
    return {
        "comparisons": entries,
        "about": {
            "runs": about,
            "bootstrap": {"replicates": replicates, "seed": bootstrap.SEED},
            "holm": {"comparisons": len(entries), "level": LEVEL},
            "note": synthetic_data_note(reference.examples),
            "warnings": independence_warnings(reference),
        },
    }


def distinct_parts(paths: Sequence[str]) -> list[str]:
    """Each path without the folders and file names that all of them share, for tables.

    `runs/a/scores.csv` and `runs/b/scores.csv` become `a` and `b`. A path that would lose all of
    its parts stays whole.
    """
    parts = [pathlib.PurePath(path).parts for path in paths]
    first = _shared_length(parts)
    last = _shared_length([path[first:][::-1] for path in parts])
    kept = [path[first : len(path) - last] for path in parts]
    return ["/".join(k) if k else path for k, path in zip(kept, paths, strict=True)]


def _with_short_names(entry: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    names = list(table["about"]["runs"])
    short = dict(zip(names, distinct_parts(names), strict=True))
    return entry | {name: short.get(entry[name], entry[name]) for name in ("a", "b", "verdict")}


def _shared_length(parts: Sequence[Sequence[str]]) -> int:
    """How many leading parts are equal in all of them."""
    shared = itertools.takewhile(lambda some: len(set(some)) == 1, zip(*parts, strict=False))
    return len(list(shared))


def write_comparison(folder: pathlib.Path, name: str, table: dict[str, Any]):
    """Writes NAME.json, NAME.md and NAME.png for the result of `comparison_table`."""
    write_json(folder / f"{name}.json", table)
    entries = [_with_short_names(entry, table) for entry in table["comparisons"]]
    plot_comparison(folder / f"{name}.png", entries, table["about"]["note"])
    write_text(folder / f"{name}.md", format_comparison(table) + "\n", errors="surrogateescape")


def compare(
    runs: Mapping[str, DetectorScores], *, replicates: int = REPLICATES, seed: int = bootstrap.SEED
) -> list[dict[str, Any]]:
    """The difference in AUC of every pair of runs, for every dataset and method.

    Methods and clusters are those of the first run.

    Args:
      runs: two or more, by name.
      replicates: resamples of clusters; no p is smaller than 2 / (replicates + 1).
      seed: of the draws.

    Returns:
      One entry a dataset, method (against all reals) and pair, and `(mean)` for the mean over the
      methods where there are several: `dataset, fakes, a, b, auc_a, auc_b, difference` (a - b),
      `ci95` (percentile interval; None where there is one cluster), `p` (two-sided), `p_holm` (of
      Holm 1979, over all entries), `verdict` (the name of the better run; `unresolved` where `ci95`
      contains 0 or `p_holm` is above 0.05) and `n_real, n_fake, n_clusters`.

    Raises:
      UserError: fewer than two runs, other examples in one than in another, or a data set of one
        class.
    """
    if len(runs) < 2:
        raise UserError(f"a comparison needs two runs or more, and {len(runs)} is named; name A,B")
    first, *others = runs
    reference = runs[first].predictions.ordered()
    for other in others:
        _require_same_examples(reference, runs[other].predictions, first, other)
    entries = []
    for dataset, part in reference.by_dataset().items():
        metrics.require_both_classes(part.labels, dataset)
        entries += _compare_on_dataset(runs, dataset, part, replicates, seed)
    corrected = holm([entry["p"] for entry in entries])
    for entry, p_holm in zip(entries, corrected, strict=True):
        entry["p_holm"] = p_holm
        entry["verdict"] = _verdict(entry)
    return entries


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values made so large that all of them may be held against one level (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1; none is above 1, or below one before it.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def two_sided_p(differences: Float64[np.ndarray, " replicates"]) -> float:
    """Twice the share of replicates on the rarer side of 0; one more counts, so it is never 0."""
    finite = differences[np.isfinite(differences)]
    rarer = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(finite) + 1))


def _compare_on_dataset(
    runs: Mapping[str, DetectorScores], dataset: str, part: Predictions, replicates: int, seed: int
) -> list[dict[str, Any]]:
    methods = part.fake_methods
    labels = part.labels
    rows = {
        method: np.array([e.method == method or e.label != FAKE for e in part.examples])
        for method in methods
    }
    scores = {
        (name, method): _scores(run, part, dataset, method, name)[rows[method]]
        for name, run in runs.items()
        for method in methods
    }
    clusters = [example.cluster for example in part.examples]
    draws = bootstrap.ClusterDraws(clusters, replicates=replicates, seed=seed)
    replicated, exact = {}, {}
    for (name, method), values in scores.items():
        chosen = rows[method]
        of_chosen = list(itertools.compress(clusters, chosen))
        replicated[name, method] = draws.aucs(labels[chosen], values, of_chosen)
        exact[name, method] = metrics.auc(labels[chosen], values)
    counted = dict(rows)
    if len(methods) > 1:
        counted[MEAN] = np.full(len(labels), True)
        for name in runs:
            replicated[name, MEAN] = np.mean([replicated[name, m] for m in methods], axis=0)
            exact[name, MEAN] = float(np.mean([exact[name, m] for m in methods]))
    entries = []
    for fakes, chosen in counted.items():
        names = {cluster for cluster, used in zip(clusters, chosen, strict=True) if used}
        for a, b in itertools.combinations(runs, 2):
            differences = replicated[a, fakes] - replicated[b, fakes]
            several = len(names) > 1
            entries.append(
                {
                    **{"dataset": dataset, "fakes": fakes, "a": a, "b": b},
                    "auc_a": exact[a, fakes],
                    "auc_b": exact[b, fakes],
                    "difference": exact[a, fakes] - exact[b, fakes],
                    "ci95": list(bootstrap.percentile_interval(differences)) if several else None,
                    "p": two_sided_p(differences) if several else 1.0,
                    **metrics.class_counts(labels[chosen]),
                    "n_clusters": len(names),
                }
            )
    return entries


def _scores(
    run: DetectorScores, part: Predictions, dataset: str, method: str, name: str
) -> np.ndarray:
    """Scores of a run in the order of `part`; NaN for fakes of other methods, if matched."""
    of_run = run.matched.get((dataset, method))
    if of_run is None:
        of_run = run.predictions
    else:
        own = select_method_and_reals(part, method)
        _require_same_examples(own, of_run, "predictions.csv", f"{name}, matched to {method},")
    known = {(e.dataset, e.id): s for e, s in zip(of_run.examples, of_run.scores, strict=True)}
    return np.array([known.get((dataset, example.id), np.nan) for example in part.examples])


def _verdict(entry: Mapping[str, Any]) -> str:
    if entry["ci95"] is None or entry["p_holm"] > LEVEL:
        return UNRESOLVED
    low, high = entry["ci95"]
    if low <= 0 <= high:
        return UNRESOLVED
    return entry["a"] if low > 0 else entry["b"]


def _require_same_examples(reference: Predictions, other: Predictions, first: str, second: str):
    there, here = ({(e.dataset, e.id): e.label for e in p.examples} for p in (reference, other))
    if not there.keys() & here.keys():
        raise UserError(
            f"{first} and {second} share no example (data set and id); name tables of one test set"
        )
    for wanted, found, has, lacks in ((there, here, first, second), (here, there, second, first)):
        lacking = sorted(wanted.keys() - found.keys())
        if lacking:
            dataset, identity = lacking[0]
            raise UserError(
                f"{len(lacking)} of {len(wanted)} examples of {has} are not in {lacks}, the first "
                f"'{identity}' of dataset '{dataset}'; evaluate both on the same test sets"
            )
    for (dataset, identity), label in sorted(there.items()):
        if here[dataset, identity] != label:
            raise UserError(
                f"'{identity}' of dataset '{dataset}' has label {label} in {first} and "
                f"{here[dataset, identity]} in {second}; evaluate both on the same test sets"
            )


def format_comparison(table: dict[str, Any]) -> str:
    """The comparisons as a Markdown table whose columns are aligned, for a terminal too."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for entry in (_with_short_names(entry, table) for entry in table["comparisons"]):
        rows.append(
            (
                *(entry[name] for name in ("dataset", "fakes", "a", "b")),
                f"{100 * entry['auc_a']:.1f}",
                f"{100 * entry['auc_b']:.1f}",
                f"{100 * entry['difference']:+.1f}",
                format_interval(entry["ci95"], "+.1f") or "-",
                f"{entry['p_holm']:.4f}",
                entry["verdict"],
            )
        )
    lines = [markdown_table(rows)]
    about = table["about"]
    for name, made in zip(distinct_parts(list(about["runs"])), about["runs"].values(), strict=True):
        lines.append(f"\n{describe_scores(name, made)}")
    lines.append(
        f"\nAUC and differences in %; intervals of single comparisons, over "
        f"{about['bootstrap']['replicates']} paired draws of clusters; p corrected for "
        f"{about['holm']['comparisons']} comparisons (Holm); unresolved: the interval contains 0 "
        f"or p is above {about['holm']['level']}"
    )
    if about["note"]:
        lines.append(f"\nnote: {about['note']}")
    lines += [f"\nwarning: {warning}" for warning in about["warnings"]]
    return "\n".join(lines)
