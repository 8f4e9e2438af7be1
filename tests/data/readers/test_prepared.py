"""Prepared records as a dataset: `tfds:DIR/NAME[/VERSION]#split`."""

import contextlib
import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest

from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.preparations import check_same_preparation
from rffr_jax.data.readers.prepared import (
    PreparedDataset,
    collect_preparations,
    compare_preparations,
)
from rffr_jax.data.specs import (
    DatasetSpec,
    load_dataset,
    load_separately,
    parse_spec,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces import shards
from rffr_jax.images.image_formats import IMAGE_FORMATS, decode_crop, encode_crop
from rffr_jax.images.landmarks import load_face
from tests.faces.test_shards import SIZE, draw_image, draw_records, write

SHARED = ("id", "label", "dataset", "method", "video", "frame", "source", "group", "original")


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_a_split_is_read_in_the_order_of_its_records(tmp_path, monkeypatch, image_format):
    monkeypatch.setattr(shards, "_SHARD_BYTES", 5000)
    records = draw_records(1, image_format)
    folder = write(tmp_path, {"train": records, "test": records[:0]}, image_format)
    assert len(list(folder.glob("*array_record*"))) > 1
    dataset = load_dataset(f"tfds:{tmp_path}/faces#train")
    for index, record in enumerate(records):
        example = dataset.examples[index]
        assert [getattr(example, n) for n in SHARED] == [getattr(record, n) for n in SHARED]
        assert example.path == f"{folder}#train/{record.id}"
    for index in np.random.default_rng(1).permutation(len(records)):
        for size in (SIZE, 16):
            expected = decode_crop(records[index].image, image_format, size, "")
            np.testing.assert_array_equal(dataset.load(int(index), size), expected)


def test_filters_and_the_jobs_own_split(tmp_path):
    records = draw_records(2, "png", videos=3, frames=5)
    write(tmp_path, {"train": records[:10], "validation": records[10:20], "test": records[20:]})
    spec = f"tfds:{tmp_path}/faces"
    assert [e.id for e in load_dataset(spec, default_split="validation").examples] == [
        record.id for record in records[10:20]
    ]
    middles = load_dataset(f"{spec}#test?frames=1").examples
    assert [example.frame for example in middles] == [4, 4]
    assert load_dataset(f"{spec}#test?method=Deepfakes&limit=4").examples[3].label == 1


@pytest.mark.slow
def test_worker_processes_read_the_same_batches(tmp_path):
    write(tmp_path, {"test": draw_records(3, "raw")}, "raw")
    dataset = load_dataset(f"tfds:{tmp_path}/faces#test")
    dataset.load(0, SIZE)  # its shards are open here, and are opened anew in the workers
    read = []
    for workers in (0, 2):
        batches = evaluation_batches(dataset, size=SIZE, batch_size=5, workers=workers)
        with contextlib.closing(batches):
            read.append(list(batches))
    for one, other in zip(*read, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])
    assert read[0][0]["weight"].all()


def test_it_pickles_small(tmp_path):
    write(tmp_path, {"test": draw_records(4, "raw", videos=2, frames=50, size=SIZE)}, "raw")
    dataset = load_dataset(f"tfds:{tmp_path}/faces#test")
    dataset.load(0, SIZE)
    data = pickle.dumps(dataset)
    assert len(data) < 300 * len(dataset.examples)
    np.testing.assert_array_equal(pickle.loads(data).load(7, SIZE), dataset.load(7, SIZE))


def test_the_newest_version_is_read_unless_one_is_named(tmp_path):
    folder = write(tmp_path, {"test": draw_records(5, "png", videos=1)})
    for version in ("2.0.0", "10.0.0"):
        shutil.copytree(folder, folder.with_name(version))
        info = folder.with_name(version) / "dataset_info.json"
        info.write_text(info.read_text().replace("1.0.0", version))
    for path, version in (("faces", "10.0.0"), ("faces/2.0.0", "2.0.0")):
        dataset = load_dataset(f"tfds:{tmp_path}/{path}#test")
        assert f"/faces/{version}#test/" in dataset.examples[0].path


# --- what cannot be read -----------------------------------------------------------------------


def test_places_without_records_are_named(tmp_path):
    records = draw_records(6, "png")
    folder = write(tmp_path, {"train": records[1:], "test": records[:1]})
    with pytest.raises(UserError) as caught:
        load_dataset(f"tfds:{tmp_path}/faces#validation")
    assert "has no split 'validation'; it has train, test" in one_line(caught)
    with pytest.raises(UserError) as caught:
        load_dataset(f"tfds:{tmp_path}/nothing#train")
    assert "nothing: no such folder" in one_line(caught)
    (tmp_path / "other" / "1.0.0").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "other"):
        with pytest.raises(UserError) as caught:
            load_dataset(f"tfds:{place}#train")
        assert "no prepared records there" in one_line(caught)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(UserError) as caught:
        load_dataset(f"tfds:{tmp_path}/faces#train")
    assert "cannot be read as a data set of TFDS" in one_line(caught)


