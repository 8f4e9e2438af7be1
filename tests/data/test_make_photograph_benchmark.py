"""The benchmark of photographs, built of drawn faces."""

import csv
import types

import cv2
import numpy as np
import pytest

from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import manipulation_mask
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.landmarks import landmark_count
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.procedural_face import render_face
from tests.data.test_make_manipulations import load_script

script = load_script("make_photograph_benchmark")
SIDE = 96


def draw(file, identity, side=SIDE):
    """A drawn face; an empty file where there is no `side`."""
    if not side:
        file.touch()
        return
    pixels = np.rint(render_face(9, identity, side).image * 255).astype(np.uint8)
    cv2.imwrite(str(file), pixels[..., ::-1])


def write_sources(folder, people, faces, portraits, side=SIDE):
    """The three sources; `portraits` are the names of people, one picture each."""
    for name in ("ffhq256", "youtube_faces68", "portraits160"):
        (folder / name).mkdir(parents=True)
    for number in range(faces):
        draw(folder / "ffhq256" / f"{number:05d}.png", 1000 + number, side)
    rows = [["image", "person", *(f"{axis}{i}" for i in range(68) for axis in "xy")]]
    for number in range(people):
        draw(folder / "youtube_faces68" / f"{number}.png", number, side)
        points = procedural_landmarks(9, number) * SIDE - 0.5
        rows.append([f"{number}.png", f"Person_{chr(65 + number)}", *map(str, points.ravel())])
    write_table(folder / "youtube_faces68" / "landmarks.csv", rows)
    for number in range(len(portraits)):
        draw(folder / "portraits160" / f"{number}.png", 2000 + number, side)
    rows = [["image", "person"], *([f"{i}.png", person] for i, person in enumerate(portraits))]
    write_table(folder / "portraits160" / "people.csv", rows)
    return folder


def write_table(file, rows):
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces") / "in"
    return write_sources(folder, 24, 8, ["Zoe", "Zoe", "Yan"])


@pytest.fixture(autouse=True)
def fewer_people_and_a_detector(monkeypatch):
    """A split of 24 people in three equal parts; a detector that knows where faces are."""
    thirds = dict.fromkeys(script.PEOPLE_SHARES, 1 / 3)
    monkeypatch.setattr(script, "PEOPLE_SHARES", thirds)

    def detect(image):
        if image.std() < 1:
            return []
        return [types.SimpleNamespace(landmarks=template_landmarks(len(image)))]

    detector = types.SimpleNamespace(detect=detect)
    monkeypatch.setattr(script, "load_detector", lambda *_: detector)


def run(source, output, *options):
    flags = ("--input", source, "--output", output, "--size", 48, *options)
    return script.main([str(flag) for flag in flags])


@pytest.mark.slow
def test_a_benchmark_in_units(sources, tmp_path, capsys):
    assert run(sources, tmp_path / "a") == 0
    printed = capsys.readouterr().out
    assert "mae.csv: 6 images, 0 photographs skipped" in printed
    assert "youtube_faces, 8 people: 8 real, 8 autoencoder_swap, 8 landmark_swap" in printed
    assert "ffhq, 2 people: 2 real, 2 self_blended" in printed
    assert "no two of mae, train, validation, test share a person, nor a picture" in printed
    mae = load_dataset(f"csv:{tmp_path}/a/mae.csv?group_limit=1")
    assert [e.group for e in mae.examples] == ["Zoe", "Yan", "00000", "00001", "00002"]
    seen = {}
    for split in script.PEOPLE_SHARES:
        dataset = load_dataset(f"csv:{tmp_path}/a/unit0/{split}.csv")
        methods = {e.method for e in dataset.examples if e.dataset == "youtube_faces"}
        assert methods == {"real", *script.FRAME_METHODS}
        assert {e.method for e in dataset.examples if e.dataset == "ffhq"} == {
            "real",
            "self_blended",
        }
        assert dataset.load(0, 48).shape == (48, 48, 3)
        assert landmark_count(dataset, 0) == 68
        assert manipulation_mask(dataset, 0, 48) is None
        mask = manipulation_mask(dataset, 2, 48)
        assert dataset.examples[2].method == "landmark_swap"
        assert mask is not None
        assert 0.05 < mask.mean() < mask.max() == 1
        seen[split] = {e.group for e in dataset.examples}
    assert len(set.union(*seen.values())) == sum(map(len, seen.values())) == 24 + 5

    assert run(sources, tmp_path / "b") == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.*"))
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    before = (tmp_path / "a" / "mae.csv").stat().st_mtime_ns
    assert run(sources, tmp_path / "a", "--unit", 1) == 0
    assert (tmp_path / "a" / "mae.csv").stat().st_mtime_ns == before
    other = load_dataset(f"csv:{tmp_path}/a/unit1/test.csv")
    assert {e.group for e in other.examples} != seen["test"]
    capsys.readouterr()
    assert run(sources, tmp_path / "a", "--unit", 2, "--magnification", 1) == 2
    assert '"magnification": 1.4' in capsys.readouterr().err


