"""The scripts of docs/data.md that write tables, as they stand there, on tiny trees."""

import pathlib
import re

import pytest

from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.benchmarks.person_split import parse_fractions, split_by_person
from tests.faces.layouts import a_few_bytes, put, text

PAGE = pathlib.Path(__file__).parents[3] / "docs/data.md"
RECIPES = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text(encoding="utf-8"))


@pytest.fixture
def media(tmp_path, monkeypatch):
    """Makes the files of a tree, runs the recipe whose code holds a word, and finds the media."""
    monkeypatch.chdir(tmp_path)

    def run(word, table, *files):
        for name in files:
            put(tmp_path / name, 0, "real", a_few_bytes)
        (recipe,) = (code for code in RECIPES if word in code)
        exec(recipe, {})
        found = find_media("table", pathlib.Path(table))
        assert found.missing == found.notes == ()
        return found

    return run


def said(found):
    return [(m.id, m.label, m.split, m.method, m.source) for m in found.media]


def test_every_recipe_is_tried():
    assert len(RECIPES) == 5


def test_ffiw(media):
    found = media(
        "FFIW10K",
        "FFIW10K/media.csv",
        *(f"FFIW10K/{f}/{s}/0.mp4" for f in ("source", "target") for s in ("train", "val", "test")),
        "FFIW10K/target_mask/train/0.mp4",
    )
    assert said(found)[:2] == [
        ("source/test/0.mp4", 0, "test", "real", "source/test/0.mp4"),
        ("source/train/0.mp4", 0, "train", "real", "source/train/0.mp4"),
    ]
    groups = {m.id: m.group for m in found.media}
    assert groups["source/val/0.mp4"] == groups["target/val/0.mp4"] == "val/0.mp4"
    masks = {m.id: m.mask for m in found.media if m.mask}
    assert list(masks) == ["target/train/0.mp4"]


def test_deeper_forensics(media, tmp_path):
    fakes = {"train": ["003_M004.mp4", "003_W101.mp4"], "val": ["005_M010.mp4"], "test": []}
    root, reals = "DeeperForensics-1.0", "FF++/original_sequences/youtube/c23/videos"
    for split, names in fakes.items():
        text(tmp_path / root / f"lists/splits/{split}.txt", "\n".join(names) + "\n")
    found = media(
        "DeeperForensics",
        "media.csv",
        *(f"{root}/manipulated_videos/end_to_end/{n}" for names in fakes.values() for n in names),
        f"{reals}/003.mp4",
        f"{reals}/005.mp4",
    )
    fake = f"{root}/manipulated_videos/end_to_end"
    assert said(found) == [
        (f"{fake}/003_M004.mp4", 1, "train", "end_to_end", f"{reals}/003.mp4"),
        (f"{fake}/003_W101.mp4", 1, "train", "end_to_end", f"{reals}/003.mp4"),
        (f"{fake}/005_M010.mp4", 1, "validation", "end_to_end", f"{reals}/005.mp4"),
        (f"{reals}/003.mp4", 0, "train", "real", f"{reals}/003.mp4"),
        (f"{reals}/005.mp4", 0, "validation", "real", f"{reals}/005.mp4"),
    ]
    assert [m.person for m in found.media] == ["M004", "W101", "M010", "", ""]


def test_fake_av_celeb(media):
    place = "African/men/id00076"
    fake = f"FakeVideo-RealAudio/{place}/00109_id00166_wavtolip.mp4"
    real = f"RealVideo-RealAudio/{place}/00109.mp4"
    others = [f"RealVideo-RealAudio/Asian (East)/women/id{i:05}/1.mp4" for i in range(8)]
    names = (fake, real, f"RealVideo-FakeAudio/{place}/00109_fake.mp4", *others)
    found = media(
        "FakeAVCeleb", "FakeAVCeleb/media.csv", *(f"FakeAVCeleb/{name}" for name in names)
    )
    assert said(found)[:2] == [
        (fake, 1, "train", "FakeVideo-RealAudio", real),
        (real, 0, "train", "real", real),
    ]
    assert [m.person for m in found.media][:2] == ["id00076;id00166", "id00076"]
    split = split_by_person(found, "table", parse_fractions("0.6,0.2,0.2")).media
    assert split[0].split == split[1].split
    assert {m.split for m in split} == {"train", "validation", "test"}


def test_forgerynet_videos(media, tmp_path):
    for folder, release in (
        ("Training", "train_video_release"),
        ("Validation", "val_video_release"),
    ):
        lines = [f"1 {release}/1/a.mp4 0 90 0 0 0 0", f"2 {release}/6/b.mp4 0 9 0 9 9 1 1 1 4"]
        text(tmp_path / "ForgeryNet" / folder / "video_list.txt", "\n".join(lines) + "\n")
    found = media(
        "ForgeryNet",
        "ForgeryNet/media.csv",
        *(f"ForgeryNet/Training/video/train_video_release/{n}.mp4" for n in ("1/a", "6/b")),
        *(f"ForgeryNet/Validation/video/val_video_release/{n}.mp4" for n in ("1/a", "6/b")),
    )
    assert [(m.label, m.split, m.method) for m in found.media] == [
        (0, "train", "real"),
        (1, "train", "forgery_04"),
        (0, "validation", "real"),
        (1, "validation", "forgery_04"),
    ]


def test_a_folder_for_each_person(media):
    files = [f"people/{person}/{i}.jpg" for person in "abcdefghij" for i in range(2)]
    found = split_by_person(
        media('Path("people")', "people/media.csv", *files), "table", parse_fractions("0.8,0.1,0.1")
    )
    splits = {(m.person, m.split) for m in found.media}
    assert len(splits) == 10
    assert [s for _, s in sorted(splits)].count("train") == 8
