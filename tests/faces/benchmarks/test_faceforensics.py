"""FaceForensics++ and DeepFakeDetection."""

import collections
import json
import pathlib
import shutil

import pytest

from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.media import SPLITS
from tests.faces import layouts
from tests.faces.layouts import Written, by_id, refusal, splits_of

OFFICIAL = pathlib.Path(__file__).parents[4] / "shared" / "splits" / "faceforensics"


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
    assert "give another --compression (there: c40)" in refusal("faceforensics", tmp_path)
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


def test_extracted_frames_are_videos(tmp_path):
    """`images/NAME/0000.png`, as the benchmark's own script writes them; masks are, too."""
    layouts.faceforensics(tmp_path, videos_level="images")
    methods = tmp_path / "manipulated_sequences"
    layouts.put(methods / "Deepfakes/masks/images/000_004/0000.png", 1, "", layouts.a_few_bytes)
    extracted = methods / "Deepfakes/c23/images"
    layouts.put(extracted / "000_004/0007.png", 1, "", layouts.a_few_bytes)
    shutil.rmtree(extracted / "004_000")
    (extracted / "004_000").mkdir()
    found = find_media("faceforensics", tmp_path)
    medium = by_id(found)["Deepfakes/000_004"]
    assert medium.path == extracted / "000_004"
    assert medium.mask == methods / "Deepfakes/masks/images/000_004"
    assert (medium.split, medium.source, medium.group) == ("validation", "real/000", "000-004")
    empty = "manipulated_sequences/Deepfakes/c23/images/004_000"
    assert found.missing == (
        f"{empty}: there is no picture in the folder",
        "Deepfakes/004_000: listed in val.json and not there",
    )
