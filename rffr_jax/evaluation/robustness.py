"""Job `robustness`: the AUC on corrupted images beside that on clean ones."""

import itertools
import logging
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config, local_path
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.specs import as_tuple
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap
from rffr_jax.evaluation.evaluate import load_test_sets
from rffr_jax.evaluation.paired_comparison import compare
from rffr_jax.evaluation.plots import plot_robustness
from rffr_jax.evaluation.results_text import format_interval
from rffr_jax.evaluation.score_files import DetectorScores
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import Dataset
from rffr_jax.images.corruptions import CORRUPTIONS, CorruptedDataset, Level, check_level
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.atomic_files import write_json, write_text
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)

CLEAN = "clean"
PLACES = CROPS, FRAMES = "crops", "frames"
_TAKEN = {
    "difference": "the one that differs from the original, or from its fake, is taken",
    "largest": "the largest is taken",
    "all": "all are taken",
}
Corrupt = Callable[[Any, str, Level], Dataset]


def run(config: Config, workdir: pathlib.Path):
    """Writes robustness.json, robustness.md and robustness.png; prints the table."""
    sweep = _sweep(config)
    if config.on not in PLACES:
        raise UserError(f"on={config.on!r} is not known; choose {' or '.join(PLACES)}")
    tests = load_test_sets(config)
    folder = folder_of_model(config.detector, "detector")
    detector = TrainedDetector(folder, make_mesh(config.mesh.fsdp), config)
    detector.require_checkpoint(config.checkpoint)
    by_spec = dict(zip(as_tuple(config.data.tests), tests, strict=True))
    finder = None
    if config.on == FRAMES:
        from rffr_jax.evaluation.frame_faces import FaceFinder  # brings what prepares records

        weights = local_path(config.face_weights, "face_weights") if config.face_weights else None
        finder = FaceFinder(detector.about["preparations"], weights)
        finder.refuse_records(by_spec)
    else:
        detector.require_same_preparation(config.data.tests, tests, "data.tests")
    require_same_data(**by_spec)
    with locked_workdir(workdir), tempfile.TemporaryDirectory() as pictures:
        write_config(workdir, config)
        places: dict[str, Corrupt] = {CROPS: CorruptedDataset}
        if finder is not None:
            places[FRAMES] = lambda faces, kind, level: faces.corrupted(kind, level)
            tests = finder.find(by_spec, pathlib.Path(pictures), config.frames_per_video)
        rows = robustness(detector, config.checkpoint, tests, sweep, places)
        examples = [example for test in tests for example in test.examples]
        rule = detector.selection_rule(config.checkpoint, examples)
        note = synthetic_data_note(examples)
        about = {
            "checkpoint": config.checkpoint,
            "rule": rule,
            "bootstrap": {"replicates": bootstrap.REPLICATES, "seed": bootstrap.SEED},
            "faces": finder and finder.about,
            "without_face": finder.without_face if finder else {},
            "several_faces": finder.several_faces if finder else {},
            "note": note,
        }
        text = format_robustness(rows, about)
        if processes.is_main_process():
            write_json(workdir / "robustness.json", {"rows": rows, "about": about})
            write_text(workdir / "robustness.md", text + "\n", errors="surrogateescape")
            title = f"checkpoint {config.checkpoint}, selection rule {rule}"
            plot_robustness(workdir / "robustness.png", rows, f"{title}\n{note}".strip())
    if processes.is_main_process():
        print(text)


def robustness(
    detector: TrainedDetector,
    checkpoint: str,
    tests: Sequence[Any],
    sweep: Sequence[tuple[str, Level]],
    places: Mapping[str, Corrupt],
) -> list[dict[str, Any]]:
    """AUC on clean and on corrupted images.

    Args:
      tests: data sets of crops.
      sweep: kinds of `CORRUPTIONS` with levels.
      places: what is corrupted, `crops` or `frames`, with what makes the corrupted data set.

    Returns:
      One entry a kind, level, place, dataset and method (against all reals), and `(mean)` over the
      methods where there are several: `kind, level, on, dataset, fakes, auc, clean_auc, change`
      (auc - clean_auc) and `change_ci95`, paired over clusters.
    """
    clean = DetectorScores(detector.predictions(checkpoint, tests))
    rows = []
    for (kind, level), (on, corrupt) in itertools.product(sweep, places.items()):
        log.info("scoring with %s %g on %s", kind, level, on)
        corrupted = [corrupt(test, kind, level) for test in tests]
        runs = {kind: DetectorScores(detector.predictions(checkpoint, corrupted)), CLEAN: clean}
        for entry in compare(runs, replicates=bootstrap.REPLICATES):
            rows.append(
                {
                    **{"kind": kind, "level": level, "on": on},
                    **{name: entry[name] for name in ("dataset", "fakes")},
                    **{"auc": entry["auc_a"], "clean_auc": entry["auc_b"]},
                    **{"change": entry["difference"], "change_ci95": entry["ci95"]},
                }
            )
    return rows


def format_robustness(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """A Markdown table for each dataset: levels down, methods across, and the rule."""
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        fakes = list(dict.fromkeys(row["fakes"] for row in own))
        last = fakes[-1]
        by_level: dict[tuple[str, Any, str], dict[str, dict[str, Any]]] = {}
        for row in own:
            place = (row["kind"], row["level"], row["on"])
            by_level.setdefault(place, {})[row["fakes"]] = row
        first = next(iter(by_level.values()))
        table = [("corruption", *fakes, f"change of {last}, 95 %")]
        table.append((CLEAN, *(f"{100 * first[name]['clean_auc']:.1f}" for name in fakes), ""))
        for (kind, level, on), found in by_level.items():
            interval = format_interval(found[last]["change_ci95"], "+.1f")
            change = f"{100 * found[last]['change']:+.1f}"
            cells = (f"{100 * found[name]['auc']:.1f}" for name in fakes)
            whole = ", whole picture" if on == FRAMES else ""
            table.append((f"{kind} {level:g}{whole}", *cells, f"{change} {interval}".strip()))
        lines += [f"AUC in %, {dataset}", "", markdown_table(table), ""]
    lines.append(f"checkpoint: {about['checkpoint']}, chosen by rule: {about['rule']}")
    for spec, reasons in about["without_face"].items():
        lines += ["", f"left out of {spec}: {len(reasons)} without a face that can be used"]
        lines += [f"- {name}: {reason}" for name, reason in reasons.items()]
    for spec, told_by in about["several_faces"].items():
        for how in dict.fromkeys(told_by.values()):
            names = [name for name, told in told_by.items() if told == how]
            lines += ["", f"{len(names)} media of {spec} show several faces; {_TAKEN[how]}"]
            if how == "largest" and about["faces"]["faces"] == "manipulated":
                lines[-1] += ", as nothing tells which one was manipulated"
                lines += [f"- {name}" for name in names]
    if faces := about["faces"]:
        known = "as the training faces were" if faces["preparation_known"] else "by default"
        digest = f"with weights of SHA-256 {faces['weights_sha256']}"
        lines += ["", f"faces were found {known}, by {faces['detector']} {digest}"]
    if about["note"]:
        lines += ["", f"note: {about['note']}"]
    return "\n".join(lines)


def _sweep(config: Config) -> list[tuple[str, Level]]:
    sweep = [(kind, level) for kind in CORRUPTIONS for level in config.corruptions.get(kind, ())]
    for kind, level in sweep:
        check_level(kind, level)
    if not sweep:
        raise UserError(f"corruptions: no level at all; name some of {', '.join(CORRUPTIONS)}")
    return sweep
