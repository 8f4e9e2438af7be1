"""Which example stands in which row of which training batch: a function of only the seed.

A sampler answers `index(step, row)` for any step and any row of the global batch without walking
there, so a run resumes by its step number and every process computes its own rows. Sampling is
without replacement: a permutation of the examples an epoch, keyed by the seed and the epoch.
"""

import collections
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt32

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example

_SEED_SALT = int.from_bytes(b"sampling", "big")  # other random choices of a seed have other salts
_IMAGE_SALT = int.from_bytes(b"image", "big")


@runtime_checkable
class Sampler(Protocol):
    """The order of training; picklable for worker processes."""

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` in [0, batch_size) of the batch of `step` >= 0."""
        ...


class UniformSampler:
    """Every example once an epoch, in a new order each epoch; batches run across epochs."""

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int):
        if not examples:
            raise UserError("no examples to train on; check data.train and its filters")
        self._batch_size = batch_size
        self._order = _Epochs(range(len(examples)), (seed, 0))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        return self._order[step * self._batch_size + row]


class WeightedSampler:
    """Examples of several sources in the ratio of their weights, whatever the sources' sizes.

    With weights w_1, ..., w_S and W their sum, every window of W consecutive rows holds w_s
    examples of source s, in an order keyed by the seed and the window; batches run across windows.
    Each source runs through epochs of its own.

    Args:
      source_numbers: the source of each example, from 0 to S - 1.
      weights: w_1, ..., w_S, whole numbers from 1 up.

    Raises:
      UserError: a source without examples.
    """

    def __init__(
        self, source_numbers: Sequence[int], weights: Sequence[int], batch_size: int, seed: int
    ):
        sources = [[] for _ in weights]
        for index, number in enumerate(source_numbers):
            sources[number].append(index)
        for number, members in enumerate(sources, start=1):
            if not members:
                raise UserError(
                    f"data.train: spec {number} of {len(weights)} has a weight and holds no image "
                    "to take; leave it out"
                )
        self._batch_size = batch_size
        self._mixture = _Mixture(sources, weights, seed, first_key=0)

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        return self._mixture[step * self._batch_size + row]


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
        reals, fakes = [], []
        for index, example in enumerate(examples):
            (reals if example.label == REAL else fakes).append(index)
        for members, label, kind in ((reals, REAL, "real"), (fakes, FAKE, "fake")):
            if not members:
                raise UserError(
                    f"data.train holds no {kind} images (label {label}), and half of every "
                    f"balanced batch is {kind}; add some"
                )
        self._reals = _Epochs(reals, (seed, 0))
        self._fakes = _fakes_by_method(examples, fakes, seed)

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        position = step * self._half + row // 2
        return self._fakes[position] if row % 2 else self._reals[position]


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
        self._order = _Epochs(range(count), (seed, 0))

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        return self._order[step * self._half + row // 2] + (row % 2) * self._count


class SourcePairSampler:
    """Fakes in odd rows, uniform over their methods, and the real that each was made of before it.

    The fakes are drawn as in `BalancedSampler`. Where `originals` knows several reals of a fake,
    one is drawn at random, a function of the seed and the number of the pair.

    Raises:
      UserError: the batch size is odd, or there is no fake with its real.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int):
        self._half, self._seed = _half_batch_size(batch_size), seed
        self._originals = originals(examples)
        if not self._originals:
            raise UserError(
                "data.pairs=True draws each fake with the real that it was made of, and data.train "
                "holds no such real: a real with the data set and the source of a fake; set "
                "--config.data.pairs=False"
            )
        self._fakes = _fakes_by_method(examples, list(self._originals), seed)

    def index(self, step: int, row: int) -> int:
        """The example in global row `row` of the batch of `step`."""
        position = step * self._half + row // 2
        fake = self._fakes[position]
        if row % 2:
            return fake
        reals = self._originals[fake]
        if len(reals) == 1:
            return reals[0]
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, _SEED_SALT, 0, position)))
        return reals[int(rng.integers(len(reals)))]


def originals(examples: Sequence[Example]) -> dict[int, list[int]]:
    """The reals that each fake was made of: of its data set and source, and of its frame if any is.

    Returns:
      Indices of reals by the index of a fake; without the fakes whose real is not there.
    """
    frames, sources = collections.defaultdict(list), collections.defaultdict(list)
    for index, example in enumerate(examples):
        if example.label == REAL:
            source = (example.spec, example.dataset, example.source)
            sources[source].append(index)
            frames[(*source, example.frame)].append(index)
    found = {}
    for index, example in enumerate(examples):
        if example.label == FAKE:
            source = (example.spec, example.dataset, example.source)
            found[index] = frames.get((*source, example.frame)) or sources.get(source)
    return {index: reals for index, reals in found.items() if reals}


def _fakes_by_method(examples: Sequence[Example], fakes: Sequence[int], seed: int) -> "_Mixture":
    methods = collections.defaultdict(list)
    for index in fakes:
        methods[examples[index].method].append(index)
    members = [methods[method] for method in sorted(methods)]
    return _Mixture(members, [1] * len(members), seed, first_key=1)


def _half_batch_size(batch_size: int) -> int:
    if batch_size % 2:
        raise UserError(
            f"batch size {batch_size} is odd, and half of a balanced batch is real; "
            f"take {batch_size + 1}"
        )
    return batch_size // 2


class _Epochs:
    """The endless sequence of permutations of some members, one an epoch."""

    def __init__(self, members: Sequence[int], key: tuple[int, ...]):
        self._members = np.asarray(members)
        self._key = key
        self._kept: dict[int, np.ndarray] = {}

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, len(self._members))
        order = self._kept.get(epoch)
        if order is None:
            rng = np.random.default_rng(np.random.SeedSequence((*self._key, _SEED_SALT, epoch)))
            order = rng.permutation(len(self._members))
            # The two newest are kept: a batch may lie across a border. Threads share no half state.
            self._kept = dict([*self._kept.items(), (epoch, order)][-2:])
        return int(self._members[order[offset]])


class _Mixture:
    """The endless sequence of windows that take `weights[s]` members of each source s."""

    def __init__(
        self, sources: list[list[int]], weights: Sequence[int], seed: int, *, first_key: int
    ):
        self._epochs = [_Epochs(part, (seed, s)) for s, part in enumerate(sources, first_key)]
        self._weights = weights
        self._slots = [(s, slot) for s, weight in enumerate(weights) for slot in range(weight)]
        self._order = _Epochs(range(len(self._slots)), (seed, first_key + len(sources)))

    def __getitem__(self, position: int) -> int:
        source, slot = self._slots[self._order[position]]
        window = position // len(self._slots)
        return self._epochs[source][window * self._weights[source] + slot]


def image_seeds(seed: int, step: int, batch: int) -> UInt32[np.ndarray, " batch"]:
    """Seeds of what a model draws about each image of a step, for every row of the global batch."""
    generator = np.random.default_rng((_IMAGE_SALT, seed, step))
    return generator.integers(2**32, size=batch, dtype=np.uint32)
