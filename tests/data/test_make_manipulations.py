import csv
import importlib.util
import pathlib
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from rffr_jax.synthetic.landmark_manipulations import LANDMARK_METHODS
from rffr_jax.synthetic.manipulations import METHODS
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.procedural_face import render_face

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


script = load_script("make_manipulations")
report = load_script("manipulation_report")


def write_faces(folder, count, size=96):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.rint(render_face(9, i, size).image * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), pixels[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "in", 20)


def pixels_of(path):
    pixels = cv2.imread(str(path))
    assert pixels is not None, path
    return pixels


def rows_of(folder, split):
    with (folder / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run(*args):
    return script.main([str(arg) for arg in args])


def test_folder_becomes_a_data_set(faces, tmp_path):
    output = tmp_path / "made" / "set"
    assert run("--input", faces, "--output", output, "--size", 64) == 0
    counts, sources = {}, {}
    for split in ("train", "validation", "test"):
        rows = rows_of(output, split)
        assert list(rows[0]) == ["path", "label", "video", "method", "dataset", "source", "group"]
        counts[split] = len(rows)
        sources[split] = {row["source"] for row in rows}
        for row in rows:
            assert pixels_of(output / row["path"]).shape == (64, 64, 3)
            kind = "real" if row["label"] == "0" else f"fake/{row['method']}"
            assert row["path"] == f"{split}/{kind}/{row['source']}.jpg"
        assert {row["method"] for row in rows} == {"real", *METHODS}
        assert len({row["video"] for row in rows}) == len(rows)
        files = sorted(p.relative_to(output).as_posix() for p in (output / split).rglob("*.jpg"))
        assert files == sorted(row["path"] for row in rows)
    assert counts == {"train": 70, "validation": 10, "test": 20}
    assert not sources["train"] & sources["test"]
    assert not sources["train"] & sources["validation"]
    assert [path.name for path in output.parent.iterdir()] == ["set"]


def test_same_seed_same_bytes_other_seed_other_split(faces, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ("--size", 48, "--seed", seed, "--split", "train=.5,test=.5")
        assert run("--input", faces, "--output", tmp_path / name, *options) == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    one, other = ({row["source"] for row in rows_of(tmp_path / x, "test")} for x in "ac")
    assert one != other


def landmark_table(folder, file, persons):
    """The points of the faces that `write_faces` has drawn, in the files' order."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        points = [f"{axis}{i}" for i in range(68) for axis in "xy"]
        writer.writerow(["image", "person", *points])
        for i, (path, person) in enumerate(zip(sorted(folder.iterdir()), persons, strict=True)):
            side = pixels_of(path).shape[0]
            points = procedural_landmarks(9, i) * side - 0.5
            writer.writerow([path.name, person, *points.ravel()])


def test_landmarks_and_persons(tmp_path):
    faces = write_faces(tmp_path / "in", 10)
    table = tmp_path / "points.csv"
    landmark_table(faces, table, [f"p{i // 2 * 2 if i > 7 else i}" for i in range(10)])
    photographs = script.find_photographs(faces, str(table), "person")
    halves = script.split_groups(photographs, {"train": 0.5, "test": 0.5}, 0).values()
    groups = [{photograph.group for photograph in half} for half in halves]
    assert sum(len(half) for half in halves) == 10
    assert sorted(map(len, groups)) == [4, 5]
    assert not groups[0] & groups[1]

    options = ("--landmarks", table, "--group-by", "person", "--size", 48, "--split", "train=1")
    output = tmp_path / "out"
    assert run("--input", faces, "--output", output, *options) == 0
    rows = rows_of(output, "train")
    assert {row["method"] for row in rows} == {"real", *METHODS, *LANDMARK_METHODS}
    real = next(row for row in rows if row["label"] == "0")
    made = pixels_of(output / real["path"]).astype(np.float32)
    given = cv2.resize(pixels_of(faces / f"{real['source']}.png"), (48, 48))
    assert np.corrcoef(cv2.blur(made, (3, 3)).ravel(), given.ravel())[0, 1] > 0.7
    frames = [photograph.frame for photograph in photographs]
    one, key = photographs[0], (0, zlib.crc32(photographs[0].name.encode()))
    textures = script.fit_textures("train", frames)
    again = script.make_frame_fakes(one.frame, frames, textures, key, 48)
    for method in LANDMARK_METHODS:
        path = output / "train" / "fake" / method / f"{one.name}.jpg"
        assert path.read_bytes() == again[method]
        fake = pixels_of(path.with_name(f"{real['source']}.jpg"))
        change = np.abs(fake.astype(np.float32) - made).mean(-1)
        assert change[:8].max() == change[:, :8].max() == 0, method  # one geometry, one encoder
        assert change[18:42, 15:33].mean() > 1, method


def test_landmarks_that_cannot_be_used(tmp_path, capsys):
    """Too few people end the run; a photograph whose points lie off its face is skipped by name."""
    faces = write_faces(tmp_path / "in", 9)
    table = tmp_path / "points.csv"
    options = ("--input", faces, "--output", tmp_path / "out", "--landmarks", table, "--size", 48)
    landmark_table(faces, table, [f"p{i % 5}" for i in range(9)])
    assert run(*options, "--split", "train=1") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "split 'train': a texture model needs frames of at least 8 people, there are 5" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "points.csv"]

    landmark_table(faces, table, range(9))
    lines = table.read_text().splitlines()
    name, person, *values = lines[1].split(",")
    lines[1] = ",".join([name, person, *(str(float(value) + 40) for value in values)])
    table.write_text("\n".join(lines))
    assert run(*options, "--split", "train=1") == 0
    printed = capsys.readouterr()
    assert "8 real, 64 fake, 1 files skipped" in printed.out
    assert f"skipped {faces}/000.png: " in printed.err
    assert "of its 68 landmarks lie outside its 96 x 96 pixels" in printed.err


def test_donors_are_of_another_group_and_the_same_split(faces):
    photographs = script.find_photographs(faces, None, "file")
    photographs = [
        script.dataclasses.replace(photograph, group=f"g{i % 3}")
        for i, photograph in enumerate(photographs)
    ]
    members = photographs[:10]
    for i, photograph in enumerate(members):
        donor = script.pick_stranger(photograph, members, (0, i))
        assert donor.group != photograph.group
        assert donor in members


def test_bad_files_are_skipped_by_name(tmp_path, capsys):
    faces = write_faces(tmp_path / "in", 8)
    (faces / "broken.jpg").write_bytes(b"no image")
    cv2.imwrite(str(faces / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(faces / "wide.png"), np.zeros((64, 90, 3), np.uint8))
    assert run("--input", faces, "--output", tmp_path / "out", "--split", "train=1") == 0
    printed = capsys.readouterr()
    assert "8 real, 32 fake, 3 files skipped" in printed.out
    for name in ("broken.jpg", "tiny.png", "wide.png"):
        assert name in printed.err


def test_a_picture_that_exif_turns(tmp_path, capsys):
    """A crop is turned; a photograph with landmarks is skipped: which way are they?"""
    faces = write_faces(tmp_path / "in", 8)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels = pixels_of(faces / "000.png")[..., ::-1]
    Image.fromarray(pixels[::-1, ::-1]).save(faces / "turned.png", exif=exif)
    assert run("--input", faces, "--output", tmp_path / "a", "--split", "train=1") == 0
    assert "9 real, 36 fake, 0 files skipped" in capsys.readouterr().out
    upright, turned = (
        pixels_of(tmp_path / "a" / "train" / "real" / f"{name}.jpg").astype(np.float32)
        for name in ("000", "turned")
    )
    one, other = (cv2.blur(pixels, (9, 9)).ravel() for pixels in (upright, turned))
    assert np.corrcoef(one, other)[0, 1] > 0.9

    table = tmp_path / "points.csv"
    landmark_table(faces, table, range(9))
    options = ("--landmarks", table, "--split", "train=1", "--size", 48)
    assert run("--input", faces, "--output", tmp_path / "b", *options) == 0
    printed = capsys.readouterr()
    assert "8 real, 64 fake, 1 files skipped" in printed.out
    assert f"skipped {faces}/turned.png: its EXIF orientation turns it" in printed.err


def test_formats_are_those_of_the_program(tmp_path, capsys):
    """What `folder:` reads, hidden files left out; the high byte of 16 bits."""
    faces = write_faces(tmp_path / "in", 2)
    Image.fromarray(pixels_of(faces / "000.png")).save(faces / "a.tif")
    Image.fromarray(np.full((64, 64), 30_000, np.uint16)).save(faces / "deep.png")
    (faces / ".hidden.png").write_bytes((faces / "000.png").read_bytes())
    assert run("--input", faces, "--output", tmp_path / "out", "--split", "train=1") == 0
    assert "4 real, 16 fake, 0 files skipped" in capsys.readouterr().out
    assert abs(pixels_of(tmp_path / "out" / "train" / "real" / "deep.jpg").mean() - 117) < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "nowhere"], "no such folder"),
        (["--split", "train=.5,test=.4"], "add up to 1"),
        (["--split", "train"], "NAME=SHARE"),
        (["--split", "../x=1"], "plain name"),
        (["--split", "train=.97,test=.03"], "needs at least 2"),
        (["--size", "20"], "between 48 and 512"),
        (["--seed", "-1"], "negative"),
        (["--group-by", "person"], "needs --landmarks"),
        (["--landmarks", "nowhere.csv"], "no such file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(faces, tmp_path, capsys, options, message):
    output = tmp_path / "out"
    assert run("--input", faces, "--output", output, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_more_mistakes(faces, tmp_path, capsys):
    assert run("--input", faces, "--output", tmp_path) == 2
    assert "exists already" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("--input", empty, "--output", tmp_path / "out") == 2
    assert "no images there" in capsys.readouterr().err
    (empty / "a.png").write_bytes(b"x")
    (empty / "b.png").write_bytes(b"x")
    assert run("--input", empty, "--output", tmp_path / "out", "--split", "train=1") == 2
    assert "fewer than 2 groups" in capsys.readouterr().err
    table = tmp_path / "points.csv"
    table.write_text("image,person,x0\n")
    assert run("--input", faces, "--output", tmp_path / "out", "--landmarks", table) == 2
    assert "column 'y0' is missing" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "points.csv"]


def test_report_prints_the_matrix_and_draws_a_sheet(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert report.main(["--size", "64", "--sources", "60", "--sheet", str(sheet)]) == 0
    printed = capsys.readouterr().out
    assert "off-diagonal mean" in printed
    for method in METHODS:
        assert printed.count(method) >= 3
    assert pixels_of(sheet).shape == (8 * 64, 13 * 64, 3)
    assert report.main(["--input", str(tmp_path), "--sources", "60"]) == 2


def test_report_of_frames_keeps_people_apart(tmp_path, capsys):
    faces = write_faces(tmp_path / "in", 26, 80)
    table = tmp_path / "points.csv"
    landmark_table(faces, table, [f"p{i % 24}" for i in range(26)])
    halves = report.read_frames(faces, str(table), 20, 0)
    first, second = ({frame.person for frame in half} for half in halves)
    assert len(halves[0]) == len(halves[1]) == 10
    assert not first & second
    sheet = tmp_path / "sheet.png"
    options = ["--input", str(faces), "--landmarks", str(table), "--sheet", str(sheet)]
    assert report.main([*options, "--sources", "20"]) == 0
    printed = capsys.readouterr().out
    for method in LANDMARK_METHODS:
        assert printed.count(method) == 4
    assert pixels_of(sheet).shape == (8 * 64, 13 * 64, 3)
    assert report.main([*options, "--sources", "60"]) == 2
    assert "usable frames in two halves" in capsys.readouterr().err


def test_report_skips_bad_files_by_name(tmp_path, capsys):
    faces = write_faces(tmp_path / "in", 3)
    (faces / "0.png").write_bytes(b"no image")
    cv2.imwrite(str(faces / "00.png"), np.zeros((64, 90, 3), np.uint8))
    assert len(report.read_faces(str(faces), 3, 0, 64)) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"skipped {faces}/{name}.png" for name in ("0", "00")
    ]
    with pytest.raises(report.UserError, match="3 usable images, --sources asks for 4"):
        report.read_faces(str(faces), 4, 0, 64)


@pytest.mark.slow
def test_the_artefact_families_do_not_overlap():
    faces = report.read_faces(None, 300, 1, 96)
    taken = report.capture_faces(faces, 1, 64)
    matrix = report.cross_matrix(taken)
    off_diagonal = ~np.eye(len(METHODS), dtype=bool)
    assert matrix[off_diagonal].mean() < 0.9
    assert matrix.diagonal().min() > matrix[off_diagonal].mean()
