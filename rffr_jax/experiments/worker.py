"""Job `worker`: takes the runs of an experiment one after another, until all are done.

Every worker goes through the same list and takes the first run that is not done, whose
prerequisites are done and whose lock is free. So several workers share the runs: processes of one
command (`at_once`), or commands on several machines that see the same folder. A run that is done
says so in `run.json` beside what it wrote, with the seconds that it took.
"""

import contextlib
import dataclasses
import gc
import importlib
import logging
import os
import pathlib
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import jax

from rffr_jax.cluster import processes
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.experiments import worker_config
from rffr_jax.runs.lock import try_lock
from rffr_jax.runs.run_record import read_record, recorded_run

log = logging.getLogger(__name__)

LOG, RUNS = "log.txt", "runs.pickle"
JOBS = {
    "pretrain": "rffr_jax.training.pretrain",
    "detect": "rffr_jax.training.detect",
    "evaluate": "rffr_jax.evaluation.evaluate",
    "mean_residual": "rffr_jax.experiments.mean_residual",
    "energy_reference": "rffr_jax.experiments.energy_reference",
    "residual": "rffr_jax.evaluation.residuals",
}
POLL_SECONDS = 0.5
STOP_TIMEOUT = 120.0  # after which a worker that was asked to stop is killed
STOPPED_TEXT = "stopped; run the same command and it resumes"
DONE, USER_MISTAKE, STOPPED = 0, 2, 75


@dataclasses.dataclass(frozen=True)
class Run:
    """A job's config, the folder that it fills, and the folders of the runs that it needs.

    `key` is a digest of all that shapes the result; '' where nothing else can be in the folder.
    """

    config: Config
    folder: pathlib.Path
    prerequisites: tuple[pathlib.Path, ...] = ()
    key: str = ""


def run(config: Config, workdir: pathlib.Path):
    """Works through the runs of `read_runs`."""
    work_through(read_runs(config))


def read_runs(config: Config) -> list[Run]:
    """The runs in the file `config.runs`, which `run_all` wrote."""
    return pickle.loads(pathlib.Path(config.runs).read_bytes())


def run_all(runs: Sequence[Run], at_once: int, workdir: pathlib.Path):
    """Returns when all runs are done, whoever did them.

    Args:
      runs: those that others need come first.
      at_once: workers; 1 works in this process, more start as many processes, of which each sees
        one of the GPUs that this one sees, in turn.
      workdir: where processes leave what they say.

    Raises:
      UserError: of a run.
      InterruptedRunError: a signal asked to stop; every run has saved its state.
    """
    left = sum(not is_done(run) for run in runs)
    log.info("%d runs, %d of them done already", len(runs), len(runs) - left)
    if at_once == 1:
        work_through(runs)
    elif left:
        _run_in_processes(runs, min(at_once, left), workdir)


def work_through(runs: Sequence[Run]):
    """Takes runs until all are done; see `run_all`."""
    with StopRequest() as request:
        while waiting := [run for run in runs if not is_done(run)]:
            if request.should_stop(0):
                raise InterruptedRunError(STOPPED_TEXT)
            ready = (
                run
                for run in waiting
                if all(read_record(folder)["done"] for folder in run.prerequisites)
            )
            if not any(
                _run_if_free(run, f"run {runs.index(run) + 1} of {len(runs)}") for run in ready
            ):
                time.sleep(POLL_SECONDS)


def require_one_process(what: str):
    """Raises: UserError in one of several processes, which would all start the same trainings."""
    count = processes.process_count()
    if count > 1:
        raise UserError(
            f"{what} starts its trainings itself, and this run has {count} processes; start it "
            "without srun or mpirun, as the tasks of a job array or, an experiment, with "
            "--config.at_once=GPUS"
        )


