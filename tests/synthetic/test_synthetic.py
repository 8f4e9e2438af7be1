import pickle

import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.images.decode import decode_image
from rffr_jax.synthetic.dataset import SPLIT_SIZES, SyntheticDataset
from rffr_jax.synthetic.manipulations import METHODS, NEEDS_DONOR


@pytest.fixture(scope="module")
def validation():
    return SyntheticDataset(0, "validation")


@pytest.mark.parametrize(("split", "count"), [("train", 4096), ("validation", 512), ("test", 512)])
def test_split_sizes_labels_and_methods(split, count):
    examples = SyntheticDataset(0, split).examples
    assert len(examples) == count
    labels = [example.label for example in examples]
    assert labels == [0] * (count // 2) + [1] * (count // 2)
    fakes = [example.method for example in examples if example.label]
    assert {method: fakes.count(method) for method in METHODS} == dict.fromkeys(METHODS, count // 8)
    assert {example.method for example in examples if not example.label} == {"real"}
    assert len({example.id for example in examples}) == count
    assert len({(e.video, e.frame) for e in examples}) == count


def test_ids_and_clusters_tie_a_real_to_its_fakes():
    examples = SyntheticDataset(7, "train").examples
    assert examples[12].id == "synthetic:7#train/real/00012"
    fakes = [
        example for example in examples if example.label and example.cluster == examples[12].id
    ]
    assert sorted(fake.method for fake in fakes) == sorted(METHODS)
    assert fakes[1].id == "synthetic:7#train/polygon_paste/00012"
    assert {example.dataset for example in examples} == {"synthetic"}
    assert all(example.source == example.id for example in examples if not example.label)


def test_identities_are_disjoint_and_donors_stay_in_the_split(monkeypatch):
    """Counted where the faces are made."""
    import rffr_jax.synthetic.dataset as module

    seen = {}
    face = module.render_face(0, 0, 48)
    for split, count in SPLIT_SIZES.items():
        used = seen[split] = set()

        def spy(seed, identity, size, used=used):
            used.add(identity)
            return face

        monkeypatch.setattr(module, "render_face", spy)
        dataset = SyntheticDataset(0, split)
        for index in range(0, count, 61 if split == "train" else 7):
            dataset.load(index, 48)
        reals = count // 2
        assert max(used) - min(used) < reals
        for index in range(reals, count):
            if dataset.examples[index].method in NEEDS_DONOR:
                assert 0 <= dataset.donor(index) < reals
                assert dataset.donor(index) != (index - reals) // 4
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_load_is_deterministic_and_the_dataset_picklable(validation):
    copy = pickle.loads(pickle.dumps(validation))
    for index in (0, 256, 257, 258, 259):
        image = validation.load(index, 48)
        assert image.shape == (48, 48, 3)
        np.testing.assert_array_equal(image, copy.load(index, 48))
    other_seed, other_split = SyntheticDataset(1, "validation"), SyntheticDataset(0, "test")
    for other in (other_seed, other_split):
        assert (other.load(0, 48) != validation.load(0, 48)).mean() > 0.5


def test_mask_is_empty_for_reals_and_says_where_a_fake_differs(validation):
    assert not validation.mask(0, 64).any()
    real = validation.load(0, 64)
    for j, method in enumerate(METHODS):
        assert validation.examples[256 + j].method == method
        fake, mask = validation.load(256 + j, 64), validation.mask(256 + j, 64)
        change = np.abs(fake.astype(int) - real).mean(-1)
        assert change[mask > 0.5].mean() > 1
        untouched = mask.reshape(8, 8, 8, 8).max((1, 3)) == 0
        assert not change[np.kron(untouched, np.ones((8, 8), bool))].any()


def test_bytes_are_those_of_the_image(validation):
    captured = validation.capture(300, 64)
    pixels = decode_image(captured.encoded, 64, "")
    np.testing.assert_array_equal(pixels, validation.load(300, 64))


def test_misuse_is_told_in_one_line():
    with pytest.raises(UserError, match="unknown split; take one of train, validation, test"):
        SyntheticDataset(0, "training")
    with pytest.raises(UserError, match="negative"):
        SyntheticDataset(-1, "train")
    with pytest.raises(IndexError):
        SyntheticDataset(0, "test").load(512, 48)
