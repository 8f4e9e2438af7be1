"""How processes of a run end together: by one's mistake, a defect, or the loss of one."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import pytest

from rffr_jax.cluster import processes
from rffr_jax.cluster.launch import Launch

ROOT = pathlib.Path(__file__).parents[2]
GENEROUS = 900  # seconds, on a machine that has other things to do

PROGRAM = """
import sys, time
import jax
jax.config.update("jax_platforms", "cpu")
from rffr_jax.cluster import processes
from rffr_jax.errors import UserError
from rffr_jax.cluster.launch import Launch

what, process, count, port = sys.argv[1], *map(int, sys.argv[2:])
processes.HEARTBEAT_TIMEOUT = 8
with processes.join_processes(Launch(process, count, f"localhost:{port}", "", None)):
    assert processes.process_count() == count and processes.is_main_process() == (process == 0)
    for turn in range(5):
        said = processes.all_gather_objects([turn, process, "x" * 1000])
        assert said == [[turn, p, "x" * 1000] for p in range(count)]
    print("met", flush=True)
    if what == "mistake of all":
        raise UserError("this is wrong")
    if what == "mistake of the last" and process == count - 1:
        raise UserError("this is wrong here")
    if what == "mistake of the first" and process == 0:
        raise UserError("this is wrong here")
    if what == "defect" and process == 1:
        raise ZeroDivisionError("by zero")
    if what == f"loss of {process}":
        time.sleep(1000)
    if what != "nothing":
        processes.all_gather_objects("waits for those who never come")
print("done")
"""


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def started(commands):
    """Processes with their output in pipes, none of which outlives the block."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        running = []
        for command in commands:
            child = subprocess.Popen([sys.executable, *command], env=environment, **pipes)
            stack.enter_context(child)
            stack.callback(child.kill)
            running.append(child)
        yield running


def ended(children):
    """Exit codes, outputs and what the program itself said of errors."""
    outputs = [child.communicate(timeout=GENEROUS) for child in children]
    codes = [child.returncode for child in children]
    said = [
        [line for line in error.splitlines() if line.startswith("rffr_jax: ")]
        for _, error in outputs
    ]
    return codes, outputs, said


def program(what, count=2):
    port = free_port()
    return [["-c", PROGRAM, what, str(process), str(count), str(port)] for process in range(count)]


@pytest.mark.slow
def test_processes_meet_and_end():
    with started(program("nothing", 3)) as children:
        codes, outputs, said = ended(children)
    assert codes == [0, 0, 0], outputs
    assert [output.splitlines()[-2:] for output, _ in outputs] == [["met", "done"]] * 3
    assert said == [[], [], []]


ABORTED = -signal.SIGABRT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "codes", "lines"),
    [
        ("mistake of all", [2, 2], ["this is wrong", "process 1: this is wrong"]),
        ("mistake of the last", [ABORTED, 2], ["process 1: this is wrong here"]),
        ("mistake of the first", [2, ABORTED], ["this is wrong here"]),
        ("defect", [ABORTED, 1], []),
    ],
)
def test_a_process_that_ends_takes_the_others_along(what, codes, lines):
    with started(program(what)) as children:
        found, outputs, said = ended(children)
    assert found == codes, outputs
    told = [line for part in said for line in part if "start all 2 again" not in line]
    assert told == [f"rffr_jax: {line}" for line in lines]
    assert ("ZeroDivisionError: by zero" in outputs[1][1]) == (what == "defect")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_the_loss_of_a_process_aborts_the_others(number, name):
    with started(program(f"loss of {number}")) as children:
        for child in children:
            while (line := child.stdout.readline()) != "met\n":
                assert line
        children[number].send_signal(signal.Signals[name])
        (code,), outputs, _ = ended([children[1 - number]])
    assert code == ABORTED, outputs


@pytest.mark.parametrize(
    ("local", "visible", "there", "expected"),
    [
        (2, None, 8, [2]),
        (None, None, 4, [0, 1, 2, 3]),
        (None, "GPU-a,GPU-b", 4, [0, 1]),
        (None, "", 4, None),
        (None, "-1", 4, None),
        (None, None, 0, None),
    ],
)
def test_one_process_of_a_machine_takes_all_gpus_that_it_sees(
    local, visible, there, expected, monkeypatch, tmp_path
):
    for number in range(there):
        (tmp_path / f"0000:{number:02}:00.0").mkdir()
    monkeypatch.setattr(processes, "NVIDIA_GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **how: asked.update(how))
    processes._initialize(Launch(1, 4, "", "slurm", local))
    assert asked["local_device_ids"] == expected
    assert asked["cluster_detection_method"] == "slurm"
    # What was said by hand is not changed.
    if local is None:
        monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "1")
        processes._initialize(Launch(1, 4, "", "slurm", local))
        assert asked["local_device_ids"] is None
        monkeypatch.delenv("JAX_LOCAL_DEVICE_IDS")
        processes._initialize(Launch(1, 4, "localhost:1", "", local))
        assert asked["local_device_ids"] is None


def test_pods_wait_longer_for_each_other(monkeypatch):
    asked = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **how: asked.update(how))
    for seconds, environment in ((300, {}), (1800, {"JOB_COMPLETION_INDEX": "1"})):
        monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        processes._initialize(Launch(1, 4, "localhost:1", "", None))
        assert asked["initialization_timeout"] == seconds
