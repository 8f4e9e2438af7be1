"""One medium: which frames are taken, whose face, what is dropped and why; and its part file."""

import errno
import os
import pathlib
import re

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.faces import frames, prepare
from rffr_jax.faces.crop import CropSettings, crop_face
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.face import Face
from rffr_jax.faces.frame_counts import parse_frames
from rffr_jax.faces.frames import read_frames
from rffr_jax.faces.media import Medium
from rffr_jax.faces.prepare import PreparationSettings, prepare_medium
from rffr_jax.images import decode as decode_files
from rffr_jax.images.image_formats import decode_crop
from tests.faces.movies import write_movie

BACKGROUND, BRIGHT = 40, 220
CROP = CropSettings(size=32, scale=2.0, alignment="box")


class BrightSquares:
    """A `FaceDetector` that takes every bright rectangle for a face; the biggest scores best."""

    name, digest = "bright", "0" * 64

    def detect(self, image):
        bright = (image[..., 0] > 128).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(bright)
        return [
            self.face(left, top, width, height)
            for left, top, width, height, _ in sorted(boxes[1:].tolist(), key=lambda b: -b[4])
        ]

    @staticmethod
    def face(left, top, width, height):
        box = np.array([left, top, left + width - 1, top + height - 1], np.float32)
        inside = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.75], [0.65, 0.75]])
        landmarks = box[:2] + inside * (box[2:] - box[:2])
        return Face(box, landmarks.astype(np.float32), 0.5 + width * height / 1e6)


def picture(*squares, size=96):
    """A dark picture with a bright square for each (left, top, side)."""
    image = np.full((size, size, 3), BACKGROUND, np.uint8)
    for left, top, side in squares:
        image[top : top + side, left : left + side] = BRIGHT
    return image


def walk(count, side=30):
    """Pictures of a square that walks from left to right, two pixels a frame."""
    return [picture((10 + 2 * i, 20, side)) for i in range(count)]


def settings(train: int | None = 4, **changes):
    counts = {"train": train, "validation": 1, "test": 1}
    fields = {"detector": "retinaface", "weights": None, "crop": CROP, "smallest_face": 16}
    return PreparationSettings(**{**fields, "image_format": "png", "frames": counts, **changes})


def medium(path, id_="real/a", **changes):
    label = int(not id_.startswith("real"))
    method = id_.partition("/")[0]
    return Medium(id_, path, **{
        "split": "train", "label": label, "dataset": "mine", "method": method,
        "source": "real/a", "group": "a-b", "person": "José", "compression": "c23", **changes,
    })  # fmt: skip


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    detector = BrightSquares()
    monkeypatch.setattr(prepare, "load_detector", lambda name, weights: detector)
    return detector


def numbers(part):
    return [record.frame for record in part.records]


def drops(part):
    return [(drop.frame, drop.reason) for drop in part.drops]


# ---- records


def test_frames_that_are_looked_at_together_give_the_same_part(tmp_path, stub, monkeypatch):
    frames = [*walk(5), picture(), *walk(3)]
    path = write_movie(tmp_path / "a.mp4", frames)
    expected = prepare_medium(medium(path), None, settings(None))
    assert (len(expected.records), drops(expected)[0][0]) == (8, 5)
    seen = []

    def detect_many(detector, images):
        seen.append(len(images))
        return [detector.detect(image) for image in images]

    monkeypatch.setattr(prepare, "frames_at_once", lambda detector: 4)
    monkeypatch.setattr(prepare, "detect_many", detect_many)
    part = prepare_medium(medium(path), None, settings(None))
    assert seen == [4, 4, 1]
    assert part.drops == expected.drops
    for one, other in zip(part.records, expected.records, strict=True):
        assert (one.id, one.image) == (other.id, other.image)
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "raw"])
def test_record_is_the_crop_of_its_frame(tmp_path, stub, image_format):
    path = write_movie(tmp_path / "a.mp4", walk(9))
    one = medium(path, "Deepfakes/a_b")
    part = prepare_medium(one, None, settings(3, image_format=image_format))
    assert (part.medium, part.frames, part.drops) == (one.id, 3, ())
    decoded = {frame.index: frame.image for frame in read_frames(path)}
    assert numbers(part) == [1, 4, 7]
    for record in part.records:
        assert record.id == f"Deepfakes/a_b/{record.frame:06d}"
        assert record.video == one.id
        for name in ("label", "dataset", "method", "source", "group", "person"):
            assert getattr(record, name) == getattr(one, name)
        (face,) = stub.detect(decoded[record.frame])
        np.testing.assert_array_equal(record.box, face.box)
        assert record.box == pytest.approx([10 + 2 * record.frame, 20, 39 + 2 * record.frame, 49])
        assert record.score == face.score
        image = decode_crop(record.image, image_format, 32, record.id)
        expected = crop_face(decoded[record.frame], face, CROP).image
        if image_format == "jpeg":
            assert np.abs(image - expected.astype(int)).mean() < 3
        else:
            np.testing.assert_array_equal(image, expected)


