"""Layouts, labels and splits of the benchmarks."""

import collections
import itertools
import json
import logging
import os
import pathlib

import numpy as np
import pytest

from rffr_jax.data.readers.folder import default_dataset_name
from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import BENCHMARKS, find_media
from rffr_jax.faces.benchmarks.celeb_df import choose_validation_people
from rffr_jax.faces.media import SPLITS, Benchmark
from tests.faces import layouts

OFFICIAL = pathlib.Path(__file__).parents[3] / "shared" / "splits" / "faceforensics"


class Written:
    """A `write` that remembers label and method of every file."""

    def __init__(self):
        self.files = {}

    def __call__(self, path, label, method):
        layouts.a_few_bytes(path, label, method)
        self.files[path] = (label, method)


def refusal(name, folder, **options):
    with pytest.raises(UserError) as caught:
        find_media(name, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_id(found):
    return {medium.id: medium for medium in found.media}


def splits_of(found):
    splits = collections.defaultdict(set)
    for medium in found.media:
        splits[medium.split].add(medium.id)
    return splits


# --- all benchmarks ----------------------------------------------------------------------------

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
    ("folder", layouts.folder, {}),
    ("folder", layouts.folder, {"splits": ()}),
]


@pytest.mark.parametrize(("name", "layout", "options"), LAYOUTS)
def test_every_file_is_found_once_with_its_label_and_method(tmp_path, name, layout, options):
    written = Written()
    layout(tmp_path / "data", written, **options)
    found = find_media(name, tmp_path / "data")
    assert found.missing == ()
    assert {m.path: (m.label, m.method) for m in found.media} == written.files
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
    if name not in ("forgerynet", "folder"):  # nor does labels.csv tell an original
        told = [m for m in fakes if not m.id.startswith(("test/", "validation/"))]
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
    looked_for = ("original_sequences", "Celeb-real", "labels.csv", "image_list.txt", ".mp4")
    for name, expected in zip(BENCHMARKS, looked_for, strict=True):
        assert expected in refusal(name, tmp_path)
    for name in list(BENCHMARKS)[1:]:
        assert "--compression c23 does not go with" in refusal(name, tmp_path, compression="c23")
        assert "does not go with" in refusal(name, tmp_path, splits=tmp_path)


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


# --- FaceForensics++ ---------------------------------------------------------------------------


def test_pairs_give_splits_groups_and_sources(tmp_path):
    layouts.faceforensics(tmp_path)
    found = find_media("faceforensics", tmp_path)
    media = by_id(found)
    assert splits_of(found)["train"] == {
        "real/001", "real/003",
        "Deepfakes/001_003", "Deepfakes/003_001",
        "NeuralTextures/001_003", "NeuralTextures/003_001",
    }  # fmt: skip
    assert "real/000" in splits_of(found)["validation"]
    assert "real/005" in splits_of(found)["test"]
    fake = media["Deepfakes/003_001"]
    assert (fake.source, fake.group, fake.compression) == ("real/003", "001-003", "c23")
    assert {m.group for m in media.values()} == {"001-003", "000-004", "002-005"}
    assert {m.dataset for m in media.values()} == {"FaceForensics++"}


def test_missing_and_unlisted_videos_are_named(tmp_path):
    layouts.faceforensics(tmp_path)
    videos = tmp_path / "manipulated_sequences/Deepfakes/c23/videos"
    (videos / "004_000.mp4").unlink()
    layouts.put(videos / "000_001.mp4", 1, "Deepfakes", layouts.a_few_bytes)
    layouts.put(videos / "._000_004.mp4", 1, "Deepfakes", layouts.a_few_bytes)
    (tmp_path / "manipulated_sequences/FaceSwap/c40/videos").mkdir(parents=True)
    found = find_media("faceforensics", tmp_path)
    assert len(found.media) == 17
    assert set(found.missing) == {
        "Deepfakes/004_000: listed in val.json and not there",
        "manipulated_sequences/Deepfakes/c23/videos/000_001.mp4: in none of train.json, val.json, "
        "test.json, left out",
        "manipulated_sequences/FaceSwap: no c23 videos",
    }


