"""Job `predict`: what it writes about a person's own files, on crops that are given."""

import csv
import hashlib
import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

import configs.predict
import rffr_jax
from rffr_jax.data.specs import load_dataset
from rffr_jax.evaluation import calibration
from rffr_jax.evaluation.operating_point import read_operating_point
from rffr_jax.predict import face_finding, face_settings
from rffr_jax.predict import file_scorer as module
from rffr_jax.predict.evidence import Explanation
from rffr_jax.predict.inputs import find_files
from rffr_jax.predict.predict import detector_and_settings
from rffr_jax.predict.predictions_file import CSV_COLUMNS
from tests import jobs
from tests.data.test_make_manipulations import load_script
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, picture
from tests.jobs import GIVEN, predict

false_alarms = load_script("false_alarms")
THRESHOLD = {
    *("value", "from", "chosen_for", "max_fpr", "expected_fpr", "n_real", "n_fake", "auc"),
    *("aggregate", "top_k", "frames_per_video", "source", "source_reals"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "predict"
    texts = tmp_path_factory.mktemp("texts")
    for name in ("notes.txt", "LICENSE"):
        (texts / name).write_text("no picture")
    return workdir, predict(workdir, detector, f"{faces / 'test'},{texts}", *GIVEN)


def test_scores_are_those_of_evaluate(finished, evaluated):
    _, said = finished
    scores = {file["path"].rpartition("/")[2]: file["score"] for file in said["files"]}
    assert scores == pytest.approx(evaluated, abs=2e-6)
    for file in said["files"]:
        assert file["status"] == ("fake" if file["score"] > 0.5 else "real")
        ((frame,),) = [face["frames"] for face in file["faces"]]
        assert frame["score"] == file["score"]


def test_predictions_hold_what_is_promised(finished, detector):
    workdir, said = finished
    assert said["schema"] == 3
    assert said["detector"]["path"] == str(detector)
    assert said["detector"]["trained_methods"] == ["rows"]
    for threshold in said["thresholds"].values():
        assert set(threshold) == THRESHOLD
        assert {name for name, value in threshold.items() if value is not None} == {"value", "from"}
        assert (threshold["value"], threshold["from"]) == (0.5, "default")
    assert said["calibrations"] == {"image": None, "video": None}
    assert said["chosen_on"] == []
    assert said["preprocessing"]["k"] == 2
    assert said["preprocessing"]["faces"]["faces"] == "given"
    assert "--config.faces=given" in said["command"]
    assert said["left_out"] == {".txt": 1, "": 1}
    assert said["counts"] == {"real": 18 - sum(f["status"] == "fake" for f in said["files"])} | {
        "fake": sum(f["status"] == "fake" for f in said["files"]), "unknown": 0,
    }  # fmt: skip
    for file in said["files"]:
        assert file["threshold"] == {
            "value": 0.5, "from": "default", "chosen_for": None, "doubts": [],
        }  # fmt: skip
        with open(file["path"], "rb") as image:
            assert file["sha256"] == hashlib.sha256(image.read()).hexdigest()
        assert file["source"] == {"kind": "image", "codec": "png", "width": 48, "height": 48}
        (face,) = file["faces"]
        with Image.open(workdir / face["evidence"]) as picture:
            assert picture.width > 5 * 192
    with (workdir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["path"] for row in rows] == [file["path"] for file in said["files"]]
    assert [float(row["face_score"]) for row in rows] == [f["score"] for f in said["files"]]


def few_of(finished):
    """Scores of every sixth file, by its path."""
    return {file["path"]: file["score"] for file in finished[1]["files"][::6]}


@pytest.mark.slow
def test_scores_do_not_depend_on_batches(tmp_path, detector, finished):
    some = few_of(finished)
    one = predict(tmp_path / "one", detector, ",".join(some), *GIVEN, "batch_size=1")
    scores = {file["path"]: file["score"] for file in one["files"]}
    assert scores == pytest.approx(some, abs=2e-6)


def test_threshold_of_the_command_line_decides(tmp_path, detector, faces, finished):
    _, said = finished
    middle = float(np.median([file["score"] for file in said["files"]]))
    other = predict(tmp_path / "other", detector, faces / "test", *GIVEN, f"threshold={middle}")
    for threshold in other["thresholds"].values():
        assert (threshold["value"], threshold["from"]) == (middle, "config")
    for file in other["files"]:
        assert file["status"] == ("fake" if file["score"] > middle else "real")
    assert {file["status"] for file in other["files"]} == {"real", "fake"}


def test_operating_point_beside_the_detector_is_used(tmp_path, calibrated, faces, evaluated):
    copy, kept = calibrated
    said = predict(tmp_path / "predict", copy, faces / "test", *GIVEN)
    image = kept["thresholds"]["image"]
    scores = {file["path"].rpartition("/")[2]: file["score"] for file in said["files"]}
    assert scores == pytest.approx(evaluated, abs=2e-6)
    for file in said["files"]:
        assert (file["status"] == "fake") == (file["score"] > image["value"])
        assert file["faces"][0]["probability"] == file["probability"]
    if kept["calibrations"]["image"] is None:
        assert {file["probability"] for file in said["files"]} == {None}
    else:
        fitted = calibration.from_json(kept["calibrations"]["image"])
        expected = fitted.probabilities(np.array([file["score"] for file in said["files"]]))
        assert [file["probability"] for file in said["files"]] == pytest.approx(list(expected))
    for threshold in said["thresholds"].values():  # no validation video has several frames
        assert threshold == image | {"from": "validation data", "chosen_for": "image"}
    assert (image["max_fpr"], image["n_real"], image["expected_fpr"]) == (0.4, 6, 2 / 7)
    assert said["calibrations"] == kept["calibrations"]
    assert said["chosen_on"] == [f"csv:{faces}/validation.csv"]


def any_calibration(rng: np.random.Generator) -> dict[str, Any]:
    """Of either kind; it may be nearly level, or make many scores equal."""
    if rng.random() < 0.5:
        return {"method": "platt", "slope": 3 * abs(rng.normal()), "intercept": 3 * rng.normal()}
    corners = np.sort(0.9 * rng.random(int(rng.integers(2, 6))))
    return {
        "method": "isotonic",
        "scores": np.sort(rng.random(len(corners))).tolist(),
        "corners": [*corners[:-1].round(1).tolist(), 1.0],
    }


@pytest.mark.slow
def test_no_calibration_changes_a_verdict(tmp_path, calibrated, faces, evaluated, monkeypatch):
    """The flags of `evaluate`, `predict` and `false_alarms` under 200 calibrations."""
    folder, record = calibrated
    place = tmp_path / "operating_points/last.json"
    place.parent.mkdir()
    files = find_files([str(faces / "test")])
    config = configs.predict.get_config()
    config.update(detector=str(folder), faces="given", darkest=0.0, least_sharpness=0.0)
    config.data.workers = 0
    detector, settings = detector_and_settings(config)
    flagged = {
        name: score > record["thresholds"]["image"]["value"] for name, score in evaluated.items()
    }
    assert len(set(flagged.values())) == 2
    reals = load_dataset(f"csv:{faces}/test.csv")
    numbers = [n for n, example in enumerate(reals.examples) if example.label == 0]
    alarms = sum(flagged[reals.examples[n].path.rpartition("/")[2]] for n in numbers)

    seen: dict[bytes, float] = {}

    def remembered(crops):
        new = [crop for crop in crops if crop.tobytes() not in seen]
        if new:
            scores, _ = score_crops(np.stack(new))
            seen.update((crop.tobytes(), s) for crop, s in zip(new, scores, strict=True))
        return np.array([seen[crop.tobytes()] for crop in crops]), None

    score_crops = detector.score_crops
    monkeypatch.setattr(detector, "score_crops", remembered)
    monkeypatch.setattr(detector, "explain_crops", lambda crops, *_: [None] * len(crops))
    rng, shown = np.random.default_rng(0), 0
    for number in range(200):
        fitted = {"image": any_calibration(rng), "video": None}
        place.write_text(json.dumps(record | {"calibrations": fitted}))
        detector.operating_point = read_operating_point(place.parents[1], "last", record["weights"])
        (tmp_path / str(number)).mkdir()
        prediction = module.FileScorer(config, tmp_path / str(number), detector, settings)
        prediction.score_files(files)
        for file in prediction.finished.records([file.path for file in files]):
            name = file["path"].rpartition("/")[2]
            assert (file["status"] == "fake") == flagged[name]
            if file["probability"] is not None:
                shown += 1
        assert false_alarms.alarms(detector, reals, numbers, detector.threshold, 4)[1] == alarms
    assert shown == 18 * 200


@pytest.mark.slow
def test_a_video_is_judged_by_the_threshold_of_videos(tmp_path, detector, faces, capsys):
    """Videos of two frames choose it as `predict` forms their scores; what does not fit is said."""
    detector = shutil.copytree(detector, tmp_path / "detect")
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "method", "dataset", "video"))
        for method, label in (("real", 0), ("rows", 1)):
            for number in range(6):
                path = faces / f"validation/{method}{number}.png"
                table.writerow((path, label, method, "faces", f"{method}{number // 2}"))
    flags = (f"data.tests=csv:{faces}/test.csv", f"data.validation=csv:{tmp_path}/videos.csv")
    given = (f"detector={detector}", *flags, "max_fpr=0.5", "aggregate=top_k", "top_k=1")
    assert jobs.start("evaluate", tmp_path / "evaluate", *given) == 0
    kept = json.loads((detector / "operating_points/last.json").read_text())
    loaded = rffr_jax.load_detector(detector)
    crops = [np.asarray(Image.open(faces / f"validation/real{n}.png")) for n in range(6)]
    of_videos = sorted(loaded.score(crops).reshape(3, 2).max(axis=1))
    image, video = kept["thresholds"]["image"], kept["thresholds"]["video"]
    assert video["value"] == pytest.approx(of_videos[1], abs=2e-6)  # one of three lies above it
    assert (video["n_real"], video["n_fake"], video["frames_per_video"]) == (3, 3, 2)
    assert (image["n_real"], image["aggregate"]) == (3, None)

    path = write_movie(tmp_path / "movie.mp4", crops)
    inputs = f"{path},{faces}/test/rows0.png"
    flags = (*GIVEN, "aggregate=top_k", "top_k=1")
    said = predict(tmp_path / "fits", detector, inputs, *flags, "frames_per_video=2")
    for file, one, medium in zip(said["files"], (video, image), ("video", "image"), strict=True):
        assert file["threshold"] == {
            "value": one["value"], "from": "validation data", "chosen_for": medium, "doubts": [],
        }  # fmt: skip
        assert (file["status"] == "fake") == (file["score"] > one["value"])
    capsys.readouterr()
    other = predict(tmp_path / "not", detector, inputs, *GIVEN, "frames_per_video=6")
    (doubt,) = other["files"][0]["threshold"]["doubts"]
    assert "mean of the 1 highest of 2 frames; it may not fit the mean of 6 frames" in doubt
    assert other["files"][0]["probability"] is None
    assert other["files"][1]["threshold"]["doubts"] == []
    assert doubt in capsys.readouterr().out
    assert doubt in (tmp_path / "not/predictions.csv").read_text()
    assert doubt[1:] in (tmp_path / "not/report.html").read_text()


