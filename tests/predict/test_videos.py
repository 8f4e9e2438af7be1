"""Faces found in photographs and videos: as preparation finds them, followed, and bounded."""

import dataclasses
import itertools

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image

from rffr_jax.data.selection import evenly_spaced
from rffr_jax.faces import prepare
from rffr_jax.faces.crop import CropSettings, crop_face
from rffr_jax.faces.frames import read_frames
from rffr_jax.faces.prepare import prepare_medium
from rffr_jax.images.image_formats import decode_crop, encode_crop
from rffr_jax.predict import face_finding as module
from rffr_jax.predict import video_index
from rffr_jax.predict.face_finding import find_faces
from rffr_jax.predict.face_settings import FaceSettings, face_settings
from rffr_jax.predict.inputs import find_files
from rffr_jax.predict.video_index import index_video, sample_frames
from tests.faces.movies import ASTRONAUT, empty_frames, write_movie
from tests.faces.test_prepare import CROP, BrightSquares, medium, picture, settings, walk

SETTINGS = FaceSettings(crop=CROP, smallest_face=16, image_format="png", frames=4,
                        darkest=0.0, least_sharpness=0.0)  # fmt: skip


@pytest.fixture
def bright(monkeypatch):
    """Bright rectangles are the faces."""
    monkeypatch.setattr(module, "load_detector", lambda *_: BrightSquares())
    monkeypatch.setattr(prepare, "load_detector", lambda *_: BrightSquares())


def found_in(path, settings=SETTINGS, size=32):
    (file,) = find_files([str(path)])
    return find_faces(file, settings, size)


def test_crops_are_those_of_preparation(tmp_path, bright):
    path = write_movie(tmp_path / "walk.mp4", walk(12))
    (face,) = found_in(path).faces
    part = prepare_medium(medium(path), None, settings(train=4))
    assert [sighting.frame for sighting in face] == [record.frame for record in part.records]
    for sighting, record in zip(face, part.records, strict=True):
        np.testing.assert_array_equal(sighting.crop, decode_crop(record.image, "png", 32, ""))
        assert sighting.box == pytest.approx(record.box.tolist(), abs=0.06)
        assert sighting.time == pytest.approx(sighting.frame / 10)


def test_source_of_a_video_whatever_its_name(tmp_path, bright):
    path = write_movie(tmp_path / "walk.mp4", walk(12)).rename(tmp_path / "walk.jpg")
    assert found_in(path).source == {
        "kind": "video", "codec": "h264", "width": 96, "height": 96, "frames": 12,
        "seconds": pytest.approx(1.2), "frames_looked_at": 4,
    }  # fmt: skip


def test_every_face_is_followed_and_the_largest_comes_first(tmp_path, bright):
    frames = [picture((8 + i, 10, 20), (60, 50 + i, 30)) for i in range(8)]
    path = write_movie(tmp_path / "two.mp4", frames)
    big, small = found_in(path).faces
    assert [s.frame for s in big] == [s.frame for s in small] == evenly_spaced(range(8), 4)
    for sighting in big:
        assert sighting.box == pytest.approx(
            [60, 50 + sighting.frame, 89, 79 + sighting.frame], abs=1.1
        )
    for sighting in small:
        assert sighting.box == pytest.approx(
            [8 + sighting.frame, 10, 27 + sighting.frame, 29], abs=1.1
        )
    one = found_in(path, dataclasses.replace(SETTINGS, most_faces=1))
    assert len(one.faces) == 1
    assert one.left_out == 1


def test_people_of_alternating_shots_are_two_faces(tmp_path, bright):
    left, right = picture((4, 10, 20)), picture((70, 10, 20))
    path = write_movie(tmp_path / "cuts.mp4", [left, left, right, right] * 2)
    faces = found_in(path, dataclasses.replace(SETTINGS, frames=8)).faces
    assert sorted([s.frame for s in face] for face in faces) == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_no_face_has_its_reason(tmp_path, bright):
    Image.fromarray(picture()).save(tmp_path / "none.png")
    assert found_in(tmp_path / "none.png").reason == "no face of 24 pixels or more"
    path = write_movie(tmp_path / "none.mp4", [picture()] * 3)
    assert found_in(path).reason == "no face of 24 pixels or more"


def test_changes_of_pixels_are_in_the_record(tmp_path, bright):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture((8, 10, 40))).save(tmp_path / "turned.png", exif=exif)
    source = found_in(tmp_path / "turned.png").source
    assert source
    assert source["conversions"] == ["turned by EXIF orientation 3"]