def test_the_compression_decides_which_videos(tmp_path):
    layouts.faceforensics(tmp_path, compression="c40")
    found = find_media("faceforensics", tmp_path, compression="c40")
    assert {m.compression for m in found.media} == {"c40"}
    assert all("c40" in m.path.parts for m in found.media)
    assert "no c23 videos" in refusal("faceforensics", tmp_path)
    assert "what is there: c40" in refusal("faceforensics", tmp_path)
    assert "one of raw, c23, c40" in refusal("faceforensics", tmp_path, compression="c0")


@pytest.mark.parametrize("place", [".", "splits", "dataset/splits", "../splits"])
def test_lists_are_found_beside_the_data(tmp_path, place):
    data = tmp_path / "data"
    layouts.faceforensics(data, splits=False)
    layouts.write_splits(data / place)
    assert len(find_media("faceforensics", data).media) == 18


def test_without_lists_nothing_is_guessed(tmp_path):
    layouts.faceforensics(tmp_path / "data", splits=False)
    message = refusal("faceforensics", tmp_path / "data")
    assert "FaceForensics repository, dataset/splits" in message
    assert "--splits DIR" in message
    layouts.write_splits(tmp_path / "lists")
    assert len(find_media("faceforensics", tmp_path / "data", splits=tmp_path / "lists").media)
    (tmp_path / "lists" / "val.json").unlink()
    message = refusal("faceforensics", tmp_path / "data", splits=tmp_path / "lists")
    assert "no val.json" in message
    assert "FaceForensics repository" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[["003", "001"],\n ["002" "005"]]', "val.json:2: not JSON"),
        ('{"003": "001"}', "not a list of pairs"),
        ("[]", "not a list of pairs"),
        ("[[3, 1]]", "entry 1 is not a pair"),
        ('[["003"]]', "entry 1 is not a pair"),
        ('[["000", "002"]]', "video '002' is in val.json and again in test.json"),
        ('[["000", "000"]]', "video '000' is in val.json and again in val.json"),
        (b"\xff\xfe", "val.json: not UTF-8"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(tmp_path, content, message):
    layouts.faceforensics(tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "splits" / "val.json").write_bytes(content)
    assert message in refusal("faceforensics", tmp_path)


def test_actors_are_a_test_set_of_their_own_and_need_no_lists(tmp_path):
    written = Written()
    layouts.deepfake_detection(tmp_path, written)
    found = find_media("faceforensics", tmp_path)
    assert {m.path: (m.label, m.method) for m in found.media} == written.files
    assert {(m.split, m.dataset) for m in found.media} == {("test", "DeepFakeDetection")}
    fake = by_id(found)["DeepFakeDetection/01_02__kitchen_pan__AB12CD34"]
    assert fake.source == "actors/01__kitchen_pan"
    assert fake.person == by_id(found)["actors/01__kitchen_pan"].person == "actor 01"
    layouts.faceforensics(tmp_path)
    both = find_media("faceforensics", tmp_path)
    assert len(both.media) == 18 + 3
    assert {m.dataset for m in both.media if m.split == "train"} == {"FaceForensics++"}


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official lists are not here")
def test_the_official_lists(tmp_path):
    pairs = {n: json.loads((OFFICIAL / f"{n}.json").read_text()) for n in ("train", "val", "test")}
    layouts.faceforensics(tmp_path, pairs=pairs, splits=False)
    found = find_media("faceforensics", tmp_path, splits=OFFICIAL)
    assert found.missing == ()
    counts = collections.Counter((m.split, m.method) for m in found.media)
    for method in ("real", *layouts.FF_METHODS):
        assert [counts[split, method] for split in SPLITS] == [720, 140, 140]
    # Sliced by number, the parts would hold test videos in training and tear pairs apart.
    first = {f"real/{number:03d}" for number in range(720)}
    assert splits_of(found)["test"] & first
    media = by_id(found)
    assert any((m.source in first) != (f"real/{m.id[-3:]}" in first) for m in media.values())


# --- Celeb-DF ----------------------------------------------------------------------------------


def test_one_means_real_in_the_list_and_fake_here(tmp_path):
    layouts.celeb_df(tmp_path)
    media = by_id(find_media("celeb_df", tmp_path))
    for line in (tmp_path / "List_of_testing_videos.txt").read_text().splitlines():
        listed_label, path = line.split()
        medium = media[path.removesuffix(".mp4")]
        assert medium.split == "test"
        assert medium.label == 1 - int(listed_label)
    fake = media["Celeb-synthesis/id0_id1_0000"]
    assert (fake.label, fake.source, fake.group) == (1, "Celeb-real/id0_0000", "id0")
    assert fake.person == media["Celeb-real/id0_0000"].person == "id0"


def test_validation_shares_nobody_with_training(tmp_path):
    layouts.celeb_df(tmp_path)
    people = collections.defaultdict(set)
    for medium in find_media("celeb_df", tmp_path).media:
        stem = medium.id.split("/")[1]
        people[medium.split] |= {part for part in stem.split("_") if part.startswith("id")}
    assert people["validation"]
    assert not people["validation"] & people["train"]
    assert people["test"] == {"id0", "id1"}


def test_the_held_out_tenth_is_made_of_whole_circles():
    rng = np.random.default_rng(3)
    for _ in range(20):
        sizes = rng.integers(1, 9, size=12)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        parts = [rng.permutation(range(a, b)) for a, b in itertools.pairwise(bounds)]
        circles = [[f"id{i}" for i in part] for part in parts]
        swaps = [pair for c in circles for pair in itertools.pairwise(c)]
        swaps += [(c[0],) for c in circles]
        held_out = choose_validation_people(swaps)
        assert all(set(c) <= held_out or not set(c) & held_out for c in circles)
        assert len(held_out) <= 0.2 * bounds[-1]
        assert held_out == choose_validation_people([swaps[i] for i in rng.permutation(len(swaps))])
    # Circles of the sizes that those of Celeb-DF v2 are taken to have.
    everyone = [i for i in range(62) if i not in (14, 15, 18)]
    small = [[7, 10, 11, 12, 13], [*range(39, 49)], [*range(49, 59)], [5, 59, 60, 61]]
    big = [i for i in everyone if not any(i in circle for circle in small)]
    swaps = [(f"id{c[0]}", f"id{i}") for c in (*small, big) for i in c[1:]]
    held_out = choose_validation_people(swaps)
    assert held_out == {f"id{i}" for i in (7, 10, 11, 12, 13, 5, 59, 60, 61)}
    assert choose_validation_people([("id1", "id2"), ("id2", "id3")]) == set()
    assert choose_validation_people([(), ()]) == set()


def test_youtube_videos_are_held_out_by_a_tenth(tmp_path):
    layouts.celeb_df(tmp_path)
    for number in range(300):
        layouts.put(tmp_path / f"YouTube-real/{number:05d}.mp4", 0, "real", layouts.a_few_bytes)
    found = find_media("celeb_df", tmp_path)
    held_out = {id_ for id_ in splits_of(found)["validation"] if id_.startswith("YouTube")}
    assert 15 <= len(held_out) <= 45
    assert all(by_id(found)[id_].group == by_id(found)[id_].person == "" for id_ in held_out)


def test_the_test_list_may_have_a_bom_blank_lines_and_crlf(tmp_path):
    layouts.celeb_df(tmp_path)
    expected = find_media("celeb_df", tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    lines = file.read_text().replace("/", "/videos/", 1).split("\n")
    file.write_bytes(b"\xef\xbb\xbf" + "  \r\n\r\n".join(lines).encode())
    assert find_media("celeb_df", tmp_path) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id2_0000.mp4", "1 means real"),
        ("1 Celeb-synthesis/id2_id3_0000.mp4", "1 means real"),
        ("2 Celeb-real/id2_0000.mp4", "is not a label"),
        ("Celeb-real/id2_0000.mp4", "is not a label"),
        ("1 Celeb/id2_0000.mp4", "is in none of"),
    ],
)
def test_a_line_that_cannot_be_right_is_named(tmp_path, line, message):
    layouts.celeb_df(tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    file.write_text(file.read_text() + "\n" + line + "\n")
    refused = refusal("celeb_df", tmp_path)
    assert f"{file}:7: " in refused
    assert message in refused


def test_celeb_df_names_what_is_missing(tmp_path):
    layouts.celeb_df(tmp_path)
    (tmp_path / "Celeb-real/id0_0000.mp4").unlink()
    layouts.put(tmp_path / "Celeb-synthesis/mine.mp4", 1, "", layouts.a_few_bytes)
    found = find_media("celeb_df", tmp_path)
    assert found.missing == (
        "Celeb-synthesis/mine.mp4: not named as id0_id1_0000, left out",
        "Celeb-real/id0_0000: listed in List_of_testing_videos.txt and not there",
    )
    orphan = by_id(found)["Celeb-synthesis/id0_id1_0000"]
    assert (orphan.source, orphan.group) == (orphan.id, "id0")
    (tmp_path / "List_of_testing_videos.txt").unlink()
    assert "no List_of_testing_videos.txt" in refusal("celeb_df", tmp_path)


# --- DFDC --------------------------------------------------------------------------------------


def test_parts_and_test_videos_of_dfdc(tmp_path):
    layouts.dfdc(tmp_path)
    found = find_media("dfdc", tmp_path)
    splits = splits_of(found)
    assert splits["train"] == {f"dfdc_train_part_0/{letter * 10}" for letter in "abc"}
    assert splits["validation"] == {f"dfdc_train_part_45/{letter * 10}" for letter in "def"}
    assert splits["test"] == {"test/tttttttttt", "test/uuuuuuuuuu"}
    fake = by_id(found)["dfdc_train_part_45/ffffffffff"]
    assert fake.source == fake.group == "dfdc_train_part_45/dddddddddd"


def test_official_validation_videos_of_dfdc_replace_the_parts_that_stand_in_for_them(tmp_path):
    layouts.dfdc(tmp_path, validation=True)
    found = find_media("dfdc", tmp_path)
    splits = splits_of(found)
    parts = [("dfdc_train_part_0", "abc"), ("dfdc_train_part_45", "def")]
    assert splits["train"] == {f"{part}/{x * 10}" for part, letters in parts for x in letters}
    assert splits["validation"] == {"validation/vvvvvvvvvv", "validation/wwwwwwwwww"}
    assert splits["test"] == {"test/tttttttttt", "test/uuuuuuuuuu"}
    assert by_id(found)["validation/wwwwwwwwww"].label == 1
    (tmp_path / "validation").rename(tmp_path / "Val")
    assert [(m.id, m.split) for m in find_media("dfdc", tmp_path).media] == [
        (m.id, m.split) for m in found.media
    ]
    # The label file decides, whether its videos are there or not.
    for path in (tmp_path / "Val").rglob("*.mp4"):
        path.unlink()
    without = find_media("dfdc", tmp_path)
    assert splits_of(without) == {"train": splits["train"], "test": splits["test"]}
    assert len(without.missing) == 2


@pytest.mark.parametrize("said", [None, "validation", "VAL"])
def test_validation_videos_of_dfdc_with_metadata_in_place_of_labels(tmp_path, said):
    layouts.dfdc(tmp_path, validation=True)
    expected = find_media("dfdc", tmp_path)
    (tmp_path / "validation/labels.csv").unlink()
    metadata = {
        "vvvvvvvvvv.mp4": {"label": "REAL"},
        "wwwwwwwwww.mp4": {"is_fake": 1, "original": "vvvvvvvvvv.mp4"},
    }
    for entry in metadata.values():
        entry |= {"split": said} if said else {}
    layouts.text(tmp_path / "validation/metadata.json", json.dumps(metadata))
    found = find_media("dfdc", tmp_path)
    assert [(m.id, m.split, m.label) for m in found.media] == [
        (m.id, m.split, m.label) for m in expected.media
    ]
    assert by_id(found)["validation/wwwwwwwwww"].source == "validation/vvvvvvvvvv"
    if said:  # what the file says counts in a folder of any name
        (tmp_path / "validation").rename(tmp_path / "public")
        renamed = find_media("dfdc", tmp_path).media
        assert [(m.id, m.split) for m in renamed] == [(m.id, m.split) for m in found.media]


def test_one_metadata_of_dfdc_may_hold_several_splits_but_keeps_fakes_with_originals(tmp_path):
    metadata = {}
    for split, (real, fake) in (("train", "ab"), ("validation", "cd"), ("test", "ef")):
        metadata[f"{real}.mp4"] = {"label": "REAL", "split": split}
        metadata[f"{fake}.mp4"] = {"label": "FAKE", "split": split, "original": f"{real}.mp4"}
    for name in metadata:
        layouts.put(tmp_path / "all" / name, 0, "real", layouts.a_few_bytes)
    layouts.text(tmp_path / "all/metadata.json", json.dumps(metadata))
    found = find_media("dfdc", tmp_path)
    assert splits_of(found) == {
        "train": {"all/a", "all/b"},
        "validation": {"validation/c", "validation/d"},
        "test": {"test/e", "test/f"},
    }
    assert by_id(found)["test/f"].source == "test/e"
    metadata["f.mp4"]["original"] = "a.mp4"
    layouts.text(tmp_path / "all/metadata.json", json.dumps(metadata))
    assert "f.mp4 is test and its original train" in refusal("dfdc", tmp_path)


def test_one_part_of_dfdc_and_parts_deeper_down(tmp_path):
    layouts.dfdc(tmp_path / "train" / "dfdc_train_part_00")
    deep = tmp_path / "train" / "dfdc_train_part_00"
    assert len(find_media("dfdc", tmp_path).media) == 8
    one = find_media("dfdc", deep / "dfdc_train_part_45")
    assert {m.split for m in one.media} == {"validation"}
    only_test = find_media("dfdc", deep / "test")
    assert {m.split for m in only_test.media} == {"test"}


def test_a_folder_called_test_does_not_make_a_training_part_test(tmp_path):
    layouts.dfdc(tmp_path / "test")
    file = tmp_path / "test" / "dfdc_train_part_0" / "metadata.json"
    metadata = json.loads(file.read_text())
    for entry in metadata.values():
        del entry["split"]
    layouts.text(file, json.dumps(metadata))
    splits = splits_of(find_media("dfdc", tmp_path / "test"))
    assert {split: len(ids) for split, ids in splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 2,
    }


def test_test_videos_with_metadata_in_place_of_labels_and_beside_them(tmp_path):
    layouts.dfdc(tmp_path)
    metadata = {
        "tttttttttt.mp4": {"is_fake": 0},
        "uuuuuuuuuu.mp4": {"is_fake": 1, "original": "tttttttttt.mp4"},
    }
    layouts.text(tmp_path / "test/metadata.json", json.dumps(metadata))
    with_both = find_media("dfdc", tmp_path)
    assert by_id(with_both)["test/uuuuuuuuuu"].source == "test/tttttttttt"
    (tmp_path / "test/labels.csv").unlink()
    assert find_media("dfdc", tmp_path) == with_both
    metadata["uuuuuuuuuu.mp4"] = {"label": "REAL"}
    layouts.text(tmp_path / "test/metadata.json", json.dumps(metadata))
    assert by_id(find_media("dfdc", tmp_path))["test/uuuuuuuuuu"].label == 0
    layouts.text(tmp_path / "test/labels.csv", "filename,label\nuuuuuuuuuu.mp4,1\n")
    assert "uuuuuuuuuu.mp4 has label 1" in refusal("dfdc", tmp_path)


def test_dfdc_names_what_is_missing(tmp_path):
    layouts.dfdc(tmp_path)
    part = tmp_path / "dfdc_train_part_0"
    (part / "bbbbbbbbbb.mp4").unlink()
    layouts.put(part / "zzzzzzzzzz.mp4", 0, "real", layouts.a_few_bytes)
    metadata = json.loads((part / "metadata.json").read_text())
    metadata["cccccccccc.mp4"]["original"] = "yyyyyyyyyy.mp4"
    layouts.text(part / "metadata.json", json.dumps(metadata))
    found = find_media("dfdc", tmp_path)
    list_name = "dfdc_train_part_0/metadata.json"
    assert found.missing == (
        f"dfdc_train_part_0/bbbbbbbbbb: listed in {list_name} and not there",
        f"dfdc_train_part_0/yyyyyyyyyy: the original of fakes in {list_name} and not there",
        f"dfdc_train_part_0/zzzzzzzzzz.mp4: in none of {list_name}, left out",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dfdc_train_part_0/metadata.json", "[]", "not an object like"),
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": 1}', "a.mp4 is not an object"),
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": {}}', "label '' is neither"),
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": {"label": "?"}}', "label '?' is neither"),
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": {}, "a.mp4": {}}', "is there twice"),
        ("dfdc_train_part_0/metadata.json", '{\n"a.mp4": }', "metadata.json:2: not JSON"),
        ("test/labels.csv", "filename,label\na.mp4,FAKE\n", "labels.csv:2: 'a.mp4,FAKE' is not"),
        ("test/labels.csv", "filename,label\n\na.mp4\n", "labels.csv:3: 'a.mp4' is not"),
        ("test/labels.csv", "a.mp4,1\r\na.mp4,1\r\n", "labels.csv:2: a.mp4 is there twice"),
    ],
)
def test_label_files_that_cannot_be_right_are_refused(tmp_path, name, content, message):
    layouts.dfdc(tmp_path)
    layouts.text(tmp_path / name, content)
    assert message in refusal("dfdc", tmp_path)


