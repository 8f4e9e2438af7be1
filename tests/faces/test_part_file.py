"""The file of one medium: when it is made again, and that it is read as it was written."""

import dataclasses
import itertools
import os

import numpy as np
import pytest

from rffr_jax.data.readers.records import FaceRecord
from rffr_jax.faces.part_file import Drop, Part, read_part, write_part
from rffr_jax.faces.prepare import (
    input_digest,
)
from tests.faces.test_prepare import medium


def test_stamp_tells_what_a_part_is_made_from(tmp_path):
    path, original = tmp_path / "a.mp4", tmp_path / "b.mp4"
    path.write_bytes(b"one")
    original.write_bytes(b"two")
    one = medium(path, "Deepfakes/a")
    stamps = [input_digest(one, original), input_digest(one, None)]
    for name in ("id", "split", "dataset", "method", "source", "group", "person", "compression"):
        stamps.append(input_digest(dataclasses.replace(one, **{name: "other"}), original))
    stamps.append(input_digest(dataclasses.replace(one, label=0), original))
    moved = path.rename(tmp_path / "c.mp4")
    assert input_digest(dataclasses.replace(one, path=moved), original) == stamps[0]
    stamps.append(input_digest(one, original))
    for changed in (moved, original):
        os.utime(changed, ns=(0, 12345))
        stamps.append(input_digest(dataclasses.replace(one, path=moved), original))
    for some, other in itertools.combinations(stamps, 2):
        assert some != other


def test_part_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(7)
    records = tuple(
        FaceRecord(
            id=f"a/b ü/{i:06d}", image=rng.bytes(int(rng.integers(1, 99))), label=1, dataset="d",
            method="m", video="a/b ü", frame=i, source="s", group="g", person="",
            box=rng.normal(100, 50, 4).astype(np.float32),
            landmarks=rng.normal(12, 5, (5, 2)).astype(np.float32),
            score=float(rng.random()),
        )
        for i in range(3)
    )  # fmt: skip
    part = Part("a/b ü", "stamp", 5, records, (Drop(None, "why\n"), Drop(4, "no face")))
    path = tmp_path / "x" / "y.part"
    write_part(path, part)
    for images in (True, False):
        found = read_part(path, images=images)
        assert (found.medium, found.stamp, found.frames, found.drops) == (
            part.medium, part.stamp, part.frames, part.drops,
        )  # fmt: skip
        for one, other in zip(found.records, records, strict=True):
            for field in dataclasses.fields(FaceRecord):
                value = getattr(other, field.name)
                if field.name == "image" and not images:
                    value = b""
                np.testing.assert_array_equal(getattr(one, field.name), value)
                assert type(getattr(one, field.name)) is type(value)
    data = path.read_bytes()
    for cut in (0, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"cut off|Expecting|Unterminated|delimiter"):
            read_part(path, images=False)