def test_a_killed_run_goes_on(tmp_path, detector, finished, monkeypatch):
    expected = {file["path"]: file["score"] for file in finished[1]["files"][:7]}
    inputs = ",".join(expected)
    begun, workdir = [], tmp_path / "run"
    look = module.find_faces

    def dies(file, *rest):
        begun.append(file.path)
        if len(begun) > 6:
            raise KeyboardInterrupt
        return look(file, *rest)

    monkeypatch.setattr(module, "find_faces", dies)
    with pytest.raises(KeyboardInterrupt):
        predict(workdir, detector, inputs, *GIVEN)
    assert not (workdir / "predictions.json").exists()
    looked_at = []
    monkeypatch.setattr(
        module, "find_faces", lambda file, *rest: looked_at.append(file) or look(file, *rest)
    )
    said = predict(workdir, detector, inputs, *GIVEN)
    assert len(looked_at) == 7 - 4  # a whole batch of four was finished
    assert [file["path"] for file in said["files"]] == list(expected)
    scores = {file["path"]: file["score"] for file in said["files"]}
    assert scores == pytest.approx(expected, abs=2e-6)
    looked_at.clear()
    assert predict(workdir, detector, inputs, *GIVEN) == said
    assert not looked_at


def test_scores_of_another_compute_type_are_not_kept(tmp_path, detector, faces):
    one = faces / "test/rows0.png"
    scores = []
    for dtype in ("float32", "bfloat16"):
        kept = predict(tmp_path / "kept", detector, one, *GIVEN, f"dtype={dtype}")
        assert kept["detector"]["dtype"] == dtype
        scores.append(kept["files"][0]["score"])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_a_file_that_changes_is_scored_and_looked_at_again(tmp_path, detector, faces, monkeypatch):
    path = shutil.copy(faces / "test/rows0.png", tmp_path / "face.png")
    look = module.find_faces

    def changes(file, *rest):
        found = look(file, *rest)
        shutil.copy(faces / "test/real0.png", path)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(module, "find_faces", changes)
        before = predict(tmp_path / "out", detector, path, *GIVEN)["files"][0]
    after = predict(tmp_path / "out", detector, path, *GIVEN)["files"][0]
    assert before["sha256"] != after["sha256"]
    assert before["score"] != after["score"]


