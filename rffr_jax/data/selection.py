"""Datasets made of chosen examples of others: of some methods, some frames, the first few."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Dataset, Example, manipulation_mask
from rffr_jax.images.landmarks import LandmarkedFace, landmark_count, load_face


@dataclasses.dataclass(frozen=True)
class Selection:
    """A `Dataset` of chosen examples of others, which it may call by new names.

    Attributes:
      examples: the chosen ones.
      parts: the datasets that they are from.
      places: of each example, the number of its part and its index there.
      strata: of each example, the number of the weight that it is drawn by; empty without weights.
      weights: how many examples of each stratum are drawn for those of the others.
    """

    examples: tuple[Example, ...]
    parts: tuple[Dataset, ...]
    places: tuple[tuple[int, int], ...]
    strata: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index`, in [0, 255]; `BadImageError` as the part raises it."""
        part, there = self.places[index]
        return self.parts[part].load(there, size)

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"] | None:
        """Where example `index` is manipulated, 0 to 1; None where its part does not say."""
        part, there = self.places[index]
        return manipulation_mask(self.parts[part], there, size)

    def landmarks_in_picture(self, index: int, size: int) -> Float32[np.ndarray, "points 2"] | None:
        """The points of example `index` in what `load` gives; None where its part has none."""
        part, there = self.places[index]
        return landmarks_in_picture(self.parts[part], there, size)

    def landmark_count(self, index: int) -> int:
        """How many landmarks the example's part knows of it."""
        part, there = self.places[index]
        return landmark_count(self.parts[part], there)

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The face of example `index` as its part keeps it."""
        part, there = self.places[index]
        return load_face(self.parts[part], there, size)


def landmarks_in_picture(
    dataset: Dataset, index: int, size: int
) -> Float32[np.ndarray, "points 2"] | None:
    """The points of example `index` in pixels of its picture at `size`.

    None for a dataset whose faces are kept at another size than `load` gives them.
    """
    points = getattr(dataset, "landmarks_in_picture", None)
    return points(index, size) if points else None


def select_examples(dataset: Dataset, kept: Sequence[int]) -> Dataset:
    """The examples of a dataset whose indices are in `kept`, in that order."""
    if list(kept) == list(range(len(dataset.examples))):
        return dataset
    examples = tuple(dataset.examples[index] for index in kept)
    places = tuple((0, index) for index in kept)
    strata, weights = sampling_weights(dataset)
    strata = tuple(strata[index] for index in kept) if weights else ()
    return Selection(examples, (dataset,), places, strata, weights)


def sampling_weights(dataset: Dataset) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The strata and the weights of a dataset, as `Selection` has them; two empty ones if none."""
    return getattr(dataset, "strata", ()), getattr(dataset, "weights", ())


def keep_reals(dataset: Dataset) -> Dataset:
    """Only the real images."""
    kept = [i for i, example in enumerate(dataset.examples) if example.label == REAL]
    return select_examples(dataset, kept)


def split_methods(text: str) -> list[str]:
    """The names in `A,B` or `A+B`."""
    return re.split("[,+]", text)


def keep_dataset(dataset: Dataset, name: str, *, where: str) -> Dataset:
    """The examples of one data set among several.

    Raises:
      UserError: none is of that name; those that are there are listed.
    """
    names = {example.dataset for example in dataset.examples}
    if name not in names:
        raise UserError(f"{where}: no data set {name!r}; there are {', '.join(sorted(names))}")
    kept = [i for i, example in enumerate(dataset.examples) if example.dataset == name]
    return select_examples(dataset, kept)


def keep_methods(dataset: Dataset, methods: Sequence[str], *, where: str) -> Dataset:
    """All reals and the fakes of the named methods; every fake where none is named.

    Args:
      methods: names, or several of them in one text as `split_methods` takes it.
      where: the entry that named the methods, for messages.

    Raises:
      UserError: a method that the dataset does not have.
    """
    if not methods:
        return dataset
    methods = [name for text in methods for name in split_methods(text)]
    examples = dataset.examples
    there = sorted({example.method for example in examples if example.label == FAKE})
    for method in methods:
        if method not in there:
            raise UserError(
                f"{where}: no fakes of method '{method}'; "
                f"the methods there are {', '.join(there) or '(none, all images are real)'}"
            )
    kept = [i for i, e in enumerate(examples) if e.label != FAKE or e.method in methods]
    return select_examples(dataset, kept)


def keep_frames(dataset: Dataset, count: int | None) -> Dataset:
    """`count` evenly spaced frames of every video, 1 being the middle one; None or 0 keeps all.

    Each video is cut into `count` equal parts, and the frame in the middle of each is taken.
    """
    if not count:
        return dataset
    videos = collections.defaultdict(list)
    for index, example in enumerate(dataset.examples):
        videos[example.dataset, example.method, example.video].append(index)
    for frames in videos.values():
        frames.sort(key=lambda index: dataset.examples[index].frame)
    return _keep_evenly(dataset, videos.values(), count)


def keep_of_groups(dataset: Dataset, count: int | None, *, where: str) -> Dataset:
    """`count` evenly spaced examples of each group (a person, say) and method; None keeps all.

    Raises:
      UserError: no example says what group it belongs to.
    """
    if not count:
        return dataset
    if not any(example.group for example in dataset.examples):
        raise UserError(
            f"{where}: group_limit={count}, and no image says which group it belongs to; fill the "
            "column `group` of the table, with the person's name for example"
        )
    groups = collections.defaultdict(list)
    for index, example in enumerate(dataset.examples):
        groups[example.dataset, example.method, example.cluster].append(index)
    return _keep_evenly(dataset, groups.values(), count)


def _keep_evenly(dataset: Dataset, lists: Iterable[list[int]], count: int) -> Dataset:
    chosen = (index for members in lists for index in evenly_spaced(members, count))
    return select_examples(dataset, sorted(chosen))


def evenly_spaced(members: Sequence[Any], most: int | None) -> list[Any]:
    """At most `most` members, each the middle one of an equal part; None takes all."""
    count = len(members) if most is None else min(most, len(members))
    return [members[(2 * i + 1) * len(members) // (2 * count)] for i in range(count)]


def keep_first(dataset: Dataset, limit: int | None) -> Dataset:
    """The first of each method: those that come earliest when all methods run side by side."""
    if not limit:
        return dataset
    sizes = collections.Counter(example.method for example in dataset.examples)
    seen = collections.Counter()
    progress = []
    for example in dataset.examples:
        progress.append((2 * seen[example.method] + 1) / (2 * sizes[example.method]))
        seen[example.method] += 1
    earliest = np.argsort(progress, kind="stable")[:limit]
    return select_examples(dataset, sorted(int(index) for index in earliest))
