"""Pairs of a real and a self-blended fake: their order, their draws, and what they refuse."""

import contextlib
import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy.stats import mannwhitneyu

from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.self_blending import pairs as self_blended_pairs
from rffr_jax.data.self_blending.blending import (
    ColourChange,
    SelfBlended,
    sample_parameters,
    self_blend,
)
from rffr_jax.data.self_blending.pairs import (
    Augmentation,
    SelfBlendedPairs,
    augment,
    sample_augmentation,
)
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.landmarks import TEMPLATE_68, load_face
from tests.faces.test_shards import draw_image, draw_records, write

SIZE = 32
REALS = 5


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Five reals of 48 px, one of which is no image, and a fake that must not be used."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for name in (*(f"real/{i}.png" for i in range(REALS)), "fake/A/0.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_image(rng, 48)).save(root / name)
    (root / "real/3.png").write_bytes(b"no image")
    return f"folder:{root}?landmarks=aligned"


@pytest.fixture(scope="module")
def pairs(spec):
    return SelfBlendedPairs(load_dataset(spec), 7)


def train(pairs, **changes):
    options = {"batch_size": 4, "seed": 7, "start_step": 0, "num_steps": 6, "balanced": True}
    with contextlib.closing(train_batches(pairs, size=SIZE, **(options | changes))) as batches:
        return list(batches)


def assert_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_examples_are_the_reals_and_a_fake_of_each(pairs, spec):
    reals = keep_reals(load_dataset(spec)).examples
    assert pairs.pair_count == len(reals) == REALS
    assert pairs.examples[:REALS] == reals
    for real, fake in zip(reals, pairs.examples[REALS:], strict=True):
        assert (fake.label, fake.method) == (1, "self_blended")
        for name in ("path", "dataset", "video", "frame", "source", "cluster"):
            assert getattr(fake, name) == getattr(real, name)
    assert len({example.id for example in pairs.examples}) == 2 * REALS
    assert pairs.landmark_counts == {"own": 0, "approximate template": REALS}


def test_each_batch_holds_pairs_and_each_epoch_every_real_once(pairs):
    batches = train(pairs, num_steps=10)
    for batch in batches:
        assert batch["label"].tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(batch["index"][1::2], batch["index"][::2] + REALS)
        assert batch["image"].dtype == np.uint8
    order = np.concatenate([batch["index"][::2] for batch in batches])
    for epoch in order.reshape(-1, REALS):
        assert sorted(epoch) == list(range(REALS))


def test_an_odd_batch_is_refused(pairs):
    with pytest.raises(UserError, match="batch size 3 is odd"):
        train(pairs, batch_size=3)


