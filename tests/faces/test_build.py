"""A data set from many media: records, report, and what goes wrong."""

import dataclasses
import errno
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.specs import load_dataset
from rffr_jax.faces import build as building
from rffr_jax.faces import frames, prepare, report, runners, shards
from rffr_jax.faces.media import Benchmark
from rffr_jax.runs.lock import locked_folder
from tests.faces.builds import content, make_benchmark, recording, refusal, report_of, run_of
from tests.faces.movies import write_movie
from tests.faces.test_prepare import medium, picture, settings, walk

pytestmark = pytest.mark.usefixtures("bright_squares")


def test_data_set_holds_what_was_found(tmp_path):
    benchmark = make_benchmark(tmp_path / "in", missing=["real/z: listed and not there"])
    dataset = run_of(benchmark, tmp_path / "out")
    assert dataset == tmp_path / "out" / "faces" / "1.0.0"
    frames = {"train": [1, 4], "test": [3]}
    for split, numbers in frames.items():
        examples = load_dataset(f"tfds:{tmp_path}/out/faces#{split}").examples
        of_split = [m for m in benchmark.media if m.split == split]
        assert [(e.video, e.frame) for e in examples] == [
            (m.id, number) for m in of_split for number in numbers
        ]
        source = {m.id: (m.source, m.label, m.method) for m in benchmark.media}
        assert all((e.source, e.label, e.method) == source[e.video] for e in examples)
        assert {e.original for e in examples} == {".mp4 h264 96x96"}
    found = report_of(dataset)
    cell = {"media": 2, "frames": 4, "faces": 4, "without_face": 0}
    one = {"media": 1, "frames": 1, "faces": 1, "without_face": 0}
    assert found["splits"] == {
        "train": {"mine": {"real": cell, "Deepfakes": cell}},
        "test": {"mine": {"real": one, "Face2Face": one}},
    }
    assert found["missing"] == ["real/z: listed and not there"]
    assert found["drops"] == found["without_face"] == []
    sidecar = json.loads((dataset / "preparation.json").read_text())
    assert sidecar == {**settings(2).to_json(), "compression": "c23"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]


def test_a_fake_and_the_original_that_it_names_are_told_by_each_other(tmp_path):
    benchmark = make_benchmark(tmp_path / "in", ids=("real/a", "real/b", "Deepfakes/a_b"))
    fake, *reals = benchmark.media
    fake = dataclasses.replace(fake, source="a video", original=reals[1].path)
    told = {}

    def run(work, tasks):
        for task in tasks:
            told[task.medium.id] = (task.original, task.fake)
            yield work.prepare(task)

    run_of(Benchmark((fake, *reals)), tmp_path / "out", run=run)
    assert told == {
        "Deepfakes/a_b": (reals[1].path, None),
        "real/a": (None, None),
        "real/b": (None, fake.path),
    }


def test_what_was_done_to_pixels_is_counted_by_media(tmp_path):
    benchmark = make_benchmark(tmp_path / "in")
    for number in range(2):
        write_movie(benchmark.media[number].path, walk(5), rotation=90)
    found = report_of(run_of(benchmark, tmp_path / "out"))
    assert found["conversions"] == {"turned by 90 degrees": 2}


def test_sheet_shows_media_from_all_over(tmp_path, monkeypatch):
    """Of thirteen reals six, the last ones too; beside them the one fake there is."""
    media = []
    for i in range(13):
        path = write_movie(tmp_path / f"{i:02d}.mp4", [picture((20, 20, 60))])
        media.append(medium(path, f"real/{i:02d}", split="train"))
    fake = write_movie(tmp_path / "fake.mp4", [picture((20, 20, 60))])
    none = write_movie(tmp_path / "none.mp4", [picture()])
    media.append(medium(fake, "Deepfakes/x"))
    media.append(medium(none, "Empty/x"))
    shown = []
    middle = report._middle_face

    def noting(work, one):
        shown.append(one.id)
        return middle(work, one)

    monkeypatch.setattr(report, "_middle_face", noting)
    media = tuple(sorted(media, key=lambda m: m.id))
    dataset = run_of(Benchmark(media), tmp_path / "out", bad=0.5)
    assert shown == [
        "real/01",
        "real/03",
        "real/05",
        "real/07",
        "real/09",
        "real/11",
        "Deepfakes/x",
    ]
    with Image.open(dataset / "train.png") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    left, right = pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :]
    assert (left < 60).sum() > 4 * (right < 60).sum() > 0  # a column of six, another of one


