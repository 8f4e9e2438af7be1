"""Which of several faces is taken: the manipulated one, and the same person in its original."""

import json

import cv2
import numpy as np
import pytest

from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.build import build_dataset
from rffr_jax.faces.manipulated_face import choose_face
from rffr_jax.faces.media import Benchmark
from rffr_jax.faces.prepare import prepare_medium
from rffr_jax.faces.runners import run_sequentially
from tests.faces import layouts
from tests.faces.builds import report_of
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, medium, picture, settings

pytestmark = pytest.mark.usefixtures("bright_squares")
BIG, SMALL = (6, 20, 40), (62, 30, 24)  # left, top, side


def movie(path, change=None, face=SMALL, count=4):
    """Two faces of which one is changed by so many grey levels."""
    frames = []
    for i in range(count):
        image = picture(BIG, SMALL)
        left, top, side = face
        inside = image[top + 5 : top + side - 5, left + 5 : left + side - 5]
        inside -= np.uint8(change or 0)
        frames.append(cv2.add(image, np.full_like(image, i)))
    return write_movie(path, frames)


def mask_movie(path, face=SMALL, count=4):
    image = np.zeros((96, 96, 3), np.uint8)
    left, top, side = face
    image[top + 4 : top + side - 4, left + 4 : left + side - 4] = 255
    return write_movie(path, [image] * count)


@pytest.fixture
def files(tmp_path):
    return movie(tmp_path / "real.mp4"), movie(tmp_path / "fake.mp4", change=30)


def lefts(part):
    return {round(float(record.box[0]), -1) for record in part.records}


def take(files, label, mask=None, **changes):
    """The part of the real or the fake of a pair."""
    real, fake = files
    one = medium(fake, "Deepfakes/a_b") if label else medium(real)
    original, fake = (real, None) if label else (None, fake)
    return prepare_medium(one, original, settings(**changes), fake=fake, mask=mask)


@pytest.mark.parametrize("label", [0, 1])
def test_the_face_that_differs_is_taken_in_the_fake_and_in_its_original(files, label):
    part = take(files, label)
    assert lefts(part) == {60}
    assert (part.told_by, len(part.records)) == ("difference", 4)


@pytest.mark.parametrize("label", [0, 1])
def test_the_face_under_the_mask_is_taken_before_the_one_that_differs(files, tmp_path, label):
    part = take(files, label, mask_movie(tmp_path / "mask.mp4", BIG))
    assert (lefts(part), part.told_by) == ({10}, "mask")
    part = take(files, label, mask_movie(tmp_path / "mask.mp4", SMALL))
    assert (lefts(part), part.told_by) == ({60}, "mask")


def test_the_largest_face_is_taken_where_nothing_tells(files, tmp_path):
    real, fake = files
    empty = write_movie(tmp_path / "empty.mp4", [np.zeros((96, 96, 3), np.uint8)] * 4)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    same = movie(tmp_path / "same.mp4")
    other_size = write_movie(tmp_path / "size.mp4", [picture(SMALL, size=128)] * 4)
    for pair, mask in (
        ((real, same), None), ((real, same), empty), ((real, same), broken),
        ((other_size, fake), None), ((broken, fake), None),
    ):  # fmt: skip
        part = take(pair, 1, mask)
        assert (lefts(part), part.told_by) == ({10}, "largest")
    alone = prepare_medium(medium(real), None, settings())
    assert (lefts(alone), alone.told_by) == ({10}, "largest")
    one_face = write_movie(tmp_path / "one.mp4", [picture(BIG)] * 2)
    assert prepare_medium(medium(one_face), None, settings()).told_by == ""


def test_a_mask_that_ends_early_still_tells(files, tmp_path):
    part = take(files, 1, mask_movie(tmp_path / "mask.mp4", SMALL, count=1))
    assert (lefts(part), part.told_by, len(part.records)) == ({60}, "mask", 4)


def test_frames_are_compared_by_their_numbers(tmp_path):
    """The big face moves and is the same in both; a frame is missing and another one damaged."""
    numbers, still = range(6), (62, 60, 24)
    for folder, darker in (("real", 0), ("fake", 10)):
        (tmp_path / folder).mkdir()
        for i in numbers:
            image = picture((6 + 8 * i, 10, 40), still)
            image[still[1] :, still[0] :] -= np.uint8(darker)
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), image)
    (tmp_path / "fake" / "0.png").unlink()
    (tmp_path / "fake" / "2.png").write_bytes(b"no picture")
    big = {i: BrightSquares.face(6 + 8 * i, 10, 40, 40) for i in numbers}
    small = {i: BrightSquares.face(*still, still[2]) for i in numbers}
    for medium_, other in (("real", "fake"), ("fake", "real")):
        chosen, told_by = choose_face(
            [big, small], numbers, tmp_path / medium_, tmp_path / other, None
        )
        assert (chosen is small, told_by) == (True, "difference")


def test_a_mask_of_another_size_is_scaled_and_one_of_another_shape_tells_nothing(files, tmp_path):
    left, top, side = (n // 2 for n in SMALL)
    for rows, told in ((48, ({60}, "mask")), (56, ({10}, "largest"))):
        image = np.zeros((rows, 48, 3), np.uint8)
        image[top + 2 : top + side - 2, left + 2 : left + side - 2] = 255
        mask = write_movie(tmp_path / "mask.mp4", [image] * 4)
        part = take((files[0], files[0]), 1, mask)
        assert (lefts(part), part.told_by) == told


def test_largest_and_all_as_asked_for(files, tmp_path):
    mask = mask_movie(tmp_path / "mask.mp4", SMALL)
    largest = take(files, 1, mask, faces="largest")
    assert (lefts(largest), largest.told_by) == ({10}, "largest")
    every = take(files, 1, mask, faces="all", frames={"train": 2})
    assert (lefts(every), every.told_by) == ({10, 60}, "all")
    assert [record.id.removeprefix("Deepfakes/a_b/") for record in every.records] == [
        "000001", "000001-1", "000003", "000003-1",
    ]  # fmt: skip
    assert [record.frame for record in every.records] == [1, 1, 3, 3]


def test_masks_of_a_benchmark_reach_fakes_and_originals(tmp_path):
    """The real has a fake without a mask, too, that differs in the other face."""

    def write(path, label, method):
        movie(path, change=30 * label, face=BIG)

    layouts.deepfake_detection(tmp_path / "in", write)
    name = "01_02__kitchen_pan__AB12CD34.mp4"
    fakes = tmp_path / "in/manipulated_sequences/DeepFakeDetection"
    movie(fakes / "c23/videos/01_02__kitchen_pan__AA.mp4", change=30, face=BIG)
    (fakes / "masks/videos").mkdir(parents=True)
    mask = mask_movie(fakes / "masks/videos" / name, SMALL)
    found = find_media("faceforensics", tmp_path / "in")
    assert {m.path.name: m.mask for m in found.media if m.mask} == {name: mask}
    dataset = build_dataset(
        Benchmark(found.media), settings(), tmp_path / "out", "faces", run=run_sequentially,
        max_bad_fraction=0.0,
    )  # fmt: skip
    assert report_of(dataset)["several_faces"] == {"mask": 2, "difference": 1, "largest": 1}
    assert json.loads((dataset / "preparation.json").read_text())["faces"] == "manipulated"
