"""How many processes read a training set and whether its pixels stay in memory, for `auto`."""

import dataclasses
import os

from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.shared_array import SHARED
from rffr_jax.data.worker_errors import has_shared_memory
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset

AUTO = "auto"
MOST_KEPT_BYTES = 2 * 10**9
SHARE_OF_MEMORY = 0.25  # of what is available
# Processor seconds for an image of about 224 pixels, measured.
PAINTING, BLENDING, DECODING = 0.02, 0.01, 0.001
WORTH_A_PROCESS = 15.0  # seconds; one takes a few to start


@dataclasses.dataclass(frozen=True)
class Loading:
    """How a training set is read.

    Attributes:
      workers: processes that read; 0 reads with threads of this process.
      keep_pixels: whether every image is made once and then kept.
    """

    workers: int
    keep_pixels: bool


def choose_loading(
    dataset: Dataset,
    size: int,
    *,
    workers: str,
    cache: str,
    batches: int,
    batch_size: int,
    processes: int = 1,
    blended: bool = False,
    captures: int = 0,
) -> Loading:
    """What `data.workers` and `data.cache` mean on this machine; batches do not depend on it.

    `auto` keeps pixels that fit into a quarter of the free memory and 2 GB. It takes a worker for
    each core that this process may use but one, if the images take more than `WORTH_A_PROCESS`
    seconds to make.

    Args:
      dataset: of the training, without self-blended fakes.
      size: height and width of the images, in pixels.
      workers: `auto`, or a number.
      cache: `auto`, True or False.
      batches: of the whole training.
      batch_size: rows of a batch, of all processes.
      processes: of this run on this machine, which share its cores and its memory.
      blended: whether all images are blended, anew for each row if there are no captures.
      captures: of each image, and of its blend, that come back; 0 without any.

    Raises:
      UserError: kept pixels cannot be shared with the workers that were asked for.
    """
    count = len(dataset.examples)
    captured = captures * count * (1 + blended)
    fixed_workers = None if workers == AUTO else int(workers)
    if cache == AUTO:
        room = min(MOST_KEPT_BYTES, SHARE_OF_MEMORY * _free_memory() / processes)
        keep = (count + captured) * size * size * 3 <= room and (SHARED or fixed_workers == 0)
    else:
        keep = cache == "True"
    if fixed_workers is None:
        painted = dataset.examples[0].path.startswith(f"{PROCEDURAL}:") if count else False
        rows = batches * batch_size
        made = min(rows, count) if keep else rows
        blends = min(rows, captured) if keep and captures else rows
        seconds = made * (PAINTING if painted else DECODING) + blends * BLENDING * blended
        fixed_workers = max(0, usable_cores() // processes - 1)
        if seconds / processes < WORTH_A_PROCESS or not has_shared_memory(
            batches, -(-batch_size // processes), size, fixed_workers
        ):
            fixed_workers = 0
    if keep and fixed_workers and not SHARED:
        raise UserError(
            "data.cache keeps images in this process, which worker processes cannot share on this "
            "system; add --config.data.workers=0"
        )
    return Loading(fixed_workers, keep)


def usable_cores() -> int:
    """The cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _free_memory() -> float:
    """Bytes that can be taken without swapping; 0 where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * float(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return 0.0