@pytest.mark.slow
def test_a_picture_in_two_splits_ends_the_command(sources, tmp_path, capsys):
    folder = tmp_path / "in"
    write_sources(folder, 24, 8, ["Zoe"])
    draw(folder / "portraits160" / "0.png", 3)  # whose person is in the frames under another name
    (folder / "portraits160" / "1.png").write_bytes(b"no image")
    cv2.imwrite(str(folder / "portraits160" / "2.png"), np.zeros((64, 64, 3), np.uint8))
    rows = [["image", "person"], *([f"{number}.png", "Zoe"] for number in range(3))]
    write_table(folder / "portraits160" / "people.csv", rows)
    assert run(folder, tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()
    assert "2.png: no face is found in it" in "".join(error)
    assert "1.png" in "".join(error)
    assert "are nearly equal to pictures of mae (the first are youtube_faces68/3" in error[-1]
    assert not list((tmp_path / "out").glob("*unit*"))


def test_people_of_the_mae_are_refused_by_name(tmp_path, capsys):
    folder = write_sources(tmp_path / "in", 24, 8, ["Zoe", "person c"], side=0)
    assert run(folder, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "1 people of youtube_faces68 are in portraits160, too (the first is person c)" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_people_whose_names_have_no_latin_letters_are_told_apart():
    script.refuse_common_people({"0001", "张伟"}, {"0002", "李娜"})
    with pytest.raises(UserError, match=r"the first is 张伟\)"):
        script.refuse_common_people({"0001", "张伟"}, {"张 伟"})


def test_photographs_of_one_name_in_several_folders_stay_apart(tmp_path):
    root = tmp_path / "ffhq256"
    files = [root / name for name in ("a/0001.png", "b/0001.png", "a_b/0001.png", "a/b_0001.png")]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(file, number)
    part = script.Part(tmp_path / "out", types.SimpleNamespace(input=str(tmp_path)))
    found = list(part.read_files("ffhq256", [(file, "somebody") for file in files[:3]]))
    assert [one.name for one in found] == ["a_0001", "b_0001", "a_b_0001"]
    with pytest.raises(UserError, match=r"would both be called a_b_0001; rename one"):
        list(part.read_files("ffhq256", [(files[3], "somebody")]))


@pytest.mark.parametrize(
    ("people", "faces", "message"),
    [
        (12, 8, "4 of 12 people are for train, and a split needs 8 or more"),
        (24, 2, "2 faces in ffhq256 are too few to part"),
    ],
)
def test_too_few_of_a_source(tmp_path, capsys, people, faces, message):
    folder = write_sources(tmp_path / "in", people, faces, ["Zoe"], side=0)
    assert run(folder, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", 20), "--size 20: must lie between 48 and 512"),
        (("--magnification", 3), "--magnification 3.0: must lie between 1 and 2"),
        (("--unit", -1), "must not be negative"),
        (("--input", "nowhere"), "nowhere/ffhq256 is no folder"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, options, message):
    assert (
        run(write_sources(tmp_path / "in", 24, 8, ["Zoe"], side=0), tmp_path / "out", *options) == 2
    )
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_images_of_a_stopped_run_are_named(tmp_path, capsys):
    (tmp_path / "out" / "mae").mkdir(parents=True)
    assert run(write_sources(tmp_path / "in", 24, 8, ["Zoe"], side=0), tmp_path / "out") == 2
    assert "mae is of a run that was stopped; remove it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["mae"]
