"""scripts/prepare_faces.py: tiny copies of the benchmarks to records that train and evaluate."""

import collections
import json
import os
import pathlib
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from rffr_jax.data.specs import load_dataset
from tests import jobs
from tests.data.test_make_manipulations import load_script
from tests.faces import layouts
from tests.faces.builds import content
from tests.faces.movies import empty_frames, face_frames, write_movie
from tests.faces.test_prepare import bad_media

script = load_script("prepare_faces")
ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SMALL = ("--size", "48", "--frames", "train=2,validation=1,test=all")


class Movies:
    """Writes a video of 6 frames for a real and of 5 for a fake, or a photograph; all differ."""

    def __init__(self, seed=0):
        self.seed = seed

    def __call__(self, path, label, method):
        self.seed += 1
        frames = face_frames(self.seed, 6 - label, 96)
        if path.suffix in (".jpg", ".png"):
            cv2.imwrite(str(path), frames[0][..., ::-1])
        else:
            write_movie(path, frames)


def prepare(benchmark, folder, output, *flags):
    """Runs the script in this process; returns its exit code."""
    return script.main(
        ["--benchmark", benchmark, "--input", str(folder), "--output", str(output),
         "--workers", "0", *SMALL, *map(str, flags)]
    )  # fmt: skip


def one_error(capsys):
    """The only line that the script wrote to stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# What each layout becomes: split -> (video, label, method, source). FF++ and Celeb-DF are named
# TARGET_SOURCE, and a fake is made from its target's video.
def ff_expected():
    expected = {"train": [], "validation": [], "test": []}
    for split, (a, b) in (("train", "31"), ("validation", "04"), ("test", "25")):
        for one, other in ((f"00{a}", f"00{b}"), (f"00{b}", f"00{a}")):
            expected[split].append((f"real/{one}", 0, "real", f"real/{one}"))
            for method in ("Deepfakes", "NeuralTextures"):
                video = f"{method}/{one}_{other}"
                expected[split].append((video, 1, method, f"real/{one}"))
    return expected


def celeb_expected():
    expected = {"train": [], "validation": [], "test": []}
    for a in range(10):
        b = a + 1 if a % 2 == 0 else a - 1
        split = {0: "test", 1: "test", 6: "validation", 7: "validation"}.get(a, "train")
        real = f"Celeb-real/id{a}_0000"
        expected[split].append((real, 0, "real", real))
        fake = f"Celeb-synthesis/id{a}_id{b}_0000"
        expected[split].append((fake, 1, "Celeb-synthesis", real))
    for name, split in (("00000", "train"), ("00001", "test")):
        real = f"YouTube-real/{name}"
        expected[split].append((real, 0, "real", real))
    return expected


def dfdc_expected():
    expected = {"train": [], "validation": [], "test": []}
    for part, split, (real, *fakes) in ((0, "train", "abc"), (45, "validation", "def")):
        source = f"dfdc_train_part_{part}/{real * 10}"
        expected[split].append((source, 0, "real", source))
        for fake in fakes:
            expected[split].append((f"dfdc_train_part_{part}/{fake * 10}", 1, "fake", source))
    for name, label, method in (("t", 0, "real"), ("u", 1, "fake")):
        expected["test"].append((f"test/{name * 10}", label, method, f"test/{name * 10}"))
    return expected


def forgerynet_expected():
    expected = {}
    for release, split in (("train_release", "train"), ("val_perturb_release", "validation")):
        expected[split] = [
            (f"{release}/{name}", int(method != "real"), method, f"{release}/{name}")
            for name, method in (
                ("1/aaaa/frame00001", "real"),
                ("1/aaaa/frame00017", "real"),
                ("6/bbbb/cccc/frame00049", "forgery_04"),
                ("12/dddd", "forgery_11"),
            )
        ]
    return expected


def folder_expected():
    return {
        split: [
            (f"{split}/{name}", int(method != "real"), method, f"{split}/{name}")
            for name, method in (
                ("real/a holiday.mp4", "real"),
                ("real/Gesicht ä.mp4", "real"),
                ("fake/FaceSwap/x.mp4", "FaceSwap"),
                ("fake/y..z.mp4", "fake"),
            )
        ]
        for split in ("train", "validation", "test")
    }


def frames_of(benchmark, split, label):
    """Of the test part all are taken, 6 of a real and 5 of a fake."""
    if benchmark == "forgerynet":
        return 1
    return {"train": 2, "validation": 1, "test": 6 - label}[split]


@pytest.mark.parametrize(
    ("benchmark", "expected"),
    [
        ("faceforensics", ff_expected()),
        ("celeb_df", celeb_expected()),
        ("dfdc", dfdc_expected()),
        ("forgerynet", forgerynet_expected()),
        ("folder", folder_expected()),
    ],
)
def test_layout_becomes_records(tmp_path, capsys, benchmark, expected):
    getattr(layouts, benchmark)(tmp_path / "in", Movies())
    assert prepare(benchmark, tmp_path / "in", tmp_path / "out") == 0
    assert f"tfds:{tmp_path}/out/{benchmark}#SPLIT" in capsys.readouterr().out
    builder: Any = tfds.builder_from_directory(tmp_path / "out" / benchmark / "1.0.0")
    assert set(builder.info.splits) == set(expected)
    for split, media in expected.items():
        wanted = sorted(
            (video, label, method, source)
            for video, label, method, source in media
            for _ in range(frames_of(benchmark, split, label))
        )
        dataset = load_dataset(f"tfds:{tmp_path}/out/{benchmark}#{split}")
        found = [(e.video, e.label, e.method, e.source) for e in dataset.examples]
        assert sorted(found) == wanted
        if split == "train" and benchmark not in ("forgerynet", "folder"):
            taken = {(e.video, e.frame) for e in dataset.examples}
            assert taken == {(video, n) for video, *_ in media for n in (1, 4)}
        assert dataset.load(0, 48).shape == (48, 48, 3)
        plain = builder.as_data_source(split)
        assert len(plain) == len(wanted) == builder.info.splits[split].num_examples
        for record, example in zip(plain, dataset.examples, strict=True):
            assert record["image"].shape == (48, 48, 3)
            assert record["image"].std() > 20
            assert record["label"] == example.label
            texts = ("id", "video", "method", "source", "dataset", "group")
            assert [record[name].decode() for name in texts] == [
                getattr(example, name) for name in texts
            ]
            assert record["landmarks"].shape == (5, 2)
            assert 0 < record["landmarks"].min() < record["landmarks"].max() < 47
            assert record["score"] > 0.8


def test_sequences_of_crops_become_records(tmp_path):
    layouts.wilddeepfake(tmp_path / "in", Movies())
    assert prepare("wilddeepfake", tmp_path / "in", tmp_path / "out") == 0
    found = load_dataset(f"tfds:{tmp_path}/out/wilddeepfake#test").examples
    assert collections.Counter((e.video, e.frame) for e in found) == {
        (f"{kind}_test/{shard}/{sequence}", frame): 1
        for kind in ("real", "fake")
        for shard in "12"
        for sequence in ("0", "54")
        for frame in (3, 10)
    }


def test_a_table_becomes_records(tmp_path, capsys):
    layouts.table(tmp_path / "in", Movies())
    (tmp_path / "in/fake/b/10.jpg").write_bytes(b"damaged")
    table = tmp_path / "in/media.csv"
    flags = ("--frames", "train=2,test=all", "--format", "parquet")
    assert prepare("table", table, tmp_path / "out", *flags) == 0
    said = capsys.readouterr().out
    assert "note: fake/b: no frames between 2 and 9" in said
    assert f"read it as parquet:{tmp_path}/out/table/parquet#SPLIT" in said
    found = {
        (e.video, e.frame, e.label, e.method, e.source)
        for split in ("train", "test")
        for e in load_dataset(f"tfds:{tmp_path}/out/table#{split}").examples
    }
    assert found == {
        *(("real/a.mp4", n, 0, "real", "real/a.mp4") for n in (1, 4)),
        *(("fake/a.mp4", n, 1, "fake", "real/a.mp4") for n in (1, 4)),
        *(("real/b", n, 0, "real", "real/b") for n in (2, 10)),
        ("fake/b", 2, 1, "fake", "real/b"),
        ("real/c.jpg", 0, 0, "real", "real/c.jpg"),
        ("fake/c.jpg", 0, 1, "fake", "real/c.jpg"),
        ("walk", 1, 0, "real", "walk"),
        ("fake/d.jpg", 0, 1, "Swap", "walk"),
    }
    prepared, parquet = (
        load_dataset(f"{spec}#train")
        for spec in (f"tfds:{tmp_path}/out/table", f"parquet:{tmp_path}/out/table/parquet")
    )
    assert [e.id for e in parquet.examples] == [e.id for e in prepared.examples]
    np.testing.assert_array_equal(parquet.load(0, 48), prepared.load(0, 48))
    one = load_dataset(f"tfds:{tmp_path}/out/table#train?frames=1").examples
    assert collections.Counter(e.video for e in one) == {e.video: 1 for e in one}
    report = json.loads((tmp_path / "out/table/1.0.0/report.json").read_text(encoding="utf-8"))
    assert [(drop["medium"], drop["frame"]) for drop in report["drops"]] == [("fake/b", 10)]
    assert len(report["notes"]) == 2


def test_frames_are_for_every_split_or_for_the_one_that_is_named(tmp_path):
    layouts.folder(tmp_path / "in", Movies())
    for frames, expected in (("3", (3, 3, 3)), ("train=3", (3, 1, 1))):
        assert prepare("folder", tmp_path / "in", tmp_path / frames, "--frames", frames) == 0
        splits = ("train", "validation", "test")
        for split, count in zip(splits, expected, strict=True):
            examples = load_dataset(f"tfds:{tmp_path}/{frames}/folder#{split}").examples
            videos = collections.Counter(example.video for example in examples)
            assert set(videos.values()) == {count}


def test_dry_run_says_what_there_is(tmp_path, capsys):
    layouts.faceforensics(tmp_path / "in")
    videos = tmp_path / "in/manipulated_sequences/Deepfakes/c23/videos"
    (videos / "000_004.mp4").rename(videos / "000_004.flv")
    flags = ["--benchmark", "faceforensics", "--input", str(tmp_path / "in")]
    assert script.main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "test        FaceForensics++       fake  Deepfakes                 2" in lines
    assert "validation  FaceForensics++       fake  Deepfakes                 1" in lines
    assert "missing: Deepfakes/000_004: listed in val.json and not there" in lines
    name = "manipulated_sequences/Deepfakes/c23/videos/000_004.flv"
    assert lines[-2:] == ["1 missing in all", f"left out 1 file: 1 .flv (first: {name})"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert script.main(flags) == 2
    assert "--output DIR is missing" in one_error(capsys)


def test_export_is_read_as_the_toolkits_json(tmp_path):
    layouts.celeb_df(tmp_path / "in", Movies())
    file = tmp_path / "export" / "Celeb-DF-v2.json"
    for _ in range(2):  # the second time the records are there already
        assert prepare(
            "celeb_df", tmp_path / "in", tmp_path / "out", "--export-deepfakebench", file
        ) == 0  # fmt: skip
    for split in ("train", "validation", "test"):
        ours = load_dataset(f"tfds:{tmp_path}/out/celeb_df#{split}")
        theirs = load_dataset(f"deepfakebench:{file}#{split}")
        places = {(e.video, e.frame, e.label, e.source): i for i, e in enumerate(theirs.examples)}
        assert len(places) == len(ours.examples)
        for index, e in enumerate(ours.examples):
            other = places[e.video, e.frame, e.label, e.source]
            np.testing.assert_array_equal(ours.load(index, 48), theirs.load(other, 48))


# ---- bad input


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Good files, files that give no face -> their reasons, and one whose face is too small."""
    root = tmp_path_factory.mktemp("mixed") / "in"
    real = root / "real"
    real.mkdir(parents=True)
    (root / "notes.txt").write_text("no movie")
    reasons = bad_media(real)
    reasons[write_movie(real / "nobody.mp4", empty_frames(1, 3, 96))] = "no face"
    canvas = [np.full((128, 128, 3), 90, np.uint8) for _ in range(3)]
    for image, face in zip(canvas, face_frames(2, 3, 80), strict=True):
        image[24:104, 24:104] = face
    reasons[write_movie(real / "far away.mp4", canvas)] = "every face is smaller than 45 pixels"
    for name, target, reason in (
        ("circle.mp4", "circle.mp4", "too many levels of symbolic links"),
        ("nowhere.mp4", "gone.mp4", "no such file"),
    ):
        (real / name).symlink_to(real / target)
        reasons[real / name] = reason
    for i, name in enumerate(("a b", "ü ñ 脸", "x..y", "-dash", "#1?a=b", "q'uote\"s")):
        write_movie(real / f"{name}.mp4", face_frames(i, 3, 128))
    two = np.concatenate([face_frames(3, 3, 128), face_frames(4, 3, 128)], axis=2)
    write_movie(real / "two.mp4", list(two))
    return root, {path.relative_to(root).as_posix(): why for path, why in reasons.items()}


