"""Kills trainings with SIGKILL until they are done, and compares them with undisturbed ones.

    python scripts/kill_test.py --output FOLDER [--kills 20] [--seed 0]

Every job, pretrain and detect, is run once undisturbed. Then it is started on another workdir,
killed at a random moment, started again, and so on; half of the kills wait for a save.
At the end parameters, optimizer state, best weights, best.json and metrics.jsonl (but for what a
clock measured) must be equal bit for bit, and no half-written file may be left. Prints a table;
ends with 1 if anything differs.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from rffr_jax.cluster.command_line import run_program

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 24
SETTINGS = (
    "model.size=tiny",
    "model.image_size=48",
    "model.patch_size=12",
    "blocks.k=2",
    "data.train=synthetic:0#train?limit=32",
    "data.validation=synthetic:0#validation?limit=16",
    "data.workers=0",
    "batch_size=8",
    "optimizer.learning_rate=1e-3",
    f"steps={STEPS}",
    "log_every=1",
    "save_every=2",
    "evaluate_every=3",
)
CLOCKED = (
    "seconds",
    "images_per_second",
    "tflops_per_device",
    "mfu",
    "seconds_waited_for_data",
)
SUFFIX = ".orbax-checkpoint-tmp"
LIMIT = 600  # seconds that one start may take


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Kills trainings and compares them with undisturbed ones."
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="an empty folder")
    parser.add_argument("--kills", type=int, default=20, help="of both jobs together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    output = options.output.resolve()
    moments = random.Random(options.seed)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(output / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    mae = output / "pretrain" / "undisturbed"
    print("kill  job       moment               newest line  save that was hit", flush=True)
    kills, different = 0, []
    for number, (job, flags) in enumerate(
        {
            "pretrain": ("optimizer.warmup_steps=2",),
            "detect": (
                f"mae={mae}",
                "blocks.group=4",
                "evaluation_batch_size=8",
                "selection=source",
            ),
        }.items()
    ):
        folder = output / job
        undisturbed = folder / "undisturbed"
        seconds = finish(job, undisturbed, flags)
        last = options.kills * (number + 1) // 2
        attempt = 0
        while kills < last:
            attempt += 1
            workdir = folder / f"killed-{attempt}"
            while kills < last and (kill := killed(job, workdir, flags, moments, seconds)):
                kills += 1
                print(f"{kills:4}  {job:9} {kill}", flush=True)
            finish(job, workdir, flags)
            found = differences(undisturbed, workdir)
            different += [f"{workdir}: {difference}" for difference in found]
            print(f"      {job:9} done; {len(found)} differences", flush=True)
    for difference in different:
        print(difference)
    print(f"{kills} kills: {'DIFFERENT' if different else 'bit for bit the same'}")
    return 1 if different else 0


# ---- runs


def start(job: str, workdir: pathlib.Path, flags: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-m", "rffr_jax.main", f"--config={ROOT / 'configs' / job}.py"]
    command += [f"--workdir={workdir}", *(f"--config.{flag}" for flag in (*SETTINGS, *flags))]
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir.parent / f"{workdir.name}.log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(job: str, workdir: pathlib.Path, flags: tuple[str, ...]) -> float:
    """Runs to the end; the seconds that it took."""
    began = time.monotonic()
    with start(job, workdir, flags) as run:
        try:
            code = run.wait(LIMIT)
        finally:
            end(run)
    if code:
        log = (workdir.parent / f"{workdir.name}.log").read_text().splitlines()
        raise SystemExit(f"{job} in {workdir} ended with {code}: {log[-1] if log else ''}")
    return time.monotonic() - began


def killed(
    job: str,
    workdir: pathlib.Path,
    flags: tuple[str, ...],
    moments: random.Random,
    seconds: float,
) -> str | None:
    """Starts a run and kills it; what was hit, or None if the run was done before."""
    (aim,) = moments.choices(("save", "line", "start"), (5, 4, 1))
    count = moments.randint(1, {"save": 4, "line": 8, "start": 1}[aim])
    delay = moments.uniform(0, {"save": 0.02, "line": 0.1, "start": seconds / 2}[aim])
    before = half_written(workdir)
    with start(job, workdir, flags) as run:
        try:
            if aim == "save":
                wait_for_new(run, lambda: saves(workdir), count)
            elif aim == "line":
                wait_for_new(run, lambda: {newest_line(workdir)}, count)
            time.sleep(delay)
            code = run.poll()
        finally:
            end(run)
    if code is not None:
        if code:
            raise SystemExit(f"{job} in {workdir} ended with {code} by itself")
        return None
    moment = f"{aim} {count} + {1000 * delay:.0f} ms"
    hit = sorted(path for path, _ in half_written(workdir) - before)
    saves_hit = " ".join(str(path.relative_to(workdir / "checkpoints")) for path in hit)
    return f"{moment:20} {newest_line(workdir):11}  {saves_hit.replace(SUFFIX, '') or '-'}"


def wait_for_new(run: subprocess.Popen, look: Callable[[], set], count: int):
    """Returns when something new was seen `count` times, or the run has ended."""
    before, seen = look(), 0
    while run.poll() is None:
        now = look()
        seen += bool(now - before)
        if seen >= count:
            return
        before = now
        time.sleep(0.001)


def end(run: subprocess.Popen):
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


# ---- what is on the disk


def half_written(workdir: pathlib.Path) -> set[tuple[pathlib.Path, int]]:
    """Unfinished saves, each with the time of its last change."""
    folder = workdir / "checkpoints"
    paths = [path for depth in ("*", "best/*") for path in folder.glob(f"{depth}/*{SUFFIX}")]
    return {(path, path.stat().st_ctime_ns) for path in paths}


def saves(workdir: pathlib.Path) -> set[pathlib.Path]:
    """The checkpoints that are there or begun, by their final names."""
    folder = workdir / "checkpoints"
    paths = (path for depth in ("*", "best/*") for path in folder.glob(f"{depth}/[0-9]*"))
    return {path.with_name(path.name.split(".")[0]) for path in paths}


def newest_line(workdir: pathlib.Path) -> str:
    file = workdir / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    steps = re.findall(r'"step": (\d+)', lines[-1]) if lines else ()
    return f"step {steps[0]}" if steps else "none"


def differences(workdir: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What is not equal bit for bit in two workdirs, or is in only one."""
    found = []
    if metric_lines(workdir) != metric_lines(other):
        found.append("metrics.jsonl differs")
    names = [files(folder) for folder in (workdir, other)]
    found += [f"{name} is in only one of them" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if name.endswith(".json") and name not in ("config.json", "run.json"):
            if (workdir / name).read_bytes() != (other / name).read_bytes():
                found.append(f"{name} differs")
        elif (workdir / name).is_dir() and arrays(workdir / name) != arrays(other / name):
            found.append(f"{name} differs")
    return found


def files(workdir: pathlib.Path) -> set[str]:
    """Files of a workdir, and array folders (`.../parameters`) in place of what is in them."""
    found = set()
    for path in workdir.rglob("*"):
        name = path.relative_to(workdir).as_posix()
        item = name.split("/parameters")[0].split("/training")[0]
        if item != name:
            found.add(name[: len(item)] + "/" + name[len(item) + 1 :].split("/")[0])
        elif path.is_file() and path.name != "checksums.json" and "tensorboard" not in path.parts:
            found.add(name)
    return found


def arrays(item: pathlib.Path) -> dict[str, bytes]:
    """The bytes of every array of one item of a checkpoint."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp
    from etils import epath

    handler = ocp.PyTreeCheckpointHandler()
    tree = ocp.PyTreeCheckpointer().restore(
        item,
        restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
            handler.metadata(epath.Path(item)).tree,
        ),
    )
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes()
        for path, leaf in leaves
    }


def metric_lines(workdir: pathlib.Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines]


if __name__ == "__main__":
    sys.exit(run_program(main))
