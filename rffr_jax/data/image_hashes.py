"""Equality of images by what they show: whatever their files are called.

Two hashes of an image's decoded pixels at the size that a model sees: a digest, equal for equal
pixels only, and a perceptual hash (the signs of 63 low frequencies about their median), which
changes in few bits when a picture is encoded again, shrunk or brightened.
"""

import collections
import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int64, UInt8, UInt32, UInt64

from rffr_jax.data.connected_components import connected_components
from rffr_jax.examples import Example
from rffr_jax.runs.atomic_files import atomic_write

log = logging.getLogger(__name__)

MOST_KEPT = 250_000  # images in a file of 4 MB
# Of 64. Measured on 600 FFHQ faces: JPEG quality 50 changes at most 4, other people at least 10.
NEAR_BITS = 4
_MOST_PAIRS = 2 * 10**8  # compared for near equality; a second of work


@dataclasses.dataclass(frozen=True)
class ImageHashes:
    """Hashes of images; 0 is the digest of no image.

    Attributes:
      digests: of the pixels.
      perceptual: of what the picture shows, in the same order.
      total: how many different images there were, where not all were kept.
    """

    digests: UInt64[np.ndarray, " n"]
    perceptual: UInt64[np.ndarray, " n"]
    total: int

    @classmethod
    def from_batch(cls, rows: UInt32[np.ndarray, "n 4"]) -> "ImageHashes":
        """From rows of `hash_batch`."""
        table = np.ascontiguousarray(rows).view(np.uint64)
        return cls(table[:, 0], table[:, 1], len(table))

    def to_json(self) -> dict[str, Any]:
        """For `from_json` in another process."""
        table = np.stack([self.digests, self.perceptual])
        return {"hashes": table.tobytes().hex(), "total": self.total}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ImageHashes":
        """What `to_json` gave."""
        table = np.frombuffer(bytes.fromhex(record["hashes"]), np.uint64).reshape(2, -1)
        return cls(table[0], table[1], record["total"])

    @classmethod
    def concatenate(cls, parts: Sequence["ImageHashes"]) -> "ImageHashes":
        """The hashes of several sets of images, one after another."""
        return cls(
            np.concatenate([NO_IMAGES.digests, *(part.digests for part in parts)]),
            np.concatenate([NO_IMAGES.perceptual, *(part.perceptual for part in parts)]),
            sum(part.total for part in parts),
        )

    def distinct(self, *others: "ImageHashes") -> "ImageHashes":
        """Every image of these once, sorted; those with the lowest digests if they are too many."""
        parts = (self, *others)
        digests, first = np.unique(
            np.concatenate([part.digests for part in parts]), return_index=True
        )
        perceptual = np.concatenate([part.perceptual for part in parts])[first]
        there = digests > 0
        count = int(there.sum())
        total = max([count, *(part.total for part in parts if part.total > len(part.digests))])
        return ImageHashes(digests[there][:MOST_KEPT], perceptual[there][:MOST_KEPT], total)

    def count_near(self, others: "ImageHashes") -> tuple[int, int]:
        """How many of these have a near-equal image, and no equal one, among others.

        Returns:
          Their number, and how many of these were compared: evenly spaced ones where all would
          take too long.
        """
        new = self.perceptual[~np.isin(self.digests, others.digests)]
        most = max(1, _MOST_PAIRS // max(1, len(others.perceptual)))
        compared = new[:: -(-len(new) // most)] if len(new) else new
        near = [(np.bitwise_count(others.perceptual ^ one) <= NEAR_BITS).any() for one in compared]
        return int(np.sum(near)), len(compared)

    def save(self, file: Path):
        """Writes the distinct images; a failure to write raises OSError."""
        kept = self.distinct()
        with atomic_write(file) as part, part.open("wb") as opened:
            table = np.stack([kept.digests, kept.perceptual])
            np.savez(opened, hashes=table, total=np.int64(kept.total))

    @classmethod
    def load(cls, file: Path) -> "ImageHashes":
        """What `save` wrote; no image where there is no file or it is damaged (one warning)."""
        try:
            with np.load(file) as record:
                digests, perceptual = record["hashes"]
                return cls(digests, perceptual, int(record["total"]))
        except FileNotFoundError:
            pass
        except Exception as error:  # NumPy and zipfile have many for a damaged file
            log.warning("%s cannot be used (%s): its images are not compared", file, error)
        return NO_IMAGES


NO_IMAGES = ImageHashes(np.zeros(0, np.uint64), np.zeros(0, np.uint64), 0)


def hash_batch(
    images: UInt8[np.ndarray, "rows height width 3"],
) -> UInt32[np.ndarray, "rows 4"]:
    """The hashes of `hash_image` in halves, as devices without 64-bit integers take them."""
    return np.array([hash_image(image) for image in images], np.uint64).view(np.uint32)


def hash_image(image: UInt8[np.ndarray, "height width 3"]) -> tuple[int, int]:
    """The digest of an image's pixels, which is not 0, and its perceptual hash: 64 bits each."""
    pixels = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()[:8]
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()[1:]
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(pixels, "little") or 1, int.from_bytes(bits.tobytes(), "little")


def near_pairs(
    hashes: UInt64[np.ndarray, " n"], others: UInt64[np.ndarray, " m"]
) -> list[tuple[int, int]]:
    """The places of perceptual hashes and of others of which at most `NEAR_BITS` bits differ."""
    return [
        (place, int(other))
        for place, one in enumerate(hashes)
        for other in np.flatnonzero(np.bitwise_count(others ^ one) <= NEAR_BITS)
    ]


def group_equal_images(
    examples: Sequence[Example], digests: UInt64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """A number of each example's group: examples of one data set with equal pixels share it."""
    keys = {}
    return np.array(
        [
            keys.setdefault((example.dataset, int(digest)), len(keys))
            for example, digest in zip(examples, digests, strict=True)
        ],
        np.int64,
    )


def join_clusters(examples: Sequence[Example], digests: UInt64[np.ndarray, " n"]) -> list[Example]:
    """The examples, with one `group` for all clusters that have an equal image in common."""
    members = collections.defaultdict(list)
    for example, number in zip(examples, group_equal_images(examples, digests), strict=True):
        members[number].append((example.dataset, example.cluster))
    components = connected_components(members.values())
    first = {cluster: min(joined)[1] for joined in components for cluster in joined}
    return [
        example
        if (joined := first[example.dataset, example.cluster]) == example.cluster
        else dataclasses.replace(example, group=joined)
        for example in examples
    ]


def describe_equal_images(
    examples: Sequence[Example], digests: UInt64[np.ndarray, " n"]
) -> list[str]:
    """One line a data set in which some images are equal to others."""
    groups = collections.defaultdict(list)
    for example, number in zip(examples, group_equal_images(examples, digests), strict=True):
        groups[example.dataset, number].append(example)
    by_dataset = collections.defaultdict(list)
    for (dataset, _), members in groups.items():
        if len(members) > 1:
            by_dataset[dataset].append(members)
    lines = []
    for dataset, repeated in sorted(by_dataset.items()):
        first = sorted(member.id for member in repeated[0])[:2]
        both = sum(len({member.label for member in members}) > 1 for members in repeated)
        lines.append(
            f"dataset '{dataset}': {sum(map(len, repeated))} images show only {len(repeated)} "
            f"different pictures (such as {' and '.join(first)}): each picture counts as one "
            "cluster in the intervals"
            + (f"; {both} of them are labelled both real and fake" if both else "")
        )
    return lines


def describe_shared_images(
    examples: Sequence[Example], hashes: ImageHashes, others: ImageHashes
) -> str:
    """`3 of 8 images of the test (the first 'a.png' of dataset 'x')`; empty if none is shared."""
    shared = np.flatnonzero(np.isin(hashes.digests, others.digests))
    if not len(shared):
        return ""
    first = examples[shared[0]]
    return (
        f"{len(shared)} of {len(examples)} images of the test (the first '{first.id}' of dataset "
        f"'{first.dataset}')"
    )


def describe_trained_images(
    examples: Sequence[Example], hashes: ImageHashes, trained: Mapping[str, ImageHashes]
) -> list[str]:
    """A line for each model that was trained on images of the test, or on nearly equal ones.

    Args:
      examples: of the test.
      hashes: theirs.
      trained: what each model, by its name, was trained on.
    """
    lines = []
    for model, images in trained.items():
        kept = len(images.digests)
        cut = f", of which {kept} were recorded" if kept < images.total else ""
        equal = describe_shared_images(examples, hashes, images)
        if equal:
            lines.append(
                f"{equal} are, pixel by pixel, among the {images.total} training images of the "
                f"{model}{cut}, whatever their names"
            )
        near, compared = hashes.count_near(images)
        if near:
            lines.append(
                f"{near} of {compared} other images of the test are nearly equal to training "
                f"images of the {model}{cut} (at most {NEAR_BITS} of 64 bits of a perceptual hash "
                "differ: copies, neighbouring frames, or fakes of one photograph)"
            )
    return lines
