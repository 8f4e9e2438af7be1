"""A small experiment as trainings and evaluations leave it on disk, made of random scores."""

import json
from pathlib import Path

import numpy as np

from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example
from rffr_jax.experiments.run_result import UNKNOWN_TRAINING, RunResult, TableSpec

COLUMNS: tuple[str, ...] = ("rows", "columns")
EVIL = "<script>alert('x')</script>&"


def cell(aucs: list[float], seen: bool = False, **others) -> dict:
    mean = float(np.mean(aucs))
    runs = [{"seed": i, "mae_seed": None, "auc": auc} for i, auc in enumerate(aucs)]
    spread = float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None
    kept = {"auc": mean, "sd": spread, "ci95": [mean - 0.05, min(1.0, mean + 0.05)]}
    kept["given"] = [] if len(aucs) > 4 else ["these seeds"]
    return kept | {"rule": "last", "seen": seen, "runs": runs} | NOT_PUBLISHED | others


NOT_PUBLISHED = {"published": None, "difference": None}


def row(method: str, cells: dict, source: str = "measured", trained_on: str = "rows") -> dict:
    about = {"trained_on": trained_on, "method": method, "rule": "last", "source": source}
    return about | {"cells": cells, **UNKNOWN_TRAINING}


def scored(rng: np.random.Generator, count: int = 12) -> Predictions:
    """Scores of the data set `faces`; an id and a method hold what HTML must not read."""
    examples = [
        Example(f"{m}{i}{EVIL}", "", int(m != "real"), "faces", m, f"{m}{i}", 0, f"{i}")
        for m in ("real", *COLUMNS)
        for i in range(count)
    ]
    return Predictions(examples, rng.permutation(len(examples)) / len(examples))


def write_run(folder: Path, rng: np.random.Generator, checkpoint: str = "last") -> Path:
    """A workdir with a log of validations, predictions and results.json's `about`."""
    folder.mkdir(parents=True)
    lines = [{"step": 5, "split": "train", "loss": 0.5}]
    for step in (10, 20, 30):
        aucs = {f"auc_{column}": float(rng.random()) for column in COLUMNS}
        lines.append({"step": step, "split": "faces", "auc": float(rng.random()), **aucs})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scored(rng).write_csv(folder / "predictions.csv")
    about = {"checkpoint": checkpoint, "rule": "last", "versions": {"jax": "1.2.3"}}
    about["warnings"] = [f"a warning {EVIL}"]
    (folder / "results.json").write_text(json.dumps({"about": about}))
    return folder


def experiment(folder: Path, methods: list[str], seeds: int = 2) -> tuple[TableSpec, list, dict]:
    """Table, runs and summary of an experiment whose last method is the best."""
    rng = np.random.default_rng(7)
    measured, rows = [], []
    for number, method in enumerate(methods):
        own = []
        for seed in range(seeds):
            run = write_run(folder / f"run{number}_{seed}", rng)
            aucs = {c: 0.5 + 0.02 * number + float(rng.random()) / 100 for c in COLUMNS}
            places = dict.fromkeys(COLUMNS, run)
            rules = dict.fromkeys(COLUMNS, "last")
            intervals = dict.fromkeys(COLUMNS)
            about = ("rows", method, "last", seed, None)
            own.append(RunResult(*about, aucs, intervals, rules, run, places, None, 1.0))
        cells = {c: cell([one.aucs[c] for one in own], seen=c == "rows") for c in COLUMNS}
        cells["mean_all"] = cell([float(np.mean(list(one.aucs.values()))) for one in own])
        cells["mean_unseen"] = cells["columns"] | {"seen": False}
        rows.append(row(method, cells))
        measured += own
    paper = row("theirs", {"FSW": cell([0.9344], ci95=None)}, "published", "F2F")
    claim = {"text": f"one beats another {EVIL}", "better": "a", "worse": "b", "column": ""}
    claim |= {"trained_on": "rows", "rule": "last", "difference": 0.031, "ci95": [-0.01, 0.07]}
    claim |= {"seeds": seeds, "maes": 0, "by_mae": [], "given": [], "caveat": ""}
    claim |= {"verdict": "unresolved"}
    note, command = "made-up scores", f"python -m rffr_jax.main --config={EVIL}"
    title, seen = f"What to read {EVIL}", {"rows": ("rows",)}
    table = TableSpec("table5", "synthetic", title, COLUMNS, seen, note, command=command)
    summary = {"name": table.name, "variant": table.variant, "title": table.title, "note": note}
    summary |= {
        "command": command,
        "columns": list(COLUMNS),
        "controls": [],
        "rows": rows,
        "claims": [claim],
    }
    summary |= {"seeds": list(range(seeds)), "mae_seeds": [], "remarks": []}
    return table, measured, summary | {"published": [paper]}
