"""DeepfakeBench's dataset JSON, read and written."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.readers.deepfakebench import LABELS, write_deepfakebench
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Example
from tests.faces.test_shards import SIZE, draw_records, write

ENTRY = ("label", "dataset", "method", "video", "frame", "source", "group")


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (value, value, value)).save(path)


def entry(label, *frames):
    return {"label": label, "frames": list(frames)}


def splits(**videos):
    return {"train": {}, "val": {}, "test": {}} | videos


@pytest.fixture
def faceforensics(tmp_path):
    """The layout of the toolkit: its JSON files and, elsewhere in its folder, `datasets/rgb`."""
    images = tmp_path / "datasets" / "rgb"
    real, fake = (
        f"FaceForensics++/{place}/c23/frames"
        for place in ("original_sequences/youtube", "manipulated_sequences/Deepfakes")
    )
    for number in (2, 10):
        save(images / real / "000" / f"{number}.png", number)
        save(images / fake / "000_003" / f"{number}.png", 100 + number)
    windows = [
        path.replace("/", "\\") for path in (f"{fake}/000_003/10.png", f"{fake}/000_003/2.png")
    ]
    content = {
        "FF-DF": {
            "FF-real": splits(
                test={
                    "c23": {"000": entry("FF-real", f"{real}/000/10.png", f"{real}/000/2.png")},
                    "c40": {"000": entry("FF-real", "absent/c40/000/2.png")},
                }
            ),
            "FF-DF": splits(test={"c23": {"000_003": entry("FF-DF", *windows)}, "c40": {}}),
        }
    }
    file = tmp_path / "preprocessing" / "dataset_json" / "FF-DF.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    return file


def test_compression_level_backslashes_and_root(faceforensics):
    dataset = load_dataset(f"deepfakebench:{faceforensics}#test?compression=c23")
    found = [tuple(getattr(example, name) for name in ENTRY) for example in dataset.examples]
    real = (0, "FaceForensics++", "real", "real/000")
    fake = (1, "FaceForensics++", "Deepfakes", "Deepfakes/000_003")
    assert found == [
        (*video, frame, "real/000", "000-003") for video in (real, fake) for frame in (2, 10)
    ]
    grey = [int(dataset.load(index, 20)[0, 0, 0]) for index in range(4)]
    assert grey == [2, 10, 102, 110]
    assert dataset.examples[0].id == (
        "FaceForensics++/original_sequences/youtube/c23/frames/000/2.png"
    )


def test_several_compressions_want_a_choice(faceforensics):
    spec = f"deepfakebench:{faceforensics}#test"
    with pytest.raises(UserError, match=r"c23, c40; choose one: \?compression=c23"):
        load_dataset(spec)
    with pytest.raises(UserError, match="no compression 'raw' in test; what is there: c23, c40"):
        load_dataset(f"{spec}?compression=raw")
    with pytest.raises(UserError, match=r"frames are not found \(such as absent/c40/000/2.png\)"):
        load_dataset(f"{spec}?compression=c40")
    with pytest.raises(UserError, match="is for deepfakebench; leave it out"):
        load_dataset("folder:x?compression=c23")


@pytest.fixture
def celeb(tmp_path):
    """A file without compressions whose paths are of another machine."""
    names = {"Celeb-real": "id7_0002", "YouTube-real": "00170", "Celeb-synthesis": "id7_id1_0002"}
    frames = {}
    for value, (place, name) in enumerate(names.items()):
        path = f"Celeb-DF-v2/{place}/frames/{name}/000.png"
        save(tmp_path / "images" / path, 10 * value)
        frames[place] = f"/home/someone/data/{path}"
    real, youtube, fake = names.values()
    reals = {
        real: entry("CelebDFv2_real", frames["Celeb-real"]),
        youtube: entry("CelebDFv2_real", frames["YouTube-real"]),
    }
    content = {
        "Celeb-DF-v2": {
            "CelebDFv2_real": splits(test=reals, train={real: reals[real], "id9_1": entry("-")}),
            "CelebDFv2_fake": splits(
                test={fake: entry("CelebDFv2_fake", frames["Celeb-synthesis"])}
            ),
        }
    }
    file = tmp_path / "images" / "lists" / "Celeb-DF-v2.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    return file


def test_names_of_celeb_df_and_paths_of_another_machine(celeb, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(f"deepfakebench:{celeb}#test")
    assert [tuple(getattr(e, name) for name in ENTRY) for e in dataset.examples] == [
        (0, "Celeb-DF", "real", "Celeb-real/id7_0002", 0, "Celeb-real/id7_0002", "id7"),
        (0, "Celeb-DF", "real", "YouTube-real/00170", 0, "YouTube-real/00170", ""),
        (1, "Celeb-DF", "Celeb-synthesis", "Celeb-synthesis/id7_id1_0002", 0,
         "Celeb-real/id7_0002", "id7"),
    ]  # fmt: skip
    assert [int(dataset.load(index, 20)[0, 0, 0]) for index in range(3)] == [0, 10, 20]
    assert "1 of the 3 videos of test are in train too" in caplog.text


def test_a_missing_frame_is_a_bad_file(celeb):
    (celeb.parent.parent / "Celeb-DF-v2" / "YouTube-real" / "frames" / "00170" / "000.png").unlink()
    dataset = load_dataset(f"deepfakebench:{celeb}#test")
    with pytest.raises(BadImageError, match=r"00170/000.png: no such file"):
        dataset.load(1, 20)


def test_labels_are_as_the_toolkit_means_them():
    for name, (label, _, method) in LABELS.items():
        assert (method == "real") == (label == 0) == name.lower().endswith("real")
    meanings = list(LABELS.values())
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ([1], "not one data set in an object"),
        ({"A": {}, "B": {}}, "not one data set in an object"),
        ({"A": []}, "A is list and no object"),
        ({"A": {"FF-real": 3}}, "FF-real is int and no object"),
        ({"A": {"FF-real": {}}}, "no frames in test"),
        ({"A": {"FF-real": splits(test={"v": entry("FF-real")})}}, "no frames in test"),
        ({"A": {"X": splits(test={"v": entry("X", "0.png")})}}, "the unknown label 'X'; known"),
        # DFDC's val as the toolkit writes it: the last video's entry in place of all of them
        ({"DFDC": {"DFDC_Real": splits(test=entry("DFDC_Real", "0.png"))}}, "label is str and no"),
        ({"A": {"DFDC_Real": splits(test={"v": {"label": "DFDC_Real", "frames": 1}})}}, "no list"),
    ],
)  # fmt: skip
def test_files_that_are_no_such_file(tmp_path, content, words):
    file = tmp_path / "A.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError) as caught:
        load_dataset(f"deepfakebench:{file}#test")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_an_unknown_split_and_a_frame_listed_twice(tmp_path, celeb):
    with pytest.raises(UserError, match=r"no.json: no such file"):
        load_dataset(f"deepfakebench:{tmp_path}/no.json#test")
    with pytest.raises(UserError, match="split 'val'; the splits are train, validation, test"):
        load_dataset(f"deepfakebench:{celeb}#val")
    content = json.loads(celeb.read_text())
    videos = content["Celeb-DF-v2"]["CelebDFv2_real"]["test"]
    videos["again"] = videos["00170"]
    celeb.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"00170/000.png is listed 2 times in test"):
        load_dataset(f"deepfakebench:{celeb}#test")


# --- the export --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["rgb/FaceForensics++.json", "FaceForensics++.json"])
def test_records_go_there_and_back(tmp_path, place):
    records = draw_records(1, "raw", videos=3)
    write(tmp_path, {"train": records[:6], "test": records[6:]}, "raw")
    file = tmp_path / "out" / place
    ours = {name: load_dataset(f"tfds:{tmp_path}/faces#{name}") for name in ("train", "test")}
    root = tmp_path / "out" / "rgb"
    write_deepfakebench(file, ours, root, size=SIZE, compression="c40")
    for split, expected in ours.items():
        found = load_dataset(f"deepfakebench:{file}#{split}")
        assert {tuple(getattr(e, n) for n in ENTRY): found.load(i, SIZE).tobytes()
                for i, e in enumerate(found.examples)} == {
            tuple(getattr(e, n) for n in ENTRY): expected.load(i, SIZE).tobytes()
            for i, e in enumerate(expected.examples)
        }  # fmt: skip


def test_the_toolkit_finds_what_it_looks_for(tmp_path):
    """Read as DeepfakeBench's own loader reads: by file name, label, split and compression."""
    records = draw_records(2, "raw", videos=1)
    write(tmp_path, {"test": records}, "raw")
    file = tmp_path / "FaceForensics++.json"
    dataset = load_dataset(f"tfds:{tmp_path}/faces#test")
    write_deepfakebench(file, {"test": dataset}, tmp_path / "x", size=SIZE, compression="c23")
    content = json.loads(file.read_text())[file.stem]
    assert content.keys() == {"FF-real", "FF-DF"}
    for label, name in (("FF-real", "000"), ("FF-DF", "000_999")):
        assert content[label]["train"] == content[label]["val"] == {}
        video = content[label]["test"]["c23"][name]
        assert video["label"] == label
        frames = [tmp_path / "x" / path for path in video["frames"]]
        assert [int(frame.name.split(".")[0]) for frame in frames] == [0, 2, 4]
        for frame in frames:
            with Image.open(frame) as image:
                assert image.size == (SIZE, SIZE)


