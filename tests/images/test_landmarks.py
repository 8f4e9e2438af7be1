"""Landmarks: the five of 68, the template that stands in for 68, and who carries which."""

import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.alignment import TEMPLATE, template_landmarks, transform_points
from rffr_jax.images.landmarks import (
    TEMPLATE_68,
    crop_centred_square,
    landmark_count,
    load_face,
    to_68_landmarks,
    to_five_landmarks,
)
from rffr_jax.images.polygons import hull_mask
from rffr_jax.synthetic.capture import capture_similarity
from rffr_jax.synthetic.procedural_face import render_face
from tests.faces.test_shards import SIZE, draw_records, write

ANNOTATED = pathlib.Path(__file__).parents[3] / "shared" / "faces" / "youtube_faces68"
MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
]  # fmt: skip


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_template_is_symmetric_and_lies_on_the_five_points():
    assert TEMPLATE_68.shape == (68, 2)
    other = TEMPLATE_68[MIRRORED] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(TEMPLATE_68, other, atol=1e-6)
    np.testing.assert_allclose(to_five_landmarks(TEMPLATE_68), TEMPLATE, atol=0.012)


def test_the_template_follows_five_points_through_any_similarity():
    rng = np.random.default_rng(0)
    for _ in range(20):
        factor, shift = rng.normal(size=2) @ [1, 1j] * 100, rng.normal(size=2) @ [1, 1j] * 50
        complex_shape = (TEMPLATE_68 @ [1, 1j]) * factor + shift
        expected = np.stack([complex_shape.real, complex_shape.imag], 1)
        five = to_five_landmarks(expected.astype(np.float32))
        np.testing.assert_allclose(to_68_landmarks(five), expected, atol=1e-2)


def test_own_points_are_taken_as_they_are():
    points = np.random.default_rng(1).normal(size=(68, 2)).astype(np.float32)
    assert to_68_landmarks(points) is points


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 40), (50, 50)])
def test_the_centred_square_keeps_points_on_their_pixels(height, width):
    rng = np.random.default_rng(height)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y = width // 2, height // 2
    face = crop_centred_square(image, np.array([[x, y]], np.float32))
    assert face.image.shape == (40, 40, 3) if height != width else (50, 50, 3)
    there, here = face.landmarks[0].astype(int)
    np.testing.assert_array_equal(face.image[here, there], image[y, x])


def test_procedural_faces_know_their_own_points():
    """Against the five that the painter gives out, brought through the same camera."""
    dataset = load_dataset("synthetic:3#validation?limit=24")
    for index in range(12):
        assert landmark_count(dataset, index) == 68
        face = load_face(dataset, index, 96)
        np.testing.assert_array_equal(face.image, dataset.load(index, 96))
        person = 1_000_000 + int(dataset.examples[index].id.rpartition("/")[2])
        five = render_face(3, person, 120).landmarks
        expected = transform_points(five, capture_similarity((3, person), 120, 96))
        # The means of lids and the corners of lips are a little off the eye and the mouth.
        np.testing.assert_allclose(to_five_landmarks(face.landmarks), expected, atol=0.02 * 96)
        jaw, brows = face.landmarks[:17], face.landmarks[17:27]
        assert (np.diff(jaw[:, 0]) > 0).all()
        assert jaw[8, 1] == jaw[:, 1].max() > face.landmarks[57, 1]
        assert (brows[:, 1] < face.landmarks[36:48, 1].min()).all()


