"""The user's own files."""

import logging
import os

import pytest

from rffr_jax.data.readers.folder import default_dataset_name
from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.media import SPLITS
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal, splits_of


def test_own_files_with_and_without_split_folders(tmp_path):
    layouts.folder(tmp_path / "a")
    layouts.folder(tmp_path / "b", splits=())
    layouts.folder(tmp_path / "c", splits=("Train", "val"))
    found = find_media("folder", tmp_path / "a")
    assert {split: len(ids) for split, ids in splits_of(found).items()} == dict.fromkeys(SPLITS, 4)
    medium = by_id(found)["validation/real/Gesicht ä.mp4"]
    assert (medium.split, medium.source) == ("validation", medium.id)
    assert medium.dataset == default_dataset_name(tmp_path / "a")
    assert set(splits_of(find_media("folder", tmp_path / "b"))) == {"train"}
    assert set(splits_of(find_media("folder", tmp_path / "c"))) == {"train", "validation"}


def test_videos_and_photographs_of_any_name_are_taken(tmp_path):
    names = ["a.MP4", "a.jpg", "a.webm", "sub/..b.png", "sub/c d\u202f.mov", "sub/..d..m4v"]
    left_out = ["notes.txt", ".hidden.mp4", ".cache/e.mp4", "sub/..b.png.part"]
    for name in names + left_out:
        layouts.put(tmp_path / "data" / name, 0, "real", layouts.a_few_bytes)
    hidden = {"sub/..b.png", "sub/..d..m4v"}  # they begin with a dot
    found = find_media("folder", tmp_path / "data")
    assert found.left_out.counts == {".txt": 1}
    assert {m.id for m in found.media} == set(names) - hidden
    assert {(m.label, m.split) for m in found.media} == {(0, "train")}


def test_names_that_no_record_can_hold_are_named(tmp_path):
    layouts.folder(tmp_path)
    (tmp_path / "test/real" / os.fsdecode(b"\xe4.mp4")).write_bytes(b"")
    (tmp_path / "test/real" / "two\nlines.mp4").write_bytes(b"")
    found = find_media("folder", tmp_path)
    assert len(found.media) == 12
    assert len(found.missing) == 2
    assert all(line.isascii() and "\n" not in line for line in found.missing)


def test_links_lead_anywhere_but_not_in_circles(tmp_path):
    layouts.folder(tmp_path / "elsewhere", splits=())
    data = tmp_path / "data"
    layouts.put(data / "real" / "own.mp4", 0, "real", layouts.a_few_bytes)
    (data / "fake").symlink_to(tmp_path / "elsewhere" / "fake")
    (data / "real" / "up").symlink_to(data)
    (tmp_path / "elsewhere/fake/FaceSwap/there").symlink_to(tmp_path / "elsewhere/fake")
    assert [m.id for m in find_media("folder", data).media] == [
        "fake/FaceSwap/x.mp4",
        "fake/y..z.mp4",
        "real/own.mp4",
    ]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("beside.mp4", "beside.mp4 lies outside of the split folders"),
        ("other/real/x.mp4", "lies outside of the split folders"),
        ("train/beside.mp4", "lies outside of real/ and fake/"),
        ("train/fake/Real/x.mp4", "a method cannot be called 'real'"),
    ],
)
def test_own_files_in_the_wrong_place_are_refused(tmp_path, extra, message):
    layouts.folder(tmp_path)
    layouts.put(tmp_path / extra, 0, "real", layouts.a_few_bytes)
    assert message in refusal("folder", tmp_path)


def test_real_and_fake_below_another_folder_are_refused(tmp_path):
    layouts.folder(tmp_path / "mine", splits=())
    assert "lies deeper" in refusal("folder", tmp_path)
    assert "leave out --all-real" in refusal("folder", tmp_path / "mine", all_real=True)
    assert {m.label for m in find_media("folder", tmp_path, all_real=True).media} == {0}


def test_own_files_taken_as_real_are_said_to_be_and_refused_where_a_folder_is_called_fake(
    tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="rffr_jax")
    for name in ("train/anna/1.mp4", "test/berta/1.jpe", "test/berta/2.flv"):
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    find_media("folder", tmp_path)
    assert caplog.messages == [f"--input {tmp_path}: all 2 files are taken as REAL"]
    for name in ("train/Deepfakes/c23/1.mp4", "train/Deepfakes/2.mp4", "test/Deepfakes/3.mp4"):
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    message = refusal("folder", tmp_path)
    assert "all 5 files would be taken as REAL, but train/Deepfakes/ holds 2 of them" in message
    assert "and 1 more such folder; " in message
    assert "add --all-real if they are real" in message
    found = find_media("folder", tmp_path, all_real=True)
    assert {(m.label, m.method) for m in found.media} == {(0, "real")}
    layouts.celeb_df(tmp_path / "celeb")
    assert "--all-real does not go with --benchmark celeb_df; leave it out" in refusal(
        "celeb_df", tmp_path / "celeb", all_real=True
    )


def test_files_of_other_endings_among_the_videos_are_counted(tmp_path):
    layouts.celeb_df(tmp_path / "celeb")
    layouts.dfdc(tmp_path / "dfdc")
    for found in (
        find_media("celeb_df", tmp_path / "celeb"),
        find_media("dfdc", tmp_path / "dfdc"),
    ):
        assert not found.left_out.counts
    for name in ("celeb/Celeb-real/x.flv", "dfdc/test/videos/x.vob", "dfdc/test/y.VOB"):
        (tmp_path / name).write_bytes(b"")
    assert str(find_media("celeb_df", tmp_path / "celeb").left_out) == (
        "left out 1 file: 1 .flv (first: Celeb-real/x.flv)"
    )
    assert str(find_media("dfdc", tmp_path / "dfdc").left_out) == (
        "left out 2 files: 2 .vob (first: test/videos/x.vob)"
    )


def test_a_folder_of_frames_is_a_video_where_it_is_said_to_be(tmp_path):
    names = (
        "real/a/1.png",
        "real/a/2.png",
        "real/b.mp4",
        "fake/Swap/c/07.jpg",
        "fake/Swap/c/9.jpg",
    )
    for name in names:
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    found = find_media("folder", tmp_path, frame_folders=True)
    assert [(m.id, m.label, m.method) for m in found.media] == [
        ("fake/Swap/c", 1, "Swap"),
        ("real/a", 0, "real"),
        ("real/b.mp4", 0, "real"),
    ]
    assert len(find_media("folder", tmp_path).media) == len(names)
    (tmp_path / "fake/Swap/c/30.jpg").touch()
    (tmp_path / "fake/Swap/c/8.jpg").touch()
    assert find_media("folder", tmp_path, frame_folders=True).notes == (
        "fake/Swap/c: no frames between 9 and 30",
    )
    (tmp_path / "0.png").touch()
    assert "images lie in it directly" in refusal("folder", tmp_path, frame_folders=True)
