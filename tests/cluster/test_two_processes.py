"""Two processes do what one does: train, stop, resume, evaluate, and hand over to one process."""

import csv
import json
import os
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.names import LATEST
from rffr_jax.runs.checkpoints.weights import load_weights
from tests import jobs
from tests.cluster.test_processes import ended, free_port, started

ROOT = pathlib.Path(__file__).parents[2]
BATCH = ("batch_size=8", "evaluation_batch_size=8")
STOPS = 2

# All in one start of both processes: their start takes longer than what they do.
PROGRAM = """
import contextlib, importlib, json, os, pathlib, signal, sys
import jax
process, port = map(int, sys.argv[1:3])
root, cache, runs = pathlib.Path(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from rffr_jax import main
from rffr_jax.cluster import processes
from rffr_jax.method.detection import Detection
from rffr_jax.cluster.launch import Launch
from rffr_jax.training import loop
from rffr_jax.cluster import interruption
from tests import jobs

interruption.SECONDS_BETWEEN = 0.0  # the processes ask each other at every step
before = loop.StepProfile.before

def signal_before(profile, step, state):
    if step == STOPS - 1 and process == 1:
        signal.raise_signal(signal.SIGTERM)
    before(profile, step, state)

with processes.join_processes(Launch(process, 2, f"localhost:{port}", "", None)):
    assert jax.device_count() == 2 and jax.local_device_count() == 1
    for job, name, stopped, flags in runs:
        if name == "again":
            Detection.differences = None  # every residual is kept
        loop.StepProfile.before = signal_before if stopped else before
        config = f"--config={jobs.CONFIGS / job}.py"
        changes = [f"--config.{flag}" for flag in ("data.workers=0", *flags)]
        argv = ["x", config, f"--workdir={root / name}", *jobs.FIXED[job], *changes]
        parsed, module, workdir, _ = main._parse(argv, ())
        try:
            importlib.import_module(module).run(parsed, workdir)
            assert not stopped
        except interruption.InterruptedRunError as error:
            assert stopped and f"stopped at step {STOPS} of 4" in str(error), error
        if processes.is_main_process() and stopped:
            (root / f"{name}-stopped").mkdir()
            os.system(f"cp -r {root / name} {root / name}-stopped/run")
        processes.all_gather_objects()
print("all done")
""".replace("STOPS", str(STOPS))


def predictions(workdir):
    with (workdir / "predictions.csv").open(newline="") as file:
        return {row["id"]: float(row["score"]) for row in csv.DictReader(file)}