def test_a_pair_is_blended_at_the_resolution_of_its_real_for_its_step_and_place(spec):
    reals = keep_reals(load_dataset(spec))
    pairs = SelfBlendedPairs(reals, 7, post_augmentation=False)
    for step, batch in enumerate(train(pairs)):
        for row, index in enumerate(batch["index"].tolist()):
            if index % REALS == 3:
                assert batch["weight"][row] == 0
                continue
            key = (7, self_blended_pairs._SEED_SALT, 0, step, row // 2)
            rng = np.random.default_rng(np.random.SeedSequence(key))
            made = self_blend(load_face(reals, index % REALS, SIZE), sample_parameters(rng))
            native = made.real if index < REALS else made.image
            assert native.shape == (48, 48, 3)
            np.testing.assert_array_equal(batch["image"][row], resize_to_square(native, SIZE))


def test_the_first_steps_have_full_blends_and_the_others_change_nothing(spec):
    reals = keep_reals(load_dataset(spec))
    plain = SelfBlendedPairs(reals, 7, post_augmentation=False)
    strong = plain.with_full_blends(20)
    ratios = []
    for step in range(40):
        other = plain.blend(REALS, SIZE, step=step, row=1).image
        key = (7, self_blended_pairs._SEED_SALT, 0, step, 0)
        recipe = sample_parameters(np.random.default_rng(np.random.SeedSequence(key)))
        ratios.append(recipe.ratio)
        own = strong.blend(REALS, SIZE, step=step, row=1)
        mask = strong.mask_for_row(REALS, SIZE, step=step, row=1)
        if step >= 20:
            np.testing.assert_array_equal(own.image, other)
            np.testing.assert_array_equal(mask, plain.mask_for_row(REALS, SIZE, step=step, row=1))
            continue
        full = self_blend(load_face(reals, 0, SIZE), dataclasses.replace(recipe, ratio=1.0))
        np.testing.assert_array_equal(own.image, full.image)
        subtle = plain.mask_for_row(REALS, SIZE, step=step, row=1)
        np.testing.assert_allclose(mask * recipe.ratio, subtle, atol=2.5 / 255)  # 8 bits
    assert {0.25, 1.0} < {*ratios[:20]}
    assert {0.25, 1.0} < {*ratios[20:]}


def test_every_step_pair_and_seed_gives_another_fake(pairs, spec):
    one = pairs.load_for_row(REALS, SIZE, step=0, row=1)
    others = [
        pairs.load_for_row(REALS, SIZE, step=1, row=1),
        pairs.load_for_row(REALS, SIZE, step=0, row=3),
        SelfBlendedPairs(load_dataset(spec), 8).load_for_row(REALS, SIZE, step=0, row=1),
    ]
    for other in others:
        assert (one != other).mean() > 0.05
    np.testing.assert_array_equal(one, pairs.load_for_row(REALS, SIZE, step=0, row=1))


@pytest.mark.slow
def test_resume_processes_and_workers_change_nothing(spec):
    pairs = SelfBlendedPairs(load_dataset(spec), 7)
    whole = train(pairs)
    assert_same(train(pairs, start_step=4), whole[4:])
    shares = [train(pairs, process_index=p, process_count=2) for p in range(2)]
    joined = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)
    assert_same(train(pairs, workers=2), whole)
    reals = CachedDataset(keep_reals(load_dataset(spec)), SIZE, keep_pixels=True)
    cached = SelfBlendedPairs(reals, 7)
    assert_same(train(cached), train(SelfBlendedPairs(load_dataset(spec), 7)))


# What real and fake of a pair have in common.


@pytest.fixture(scope="module")
def procedural():
    return CachedDataset(
        keep_reals(load_dataset("synthetic:0#train?limit=24")), SIZE, keep_pixels=True
    )


def test_pixels_outside_the_mask_are_equal_to_the_bit(procedural):
    pairs = SelfBlendedPairs(procedural, 3, post_augmentation=False)
    for index in range(pairs.pair_count):
        place = {"step": index, "row": 0}
        real, fake = (
            pairs.load_for_row(i, SIZE, **place) for i in (index, index + pairs.pair_count)
        )
        outside = pairs.blend(index, SIZE, **place).mask == 0
        np.testing.assert_array_equal(real[outside], fake[outside])
        assert (real[~outside] != fake[~outside]).any()


def test_the_background_tells_nothing(procedural):
    """How far its sharpness is from the photograph's, for reals and fakes of different pairs."""
    pairs = SelfBlendedPairs(procedural, 3, post_augmentation=False)

    def sharpness(image):
        return np.abs(np.diff(image[:4].astype(float), axis=1)).mean()

    changes = {False: [], True: []}
    for place in range(20 * pairs.pair_count):
        index, is_fake = place % pairs.pair_count, place // pairs.pair_count % 2 == 1
        image = pairs.load_for_row(index + is_fake * pairs.pair_count, SIZE, step=place, row=0)
        changes[is_fake].append(abs(sharpness(image) / sharpness(procedural.load(index, SIZE)) - 1))
    auc = mannwhitneyu(changes[True], changes[False]).statistic / len(changes[True]) ** 2
    assert abs(auc - 0.5) < 3 * np.sqrt(1 / (6 * len(changes[True])))


def test_both_of_a_pair_get_the_same_post_augmentation(spec, monkeypatch):
    monkeypatch.setattr(
        self_blended_pairs,
        "self_blend",
        lambda face, _: SelfBlended(face.image, face.image, np.zeros((48, 48), np.float32)),
    )
    reals = keep_reals(load_dataset(spec))
    plain, augmented = (
        SelfBlendedPairs(reals, 7, post_augmentation=chosen) for chosen in (False, True)
    )
    made = []
    for step in range(20):
        for first in (0, 2):
            real = augmented.load_for_row(1, SIZE, step=step, row=first)
            fake = augmented.load_for_row(1 + REALS, SIZE, step=step, row=first + 1)
            np.testing.assert_array_equal(real, fake)
            untouched = plain.load_for_row(1, SIZE, step=step, row=first)
            np.testing.assert_array_equal(untouched, reals.load(1, SIZE))
            made.append(real.tobytes())
    assert len(set(made)) == 40


