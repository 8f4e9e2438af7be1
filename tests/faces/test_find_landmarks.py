"""scripts/find_landmarks.py: photographs and records become the table that fakes are made by."""

import csv
import errno
import os
import pathlib

import cv2
import numpy as np
import pytest
import skimage.data

from rffr_jax.data.specs import load_dataset
from rffr_jax.images.landmarks import TEMPLATE_68, load_face
from rffr_jax.synthetic.landmark_table import read_landmark_table
from tests.data.test_make_manipulations import load_script
from tests.faces.movies import empty_frames
from tests.faces.onnx_files import point_network
from tests.faces.test_shards import draw_records, write

script = load_script("find_landmarks")


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "pfld.onnx"
    file.write_bytes(point_network(0.5 + (TEMPLATE_68 - [0.5, 0.554]) * 1.3))
    return file


def test_photographs_become_a_table(tmp_path, capsys, weights):
    folder = tmp_path / "in"
    (folder / "anna").mkdir(parents=True)
    face = np.ascontiguousarray(skimage.data.astronaut()[:256, 100:356, ::-1])
    cv2.imwrite(str(folder / "anna/1.png"), face)
    cv2.imwrite(str(folder / "b.png"), face)
    cv2.imwrite(str(folder / "none.png"), empty_frames(0, 1, 160)[0])
    (folder / "bad.jpg").write_bytes(b"no picture")
    output = folder / "landmarks.csv"
    given = ["--input", str(folder), "--output", str(output), "--landmarks-weights", str(weights)]
    assert script.main(given) == 0
    printed = capsys.readouterr()
    assert printed.out == "2 faces with 68 landmarks\n"
    assert "none.png: no face found" in printed.err
    assert "bad.jpg" in printed.err
    files = read_landmark_table(output, folder)
    assert [file.person for file in files] == ["anna", "b"]
    frame = files[0].load()  # the points are a face's, inside the picture
    assert frame.image.shape == (256, 256, 3)
    assert script.main(given) == 2
    assert "exists already" in capsys.readouterr().err


def test_records_become_pictures_with_a_table(tmp_path, capsys):
    records = draw_records(1, "png", size=96)
    shape = (TEMPLATE_68 * 96 - 0.5).astype(np.float32)
    for number, record in enumerate(records):
        object.__setattr__(record, "landmarks", shape + number)
    write(tmp_path, {"train": records}, size=96, landmarks_sha256="ab" * 32)
    spec = f"tfds:{tmp_path}/faces#train"
    output = tmp_path / "frames"
    assert script.main(["--input", spec, "--output", str(output)]) == 0
    with (output / "landmarks.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    dataset = load_dataset(spec)
    reals = [i for i, example in enumerate(dataset.examples) if not example.label]
    assert [row["person"] for row in rows] == [dataset.examples[i].cluster for i in reals]
    for index, file in zip(
        reals, read_landmark_table(output / "landmarks.csv", output), strict=True
    ):
        face, frame = load_face(dataset, index, 96), file.load()
        np.testing.assert_array_equal(frame.image, face.image)
        np.testing.assert_allclose(frame.landmarks, face.landmarks, atol=0.006)
    write(tmp_path, {"train": draw_records(2, "png")}, name="five")
    other = ["--input", f"tfds:{tmp_path}/five#train", "--output", str(tmp_path / "no")]
    assert script.main(other) == 2
    assert "has no 68 landmarks; prepare it with --landmarks 68" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert not list(tmp_path.glob(".no*"))


def test_drawn_faces_are_refused(tmp_path, capsys):
    given = ["--input", "synthetic:0#train?limit=4", "--output", str(tmp_path / "out")]
    assert script.main(given) == 2
    assert "drawn faces are no files" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_named_like_a_kind_of_data_is_a_folder(tmp_path, capsys, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "synthetic"):
        (tmp_path / name).mkdir()
        cv2.imwrite(f"{name}/none.png", empty_frames(0, 1, 160)[0])
        given = ["--input", name, "--output", "a.csv", "--landmarks-weights", str(weights)]
        assert script.main(given) == 2
        assert f"{name}/none.png: no face found" in capsys.readouterr().err


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    records = draw_records(1, "png", size=96)
    for record in records:
        shape = (TEMPLATE_68 * 96 - 0.5).astype(np.float32)
        object.__setattr__(record, "landmarks", shape)
    write(tmp_path, {"train": records}, size=96, landmarks_sha256="ab" * 32)
    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        script.main(["--input", f"tfds:{tmp_path}/faces#train", "--output", f"{tmp_path}/out"])
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]