def test_bad_media_are_named_and_the_run_goes_on(tmp_path, capsys, mixed):
    folder, reasons = mixed
    flags = ("--smallest-face", "45", "--max-bad-fraction")
    assert prepare("folder", folder, tmp_path, *flags, "0.7", "--min-coverage", "0.4") == 0
    report = json.loads((tmp_path / "folder/1.0.0/report.json").read_text(encoding="utf-8"))
    assert set(report["without_face"]) == set(reasons)
    for medium, reason in reasons.items():
        of_medium = [drop for drop in report["drops"] if drop["medium"] == medium]
        assert of_medium, medium
        assert all(drop["reason"].startswith(reason) for drop in of_medium), of_medium
    assert sum(report["reasons"].values()) == len(report["drops"])
    assert report["left_out"] == {".txt": 1}
    (train,) = (methods["real"] for methods in report["splits"]["train"].values())
    assert (train["media"], train["without_face"]) == (len(reasons) + 7, len(reasons))
    examples = load_dataset(f"tfds:{tmp_path}/folder#train").examples
    assert {e.video for e in examples} == {
        f"real/{name}.mp4"
        for name in ("a b", "ü ñ 脸", "x..y", "-dash", "#1?a=b", "q'uote\"s", "two")
    }
    assert len(examples) == 7 * 2
    capsys.readouterr()
    before = content(tmp_path / "folder/1.0.0")
    assert prepare("folder", folder, tmp_path, *flags, "0.2") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{len(reasons)} of {len(reasons) + 7} media gave no face" in line
    assert content(tmp_path / "folder/1.0.0") == before
    assert prepare("folder", folder, tmp_path, *flags, "0.7") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    readable = 7 + sum(why.startswith(("no face", "every face")) for why in reasons.values())
    bad = len(reasons) + 7 - readable
    assert f"{readable} of {readable + bad} media could be read (0 missing, {bad} with" in line
    assert "less than --min-coverage 0.99" in line
    assert content(tmp_path / "folder/1.0.0") == before
    status = {row["id"]: row["status"] for row in report["media"]}
    assert collections.Counter(status.values()) == {"ok": readable, "error": bad}
    assert status["real/nobody.mp4"] == "ok"
    assert status["real/nowhere.mp4"] == "error"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--workers", "-1"), "--workers -1: must be 0 or more"),
        (("--max-bad-fraction", "5"), "--max-bad-fraction 5: must lie in [0, 1]"),
        (("--min-coverage", "99"), "--min-coverage 99: must lie in [0, 1]"),
        (("--max-bad-fraction", "nan"), "--max-bad-fraction nan: must lie in [0, 1]"),
        (("--frames", "tran=3"), "--frames 'tran=3': the split 'tran' is unknown"),
        (("--frames", "train=0"), "--frames 'train=0': '0' is no number; give one from 1 up"),
        (("--detector", "mtcnn"), "--detector 'mtcnn' is not known"),
        (("--detector-weights", "/no/such.onnx"), "/no/such.onnx: no such file"),
        (("--image-format", "gif"), "--image-format 'gif' is not known"),
        (("--size", "4"), "crop size 4"),
        (("--name", "a/b"), "--name 'a/b'"),
        (("--compression", "c23"), "--compression c23 does not go with --benchmark folder"),
        (("--split", "0.8,0.1,0.1"), "--split 0.8,0.1,0.1 says nothing without --split-by person"),
        (("--split-by", "person"), "the data have splits of their own"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, problem):
    layouts.folder(tmp_path / "in")
    assert prepare("folder", tmp_path / "in", tmp_path / "out", *flags) == 2
    assert problem in one_error(capsys)
    assert not (tmp_path / "out").exists()