def test_the_preview_is_a_data_set_of_its_own(tmp_path):
    layouts.dfdc_preview(tmp_path / "dfdc_preview_set")
    found = find_media("dfdc", tmp_path)
    assert {m.dataset for m in found.media} == {"DFDC-preview"}
    fake = by_id(found)["preview/method_A/333333/333333_A/444444_333333_A_001"]
    assert (fake.split, fake.label, fake.person) == ("test", 1, "333333")
    assert fake.source == "preview/original_videos/333333/333333_A_001"


# --- ForgeryNet --------------------------------------------------------------------------------


def test_classes_splits_and_frames_of_forgerynet(tmp_path):
    layouts.forgerynet(tmp_path)
    found = find_media("forgerynet", tmp_path)
    assert {split: len(ids) for split, ids in splits_of(found).items()} == {
        "train": 4,
        "validation": 4,
    }
    media = by_id(found)
    frame = media["train_release/1/aaaa/frame00017"]
    assert (frame.label, frame.method, frame.group) == (0, "real", "train_release/1/aaaa")
    alone = media["val_perturb_release/12/dddd"]
    assert (alone.label, alone.method, alone.group) == (1, "forgery_11", "")


def test_lists_of_forgerynet_may_lie_in_the_folder_itself(tmp_path):
    layouts.forgerynet(tmp_path)
    expected = find_media("forgerynet", tmp_path)
    (tmp_path / "Training" / "image_list.txt").rename(tmp_path / "train_image_list.txt")
    (tmp_path / "Validation" / "image_list.txt").rename(tmp_path / "Val_Image_List.txt")
    layouts.text(tmp_path / "Training" / "video_list.txt", "2 x.mp4 0 3 0 1 1 1\n")
    layouts.text(tmp_path / "Training" / "spatial_list.txt", "a.jpg b.png\n")
    assert find_media("forgerynet", tmp_path) == expected
    (tmp_path / "Training" / "image").rename(tmp_path / "Training" / "images")
    found = find_media("forgerynet", tmp_path)
    assert [m.id for m in found.media] == [m.id for m in expected.media]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_release/12/dddd.jpg 0 2 11", "binary label 0 and 16-class label 11 disagree"),
        ("train_release/12/dddd.jpg 1 0 0", "binary label 1 and 16-class label 0 disagree"),
        ("train_release/12/dddd.jpg 1 2", "is not an image and its"),
        ("train_release/12/dddd.jpg 1 2 x", "is not an image and its"),
        ("train_release/12/dddd.jpg 1 2 16", "is not an image and its"),
    ],
)
def test_a_line_of_forgerynet_that_cannot_be_right_is_named(tmp_path, line, message):
    layouts.forgerynet(tmp_path)
    file = tmp_path / "Training" / "image_list.txt"
    file.write_text(file.read_text() + line)
    refused = refusal("forgerynet", tmp_path)
    assert f"{file}:6: " in refused
    assert message in refused


