"""Parquet files: ours hold the records again, those of others their labels, bad ones one line."""

import dataclasses
import json
import pickle

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from rffr_jax.data.readers.prepared import collect_preparations
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces import parquet as written
from rffr_jax.faces import shards
from rffr_jax.faces.parquet import write_parquet
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.image_formats import IMAGE_FORMATS, encode_crop
from rffr_jax.images.landmarks import TEMPLATE_68, landmark_count, load_face
from tests.faces.test_shards import SIZE, draw_image, draw_records, write


def png(seed=0):
    return encode_crop(draw_image(np.random.default_rng(seed)), "png")


def write_columns(file, columns, metadata=None):
    table = pyarrow.table(columns)
    parquet.write_table(table.replace_schema_metadata(metadata), file, row_group_size=2)
    return f"parquet:{file}"


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_records_are_the_same_in_parquet(tmp_path, monkeypatch, image_format):
    monkeypatch.setattr(shards, "_SHARD_BYTES", 5000)
    monkeypatch.setattr(written, "ROWS_OF_A_GROUP", 2)
    records = draw_records(1, image_format)
    folder = write_parquet(write(tmp_path, {"train": records, "test": records[:0]}, image_format))
    prepared = load_dataset(f"tfds:{tmp_path}/faces#train")
    dataset = load_dataset(f"parquet:{folder}#train")
    assert len(list((folder / "data").iterdir())) > 1
    assert [dataclasses.replace(e, path="") for e in dataset.examples] == [
        dataclasses.replace(e, path="") for e in prepared.examples
    ]
    copied = pickle.loads(pickle.dumps(dataset))
    for index in np.random.default_rng(0).permutation(len(records)):
        np.testing.assert_array_equal(
            copied.load(int(index), SIZE), prepared.load(int(index), SIZE)
        )
    assert collect_preparations(dataset) == collect_preparations(prepared)
    card = (folder / "README.md").read_text()
    assert "path: data/train-*.parquet" in card
    assert f"| train | {len(records)} |" in card
    assert f"| image_format | {image_format} |" in card


def test_what_datasets_needs_to_know_is_in_each_file(tmp_path):
    folder = write_parquet(write(tmp_path, {"train": draw_records(1, "png")}, "png"))
    (file,) = (folder / "data").iterdir()
    schema = parquet.read_schema(file)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["names"] == ["real", "fake"]


def test_files_of_others_with_only_images_and_labels(tmp_path):
    columns = {"image": [png(0), png(1), png(2)], "label": ["fake", "REAL", "1"]}
    dataset = load_dataset(write_columns(tmp_path / "a.parquet", columns))
    assert [e.label for e in dataset.examples] == [1, 0, 1]
    assert [e.id for e in dataset.examples] == ["a/000000", "a/000001", "a/000002"]
    for seed in (2, 0, 1):
        np.testing.assert_array_equal(
            dataset.load(seed, SIZE), draw_image(np.random.default_rng(seed))
        )


def test_the_names_of_the_classes_decide_what_a_number_means(tmp_path):
    columns = {"image": [png()] * 2, "label": [0, 1]}
    label = {"names": ["fake", "real"], "_type": "ClassLabel"}
    known = {"huggingface": json.dumps({"info": {"features": {"label": label}}})}
    dataset = load_dataset(write_columns(tmp_path / "a.parquet", columns, known))
    assert [e.label for e in dataset.examples] == [1, 0]
    label["names"] = ["cat", "dog"]
    known = {"huggingface": json.dumps({"info": {"features": {"label": label}}})}
    with pytest.raises(UserError, match="called cat, dog; they must be real and fake"):
        load_dataset(write_columns(tmp_path / "a.parquet", columns, known))


@pytest.mark.parametrize("count", [5, 68])
def test_landmarks_of_prepared_records_come_along(tmp_path, count):
    records = draw_records(1, "png", size=96)
    if count == 68:
        shape = (TEMPLATE_68 * 96 - 0.5).astype(np.float32)
        records = [dataclasses.replace(r, landmarks=shape) for r in records]
    changes = {"landmarks_sha256": "ab" * 32} if count == 68 else {}
    folder = write_parquet(write(tmp_path, {"train": records}, size=96, **changes))
    dataset = load_dataset(f"parquet:{folder}#train?method=Deepfakes")
    prepared = load_dataset(f"tfds:{tmp_path}/faces#train?method=Deepfakes")
    for index in range(len(records)):
        assert landmark_count(dataset, index) == count
        one, other = (
            load_face(d, index, 96) for d in (pickle.loads(pickle.dumps(dataset)), prepared)
        )
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_landmarks_of_some_rows(tmp_path):
    points = template_landmarks(24)
    columns = {
        "image": [png()] * 3,
        "label": [0] * 3,
        "landmarks": [points.ravel().tolist(), None, []],
    }
    dataset = load_dataset(write_columns(tmp_path / "a.parquet", columns))
    assert [landmark_count(dataset, i) for i in range(3)] == [5, 0, 0]
    np.testing.assert_array_equal(load_face(dataset, 0, 24).landmarks, points)
    columns["landmarks"] = [points.ravel().tolist(), None, (points - 99).ravel().tolist()]
    dataset = load_dataset(write_columns(tmp_path / "a.parquet", columns))
    with pytest.raises(BadImageError, match="landmarks: eyes, nose or mouth lie outside"):
        load_face(dataset, 2, 24)
    plain = load_dataset(write_columns(tmp_path / "b.parquet", {"image": [png()], "label": [0]}))
    assert landmark_count(plain, 0) == 0