# ---- what the records are for


@pytest.mark.slow
@pytest.mark.parametrize("videos_level", ["videos", "images"])
def test_a_detector_trains_and_evaluates_from_the_records(tmp_path, videos_level):
    layouts.faceforensics(tmp_path / "in", Movies(), videos_level=videos_level)
    assert prepare("faceforensics", tmp_path / "in", tmp_path / "out") == 0
    records = f"tfds:{tmp_path}/out/faceforensics"
    data = (f"data.train={records}#train", f"data.validation={records}#validation")
    mae, detector, results = (tmp_path / name for name in ("mae", "detector", "results"))
    assert jobs.start("pretrain", mae, *data) == 0
    assert jobs.start("detect", detector, *data, f"mae={mae}", "data.methods=Deepfakes") == 0
    test = (f"detector={detector}", f"data.tests={records}#test")
    assert jobs.start("evaluate", results, *test) == 0
    found = json.loads((results / "results.json").read_text())
    (dataset,) = (value for value in found.values() if "methods" in value)
    assert set(dataset["methods"]) == {"Deepfakes", "NeuralTextures"}
    for numbers in dataset["methods"].values():
        assert (numbers["n_real"], numbers["n_fake"], numbers["n_bad"]) == (2, 2, 0)
        assert 0 <= numbers["auc"] <= 1
