"""The one entry: flags -> config -> job.

    python -m rffr_jax.main --config=configs/<job>.py[:variant] [--workdir=DIR] [--config.a.b=...]

Several processes, one an accelerator or one a machine, are found by themselves under srun and under
Open MPI's mpirun. Elsewhere start each with --coordinator=HOST:PORT --processes=N --process=P; in a
Kubernetes Indexed Job --process is the job's completion index where it is not given.

Exit codes: 0 done; 1 a defect of the program; 2 a mistake of the user, in one line; 75
stopped by a signal after saving: run the same command again to resume.
"""

import contextlib
import importlib
import logging
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from rffr_jax.cluster import processes
from rffr_jax.cluster.command_line import USER_MISTAKE, device_errors_in_one_line, run_program
from rffr_jax.cluster.launch import Launch, find_launch
from rffr_jax.config import (
    Config,
    check_config,
    flat,
    refuse_address,
    refuse_addresses,
    with_pinned_models,
)
from rffr_jax.errors import UserError
from rffr_jax.runs.model_names import pinned_model
from rffr_jax.web.stop_signals import StopSignals

JOBS = {
    "pretrain": "rffr_jax.training.pretrain",
    "detect": "rffr_jax.training.detect",
    "evaluate": "rffr_jax.evaluation.evaluate",
    "compare": "rffr_jax.evaluation.compare",
    "robustness": "rffr_jax.evaluation.robustness",
    "controls": "rffr_jax.evaluation.controls",
    "features": "rffr_jax.evaluation.features",
    "residual": "rffr_jax.evaluation.residuals",
    "predict": "rffr_jax.predict.predict",
    "web": "rffr_jax.web.serve",
    "experiment": "rffr_jax.experiments.experiment",
    "worker": "rffr_jax.experiments.worker",
}
SWEEP, DRY_RUN = "rffr_jax.experiments.sweep", "rffr_jax.experiments.dry_run"
TRAININGS = ("pretrain", "detect")
DONE, STOPPED = 0, 75
USAGE = "python -m rffr_jax.main --config=configs/JOB.py [--workdir=DIR] [--config.KEY=VALUE]"


def run(argv: Sequence[str], typed: Sequence[str] = ()) -> int:
    """Runs one job in this process.

    Args:
      argv: program name and flags.
      typed: the command that the user typed, where it is another one than `argv`.

    Returns:
      The exit code.
    """
    try:
        config, module, workdir, launch = _parse(argv, typed)
        if config is None:
            return DONE
        _log_to_terminal(launch)
        _keep_freed_memory(config)
        # The GPUs' memory is for the processes that these jobs start.
        if config.get("at_once", 1) > 1 or config.job == "web":
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        # JAX is imported later: a Ctrl-C inside its callbacks would be lost.
        signals = StopSignals() if config.job == "web" else contextlib.nullcontext()
        with signals, processes.join_processes(launch), device_errors_in_one_line():
            from rffr_jax.cluster.agreement import agree_on_devices, require_same_config
            from rffr_jax.cluster.compile_cache import enable_compile_cache
            from rffr_jax.cluster.interruption import InterruptedRunError

            require_same_config(config, workdir)
            agree_on_devices()
            enable_compile_cache()
            try:
                importlib.import_module(module).run(config, workdir)
            except InterruptedRunError as stopped:
                if processes.is_main_process():
                    print(f"rffr_jax: {stopped}", file=sys.stderr)
                return STOPPED
    except UserError as error:
        print(f"rffr_jax: {error}", file=sys.stderr)
        return USER_MISTAKE
    return DONE


def _keep_freed_memory(config: Config):
    """For the trainings of a job, before JAX computes anything; the largest one decides."""
    if config.job == "worker":
        runs = importlib.import_module(JOBS["worker"]).read_runs(config)
        trainings = [run.config for run in runs if run.config.job in TRAININGS]
    else:
        trainings = [config] if config.job in TRAININGS else []
        trainings += [config[job] for job in TRAININGS if job in config]
    if not trainings:
        return
    from rffr_jax.cluster.freed_memory import keep_freed_memory
    from rffr_jax.models.sizes import ModelSettings
    from rffr_jax.rivals import VIT
    from rffr_jax.training.step_memory import rival_step_bytes, training_step_bytes

    def step_bytes(training: Config) -> int:
        images = training.batch_size // training.micro_batches
        if "detector" in training and training.detector.backbone != VIT:
            name, given = training.detector.backbone, training.rival.to_dict()
            return rival_step_bytes(name, given, training.model.image_size, images)
        return training_step_bytes(ModelSettings(**training.model), images)

    keep_freed_memory(max(map(step_bytes, trainings)))


class _TerminalHandler(logging.StreamHandler):
    """Prints the program's log lines."""


def _log_to_terminal(launch: Launch | None):
    log = logging.getLogger("rffr_jax")
    if not any(isinstance(handler, _TerminalHandler) for handler in log.handlers):
        handler = _TerminalHandler()
        handler.setFormatter(logging.Formatter("rffr_jax: %(message)s"))
        if launch and launch.process:
            number = f"rffr_jax: process {launch.process}: %(message)s"
            handler.setFormatter(logging.Formatter(number))
            handler.setLevel(logging.WARNING)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False  # JAX's libraries hang a handler of their own on the root


