"""Batches of uint8 images in host memory, read ahead by threads or by worker processes.

Grain does the reading ahead. Batches are formed before it, on rows that are a function of the step
(`sampling.py`), so a batch is the same whatever the number of workers, and a run resumes by
starting at its step.
"""

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import Float32

from rffr_jax.cluster.blocked_signals import blocked_signals
from rffr_jax.data.augmentation import AugmentedDataset
from rffr_jax.data.sampling import (
    BalancedSampler,
    PairSampler,
    Sampler,
    SourcePairSampler,
    UniformSampler,
    WeightedSampler,
)
from rffr_jax.data.selection import sampling_weights
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.worker_errors import (
    BATCHES_AHEAD,
    check_shared_memory,
    worker_deaths_as_user_errors,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import REAL, Dataset, Example, manipulation_mask

# image   uint8   [batch, size, size, 3]  RGB in [0, 255]; zeros where weight is 0
# label   int32   [batch]                 0 = real, 1 = fake; 0 in padding
# weight  float32 [batch]                 1, or 0 for a bad file and for padding
# index   int32   [batch]                 into dataset.examples; -1 in padding
# mask    float32 [batch, patches]        manipulated share of each patch, if asked for; 0 of reals
Batch = dict[str, np.ndarray]

PADDING = -1
NEEDS_MASKS = (
    "detector.patch_loss needs one of every fake: give the table a column `mask`, or set "
    "--config.detector.patch_loss=0"
)

_THREADS = 4
_THREADS_PER_WORKER = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def train_batches(
    dataset: Dataset,
    *,
    size: int,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    balanced: bool,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    mask_patch: int = 0,
    pairs: bool = False,
) -> Generator[Batch, None, None]:
    """This process's share of the training batches of steps `start_step` to `num_steps` - 1.

    Row r of the global batch of step s is a function of only the seed, s and r; process p of n
    gets rows p*B/n to (p+1)*B/n. Close the generator (`contextlib.closing`) when you leave before
    its end: that ends the workers.

    Args:
      dataset: where the examples are from; picklable if there are workers. Of `SelfBlendedPairs`
        the two of a pair follow each other; they, and the images of an
        `AugmentedDataset`, are made anew for their step and row.
      size: height and width of the images, in pixels.
      batch_size: rows of the global batch, B; a multiple of `process_count`.
      seed: of the order.
      start_step: the first step wanted, 0 in a new run.
      num_steps: the step at which the run ends, counted from 0 and not from `start_step`.
      balanced: half real, half fake, as in `BalancedSampler`; otherwise by the dataset's weights
        (`WeightedSampler`) or, without any, `UniformSampler`. Pairs are always balanced.
      process_index: p.
      process_count: n.
      workers: worker processes that read; 0 reads with threads of this process.
      mask_patch: side of the patches whose manipulated share comes with the batch; 0: none does.
      pairs: a fake follows the real that it was made of (`SourcePairSampler`), and both are
        augmented alike.

    Yields:
      Batches of B/n rows.

    Raises:
      UserError: the batch size does not fit, the dataset lacks reals or fakes, there is too little
        shared memory for the workers, or a fake has no mask and `mask_patch` asks for one.
    """
    local_size = _local_batch_size(batch_size, process_count)
    sampler = _make_sampler(dataset, batch_size, seed, balanced, pairs)
    first_row = process_index * local_size
    rows = _TrainRows(dataset, size, sampler, num_steps, local_size, first_row, mask_patch)
    batches = grain.MapDataset.source(rows).batch(local_size)[start_step:]
    check_shared_memory(len(batches), local_size, size, workers)
    return _prefetch(batches, workers)


def _make_sampler(
    dataset: Dataset, batch_size: int, seed: int, balanced: bool, pairs: bool
) -> Sampler:
    pair_count = getattr(dataset, "pair_count", 0)
    if pair_count:
        return PairSampler(pair_count, batch_size, seed)
    if pairs:
        return SourcePairSampler(dataset.examples, batch_size, seed)
    if balanced:
        return BalancedSampler(dataset.examples, batch_size, seed)
    strata, weights = sampling_weights(dataset)
    if weights:
        return WeightedSampler(strata, weights, batch_size, seed)
    return UniformSampler(dataset.examples, batch_size, seed)


def evaluation_batches(
    dataset: Dataset,
    *,
    size: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> Generator[Batch, None, None]:
    """This process's share of all examples, each once over all processes, in their order.

    The last global batch is filled up with padding (index -1, weight 0), so every process yields
    the same number of batches of the same shape. Arguments and errors as in `train_batches`.
    """
    local_size = _local_batch_size(batch_size, process_count)
    rows = _EvaluationRows(
        dataset, size, batch_size, local_size, first_row=process_index * local_size
    )
    batches = grain.MapDataset.source(rows).batch(local_size)
    check_shared_memory(len(batches), local_size, size, workers)
    return _prefetch(batches, workers)


def empty_batch(rows: int, size: int, mask_patch: int = 0) -> Batch:
    """A batch of only padding, with masks if `mask_patch` says so."""
    masks = {}
    if mask_patch:
        masks["mask"] = np.zeros((rows, (size // mask_patch) ** 2), np.float32)
    return {
        **masks,
        "image": np.zeros((rows, size, size, 3), np.uint8),
        "label": np.zeros(rows, np.int32),
        "weight": np.zeros(rows, np.float32),
        "index": np.full(rows, PADDING, np.int32),
    }


def patch_shares(
    mask: Float32[np.ndarray, "size size"], patch: int
) -> Float32[np.ndarray, " patches"]:
    """The mean of a mask over each patch, row by row."""
    grid = len(mask) // patch
    return mask.reshape(grid, patch, grid, patch).mean(axis=(1, 3)).ravel()


def _local_batch_size(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch size {batch_size} cannot be shared out evenly among {process_count} "
            f"process(es); take a multiple of {process_count}"
        )
    return batch_size // process_count


@dataclasses.dataclass(frozen=True)
class _TrainRows:
    """The rows of this process, step after step, as a random-access source for Grain."""

    dataset: Dataset
    size: int
    sampler: Sampler
    num_steps: int
    local_size: int
    first_row: int
    mask_patch: int

    def __len__(self) -> int:
        return self.num_steps * self.local_size

    def __getitem__(self, index: int) -> dict[str, Any]:
        step, row = divmod(index, self.local_size)
        row += self.first_row
        example = self.sampler.index(step, row)
        if isinstance(self.sampler, SourcePairSampler):
            row -= row % 2  # what is random is the same for both
        load, mask = self.dataset.load, functools.partial(manipulation_mask, self.dataset)
        if isinstance(self.dataset, SelfBlendedPairs | AugmentedDataset):
            load = functools.partial(self.dataset.load_for_row, step=step, row=row)
            mask = functools.partial(self.dataset.mask_for_row, step=step, row=row)
        loaded = _load_row(self.dataset.examples, example, self.size, load)
        if self.mask_patch:
            loaded["mask"] = self._patch_shares(example, mask, good=loaded["weight"] > 0)
        return loaded

    def _patch_shares(
        self,
        index: int,
        mask: Callable[[int, int], Float32[np.ndarray, "size size"] | None],
        *,
        good: bool | np.bool_,
    ) -> Float32[np.ndarray, " patches"]:
        """The manipulated share of every patch of an example, 0 in reals and bad files."""
        example, grid = self.dataset.examples[index], self.size // self.mask_patch
        if example.label == REAL or not good:
            return np.zeros(grid * grid, np.float32)
        there = mask(index, self.size)
        if there is None:
            raise UserError(f"data.train: {example.path} is a fake without a mask; {NEEDS_MASKS}")
        return patch_shares(there, self.mask_patch)


@dataclasses.dataclass(frozen=True)
class _EvaluationRows:
    dataset: Dataset
    size: int
    batch_size: int
    local_size: int
    first_row: int

    def __len__(self) -> int:
        num_batches = -(-len(self.dataset.examples) // self.batch_size)
        return num_batches * self.local_size

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch, row = divmod(index, self.local_size)
        example = batch * self.batch_size + self.first_row + row
        if example >= len(self.dataset.examples):
            example = PADDING
        return _load_row(self.dataset.examples, example, self.size, self.dataset.load)


def _load_row(
    examples: Sequence[Example], index: int, size: int, load: Callable[[int, int], np.ndarray]
) -> dict[str, Any]:
    image, label, weight = np.zeros((size, size, 3), np.uint8), 0, 0.0
    if index != PADDING:
        label = examples[index].label
        try:
            image, weight = load(index, size), 1.0
        except BadImageError:  # bad_files.py names the rows of weight 0
            pass
        except OSError as error:
            raise UserError(
                f"{error.filename or examples[index].path} cannot be read: "
                f"{error.strerror or error}; this lies in the machine or its disk and not in the "
                "file; when it is mended, start the same command again to resume"
            ) from error
    return {
        "image": image,
        "label": np.int32(label),
        "weight": np.float32(weight),
        "index": np.int32(index),
    }


def _prefetch(batches: grain.MapDataset, workers: int) -> Generator[Batch, None, None]:
    threads = _THREADS_PER_WORKER if workers else _THREADS
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=BATCHES_AHEAD)
    stream = batches.to_iter_dataset(ahead)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain hands absl's flags on to its workers
        options = grain.MultiprocessingOptions(num_workers=workers)
        stream = stream.mp_prefetch(options, worker_init_fn=_start_worker)
    return _iterate(stream, workers)


def _iterate(stream: grain.IterDataset, workers: int) -> Generator[Batch, None, None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(worker_deaths_as_user_errors())
        with (
            blocked_signals(_SIGNALS) if workers else contextlib.nullcontext()
        ):  # workers start here
            iterator = stack.enter_context(contextlib.closing(iter(stream)))
            first = list(itertools.islice(iterator, 1))
        yield from first
        yield from iterator


# ---- signals: Ctrl-C and the stop of a cluster's job reach the workers, too


def _start_worker(worker: int, workers: int):
    """Leaves signals to the process that started this worker, and ends when that one does."""
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent():
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
