"""A table of media."""

import logging

import pytest

from rffr_jax.faces.benchmarks import find_media
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal


def write(folder, *lines, header="path,label"):
    file = folder / "media.csv"
    layouts.text(file, "\n".join([header, *lines]) + "\n")
    return file


def put(folder, *names):
    for name in names:
        layouts.put(folder / name, 0, "real", layouts.a_few_bytes)


def test_videos_pictures_and_folders_of_frames(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="rffr_jax")
    put(tmp_path, "a.mp4", "b.jpg", "c/1.png", "c/2.png", "c/3.png", "c/9.png")
    table = write(tmp_path, "a.mp4,real", "b.jpg,REAL", "c\\,1")
    found = find_media("table", table)
    said = [(m.id, m.label, m.method, m.split, m.source, m.video) for m in found.media]
    assert said == [
        ("a.mp4", 0, "real", "train", "a.mp4", ""),
        ("b.jpg", 0, "real", "train", "b.jpg", ""),
        ("c", 1, "fake", "train", "c", ""),
    ]
    assert {m.dataset for m in found.media} == {f"{tmp_path.name}/media"}
    assert [m.path for m in found.media] == [tmp_path / m.id for m in found.media]
    assert found.notes == ("c: no frames between 3 and 9",)
    assert caplog.messages == [f"{table}: there is no column `split`: all media are in train"]


def test_every_column(tmp_path):
    put(tmp_path, "r/a.mp4", "f/a.mp4", "m/a.mp4", "p/x_07.png", "p/y.png")
    table = write(
        tmp_path,
        "r/a.mp4,0,val,,,Own,,,clip,Ann,",
        "f/a.mp4,fake,validation,,,Own,Swap,./r/a.mp4,clip,Ann;Bob,m/a.mp4",
        "p/x_07.png,0,test,walk,,,,,,,",
        "p/y.png,0,test,walk,12,,,,,,",
        header="path,label,split,video,frame,dataset,method,source,group,person,mask",
    )
    found = find_media("table", table)
    assert found.missing == found.notes == ()
    fake = by_id(found)["f/a.mp4"]
    assert (fake.split, fake.dataset, fake.method) == ("validation", "Own", "Swap")
    assert (fake.source, fake.group, fake.person) == ("r/a.mp4", "clip", "Ann;Bob")
    assert fake.mask == tmp_path / "m/a.mp4"
    frames = [(m.video, m.frame) for m in found.media if m.split == "test"]
    assert frames == [("walk", 7), ("walk", 12)]


def test_a_video_name_under_several_methods_does_not_merge_them(tmp_path):
    put(tmp_path, "r/1.png", "a/1.png", "b/1.png")
    table = write(
        tmp_path,
        "r/1.png,0,v,,",
        "a/1.png,1,v,A,v",
        "b/1.png,1,w,B,v",
        header="path,label,video,method,source",
    )
    found = by_id(find_media("table", table))
    name = f"{tmp_path.name}/media"
    assert {m.id: m.video for m in found.values()} == {
        "r/1.png": f"{name}/real/v",
        "a/1.png": f"{name}/A/v",
        "b/1.png": "w",
    }
    assert {m.source for m in found.values()} == {"v"}


def test_the_frames_of_a_video_have_one_source_and_each_fake_its_own_moment(tmp_path):
    put(tmp_path, *(f"{video}/{n}.png" for video in ("a", "b", "c", "f", "g") for n in (1, 2)))
    rows = [f"{video}/{n}.png,real,{video}," for video in ("a", "b") for n in (1, 2)]
    rows += [f"f/{n}.png,fake,f,a" for n in (1, 2)]
    rows += [f"g/{n}.png,fake,b," for n in (1, 2)]  # a video with the name of a real's
    rows += ["c/1.png,fake,,b/2.png", "c/2.png,fake,,b"]  # by its path; and of no known frame
    found = find_media("table", write(tmp_path, *rows, header="path,label,video,source"))
    own = f"{tmp_path.name}/media/fake/b"
    assert {(m.id.partition("/")[0], m.source) for m in found.media} == {
        ("a", "a"), ("b", "b"), ("f", "a"), ("g", own), ("c", "b")
    }  # fmt: skip
    originals = {m.id: m.original for m in found.media if m.original}
    assert originals == {
        "f/1.png": tmp_path / "a/1.png",
        "f/2.png": tmp_path / "a/2.png",
        "c/1.png": tmp_path / "b/2.png",
    }


