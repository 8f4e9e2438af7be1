"""Which example stands in which row of which training batch: a function of only the seed.

A sampler answers `index(step, row)` for any step and any row of the global batch without walking
there, so a run resumes by its step number and every process computes its own rows. Draws are
without replacement: a permutation of the examples an epoch, keyed by the seed and the epoch.
"""

import collections
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example

_STREAM = int.from_bytes(b"sampling", "big")  # keeps these draws apart from others of the seed


@runtime_checkable
class Sampler(Protocol):
    """The order of training; picklable for worker processes."""

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        """Index into the dataset's examples of row `row` in [0, batch_size) at step `step` >= 0."""
        ...


class UniformSampler:
    """Every example once an epoch, in a new order each epoch; batches run across epochs."""

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int):
        if not examples:
            raise UserError("no examples to train on; check data.train and its filters")
        self._batch_size = batch_size
        self._order = _Permutations(len(examples), (seed, 0))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        return self._order[step * self._batch_size + row]


class WeightedSampler:
    """Examples of several sources in the ratio of their weights, whatever the sources' sizes.

    With weights w_1, ..., w_S and W their sum, every window of W consecutive rows holds w_s
    examples of source s, in an order keyed by the seed and the window; batches run across windows.
    Each source runs through epochs of its own.

    Args:
      strata: the source of each example, from 0 to S - 1.
      weights: w_1, ..., w_S, whole numbers from 1 up.

    Raises:
      UserError: a source without examples.
    """

    def __init__(self, strata: Sequence[int], weights: Sequence[int], batch_size: int, seed: int):
        members = [[] for _ in weights]
        for index, stratum in enumerate(strata):
            members[stratum].append(index)
        for number, there in enumerate(members, start=1):
            if not there:
                raise UserError(
                    f"data.train: spec {number} of {len(weights)} has a weight and holds no image "
                    "to draw; leave it out"
                )
        self._batch_size = batch_size
        self._sources = [_PermutedMembers(there, (seed, s)) for s, there in enumerate(members)]
        self._slots = [
            (source, slot) for source, weight in enumerate(weights) for slot in range(weight)
        ]
        self._weights = tuple(weights)
        self._order = _Permutations(len(self._slots), (seed, len(weights)))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        position = step * self._batch_size + row
        source, slot = self._slots[self._order[position]]
        window = position // len(self._slots)
        return self._sources[source][window * self._weights[source] + slot]


class BalancedSampler:
    """Real examples in even rows, fake ones in odd rows, the fakes uniform over their methods.

    The fakes of a run are counted through; of M methods each appears exactly once in every window
    of M consecutive fakes, in an order keyed by the seed and the window. The reals, and the fakes
    of each method, run through epochs of their own.

    Raises:
      UserError: the batch size is odd, or there are no reals or no fakes.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int):
        self._half = _half_batch_size(batch_size)
        reals, fakes = [], collections.defaultdict(list)
        for index, example in enumerate(examples):
            (reals if example.label == REAL else fakes[example.method]).append(index)
        for members, label in ((reals, REAL), (fakes, FAKE)):
            if not members:
                kind = {REAL: "real", FAKE: "fake"}[label]
                raise UserError(
                    f"data.train holds no {kind} images (label {label}), and half of every "
                    f"balanced batch is {kind}; add some"
                )
        self._reals = _PermutedMembers(reals, (seed, 0))
        self._methods = [
            _PermutedMembers(fakes[method], (seed, number))
            for number, method in enumerate(sorted(fakes), start=1)
        ]
        self._turns = _Permutations(len(fakes), (seed, len(fakes) + 1))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        position = step * self._half + row // 2
        if row % 2 == 0:
            return self._reals[position]
        method = self._turns[position]
        return self._methods[method][position // len(self._methods)]


class PairSampler:
    """Every real in an even row, once an epoch, and the fake made of it in the row after it.

    Args:
      count: n: examples 0 to n - 1 are reals, example n + i is the fake of real i.

    Raises:
      UserError: the batch size is odd.
    """

    def __init__(self, count: int, batch_size: int, seed: int):
        self._half = _half_batch_size(batch_size)
        self._count = count
        self._order = _Permutations(count, (seed, 0))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        return self._order[step * self._half + row // 2] + (row % 2) * self._count


def _half_batch_size(batch_size: int) -> int:
    """The rows of a batch of which half are real.

    Raises:
      UserError: the batch size is odd.
    """
    if batch_size % 2:
        raise UserError(
            f"batch size {batch_size} is odd, and half of a balanced batch is real; "
            f"take {batch_size + 1}"
        )
    return batch_size // 2


class _Permutations:
    """The endless sequence of permutations of `range(count)`, one an epoch."""

    def __init__(self, count: int, key: tuple[int, ...]):
        self._count = count
        self._key = key
        self._kept: dict[int, np.ndarray] = {}

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self._count)
        order = self._kept.get(epoch)
        if order is None:
            rng = np.random.default_rng(np.random.SeedSequence((*self._key, _STREAM, epoch)))
            order = rng.permutation(self._count)
            # The two newest are kept: a batch may lie across a border. Threads share no half state.
            self._kept = dict([*self._kept.items(), (epoch, order)][-2:])
        return int(order[offset])


class _PermutedMembers:
    """The same sequence over given members."""

    def __init__(self, members: Sequence[int], key: tuple[int, ...]):
        self._members = np.asarray(members)
        self._order = _Permutations(len(members), key)

    def __getitem__(self, position: int) -> int:
        return int(self._members[self._order[position]])