def test_forgerynet_names_absent_and_doubled_images(tmp_path):
    layouts.forgerynet(tmp_path)
    file = tmp_path / "Training" / "image_list.txt"
    file.write_text(file.read_text() + "train_release\\no such.jpg 1 2 3\n")
    found = find_media("forgerynet", tmp_path)
    assert found.missing == (f"train_release/no such: listed at {file}:6 and not there",)
    file.write_text(file.read_text() + "train_release/12/dddd.jpg 1 1 11\n")
    twice = find_media("forgerynet", tmp_path)
    assert twice.media == found.media
    assert twice.missing == (*found.missing, "train_release/12/dddd: listed twice, taken once")
    other = tmp_path / "Training/image/train_release/12/dddd.png"
    layouts.put(other, 1, "forgery_11", layouts.a_few_bytes)
    file.write_text(file.read_text() + "train_release/12/dddd.png 1 1 11\n")
    shared = find_media("forgerynet", tmp_path)
    assert "train_release/12/dddd" not in by_id(shared)
    assert shared.missing[-1].endswith("12/dddd.jpg, " + other.relative_to(tmp_path).as_posix())
    file.write_text(file.read_text() + "train_release/12/dddd.jpg 0 0 0\n")
    message = refusal("forgerynet", tmp_path)
    assert "dddd.jpg is listed as forgery_11, train and as real, train" in message


