"""Which files are looked at, what is read of broken ones, and what is kept of finished ones."""

import json
import logging
import os
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rffr_jax.data.readers.left_out import SkippedFiles
from rffr_jax.errors import UserError
from rffr_jax.faces.frame_folder import file_stamp
from rffr_jax.images import decode
from rffr_jax.predict.face_finding import find_faces
from rffr_jax.predict.face_settings import FaceSettings
from rffr_jax.predict.finished_files import NAME, FinishedFiles
from rffr_jax.predict.inputs import find_files, media_kind
from tests.faces.movies import empty_frames, write_movie
from tests.test_bad_input import huge_png

GIVEN = FaceSettings(faces="given", darkest=0.0, least_sharpness=0.0)


def picture(path, seed=0, size=32):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def reason_of(path):
    (file,) = find_files([str(path)])
    found = find_faces(file, GIVEN, 32)
    assert not found.faces
    return found.reason


def test_folders_are_gone_through_by_name_and_content(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="rffr_jax")
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    picture(tmp_path / "b/z.png")
    picture(tmp_path / "b/a.jpg").rename(tmp_path / "b/a.without_ending")
    (tmp_path / "b/broken.mp4").write_text("no video")
    (tmp_path / "b/notes.txt").write_text("no picture")
    picture(tmp_path / ".hidden/a.png")
    picture(tmp_path / "c.png").rename(tmp_path / "c,d.png")
    picture(tmp_path / "results.png")
    left_out = SkippedFiles()
    inputs = [str(tmp_path / "c,d.png"), f"{tmp_path},{tmp_path / 'b'}"]
    files = find_files(inputs, left_out=left_out)
    line = str(left_out)
    assert line.startswith("left out 1 file: 1 .txt (first: ")
    assert line.endswith("/b/notes.txt)")  # long paths lose their beginning
    assert line in caplog.messages
    names = [str(file.path.relative_to(tmp_path)) for file in files]
    assert names == ["c,d.png", "results.png", "b/a.without_ending", "b/broken.mp4", "b/z.png"]
    assert [file.kind for file in files] == ["image", "image", "image", "", "image"]
    left = find_files([str(tmp_path)], exclude=tmp_path / "b")
    assert [file.path.name for file in left] == ["c,d.png", "results.png"]


def test_linked_folders_are_followed_once(tmp_path):
    for name in ("in/real", "elsewhere", "out"):
        (tmp_path / name).mkdir(parents=True)
        picture(tmp_path / name / "a.png")
    (tmp_path / "in/holiday").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/holiday again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/real/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/results").symlink_to(tmp_path / "out")
    files = find_files([str(tmp_path / "in")], exclude=tmp_path / "out")
    names = [file.path.relative_to(tmp_path / "in").as_posix() for file in files]
    assert names == ["holiday/a.png", "real/a.png"]


@pytest.mark.parametrize("inputs", [[], [""], ["nowhere.png"], ["a\0b"]])
def test_what_is_not_there_is_refused(inputs):
    with pytest.raises(UserError, match=r"nothing to look at|does not exist"):
        find_files(inputs)


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"no image or video in .* \(left out 1 file: 1 \.txt"):
        find_files([str(tmp_path)])


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    files = find_files([str(tmp_path)])
    assert [file.path.name for file in files] == ["a.png", "closed"]
    assert files[1].reason == "unreadable folder: permission denied"
    assert find_faces(files[1], GIVEN, 32).reason == files[1].reason


def test_kinds_are_told_by_content(tmp_path):
    heads = {
        "image": [b"BM", b"II*\0", b"MM\0*", b"RIFF....WEBP", b"\0\0\0\x20ftypheic",
                  b"\0\0\0\x20ftypavif"],
        "video": [b"\0\0\0\x20ftypisom", b"RIFF....AVI ", b"\x1aE\xdf\xa3", b"\0\0\1\xba",
                  b"0&\xb2u\x8ef\xcf\x11", b"G" + bytes(187) + b"G",
                  bytes(4) + b"G" + bytes(191) + b"G"],
        "": [b"GIF89a", b"G" + bytes(188), b"text", b""],
    }  # fmt: skip
    for kind, starts in heads.items():
        for start in starts:
            file = tmp_path / "file.jpg"
            file.write_bytes(start)
            found, reason = media_kind(file)
            assert found == kind
            assert bool(reason) == (kind == "")


