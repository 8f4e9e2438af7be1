"""68 landmarks of a detected face: each layout of ONNX files, dlib's model, and wrong files."""

import hashlib
import math
import sys

import numpy as np
import pytest
import skimage.data

from rffr_jax.errors import UserError
from rffr_jax.faces.face import Face
from rffr_jax.faces.landmark_models import (
    DlibLandmarks,
    OnnxLandmarks,
    heatmap_points,
    load_landmark_model,
)
from rffr_jax.images.landmarks import TEMPLATE_68, to_five_landmarks
from tests.faces.movies import ASTRONAUT
from tests.faces.onnx_files import heatmap_network, make_onnx, node, point_network


def face_in(left, top, right, bottom):
    return Face(np.array([left, top, right, bottom], np.float32), ASTRONAUT.landmarks, 1.0)


def save(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("outputs", [1, 2])
def test_heatmaps_are_read_back_as_places_in_the_picture(tmp_path, outputs):
    """A red, a green and a blue spot are the highest cells of their heatmaps."""
    spots = np.array([[150.0, 120.0], [201.5, 180.0], [170.0, 222.0]])
    picture = np.zeros((300, 400, 3), np.uint8)
    y, x = np.mgrid[:300, :400]
    for channel, (a, b) in enumerate(spots):
        distance = np.hypot(x - a, y - b)
        picture[..., channel] = 250 * np.exp(-((distance / 12) ** 2))
    model = OnnxLandmarks(save(tmp_path / "fan.onnx", heatmap_network(outputs)))
    face = face_in(120, 90, 230, 250)  # a square of 277 px around (175, 150.8)
    found = model.find(picture, face)
    assert found.shape == (68, 2)
    for i, point in enumerate(found):
        # A cell has 4.3 pixels; the quarter of it leaves at most a quarter on both axes.
        assert np.abs(point - spots[i % 3]).max() < 277 / 64 / 4 + 0.1
    assert model.digest == hashlib.sha256(heatmap_network(outputs)).hexdigest()


def test_highest_cell_and_a_quarter_towards_the_higher_neighbour():
    random = np.random.default_rng(0)
    heatmaps = random.random((68, 64, 64)).astype(np.float32)
    heatmaps[0, 0, 5] = heatmaps[1, 63, 63] = heatmaps[2, 7, 0] = 2  # at borders
    found = heatmap_points(heatmaps)
    for one, (x, y) in zip(heatmaps, found, strict=True):
        row, column = np.unravel_index(one.argmax(), one.shape)
        row, column = int(row), int(column)
        expected = [float(column), float(row)]
        if 0 < row < 63 and 0 < column < 63:
            expected[0] += math.copysign(0.25, one[row, column + 1] - one[row, column - 1])
            expected[1] += math.copysign(0.25, one[row + 1, column] - one[row - 1, column])
        assert (x, y) == tuple(expected)


@pytest.mark.parametrize("shape", ["136", "68 x 2"])
def test_points_are_fractions_of_the_square(tmp_path, shape):
    random = np.random.default_rng(1)
    fractions = random.random((68, 2))
    data = point_network(fractions)
    if shape == "68 x 2":
        nodes = [
            node("GlobalAveragePool", ["x"], "mean"),
            node("Conv", ["mean", "kernel", "bias"], "wide"),
            node("Reshape", ["wide", "shape"], "y"),
        ]
        kernel = np.zeros((136, 3, 1, 1), np.float32)
        kernel[:, 0] = 0.01
        weights = {"kernel": kernel, "bias": fractions.astype(np.float32).ravel()}
        weights["shape"] = np.array([1, 68, 2], np.int64)
        data = make_onnx(nodes, (1, 3, 112, 112), ["y"], weights)
    model = OnnxLandmarks(save(tmp_path / "pfld.onnx", data))
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 51, 255  # a fifth of red
    side = 1.1 * 80
    expected = np.array([100, 90]) + (fractions + 0.01 * 0.2 - 0.5) * side
    found = model.find(picture, face_in(70, 50, 130, 130))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_models_are_loaded_once_a_thread(tmp_path):
    file = save(tmp_path / "pfld.onnx", point_network(TEMPLATE_68))
    assert load_landmark_model(file) is load_landmark_model(file)


def refusal(path, data=None):
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        OnnxLandmarks(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"--landmarks-weights {path}: ")
    return str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.onnx"
    assert "no such file" in refusal(path)
    assert "not an ONNX network" in refusal(path, b"no network")
    said = refusal(path, point_network(np.zeros((98, 2))))
    assert "input 112 x 112, outputs 1 x 196; it must take 256 x 256 and give 1 x 68 x 64" in said
    assert "input 224 x 224, outputs 1 x 136" in refusal(
        path, point_network(np.zeros((68, 2)), size=224)
    )
    free = make_onnx([node("Relu", ["x"], "y")], ("n", 3, "height", "width"), ["y"])
    assert "not an ONNX network for pictures of a fixed size" in refusal(path, free)


def test_missing_dlib_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"pip install 'rffr-jax\[landmarks\]', or name an ONNX"):
        DlibLandmarks()


def test_dlib_on_a_photograph():
    pytest.importorskip("dlib")
    found = DlibLandmarks().find(skimage.data.astronaut(), ASTRONAUT)
    five = to_five_landmarks(found)
    assert np.linalg.norm(five - ASTRONAUT.landmarks, axis=1).max() < 6
    left, top, right, _ = ASTRONAUT.box
    assert found[8, 1] > found[57, 1] > found[33, 1] > found[27, 1]
    assert left - 10 < found[0, 0] < found[16, 0] < right + 10
    assert top < found[19, 1] < found[37, 1]
