"""The command `rffr-jax`, which runs the program from any folder with the configs in the package.

    rffr-jax predict PHOTO.jpg VIDEO.mp4 FOLDER [--workdir=DIR] [--config.KEY=VALUE ...]
    rffr-jax JOB[:VARIANT] [--workdir=DIR] [--config.KEY=VALUE ...]
    rffr-jax --config=FILE.py[:VARIANT] [...]      a config file of your own
    rffr-jax demo                                  trains RFFR beside its controls, in minutes
    rffr-jax doctor                                checks this installation
    rffr-jax export-model WORKDIR DIR              a trained model as a folder to carry and share
    rffr-jax export DETECTOR --to TO               a detector for programs without this package
    rffr-jax push DIR OWNER/NAME                   a model folder to the Hugging Face hub
    rffr-jax runs [FOLDER] [--csv FILE]            all runs below a folder: state, loss, AUC, time
    rffr-jax metrics TABLE.csv ...                 metrics from tables of scores
    rffr-jax compare TABLE.csv TABLE.csv ...       differences between tables of scores

`rffr-jax JOB ...` is `python -m rffr_jax.main --config=configs/JOB.py ...`.
"""

import ast
import difflib
import pathlib
import sys
import textwrap
import types
from collections.abc import Sequence

import rffr_jax
from rffr_jax import main
from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError

ALIASES = {"demo": "quickstart"}
COMMENT = "      # "
VALUES = {"workdir": "DIR", "coordinator": "HOST:PORT", "processes": "N", "process": "N"}
OTHERS = ("doctor", "export", "export-model", "metrics", "push", "runs")


def console_script() -> int:
    """The entry point of the command.

    Returns:
      The exit code: 0 done, 1 a defect, 2 a mistake of the user, 75 stopped after saving.
    """
    return run_program(lambda: run(sys.argv[1:]), prefix="rffr-jax", models=True)


def run(arguments: Sequence[str]) -> int:
    """Runs one job, or `doctor`.

    Args:
      arguments: those behind `rffr-jax`.

    Returns:
      The exit code.

    Raises:
      UserError: no such job, or arguments that it does not take.
    """
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(_help())
        return main.DONE
    if arguments[0] == "doctor":
        from rffr_jax.command import doctor

        return doctor.main(arguments[1:])
    if arguments[0] == "export-model":
        from rffr_jax.command import export_model

        return export_model.main(arguments[1:])
    if arguments[0] == "export":
        from rffr_jax.command import export

        return export.main(arguments[1:])
    if arguments[0] == "push":
        from rffr_jax.command import push

        return push.main(arguments[1:])
    if _is_about_score_tables(arguments):
        from rffr_jax.command import score_tables

        return getattr(score_tables, arguments[0])(arguments[1:])
    if _asks_for_help(arguments) and arguments[0] != "runs":
        print(_help_of(arguments[0]))
        return main.DONE
    _make_configs_importable()
    if arguments[0] == "runs":
        from rffr_jax.command import list_runs

        return list_runs.main(arguments[1:])
    return main.run(["rffr-jax", *flags_of(arguments)], typed=["rffr-jax", *arguments])


def _is_about_score_tables(arguments: Sequence[str]) -> bool:
    """Whether they are `metrics`, or `compare` with files in place of the job's flags."""
    files = [argument for argument in arguments[1:] if not argument.startswith("-")]
    return arguments[0] == "metrics" or (arguments[0] == "compare" and bool(files))


