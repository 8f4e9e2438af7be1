"""How many processes this run has and which of them this is: from flags, or from the launcher.

Read from the environment alone, before JAX is imported. A launcher counts only where it started
several tasks: a shell inside an allocation, or a batch script without `srun`, is one process.
"""

import dataclasses
from collections.abc import Mapping

from rffr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Launch:
    """One of several processes.

    Attributes:
      process: of this process, 0 to `processes` - 1.
      processes: of the run, 2 or more.
      coordinator: HOST:PORT of process 0; empty where JAX finds it out from the launcher.
      launcher: `slurm` or `ompi`; empty for flags alone.
      local: number of this process on its machine, whose accelerator of that number it takes; None
        takes all of the machine.
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
_OLD_OPEN_MPI = "OMPI_MCA_orte_hnp_uri"  # tells the coordinator; gone from Open MPI 5 on
_KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"


def find_launch(
    environment: Mapping[str, str],
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> Launch | None:
    """The place of this process in its run, or None where it is the only one.

    Args:
      environment: as in `os.environ`.
      coordinator, processes, process: the flags of these names; each goes before the launcher's.

    Raises:
      UserError: flags that do not go together, or a launcher that does not say enough.
    """
    launcher, tasks, number, local = _launched(environment)
    by_flags = (coordinator, processes, process) != (None, None, None)
    processes = tasks if processes is None else processes
    if process is None:
        index = environment.get(_KUBERNETES_INDEX) if by_flags and not launcher else None
        process = number if index is None else _whole(_KUBERNETES_INDEX, index)
    if processes == 1 or (not by_flags and processes is None):
        return None
    if processes is None or process is None or not (coordinator or launcher):
        raise UserError(
            "a run of several processes needs --coordinator=HOST:PORT --processes=N --process=P "
            "in each of them, where no launcher (srun, mpirun) says so"
        )
    if not 0 <= process < processes:
        raise UserError(
            f"--process={process} of --processes={processes}; processes are numbered from 0 on"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator={coordinator} is not HOST:PORT")
    if not coordinator and launcher == "ompi" and _OLD_OPEN_MPI not in environment:
        raise UserError(
            "this mpirun does not tell where process 0 is; add --coordinator=HOST:PORT, the "
            "machine of process 0 and any free port"
        )
    return Launch(process, processes, coordinator or "", launcher, local)


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}={text} in the environment is no whole number; set it right")
    return int(text)


def _launched(environment: Mapping[str, str]) -> tuple[str, int | None, int | None, int | None]:
    """Launcher, tasks, this one, this one on its machine; nothing where there is a single task."""
    for launcher, names in _VARIABLES.items():
        if all(name in environment for name in names):
            tasks, number, local = (_whole(name, environment[name]) for name in names)
            if tasks > 1:
                return launcher, tasks, number, local
    return "", None, None, None
