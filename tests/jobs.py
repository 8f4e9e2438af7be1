"""Runs of the program as a user starts them, on the tiny model and 48 px pictures."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

from rffr_jax.main import run
from scripts.kill_test import CLOCKED

CONFIGS = Path(__file__).parent.parent / "configs"
SIZE, PATCH = 48, 12
MODEL = (
    "--config.model.size=tiny",
    f"--config.model.image_size={SIZE}",
    f"--config.model.patch_size={PATCH}",
    "--config.blocks.k=2",
)
TRAINING = (
    *MODEL,
    "--config.steps=4",
    "--config.batch_size=4",
    "--config.optimizer.learning_rate=1e-3",
    "--config.log_every=1",
    "--config.save_every=2",
    "--config.evaluate_every=2",
)
FIXED = {
    "pretrain": (*TRAINING, "--config.optimizer.warmup_steps=1"),
    "detect": (
        *TRAINING,
        "--config.blocks.group=4",
        "--config.evaluation_batch_size=4",
        "--config.selection=source",
    ),
    "evaluate": ("--config.batch_size=4",),
    "robustness": ("--config.batch_size=4",),
    "controls": ("--config.batch_size=4",),
    "features": ("--config.batch_size=4",),
    "predict": ("--config.batch_size=4",),
    "web": (),
    "residual": ("--config.batch_size=4",),
}
GIVEN = ("faces=given", "darkest=0", "least_sharpness=0")
"""Flags of `predict` for crops of any quality."""


def start(job: str, workdir: Path | str, *flags: str) -> int:
    """Runs `configs/JOB.py` with the settings above and `--config.` before every flag given.

    Args:
      job: with `:VARIANT` behind it, if any.

    Returns:
      The exit code.
    """
    name, colon, variant = job.partition(":")
    config = f"--config={CONFIGS / name}.py{colon}{variant}"
    changes = [f"--config.{flag}" for flag in ("data.workers=0", *flags)]
    return run(["rffr_jax", config, f"--workdir={workdir}", *FIXED[name], *changes])


def predict(workdir: Path, detector: Path, inputs: Path | str, *flags: str) -> dict:
    """predictions.json of the job `predict`, which ends well."""
    given = (f"detector={detector}", f"inputs={inputs}", *flags)
    assert start("predict", workdir, *given) == 0
    return json.loads((workdir / "predictions.json").read_text())


def draw_faces(folder: Path, dataset: str = "faces", *, seed: int, reals: int = 6):
    """Writes `reals` smooth pictures and two striped copies of each, and the table FOLDER.csv.

    The fakes of method `rows` have stripes along rows, those of `columns` along columns.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(reals):
        coarse = Image.fromarray(rng.integers(40, 200, (4, 4, 3), dtype=np.uint8))
        real = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(int)
        stripes = 20 * (-1) ** np.arange(SIZE)
        images = {
            "real": real,
            "rows": real + stripes[:, None, None],
            "columns": real + stripes[None, :, None],
        }
        for method, image in images.items():
            name = f"{folder.name}/{method}{number}.png"
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder.parent / name)
            label = int(method != "real")
            rows.append((name, label, method, dataset, f"{folder.name}/real{number}"))
    write_table(folder.with_suffix(".csv"), rows)


def write_table(path: Path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "method", "dataset", "source"))
        writer.writerows(rows)


def metric_lines(workdir: Path) -> list[dict]:
    """metrics.jsonl without the numbers that a clock measured."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines]


def saved_steps(folder: Path) -> list[int]:
    """The steps of the whole checkpoints in a folder."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())


def saved_arrays(checkpoint: Path, part: str = "parameters") -> dict[str, np.ndarray]:
    """The arrays of one part of a checkpoint, by their place in the tree."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        there = checkpointer.metadata(checkpoint / part).item_metadata
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), there.tree)
        tree = checkpointer.restore(checkpoint / part, restore_args=as_numpy)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_run(workdir: Path, other: Path, step: str = "4"):
    """Metrics and the checkpoint of a step are equal."""
    assert metric_lines(workdir) == metric_lines(other)
    for part in ("parameters", "training"):
        folders = [run / "checkpoints" / "latest" / step for run in (workdir, other)]
        assert_same_arrays(*(saved_arrays(folder, part) for folder in folders))


def assert_same_arrays(some: dict[str, np.ndarray], others: dict[str, np.ndarray]):
    assert some.keys() == others.keys()
    for name, array in some.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
