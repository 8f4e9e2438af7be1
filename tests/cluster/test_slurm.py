"""The batch files: what they answer to each way that a run can end; Slurm itself is a stub."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "slurm"
BATCH_FILES = sorted(SCRIPTS.glob("*.sbatch"))

SRUN = """#!/usr/bin/env bash
echo "$@" > "$RECORDS/srun"
echo "cores $SRUN_CPUS_PER_TASK level $JAX_OPTIMIZATION_LEVEL" > "$RECORDS/environment"
trap 'echo USR1 > "$RECORDS/asked"; exit 75' USR1
[ "$RC" = wait ] || exit "$RC"
touch "$RECORDS/waits"
for i in {1..600}; do sleep 0.1; done
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$RECORDS/scontrol"
"""


@pytest.fixture
def records(tmp_path):
    """A folder of stubs that go before the real commands, and of what they were called with."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def environment(records, code, **more):
    path = f"{records / 'bin'}:{os.environ['PATH']}"
    known = {"PATH": path, "RECORDS": str(records), "RC": str(code), "SLURM_JOB_ID": "17"}
    return {**os.environ, **known, **more}


def submitted(records, code, *flags, file="pretrain.sbatch", **more):
    command = ["bash", str(SCRIPTS / file), *flags]
    shell = environment(records, code, **more)
    return subprocess.run(command, env=shell, cwd=ROOT, capture_output=True, text=True, timeout=100)


def requeued(records):
    file = records / "scontrol"
    return file.read_text() if file.exists() else ""


def test_every_batch_file_is_good_bash_and_asks_for_what_jax_expects():
    assert len(BATCH_FILES) == 3
    for file in [*BATCH_FILES, SCRIPTS / "job.sh"]:
        subprocess.run(["bash", "-n", str(file)], check=True)
    for file in BATCH_FILES:
        asked = [line for line in file.read_text().splitlines() if line.startswith("#SBATCH")]
        parts = [line.removeprefix("#SBATCH --").partition("=") for line in asked]
        options = {name: value for name, _, value in parts}
        assert options["ntasks-per-node"] == options["gres"].removeprefix("gpu:")
        assert options["signal"].startswith("B:USR1@")
        assert "requeue" in options
        assert "gpus-per-task" not in options


@pytest.mark.parametrize(
    ("code", "again"),
    [(0, ""), (1, ""), (2, ""), *((code, "requeue 17\n") for code in (75, 134, 137, 143))],
)
def test_what_can_go_on_is_requeued(records, code, again):
    done = submitted(records, code, "--workdir=here")
    assert (done.returncode, requeued(records)) == (code, again), done.stderr
    called = (records / "srun").read_text().split()
    assert called[-1] == "--workdir=here"
    assert "--config=configs/pretrain.py" in called
    assert "--kill-on-bad-exit=1" in called


TWO_TASKS = """#!/usr/bin/env bash
shift
"$@"            # the task that ends first, with its own code
exit 137        # the other one is killed, and the highest code is srun's
"""


@pytest.mark.parametrize(
    ("code", "found", "again"), [(2, 2, ""), (1, 1, ""), (134, 137, "requeue 17\n")]
)
def test_a_mistake_of_one_task_is_the_jobs_and_is_not_requeued(records, code, found, again):
    (records / "bin" / "srun").write_text(TWO_TASKS)
    python = records / "python"
    python.write_text(f"#!/usr/bin/env bash\nexit {code}\n")
    python.chmod(0o755)
    done = submitted(records, 0, PYTHON=str(python))
    assert (done.returncode, requeued(records)) == (found, again), done.stderr
    assert not list(ROOT.glob(".ended-*"))


def test_any_job_on_several_machines(records):
    done = submitted(records, 0, "detect", "--workdir=here", file="multi_node.sbatch")
    assert done.returncode == 0
    assert "--config=configs/detect.py --workdir=here" in (records / "srun").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "cores level"),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "4"}, "cores 8 level O1"),
        ({"SLURM_GPUS_ON_NODE": "4", "JAX_OPTIMIZATION_LEVEL": "O0"}, "cores level O0"),
    ],
)
def test_tasks_get_the_cores_that_were_asked_for_and_gpus_the_scheduler(
    records, given, expected, monkeypatch
):
    for name in ("SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "JAX_OPTIMIZATION_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    assert submitted(records, 0, **given).returncode == 0
    assert (records / "environment").read_text().split() == expected.split()


@pytest.mark.parametrize(("count", "again"), [("2", "requeue 17\n"), ("3", "")])
def test_requeues_are_counted(records, count, again):
    done = submitted(records, 75, SLURM_RESTART_COUNT=count, MAX_REQUEUES="3")
    assert (done.returncode, requeued(records)) == (75, again)
    assert ("sbatch it again" in done.stderr) == (not again)


@pytest.mark.parametrize(("name", "again"), [("SIGUSR1", "requeue 17\n"), ("SIGTERM", "")])
def test_a_signal_reaches_the_tasks_and_a_cancelled_job_stays_so(records, name, again):
    command = ["bash", str(SCRIPTS / "detect.sbatch")]
    with subprocess.Popen(command, env=environment(records, "wait"), cwd=ROOT) as batch:
        try:
            end = time.monotonic() + 60
            while not (records / "waits").exists():
                assert time.monotonic() < end
                time.sleep(0.05)
            batch.send_signal(signal.Signals[name])
            assert batch.wait(timeout=60) == 75
        finally:
            batch.kill()
    assert (records / "asked").exists()
    assert requeued(records) == again
