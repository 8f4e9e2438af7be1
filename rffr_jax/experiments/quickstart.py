"""Job `quickstart`: RFFR beside its controls, trained on one manipulation, tested on all.

For each seed: a MAE on the real faces, then every variant of `VARIANTS` on the same batches, then
one table. The controls tell apart what the residual adds from what capacity, random blocks or
the MAE's weights add.
"""

import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from rffr_jax.cluster import processes
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.export import export
from rffr_jax.data.origins import honest_note
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap, metrics, results
from rffr_jax.evaluation.evaluate import TrainedDetector, report
from rffr_jax.evaluation.plots import plot_training_curves
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.scoring import PreparedSet
from rffr_jax.examples import REAL
from rffr_jax.experiments.galleries import draw_gallery
from rffr_jax.runs.lock import locked
from rffr_jax.runs.whole_files import whole_file, write_json
from rffr_jax.runs.workdir import refuse_other_config, write_config
from rffr_jax.training import detect, pretrain

log = logging.getLogger(__name__)

OURS = "RFFR"
ENERGY = "mean |residual|"
VARIANTS: dict[str, dict[str, str]] = {
    "plain ViT": {"inputs": "original", "blocks": "full"},
    "random-block ViT": {"inputs": "original", "blocks": "random"},
    "zero residual": {"inputs": "both", "blocks": "random", "residual": "zero"},
    "ViT from the MAE": {"inputs": "original", "blocks": "random", "init": "mae"},
    OURS: {"inputs": "both", "blocks": "random"},
}


def run(config: Config, workdir: pathlib.Path):
    """Writes seed_N/ for every seed, summary.json and summary.txt; prints the summary."""
    if processes.count() > 1:
        raise UserError(
            f"the quickstart is made for one process, and this run has {processes.count()}; start "
            "it without srun or mpirun"
        )
    if not config.seeds:
        raise UserError("--config.seeds is empty; name at least one, as in --config.seeds=(0,)")
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        # Variants and seeds share programs: each is compiled once.
        jax.config.update("jax_compilation_cache_dir", str((workdir / "compiled").absolute()))
    with locked(workdir):
        done = any(workdir.glob("seed_*/data/*.csv"))
        refuse_other_config(workdir, config, begun=done, may_change=("seeds",))
        write_config(workdir, config)
        tables = []
        for seed in config.seeds:
            tables.append(_one_seed(config, seed, workdir / f"seed_{seed}"))
        summary = summarise(tables, config.trained_method)
        write_json(workdir / "summary.json", summary)
        text = format_summary(summary, workdir)
        with whole_file(workdir / "summary.txt") as part:
            part.write_text(text + "\n", encoding="utf-8")
    print(text)


# ---- one seed


