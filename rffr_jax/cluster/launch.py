"""The number of processes of this run and the index of this one, from flags or the launcher.

Only the environment is read, before JAX is imported. A launcher counts only if it started several
tasks: a shell inside an allocation, or a batch script without `srun`, is one process.
"""

import dataclasses
import re
from collections.abc import Mapping

from rffr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Launch:
    """One of several processes.

    Attributes:
      process: index of this process, 0 to `processes` - 1.
      processes: number of processes of the run, 2 or more.
      coordinator: HOST:PORT of process 0; empty where JAX asks the launcher.
      launcher: `slurm` or `ompi`; empty if only flags were given.
      local: index of this process on its machine; it uses the accelerator of that index. None
        uses all of the machine, as the only process on it.
    """

    process: int
    processes: int
    coordinator: str
    launcher: str
    local: int | None


# launcher: number of tasks, this one, this one on its machine
_VARIABLES = {
    "slurm": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    "ompi": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
# launcher: tasks on a machine; Slurm writes 8, 1(x4) or 2(x3),1.
_TASKS_ON_MACHINE = {
    "slurm": "SLURM_STEP_TASKS_PER_NODE",
    "ompi": "OMPI_COMM_WORLD_LOCAL_SIZE",
}
_ONE_ON_EACH = re.compile(r"1(\(x\d+\))?")
_OLD_OPEN_MPI = "OMPI_MCA_orte_hnp_uri"  # names the coordinator; Open MPI 5 has no such variable
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"


def find_launch(
    environment: Mapping[str, str],
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> Launch | None:
    """The place of this process in its run, or None where it is the only one.

    Args:
      environment: as in `os.environ`.
      coordinator, processes, process: the flags of these names; each overrides the launcher.

    Raises:
      UserError: flags that contradict each other, or a launcher that gives too little.
    """
    launcher, tasks, number, local = _read_launcher(environment)
    by_flags = (coordinator, processes, process) != (None, None, None)
    processes = tasks if processes is None else processes
    if process is None:
        index = environment.get(KUBERNETES_INDEX) if by_flags and not launcher else None
        process = number if index is None else _parse_count(KUBERNETES_INDEX, index)
    if processes == 1 or (not by_flags and processes is None):
        return None
    if processes is None or process is None or not (coordinator or launcher):
        raise UserError(
            "a run of several processes needs --coordinator=HOST:PORT --processes=N --process=P "
            "in each of them, unless a launcher (srun, mpirun) sets them"
        )
    if not 0 <= process < processes:
        raise UserError(
            f"--process={process} of --processes={processes}; processes are numbered from 0 on"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator={coordinator} is not HOST:PORT; write it as HOST:PORT")
    if not coordinator and launcher == "ompi" and _OLD_OPEN_MPI not in environment:
        raise UserError(
            "this mpirun does not name the machine of process 0; add --coordinator=HOST:PORT, the "
            "machine of process 0 and any free port"
        )
    return Launch(process, processes, coordinator or "", launcher, local)


def _parse_count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}={text} in the environment is no whole number; correct it")
    return int(text)


def _read_launcher(
    environment: Mapping[str, str],
) -> tuple[str, int | None, int | None, int | None]:
    """Launcher, number of tasks, index of this one, and on its machine; empty for one task.

    The index on the machine is None where every machine has one task.
    """
    for launcher, names in _VARIABLES.items():
        if all(name in environment for name in names):
            tasks, number, local = (_parse_count(name, environment[name]) for name in names)
            if tasks > 1:
                here = environment.get(_TASKS_ON_MACHINE[launcher], "")
                return launcher, tasks, number, None if _ONE_ON_EACH.fullmatch(here) else local
    return "", None, None, None
