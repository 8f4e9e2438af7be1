"""Records in shards: read back by plain TFDS, the same bytes each time, whole or not at all."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from rffr_jax.data.readers.records import FaceRecord
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces import shards
from rffr_jax.faces.shards import read_counts, read_ids, write_dataset
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.decode import decode_image
from rffr_jax.images.image_formats import IMAGE_FORMATS, decode_crop, encode_crop

ROOT = pathlib.Path(__file__).parents[2]
SIZE = 24
PREPARATION = {"detector": "retinaface", "weights_sha256": "ab" * 32, "scale": 1.3}


def draw_image(rng, size=SIZE):
    """A smooth picture with some noise, RGB."""
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.add(smooth, rng.integers(0, 9, smooth.shape, dtype=np.uint8))


def draw_landmarks(rng, size):
    return (template_landmarks(size) + rng.normal(0, size / 50, (5, 2))).astype(np.float32)


def draw_records(seed, image_format, videos=2, frames=3, size=SIZE, dataset="FaceForensics++"):
    """Frames of some reals and of a fake of each; every second frame is there."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(videos):
        for method in ("real", "Deepfakes"):
            video = f"real/{number:03d}" if method == "real" else f"Deepfakes/{number:03d}_999"
            for frame in range(0, 2 * frames, 2):
                records.append(
                    FaceRecord(
                        id=f"{video}/{frame:06d}",
                        image=encode_crop(draw_image(rng, size), image_format),
                        label=int(method != "real"),
                        dataset=dataset,
                        method=method,
                        video=video,
                        frame=frame,
                        source=f"real/{number:03d}",
                        group=f"{number:03d}-999",
                        person="José, the 2nd" if number else "",
                        box=rng.normal(100, 50, 4).astype(np.float32),
                        landmarks=draw_landmarks(rng, size),
                        score=float(np.float32(rng.random())),
                        original=".jpg JPEG 640x480 0123456789abcdef" if number else "",
                    )
                )
    return records


def write(directory, splits, image_format="png", name="faces", size=SIZE, **preparation):
    return write_dataset(
        directory,
        name,
        {split: records.__iter__ for split, records in splits.items()},
        image_format=image_format,
        size=size,
        preparation=PREPARATION | preparation,
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_plain_tfds_reads_every_value(tmp_path, image_format):
    records = draw_records(1, image_format)
    folder = write(tmp_path, {"train": records, "test": records[:0]}, image_format)
    assert folder == tmp_path / "faces" / "1.0.0"
    builder: Any = tfds.builder_from_directory(folder)
    source = builder.as_data_source("train")
    assert len(source) == len(records)
    for found, record in zip(source, records, strict=True):
        expected = decode_crop(record.image, image_format, SIZE, record.id)
        np.testing.assert_array_equal(found.pop("image"), expected)
        for name in ("box", "landmarks"):
            np.testing.assert_array_equal(found.pop(name), getattr(record, name))
        values = {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}
        assert values == {name: getattr(record, name) for name in values}
        names = {field.name for field in dataclasses.fields(record)}
        assert names == {*values, "image", "box", "landmarks"}


def test_tensorflow_is_not_needed(tmp_path):
    code = """
        import sys
        from pathlib import Path
        import tensorflow_datasets as tfds
        from tests.faces.test_shards import draw_records, write
        folder = write(Path(sys.argv[1]), {"train": draw_records(2, "raw")}, "raw")
        print(tfds.builder_from_directory(folder).as_data_source("train")[0]["image"].shape)
        assert "tensorflow" not in sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == f"({SIZE}, {SIZE}, 3)\n", done.stderr


def test_the_same_records_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SHARD_BYTES", 8000)
    records = draw_records(3, "png")
    folders = [write(tmp_path / place, {"train": records}) for place in ("a", "b")]
    first, second = map(content, folders)
    assert first == second
    assert sum("array_record" in name for name in first) > 2
    assert content(write(tmp_path / "a", {"train": records})) == first


def test_counts_and_ids_come_from_the_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SHARD_BYTES", 8000)
    records = draw_records(4, "png", videos=3)
    splits = {"train": records[:11], "validation": records[11:11], "test": records[11:]}
    folder = write(tmp_path, splits)
    assert read_counts(folder) == {"train": 11, "test": 7}
    for split, expected in splits.items():
        assert read_ids(folder, split) == [record.id for record in expected]


def test_the_sidecar_tells_how_the_faces_were_made(tmp_path):
    folder = write(tmp_path, {"test": draw_records(5, "jpeg", videos=1)}, "jpeg", scale=1.6)
    expected = {**PREPARATION, "scale": 1.6, "image_format": "jpeg", "size": SIZE}
    assert json.loads((folder / "preparation.json").read_text()) == expected


def test_a_new_data_set_takes_the_place_of_the_old_one(tmp_path):
    records = draw_records(6, "png")
    write(tmp_path, {"train": records, "test": records[:0]})
    folder = write(tmp_path, {"test": records[:2]})
    assert read_counts(folder) == {"test": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


def test_nothing_is_left_of_what_could_not_be_finished(tmp_path):
    records = draw_records(7, "png")
    before = content(write(tmp_path, {"train": records}))

    def breaks():
        yield from records[:3]
        raise KeyError("a defect")

    for name in ("faces", "others"):
        with pytest.raises(KeyError, match="a defect"):
            write_dataset(
                tmp_path, name, {"train": breaks}, image_format="png", size=SIZE, preparation={}
            )
    with pytest.raises(ValueError, match="'real/000/000000' is there twice"):
        write(tmp_path, {"train": records, "test": records[:1]})
    assert content(tmp_path / "faces" / "1.0.0") == before
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["1.0.0"]
    assert not list((tmp_path / "others").iterdir())


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    leftover = tmp_path / "faces" / ".1.0.0.part" / "faces-train.array_record-00000"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a shard")
    folder = write(tmp_path, {"train": draw_records(8, "png")})
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


def test_a_full_disk_is_said_in_one_line_and_nothing_stays(tmp_path):
    # A limit on the size of files stands for the full disk: both fail in the same system call.
    code = """
        import pathlib, resource, signal, sys
        from rffr_jax.errors import UserError
        from tests.faces.test_shards import draw_records, write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write(pathlib.Path(sys.argv[1]), {"train": draw_records(9, "raw", frames=40)}, "raw")
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1, done.stderr
    assert f"records cannot be written to {tmp_path}/faces: " in done.stdout
    assert "File too large" in done.stdout
    assert not list((tmp_path / "faces").iterdir())


def test_places_and_names_that_cannot_be_are_refused(tmp_path):
    records = draw_records(10, "png", videos=1)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot be written to .*file/faces: Not a directory"):
        write(tmp_path / "file", {"train": records})
    for name in ("FF++", "ff-pp", "1faces", "a/b", ""):
        with pytest.raises(UserError, match="small letters, digits and underscores"):
            write(tmp_path, {"train": records}, name=name)
    other = tmp_path / "faces" / "1.0.0" / "thesis.txt"
    other.parent.mkdir(parents=True)
    other.write_text("not records")
    with pytest.raises(UserError, match="something else than prepared records"):
        write(tmp_path, {"train": records})
    assert other.read_text() == "not records"
    with pytest.raises(ValueError, match="'webp'"):
        write(tmp_path, {"train": records}, "webp", name="more")


# --- image formats -----------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["png", "raw"])
def test_lossless_formats_keep_every_pixel(image_format):
    image = np.random.default_rng(11).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        decode_crop(encode_crop(image, image_format), image_format, SIZE, ""), image
    )


