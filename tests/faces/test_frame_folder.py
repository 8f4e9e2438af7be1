"""A folder of pictures is a video: order, numbers, gaps, damage, the original's frames."""

import os

import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import BadImageError
from rffr_jax.faces import prepare
from rffr_jax.faces.frame_folder import describe_gaps, file_stamp, list_frames
from rffr_jax.faces.frames import frame_numbers, read_frames, read_header
from rffr_jax.faces.manipulated_face import DIFFERENCE
from rffr_jax.faces.prepare import prepare_medium
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, medium, numbers, picture, settings, walk


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    monkeypatch.setattr(prepare, "load_detector", lambda name, weights: BrightSquares())


def write_frames(folder, images, name="{:04d}.png", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=first):
        Image.fromarray(image).save(folder / name.format(number))
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["2.png", "10.png", "1.jpg"], {1: "1.jpg", 2: "2.png", 10: "10.png"}),
        (["f_007.PNG", "f_0012.png"], {7: "f_007.PNG", 12: "f_0012.png"}),
        (["b.png", "a2.png", "a10.png"], {0: "a2.png", 1: "a10.png", 2: "b.png"}),
        (["9_0.png", "10_0.png"], {0: "9_0.png", 1: "10_0.png"}),  # the face's number, not its own
        (["1.png", ".2.png", "3.npy", "notes.txt"], {1: "1.png"}),
    ],
)
def test_pictures_keep_their_numbers_or_are_in_natural_order(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert {n: path.name for n, path in list_frames(tmp_path).items()} == expected
    assert list(list_frames(tmp_path)) == sorted(expected)


def test_gaps_are_where_more_than_the_usual_step_is_missing():
    assert describe_gaps([0, 1, 2, 3]) == describe_gaps([0, 9, 19, 28, 38]) == ""
    assert describe_gaps([5]) == ""
    assert describe_gaps([0, 1, 2, 5, 6]) == "no frames between 2 and 5"
    assert describe_gaps([0, 10, 30, 40, 50, 70]) == "no frames between 10 and 30 and 1 more"


def test_frames_of_a_folder_are_those_of_the_video(tmp_path):
    images = walk(9)
    folder = write_frames(tmp_path / "a", images, first=3)
    assert frame_numbers(folder) == list(range(3, 12))
    read = list(read_frames(folder, count=3))
    assert [frame.index for frame in read] == [4, 7, 10]  # as 1, 4, 7 of the video
    for frame in read:
        np.testing.assert_array_equal(frame.image, images[frame.index - 3])
    assert [f.index for f in read_frames(folder, indices=[11, 0, 5, 99])] == [5, 11]
    header = read_header(folder)
    assert header
    assert header.to_text() == ".png PNG 96x96"
    with pytest.raises(BadImageError, match="no picture"):
        list(read_frames(tmp_path))


def test_records_of_a_folder_are_tracked_and_numbered_like_those_of_a_video(tmp_path):
    """A second, larger square comes only in one frame: it is not the person who is followed."""
    images = [*walk(4), picture((10, 60, 34), (18, 20, 30)), *walk(9)[5:]]
    folder = write_frames(tmp_path / "a", images, "frame_{:03d}.png", first=1)
    part = prepare_medium(medium(folder), None, settings(9))
    assert numbers(part) == list(range(1, 10))
    assert [record.id for record in part.records][:2] == ["real/a/000001", "real/a/000002"]
    assert {record.video for record in part.records} == {"real/a"}
    assert [record.box[1] for record in part.records] == [20] * 9


def test_a_damaged_picture_is_one_dropped_frame(tmp_path):
    folder = write_frames(tmp_path / "a", walk(4))
    (folder / "0002.png").write_bytes(b"no picture")
    part = prepare_medium(medium(folder), None, settings(None))
    assert numbers(part) == [0, 1, 3]
    (drop,) = part.drops
    assert drop.frame == 2
    assert drop.reason.startswith("0002.png: ")
    with pytest.raises(BadImageError):
        list(read_frames(folder))


def test_a_fake_takes_the_frames_of_its_original_by_number(tmp_path):
    """The original is a video, the fake a folder that lacks frames."""
    original = write_movie(tmp_path / "real.mp4", walk(12))
    folder = write_frames(tmp_path / "fake", walk(12))
    one = medium(folder, "Swap/a")
    assert numbers(prepare_medium(one, original, settings(3))) == [2, 6, 10]
    for number in (6, 8):
        (folder / f"{number:04d}.png").unlink()
    there = [0, 1, 2, 3, 4, 5, 7, 9, 10, 11]
    expected = [there[i] for i in (1, 5, 8)]
    assert numbers(prepare_medium(one, original, settings(3))) == expected
    shifted = write_frames(tmp_path / "other", walk(4), first=100)
    assert numbers(prepare_medium(medium(shifted, "Swap/b"), original, settings(2))) == [101, 103]


def test_the_manipulated_face_is_told_by_the_folder_of_the_original(tmp_path):
    real = [picture((5, 5, 30), (60, 60, 32)) for _ in range(3)]
    fake = [image.copy() for image in real]
    for image in fake:
        image[10:25, 10:25] = 180
    original = write_frames(tmp_path / "real", real)
    part = prepare_medium(
        medium(write_frames(tmp_path / "fake", fake), "Swap/a"), original, settings()
    )
    assert part.told_by == DIFFERENCE
    assert {float(record.box[0]) for record in part.records} == {5.0}


def test_the_stamp_tells_a_folder_that_has_changed(tmp_path):
    folder = write_frames(tmp_path / "a", walk(3))
    before = file_stamp(folder)
    assert before == file_stamp(folder) != ""
    (folder / "notes.txt").touch()
    assert file_stamp(folder) == before
    os.utime(folder / "0001.png", ns=(0, 2**62))
    changed = file_stamp(folder)
    (folder / "0002.png").unlink()
    assert len({before, changed, file_stamp(folder)}) == 3
