"""Masks of manipulations beside the images of a batch, moved as their images are."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.augmentation import Augmentation, AugmentedDataset
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.captures import Captures
from rffr_jax.data.pipeline import empty_batch, train_batches
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError

SIZE, PATCH = 24, 8


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two reals and four fakes whose images are their masks."""
    root = tmp_path_factory.mktemp("masks")
    rng, lines = np.random.default_rng(0), ["path,label,mask"]
    for number in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(root / f"{number}.png")
        fake = number > 1
        lines.append(f"{number}.png,{int(fake)},{f'{number}.png' if fake else ''}")
    (root / "table.csv").write_text("\n".join(lines))
    (root / "none.csv").write_text("\n".join([*lines[:4], "3.png,1,"]))
    return root


def batches(dataset, **changes):
    options = {"batch_size": 4, "seed": 3, "start_step": 0, "num_steps": 4, "balanced": True}
    options |= {"mask_patch": PATCH, **changes}
    with contextlib.closing(train_batches(dataset, size=SIZE, **options)) as iterator:
        return list(iterator)


def patch_means(image):
    return [
        image[row : row + PATCH, column : column + PATCH].mean() / 255
        for row in range(0, SIZE, PATCH)
        for column in range(0, SIZE, PATCH)
    ]


AUGMENTATION = Augmentation(crop=0.25, flip=True)


@pytest.mark.parametrize(
    "changed",
    [
        lambda given: given,
        lambda given: CachedDataset(given, SIZE, keep_pixels=True),
        lambda given: AugmentedDataset(given, SIZE, AUGMENTATION, 3, keep_pixels=True),
        lambda given: CachedDataset(
            Captures(AugmentedDataset(given, SIZE, AUGMENTATION, 3, keep_pixels=False), 2),
            SIZE,
            keep_pixels=True,
        ),
    ],
    ids=["given", "cached", "augmented", "captures"],
)
def test_a_mask_moves_with_its_image(table, changed):
    """Every image is its own mask here, so the shares are the means of its patches."""
    dataset = changed(load_dataset(f"csv:{table}/table.csv"))
    found = batches(dataset)
    for batch in found:
        assert batch["mask"].dtype == np.float32
        for label, image, shares in zip(batch["label"], batch["image"], batch["mask"], strict=True):
            expected = patch_means(image[..., 0].astype(float)) if label else np.zeros(9)
            np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert np.concatenate([batch["mask"] for batch in found]).std() > 0.1
    resumed = batches(dataset, start_step=2)
    for batch, again in zip(found[2:], resumed, strict=True):
        np.testing.assert_array_equal(batch["mask"], again["mask"])


def test_no_mask_is_read_unasked(table):
    (batch, *_) = batches(load_dataset(f"csv:{table}/none.csv"), mask_patch=0)
    assert "mask" not in batch
    assert "mask" not in empty_batch(2, SIZE)
    assert empty_batch(2, SIZE, PATCH)["mask"].shape == (2, 9)


def test_a_fake_without_a_mask_is_named(table):
    with pytest.raises(UserError, match=r"3\.png is a fake without a mask; detector.patch_loss"):
        batches(load_dataset(f"csv:{table}/none.csv"))


@pytest.mark.parametrize("post_augmentation", [False, True])
def test_a_self_blended_pair_differs_where_its_mask_is(post_augmentation, monkeypatch):
    """And only there, wherever the pair is cut and mirrored to (JPEG would differ everywhere)."""
    monkeypatch.setattr("rffr_jax.data.self_blending.pairs.JPEG_PROBABILITY", 0.0)
    reals = load_dataset("synthetic:0#train?limit=8")
    pairs = SelfBlendedPairs(reals, 7, post_augmentation=post_augmentation)
    changes = []
    for batch in batches(pairs):
        for row in (0, 2):
            real, fake = batch["image"][row : row + 2].astype(int)
            assert not batch["mask"][row].any()
            shares = batch["mask"][row + 1].reshape(3, 3)
            assert shares.max() > 0.1
            changed = np.abs(real - fake).max(axis=-1).reshape(3, PATCH, 3, PATCH)
            changed = changed.max(axis=(1, 3))
            assert changed[shares == 0].max(initial=0) <= 1
            changes += changed[shares > shares.max() / 2].tolist()
    assert np.median(changes) > 3


def test_pairs_are_augmented_alike(tmp_path):
    """A fake that equals its real stays equal to it, whatever is drawn for the two."""
    lines = ["path,label,source,mask"]
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        for name, label in (("real", 0), ("fake", 1)):
            Image.fromarray(noise).save(tmp_path / f"{name}{number}.png")
            lines.append(f"{name}{number}.png,{label},real{number},")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    given = load_dataset(f"csv:{tmp_path}/table.csv")
    changes = Augmentation(crop=0.25, flip=True, gain=0.5)
    dataset = AugmentedDataset(given, SIZE, changes, 3, keep_pixels=True)
    found = batches(dataset, pairs=True, mask_patch=0, num_steps=6)
    for batch in found:
        assert batch["label"].tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(batch["image"][::2], batch["image"][1::2])
    for batch, again in zip(
        found[3:],
        batches(dataset, pairs=True, mask_patch=0, num_steps=6, start_step=3),
        strict=True,
    ):
        np.testing.assert_array_equal(batch["image"], again["image"])
        np.testing.assert_array_equal(batch["index"], again["index"])
    halves = [
        batches(dataset, pairs=True, mask_patch=0, num_steps=6, process_index=n, process_count=2)
        for n in range(2)
    ]
    for batch, *parts in zip(found, *halves, strict=True):
        together = np.concatenate([part["image"] for part in parts])
        np.testing.assert_array_equal(batch["image"], together)