def test_an_index_that_does_not_fit_the_shards_is_refused(tmp_path):
    folder = write(tmp_path, {"train": draw_records(8, "png")})
    index = folder / "index-train.csv"
    rows = index.read_text().splitlines(keepends=True)
    for text, words in (
        ("".join(rows[:-1]), "names 11 records and the shards hold 12"),
        ("".join(rows[1:]), "is no index of records"),
        ("".join([*rows[:-1], "half,a,row\n"]), "is damaged"),
    ):
        index.write_text(text)
        with pytest.raises(UserError) as caught:
            PreparedDataset(folder, "train")
        assert words in one_line(caught)
    index.unlink()
    with pytest.raises(UserError, match=r"index-train.csv: no such file"):
        PreparedDataset(folder, "train")


def test_an_index_of_earlier_versions_says_nothing_of_originals(tmp_path):
    records = draw_records(8, "png")
    folder = write(tmp_path, {"train": records})
    index = folder / "index-train.csv"
    rows = [row.rpartition(",")[0] for row in index.read_text().splitlines()]
    assert rows[0].endswith(",group")
    index.write_text("\n".join(rows))
    examples = PreparedDataset(folder, "train").examples
    assert [e.id for e in examples] == [record.id for record in records]
    assert {e.original for e in examples} == {""}


def test_landmarks_that_can_be_no_faces_make_a_bad_record(tmp_path):
    good, bad, *_ = draw_records(8, "png")
    bad = dataclasses.replace(bad, landmarks=bad.landmarks[[1, 0, 2, 4, 3]])
    write(tmp_path, {"train": [good, bad]})
    dataset = load_dataset(f"tfds:{tmp_path}/faces#train")
    np.testing.assert_array_equal(load_face(dataset, 0, SIZE).landmarks, good.landmarks)
    with pytest.raises(BadImageError, match="landmarks: left and right are swapped"):
        load_face(dataset, 1, SIZE)
    assert dataset.load(1, SIZE).shape == (SIZE, SIZE, 3)


def test_a_missing_shard_ends_the_run_at_once(tmp_path):
    folder = write(tmp_path, {"train": draw_records(9, "png")})
    next(folder.glob("*array_record*")).unlink()
    with pytest.raises(UserError) as caught:
        PreparedDataset(folder, "train")
    assert "is missing; copy the whole folder" in one_line(caught)


def test_bad_records_count_as_bad_files(tmp_path):
    records = draw_records(10, "png")
    records[2] = dataclasses.replace(records[2], image=b"no image")
    cut_off = encode_crop(draw_image(np.random.default_rng(0)), "png")[:-40]
    records[5] = dataclasses.replace(records[5], image=cut_off)
    folder = write(tmp_path, {"test": records})
    dataset = load_dataset(f"tfds:{tmp_path}/faces#test")
    (batch,) = evaluation_batches(dataset, size=SIZE, batch_size=len(records))
    assert np.flatnonzero(batch["weight"] == 0).tolist() == [2, 5]
    bad_files = BadFiles(dataset, 0.5)
    bad_files.update(batch)
    assert set(bad_files.names) == {f"{folder}#test/{records[index].id}" for index in (2, 5)}


def test_damaged_shards_give_bad_images_and_never_others(tmp_path):
    records = draw_records(11, "raw", size=64)
    folder = write(tmp_path, {"test": records}, "raw", size=64)
    shard = next(folder.glob("*array_record*"))
    dataset = PreparedDataset(folder, "test")
    expected = [dataset.load(index, 64) for index in range(len(records))]
    data = bytearray(shard.read_bytes())
    place = 6 * len(records[0].image)
    data[place : place + 64] = bytes(byte ^ 255 for byte in data[place : place + 64])
    shard.write_bytes(data)
    damaged = PreparedDataset(folder, "test")
    bad = {}
    for index, image in enumerate(expected):
        try:
            np.testing.assert_array_equal(damaged.load(index, 64), image)
        except BadImageError as error:
            bad[error.name] = error.reason
    ((name, reason),) = bad.items()
    assert name in {example.path for example in damaged.examples[4:8]}
    assert "damaged or missing record (" in reason
    assert "\n" not in reason