def _one_seed(config: Config, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    record = folder / "tables.json"
    if record.exists():
        log.info("seed %d is done already", seed)
        return json.loads(record.read_text())
    data = _data_on_disk(config, seed, folder / "data")

    log.info("seed %d: the MAE learns real faces", seed)
    job = config.pretrain.copy_and_resolve_references()
    job.seed = seed
    job.data.train, job.data.validation = data["train"], data["validation"]
    pretrain.run(job, folder / "mae")

    aucs: dict[str, dict[str, float]] = {}
    errors: dict[str, float] = {}
    note = ""
    for variant, detector in VARIANTS.items():
        log.info("seed %d: training %s", seed, variant)
        workdir = folder / variant.replace(" ", "_")
        job = config.detect.copy_and_resolve_references()
        job.seed, job.mae = seed, str(folder / "mae")
        job.data.train, job.data.validation = data["train"], data["validation"]
        job.data.methods = (config.trained_method,)
        job.detector.update(detector)
        if job.detector.init:
            job.detector.init = str(folder / "mae")
        detect.run(job, workdir)

        trained = TrainedDetector(workdir, make_mesh(), config.evaluate)
        prepared = trained.scorer.prepare(load_dataset(data["test"]))
        predictions = trained.predictions("last", [prepared])
        table = report(trained, "last", predictions, workdir)
        note = honest_note(predictions.examples)
        plot_training_curves(workdir / "curves.png", workdir / "metrics.jsonl", note=note)
        aucs[variant] = _method_aucs(table)
        if variant == OURS:
            energy = residual_energy(prepared, trained.alpha)
            aucs[ENERGY] = _energy_aucs(energy)
            errors = _mean_by_method(energy)
            test, autoencoder = load_dataset(data["test"]), {"inpainted": folder / "mae"}
            draw_gallery(folder / "residuals", test, autoencoder, make_mesh(), config.evaluate)
    tables = {"seed": seed, "note": note, "aucs": aucs, "mean_residual": errors}
    write_json(record, tables)
    return tables


def _data_on_disk(config: Config, seed: int, folder: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """Specs of the three splits; what is made on the fly is written to disk once."""
    specs = {}
    for split in ("train", "validation", "test"):
        specs[split] = tuple(spec.format(seed=seed) for spec in config.data[split])
        if any(spec.startswith("synthetic:") for spec in specs[split]):
            table = folder / f"{split}.csv"
            if not table.exists():
                log.info("seed %d: drawing %s", seed, ", ".join(specs[split]))
                export(load_dataset(specs[split]), table, config.detect.model.image_size)
            specs[split] = (f"csv:{table}",)
    return specs


def _method_aucs(table: dict[str, Any]) -> dict[str, float]:
    return {
        method: entry["auc"]
        for name, dataset in table.items()
        if name != results.ABOUT
        for method, entry in dataset["methods"].items()
    }


# ---- the residual without a classifier


def residual_energy(prepared: PreparedSet, alpha: float) -> Predictions:
    """Mean |residual| over the covered area as a score: the residual without a classifier."""
    examples, scores = [], []
    for batch in prepared.batches:
        for row in np.flatnonzero(batch["weight"] > 0):
            examples.append(prepared.dataset.examples[batch["index"][row]])
            residual = np.clip(alpha * batch["difference"][row].astype(np.float32), -1.0, 1.0)
            scores.append(float(np.abs(residual).mean()))
    return Predictions(examples, np.array(scores, np.float64), prepared.bad)


def _energy_aucs(energy: Predictions) -> dict[str, float]:
    parts = {method: results.against_all_reals(energy, method) for method in _fake_methods(energy)}
    return {method: metrics.auc(part.labels, part.scores) for method, part in parts.items()}


def _mean_by_method(energy: Predictions) -> dict[str, float]:
    methods = np.array([example.method for example in energy.examples])
    return {method: float(energy.scores[methods == method].mean()) for method in sorted({*methods})}


def _fake_methods(predictions: Predictions) -> list[str]:
    return sorted({e.method for e in predictions.examples if e.label != REAL})


# ---- all seeds together


def summarise(tables: list[dict[str, Any]], trained_method: str) -> dict[str, Any]:
    """Means over seeds, and what RFFR has more than each control, paired by seed."""
    methods = sorted(tables[0]["aucs"][OURS], key=lambda m: (m != trained_method, m))
    unseen = [method for method in methods if method != trained_method]

    def mean_unseen(table: dict[str, Any], variant: str) -> float:
        return float(np.mean([table["aucs"][variant][method] for method in unseen]))

    variants = [name for name in (*VARIANTS, ENERGY) if name in tables[0]["aucs"]]
    ours = [mean_unseen(table, OURS) for table in tables]
    rows = {}
    for variant in variants:
        own = [mean_unseen(table, variant) for table in tables]
        difference = bootstrap.paired_difference(ours, own)
        rows[variant] = {
            **{m: float(np.mean([t["aucs"][variant][m] for t in tables])) for m in methods},
            "mean_unseen": float(np.mean(own)),
            "mean_unseen_by_seed": own,
            "rffr_minus_this": difference.mean,
            "rffr_minus_this_ci95": difference.ci95 and list(difference.ci95),
        }
    errors = {
        method: float(np.mean([table["mean_residual"][method] for table in tables]))
        for method in tables[0]["mean_residual"]
    }
    return {
        "note": tables[0]["note"],
        "seeds": [table["seed"] for table in tables],
        "trained_method": trained_method,
        "methods": methods,
        "variants": rows,
        "mean_residual": errors,
    }


def format_summary(summary: dict[str, Any], workdir: pathlib.Path) -> str:
    """The summary as text for a terminal."""
    methods, trained = summary["methods"], summary["trained_method"]
    header = ["AUC in %", *(f"{m} *" if m == trained else m for m in methods), "mean unseen"]
    if len(summary["seeds"]) > 1:
        header.append("RFFR minus this (95 % over seeds)")
    lines = [header]
    for variant, row in summary["variants"].items():
        cells = [variant, *(f"{100 * row[m]:.1f}" for m in (*methods, "mean_unseen"))]
        if len(summary["seeds"]) > 1 and variant != OURS:
            low, high = row["rffr_minus_this_ci95"]
            difference = 100 * row["rffr_minus_this"]
            cells.append(f"{difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        lines.append(cells + [""] * (len(header) - len(cells)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    real = summary["mean_residual"]["real"]
    errors = ", ".join(
        f"{method} {value:.4f} ({value / real:.2f} x real)"
        for method, value in summary["mean_residual"].items()
        if method != "real"
    )
    seeds = ", ".join(map(str, summary["seeds"]))
    first = workdir / f"seed_{summary['seeds'][0]}"
    return "\n".join(
        [
            "",
            table,
            f"* = trained on; seeds {seeds}; checkpoint: last (no validation)",
            f"mean |residual|: real {real:.4f}, {errors}",
            f"pictures: {first}/residuals.png (real and fakes: image, inpainted, residual), "
            f"{first}/mae/samples/ (reconstructions), roc.png and curves.png in {first}/RFFR/",
            f"note: {summary['note']}",
        ]
    )
