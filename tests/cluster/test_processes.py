"""How processes of a run end together: by one's mistake, a defect, or the loss of one."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest

from rffr_jax.cluster import processes

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
processes.LOST_AFTER = 8
with processes.joined(Launch(process, count, f"localhost:{port}", "", None)):
    assert processes.count() == count and processes.is_first() == (process == 0)
    for turn in range(5):
        said = processes.of_everyone([turn, process, "x" * 1000])
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
        processes.of_everyone("waits for those who never come")
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
    assert [output for output, _ in outputs] == ["met\ndone\n"] * 3
    assert said == [[], [], []]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "lines"),
    [
        ("mistake of all", 2, [["this is wrong"], [], []]),
        (
            "mistake of the last",
            2,
            [["process 2 ended the run: this is wrong here"], [], ["this is wrong here"]],
        ),
        ("mistake of the first", 2, [["this is wrong here"], [], []]),
        (
            "defect",
            1,
            [
                ["process 1 ended the run: ZeroDivisionError: by zero"],
                ["ZeroDivisionError: by zero"],
                [],
            ],
        ),
    ],
)
def test_what_one_process_finds_ends_all(what, code, lines):
    with started(program(what, 3)) as children:
        codes, outputs, said = ended(children)
    assert codes == [code] * 3, outputs
    assert said == [[f"rffr_jax: {line}" for line in part] for part in lines]
    assert [("Traceback" in error) for _, error in outputs] == [False, what == "defect", False]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_lost_process_is_named_and_the_others_end(number, name):
    with started(program(f"loss of {number}")) as children:
        for child in children:
            assert child.stdout.readline() == "met\n"
        time.sleep(2.5)  # records are exchanged
        children[number].send_signal(signal.Signals[name])
        (code,), outputs, (said,) = ended([children[1 - number]])
    assert code == 75, outputs
    who = "process 0, the coordinator," if number == 0 else "process 1"
    assert said == [
        f"rffr_jax: {who} is gone; the last checkpoint is whole: start all 2 processes again to "
        "go on"
    ]


def test_an_error_of_the_coordination_service_may_mean_a_lost_process():
    """It is raised in this package's own frame, where the service is called."""
    assert processes._comes_from_jax(jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed"))
    assert not processes._comes_from_jax(ValueError("a mistake of ours"))