def test_files_that_were_prepared_differently_are_not_read_together(tmp_path):
    for name, preparation in (("a", {"scale": 1.3}), ("b", {"scale": 1.6}), ("c", None)):
        columns = {"image": [png()], "label": [0], "id": [name]}
        metadata = {"preparation": json.dumps(preparation)} if preparation else None
        write_columns(tmp_path / f"{name}.parquet", columns, metadata)
    with pytest.raises(UserError, match=r"prepared differently \(scale: 1.3, 1.6\)"):
        load_dataset(f"parquet:{tmp_path}")
    mixed = load_dataset(f"parquet:{tmp_path}?mixed=ok")
    assert collect_preparations(mixed) == [{"scale": 1.3}, {"scale": 1.6}]
    alike = load_dataset(f"parquet:{tmp_path}/[bc]*.parquet")
    assert collect_preparations(alike) == [{"scale": 1.6}]


@pytest.mark.parametrize("key", ["preparation", "huggingface"])
@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "[" * 10**5])
def test_metadata_that_is_no_json_object_is_one_line(tmp_path, key, text):
    spec = write_columns(tmp_path / "a.parquet", {"image": [png()], "label": [0]}, {key: text})
    with pytest.raises(UserError, match=f"its metadata '{key}' is no JSON object") as caught:
        load_dataset(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["null", "{}", '{"info": []}', '{"info": {"features": {"label": {"names": 3}}}}']
)
def test_metadata_that_says_nothing_of_the_classes(tmp_path, text):
    columns = {"image": [png()], "label": [1]}
    spec = write_columns(tmp_path / "a.parquet", columns, {"huggingface": text})
    assert load_dataset(spec).examples[0].label == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b""], "label": [0], "landmarks": [[1.0, 2.0]]}, "row 1: landmarks are not x"),
        ({"image": [b""], "label": [0], "landmarks": ["here"]}, "row 1: landmarks are not x and y"),
        ({"picture": [b""], "label": [0]}, "no column 'image' among picture, label"),
        ({"image": [b""], "class": [0]}, "no column 'label' among image, class"),
        ({"image": [7], "label": [0]}, "its column 'image' holds int64; it must hold the bytes"),
        ({"image": [{"path": "a.png"}], "label": [0]}, "its column 'image' holds struct<path"),
        ({"image": [b""], "label": [2]}, "row 1: label 2; it must be 0 or real, or 1 or fake"),
        ({"image": [b""], "label": [None]}, "row 1: label None"),
        ({"image": [b""], "label": [0], "method": ["swap"]}, "label 0 with method 'swap'"),
        ({"image": [b""] * 2, "label": [0] * 2, "id": ["x"] * 2}, "row 2: x is there before"),
        ({"image": [], "label": []}, "no rows in it"),
    ],
)
def test_other_columns_and_labels_are_named(tmp_path, columns, message):
    spec = write_columns(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(spec)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_and_an_image_that_is_damaged(tmp_path):
    file = tmp_path / "a.parquet"
    dataset = load_dataset(write_columns(file, {"image": [png(), b"", b"no"], "label": [0] * 3}))
    with pytest.raises(BadImageError, match=r"a\.parquet#1: the row holds no bytes"):
        dataset.load(1, SIZE)
    with pytest.raises(BadImageError):
        dataset.load(2, SIZE)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadImageError, match="damaged or missing"):
        pickle.loads(pickle.dumps(dataset)).load(0, SIZE)
    with pytest.raises(UserError, match="no whole Parquet file") as caught:
        load_dataset(f"parquet:{file}")
    assert "\n" not in str(caught.value)


def test_splits_patterns_and_absent_files(tmp_path):
    for name in ("train-0", "train-1", "test-0"):
        columns = {"image": [png()], "label": [0]}
        write_columns(tmp_path / f"{name}.parquet", columns)
    assert len(load_dataset(f"parquet:{tmp_path}").examples) == 2
    assert len(load_dataset(f"parquet:{tmp_path}#test").examples) == 1
    assert len(load_dataset(f"parquet:{tmp_path}/*.parquet").examples) == 3
    with pytest.raises(UserError, match="no split 'validation'; it has test, train"):
        load_dataset(f"parquet:{tmp_path}#validation")
    with pytest.raises(UserError, match="only a folder has splits"):
        load_dataset(f"parquet:{tmp_path}/test-0.parquet#test")
    with pytest.raises(UserError, match="no such file"):
        load_dataset(f"parquet:{tmp_path}/x*.parquet")