def test_an_image_of_two_splits_is_refused(tmp_path):
    layouts.forgerynet(tmp_path)
    image = tmp_path / "train_release/shared.jpg"
    layouts.put(image, 0, "real", layouts.a_few_bytes)
    for split in ("Training", "Validation"):
        file = tmp_path / split / "image_list.txt"
        file.write_text(file.read_text() + "train_release/shared.jpg 0 0 0\n")
    message = refusal("forgerynet", tmp_path)
    assert f"{image} is listed as real, train and as real, validation" in message


# --- the user's own files ----------------------------------------------------------------------


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
    assert "it is for folder" in refusal("celeb_df", tmp_path / "celeb", all_real=True)


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


# --- ids ---------------------------------------------------------------------------------------


def test_files_that_share_an_id_are_all_left_out_and_named(tmp_path):
    layouts.faceforensics(tmp_path / "ff")
    videos = tmp_path / "ff/original_sequences/youtube/c23/videos"
    (videos / "003.avi").write_bytes(b"")
    found = find_media("faceforensics", tmp_path / "ff")
    inner = "original_sequences/youtube/c23/videos"
    assert found.missing == (
        f"real/003: 2 files have this id, all left out: {inner}/003.avi, {inner}/003.mp4",
    )
    assert len(found.media) == 17
    assert "real/003" not in by_id(found)
    assert by_id(found)["Deepfakes/003_001"].source == "real/003"

    layouts.celeb_df(tmp_path / "celeb")
    (tmp_path / "celeb/Celeb-synthesis/id4_id5_0000.MOV").write_bytes(b"")
    (line,) = find_media("celeb_df", tmp_path / "celeb").missing
    assert line == (
        "Celeb-synthesis/id4_id5_0000: 2 files have this id, all left out: "
        "Celeb-synthesis/id4_id5_0000.MOV, Celeb-synthesis/id4_id5_0000.mp4"
    )

    layouts.deepfake_detection(tmp_path / "actors")
    original = "original_sequences/actors/c23/videos/01__kitchen_pan"
    (tmp_path / "actors" / f"{original}.mkv").write_bytes(b"")
    line = find_media("faceforensics", tmp_path / "actors").missing[-1]
    assert line.endswith(f"all left out: {original}.mkv, {original}.mp4")