def test_record_says_how_its_original_was_saved(tmp_path):
    path = write_movie(tmp_path / "a.mp4", walk(2))
    photograph = tmp_path / "b.JPG"
    Image.fromarray(picture((31, 33, 30))).save(photograph, "JPEG", quality=90)
    (video, *_) = prepare_medium(medium(path), None, settings()).records
    (photo,) = prepare_medium(medium(photograph), None, settings()).records
    assert video.original == ".mp4 h264 96x96"
    assert re.fullmatch(r"\.jpg JPEG 96x96 [0-9a-f]{16}", photo.original)
    Image.fromarray(picture((31, 33, 30))).save(photograph, "JPEG", quality=60)
    (other,) = prepare_medium(medium(photograph), None, settings()).records
    assert other.original[:-16] == photo.original[:-16]
    assert other.original != photo.original


def test_landmarks_are_pixels_of_the_crop(tmp_path):
    """A scale of 2 puts the square into the middle half of the crop, its landmarks with it."""
    path = write_movie(tmp_path / "a.mp4", [picture((31, 33, 30))])
    (record,) = prepare_medium(medium(path), None, settings()).records
    bright = decode_crop(record.image, "png", 32, "")[..., 0] > 128
    rows, columns = np.nonzero(bright)
    left, top, right, bottom = columns.min(), rows.min(), columns.max(), rows.max()
    assert [left, top, right, bottom] == pytest.approx([8, 8, 23, 23], abs=1)
    inside = [[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.75], [0.65, 0.75]]
    expected = np.array([left, top]) + np.array(inside) * [right - left, bottom - top]
    np.testing.assert_allclose(record.landmarks, expected, atol=1)
    assert (record.landmarks % 1).any()


def test_photograph_is_frame_0_of_its_video(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), picture((20, 30, 40)))
    part = prepare_medium(medium(path), None, settings())
    assert (part.frames, numbers(part), part.drops) == (1, [0], ())
    again = medium(path, "Face2Face/x")
    assert prepare_medium(again, path, settings()).records[0].id == "Face2Face/x/000000"


def test_record_says_what_was_done_to_its_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture((20, 30, 40))).save(tmp_path / "a.png", exif=exif)
    (record,) = prepare_medium(medium(tmp_path / "a.png"), None, settings()).records
    assert record.conversions == "turned by EXIF orientation 3"
    assert record.box == pytest.approx([95 - 59, 95 - 69, 95 - 20, 95 - 30])


# ---- which frames


@pytest.mark.parametrize(
    ("original", "fake", "count", "taken"),
    [
        (12, 12, 4, [1, 4, 7, 10]),
        (12, 11, 4, [1, 4, 7, 10]),
        (12, 10, 4, [1, 3, 6, 8]),
        (12, 8, 4, [1, 3, 5, 7]),
        (12, 20, 4, [1, 4, 7, 10]),
        (12, 3, 1, [1]),
        (12, 3, 4, [0, 1, 2]),
        (5, 7, None, [0, 1, 2, 3, 4]),
        (7, 5, None, [0, 1, 2, 3, 4]),
    ],
)
def test_fake_uses_the_frames_of_its_original_or_is_shorter(tmp_path, original, fake, count, taken):
    real_path = write_movie(tmp_path / "a.mp4", walk(original))
    fake_path = write_movie(tmp_path / "b.mp4", walk(fake))
    part = prepare_medium(medium(fake_path, "Deepfakes/a_b"), real_path, settings(count))
    assert numbers(part) == taken
    assert part.drops == ()
    assert part.frames == len(taken)
    real = numbers(prepare_medium(medium(real_path), None, settings(count)))
    if max(real) < fake:
        assert real == taken


def test_fake_of_an_original_that_cannot_be_read_uses_its_own_frames(tmp_path):
    path = write_movie(tmp_path / "b.mp4", walk(6))
    broken = tmp_path / "a.mp4"
    for content in (None, b"no video"):
        if content:
            broken.write_bytes(content)
        part = prepare_medium(medium(path, "Deepfakes/a_b"), broken, settings(2))
        assert (numbers(part), part.drops) == ([1, 4], ())


def test_each_split_has_its_own_number_of_frames(tmp_path):
    path = write_movie(tmp_path / "a.mp4", walk(10))
    counts = parse_frames("train=5,test=all,validation=2")
    for split, expected in (("train", 5), ("validation", 2), ("test", 10)):
        one = medium(path, split=split)
        assert prepare_medium(one, None, settings(frames=counts)).frames == expected


# ---- whose face, and why not


def test_frames_without_the_face_are_dropped_with_their_reason(tmp_path):
    movie = [
        picture((20, 20, 40)),
        picture(),
        picture((22, 20, 10)),
        picture((70, 70, 20)),
        picture((24, 20, 40), (75, 75, 20)),
    ]
    path = write_movie(tmp_path / "a.mp4", movie)
    part = prepare_medium(medium(path), None, settings(None))
    assert numbers(part) == [0, 4]
    assert part.records[1].box == pytest.approx([24, 20, 63, 59])
    assert part.frames == 5
    assert drops(part) == [
        (1, "no face of 24 pixels or more"),
        (2, "every face is smaller than 16 pixels"),
        (3, "the face that is followed is not in this frame"),
    ]