def configs_folder() -> pathlib.Path:
    """Where the configs are: inside an installed package, beside it in a source tree."""
    package = pathlib.Path(rffr_jax.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def flags_of(arguments: Sequence[str]) -> list[str]:
    """The flags of `rffr_jax.main` for the arguments of `rffr-jax`.

    Raises:
      UserError: no such job, a file for a job other than `predict`, a flag without its value, or a
        comma in the name of one of several files, or between two.
    """
    job, *rest = arguments
    if job.startswith("-"):
        return list(arguments)
    name, file, variant = _config_file(job)
    flags = [argument for argument in rest if argument.startswith("-")]
    files = [argument for argument in rest if not argument.startswith("-")]
    _refuse_bare([flag for flag in flags if "=" not in flag], name, variant)
    if files and name != "predict":
        raise UserError(
            f"{files[0]!r} is not a flag; `rffr-jax {job}` takes --workdir=DIR and "
            "--config.KEY=VALUE"
        )
    if files:
        flags.append(f"--config.inputs={_joined(files)}")
    return [f"--config={file}{variant}", *flags]


def _config_file(job: str) -> tuple[str, pathlib.Path, str]:
    """The name of a job, its config file, and `:VARIANT` or ''.

    Raises:
      UserError: no such job.
    """
    name, colon, variant = job.partition(":")
    name, jobs = ALIASES.get(name, name), config_files()
    if name not in jobs:
        alike = difflib.get_close_matches(name, [*jobs, *ALIASES, *OTHERS], 1)
        hint = f"did you mean {alike[0]}? " if alike else ""
        raise UserError(f"there is no job {job!r}; {hint}`rffr-jax --help` lists all jobs")
    return name, jobs[name], colon + variant


def _refuse_bare(flags: Sequence[str], name: str, variant: str):
    """Raises: UserError for a flag without `=` that needs a value; booleans need none."""
    needed = {f"--{flag}": value for flag, value in VALUES.items()}
    if any(flag.startswith("--config.") for flag in flags):
        from rffr_jax.command.config_keys import config_keys

        _make_configs_importable()
        for key in config_keys(name, variant.removeprefix(":")):
            if not isinstance(key.default, bool):
                needed[f"--config.{key.name}"] = "VALUE"
    for flag in flags:
        if flag in needed:
            raise UserError(f"{flag} has no value; write {flag}={needed[flag]}")


def _joined(files: Sequence[str]) -> str:
    if len(files) > 1:
        for file in files:
            if "," in file and not pathlib.Path(file).exists():
                raise UserError(f"{file!r} does not exist; separate files with spaces")
            if "," in file:
                raise UserError(
                    f"{file!r} has a comma in its name, which separates files; give it without "
                    "other files, give its folder, or rename it"
                )
    return ",".join(files)


def config_files() -> dict[str, pathlib.Path]:
    """Every config's file by its name, such as `predict` and `paper/table5`; the jobs first."""
    folder = configs_folder()
    files = sorted(folder.rglob("*.py"), key=lambda file: (len(file.parts), file))
    names = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return {name: file for name, file in names.items() if "def get_config(" in file.read_text()}


def _make_configs_importable():
    """Lets configs import each other as `configs.NAME`, in any folder."""
    package = types.ModuleType("configs")
    package.__path__ = [str(configs_folder())]
    sys.modules["configs"] = package


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not arguments[0].startswith("-") and any(a in ("-h", "--help") for a in arguments[1:])


def _help() -> str:
    lines = [(name, _docstring(file).split("\n")[0]) for name, file in config_files().items()]
    width = max(len(name) for name, _ in lines)
    jobs = "\n".join(f"  {name:{width}}  {line}" for name, line in lines)
    return f"{__doc__}\nJobs:\n{jobs}\n\n`rffr-jax JOB --help` shows the keys of a job."


def _help_of(job: str) -> str:
    """What a job does, and its keys with their defaults and comments."""
    from rffr_jax.command.config_keys import config_keys

    _make_configs_importable()
    name, file, variant = _config_file(job)
    keys = config_keys(name, variant.removeprefix(":"))
    lines = [f"{_docstring(file)}\n\n--config.KEY=VALUE, with the defaults:"]
    for key in keys:
        lines.append(f"  {key.name} = {key.default!r}")
        lines += textwrap.wrap(key.comment, 88, initial_indent=COMMENT, subsequent_indent=COMMENT)
    return "\n".join(lines)


def _docstring(file: pathlib.Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