def test_threads_that_read_ahead_change_nothing(tmp_path, detector, finished):
    some = few_of(finished)
    said = predict(tmp_path / "ahead", detector, ",".join(some), *GIVEN, "data.workers=3")
    assert [file["path"] for file in said["files"]] == list(some)
    scores = {file["path"]: file["score"] for file in said["files"]}
    assert scores == pytest.approx(some, abs=2e-6)


def test_faces_of_a_video_have_scores_in_time(tmp_path, detector, monkeypatch):
    for room in (face_finding, face_settings):
        monkeypatch.setattr(room, "load_detector", lambda *_: BrightSquares())
    frames = [picture((8 + i, 10, 34), (90, 60 + i, 50), size=160) for i in range(12)]
    path = write_movie(tmp_path / "two faces.mp4", frames)
    flags = ("darkest=0", "least_sharpness=0", "frames_per_video=6", "aggregate=top_k", "top_k=2")
    said = predict(tmp_path / "out", detector, path, *flags)
    (file,) = said["files"]
    assert len(file["faces"]) == 2
    assert file["faces"][0]["box"][0] > 80
    for face in file["faces"]:
        assert [frame["frame"] for frame in face["frames"]] == [1, 3, 5, 7, 9, 11]
        assert [f["time"] for f in face["frames"]] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
        scores = sorted(frame["score"] for frame in face["frames"])
        assert face["score"] == pytest.approx(sum(scores[-2:]) / 2)
        (peak,) = [f for f in face["frames"] if f["frame"] == face["peak"]["frame"]]
        assert (peak["score"], peak["box"]) == (scores[-1], face["box"])
        assert (tmp_path / "out" / face["evidence"]).is_file()
    assert file["score"] == max(face["score"] for face in file["faces"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "columns"),
    [
        (("detector.inputs=original", "detector.blocks=full"), 1),
        (("detector.residual=high_pass",), 4),
    ],
)
def test_detectors_without_an_autoencoder(tmp_path, data, faces, flags, columns):
    assert jobs.start("detect", tmp_path / "detect", *data, "data.methods=rows", *flags) == 0
    said = predict(tmp_path / "out", tmp_path / "detect", faces / "test/rows0.png", *GIVEN)
    (face,) = said["files"][0]["faces"]
    with Image.open(tmp_path / "out" / face["evidence"]) as shown:
        assert columns * 192 < shown.width < (columns + 1) * 192 + 60


