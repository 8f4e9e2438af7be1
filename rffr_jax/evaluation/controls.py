"""Job `controls`: what a detector reacts to, on real faces with one trace of manipulation each."""

import logging
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.selection import keep_frames
from rffr_jax.data.self_blending.controls import CONTROLS, ControlledReals
from rffr_jax.data.specs import as_tuple, load_separately
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap, metrics
from rffr_jax.evaluation.crossed_bootstrap import (
    CrossedInterval,
    crossed_auc_interval,
    crossed_interval,
)
from rffr_jax.evaluation.evaluate import UNKNOWN_ORIGINS
from rffr_jax.evaluation.predictions import Predictions, require_unique
from rffr_jax.evaluation.results import overlap_with_training
from rffr_jax.evaluation.results_text import format_interval
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import REAL
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.atomic_files import write_json, write_text
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)


def run(config: Config, workdir: pathlib.Path):
    """Writes controls.json and controls.md; prints the table."""
    rows = named_detectors(config.detectors)
    backbones = named_backbones(config.backbone.weights, rows)
    specs = as_tuple(config.data.reals)
    reals = [
        keep_frames(dataset, config.frames_per_video)
        for dataset in load_separately(specs, default_split="test")
    ]
    tests = [
        ControlledReals(dataset, config.seed, option=f"data.reals, {spec}")
        for spec, dataset in zip(specs, reals, strict=True)
    ]
    examples = [example for test in tests for example in test.examples]
    require_unique(examples)
    mesh = make_mesh(config.mesh.fsdp)
    require_same_data(**dict(zip(specs, tests, strict=True)))
    with locked_workdir(workdir):
        write_config(workdir, config)
        scores: dict[str, list[Predictions]] = {}
        rules, overlaps = {}, {}
        for name, models in rows.items():
            of_row = config.copy_and_resolve_references()
            of_row.backbone.weights = backbones[name]
            for model in models:
                log.info("scoring with %s", model)
                folder = folder_of_model(model, "detectors")
                detector = TrainedDetector(folder, mesh, of_row)
                detector.require_same_preparation(specs, reals, "data.reals")
                found = detector.predictions(config.checkpoint, tests).ordered()
                scores.setdefault(name, []).append(found)
                rules[model] = detector.selection_rule(config.checkpoint, examples)
                overlaps[model] = overlap_with_training(examples, detector.trained_on())
                if not detector.knows_its_origins:
                    overlaps[model].append(UNKNOWN_ORIGINS)
                for warning in overlaps[model]:
                    log.warning("%s: %s", model, warning)
        about = {
            "checkpoint": config.checkpoint,
            "detectors": rows,
            "rules": rules,
            "overlaps": overlaps,
            "landmarks": {
                spec: test.landmark_counts for spec, test in zip(specs, tests, strict=True)
            },
            "bad": {e.id: why for e, why in next(iter(scores.values()))[0].bad.items()},
            "bootstrap": {"replicates": bootstrap.REPLICATES, "seed": bootstrap.SEED},
            "note": synthetic_data_note(examples),
        }
        table = reactions(scores)
        text = format_reactions(table, about)
        if processes.is_main_process():
            write_json(workdir / "controls.json", {"rows": table, "about": about})
            write_text(workdir / "controls.md", text + "\n", errors="surrogateescape")
    if processes.is_main_process():
        print(text)


def named_detectors(text: str) -> dict[str, list[str]]:
    """The names of the trainings of each row of the table.

    Args:
      text: entries with commas between: DIR, which is a row of its own, or NAME=DIR.

    Raises:
      UserError: one folder twice, or an entry without a folder.
    """
    rows: dict[str, list[str]] = {}
    for entry in text.split(","):
        name, equals, folder = entry.partition("=")
        folder = folder if equals else name
        if not name or not folder:
            raise UserError(f"detectors: {entry!r} is not DIR or NAME=DIR; name detect workdirs")
        if pathlib.Path(folder) in [pathlib.Path(there) for row in rows.values() for there in row]:
            raise UserError(f"detectors names {folder} twice; name different trainings")
        rows.setdefault(name, []).append(folder)
    return rows


def named_backbones(text: str, rows: Collection[str]) -> dict[str, str]:
    """The folder of converted weights for the backbone of each row; '' where it is not named.

    Args:
      text: DIR for all rows, or entries NAME=DIR with commas between.
      rows: their names.

    Raises:
      UserError: an entry is of no row, or without a folder.
    """
    if "=" not in text:
        return dict.fromkeys(rows, text)
    found = dict.fromkeys(rows, "")
    for entry in text.split(","):
        name, _, folder = entry.partition("=")
        if name not in found or not folder:
            raise UserError(
                f"backbone.weights: {entry!r} is not NAME=DIR of a row; the rows of detectors are "
                f"{', '.join(rows)}"
            )
        found[name] = folder
    return found