def test_a_video_of_the_same_data_set_is_the_source_before_one_of_another(tmp_path):
    put(tmp_path, *(f"{video}/1.png" for video in ("a", "b", "f")))
    rows = ["a/1.png,0,v,A,", "b/1.png,0,v,B,", "f/1.png,1,w,A,v"]
    found = find_media("table", write(tmp_path, *rows, header="path,label,video,dataset,source"))
    assert by_id(found)["f/1.png"].original == tmp_path / "a/1.png"


def test_what_is_not_there_is_named_and_the_rest_taken(tmp_path):
    put(tmp_path, "a.mp4", "b.txt", "d/notes.txt")
    table = write(
        tmp_path,
        "a.mp4,1,no.mp4",
        "b.txt,0,",
        "c.mp4,0,",
        "d,0,",
        header="path,label,mask",
    )
    found = find_media("table", table)
    assert [m.id for m in found.media] == ["a.mp4"]
    assert found.missing == (
        "b.txt: neither a video nor a picture by its ending",
        f"c.mp4: listed at {table}: line 4 and not there",
        "d: there is no picture in the folder",
    )
    assert found.notes == ("a.mp4: its mask no.mp4 is not there",)
    assert found.absent == {"c.mp4": "train"}


def test_files_elsewhere_are_taken(tmp_path):
    put(tmp_path, "data/a.mp4", "b.mp4")
    (tmp_path / "lists").mkdir()
    table = write(tmp_path / "lists", "../data/a.mp4,0", f"{tmp_path}/b.mp4,0")
    media = find_media("table", table).media
    assert [m.path for m in media] == [tmp_path / "b.mp4", tmp_path / "data/a.mp4"]
    assert [m.id for m in media] == [str(m.path)[1:] for m in media]


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("path,label,colour", "a.mp4,0,red", "header: unknown 'colour'; the names are path,label["),
        ("path", "a.mp4", "header: no 'label'"),
        ("path,label,label", "a.mp4,0,0", "'label' stands there 2 times"),
        ("path,label", "a.mp4,2", "line 3: label '2'; write 0 or real, or 1 or fake"),
        ("path,label", "a.mp4", "line 3: 1 cells under a header of 2"),
        ("path,label", "./b.mp4,1", "line 3: b.mp4 is listed before, at line 2; list it once"),
        ("path,label", "C:\\data\\a.mp4,1", "line 3: 'C:\\\\data\\\\a.mp4' is a path of another"),
        ("path,label", "\\\\server\\a.mp4,1", "is a path of another machine"),
        ("path,label", ",1", "line 3: path '' is no file or folder"),
        ("path,label", "a\x07.mp4,1", "line 3: path 'a\\x07.mp4' is no file"),
        ("path,label", '"a.mp4,1', "line 3: unexpected end of data"),
        ("path,label,split", "a.mp4,1,", "line 3: split ''; write one of train, validation"),
        ("path,label,split", "a.mp4,1,dev", "line 3: split 'dev'"),
        ("path,label,method", "a.mp4,0,Swap", "line 3: label 0 with method 'Swap'"),
        ("path,label,method", "a.mp4,1,real", "line 3: label 1 with method 'real'"),
        ("path,label,mask", "a.mp4,0,m.mp4", "line 3: a mask of a real"),
        ("path,label,frame", "a.mp4,0,3", "line 3: frame '3'; it goes with a picture"),
        ("path,label,video", "c.png,0,v", "line 3: c.png ends in no number; fill the column"),
        ("path,label,video,frame", "c.png,0,v,x", "line 3: frame 'x'; write a whole number"),
        ("path,label,video", "1.png,0,a", "line 3: frame 1 of video 'a' is listed before, at"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, header, line, message):
    put(tmp_path, "b.mp4", "a.mp4", "c.png", "1.png", "x/1.png")
    first = {"split": "test", "video": "a"}
    row = ["b.mp4", "0", *(first.get(name, "") for name in header.split(",")[2:])]
    if header.endswith("video"):
        row[0] = "x/1.png"
    table = write(tmp_path, ",".join(row[: header.count(",") + 1]), line, header=header)
    assert message in refusal("table", table)


def test_a_table_that_is_none(tmp_path):
    assert "is a folder; name a table like media.csv" in refusal("table", tmp_path)
    assert "does not exist" in refusal("table", tmp_path / "absent.csv")
    assert "no media are listed" in refusal("table", write(tmp_path))
    assert "1 are missing or left out" in refusal("table", write(tmp_path, "absent.mp4,0"))
    (tmp_path / "media.csv").write_bytes(b"path,label\n\xff,0\n")
    assert "not UTF-8" in refusal("table", tmp_path / "media.csv")
