"""DFDC and its preview."""

import json

import pytest

from rffr_jax.faces.benchmarks import find_media
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal, splits_of


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