def reactions(scores: Mapping[str, Sequence[Predictions]]) -> list[dict[str, Any]]:
    """AUC and mean score of every detector under every control.

    Args:
      scores: for each row the scores of its trainings, all of the same examples in one order.

    Returns:
      One entry a dataset, detector and control: `dataset, detector, control, auc` (the control's
      images against the untouched reals) with `auc_ci95`; `mean_real` and `mean_control`, raw
      scores; `change` (mean_control - mean_real) with `change_ci95`; `trainings`; `fixed`, whether
      the intervals hold these trainings fixed; `n_real, n_control, n_clusters`. Intervals draw
      clusters and, from five on, trainings; None where there is one cluster.
    """
    entries = []
    first = next(iter(scores.values()))[0]
    for dataset in first.by_dataset():
        for name, trainings in scores.items():
            parts = [found.by_dataset()[dataset] for found in trainings]
            metrics.require_both_classes(parts[0].labels, dataset)
            clusters = [example.cluster for example in parts[0].examples]
            draws = bootstrap.ClusterDraws(clusters)
            for control in CONTROLS:
                entries.append(
                    {"dataset": dataset, "detector": name, "control": control}
                    | _reaction(parts, control, draws)
                )
    return entries


def _reaction(
    trainings: Sequence[Predictions], control: str, draws: bootstrap.ClusterDraws
) -> dict[str, Any]:
    examples = trainings[0].examples
    chosen = [i for i, e in enumerate(examples) if e.label == REAL or e.method == control]
    labels = trainings[0].labels[chosen]
    clusters = [examples[i].cluster for i in chosen]
    scores = [training.scores[chosen] for training in trainings]
    auc = float(np.mean([metrics.auc(labels, values) for values in scores]))
    means = np.mean([[v[labels == label].mean() for label in (0, 1)] for v in scores], axis=0)
    auc_ci = change_ci = None
    if len(draws) > 1:
        drawn = np.stack([draws.aucs(labels, values, clusters) for values in scores], axis=-1)
        auc_ci = crossed_auc_interval(drawn[:, None, :], auc)
        changes = np.stack([_mean_changes(draws, labels, v, clusters) for v in scores], axis=-1)
        change_ci = crossed_interval(changes[:, None, :])
    return {
        **{"auc": auc, "auc_ci95": _ends(auc_ci)},
        **{"mean_real": float(means[0]), "mean_control": float(means[1])},
        **{"change": float(means[1] - means[0]), "change_ci95": _ends(change_ci)},
        **{"trainings": len(trainings), "fixed": bool(auc_ci is None or auc_ci.fixed[1])},
        **{"n_real": int((labels == REAL).sum()), "n_control": int((labels != REAL).sum())},
        "n_clusters": len(set(clusters)),
    }


def _mean_changes(
    draws: bootstrap.ClusterDraws, labels: np.ndarray, scores: np.ndarray, clusters: Sequence[str]
) -> Float64[np.ndarray, " replicates"]:
    """Mean score of the controlled minus that of the real images, in each draw of clusters."""
    parts = []
    for times in draws.times(clusters):
        real, controlled = times[labels == REAL], times[labels != REAL]
        with np.errstate(invalid="ignore"):  # a draw without one of them has no change
            parts.append(
                scores[labels != REAL] @ controlled / controlled.sum(axis=0)
                - scores[labels == REAL] @ real / real.sum(axis=0)
            )
    return np.concatenate(parts)


def _ends(interval: CrossedInterval | None) -> list[float] | None:
    return interval and [interval.low, interval.high]


def format_reactions(rows: Sequence[dict[str, Any]], about: Mapping[str, Any]) -> str:
    """Two Markdown tables for each dataset, AUC and mean score, with what they mean."""
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        by_name: dict[str, list[dict[str, Any]]] = {}
        for row in own:
            by_name.setdefault(row["detector"], []).append(row)
        aucs: list[tuple[str, ...]] = [("detector", *CONTROLS)]
        means: list[tuple[str, ...]] = [("detector", "reals", *CONTROLS)]
        for name, cells in by_name.items():
            aucs.append((name, *(_auc_cell(cell) for cell in cells)))
            real = f"{cells[0]['mean_real']:.3f}"
            means.append((name, real, *(_change_cell(cell) for cell in cells)))
        lines += [
            f"what the detector reacts to, {dataset}: AUC in % of {own[0]['n_real']} reals under a "
            "control against the same reals untouched; 50 is no reaction",
            *("", markdown_table(aucs), ""),
            "mean raw score of the reals, and its change under the control",
            *("", markdown_table(means), ""),
        ]
    for name, row in {row["detector"]: row for row in rows if row["auc_ci95"]}.items():
        over = "over people or videos, given these trainings"
        if not row["fixed"]:
            over = "crossed over people or videos and trainings"
        lines.append(f"{name}: trainings {row['trainings']}, intervals of 95 % {over}")
    for folder, rule in about["rules"].items():
        lines.append(f"{folder}: checkpoint {about['checkpoint']}, chosen by rule: {rule}")
    for folder, warnings in about["overlaps"].items():
        lines += [f"{folder}: {warning}" for warning in warnings]
    for spec, counts in about["landmarks"].items():
        shapes = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        lines.append(f"landmarks of {spec}: {shapes}")
    if about["bad"]:
        lines += ["", f"{len(about['bad'])} images have no score:"]
        lines += [f"- {name}: {reason}" for name, reason in about["bad"].items()]
    if about["note"]:
        lines += ["", f"note: {about['note']}"]
    return "\n".join(lines)


def _auc_cell(row: Mapping[str, Any]) -> str:
    return f"{100 * row['auc']:.1f} {format_interval(row['auc_ci95'], '.1f')}".strip()


def _change_cell(row: Mapping[str, Any]) -> str:
    ends = [f"{end:+.3f}" for end in row["change_ci95"] or ()]
    return f"{row['change']:+.3f} [{', '.join(ends)}]" if ends else f"{row['change']:+.3f}"
