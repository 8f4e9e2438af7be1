"""Images are compared by their pixels and by what they show, whatever their names."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data import image_hashes
from rffr_jax.data.image_hashes import (
    NO_IMAGES,
    ImageHashes,
    describe_equal_images,
    describe_trained_images,
    hash_batch,
    hash_image,
    join_clusters,
)
from rffr_jax.examples import Example
from rffr_jax.images.image_formats import compress_jpeg
from rffr_jax.synthetic.dataset import SyntheticDataset


@pytest.fixture(scope="module")
def faces():
    dataset = SyntheticDataset(0, "validation")
    return np.stack([dataset.load(index, 64) for index in range(12)])


def hashes_of(images):
    return ImageHashes.from_batch(hash_batch(np.asarray(images)))


def example(name, label=0, source="", dataset="d"):
    method = "fake" if label else "real"
    return Example(name, name, label, dataset, method, name, 0, source or name)


def test_equal_pixels_have_one_digest_and_others_another(faces):
    digests = hashes_of([*faces, faces[3]]).digests
    assert digests[3] == digests[-1]
    assert len(set(digests.tolist())) == 12
    changed = faces[0].copy()
    changed[5, 5, 0] ^= 1
    assert hash_image(changed)[0] != hash_image(faces[0])[0]
    assert hash_image(faces[0]) == hash_image(np.asfortranarray(faces[0]))


def test_copies_are_near_and_other_people_are_not(faces):
    known = hashes_of(faces)
    again = [compress_jpeg(face, 50) for face in faces]
    half = [np.array(Image.fromarray(f).resize((32, 32)).resize((64, 64))) for f in faces]
    for copies in (again, half):
        assert hashes_of(copies).count_near(known) == (12, 12)
    others = SyntheticDataset(1, "test")
    strangers = hashes_of([others.load(index, 64) for index in range(40)])
    assert strangers.count_near(known) == (0, 40)
    assert known.count_near(known) == (0, 0)  # equal images are no near ones


def test_a_record_is_sorted_distinct_and_bounded(tmp_path, faces, monkeypatch):
    file = tmp_path / "images.npz"
    first, second = hashes_of(faces[:8]), hashes_of(faces[6:])
    first.distinct(second, second).save(file)
    kept = ImageHashes.load(file)
    assert kept.digests.tolist() == sorted(hashes_of(faces).digests.tolist())
    assert kept.total == 12
    sent = ImageHashes.from_json(json.loads(json.dumps(kept.to_json())))
    assert sent.digests.tolist() == kept.digests.tolist()
    by_digest = dict(zip(hashes_of(faces).digests, hashes_of(faces).perceptual, strict=True))
    assert [by_digest[d] for d in kept.digests] == kept.perceptual.tolist()
    monkeypatch.setattr(image_hashes, "MOST_KEPT", 5)
    cut = first.distinct(second)
    assert (cut.digests.tolist(), cut.total) == (kept.digests[:5].tolist(), 12)
    cut.save(file)
    assert ImageHashes.load(file).distinct(first).total == 12


def test_a_missing_or_damaged_record_compares_nothing(tmp_path, caplog):
    assert ImageHashes.load(tmp_path / "no.npz") is NO_IMAGES
    assert not caplog.text
    (tmp_path / "bad.npz").write_bytes(b"no record")
    with caplog.at_level(logging.WARNING):
        assert ImageHashes.load(tmp_path / "bad.npz") is NO_IMAGES
    assert "bad.npz cannot be used" in caplog.text


def test_clusters_with_an_equal_image_become_one():
    examples = [example(name, source=source) for name, source in
                (("a", "1"), ("b", "2"), ("c", "2"), ("d", "3"), ("e", "4"))]  # fmt: skip
    digests = np.array([7, 7, 8, 8, 9], np.uint64)
    joined = join_clusters(examples, digests)
    assert [one.cluster for one in joined] == ["1", "1", "1", "1", "4"]
    assert [dataclasses.replace(one, group="") for one in joined] == examples
    elsewhere = [dataclasses.replace(e, dataset=e.id) for e in examples]
    assert join_clusters(elsewhere, digests) == elsewhere


def test_equal_images_are_named_and_counted():
    examples = [example("a"), example("b"), example("c", 1), example("d")]
    (line,) = describe_equal_images(examples, np.array([1, 1, 1, 2], np.uint64))
    assert "'d': 3 images show only 1 different pictures (such as a and b)" in line
    assert "1 of them are labelled both real and fake" in line
    assert not describe_equal_images(examples, np.arange(4).astype(np.uint64))


def test_trained_images_are_named_whatever_their_names(faces):
    trained = hashes_of(faces[:6])
    cut = dataclasses.replace(trained, total=900)
    tested = hashes_of([*faces[4:], compress_jpeg(faces[0], 50)])
    examples = [example(f"{number}") for number in range(9)]
    lines = describe_trained_images(examples, tested, {"detector": trained, "MAE": NO_IMAGES})
    assert len(lines) == 2
    assert lines[0].startswith("2 of 9 images of the test (the first '0' of dataset 'd') are")
    assert "among the 6 training images of the detector, whatever" in lines[0]
    assert lines[1].startswith("1 of 7 other images of the test are nearly equal")
    (line, _) = describe_trained_images(examples, tested, {"detector": cut})
    assert "the 900 training images of the detector, of which 6 were recorded" in line
