"""The readers of folders, JSON lists and tables."""

import json
import logging
import os

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.readers.folder import read_folder
from rffr_jax.data.readers.table import read_csv, read_list
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import manipulation_mask


def save(path, value=128, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (value, value, value)).save(path, **options)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- folders -----------------------------------------------------------------------------------


def test_sub_folders_give_labels_and_methods(tmp_path):
    for name in ("Real/b.JPG", "Real/a/c.png", "fake/x.png", "fake/DF/v/1.png", "fake/F2F/1.png"):
        save(tmp_path / name)
    dataset = read_folder(tmp_path)
    assert [(example.id, example.label, example.method) for example in dataset.examples] == [
        ("Real/a/c.png", 0, "real"),
        ("Real/b.JPG", 0, "real"),
        ("fake/DF/v/1.png", 1, "DF"),
        ("fake/F2F/1.png", 1, "F2F"),
        ("fake/x.png", 1, "fake"),
    ]
    assert {example.dataset for example in dataset.examples} == {
        f"{tmp_path.parent.name}/{tmp_path.name}"
    }
    videos = [example.video for example in dataset.examples]
    assert videos == ["Real/a/c", "Real/b", "fake/DF/v/1", "fake/F2F/1", "fake/x"]
    assert [example.cluster for example in dataset.examples] == videos
    assert all(example.path == str(tmp_path / example.id) for example in dataset.examples)


def test_without_real_and_fake_all_are_real_and_the_rest_is_left_out(tmp_path):
    for name in ("b/2.png", "b/10.png", "a.webp", ".hidden.png", ".cache/x.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    examples = read_folder(tmp_path).examples
    assert [example.id for example in examples] == ["a.webp", "b/10.png", "b/2.png"]
    assert {(example.label, example.method) for example in examples} == {(0, "real")}


def test_all_images_taken_as_real_and_files_left_out_are_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="rffr_jax")
    for name in ("a.jpg", "sub/b.png", ".hidden.gif"):
        save(tmp_path / name)
    for name in ("sub/c.gif", "a.gif", "notes.txt"):
        (tmp_path / name).write_bytes(b"GIF89a")
    read_folder(tmp_path)
    assert caplog.messages == [
        f"folder:{tmp_path}: all 2 files are taken as REAL",
        f"folder:{tmp_path}: left out 3 files: 2 .gif (first: a.gif), 1 .txt (first: notes.txt)",
    ]
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "sub").rename(tmp_path / "REAL")
    caplog.clear()
    read_folder(tmp_path)
    assert [message.partition(": ")[2][:8] for message in caplog.messages] == ["left out"]
    (tmp_path / "REAL" / "b.png").unlink()
    with pytest.raises(
        UserError, match=r"no images in .* \(left out 3 files: 2 .gif \(first: REAL/"
    ):
        read_folder(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, caplog, monkeypatch):
    save(tmp_path / "a.png")
    save(tmp_path / "closed" / "b.png")
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert len(read_folder(tmp_path).examples) == 1
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"left out: {tmp_path / 'closed'}: permission denied"]


def test_jpeg_files_of_all_endings_are_read(tmp_path):
    for name in ("a.jpg", "b.jpeg", "c.jfif", "d.jpe", "e.JFIF"):
        save(tmp_path / name, 77, format="JPEG")
    dataset = read_folder(tmp_path)
    assert len(dataset.examples) == 5
    assert [dataset.load(n, 20)[0, 0, 0] for n in range(5)] == [77] * 5


@pytest.mark.parametrize(
    "name",
    ["fakes", "Synthetic", "DEEPFAKE", "swapped", "target", "face swap", "x/y/manipulated",
     "Deepfakes", "manipulated_sequences", "Celeb-synthesis", "dfdc_train_part_00", "fake_train",
     "end_to_end_level_1", "FakeVideo-RealAudio"],
)  # fmt: skip
def test_a_folder_called_fake_is_not_taken_as_real(tmp_path, name):
    for image in ("0.png", "Face2Face/1.png", "c23/000/2.png"):
        save(tmp_path / name / image)
    save(tmp_path / "people" / "0.png")
    with pytest.raises(UserError) as caught:
        read_folder(tmp_path)
    message = one_line(caught)
    assert f"all 4 files would be taken as REAL, but {name}/ holds 3 of them" in message
    assert f"write folder:{tmp_path}?labels=real" in message
    dataset = read_folder(tmp_path, all_real=True)
    assert {(example.label, example.method) for example in dataset.examples} == {(0, "real")}
    assert len(dataset.examples) == 4
    (tmp_path / name / "Face2Face" / "1.png").unlink()
    assert len(read_folder(tmp_path / name).examples) == 2  # the path's own name does not count


