"""Job `compare`: which of several evaluated detectors is better, and where nobody can tell."""

import math
import pathlib
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap
from rffr_jax.evaluation.comparison import LEVEL, DetectorScores, compare
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE
from rffr_jax.runs.atomic_files import atomic_write, read_json_object, write_json
from rffr_jax.runs.checkpoints.weights import best_checkpoint_name
from rffr_jax.runs.workdir import locked_workdir, write_config

HEADER = ("dataset", "fakes", "a", "b", "AUC a", "AUC b", "a - b", "95 %", "p (Holm)", "better")
MATCHED = "matched"


def run(config: Config, workdir: pathlib.Path):
    """Writes compare.json and compare.md; prints the table."""
    names = [name for name in config.runs.split(",") if name]
    runs, about = {}, {}
    for name in names:
        if name in runs:
            raise UserError(f"runs names {name} twice; name different runs as A,B")
        runs[name], about[name] = read_run(pathlib.Path(name))
    entries = compare(runs, replicates=config.replicates)
    fewest = math.ceil(2 * len(entries) / LEVEL) - 1
    if config.replicates < fewest:
        raise UserError(
            f"replicates={config.replicates} are too few to resolve any of {len(entries)} "
            f"comparisons; set --config.replicates={10 * fewest}"
        )
    note = synthetic_data_note(next(iter(runs.values())).predictions.examples)
    table = {
        "comparisons": entries,
        "about": {
            "runs": about,
            "bootstrap": {"replicates": config.replicates, "seed": bootstrap.SEED},
            "holm": {"comparisons": len(entries), "level": LEVEL},
            "note": note,
        },
    }
    text = format_comparison(table)
    with locked_workdir(workdir):
        write_config(workdir, config)
        if processes.is_main_process():
            write_json(workdir / "compare.json", table)
            with atomic_write(workdir / "compare.md") as part:
                part.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    if processes.is_main_process():
        print(text)


def read_run(place: pathlib.Path) -> tuple[DetectorScores, dict[str, Any]]:
    """The scores in a workdir of `evaluate` or in a table of predictions, and who made them.

    Returns:
      The run, and its `file`, `checkpoint` and `rule` (None where nothing says so).

    Raises:
      UserError: nothing there, or no such table.
    """
    file = place / "predictions.csv" if place.is_dir() else place
    if not file.is_file():
        raise UserError(
            f"runs: {file} does not exist; name workdirs of evaluate, or tables of predictions"
        )
    predictions = Predictions.read_csv(file)
    results = file.parent / "results.json"
    said: dict[str, Any] = {}
    if place.is_dir() and results.is_file():
        said = read_json_object(results)["about"]
    matched = {}
    if said.get("checkpoint") == MATCHED:
        fakes = {(e.dataset, e.method) for e in predictions.examples if e.label == FAKE}
        for dataset, method in sorted(fakes):
            own = f"predictions-{best_checkpoint_name(dataset, method)}.csv"
            matched[dataset, method] = Predictions.read_csv(file.parent / own)
    about = {"file": str(file), **{name: said.get(name) for name in ("checkpoint", "rule")}}
    return DetectorScores(predictions, matched), about


def format_comparison(table: dict[str, Any]) -> str:
    """The comparisons as a Markdown table whose columns are aligned, for a terminal too."""
    rows: list[tuple[str, ...]] = [HEADER]
    for entry in table["comparisons"]:
        interval = [f"{100 * end:+.1f}" for end in entry["ci95"] or ()]
        rows.append(
            (
                *(_cell(entry[name]) for name in ("dataset", "fakes", "a", "b")),
                f"{100 * entry['auc_a']:.1f}",
                f"{100 * entry['auc_b']:.1f}",
                f"{100 * entry['difference']:+.1f}",
                f"[{', '.join(interval)}]" if interval else "-",
                f"{entry['p_holm']:.4f}",
                _cell(entry["verdict"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    about = table["about"]
    for name, made in about["runs"].items():
        by = f"checkpoint {made['checkpoint']}, chosen by rule: {made['rule']}"
        lines.append(f"\n{name}: {by if made['rule'] else 'nothing says which rule chose it'}")
    lines.append(
        f"\nAUC and differences in %; intervals of single comparisons, over "
        f"{about['bootstrap']['replicates']} paired draws of clusters; p corrected for "
        f"{about['holm']['comparisons']} comparisons (Holm); unresolved: the interval contains 0 "
        f"or p is above {about['holm']['level']}"
    )
    if about["note"]:
        lines.append(f"\nnote: {about['note']}")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
