"""A fixed number of captures of every image: which they are, and in what order they come."""

import contextlib
import pickle

import numpy as np
import pytest

from rffr_jax.data.augmentation import Augmentation, AugmentedDataset
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.captures import Captures
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.selection import keep_reals, select_examples
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset

SIZE, REALS, COUNT = 32, 4, 3
PAIRS = REALS * COUNT


@pytest.fixture(scope="module")
def pairs():
    reals = keep_reals(load_dataset(f"synthetic:0#train?limit={2 * REALS}"))
    return SelfBlendedPairs(CachedDataset(reals, SIZE, keep_pixels=True), 7)


@pytest.fixture(scope="module")
def captures(pairs):
    return Captures(pairs, COUNT)


def train(dataset, **changes):
    options = {"batch_size": 4, "seed": 7, "start_step": 0, "num_steps": 12, "balanced": True}
    with contextlib.closing(train_batches(dataset, size=SIZE, **(options | changes))) as batches:
        return list(batches)


def test_captures_are_what_the_dataset_makes_for_other_steps(pairs, captures):
    assert len(captures.examples) == 2 * PAIRS
    seen = set()
    for capture in range(COUNT):
        for real in range(REALS):
            place = {"step": capture, "row": 2 * real}
            for part in range(2):
                index = part * PAIRS + capture * REALS + real
                number = part * REALS + real
                assert captures.examples[index] == pairs.examples[number]
                image = captures.load(index, SIZE)
                np.testing.assert_array_equal(image, pairs.load_for_row(number, SIZE, **place))
                seen.add(image.tobytes())
    assert len(seen) == 2 * PAIRS


def test_pairs_stay_together_and_every_capture_comes_once_an_epoch(captures):
    batches = train(CachedDataset(captures, SIZE, keep_pixels=True))
    order = np.concatenate([batch["index"][::2] for batch in batches])
    for batch in batches:
        assert batch["label"].tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(batch["index"][1::2], batch["index"][::2] + PAIRS)
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            np.testing.assert_array_equal(image, captures.load(index, SIZE))
    for epoch in order.reshape(-1, PAIRS):
        assert sorted(epoch) == list(range(PAIRS))


def test_a_resumed_run_sees_the_same_images_in_a_copy_too(captures):
    whole = train(CachedDataset(captures, SIZE, keep_pixels=True))
    kept = CachedDataset(captures, SIZE, keep_pixels=False)
    copy = pickle.loads(pickle.dumps(kept))
    for one, other in zip(train(copy, start_step=9), whole[9:], strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_captures_of_augmented_images():
    dataset = select_examples(load_dataset("synthetic:0#train"), [0, 1, 2, 2048, 2053, 2058, 2063])
    changes = Augmentation(crop=0.3, flip=True, gain=0.2)
    augmented = AugmentedDataset(dataset, SIZE, changes, 3, keep_pixels=True)
    captures = Captures(augmented, 2)
    assert captures.examples == (*dataset.examples, *dataset.examples)
    images = [captures.load(index, SIZE) for index in range(14)]
    for index in (0, 6):
        for capture in range(2):
            expected = augmented.load_for_row(index, SIZE, step=capture, row=index)
            np.testing.assert_array_equal(images[7 * capture + index], expected)
    assert len({image.tobytes() for image in images}) == 14
    for batch in train(CachedDataset(captures, SIZE, keep_pixels=True)):
        assert batch["label"].tolist() == [0, 1, 0, 1]
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            np.testing.assert_array_equal(image, images[index])


def test_hashes_are_those_of_the_images_as_they_were(pairs, captures):
    dataset = CachedDataset(captures, SIZE, keep_pixels=True)
    dataset.load(0, SIZE)
    digests = dataset.hashes.digests
    assert len(digests) == REALS
    np.testing.assert_array_equal(digests, pairs.hashes.digests)
    assert digests.any()