def test_data_sets_are_told_apart(tmp_path, caplog, monkeypatch):
    """Reals of two data sets are neither counted together nor shown under one title."""
    media = []
    for dataset, id_, found in (
        ("FF", "real/a", True), ("FF", "Deepfakes/a_b", True), ("FF", "real/b", True),
        ("DFD", "real/actor", True), ("DFD", "DFD/actor", True), ("DFD", "real/nobody", False),
    ):  # fmt: skip
        path = tmp_path / f"{id_}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_movie(path, [picture((20, 20, 60)) if found else picture()])
        media.append(medium(path, id_, dataset=dataset))
    titles = []
    draw = report.contact_sheet
    monkeypatch.setattr(
        report, "contact_sheet", lambda *args: titles.append(args[2]) or draw(*args)
    )
    media = tuple(sorted(media, key=lambda m: m.id))
    with caplog.at_level("INFO"):
        dataset = run_of(Benchmark(media), tmp_path / "out", bad=0.2)
    cell = {"media": 1, "frames": 1, "faces": 1, "without_face": 0}
    assert report_of(dataset)["splits"]["train"] == {
        "FF": {"real": {**cell, "media": 2, "frames": 2, "faces": 2}, "Deepfakes": cell},
        "DFD": {"real": {**cell, "media": 2, "frames": 2, "without_face": 1}, "DFD": cell},
    }
    assert titles == [["DFD real", "DFD DFD", "FF real", "FF Deepfakes"]]
    assert re.search(r"train +DFD +real +2 media +1 faces in +2 frames", caplog.text)


def test_media_without_a_face_of_one_method_are_too_many(tmp_path):
    """Few of all, and most of their kind; a single one is no reason."""
    media = []
    for method, empty, good in (("real", 1, 9), ("Deepfakes", 0, 10), ("FaceSwap", 2, 3)):
        for i in range(empty + good):
            path = tmp_path / f"{method}/{i}.mp4"
            path.parent.mkdir(exist_ok=True)
            write_movie(path, [picture() if i < empty else picture((20, 20, 60))])
            media.append(medium(path, f"{method}/{i}"))
    media = tuple(sorted(media, key=lambda m: m.id))
    message = refusal(Benchmark(media), tmp_path / "out", bad=0.15)
    assert "2 of 5 media of train mine FaceSwap gave no face, more than --max-bad-f" in message
    run_of(Benchmark(media), tmp_path / "out", bad=0.4)
    fewer = tuple(m for m in media if m.id != "FaceSwap/0")
    run_of(Benchmark(fewer), tmp_path / "fewer", bad=0.15)


def test_media_without_a_face_are_counted_and_the_rest_is_written(tmp_path):
    benchmark = make_benchmark(tmp_path / "in")
    (tmp_path / "in/real/b.mp4").write_bytes(b"no video")
    write_movie(tmp_path / "in/Deepfakes/a_b.mp4", [picture()] * 5)
    write_movie(tmp_path / "in/Face2Face/c_a.mp4", [picture()])
    dataset = run_of(benchmark, tmp_path / "some", bad=0.5)
    found = report_of(dataset)
    assert found["without_face"] == ["Deepfakes/a_b", "Face2Face/c_a", "real/b"]
    reasons = [(d["medium"], d["frame"], d["reason"].partition(" of")[0]) for d in found["drops"]]
    assert reasons == [
        ("Deepfakes/a_b", 1, "no face"),
        ("Deepfakes/a_b", 4, "no face"),
        ("Face2Face/c_a", 0, "no face"),
        ("real/b", None, "not a video"),
    ]
    assert list(found["reasons"].values()) == [3, 1]
    assert found["splits"]["train"]["mine"]["real"]["without_face"] == 1
    message = refusal(benchmark, tmp_path / "others", bad=0.49)
    assert "3 of 6 media gave no face, more than --max-bad-fraction 0.49" in message
    assert "report.json" in message
    assert content(tmp_path / "others/faces/1.0.0") == content(dataset)
    assert "3 of 6 media gave no face" in refusal(benchmark, tmp_path / "some", bad=0.1)


def test_nothing_at_all_was_found(tmp_path):
    benchmark = make_benchmark(tmp_path / "in")
    for one in benchmark.media:
        one.path.write_bytes(b"no video")
    assert "6 of 6 media gave no face" in refusal(benchmark, tmp_path / "out", bad=0.9)
    assert len(report_of(tmp_path / "out/faces/1.0.0")["drops"]) == 6


def test_reasons_are_counted_whatever_their_numbers(tmp_path):
    media = []
    for i in range(3):
        path = write_movie(tmp_path / f"{i}.mp4", [picture(size=8 + 2 * i)])
        media.append(medium(path, f"real/{i}"))
    dataset = run_of(Benchmark(tuple(media)), tmp_path / "out", bad=1.0)
    assert report_of(dataset)["reasons"] == {
        "N x N pixels are too few, a side needs N": 3,
    }


def test_progress_is_logged_where_there_is_no_terminal(tmp_path, benchmark, caplog, monkeypatch):
    with caplog.at_level("INFO"):
        run_of(benchmark, tmp_path / "quiet")
        assert "left" not in caplog.text  # it takes less than a minute
        monkeypatch.setattr(building, "SECONDS_BETWEEN_LINES", 0)
        run_of(benchmark, tmp_path / "out")
    lines = [line for line in caplog.messages if line.endswith("left")]
    assert len(lines) == 6
    for done, line in enumerate(lines, 1):
        number = r"[\d.]+"
        assert re.fullmatch(
            rf"{done} of 6 videos, ({number} videos/s|{number}s/ videos), \d\d:\d\d left", line
        )