@pytest.mark.parametrize(
    "name", ["fake_tan", "unfaked", "source", "original_sequences", "targets 2"]
)
def test_other_names_are_taken_as_real(tmp_path, name):
    save(tmp_path / name / "0.png")
    assert read_folder(tmp_path).examples[0].label == 0


def test_all_real_does_not_go_with_folders_that_give_labels(tmp_path):
    mine = tmp_path / "mine"
    save(mine / "real" / "swap" / "0.png")
    assert read_folder(mine).examples[0].label == 0  # real/ says so
    with pytest.raises(UserError, match=r"real/ lies deeper, .* or folder:.*\?labels=real if all"):
        read_folder(tmp_path)
    assert len(read_folder(tmp_path, all_real=True).examples) == 1
    save(mine / "Fake" / "0.png")
    assert [example.label for example in read_folder(mine).examples] == [1, 0]
    with pytest.raises(UserError, match="labels=real: fake/ in it says which images are fake"):
        read_folder(mine, all_real=True)
    (mine / "real").rename(mine / "elsewhere")
    with pytest.raises(UserError, match=r"elsewhere/swap/0.png lies outside of real/ and fake/"):
        read_folder(mine)


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "elsewhere" / "1.png", 7)
    (tmp_path / "set" / "fake").mkdir(parents=True)
    (tmp_path / "set" / "fake" / "DF").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "fake" / "up").symlink_to(tmp_path / "set")
    dataset = read_folder(tmp_path / "set")
    assert [example.id for example in dataset.examples] == ["fake/DF/1.png"]
    assert dataset.load(0, 20)[0, 0, 0] == 7


def test_links_between_two_folders_end(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "x").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "y").symlink_to(tmp_path / "a")
    assert [example.id for example in read_folder(tmp_path).examples] == [
        "a/1.png", "a/x/2.png", "b/2.png", "b/y/1.png",
    ]  # fmt: skip


def test_photographs_of_one_name_are_two_videos(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        save(tmp_path / "real" / name)
    examples = read_folder(tmp_path).examples
    names = ["real/a.jpg", "real/a.png", "real/b"]
    assert [example.video for example in examples] == names
    assert [example.source for example in examples] == names
    assert len(load_dataset(f"folder:{tmp_path}?frames=1").examples) == 3


def test_folders_that_cannot_be_right_are_refused(tmp_path):
    with pytest.raises(UserError, match="no images in"):
        read_folder(tmp_path)
    save(tmp_path / "train" / "fake" / "0.png")
    with pytest.raises(UserError, match=f"deeper, in {tmp_path}/train; write folder:"):
        read_folder(tmp_path)
    save(tmp_path / "real" / "0.png")
    with pytest.raises(UserError, match=r"train/fake/0.png lies outside of real/ and fake/"):
        read_folder(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_folder(tmp_path / "real" / "0.png")


# --- JSON lists --------------------------------------------------------------------------------


def test_a_listed_file_is_read_by_content_and_named_where_it_is_no_image(tmp_path):
    for name, format_ in (("a.jfif", "JPEG"), ("b.data", "PNG"), ("c.gif", "GIF")):
        save(tmp_path / name, 7, format=format_)
    entries = [{"path": name, "label": 0} for name in ("a.jfif", "b.data", "c.gif")]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    dataset = read_list(tmp_path / "list.json")
    assert [dataset.load(number, 20)[0, 0, 0] for number in range(2)] == [7, 7]
    with pytest.raises(BadImageError, match=r"c\.gif: not an image of a kind that is read"):
        dataset.load(2, 20)


def write_list(tmp_path, entries):
    file = tmp_path / "faces.json"
    file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return file


def test_the_authors_list(tmp_path):
    save(tmp_path / "x" / "0.png", 3)
    save(tmp_path / "y" / "1.png", 4)
    entries = [{"path": "x\\0.png", "label": 1}, {"path": "y/1.png", "label": 0}]
    dataset = read_list(write_list(tmp_path, entries))
    assert [(e.id, e.label, e.method, e.video) for e in dataset.examples] == [
        ("x/0.png", 1, "fake", "x/0"),
        ("y/1.png", 0, "real", "y/1"),
    ]
    name = f"{tmp_path.name}/faces"
    assert dataset.name == name
    assert {example.dataset for example in dataset.examples} == {name}
    assert [dataset.load(index, 20)[0, 0, 0] for index in range(2)] == [3, 4]


GOOD = {"path": "a.png", "label": 0}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("{", ["not JSON", "faces.json:1"]),
        ({"path": "a.png", "label": 0}, ["not a JSON list"]),
        ([], ["no images are listed"]),
        ([GOOD, "b.png"], ["entry 2", "no object"]),
        ([GOOD, {"path": "b.png"}], ["entry 2", "no 'label'"]),
        ([GOOD, {"label": 1}], ["entry 2", "no 'path'"]),
        ([GOOD, {"path": "b.png", "label": 1, "lable": 0}], ["entry 2", "unknown 'lable'"]),
        ([GOOD, {"path": "b.png", "label": 2}], ["entry 2", "label 2"]),
        ([GOOD, {"path": "b.png", "label": "1"}], ["entry 2", "label '1'"]),
        ([GOOD, {"path": "b.png", "label": True}], ["entry 2", "label True"]),
        ([GOOD, {"path": 5, "label": 1}], ["entry 2", "path 5"]),
        ([GOOD, {"path": "", "label": 1}], ["entry 2", "path ''"]),
        ([GOOD, {"path": "./a.png", "label": 1}], ["entry 2", "a.png", "entry 1"]),
        ([GOOD, {"path": "b.png", "label": 1, "method": "real"}], ["entry 2", "method 'real'"]),
        ([{"path": "b.png", "label": 0, "method": "DF"}], ["entry 1", "method 'DF'"]),
    ],
)
def test_mistakes_in_a_list_name_the_entry(tmp_path, entries, words):
    with pytest.raises(UserError) as caught:
        read_list(write_list(tmp_path, entries))
    message = one_line(caught)
    for word in [*words, "faces.json"]:
        assert word in message