def is_done(run: Run) -> bool:
    """Whether the run has come to its end.

    Raises:
      UserError: its folder holds the run of another config or of other data.
    """
    record = read_record(run.folder)
    if record["done"] and run.key and record.get("key", run.key) != run.key:
        raise UserError(
            f"{run.folder} was made with other settings or other data than there are now; name "
            "another --workdir, or delete that folder to make it again"
        )
    return record["done"]


# ---- one run


def _run_if_free(run: Run, name: str) -> bool:
    """Does a run, unless another worker is at it or has just ended it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with try_lock(run.folder / ".worker") as free:
        if not free or is_done(run):
            return False
        log.info("%s: %s", name, run.folder)
        with recorded_run(run.folder, key=run.key), _redirect_output(run.folder / LOG):
            try:
                importlib.import_module(JOBS[run.config.job]).run(run.config, run.folder)
            except UserError as error:
                raise UserError(f"{error} (the run in {run.folder})") from error
    jax.clear_caches()
    gc.collect()
    return True


@contextlib.contextmanager
def _redirect_output(file: pathlib.Path) -> Iterator[None]:
    """What a run prints goes into a file; what it logs goes there too."""
    program = logging.getLogger("rffr_jax")
    with file.open("w", encoding="utf-8") as said, contextlib.redirect_stdout(said):
        handler = logging.StreamHandler(said)
        program.addHandler(handler)
        try:
            yield
        finally:
            program.removeHandler(handler)


# ---- several workers


def _run_in_processes(runs: Sequence[Run], count: int, workdir: pathlib.Path):
    folder = workdir / "workers" / f"{socket.gethostname()}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNS).write_bytes(pickle.dumps(list(runs)))
    with StopRequest() as request, _started_workers(folder, count, workdir) as workers:
        while any(worker.poll() is None for worker in workers) and not request.should_stop(0):
            if any(worker.poll() not in (None, DONE) for worker in workers):
                break
            time.sleep(POLL_SECONDS)
        codes = [worker.poll() for worker in workers]
    for number, code in enumerate(codes):
        # A worker that has not begun to listen dies of the signal that asks it to stop.
        if code not in (None, DONE, STOPPED, -signal.SIGTERM, -signal.SIGINT):
            _raise_worker_error(_log_file(folder, number), code)
    if any(code != DONE for code in codes):
        raise InterruptedRunError(STOPPED_TEXT)
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # another command's workers are there
        folder.parent.rmdir()


@contextlib.contextmanager
def _started_workers(
    folder: pathlib.Path, count: int, workdir: pathlib.Path
) -> Iterator[list[subprocess.Popen]]:
    """Workers, none of which outlives the context; those that run are asked to save and stop."""
    command = [
        *(sys.executable, "-m", "rffr_jax.main"),
        f"--config={worker_config.__file__}:{folder / RUNS}",
        f"--workdir={workdir}",
    ]
    workers = []
    try:
        for number in range(count):
            with _log_file(folder, number).open("w") as output:
                workers.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env={
                            **os.environ,
                            **_compile_cache_environment(),
                            **_gpu_environment(number),
                        },
                    )
                )
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        end = time.monotonic() + STOP_TIMEOUT
        for worker in workers:
            try:
                worker.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _log_file(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number}.txt"


def _raise_worker_error(file: pathlib.Path, code: int):
    """Raises what ended a worker: its user's mistake in one line, or a defect."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()] or ["it said nothing"]
    last = said[-1].removeprefix("rffr_jax: ")
    if code == USER_MISTAKE:
        raise UserError(last)
    raise RuntimeError(f"a worker ended with code {code}: {last} (see {file})")


def _compile_cache_environment() -> dict[str, str]:
    """The environment in which a process finds the programs that others have compiled."""
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return {"JAX_COMPILATION_CACHE_DIR": folder} if folder else {}


def _gpu_environment(number: int) -> dict[str, str]:
    """The environment in which a process sees one of the GPUs; nothing without GPUs."""
    if jax.default_backend() != "gpu":
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else list(map(str, range(jax.local_device_count())))
    return {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