def test_bad_files_are_named_and_the_others_scored(tmp_path, detector, faces):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a text.jpg").write_text("no picture")
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(folder / "black.png")
    shutil.copy(faces / "test/rows0.png", folder)
    said = predict(tmp_path / "out", detector, folder, "faces=given", "least_sharpness=0")
    text, black, face = said["files"]
    assert (text["status"], text["score"], text["faces"]) == ("unknown", None, [])
    assert text["reason"].startswith("not an image or a video")
    assert (black["status"], len(black["faces"])) == ("unknown", 1)
    assert black["reason"].startswith("too dark")
    assert face["status"] in ("real", "fake")
    assert said["counts"]["unknown"] == 2


def test_a_detector_of_procedural_faces_says_so_everywhere(
    tmp_path, detector, faces, monkeypatch, capsys
):
    monkeypatch.setattr("rffr_jax.data.origins.PROCEDURAL", "faces")
    drawn = []
    draw = Explanation.picture
    monkeypatch.setattr(
        Explanation, "picture", lambda shown, note: drawn.append(note) or draw(shown, note)
    )
    said = predict(tmp_path, detector, faces / "test/rows0.png", *GIVEN)
    assert said["note"].startswith("this detector was trained on procedural faces")
    assert said["note"].endswith("not for judging people")
    told = capsys.readouterr()
    assert said["note"] in told.out
    assert said["note"] not in told.err
    assert said["note"] in (tmp_path / "predictions.csv").read_text()
    (under_the_picture,) = drawn
    assert under_the_picture.endswith(
        ". This detector" + said["note"][len("this detector") :] + "."
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to look at"),
        (("inputs=nowhere.png",), "nowhere.png does not exist"),
        (("inputs=README.md", "threshold=2.0"), "threshold=2.0; it must lie in [0, 1]"),
        (("inputs=README.md", "aggregate=most"), "aggregate='most' is not known"),
        (("inputs=README.md", "detector=configs"), "detector=configs holds no checkpoint; name"),
        (("inputs=README.md", "detector=gone"), "no checkpoint, because there is no such folder"),
        (("inputs=README.md", "checkpoint=best:none"), "choose last"),
        (("inputs=README.md", "faces=some"), "faces='some' is not known"),
    ],
)
def test_mistakes_are_refused_in_one_line(tmp_path, detector, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(jobs.CONFIGS.parent)
    workdir = tmp_path / "refused"
    assert jobs.start("predict", workdir, f"detector={detector}", *flags) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not workdir.exists()