def test_jpeg_has_the_quality_and_the_colour_resolution_that_it_says(tmp_path):
    image = draw_image(np.random.default_rng(12), 64)
    data = encode_crop(image, "jpeg")
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    stored = JpegImageFile(path)
    with stored:
        luminance = stored.quantization[0]
        assert {factors[1:3] for factors in stored.layer} == {(1, 1)}  # 4:4:4
    Image.new("RGB", (64, 64)).save(path, quality=95)
    other = JpegImageFile(path)
    with other:
        assert luminance == other.quantization[0]
    error = np.abs(decode_crop(data, "jpeg", 64, "").astype(int) - image)
    assert 0 < error.mean() < 3


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_pixels_are_those_of_the_decoder_of_files(image_format):
    rng = np.random.default_rng(13)
    for side in (16, 37, 224):
        data = encode_crop(draw_image(rng, side), image_format)
        for size in (side, 32, 50):
            found = decode_crop(data, image_format, size, "")
            np.testing.assert_array_equal(found, decode_image(data, size, ""))


def test_raw_pixels_are_resized_by_the_rule_for_files():
    image = draw_image(np.random.default_rng(14), 40)
    for size in (16, 40, 64):
        found = decode_crop(encode_crop(image, "raw"), "raw", size, "")
        np.testing.assert_array_equal(found, decode_image(encode_crop(image, "png"), size, ""))


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_damaged_images_are_named(image_format):
    data = encode_crop(draw_image(np.random.default_rng(15), 64), image_format)
    for damaged in (b"", b"no image", data[:-40], data[: len(data) // 2]):
        with pytest.raises(BadImageError, match=r"^the record: ") as caught:
            decode_crop(damaged, image_format, 64, "the record")
        assert caught.value.name == "the record"
        assert "\n" not in caught.value.reason


def test_an_unknown_format_is_a_defect():
    with pytest.raises(ValueError, match="'webp'"):
        encode_crop(np.zeros((4, 4, 3), np.uint8), "webp")