def test_copies_of_dfdc_beside_one_another_are_left_out_but_for_what_one_of_them_has(tmp_path):
    layouts.dfdc(tmp_path / "a")
    layouts.dfdc(tmp_path / "b")
    (tmp_path / "b/dfdc_train_part_0/bbbbbbbbbb.mp4").unlink()
    found = find_media("dfdc", tmp_path)
    assert [m.path for m in found.media] == [tmp_path / "a/dfdc_train_part_0/bbbbbbbbbb.mp4"]
    assert len(found.missing) == 1 + 7
    assert (
        "test/tttttttttt: 2 files have this id, all left out: "
        "a/test/videos/tttttttttt.mp4, b/test/videos/tttttttttt.mp4"
    ) in found.missing
    layouts.dfdc(tmp_path / "b")
    assert "8 are missing or left out, the first: dfdc_train_part_0/a" in refusal("dfdc", tmp_path)


def test_three_files_of_one_id_are_one_line(tmp_path):
    layouts.dfdc(tmp_path)
    for name in ("test/tttttttttt.mp4", "test/test/tttttttttt.mp4"):
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    (line,) = find_media("dfdc", tmp_path).missing
    assert line.startswith("test/tttttttttt: 3 files have this id, all left out: ")
    assert len(line.split(", ")) == 4


