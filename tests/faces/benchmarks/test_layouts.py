"""What holds for every benchmark: labels, splits, ids, refusals."""

import os
import pathlib
import shutil

import pytest

from rffr_jax.faces.benchmarks import BENCHMARKS, find_media
from rffr_jax.faces.media import SPLITS
from tests.faces import layouts
from tests.faces.layouts import Written, by_id, refusal

LAYOUTS = [
    ("faceforensics", layouts.faceforensics, {}),
    ("faceforensics", layouts.faceforensics, {"videos_level": ""}),
    ("celeb_df", layouts.celeb_df, {}),
    ("celeb_df", layouts.celeb_df, {"videos_level": "videos"}),
    ("dfdc", layouts.dfdc, {}),
    ("dfdc", layouts.dfdc, {"test_level": "", "videos_level": ""}),
    ("dfdc", layouts.dfdc, {"test_level": "", "videos_level": "test"}),
    ("dfdc", layouts.dfdc, {"test_level": "", "videos_level": "test/videos"}),
    ("dfdc", layouts.dfdc, {"validation": True}),
    ("dfdc", layouts.dfdc_preview, {}),
    ("forgerynet", layouts.forgerynet, {}),
    ("faceforensics", layouts.faceforensics, {"videos_level": "images"}),
    ("celeb_df", layouts.celeb_df_plus_plus, {}),
    ("celeb_df", layouts.celeb_df_plus_plus, {"videos_level": "videos"}),
    ("wilddeepfake", layouts.wilddeepfake, {}),
    ("wilddeepfake", layouts.wilddeepfake, {"inner": True}),
    ("df40", layouts.df40, {}),
    ("folder", layouts.folder, {}),
    ("folder", layouts.folder, {"splits": ()}),
]


@pytest.mark.parametrize(("name", "layout", "options"), LAYOUTS)
def test_every_file_is_found_once_with_its_label_and_method(tmp_path, name, layout, options):
    written = Written()
    layout(tmp_path / "data", written, **options)
    found = find_media(name, tmp_path / "data")
    assert found.missing == ()
    assert {m.path: (m.label, m.method) for m in found.media} == written.media()
    ids = [m.id for m in found.media]
    assert ids == sorted(set(ids))
    assert not any(".." in id_.split("/") or id_.startswith("/") for id_ in ids)
    assert {m.split for m in found.media} <= set(SPLITS)


@pytest.mark.parametrize(("name", "layout", "options"), LAYOUTS)
def test_a_fake_is_in_the_split_and_the_group_of_its_original(tmp_path, name, layout, options):
    layout(tmp_path / "data", **options)
    media = by_id(find_media(name, tmp_path / "data"))
    for medium in media.values():
        original = media[medium.source]
        assert original.source == original.id
        assert (original.split, original.dataset) == (medium.split, medium.dataset)
        assert (original.group or original.source) == (medium.group or medium.source)
    fakes = [m for m in media.values() if m.label == 1]
    assert fakes
    # Nor does labels.csv tell an original, nor a method of DF40 with its own reals.
    if name not in ("forgerynet", "wilddeepfake", "folder"):
        untold = ("test/", "validation/", "DF40/MidJourney")
        told = [m for m in fakes if not m.id.startswith(untold)]
        assert told
        assert all(media[m.source].label == 0 for m in told)


def test_ids_do_not_depend_on_where_the_data_lie(tmp_path, monkeypatch):
    for number, (name, layout, options) in enumerate(LAYOUTS):
        place = tmp_path / str(number) / "data"
        layout(place, **options)
        monkeypatch.chdir(place.parent)
        absolute = find_media(name, place)
        for folder in (pathlib.Path("data"), pathlib.Path("data/../data")):
            assert [m.id for m in find_media(name, folder).media] == [m.id for m in absolute.media]
        monkeypatch.chdir(place)
        assert [m.id for m in find_media(name, pathlib.Path()).media] == list(by_id(absolute))


