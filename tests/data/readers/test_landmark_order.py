"""Landmarks of a table: those that can be no face's are named, and most of them are refused."""

import json
import re

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


def write_table(folder, rows):
    for number in range(len(rows)):
        Image.new("RGB", (SIZE, SIZE)).save(folder / f"{number}.png")
    texts = [" ".join(f"{value:.2f}" for value in row.ravel()) for row in rows]
    lines = [f"{number}.png,0,{text}" for number, text in enumerate(texts)]
    (folder / "faces.csv").write_text("\n".join(["path,label,landmarks", *lines]))
    return f"csv:{folder}/faces.csv"


@pytest.mark.parametrize("order", WRONG)
def test_a_table_in_another_order_is_refused(tmp_path, shapes, order):
    rows = [np.ascontiguousarray(WRONG[order](five(shape))) for shape in shapes[:10]]
    expected = (
        r"faces.csv: landmarks .* in \d+ of 10 lines, the first line \d+: .*; the order is left"
    )
    with pytest.raises(UserError, match=expected):
        load_dataset(write_table(tmp_path, rows))


@pytest.mark.parametrize("order", WRONG)
def test_one_bad_line_is_named_and_only_its_image_is_a_bad_file(tmp_path, shapes, order, caplog):
    rows = [five(shape) for shape in shapes[:3]]
    rows[1] = np.ascontiguousarray(WRONG[order](rows[1]))
    dataset = load_dataset(write_table(tmp_path, rows))
    (line,) = caplog.messages
    assert re.search(
        r"faces.csv: landmarks .* in 1 of 3 lines, .* \(line 3: [^()]*\); the order", line
    )
    assert [len(load_face(dataset, index, SIZE).landmarks) for index in (0, 2)] == [5, 5]
    with pytest.raises(BadImageError, match="landmarks: "):
        load_face(dataset, 1, SIZE)


@pytest.mark.parametrize("text", ["1 2 3", "nan " * 10, "a b c d e f g h i j"])
def test_points_that_are_no_numbers_are_a_bad_line(tmp_path, shapes, text, caplog):
    file = tmp_path / "faces.csv"
    write_table(tmp_path, [five(shape) for shape in shapes[:3]])
    first, *lines = file.read_text().splitlines()
    lines[2] = f"2.png,0,{text}"
    file.write_text("\n".join([first, *lines]))
    dataset = load_dataset(f"csv:{file}")
    assert "line 4: not the x and y of 68 or 5 points" in caplog.text
    with pytest.raises(BadImageError, match="not the x and y of 68 or 5 points"):
        load_face(dataset, 2, SIZE)


def test_the_68_points_and_lists_are_checked_as_well(tmp_path, shapes):
    entries = [
        {"path": f"{number}.png", "label": 0, "landmarks": " ".join(map(str, shape.ravel()))}
        for number, shape in enumerate((shapes[0], shapes[1][::-1], shapes[2][::-1]))
    ]
    (tmp_path / "faces.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"2 of 3 lines, the first entry 2: .* the 68 of 300-W"):
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