def test_a_face_that_is_too_small_is_found_and_not_judged(tmp_path, bright):
    Image.fromarray(picture((10, 10, 13))).save(tmp_path / "small.png")
    ((face,),) = found_in(tmp_path / "small.png").faces
    assert face.reason == "too small: 12 pixels, at least 16 are needed for crops of 32"
    assert face.box == (10.0, 10.0, 22.0, 22.0)
    assert face.crop.shape == (32, 32, 3)
    assert face.crop.max() > 200
    known = dataclasses.replace(SETTINGS, preparation_known=True)
    ((face,),) = found_in(tmp_path / "small.png", known).faces
    assert face.reason == "too small: 12 pixels, the detector was trained on faces of 16 and more"


def test_a_face_that_grows_is_one_face(tmp_path, bright):
    frames = [picture((20, 20, 10 + 2 * i), (70, 70, 12)) for i in range(8)]
    grows, small = found_in(write_movie(tmp_path / "grows.mp4", frames)).faces
    assert [sighting.usable for sighting in grows] == [False, False, True, True]
    assert [sighting.usable for sighting in small] == [False] * 4


def test_faces_that_can_be_judged_come_before_others(tmp_path, bright):
    brief, long = (60, 10, 20), (8, 50, 14)  # the small one is there for longer
    frames = [picture(*([brief, long] if i < 2 else [long])) for i in range(8)]
    path = write_movie(tmp_path / "brief.mp4", frames)
    found = found_in(path, dataclasses.replace(SETTINGS, most_faces=1))
    ((sighting,),) = found.faces
    assert sighting.usable
    assert found.left_out == 1


def test_faces_beyond_the_largest_are_counted(tmp_path, bright):
    squares = [(4 + 16 * (i % 6), 4 + 16 * (i // 6), 6 + i % 5) for i in range(30)]
    Image.fromarray(picture(*squares, size=112)).save(tmp_path / "crowd.png")
    found = found_in(tmp_path / "crowd.png", dataclasses.replace(SETTINGS, most_faces=2))
    assert (len(found.faces), found.left_out) == (2, 28)


def test_damaged_video_is_unreadable(tmp_path, bright):
    path = tmp_path / "walk.mp4"
    write_movie(path, empty_frames(3, 60, 64), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = found_in(path)
    assert not found.faces
    assert found.reason.startswith("unreadable: damaged or cut off")


def coded(number):
    """A picture whose brightness tells its number."""
    return np.full((64, 64, 3), 20 + 4 * number, np.uint8)


def test_long_videos_are_sampled_at_their_keyframes(tmp_path, monkeypatch):
    path = write_movie(tmp_path / "long.mp4", [coded(n) for n in range(50)])
    index = index_video(path)
    assert (index.total, index.codec) == (50, "h264")
    assert index.seconds == pytest.approx(5.0)
    every = {frame.index: frame for frame in read_frames(path)}
    short = list(sample_frames(path, index, 5))
    assert [frame.index for frame in short] == evenly_spaced(range(50), 5)
    monkeypatch.setattr(video_index, "DECODED_PIXELS", 0)
    frames = list(sample_frames(path, index, 5))
    numbers = [frame.index for frame in frames]
    assert numbers
    assert set(numbers) <= set(index.keyframes.tolist())
    for frame in frames:
        np.testing.assert_array_equal(frame.image, every[frame.index].image)
        assert frame.time == pytest.approx(frame.index / 10)
    nearest = {min(index.keyframes, key=lambda k: abs(k - n)) for n in evenly_spaced(range(50), 5)}
    assert len(numbers) == len(nearest)
    for one, other in itertools.pairwise(numbers):
        assert one < other


@pytest.mark.parametrize(
    ("ending", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video"), ("avi", "mpeg4")]
)
def test_keyframes_have_their_numbers_in_every_container(tmp_path, monkeypatch, ending, codec):
    path = tmp_path / f"long.{ending}"
    pictures = np.random.default_rng(0).normal(120, 20, (60, 64, 64, 3)).clip(0, 255)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.bit_rate = 3_000_000
        for pixels in pictures.astype(np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    every = {frame.index: frame for frame in read_frames(path, photograph=False)}
    monkeypatch.setattr(video_index, "DECODED_PIXELS", 0)
    frames = list(sample_frames(path, index_video(path), 4))
    assert len(frames) == 4
    for frame in frames:
        np.testing.assert_array_equal(frame.image, every[frame.index].image)
        assert frame.time == pytest.approx(every[frame.index].time)


def test_real_face_of_a_photograph_is_found(tmp_path):
    pytest.importorskip("onnxruntime")
    astronaut = skimage.data.astronaut()
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    settings = face_settings([], 64)
    found = found_in(tmp_path / "astronaut.png", settings, 64)
    ((sighting,),) = found.faces
    assert np.abs(np.array(sighting.box) - ASTRONAUT.box).max() < 6
    (face,) = prepare.load_detector("retinaface", None).detect(astronaut)
    crop = encode_crop(crop_face(astronaut, face, CropSettings()).image, "jpeg")
    np.testing.assert_array_equal(sighting.crop, decode_crop(crop, "jpeg", 64, ""))