@pytest.mark.parametrize(
    "inside",
    ["dfdc_train_part_0", "dfdc_train_part_45", "test", "validation", "train_sample_videos", "val"],
)
def test_the_folder_given_may_be_the_one_that_tells_the_split(tmp_path, monkeypatch, inside):
    layouts.dfdc(tmp_path, validation=True)
    (tmp_path / "dfdc_train_part_0").rename(tmp_path / "train_sample_videos")
    layouts.dfdc(tmp_path / "other")
    (tmp_path / "other/dfdc_train_part_0").rename(tmp_path / "dfdc_train_part_0")
    layouts.dfdc(tmp_path / "more", validation=True)
    (tmp_path / "more/validation").rename(tmp_path / "val")
    expected = find_media("dfdc", tmp_path / inside)
    part = "validation" if inside == "val" else inside
    assert {m.id.split("/")[0] for m in expected.media} == {part}
    monkeypatch.chdir(tmp_path / inside)
    assert find_media("dfdc", pathlib.Path()) == expected
    (tmp_path / inside / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / inside / "deeper")
    assert find_media("dfdc", pathlib.Path("..")) == expected
    monkeypatch.chdir(tmp_path)
    assert find_media("dfdc", pathlib.Path(inside)) == expected


def test_what_is_no_benchmark_is_refused_with_what_was_looked_for(tmp_path):
    assert "one of faceforensics, celeb_df, dfdc" in refusal("ffpp", tmp_path)
    assert "does not exist" in refusal("dfdc", tmp_path / "absent")
    layouts.text(tmp_path / "file", "")
    assert "is not a folder" in refusal("dfdc", tmp_path / "file")
    looked_for = {
        "faceforensics": "original_sequences",
        "celeb_df": "Celeb-real",
        "dfdc": "labels.csv",
        "forgerynet": "image_list.txt",
        "wilddeepfake": "fake_train",
        "df40": "DF40_train",
        "folder": ".mp4",
        "table": "media.csv",
    }
    assert looked_for.keys() == BENCHMARKS.keys()
    for name, expected in looked_for.items():
        assert expected in refusal(name, tmp_path)
    for name in list(BENCHMARKS)[1:]:
        assert "--compression c23 does not go with" in refusal(name, tmp_path, compression="c23")
        assert "does not go with" in refusal(name, tmp_path, splits=tmp_path)


def test_a_benchmark_without_fakes_or_without_reals_ends_the_run(tmp_path):
    layouts.celeb_df(tmp_path)
    for path in (tmp_path / "Celeb-synthesis").iterdir():
        path.unlink()
    assert "there are 12 media of celeb_df and no fakes among them" in refusal("celeb_df", tmp_path)
    layouts.wilddeepfake(tmp_path / "wild")
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / "wild" / f"real_{split}")
    assert "and no reals among them; complete" in refusal("wilddeepfake", tmp_path / "wild")


def test_lists_without_any_of_their_videos_are_refused(tmp_path):
    layouts.dfdc(tmp_path)
    for path in tmp_path.rglob("*.mp4"):
        path.unlink()
    assert "8 are missing or left out, the first: test/tttttttttt" in refusal("dfdc", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    layouts.folder(tmp_path)
    closed = tmp_path / "test" / "fake"
    closed.chmod(0)
    found = find_media("folder", tmp_path)
    closed.chmod(0o700)
    assert found.missing == ("test/fake: the folder cannot be read (permission denied)",)
    assert len(found.media) == 10


def test_the_reason_a_folder_cannot_be_read_is_told(tmp_path, monkeypatch):
    layouts.celeb_df(tmp_path)
    list_folder = os.listdir

    def broken(folder):
        if pathlib.Path(folder).name == "YouTube-real":
            raise OSError(5, "Input/output error")
        return list_folder(folder)

    monkeypatch.setattr(os, "listdir", broken)
    missing = find_media("celeb_df", tmp_path).missing
    assert missing[0] == "YouTube-real: the folder cannot be read (input/output error)"
    assert "YouTube-real/00001: listed in List_of_testing_videos.txt and not there" in missing