def test_runner_that_loses_media_is_told(tmp_path, benchmark, whole):

    def losing(work, tasks):
        for task in tasks:
            if task.medium.id.startswith("Deepfakes"):
                yield task.medium.id
            else:
                yield work.prepare(task)

    message = refusal(benchmark, tmp_path / "out", losing)
    assert "2 of 6 media were not prepared, or have changed meanwhile (Deepfakes/a_b" in message
    done = []
    dataset = run_of(benchmark, tmp_path / "out", recording(done))
    assert done == ["Deepfakes/a_b", "Deepfakes/b_a"]
    assert content(dataset) == whole


def test_runner_that_does_media_twice_gives_them_once(tmp_path, benchmark, whole):

    def twice(work, tasks):
        for task in (*tasks, *reversed(tasks)):
            yield work.prepare(task)

    dataset = run_of(benchmark, tmp_path / "out", twice)
    assert content(dataset) == whole


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda ids: ids[1:], "in train 1 records are lost and 0 are there twice"),
        (lambda ids: [*ids, ids[0]], "in train 0 records are lost and 1 are there twice"),
        (lambda ids: ["x", *ids[1:]], "in train 1 records are lost and 1 are there twice"),
    ],
)
def test_shards_that_differ_from_what_was_prepared_are_told(
    tmp_path, benchmark, monkeypatch, wrong, message
):
    read = building.read_ids
    with monkeypatch.context() as patch:
        patch.setattr(building, "read_ids", lambda *args: wrong(read(*args)))
        assert message in refusal(benchmark, tmp_path / "out")
    done = []
    run_of(benchmark, tmp_path / "out", recording(done))
    assert done == []


def test_shard_that_cannot_be_read_back_is_told(tmp_path, benchmark, whole, monkeypatch):

    def damage(work, by_split, dataset, preparation):
        pack(work, by_split, dataset, preparation)
        shard = next(dataset.glob("*train*record*"))
        data = shard.read_bytes()
        assert b"real/a/000001" in data
        shard.write_bytes(data.replace(b"real/a/000001", b"real/a/OOOOO1"))

    pack = building._pack
    with monkeypatch.context() as patch:
        patch.setattr(building, "_pack", damage)
        assert "train cannot be read back" in refusal(benchmark, tmp_path / "out")
    dataset = run_of(benchmark, tmp_path / "out")
    assert content(dataset) == whole


@pytest.mark.parametrize("where", ["part", "shards", "report"])
def test_full_disk_is_one_line_and_the_run_goes_on_after(
    tmp_path, benchmark, whole, monkeypatch, where
):
    written = []

    def full(path, part):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write_part(path, part)

    def full_at_once(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there")

    write_part = runners.write_part
    with monkeypatch.context() as patch:
        if where == "part":
            patch.setattr(runners, "write_part", full)
        else:
            module, name = {
                "shards": (shards, "ArrayRecordWriter"), "report": (building, "draw_sheet"),
            }[where]  # fmt: skip
            patch.setattr(module, name, full_at_once)
        assert "No space left on device" in refusal(benchmark, tmp_path / "out")
    done = []
    dataset = run_of(benchmark, tmp_path / "out", recording(done))
    assert len(done) == (3 if where == "part" else 0)
    assert content(dataset) == whole


def test_two_runs_on_one_output_are_refused(tmp_path, benchmark):
    with locked_folder(tmp_path / "out/.faces.parts"):
        assert "in use by another run" in refusal(benchmark, tmp_path / "out")
        run_of(benchmark, tmp_path / "out", name="others")


@pytest.mark.parametrize("name", ["../x", "Faces", "1st", "", "a b", "ä"])
def test_wrong_name_is_told_before_anything_is_done(tmp_path, benchmark, name):
    done = []
    message = refusal(benchmark, tmp_path / "out", recording(done), name=name)
    assert f"--name {name!r}: write small letters" in message
    assert done == []
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(tmp_path, benchmark):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(benchmark, tmp_path / "file")


def test_defect_names_the_medium_that_shows_it(tmp_path, benchmark, monkeypatch):

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(prepare, "crop_face", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        run_of(benchmark, tmp_path / "out")
    first = benchmark.media[0]
    assert caught.value.__notes__ == [f"while preparing {first.id} ({first.path})"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_failing_disk_is_one_line_and_drops_nothing(
    tmp_path, benchmark, whole, monkeypatch, number
):

    def failing(path, *args):
        if "real" in os.fspath(path):
            raise OSError(number, os.strerror(number))
        return open(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "open", failing, raising=False)
        message = refusal(benchmark, tmp_path / "out")
    assert message.startswith(f"{benchmark.media[3].path.parent}/a.mp4: {os.strerror(number)}; ")
    assert content(run_of(benchmark, tmp_path / "out")) == whole
