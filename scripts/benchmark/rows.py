"""Which sides each row has, and the rounds in which they take turns."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rffr_jax.training.throughput import data_sheet
from scripts.benchmark.contestant import Contestant, UnavailableError
from scripts.benchmark.report import Result
from scripts.benchmark.setup import Setup

OURS, PEERS = "scripts.benchmark.ours", "scripts.benchmark.peers"
OUR_RIVALS, PEER_RIVALS = "scripts.benchmark.our_rivals", "scripts.benchmark.peer_rivals"
MATRIX = f"{OURS}:matrix_product", f"{PEERS}:matrix_product"


@dataclasses.dataclass(frozen=True)
class Side:
    """One way of doing a row's work.

    Attributes:
      who: its name in the table.
      function: `module:name`.
      compiled: by torch.compile, which takes minutes to start.
      accelerator_only: left out on a CPU.
      same_work: it does the row's work in full, so this project's count of FLOPs is its too.
    """

    who: str
    function: str
    compiled: bool = False
    accelerator_only: bool = False
    same_work: bool = True


ROWS: dict[str, tuple[Side, ...]] = {
    "residual": (
        Side("rffr_jax", f"{OURS}:full_residual"),
        Side("rffr_jax, all passes at once", f"{OURS}:full_residual_at_once"),
        Side("PyTorch, a loop over the blocks", f"{PEERS}:looped_residual"),
        Side("PyTorch, blocks as a batch", f"{PEERS}:batched_residual"),
        Side("PyTorch, torch.compile", f"{PEERS}:compiled_residual", compiled=True),
    ),
    "pretrain": (
        Side("rffr_jax", f"{OURS}:pretraining_step"),
        Side("rffr_jax, freed memory returned", f"{OURS}:pretraining_step_returning_memory"),
        Side("PyTorch", f"{PEERS}:pretraining_step"),
        Side(
            "PyTorch, torch.compile",
            f"{PEERS}:compiled_pretraining_step",
            compiled=True,
            accelerator_only=True,
        ),
    ),
    "detect": (
        Side("rffr_jax", f"{OURS}:detector_step"),
        Side("rffr_jax, freed memory returned", f"{OURS}:detector_step_returning_memory"),
        Side("PyTorch", f"{PEERS}:detector_step"),
        Side(
            "PyTorch, torch.compile",
            f"{PEERS}:compiled_detector_step",
            compiled=True,
            accelerator_only=True,
        ),
    ),
    "evaluate": (
        Side("rffr_jax, residuals recomputed", f"{OURS}:evaluation"),
        Side("rffr_jax, residuals kept", f"{OURS}:evaluation_kept", same_work=False),
        Side("PyTorch, residuals recomputed", f"{PEERS}:evaluation"),
    ),
    "input": (
        Side("rffr_jax, records, one thread", f"{OURS}:record_reading"),
        Side("rffr_jax, records in batches", f"{OURS}:record_batches"),
        Side("PyTorch, JPEG files and Pillow", f"{PEERS}:file_reading"),
    ),
    "xception": (
        Side("rffr_jax", f"{OUR_RIVALS}:xception_step"),
        Side("PyTorch, timm", f"{PEER_RIVALS}:xception_step"),
    ),
    "sbi": (
        Side("rffr_jax", f"{OUR_RIVALS}:sbi_step"),
        Side("PyTorch, timm", f"{PEER_RIVALS}:sbi_step"),
    ),
    "recce": (
        Side("rffr_jax", f"{OUR_RIVALS}:recce_step"),
        Side("PyTorch, timm", f"{PEER_RIVALS}:recce_step"),
    ),
    "uia_vit": (
        Side("rffr_jax", f"{OUR_RIVALS}:uia_vit_step"),
        Side("PyTorch", f"{PEER_RIVALS}:uia_vit_step"),
    ),
}


def write_shared_files(setup: Setup):
    """Weights that both sides start from, into the setup's folder.

    Raises:
      UnavailableError: they could not be made.
    """
    with contextlib.closing(Contestant(f"{OURS}:shared_files", setup)) as writer:
        writer.started()
        writer.finish()


class Rounds:
    """Measures row after row; the machine's matrix rate is measured in every round beside them.

    Close it: that ends its processes.
    """

    def __init__(
        self,
        *,
        repeats: int,
        device: str,
        accelerator: bool,
        torch: bool,
        compiled: bool,
        finished: Callable[[Result], None],
    ):
        """Args:
        device: its name.
        accelerator: whether it is more than a CPU.
        torch: whether PyTorch takes part, and `compiled` whether `torch.compile` does.
        finished: gets the result of every side when its row is done.
        """
        self._repeats, self._device, self._accelerator = repeats, device, accelerator
        self._torch, self._compiled, self._finished = torch, compiled, finished
        self._yardsticks: dict[str, list[tuple[Contestant, int]]] = {}

    def measure(self, work: str, setup: Setup) -> list[Result]:
        """One row; a side that cannot take part is in it with the reason."""
        sides = [side for side in ROWS[work] if self._takes_part(side)]
        results = [Result(work, setup.dtype, setup.batch, side.who) for side in sides]
        running: list[tuple[Contestant, Result]] = []
        outputs: list[np.ndarray | None] = []
        with contextlib.ExitStack() as stack:
            for side, result in zip(sides, results, strict=True):
                contestant = Contestant(side.function, setup)
                stack.callback(contestant.kill)
                with _told(result):
                    said = contestant.started()
                    outputs.append(said.pop("output"))
                    vars(result).update(said)
                    result.difference = _difference(outputs[0], outputs[-1])
                    if result.flops is None and side.same_work:
                        result.flops = results[0].flops
                    running.append((contestant, result))
            yardsticks = self._matrices(setup) if work != "input" else []
            rates = self._turns(running, yardsticks)
            for contestant, result in running:
                if result.reason is None:
                    with _told(result):
                        result.memory = contestant.finish()
        for result in results:
            result.matrix_flops_per_second = rates
            if result.flops is not None:
                result.data_sheet_flops_per_second = data_sheet(self._device, setup.dtype)
            self._finished(result)
        return results

    def close(self):
        for yardsticks in self._yardsticks.values():
            for contestant, _ in yardsticks:
                contestant.kill()
        self._yardsticks = {}

    def _turns(
        self,
        running: Sequence[tuple[Contestant, Result]],
        yardsticks: Sequence[tuple[Contestant, int]],
    ) -> float | None:
        """All repeats; the faster framework's median rate at the matrix product."""
        seconds: list[list[float]] = [[] for _ in yardsticks]
        for repeat in range(self._repeats):
            for times, (contestant, _) in zip(seconds, yardsticks, strict=True):
                times.append(contestant.repeat())
            for contestant, result in running[:: 1 if repeat % 2 == 0 else -1]:
                if result.reason is None:
                    with _told(result):
                        result.seconds.append(contestant.repeat())
        rates = [
            flops / float(np.median(times))
            for times, (_, flops) in zip(seconds, yardsticks, strict=True)
        ]
        return max(rates, default=None)

    def _matrices(self, setup: Setup) -> list[tuple[Contestant, int]]:
        """The matrix products in this type, as processes that stay."""
        if setup.dtype not in self._yardsticks:
            there = self._yardsticks[setup.dtype] = []
            for function in MATRIX:
                if function.startswith(PEERS) and not self._torch:
                    continue
                contestant = Contestant(function, setup)
                try:
                    contestant.started()
                except UnavailableError:
                    contestant.close()
                    continue
                there.append((contestant, 2 * setup.matrix**3))
        return self._yardsticks[setup.dtype]

    def _takes_part(self, side: Side) -> bool:
        if side.accelerator_only and not self._accelerator:
            return False
        if side.compiled and not self._compiled:
            return False
        return self._torch or not side.function.startswith(PEERS)


@contextlib.contextmanager
def _told(result: Result) -> Iterator[None]:
    """A side that fails is named in the table, and the others go on."""
    try:
        yield
    except UnavailableError as error:
        result.reason = str(error)


def _difference(ours: np.ndarray | None, other: np.ndarray | None) -> float | None:
    if ours is None or other is None or ours is other:
        return None
    return float(np.max(np.abs(ours.astype(np.float64) - other)))