class Drawn:
    """Three frames of DFDC; the last one is bad."""

    examples = tuple(
        Example(f"{i}", f"{i}", 0, "DFDC", "real", "test/abc", i, "test/abc") for i in range(3)
    )

    def load(self, index, size):
        if index == 2:
            raise BadImageError("2", "no image")
        return np.full((size, size, 3), index, np.uint8)


def test_bad_images_are_left_out_and_named(tmp_path, caplog):
    file = tmp_path / "DFDC.json"
    with caplog.at_level(logging.WARNING):
        write_deepfakebench(file, {"validation": Drawn()}, tmp_path, size=SIZE)
    assert "left out: 2: no image" in caplog.text
    examples = load_dataset(f"deepfakebench:{file}#validation").examples
    assert [example.frame for example in examples] == [0, 1]


def test_exports_that_the_toolkit_could_not_read_are_refused(tmp_path):
    records = draw_records(3, "raw", videos=1)
    write(tmp_path, {"test": records}, "raw")
    ours = load_dataset(f"tfds:{tmp_path}/faces#test")
    file = tmp_path / "FaceForensics++.json"
    with pytest.raises(UserError, match="wants a compression"):
        write_deepfakebench(file, {"test": ours}, tmp_path, size=SIZE)
    with pytest.raises(UserError, match="the file called one of FaceForensics"):
        write_deepfakebench(
            tmp_path / "ff.json", {"test": ours}, tmp_path, size=SIZE, compression="c23"
        )
    with pytest.raises(UserError, match=r"here are DFDC, FaceForensics\+\+"):
        write_deepfakebench(file, {"test": ours, "train": Drawn()}, tmp_path, size=SIZE)
    synthetic = load_dataset("synthetic:0#test?limit=2")
    with pytest.raises(UserError, match="DeepfakeBench has no label for"):
        write_deepfakebench(file, {"test": synthetic}, tmp_path, size=SIZE)
    (tmp_path / "taken").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        write_deepfakebench(
            tmp_path / "DFDC.json", {"test": Drawn()}, tmp_path / "taken", size=SIZE
        )
    assert not file.exists()