def test_names_in_the_lists_that_differ_in_their_extensions_only_are_left_out(tmp_path):
    layouts.dfdc(tmp_path)
    part = tmp_path / "dfdc_train_part_0"
    metadata = json.loads((part / "metadata.json").read_text())
    metadata["bbbbbbbbbb.avi"] = {"label": "REAL"}
    layouts.text(part / "metadata.json", json.dumps(metadata))
    (part / "bbbbbbbbbb.avi").write_bytes(b"")
    found = find_media("dfdc", tmp_path)
    list_name = "dfdc_train_part_0/metadata.json"
    assert found.missing == tuple(
        f"dfdc_train_part_0/bbbbbbbbbb: bbbbbbbbbb.{extension} in {list_name} shares it with "
        "another one, left out"
        for extension in ("mp4", "avi")
    )
    assert len(found.media) == 7


@pytest.mark.parametrize(
    "path", ["../a/b.mp4", "a/../../b.mp4", "..\\b.mp4", "/data/b.mp4", "C:\\b.mp4", "..", "."]
)
def test_paths_that_lead_out_of_the_folder_are_named_and_the_rest_is_taken(tmp_path, path):
    (tmp_path / "b.mp4").write_bytes(b"")
    left_out = f"{path!r} is not a path below the list's folder, left out"

    celeb = tmp_path / "celeb"
    layouts.celeb_df(celeb)
    expected = find_media("celeb_df", celeb).media
    file = celeb / "List_of_testing_videos.txt"
    file.write_text(file.read_text() + f"1 {path}\n")
    assert find_media("celeb_df", celeb) == Benchmark(expected, (f"{file}:6: {left_out}",))

    dfdc = tmp_path / "dfdc"
    layouts.dfdc(dfdc)
    expected = find_media("dfdc", dfdc).media
    file = dfdc / "dfdc_train_part_0/metadata.json"
    metadata = json.loads(file.read_text())
    metadata[path] = {"label": "FAKE", "original": "aaaaaaaaaa.mp4"}
    metadata["bbbbbbbbbb.mp4"]["original"] = path
    layouts.text(file, json.dumps(metadata))
    labels = dfdc / "test/labels.csv"
    labels.write_text(labels.read_text() + f"{path},1\n")
    assert find_media("dfdc", dfdc) == Benchmark(
        tuple(m for m in expected if m.path.name != "bbbbbbbbbb.mp4"),
        (
            f"test/labels.csv: {left_out}",
            f"dfdc_train_part_0/metadata.json: {left_out}",
            f"dfdc_train_part_0/metadata.json: original of bbbbbbbbbb.mp4: {left_out}",
        ),
    )

    preview = tmp_path / "preview"
    layouts.dfdc_preview(preview)
    expected = find_media("dfdc", preview).media
    content = json.loads((preview / "dataset.json").read_text())
    content[path] = {"label": "fake", "set": "train"}
    layouts.text(preview / "dataset.json", json.dumps(content))
    assert find_media("dfdc", preview) == Benchmark(expected, (f"dataset.json: {left_out}",))

    forgerynet = tmp_path / "forgerynet"
    layouts.forgerynet(forgerynet)
    expected = find_media("forgerynet", forgerynet).media
    file = forgerynet / "Training/image_list.txt"
    file.write_text(file.read_text() + f"{path} 1 2 3\n")
    assert find_media("forgerynet", forgerynet) == Benchmark(expected, (f"{file}:6: {left_out}",))

    pairs = layouts.FF_PAIRS | {"train": [*layouts.FF_PAIRS["train"], (path, "003x")]}
    layouts.faceforensics(tmp_path / "ff")
    expected = find_media("faceforensics", tmp_path / "ff").media
    layouts.write_splits(tmp_path / "ff/splits", pairs)
    found = find_media("faceforensics", tmp_path / "ff")
    assert found.media == expected
    assert f"real/{path}: listed in train.json and not there" in found.missing


def test_a_video_that_the_test_list_names_in_an_unclear_place_is_in_no_split(tmp_path):
    layouts.celeb_df(tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    listed = file.read_text().splitlines()
    listed[-1] = listed[-1].replace("Celeb-synthesis", "/data/Celeb-synthesis")
    before = by_id(find_media("celeb_df", tmp_path))
    layouts.text(file, "\n".join(listed))
    found = find_media("celeb_df", tmp_path)
    assert before.keys() - by_id(found).keys() == {"Celeb-synthesis/id1_id0_0000"}
    assert len(found.missing) == 1
    layouts.text(file, "\n".join("1 /data/" + line.split()[1] for line in listed))
    assert "names no video" in refusal("celeb_df", tmp_path)
