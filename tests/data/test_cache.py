"""The dataset that hashes its images and keeps their pixels in memory."""

import collections
import contextlib

import numpy as np
import pytest

from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.image_hashes import hash_image
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.selection import keep_reals
from rffr_jax.errors import BadImageError
from rffr_jax.examples import Example
from rffr_jax.images.landmarks import load_face
from rffr_jax.synthetic.dataset import SyntheticDataset


class Counting:
    """Three images, of which the last is bad; counts how often each is asked for."""

    examples = tuple(Example(n, n, 0, "test", "real", n, 0, n) for n in "abc")

    def __init__(self):
        self.loads = collections.Counter()

    def load(self, index, size):
        self.loads[index] += 1
        if index == 2:
            raise BadImageError("c", "no image")
        return np.full((size, size, 3), 40 * index, np.uint8)


def test_every_image_is_loaded_once():
    source = Counting()
    cached = CachedDataset(source, 8, keep_pixels=True)
    assert cached.examples == source.examples
    assert not source.loads
    for _ in range(3):
        for index in (1, 0):
            np.testing.assert_array_equal(cached.load(index, 8), Counting().load(index, 8))
    assert source.loads == {0: 1, 1: 1}


def test_a_bad_file_is_remembered():
    source = Counting()
    cached = CachedDataset(source, 8, keep_pixels=True)
    for _ in range(3):
        with pytest.raises(BadImageError) as caught:
            cached.load(2, 8)
        assert (caught.value.name, caught.value.reason) == ("c", "no image")
    assert source.loads == {2: 1}


def test_kept_pixels_cannot_be_changed_by_accident():
    cached = CachedDataset(Counting(), 8, keep_pixels=True)
    with pytest.raises(ValueError, match="read-only"):
        cached.load(1, 8)[0, 0, 0] = 5


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="kept at 8 pixels, asked for 16"):
        CachedDataset(Counting(), 8, keep_pixels=True).load(0, 16)


@pytest.mark.parametrize("keep_pixels", [True, False])
def test_images_are_hashed_when_they_are_first_loaded(keep_pixels):
    cached = CachedDataset(Counting(), 8, keep_pixels=keep_pixels)
    assert not cached.hashes.digests.any()
    for _ in range(2):
        cached.load(1, 8)
        with pytest.raises(BadImageError):
            cached.load(2, 8)
    expected = hash_image(Counting().load(1, 8))
    assert cached.hashes.digests.tolist() == [0, expected[0], 0]
    assert cached.hashes.perceptual[1] == expected[1]
    assert cached.hashes.distinct().digests.tolist() == [expected[0]]


@pytest.mark.parametrize("keep_pixels", [True, False])
def test_worker_processes_share_what_is_kept(keep_pixels):
    source = Counting()
    cached = CachedDataset(source, 8, keep_pixels=keep_pixels)
    batches = evaluation_batches(cached, size=8, batch_size=1, workers=2)
    with contextlib.closing(batches):
        assert [int(batch["weight"][0]) for batch in batches] == [1, 1, 0]
    assert (cached.hashes.digests > 0).tolist() == [True, True, False]
    np.testing.assert_array_equal(cached.load(1, 8), Counting().load(1, 8))
    assert source.loads == ({} if keep_pixels else {1: 1})


def test_procedural_faces_keep_the_kept_picture():
    dataset = keep_reals(SyntheticDataset(0, "test"))
    cached = CachedDataset(dataset, 32, keep_pixels=True)
    for _ in range(2):
        face, expected = load_face(cached, 3, 32), load_face(dataset, 3, 32)
        np.testing.assert_array_equal(face.image, expected.image)
        np.testing.assert_array_equal(face.landmarks, expected.landmarks)
    assert np.shares_memory(face.image, cached.load(3, 32))