def test_the_big_face_that_stays_is_taken(tmp_path):
    movie = [picture((8 + i, 10, 24), (50, 50 - i, 36)) for i in range(4)]
    path = write_movie(tmp_path / "a.mp4", movie)
    part = prepare_medium(medium(path), None, settings(None))
    assert [record.box.tolist() for record in part.records] == [
        pytest.approx([50, 50 - i, 85, 85 - i]) for i in range(4)
    ]


def test_face_that_leaves_the_picture(tmp_path):
    """Its crop is black beyond the picture; when it is gone the frames are dropped."""
    movie = [picture((66 + 8 * i, 30, 40)) for i in range(5)]
    path = write_movie(tmp_path / "a.mp4", movie)
    part = prepare_medium(medium(path), None, settings(None))
    assert numbers(part) == [0, 1]
    assert drops(part) == [
        (2, "every face is smaller than 16 pixels"),
        (3, "every face is smaller than 16 pixels"),
        (4, "no face of 24 pixels or more"),
    ]
    crop = decode_crop(part.records[1].image, "png", 32, "")
    assert crop[:, -4:].max() == 0
    assert crop[4:12, 2:6].min() > 20


def bad_media(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Files that give nothing -> the beginning of the reason."""
    noise = np.random.default_rng(5).integers(0, 255, (20, 64, 64, 3), "u1")
    whole = write_movie(folder / "whole.mp4", list(noise), options={"movflags": "+faststart"})
    data = whole.read_bytes()
    whole.unlink()
    reasons = {}
    for name, content, reason in (
        ("words.mp4", b"these are words\n" * 9, "not a video"),
        ("empty.mp4", b"", "the file is empty"),
        ("header cut.mp4", data[:200], "there is no video stream"),
        ("Ende fehlt ü.mp4", data[: len(data) // 2], "damaged or cut off"),
        ("words.png", b"words", "not an image"),
    ):
        (folder / name).write_bytes(content)
        reasons[folder / name] = reason
    reasons[write_movie(folder / "dark.mp4", [picture()])] = "no face"
    reasons[write_movie(folder / "small.mp4", [picture(size=8)])] = "8 x 8 pixels are too few"
    reasons[_sound_only(folder / "sound.mp4")] = "there is no video stream"
    return reasons


def _sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_bad_media_give_their_reason(tmp_path):
    gone = {tmp_path / "gone.mp4": "no such file"}
    for path, reason in (bad_media(tmp_path) | gone).items():
        part = prepare_medium(medium(path), None, settings(None))
        assert not part.records
        (drop,) = part.drops
        assert drop.reason.startswith(reason), path
        assert drop.frame == (0 if reason == "no face" else None)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_fault_of_the_machine_is_no_fault_of_the_file(tmp_path, monkeypatch, number, name):
    """Neither of a medium nor of a fake's original."""
    paths = [tmp_path / name, tmp_path / f"fake {name}"]
    for path in paths:
        if path.suffix == ".png":
            cv2.imwrite(str(path), picture((20, 30, 40)))
        else:
            write_movie(path, walk(2))

    def failing(path, *args):
        if os.fspath(path) == os.fspath(paths[0]):
            raise OSError(number, os.strerror(number))
        return open(path, *args)

    for module in (frames, decode_files):
        monkeypatch.setattr(module, "open", failing, raising=False)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        prepare_medium(medium(paths[0]), None, settings())
    assert caught.value.filename == str(paths[0])
    if name == "a.mp4":
        with pytest.raises(OSError, match=os.strerror(number)):
            prepare_medium(medium(paths[1], "Deepfakes/a_b"), paths[0], settings())


# ---- the settings


def test_wrong_settings_are_told():
    with pytest.raises(UserError, match="--detector 'mtcnn' is not known; give retinaface"):
        settings(detector="mtcnn")
    with pytest.raises(UserError, match="--image-format 'gif' is not known; give png, jpeg, raw"):
        settings(image_format="gif")
    with pytest.raises(
        UserError, match="--faces 'biggest' is not known; give manipulated, largest, all"
    ):
        settings(faces="biggest")
    with pytest.raises(UserError, match="--smallest-face 0: give at least 1"):
        settings(smallest_face=0)
    with pytest.raises(UserError, match="yunet needs --detector-weights FILE"):
        load_detector("yunet", None)


def test_settings_say_what_decides_about_records():
    said = settings(None).to_json()
    assert said["weights_sha256"] == BrightSquares.digest
    assert said["decoder"].startswith("PyAV ")
    assert said["frames"] == {"train": "all", "validation": 1, "test": 1}
    assert {**said, "detector": "", "decoder": "", "weights_sha256": "", "frames": ""} == {
        "detector": "", "decoder": "", "weights_sha256": "", "frames": "",
        "faces": "manipulated", "smallest_face": 16, "size": 32, "scale": 2.0, "alignment": "box",
        "landmarks_sha256": None,
        "interpolation": "area", "image_format": "png",
    }  # fmt: skip