def assert_close(some, others):
    """Metrics to five digits, from two runs."""
    assert [(line["step"], line["split"]) for line in some] == [
        (line["step"], line["split"]) for line in others
    ]
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        numbers = [name for name in one if name != "split"]
        values = [[line[name] for name in numbers] for line in (one, other)]
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path, faces, mae, data, compiled_programs):
    shutil.copytree(faces, tmp_path / "faces")
    broken = tmp_path / "faces" / "test" / "rows4.png"
    broken.write_bytes(b"no image")  # row 13 of 18: process 1 reads it
    detecting = (*data, *BATCH, f"mae={mae}", "data.methods=rows")
    alone = ("mae=", "detector.inputs=original", "detector.blocks=full")
    backbone = (f"backbone.weights={mae}", f"backbone.image_size={3 * jobs.PATCH}")
    head = (*backbone, "detector.train=head", "backbone.keep_features=always")
    tests = f"data.tests=csv:{tmp_path}/faces/test.csv"
    scoring = (tests, "batch_size=8", "data.max_bad_fraction=0.1")
    short = ("batch_size=6",)

    def runs(root):
        evaluating = (*scoring, f"detector={root / 'detect'}")
        shown = (f"mae={root / 'pretrain'}", f"data.inputs=csv:{tmp_path}/faces/test.csv")
        return [
            ("pretrain", "pretrain", short),
            ("detect", "detect", detecting),
            ("detect", "kept_residuals", (*detecting, "residuals.training=always")),
            ("detect", "kept_features", (*data, *BATCH, *alone, *head)),
            ("evaluate", "evaluate", evaluating),
            ("residual", "residual", (*shown, "batch_size=8", "data.max_bad_fraction=0.1")),
        ]

    one, two = tmp_path / "one", tmp_path / "two"
    for job, name, flags in runs(one):
        more = data if job == "pretrain" else ()
        assert jobs.start(job, one / name, *more, *flags) == 0

    plan = []
    for job, name, flags in runs(two):
        more = data if job == "pretrain" else ()
        if job in ("pretrain", "detect"):
            plan.append((job, name, True, [*more, *flags]))
        plan.append((job, name, False, [*more, *flags]))
    plan.append(("evaluate", "again", False, [*scoring, f"detector={two / 'detect'}"]))
    port, cache = free_port(), compiled_programs
    arguments = [str(two), str(cache), json.dumps(plan)]
    with started([["-c", PROGRAM, str(p), str(port), *arguments] for p in (0, 1)]) as children:
        codes, outputs, _ = ended(children)
    assert codes == [0, 0], outputs
    assert [output.splitlines()[-1] for output, _ in outputs] == ["all done"] * 2
    assert "AUC" in outputs[0][0]
    assert "AUC" not in outputs[1][0]

    # ---- the same losses and curves, although the two stopped and went on
    for name in ("pretrain", "detect", "kept_residuals", "kept_features"):
        assert_close(jobs.metric_lines(one / name), jobs.metric_lines(two / name))
        stopped = two / f"{name}-stopped" / "run"
        assert jobs.saved_steps(stopped / LATEST)[-1] == STOPS
        assert len(list((two / name / "tensorboard").iterdir())) == 2  # a file a start, not two
    abouts = (two / "residuals").glob("*/about.json")
    assert {json.loads(file.read_text())["arrays"] for file in abouts} == {"residuals", "features"}
    bests = [json.loads((root / "detect" / "best.json").read_text()) for root in (one, two)]
    assert bests[0].keys() == bests[1].keys()
    for name in ("config.json", "training_sources.json"):
        texts = [(root / "detect" / name).read_text() for root in (one, two)]
        assert texts[0].replace(str(one), "") == texts[1].replace(str(two), "")

    # ---- every record once, the broken one counted
    scores = [predictions(root / "evaluate") for root in (one, two)]
    assert len(scores[0]) == 17
    assert list(scores[0]) == list(scores[1])
    np.testing.assert_allclose(
        list(scores[0].values()), list(scores[1].values()), rtol=0, atol=1e-5
    )
    assert predictions(two / "again") == scores[1]
    tables = [json.loads((root / "evaluate" / "results.json").read_text()) for root in (one, two)]
    counts = [
        {name: entry for name, entry in table["faces"]["pooled"].items() if name[:2] == "n_"}
        for table in tables
    ]
    assert counts[0] == counts[1] == {"n_real": 6, "n_fake": 11, "n_bad": 1}
    pictures = [np.load(root / "residual" / "residuals.npz") for root in (one, two)]
    assert (pictures[0]["path"] == pictures[1]["path"]).all()
    assert len(pictures[0]["path"]) == 17
    np.testing.assert_allclose(pictures[0]["residual"], pictures[1]["residual"], rtol=0, atol=1e-4)

    # ---- one process takes over what two had begun, with exactly their weights
    stopped = two / "pretrain-stopped" / "run"
    _, abstract = abstract_mae(ModelSettings("tiny", jobs.SIZE, jobs.PATCH))
    restored = load_weights(stopped, "mae", abstract, make_mesh())
    there = jobs.saved_arrays(stopped / LATEST / str(STOPS))
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    jobs.assert_same_arrays(
        {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, there
    )
    assert jobs.start("pretrain", stopped, *data, *short) == 0
    assert_close(jobs.metric_lines(one / "pretrain"), jobs.metric_lines(stopped))


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_the_checkpoint_is_whole(tmp_path, data, mae):
    """Training for ever; process 1 is killed, process 0 is aborted, and the checkpoint is whole.

    Saves take long, so that one is under way when process 1 is killed.
    """
    workdir, port = tmp_path / "run", free_port()
    program = (
        "import sys, time, jax; jax.config.update('jax_disable_most_optimizations', True);"
        "from rffr_jax import main; from rffr_jax.cluster import processes;"
        "from rffr_jax.runs.checkpoints import manager; written = manager.write_checksums;"
        "manager.write_checksums = lambda folder: time.sleep(3) or written(folder);"
        "processes.HEARTBEAT_TIMEOUT = 10;"
        "sys.exit(main.run(sys.argv))"
    )
    flags = [*data, "data.workers=0", "steps=100000", "evaluate_every=100000", "save_every=2"]
    several = [f"--coordinator=localhost:{port}", "--processes=2"]
    command = [
        *("-c", program, f"--config={jobs.CONFIGS}/pretrain.py", f"--workdir={workdir}"),
        *(*jobs.FIXED["pretrain"], *(f"--config.{flag}" for flag in flags), *several),
    ]
    with started([[*command, f"--process={p}"] for p in (0, 1)]) as children:
        end = time.monotonic() + 600
        while not (workdir / LATEST).is_dir() or not jobs.saved_steps(workdir / LATEST):
            assert time.monotonic() < end
            assert all(child.poll() is None for child in children), ended(children)
            time.sleep(0.2)
        os.kill(children[1].pid, signal.SIGKILL)
        (code,), outputs, (said,) = ended(children[:1])
    assert code == -signal.SIGABRT, outputs
    assert "Timed out while waiting for async_write_complete" not in outputs[0][1]  # of a save
    assert "start all 2 again: the run resumes from its last checkpoint" in said[-1]
    step = jobs.saved_steps(workdir / LATEST)[-1]
    arrays = jobs.saved_arrays(workdir / LATEST / str(step))
    assert all(np.isfinite(array).all() for array in arrays.values())