# --- tables ------------------------------------------------------------------------------------


def write_csv(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "faces.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_the_short_table(tmp_path):
    text = "path,label\r\nx\\0.png,1\r\n\r\ny/1.png,0\r\n"
    examples = read_csv(write_csv(tmp_path, text, "utf-8-sig")).examples
    assert [(e.id, e.label, e.method, e.video, e.source, e.dataset) for e in examples] == [
        ("x/0.png", 1, "fake", "x/0", "x/0", f"{tmp_path.name}/faces"),
        ("y/1.png", 0, "real", "y/1", "y/1", f"{tmp_path.name}/faces"),
    ]


def test_the_long_table_keeps_four_manipulations_of_a_pair_apart(tmp_path):
    text = "path,label,video,method,dataset,source,group\n"
    text += "o/000/1.png,0,000,,FF,,000-003\n"
    for method in ("DF", "F2F", "FS", "NT"):
        text += f"{method}/000_003/f_12.png,1,000_003,{method},FF,000,000-003\n"
    real, *fakes = read_csv(write_csv(tmp_path, text)).examples
    assert (real.video, real.source, real.cluster, real.frame) == ("000", "000", "000-003", 1)
    assert [fake.video for fake in fakes] == [
        f"FF/{method}/000_003" for method in ("DF", "F2F", "FS", "NT")
    ]
    assert {(fake.source, fake.cluster, fake.frame) for fake in fakes} == {("000", "000-003", 12)}


def test_a_column_may_name_masks(tmp_path):
    save(tmp_path / "masks" / "b.png", 51)
    lines = ["path,label,mask", "a.png,0,", "b.png,1,masks\\b.png", "c.png,1,masks/c.png"]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    dataset = read_csv(tmp_path / "faces.csv")
    assert manipulation_mask(dataset, 0, 8) is None
    mask = manipulation_mask(dataset, 1, 8)
    assert mask is not None
    np.testing.assert_allclose(mask, np.full((8, 8), 0.2))
    with pytest.raises(UserError, match=r"mask .*c\.png.*; correct or empty the column `mask`"):
        manipulation_mask(dataset, 2, 8)


def test_a_source_may_be_named_by_its_path(tmp_path):
    text = "path,label,source\nreal/1.png,0,\nfake/1.png,1,real\\1.png\nfake/2.png,1,elsewhere\n"
    examples = read_csv(write_csv(tmp_path, text)).examples
    assert [example.source for example in examples] == ["real/1", "real/1", "elsewhere"]


def test_frames_without_a_number_keep_the_order_of_the_table(tmp_path):
    text = "path,label,video\nb.png,0,v\na.png,0,v\nc.png,0,w\n"
    examples = read_csv(write_csv(tmp_path, text)).examples
    assert [(example.video, example.frame) for example in examples] == [
        ("v", 0),
        ("v", 1),
        ("w", 0),
    ]


def test_a_column_may_number_the_frames_and_repeated_numbers_are_named(tmp_path, caplog):
    names = [f"{frame}_{face}.png" for frame in (0, 10, 20) for face in (0, 1)]
    lines = [f"{name},0,v" for name in names]
    text = "path,label,video\n" + "\n".join(lines)
    with caplog.at_level(logging.WARNING):
        assert {e.frame for e in read_csv(write_csv(tmp_path, text)).examples} == {0, 1}
    assert "4 images have the frame number of another one of their video" in caplog.text
    assert "(such as 0_0.png and 10_0.png, both frame 0 of v)" in caplog.text
    caplog.clear()
    lines = [f"{line},{name.partition('_')[0]}" for line, name in zip(lines, names, strict=True)]
    text = "path,label,video,frame\n" + "\n".join(lines[::2])
    with caplog.at_level(logging.WARNING):
        found = [example.frame for example in read_csv(write_csv(tmp_path, text)).examples]
    assert found == [0, 10, 20]
    assert not caplog.text
    entries = [{"path": "a9.png", "label": 0, "video": "v", "frame": number} for number in (7, "8")]
    for entry in entries:
        (example,) = read_list(write_list(tmp_path, [entry])).examples
        assert example.frame == int(entry["frame"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label,frame\na.png,0,x\n", ["line 2", "frame 'x'"]),
        ("", ["header", "no 'path'"]),
        ("path;label\na.png;0\n", ["header", "no 'path'"]),
        ("path,label,lable\na.png,0,0\n", ["header", "unknown 'lable'"]),
        ("path,label,label\na.png,0,0\n", ["header", "2 times"]),
        ("path,label\n", ["no images are listed"]),
        ("path,label\na.png,0\nb.png,fake\n", ["line 3", "label 'fake'"]),
        ("path,label\na.png,0\nb.png,2\n", ["line 3", "label '2'"]),
        ("path,label\na.png,0\nb.png\n", ["line 3", "1 cells"]),
        ("path,label\na,b.png,0\n", ["line 2", "3 cells", "quotes"]),
        ("path,label\na.png,0\na.png,1\n", ["line 3", "line 2"]),
        ('path,label\n"a.png,0\n', ["line 2", "unexpected end of data"]),
        ("path,label\n,0\n", ["line 2", "path ''"]),
    ],
)
def test_mistakes_in_a_table_name_the_line(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        read_csv(write_csv(tmp_path, text))
    message = one_line(caught)
    for word in [*words, "faces.csv"]:
        assert word in message


def test_a_table_that_is_no_text(tmp_path):
    with pytest.raises(UserError, match="UTF-8"):
        read_csv(write_csv(tmp_path, "path,label\nä.png,0\n", "latin-1"))
    with pytest.raises(UserError, match="is a directory"):
        read_csv(tmp_path)


def test_a_listed_file_that_is_missing_is_one_bad_image(tmp_path):
    save(tmp_path / "a.png", 9)
    dataset = read_csv(write_csv(tmp_path, "path,label\na.png,0\nb.png,1\n"))
    assert dataset.load(0, 20)[0, 0, 0] == 9
    with pytest.raises(BadImageError) as caught:
        dataset.load(1, 20)
    assert caught.value.name == str(tmp_path / "b.png")
    assert caught.value.reason == "no such file or directory"


def test_entries_of_a_list_may_have_other_keys_each(tmp_path):
    file = tmp_path / "list.json"
    file.write_text(
        json.dumps([{"path": "a", "label": 0}, {"label": 1, "path": "b", "video": "v"}])
    )
    assert [e.video for e in read_list(file).examples] == ["a", "v"]
    file.write_text(
        json.dumps([{"path": "a", "label": 0}, {"path": "b", "label": 1, "colour": ""}])
    )
    with pytest.raises(UserError, match="entry 2: unknown 'colour'"):
        read_list(file)
