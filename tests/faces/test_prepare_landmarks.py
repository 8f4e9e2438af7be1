"""Records with 68 landmarks: the same crops, the model's points, and runs that resume."""

import hashlib
import json
import signal

import numpy as np
import pytest

from rffr_jax.data.readers.prepared import collect_preparations, compare_preparations
from rffr_jax.data.self_blending.blending import blending_mask, sample_parameters
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.faces import runners
from rffr_jax.faces.crop import CropSettings, crop_matrix
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.landmark_models import OnnxLandmarks
from rffr_jax.faces.prepare import PreparationSettings, prepare_medium
from rffr_jax.images.alignment import transform_points
from rffr_jax.images.landmarks import ALL, FIVE, TEMPLATE_68, load_face
from tests.faces.builds import content
from tests.faces.movies import face_frames, write_movie
from tests.faces.onnx_files import point_network
from tests.faces.test_prepare import medium
from tests.faces.test_prepare_faces import one_error, prepare

# In PFLD's square, which is 1.1 of RetinaFace's box, the mean face is about 1.3 times as large as
# in FFHQ's crop.
POINTS = 0.5 + (TEMPLATE_68 - [0.5, 0.554]) * 1.3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "pfld.onnx"
    file.write_bytes(point_network(POINTS))
    return file


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for seed, name in enumerate(("real/a", "real/b", "fake/Swap/a_b")):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_movie(path, face_frames(seed, 4, 96))
    return folder


def test_record_has_the_points_of_the_frame_in_pixels_of_its_crop(tmp_path, weights):
    frame = face_frames(0, 1, 160)[0]
    path = write_movie(tmp_path / "a.mkv", [frame], codec="ffv1")
    crop = CropSettings(size=64)
    with_model = PreparationSettings(
        crop=crop, image_format="png", landmarks=ALL, landmarks_weights=weights
    )
    (record,) = prepare_medium(medium(path), None, with_model).records
    (plain,) = prepare_medium(
        medium(path), None, PreparationSettings(crop=crop, image_format="png")
    ).records
    assert record.image == plain.image
    (face,) = load_detector("retinaface", None).detect(frame)
    found = OnnxLandmarks(weights).find(frame, face)
    expected = transform_points(found, crop_matrix(face, crop))
    assert record.landmarks.shape == (ALL, 2)
    np.testing.assert_allclose(record.landmarks, expected, atol=0.5)  # yuv420p costs a little
    assert plain.landmarks.shape == (FIVE, 2)


def test_self_blending_uses_the_68_points_of_records(tmp_path, media, weights):
    assert prepare("folder", media, tmp_path, "--landmarks-weights", weights) == 0
    folder = tmp_path / "folder/1.0.0"
    preparation = json.loads((folder / "preparation.json").read_text())
    assert preparation["landmarks_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert prepare("folder", media, tmp_path, "--name", "five") == 0
    dataset = load_dataset(f"tfds:{tmp_path}/folder#train")
    five = load_dataset(f"tfds:{tmp_path}/five#train")
    for index in range(len(dataset.examples)):
        np.testing.assert_array_equal(dataset.load(index, 48), five.load(index, 48))
        face = load_face(dataset, index, 48)
        assert face.landmarks.shape == (ALL, 2)
        assert face.landmarks.min() > 0
        assert face.landmarks.max() < 48
    pairs = SelfBlendedPairs(dataset, seed=0)
    assert pairs.landmark_counts == {"own": 4, "approximate template": 0}
    blended = pairs.blend(4, 48, step=0, row=1)
    shape = load_face(dataset, [e.label for e in dataset.examples].index(0), 48).landmarks
    recipe = sample_parameters(np.random.default_rng(0))
    assert blending_mask(shape, 48, recipe).max() > 0.2
    assert (blended.image != blended.real).any()
    # What found the points makes no other crops: the two go together.
    both = collect_preparations(dataset) + collect_preparations(five)
    assert len(both) == 2
    assert compare_preparations(both) == []


def test_stopped_run_ends_with_the_same_records(tmp_path, capsys, monkeypatch, media, weights):
    given = ("--landmarks-weights", weights)
    assert prepare("folder", media, tmp_path / "whole", *given) == 0
    seen = []
    real = runners.prepare_medium

    def interrupted(*args, **kwargs):
        seen.append(args[0].id)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(runners, "prepare_medium", interrupted)
    assert prepare("folder", media, tmp_path / "out", *given) == 75
    capsys.readouterr()
    assert prepare("folder", media, tmp_path / "out") == 2
    assert "an unfinished run with other landmarks_sha256" in one_error(capsys)
    assert prepare("folder", media, tmp_path / "out", *given) == 0
    assert len(seen) == 4
    version = "folder/1.0.0"
    assert content(tmp_path / "out" / version) == content(tmp_path / "whole" / version)


def test_wrong_weights_are_told_before_anything_is_written(tmp_path, capsys, media):
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(point_network(np.zeros((98, 2))))
    for file, words in ((wrong, "outputs 1 x 196"), (tmp_path / "no.onnx", "no such file")):
        assert prepare("folder", media, tmp_path / "out", "--landmarks-weights", file) == 2
        assert f"--landmarks-weights {file}: " in (line := one_error(capsys))
        assert words in line
    assert not list((tmp_path / "out").glob("*/*"))