def test_augmentations_are_drawn_from_the_stated_ranges():
    sampled = [sample_augmentation(np.random.default_rng(seed)) for seed in range(2000)]
    for share in ([a.flip for a in sampled], [a.jpeg_quality > 0 for a in sampled]):
        assert abs(np.mean(share) - 0.5) < 4 * np.sqrt(0.25 / 2000)
    qualities = [a.jpeg_quality for a in sampled if a.jpeg_quality]
    assert (min(qualities), max(qualities)) == (40, 100)
    margins = np.array([a.margins for a in sampled])
    assert 0.4 <= margins.min() < 0.41
    assert 0.99 < margins.max() <= 1
    assert abs(margins.mean() - 0.7) < 0.01


def test_a_cut_holds_the_face_and_is_flipped_with_it():
    """A face of one colour on grey: all of it stays, at least as large, in a square."""
    image = np.full((100, 100, 3), 100, np.uint8)
    image[30:80, 20:60] = (200, 0, 0)
    points = np.array([[20, 30], [59, 79]], np.float32).repeat(34, 0)
    plain = ColourChange((0.0, 0.0, 0.0), 0.0, 0.0)
    half = (0.5, 0.5, 0.5, 0.5)
    whole = augment(image, points, Augmentation(False, (1.0, 1.0, 1.0, 1.0), plain, 0), 100)
    np.testing.assert_array_equal(whole, image)
    cut = augment(image, points, Augmentation(False, half, plain, 0), 100)
    red = cut[..., 0].astype(int) - cut[..., 1] > 100
    assert not red[[0, -1]].any()
    assert not red[:, [0, -1]].any()
    # From 70 x 75 pixels of 100: the square between them has 72.5.
    assert red.sum() == pytest.approx(50 * 40 * (100 / 72.5) ** 2, rel=0.03)
    flipped = augment(image, points, Augmentation(True, half, plain, 0), 100)
    np.testing.assert_array_equal(flipped, cut[:, ::-1])


def test_a_bad_real_is_counted_once_and_named(pairs, caplog):
    counted = BadFiles(pairs, max_bad_fraction=0.25)  # one of five files, and not of ten images
    for batch in train(pairs, num_steps=8):
        counted.update(batch)
    ((name, reason),) = counted.names.items()
    assert name.endswith("real/3.png")
    assert "not an image" in reason


def test_landmarks_off_the_face_make_a_bad_file(tmp_path):
    Image.fromarray(draw_image(np.random.default_rng(2), 200)).save(tmp_path / "a.png")
    points = " ".join(map(str, (12 * TEMPLATE_68).ravel()))
    (tmp_path / "t.csv").write_text(f"path,label,landmarks\na.png,0,{points}\n")
    pairs = SelfBlendedPairs(load_dataset(f"csv:{tmp_path}/t.csv"), 0)
    for index in (0, 1):  # the real as well: half a pair is none
        with pytest.raises(BadImageError, match="its landmarks enclose less than 1%"):
            pairs.load(index, SIZE)


def test_prepared_records_and_procedural_faces_need_nothing_more(tmp_path):
    records = draw_records(5, "png", size=48)
    write(tmp_path, {"train": records}, size=48)
    prepared = SelfBlendedPairs(load_dataset(f"tfds:{tmp_path}/faces#train"), 0)
    assert prepared.landmark_counts == {"own": 0, "approximate template": len(records) // 2}
    procedural = SelfBlendedPairs(load_dataset("synthetic:0#validation?limit=8"), 0)
    assert procedural.landmark_counts == {"own": 4, "approximate template": 0}
    assert procedural.load(4, SIZE).shape == (SIZE, SIZE, 3)


def test_data_without_landmarks_or_reals_is_refused_in_one_line(tmp_path, spec):
    with pytest.raises(UserError, match=r"no landmarks are known of .*real/0\.png") as caught:
        SelfBlendedPairs(load_dataset(spec.partition("?")[0]), 0)
    assert "scripts/prepare_faces.py" in str(caught.value)
    assert "?landmarks=aligned" in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "t.csv").write_text("path,label\na.png,1\n")
    with pytest.raises(UserError, match="no real images"):
        SelfBlendedPairs(load_dataset(f"csv:{tmp_path}/t.csv"), 0)
