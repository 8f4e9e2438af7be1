"""Shards of WebDataset are read where they lie; one that is cut off is one line."""

import gzip
import io
import json
import pickle
import tarfile

import numpy as np
import pytest

from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.landmarks import landmark_count, load_face
from tests.data.readers.test_parquet import png
from tests.faces.test_shards import SIZE, draw_image


def write_tar(file, members):
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return f"tar:{file}"


def sample(key, seed, **values):
    return {f"{key}.png": png(seed), f"{key}.json": json.dumps(values).encode()}


def test_samples_become_examples_with_their_pixels(tmp_path):
    members = {
        **sample("a/000", 0, label=0, video="clip", frame=3, other="x"),
        **sample("a/001", 1, label="fake", method="swap", source="clip", group="g"),
        "b.jpg": png(2),
        "b.cls": b"1\n",
    }
    dataset = load_dataset(write_tar(tmp_path / "s.tar", members))
    real, swap, plain = dataset.examples
    assert (real.id, real.label, real.method, real.video, real.frame) == (
        *("a/000", 0, "real", "clip", 3),
    )
    assert (swap.label, swap.method, swap.source, swap.group) == (1, "swap", "clip", "g")
    assert (plain.label, plain.method, plain.video, plain.source) == (1, "fake", "b", "b")
    assert real.path == f"{tmp_path}/s.tar/a/000.png"
    for number, copied in enumerate([pickle.loads(pickle.dumps(dataset))] * 3):
        np.testing.assert_array_equal(
            copied.load(number, SIZE), draw_image(np.random.default_rng(number))
        )


def test_landmarks_of_a_sample(tmp_path):
    points = template_landmarks(24)
    members = {**sample("a", 0, label=0, landmarks=points.tolist()), **sample("b", 1, label=0)}
    dataset = load_dataset(write_tar(tmp_path / "s.tar", members))
    assert [landmark_count(dataset, i) for i in range(2)] == [5, 0]
    np.testing.assert_array_equal(load_face(dataset, 0, 24).landmarks, points)
    for wrong in ([1, 2, "x"], [10**400] * 10):
        bad = sample("a", 0, label=0, landmarks=wrong)
        with pytest.raises(UserError, match=r"s\.tar: a: landmarks are not x and y of 68 or 5"):
            load_dataset(write_tar(tmp_path / "s.tar", bad))


def test_many_shards_are_one_data_set(tmp_path):
    for number, split in enumerate(("train", "train", "test")):
        write_tar(tmp_path / f"{split}-{number}.tar", sample(f"k{number}", number, label=0))
    assert [e.id for e in load_dataset(f"tar:{tmp_path}#train").examples] == ["k0", "k1"]
    assert len(load_dataset(f"tar:{tmp_path}/*.tar").examples) == 3
    write_tar(tmp_path / "train-1.tar", sample("k0", 0, label=0))
    with pytest.raises(UserError, match=r"train-1\.tar: k0 is there twice"):
        load_dataset(f"tar:{tmp_path}#train")


@pytest.mark.parametrize("left", [0.05, 0.3, 0.5, 0.8, 0.999])
def test_a_tar_that_is_cut_in_the_middle_is_named(tmp_path, left):
    file = tmp_path / "s.tar"
    members: dict[str, bytes] = {}
    for number in range(6):
        members |= sample(f"{number}", number, label=0)
    spec = write_tar(file, members)
    with tarfile.open(file) as tar:
        end = max(member.offset_data + member.size for member in tar)
    with file.open("r+b") as opened:
        opened.truncate(int(end * left))
    with pytest.raises(UserError, match=f"{spec}: no whole tar file") as caught:
        load_dataset(spec)
    assert "\n" not in str(caught.value)


def test_a_tar_without_its_end_is_cut_off_too(tmp_path):
    file = tmp_path / "s.tar"
    spec = write_tar(file, sample("k", 0, label=0))
    with tarfile.open(file) as tar:
        last = tar.getmembers()[-1]
    with file.open("r+b") as opened:
        opened.truncate(last.offset_data + 512)
    with pytest.raises(UserError, match="no whole tar file"):
        load_dataset(spec)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": png(), "a.json": b"[" * 10**5}, r"a\.json: no text or no JSON; correct it"),
        ({"k.png": b""}, "k has no label"),
        ({"k.cls": b"0"}, "k has no image"),
        ({"k.png": b"", "k.jpg": b"", "k.cls": b"0"}, "k has two images"),
        ({"k.png": b"", "k.cls": b"2"}, "k: label '2'; it must be 0 or real, or 1 or fake"),
        ({"k.png": b"", "k.json": b"["}, r"k\.json: no text or no JSON"),
        ({"k.png": b"", "k.json": b"[]"}, r"k\.json: no JSON object"),
        ({"k.png": b"", "k.json": b'{"label": 0, "frame": "x"}'}, "k: frame 'x'"),
        (
            {"k.png": b"", "k.cls": b"1", "k.json": b'{"label": 0}'},
            r"k\.json: label 0, and '1' in another member of its name; correct one",
        ),
        ({}, "no samples in it"),
    ],
)
def test_samples_that_are_not_whole_are_named(tmp_path, members, message):
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(write_tar(tmp_path / "s.tar", members))
    assert "\n" not in str(caught.value)


def test_a_compressed_tar_and_one_that_changes_later(tmp_path):
    spec = write_tar(tmp_path / "s.tar", sample("k", 0, label=0))
    (tmp_path / "s.tar").write_bytes(gzip.compress((tmp_path / "s.tar").read_bytes()))
    with pytest.raises(UserError, match=r"no whole tar file .*unpack one that is compressed"):
        load_dataset(spec)
    dataset = load_dataset(write_tar(tmp_path / "s.tar", sample("k", 0, label=0)))
    (tmp_path / "s.tar").write_bytes(b"")
    with pytest.raises(BadImageError, match="the tar file is cut off"):
        dataset.load(0, SIZE)