def test_tables_and_lists_carry_landmarks(tmp_path):
    rng = np.random.default_rng(4)
    known = {"a.png": 40 * TEMPLATE_68 + [10, 0], "b.png": template_landmarks(40) + [10, 0]}
    for name in (*known, "c.png"):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    texts = {name: " ".join(map(str, points.ravel())) for name, points in known.items()}
    rows = [{"path": n, "label": 0, "landmarks": texts.get(n, "")} for n in (*known, "c.png")]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "landmarks"])
        writer.writeheader()
        writer.writerows(rows)
    for spec in (f"csv:{tmp_path}/table.csv", f"list:{tmp_path}/list.json"):
        dataset = load_dataset(spec)
        assert [landmark_count(dataset, i) for i in range(3)] == [68, 5, 0]
        for index, points in enumerate(known.values()):
            face = load_face(dataset, index, 16)
            np.testing.assert_allclose(face.landmarks, points - [10, 0], atol=1e-4)
            assert face.image.shape == (40, 40, 3)
        aligned = load_dataset(f"{spec}?landmarks=aligned")
        assert [landmark_count(aligned, i) for i in range(3)] == [68, 5, 5]
        np.testing.assert_array_equal(load_face(aligned, 2, 16).landmarks, template_landmarks(40))


@pytest.mark.parametrize("text", ["1 2 3", "a b", " ".join(["nan"] * 10), "1 " * 70])
def test_wrong_landmarks_are_named_with_their_line(tmp_path, text):
    (tmp_path / "t.csv").write_text(f"path,label,landmarks\na.png,0,\nb.png,0,{text}\n")
    with pytest.raises(UserError, match=r"the first line 3: .* 68 or 5 points") as caught:
        load_dataset(f"csv:{tmp_path}/t.csv")
    one_line(caught)


def test_a_turned_photograph_with_landmarks_is_a_bad_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg", exif=exif)
    points = " ".join(map(str, template_landmarks(40).ravel()))
    (tmp_path / "t.csv").write_text(f"path,label,landmarks\na.jpg,0,{points}\n")
    with pytest.raises(BadImageError, match="EXIF orientation turns it"):
        load_face(load_dataset(f"csv:{tmp_path}/t.csv"), 0, 16)


def test_specs_say_where_faces_are_aligned(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    assert landmark_count(load_dataset(f"folder:{tmp_path}"), 0) == 0
    assert landmark_count(load_dataset(f"folder:{tmp_path}?landmarks=aligned"), 0) == 5
    with pytest.raises(UserError, match="landmarks=no; landmarks=aligned goes with") as caught:
        load_dataset(f"folder:{tmp_path}?landmarks=no")
    one_line(caught)
    with pytest.raises(UserError, match="goes with folder, list, csv, deep") as caught:
        load_dataset("synthetic:0?landmarks=aligned")
    one_line(caught)


def test_prepared_records_give_their_crop_and_its_points(tmp_path):
    records = draw_records(5, "png")
    write(tmp_path, {"train": records})
    dataset = load_dataset(f"tfds:{tmp_path}/faces#train")
    for index, record in enumerate(records):
        assert landmark_count(dataset, index) == 5
        face = load_face(dataset, index, 16)
        np.testing.assert_array_equal(face.landmarks, record.landmarks)
        np.testing.assert_array_equal(face.image, dataset.load(index, SIZE))


def test_a_cache_hands_faces_on(tmp_path):
    Image.new("RGB", (40, 40), (9, 8, 7)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    dataset = load_dataset(f"folder:{tmp_path}?landmarks=aligned")
    kept = CachedDataset(dataset, 16, keep_pixels=True)
    assert load_face(kept, 0, 16).image.shape == (40, 40, 3)
    assert landmark_count(kept, 0) == 5
    with pytest.raises(BadImageError, match="not an image"):
        load_face(kept, 1, 16)


@pytest.mark.skipif(not ANNOTATED.is_dir(), reason="no annotated photographs here")
def test_the_template_covers_most_of_annotated_faces():
    overlaps = []
    with (ANNOTATED / "landmarks.csv").open(newline="") as file:
        for row in list(csv.DictReader(file))[::20]:
            points = [[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)]
            points = np.array(points, np.float32)
            fitted = to_68_landmarks(to_five_landmarks(points))
            own, other = (hull_mask(shape, 300) > 0 for shape in (points, fitted))
            overlaps.append((own & other).sum() / (own | other).sum())
    assert np.mean(overlaps) > 0.75