def _parse(
    argv: Sequence[str], typed: Sequence[str]
) -> tuple[Config | None, str, pathlib.Path, Launch | None]:
    """The config, the module that runs it, the workdir, and how processes were started."""
    values = flags.FlagValues()
    config_flag = config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file of the job, with :VARIANT behind it.",
        flag_values=values,
        sys_argv=list(argv),
    )
    workdir_flag = flags.DEFINE_string(
        "workdir", None, "Folder of the run; runs/JOB by default.", flag_values=values
    )
    coordinator_flag = flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0 of several; any free port.", flag_values=values
    )
    processes_flag = flags.DEFINE_integer(
        "processes", None, "How many there are.", flag_values=values
    )
    process_flag = flags.DEFINE_integer(
        "process", None, "Which this is, from 0 on.", flag_values=values
    )
    dry_run_flag = flags.DEFINE_bool(
        "dry-run",
        False,
        "Of an experiment or a sweep: show the runs, what is done, and the time that is left.",
        values,
    )
    help_flag = flags.DEFINE_bool("help", False, "Show this help.", values, short_name="h")
    try:
        rest = values(list(argv))[1:]
        config = None if help_flag.value else config_flag.value
        job = None if config is None else config.get("job")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{_one_line(error, argv)}; start it in the folder that holds configs/"
        ) from error
    except flags.UnrecognizedFlagError as error:
        name, loaded = error.flagname, values["config"].value
        if not isinstance(loaded, ConfigDict) or name not in flat(loaded.to_dict()):
            raise UserError(_one_line(error, argv)) from error
        raise UserError(
            f"Unknown command line flag '{name}'; did you mean --config.{name}?"
        ) from error
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_one_line(error, argv)) from error
    if help_flag.value:
        print(f"{__doc__}\n{values.get_help()}")
        return None, "", pathlib.Path(), None
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; usage: {USAGE}")
    if config is None:
        raise UserError(f"--config is missing; usage: {USAGE}")
    if job not in JOBS:
        raise UserError(f"the config's job is {job!r}; it must be one of {', '.join(JOBS)}")
    check_config(config)
    refuse_addresses(config)
    refuse_address(workdir_flag.value or "", "--workdir=")
    launch = find_launch(
        os.environ, coordinator_flag.value, processes_flag.value, process_flag.value
    )
    config = with_pinned_models(config, lambda name, entry: pinned_model(name, f"--config.{entry}"))
    if job == "detect" and config.init_from:
        from rffr_jax.training.fine_tuning import with_settings_of_detector

        changed = config_flags.get_override_values(values["config"])
        config = with_settings_of_detector(config, changed)
    if "command" in config:
        config.command = shlex.join(typed or ["python", "-m", "rffr_jax.main", *argv[1:]])
    workdir = pathlib.Path(workdir_flag.value or _default_workdir(config))
    if not launch or launch.process == 0:
        data = _data(config)
        print(f"rffr_jax: {job} in {workdir}{data and f', data: {data}'}", flush=True)
    module = SWEEP if config.get("sweep") else JOBS[job]
    return config, DRY_RUN if dry_run_flag.value else module, workdir, launch


def _default_workdir(config: Config) -> pathlib.Path:
    if config.job == "experiment":
        paper = pathlib.Path("runs", "paper", f"{config.name}-{config.variant}")
        return paper if config.variant else pathlib.Path("runs", config.name)
    job = "fine_tune" if config.job == "detect" and config.init_from else config.job
    return pathlib.Path("runs", f"{job}_sweep" if config.get("sweep") else job)


def _data(config: Config) -> str:
    """The data specs of a config, for the first line of a run."""
    names = ("train", "validation", "test", "tests", "reals", "inputs")
    data = config.get("data", {})
    specs = {name: data[name] for name in names if data.get(name)}
    specs |= {name: config[name] for name in ("runs", "inputs") if config.get(name)}
    return ", ".join(
        f"{name} {spec if isinstance(spec, str) else ' '.join(spec)}"
        for name, spec in specs.items()
    )


def _one_line(error: BaseException, argv: Sequence[str]) -> str:
    while isinstance(error, KeyError | AttributeError) and error.args:
        if not isinstance(error.args[0], BaseException):
            return _no_entry(" ".join(str(error.args[0]).split()), argv)
        error = error.args[0]
    text = " ".join(str(error).split())
    text = re.sub(r"invalid literal for int\(\).*", "it must be a whole number", text)
    return re.sub(r"could not convert string to float: .*", "it must be a number", text)


def _no_entry(said: str, argv: Sequence[str]) -> str:
    """That a config lacks an entry, from what its error says, and what to do."""
    found = re.search(r' ?Did you mean "(.+)" instead of "(.+)"\?', said)
    if not found:
        return f"the config has no entry {said}; `rffr-jax JOB --help` lists the keys"
    meant, typed = found.groups()
    names = [argument.partition("=")[0].split(".") for argument in argv]
    name = next((parts for parts in names if typed in parts), ["--config", typed])
    flag = ".".join(meant if part == typed else part for part in name)
    return f"the config has no entry {said[: found.start()]}; did you mean {flag}?"


if __name__ == "__main__":
    sys.exit(run_program(lambda: run(sys.argv), prefix="rffr_jax", models=True))