def test_broken_files_are_unknown_with_a_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("this is no picture")
    assert reason_of(tmp_path / "text.jpg").startswith("not an image or a video")
    (tmp_path / "empty.png").write_bytes(b"")
    assert reason_of(tmp_path / "empty.png") == "the file is empty"
    frames = [Image.new("P", (32, 32), n) for n in range(3)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    assert reason_of(tmp_path / "moves.gif").startswith("GIF pictures are not read")
    (tmp_path / "huge.png").write_bytes(huge_png())
    assert "too many, the limit is 80 million" in reason_of(tmp_path / "huge.png")
    whole = picture(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert reason_of(tmp_path / "cut.png").startswith("unreadable: damaged")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    assert reason_of(tmp_path / "cut.mp4").startswith("unreadable: ")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert reason_of(tmp_path / "loop.png").startswith("unreadable: ")
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_of(tmp_path / "pipe.png") == "not a file"
    assert decode.MAX_PIXELS == 80_000_000


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif", "a.tiff"])
def test_animations_and_pages_are_not_judged_by_their_first_picture(tmp_path, name):
    pictures = [Image.new("RGB", (32, 32), (60 * n, 0, 0)) for n in range(3)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    assert reason_of(tmp_path / name).startswith("an animation, or a file of several pages")


def test_pictures_beside_a_photograph_are_passed_over(tmp_path):
    photograph = Image.open(picture(tmp_path / "photograph.png"))
    preview = photograph.resize((16, 16))
    preview.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    photograph.save(tmp_path / "preview.tiff", save_all=True, append_images=[preview])
    photograph.save(tmp_path / "two.mpo", save_all=True, append_images=[preview])
    for name in ("preview.tiff", "two.mpo"):
        (file,) = find_files([str(tmp_path / name)])
        assert find_faces(file, GIVEN, 32).faces


def test_png_whose_text_unpacks_to_a_hundred_megabytes(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 100_000_000, zip=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "bomb.png", pnginfo=text)
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    assert reason_of(tmp_path / "bomb.png").startswith("unreadable: ")


def test_dark_and_blurred_crops_are_unknown(tmp_path):
    settings = FaceSettings(faces="given")
    sharp = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    smooth = np.tile(np.linspace(30, 220, 64).astype(np.uint8)[:, None], (64, 1, 3))
    smooth = np.asarray(Image.fromarray(smooth).resize((64, 64), Image.Resampling.BICUBIC))
    for image, reason in ((sharp, ""), (sharp // 16, "too dark"), (smooth, "too blurred")):
        Image.fromarray(image.reshape(64, 64, 3)).save(tmp_path / "face.png")
        (file,) = find_files([str(tmp_path / "face.png")])
        ((sighting,),) = find_faces(file, settings, 64).faces
        assert sighting.reason.startswith(reason)
        assert sighting.usable == (not reason)
        np.testing.assert_array_equal(sighting.crop, image)


def test_finished_files_are_found_again_until_they_change(tmp_path):
    paths = [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    first = FinishedFiles(tmp_path, {"threshold": 0.5})
    for number, path in enumerate(paths):
        first.add(path, {"number": number}, file_stamp(path))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"path": "of a run that was ki')
    picture(paths[1], 1, size=40)
    again = FinishedFiles(tmp_path, {"threshold": 0.5})
    assert [path in again for path in paths] == [True, False, True]
    again.add(paths[1], {"number": 7}, file_stamp(paths[1]))
    expected = [{"number": 2}, {"number": 7}, {"number": 0}]
    assert list(again.records(paths[::-1])) == expected
    third = FinishedFiles(tmp_path, {"threshold": 0.5})
    assert list(third.records(paths[::-1])) == expected
    first_line, *lines = (tmp_path / NAME).read_text().splitlines()
    assert json.loads(first_line) == {"settings": {"threshold": 0.5}}
    for line in lines:
        assert line[:8] == f"{zlib.crc32(line[9:].encode()):08x}"
    numbers = [json.loads(line[9:])["record"]["number"] for line in lines]
    assert numbers == [0, 1, 2, 7]
    other = FinishedFiles(tmp_path, {"threshold": 0.6})
    assert not any(path in other for path in paths)


def test_a_damaged_line_is_looked_at_anew(tmp_path):
    paths = [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    finished = FinishedFiles(tmp_path, {})
    for number, path in enumerate(paths):
        finished.add(path, {"number": number}, file_stamp(path))
    file = tmp_path / NAME
    file.write_bytes(file.read_bytes().replace(b'{"number": 1}', b'{"number": 9}'))
    again = FinishedFiles(tmp_path, {})
    assert [path in again for path in paths] == [True, False, False]
    for path in paths[1:]:
        again.add(path, {"number": 5}, file_stamp(path))
    assert list(again.records(paths)) == [{"number": 0}, {"number": 5}, {"number": 5}]


def test_a_file_that_is_still_copied_is_looked_at_anew(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom")
    (listed,) = find_files([str(path)])
    path.write_bytes(path.read_bytes() + bytes(1000))
    finished = FinishedFiles(tmp_path, {})
    finished.add(path, {"status": "unknown"}, listed.stamp)
    assert path not in finished
    assert path not in FinishedFiles(tmp_path, {})
    assert list(finished.records([path])) == [{"status": "unknown"}]


def test_the_video_of_a_camcorder_is_read(tmp_path):
    path = tmp_path / "video.mts"
    write_movie(path, empty_frames(0, 6, 64), options={"mpegts_m2ts_mode": "1"})
    (file,) = find_files([str(path)])
    assert file.kind == "video"
    assert len(find_faces(file, GIVEN, 32).faces[0]) == 6
