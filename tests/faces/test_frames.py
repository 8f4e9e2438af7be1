"""Frames of videos and photographs, of all kinds of good and bad files."""

import errno
import io
import os
import pathlib
import re
import sys
import weakref
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from rffr_jax.data.selection import Selection, evenly_spaced, keep_frames
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Example
from rffr_jax.faces import frames
from rffr_jax.faces.frames import count_frames, read_frames
from rffr_jax.images import decode
from tests.faces.movies import empty_frames, write_movie


def numbered(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Pictures whose number can be read from their grey level."""
    return [np.full((height, width, 3), 4 * i + 10, np.uint8) for i in range(count)]


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / 4)


def noise(seed: int, count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def reason_of(path: pathlib.Path, **wanted) -> str:
    with pytest.raises(BadImageError) as caught:
        list(read_frames(path, **wanted))
    assert caught.value.name == str(path)
    return caught.value.reason


def test_evenly_spaced_is_the_rule_of_the_frames_of_a_data_set():
    random = np.random.default_rng(0)
    for total, count in random.integers(1, 60, (50, 2)).tolist():
        examples = tuple(Example(str(i), "", 0, "d", "real", "v", i, "v") for i in range(total))
        kept = keep_frames(Selection(examples, (), ()), count).examples
        assert evenly_spaced(range(total), count) == [example.frame for example in kept]
    assert evenly_spaced(range(7), 1) == [3]
    assert evenly_spaced(range(4), None) == [0, 1, 2, 3]
    assert evenly_spaced(range(0), 5) == []


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "libx264")]
)
def test_wanted_frames_come_in_order_with_their_numbers(tmp_path, ending, codec):
    path = write_movie(tmp_path / f"a.{ending}", numbered(23), codec=codec)
    assert count_frames(path) == 23
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, list(range(23))),
        ({"count": 4}, [2, 8, 14, 20]),
        ({"count": 99}, list(range(23))),
        ({"indices": [9, 0, 22, 9]}, [0, 9, 22]),
        ({"indices": [21, 22, 23, 400]}, [21, 22]),
        ({"indices": [23]}, []),
    ]
    for wanted, expected in cases:
        found = list(read_frames(path, **wanted))
        assert [frame.index for frame in found] == expected
        assert [number_of(frame.image) for frame in found] == expected


def test_pixels_are_those_that_opencv_decodes(tmp_path):
    smooth = [cv2.resize(picture, (96, 64)) for picture in noise(1, 5, 4, 6)]
    path = write_movie(tmp_path / "a.mp4", smooth)
    video = cv2.VideoCapture(str(path))
    for frame, written in zip(read_frames(path), smooth, strict=True):
        found, expected = video.read()
        assert found
        assert np.abs(frame.image - expected[..., ::-1].astype(float)).max() <= 2
        assert np.abs(frame.image - written.astype(float)).mean() < 4


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotated_video_is_made_upright(tmp_path, rotation):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = (250, 20, 20)
    path = write_movie(tmp_path / "a.mp4", [picture] * 3, rotation=rotation)
    (frame,) = read_frames(path, count=1)
    corners = {0: "top left", 90: "bottom left", 180: "bottom right", -90: "top right"}
    height, width, _ = frame.image.shape
    assert (height, width) == ((48, 96) if rotation in (0, 180) else (96, 48))
    row = slice(4, height // 2 - 4) if "top" in corners[rotation] else slice(-height // 2 + 4, -4)
    column = slice(4, width // 2 - 4) if "left" in corners[rotation] else slice(-width // 2 + 4, -4)
    assert frame.image[row, column, 0].min() > 200
    assert (frame.image[..., 0] > 128).mean() == pytest.approx(0.25, abs=0.02)
    found, reference = cv2.VideoCapture(str(path)).read()
    assert found
    assert np.abs(frame.image - reference[..., ::-1].astype(float)).max() <= 2


def test_odd_size_4k_and_variable_rate(tmp_path):
    odd = write_movie(tmp_path / "odd.mp4", numbered(3, 75, 101))
    assert [frame.image.shape for frame in read_frames(odd)] == [(75, 101, 3)] * 3
    large = write_movie(tmp_path / "4k.mp4", numbered(2, 2160, 3840))
    assert [frame.image.shape for frame in read_frames(large, count=1)] == [(2160, 3840, 3)]
    uneven = write_movie(tmp_path / "uneven.mp4", numbered(6), times=[0, 1, 5, 6, 20, 90])
    assert [number_of(frame.image) for frame in read_frames(uneven, count=3)] == [1, 3, 5]


def test_frames_are_decoded_on_demand_and_not_kept(tmp_path, monkeypatch):
    path = write_movie(tmp_path / "a.mp4", numbered(9))
    converted = []
    convert = frames.convert_frame
    monkeypatch.setattr(frames, "convert_frame", lambda *a: converted.append(a) or convert(*a))
    reader = read_frames(path, count=3)
    assert not converted
    for number in (1, 2, 3):
        frame = next(reader)
        assert len(converted) == number
        kept = weakref.ref(frame)
        del frame
        assert kept() is None


def test_file_is_closed_when_the_reader_stops_early(tmp_path):
    path = write_movie(tmp_path / "a.mp4", numbered(9))
    reader = read_frames(path)
    assert next(reader).index == 0
    links = pathlib.Path("/proc/self/fd")
    if not links.is_dir():
        pytest.skip("open files cannot be listed here")

    def is_open() -> bool:
        return any(
            link.is_symlink() and link.resolve() == path.resolve() for link in links.iterdir()
        )

    assert is_open()
    reader.close()  # type: ignore[attr-defined]
    assert not is_open()


@pytest.mark.parametrize("name", ["two words.mp4", "größe 顔.mp4", "pipe:0.mp4", "100%d.mp4"])
def test_names_of_all_kinds(tmp_path, monkeypatch, name):
    write_movie(tmp_path / "a.mp4", numbered(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert [frame.index for frame in read_frames(name)] == [0, 1, 2]


def test_header_that_lies_about_the_number_of_frames(tmp_path):
    path = write_movie(tmp_path / "a.avi", numbered(12), codec="mpeg4")
    data = bytearray(path.read_bytes())
    for field in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        assert int.from_bytes(data[field : field + 4], "little") == 12
        data[field : field + 4] = (5000).to_bytes(4, "little")
    path.write_bytes(data)
    assert count_frames(path) == 12
    assert [frame.index for frame in read_frames(path, count=2)] == [3, 9]


def test_cut_off_video_gives_the_frames_it_has_or_an_error(tmp_path):
    path = write_movie(tmp_path / "a.mp4", noise(2, 20), options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert count_frames(path) == 20
    assert [frame.index for frame in read_frames(path, indices=[0, 5])] == [0, 5]
    for wanted, first in (({"indices": [0, 15]}, 15), ({"count": 4}, 12), ({}, None)):
        reason = reason_of(path, **wanted)
        decoded = int(reason.removeprefix("damaged or cut off: ").split()[0])
        assert 6 <= decoded <= 12
        assert f"of its 20 frames can be decoded, and frame {first or decoded} is wanted" in reason


def test_frame_that_is_cut_off_is_not_given_out(tmp_path):
    path = write_movie(tmp_path / "a.avi", noise(5, 20), codec="mpeg4")
    data = path.read_bytes()
    frames_begin = [found.start() for found in re.finditer(b"00dc", data[data.index(b"movi") :])]
    path.write_bytes(data[: data.index(b"movi") + (frames_begin[10] + frames_begin[11]) // 2])
    assert [frame.index for frame in read_frames(path, indices=range(10))] == [*range(10)]
    assert reason_of(path, indices=[10]).startswith("damaged or cut off: 10 of its 20 frames")


def test_damage_in_the_middle_is_told_and_numbers_nothing_behind_it(tmp_path):
    path = write_movie(tmp_path / "a.mp4", noise(3, 20))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 9000] = b"\xff" * 9000
    path.write_bytes(data)
    assert [frame.index for frame in read_frames(path, indices=[2])] == [2]
    assert "of its 20 frames can be decoded, and frame 19 is wanted" in reason_of(
        path, indices=[19]
    )


def test_files_that_are_no_videos(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    assert "not a video" in reason_of(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert reason_of(empty) == "the file is empty"
    assert reason_of(tmp_path / "absent.mp4") == "no such file or directory"
    assert reason_of(tmp_path) == "there is no picture in the folder"
    assert reason_of(text / "a.mp4") == "not a directory"
    assert reason_of(tmp_path / f"{'a' * 300}.mp4") == "file name too long"
    assert "null" in reason_of(tmp_path / "a\0b.mp4")
    headless = write_movie(tmp_path / "headless.mp4", noise(5, 5))
    headless.write_bytes(headless.read_bytes()[:5000])
    assert "cut off in its header" in reason_of(headless)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(10):
            samples = np.random.default_rng(i).normal(0, 0.1, (1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reason_of(path) == "there is no video stream in it"
    with pytest.raises(BadImageError, match="no video stream"):
        count_frames(path)


def test_cover_of_a_sound_file_is_no_video(tmp_path):
    path = tmp_path / "cover.jpg"
    Image.fromarray(numbered(1)[0]).save(path)
    cover = tmp_path / "cover.mp4"
    with av.open(str(path)) as source, av.open(str(cover), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.disposition = Disposition.attached_pic
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert reason_of(cover) == "there is no video stream in it"


def test_video_without_frames(tmp_path):
    path = tmp_path / "none.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert reason_of(path) == "it holds no frames"


def test_too_small_and_too_large(tmp_path, monkeypatch):
    small = write_movie(tmp_path / "small.mp4", numbered(2, 8, 64))
    assert reason_of(small) == "64 x 8 pixels are too few, a side needs 16"
    large = write_movie(tmp_path / "large.mp4", numbered(2, 48, 64))
    assert len(list(read_frames(large))) == 2
    monkeypatch.setattr(decode, "MAX_PIXELS", 48 * 64 - 1)
    assert "64 x 48 pixels are too many" in reason_of(large)


class FailingDisk(io.FileIO):
    """A file that cannot be read from some byte on."""

    limit = 0

    def readinto(self, buffer) -> int:
        if self.tell() >= self.limit:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[:4096]) or 0


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_failing_disk_is_not_the_fault_of_the_file(tmp_path, monkeypatch, ending):
    codec = "mpeg4" if ending == "avi" else "libx264"
    path = write_movie(tmp_path / f"a.{ending}", noise(7, 20), codec=codec)
    size = path.stat().st_size

    def fail_late(name, *_):
        """Only the second time, when the frames have been counted."""
        monkeypatch.setattr(frames, "open", fail, raising=False)
        return open(name, "rb")

    def fail(name, *_):
        return io.BufferedReader(FailingDisk(name))

    for part in (0.0, 0.3, 0.8):
        FailingDisk.limit = int(part * size)
        for opening in (fail, fail_late):
            monkeypatch.setattr(frames, "open", opening, raising=False)
            with pytest.raises(OSError, match="Input/output error") as caught:
                list(read_frames(path))
            assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))
    FailingDisk.limit = 2 * size
    assert len(list(read_frames(path))) == 20


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT])
def test_lack_of_something_is_not_the_fault_of_the_file(tmp_path, monkeypatch, number):
    path = write_movie(tmp_path / "a.mp4", numbered(2))

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(frames, "open", fail, raising=False)
    with pytest.raises(OSError, match=os.strerror(number)):
        count_frames(path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG])
def test_file_that_cannot_be_opened_is_its_own_fault(tmp_path, monkeypatch, number):

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(frames, "open", fail, raising=False)
    assert reason_of(tmp_path / "a.mp4") == os.strerror(number).lower()


def test_damage_of_any_kind_is_the_fault_of_the_file(tmp_path):
    """Whatever FFmpeg makes of a broken header: out of memory, unknown codecs, no text."""
    random = np.random.default_rng(8)
    path = write_movie(tmp_path / "a.mp4", noise(8, 4, 32, 32), options={"movflags": "faststart"})
    data = path.read_bytes()
    bad = 0
    for _ in range(300):
        damaged = bytearray(data)
        for place in random.integers(0, 1500, 4):
            damaged[place] = random.choice([0, 127, 255])
        path.write_bytes(damaged)
        try:
            list(read_frames(path, count=2))
        except BadImageError:
            bad += 1
    assert 10 < bad < 290


def test_codec_that_ffmpeg_does_not_know(tmp_path):
    path = write_movie(tmp_path / "a.mp4", numbered(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert reason_of(path) == "its video stream is of a kind that FFmpeg cannot decode"


def test_title_that_is_no_unicode(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "1234"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in numbered(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert b"1234" in data
    path.write_bytes(data.replace(b"1234", "éàüö".encode("latin-1")))
    assert [number_of(frame.image) for frame in read_frames(path)] == [0, 1, 2]


def test_photograph_is_a_video_of_one_frame(tmp_path):
    (picture,) = noise(4, 1)
    path = tmp_path / "a.PNG"
    Image.fromarray(picture).save(path)
    assert count_frames(path) == 1
    cases: list[dict[str, Any]] = [{}, {"count": 1}, {"count": 32}, {"indices": [0, 7]}]
    for wanted in cases:
        (frame,) = read_frames(path, **wanted)
        assert frame.index == 0
        np.testing.assert_array_equal(frame.image, picture)
    assert list(read_frames(path, indices=[7])) == []
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(picture).save(turned, exif=exif)
    (frame,) = read_frames(turned)
    np.testing.assert_array_equal(frame.image, np.rot90(picture, -1))
    path.write_bytes(b"no picture")
    with pytest.raises(BadImageError, match="not an image"):
        list(read_frames(path))


def test_missing_pyav_is_told_in_one_line(tmp_path, monkeypatch):
    path = write_movie(tmp_path / "a.mp4", numbered(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'rffr-jax\[faces\]'"):
        list(read_frames(path))


def test_a_playlist_that_names_other_files_is_no_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_movie(tmp_path / "secret.mp4", empty_frames(0, 3, 64))
    playlist = tmp_path / "video.mp4"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(BadImageError, match="not a video of a kind that is read"):
        count_frames(playlist)