def test_any_label_that_ends_in_real_or_fake(tmp_path):
    """DF40's `simswap_ff.json` and `blendface_cdf.json`, and other names."""
    frames = [f"x/DF40/frames/{i}.png" for i in range(4)]
    for i, path in enumerate(frames):
        save(tmp_path / path.removeprefix("x/"), i)
    for name, real, fake, source, group in (
        ("simswap_ff", "001", "001_870", "real/001", "001-870"),
        ("blendface_cdf", "id0_0000", "id0_id1_0000", "Celeb-real/id0_0000", "id0"),
        ("StyleGAN-X", "r", "f", "StyleGAN/f", ""),
    ):
        method = name.partition("_")[0].removesuffix("-X")
        content = {
            name: {
                f"{method}_Real": splits(test={real: entry(f"{method}_Real", frames[0])}),
                f"{method}_Fake": splits(test={fake: entry(f"{method}_fake", frames[1])}),
            }
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        ours = load_dataset(f"deepfakebench:{tmp_path}/{name}.json#test").examples
        assert [(e.label, e.dataset, e.method) for e in ours] == [
            (0, name, "real"),
            (1, name, method),
        ]
        assert (ours[1].source, ours[1].group) == (source, group)
    content = {"x": {"a": splits(test={"v": entry("real_a", frames[0])})}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"unknown label 'real_a'; known are .*_Real or _Fake"):
        load_dataset(f"deepfakebench:{tmp_path}/x.json#test")