def test_a_record_that_is_not_the_indexs_is_refused(tmp_path):
    folder = write(tmp_path, {"test": draw_records(12, "png")})
    index = folder / "index-test.csv"
    header, first, second, *others = index.read_text().splitlines(keepends=True)
    index.write_text("".join([header, second, first, *others]))
    with pytest.raises(BadImageError, match="the record there is real/000/000000"):
        PreparedDataset(folder, "test").load(0, SIZE)


# --- records that were prepared differently ----------------------------------------------------


def differently_prepared(directory):
    """The specs of `a`, of `b` like it, and of `c` that differs."""
    for seed, name in enumerate("ab"):
        frames = {"train": 3 + seed}
        write(directory, {"train": draw_records(seed, "png", videos=1)}, name=name, frames=frames)
    records = draw_records(9, "jpeg", videos=1)
    write(directory, {"train": records}, "jpeg", name="c", scale=1.6, weights_sha256="ab" * 31)
    return [f"tfds:{directory}/{name}#train" for name in "abc"]


def test_different_preparations_are_not_mixed_silently(tmp_path):
    a, b, c = differently_prepared(tmp_path)
    assert len(load_dataset([a, b]).examples) == 12
    with pytest.raises(UserError) as caught:
        load_dataset([a, f"{b}?frames=1", c])
    message = one_line(caught)
    for words in ("image_format: png, jpeg", "scale: 1.3, 1.6", "weights_sha256", "mixed=ok", c):
        assert words in message
    assert "frames:" not in message
    assert len(load_dataset([a, b, f"{c}?mixed=ok"]).examples) == 18
    with pytest.raises(UserError, match="prepared differently"):
        load_dataset([f"{a}?mixed=ok", b, c])
    assert len(load_separately([a, c], default_split="test")) == 2  # never in one batch or number


def test_a_preparation_is_found_through_selections(tmp_path):
    a, b, c = differently_prepared(tmp_path)
    expected = json.loads((tmp_path / "c" / "1.0.0" / "preparation.json").read_text())
    assert collect_preparations(load_dataset(c)) == [expected]
    both = collect_preparations(load_dataset([f"{c}?method=Deepfakes&limit=2", f"{a}?mixed=ok"]))
    assert len(both) == 2
    assert both[0] == expected
    synthetic = load_dataset("synthetic:0#test?limit=4")
    assert collect_preparations(synthetic) == []
    alike = collect_preparations(load_dataset([a, b]))
    assert compare_preparations(alike) == []
    assert compare_preparations([*alike, expected]) == [
        "image_format: png, jpeg",
        "scale: 1.3, 1.6",
        f"weights_sha256: {'ab' * 10}..., {'ab' * 10}...",
    ]


def test_a_detector_is_tried_on_faces_prepared_as_those_it_learnt_from(tmp_path):
    a, b, c = differently_prepared(tmp_path)
    trained = collect_preparations(load_dataset([a, b]))
    check_same_preparation(trained, b, load_dataset(b), "data.tests")
    check_same_preparation(trained, f"{c}?mixed=ok", load_dataset(c), "data.tests")
    check_same_preparation([], c, load_dataset(c), "data.tests")
    synthetic = "synthetic:0#test?limit=4"
    check_same_preparation(trained, synthetic, load_dataset(synthetic), "data.tests")
    with pytest.raises(UserError) as caught:
        check_same_preparation(trained, c, load_dataset(c), "data.tests")
    message = one_line(caught)
    assert message.startswith(f"data.tests: the faces of '{c}'")
    assert "scale: 1.3, 1.6" in message
    mixed = collect_preparations(load_dataset([a, f"{c}?mixed=ok"]))
    check_same_preparation(mixed, c, load_dataset(c), "data.tests")


def test_compressions_count_only_where_there_are_several():
    c23, c40, none = ({"scale": 1.3, "compression": name} for name in ("c23", "c40", ""))
    assert compare_preparations([c23, none, c23]) == []
    assert compare_preparations([c23, none, c40]) == ["compression: c23, c40"]
    assert compare_preparations([c23, {"compression": "c23"}]) == ["scale: 1.3, null"]
    assert compare_preparations([]) == []


def test_the_key_mixed():
    text = "tfds:a/b/1.0.0#test?frames=1&mixed=ok"
    assert parse_spec(text) == DatasetSpec(
        text=text, kind="tfds", path="a/b/1.0.0", split="test", frames=1, mixed=True
    )
    with pytest.raises(UserError, match="mixed=yes; mixed=ok goes with"):
        parse_spec("tfds:a/b?mixed=yes")
