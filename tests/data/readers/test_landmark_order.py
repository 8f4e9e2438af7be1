"""Landmarks of a table: points that can be no face's in the order asked for are refused."""

import json

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.readers.landmark_order import find_landmark_problem
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.landmarks import load_face, to_five_landmarks
from rffr_jax.synthetic.dataset import SyntheticDataset

SIZE = 128


@pytest.fixture(scope="module")
def shapes():
    dataset = SyntheticDataset(0, "test")
    return [dataset.landmarks_in_picture(index, SIZE) for index in range(40)]


def five(shape):
    return to_five_landmarks(shape).astype(np.float32)


WRONG = {
    "x before y": lambda points: points.T.reshape(-1, 2),
    "the person's left and right": lambda points: points[[1, 0, 2, 4, 3]],
    "mouth first": lambda points: points[[3, 4, 2, 0, 1]],
    "nose first": lambda points: points[[2, 0, 1, 3, 4]],
    "fractions": lambda points: points / SIZE,
    "another picture": lambda points: points * 2,
    "all equal": lambda points: np.full_like(points, 40),
    "negative": lambda points: points - 100,
}


def test_faces_are_taken_however_they_are_turned(shapes):
    for number, shape in enumerate(shapes):
        turn = 2 * np.pi * number / len(shapes)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        turned = ((shape - 64) @ matrix.T * 0.5 + 64).astype(np.float32)
        for points in (shape, turned, five(turned)):
            assert not find_landmark_problem(points, (SIZE, SIZE))


@pytest.mark.parametrize("order", WRONG)
def test_a_line_with_another_order_is_refused_and_named(tmp_path, shapes, order):
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "0.png")
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "1.png")
    refused = 0
    for shape in shapes[:10]:
        rows = [five(shape), np.ascontiguousarray(WRONG[order](five(shape)))]
        texts = [" ".join(f"{value:.2f}" for value in row.ravel()) for row in rows]
        lines = [f"{number}.png,0,{text}" for number, text in enumerate(texts)]
        (tmp_path / "faces.csv").write_text("\n".join(["path,label,landmarks", *lines]))
        if find_landmark_problem(rows[1], (SIZE, SIZE)):
            refused += 1
            expected = r"faces.csv: line 3: landmarks: .*; the order is left eye, right eye, tip"
            with pytest.raises(UserError, match=expected):
                load_dataset(f"csv:{tmp_path}/faces.csv")
    assert refused >= (7 if order == "x before y" else 10)  # any line refuses a table


def test_the_68_points_and_lists_are_checked_as_well(tmp_path, shapes):
    entries = [
        {"path": f"{number}.png", "label": 0, "landmarks": " ".join(map(str, shape.ravel()))}
        for number, shape in enumerate((shapes[0], shapes[1][::-1]))
    ]
    (tmp_path / "faces.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"faces.json: entry 2: landmarks: .* the 68 of 300-W"):
        load_dataset(f"list:{tmp_path}/faces.json")


def test_points_outside_of_a_later_picture_make_a_bad_file(tmp_path, shapes):
    text = " ".join(f"{value:.2f}" for value in five(shapes[0]).ravel())
    lines = [f"{number}.png,0,{text}" for number in range(20)]
    (tmp_path / "faces.csv").write_text("\n".join(["path,label,landmarks", *lines]))
    for number in range(20):
        side = SIZE if number < 19 else 60
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
    dataset = load_dataset(f"csv:{tmp_path}/faces.csv")
    assert load_face(dataset, 18, SIZE).landmarks.shape == (5, 2)
    with pytest.raises(BadImageError, match="outside of the picture of 60 x 60 pixels"):
        load_face(dataset, 19, SIZE)
