"""Every mistake ends in one line and exit code 2, and leaves nothing half-written behind."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rffr_jax.runs.lock import locked_folder
from tests import jobs


def huge_png():
    """A PNG of 20000 x 20000 pixels whose pixels are missing."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels


@pytest.fixture
def refused(tmp_path, capsys):
    """Starts a job that must be refused in one line, without a trace in its workdir."""

    def start(job, *flags):
        workdir = tmp_path / "refused"
        capsys.readouterr()
        assert jobs.start(job, workdir, *flags) == 2
        assert not workdir.exists()
        lines = capsys.readouterr().err.splitlines()
        (line,) = (line for line in lines if "left out" not in line)  # what pretraining left out
        assert line == lines[-1]
        assert line.startswith("rffr_jax: ")
        return line

    return start


# ---- data


def test_missing_paths_are_named(refused, tmp_path, mae):
    gone = tmp_path / "gone"
    for kind in ("folder", "list", "csv"):
        assert str(gone) in refused("pretrain", f"data.train={kind}:{gone}")
    assert str(gone) in refused("residual", f"mae={mae}", f"data.inputs=folder:{gone}")


def test_an_empty_folder_is_named(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("pretrain", f"data.train=folder:{tmp_path}/empty")
    assert f"no images in {tmp_path}/empty" in line


def test_specs_with_mistakes_are_named(refused, detector, faces):
    assert "unknown kind 'foldr'" in refused("pretrain", "data.train=foldr:x")
    assert "unknown key 'limits'" in refused("pretrain", f"data.train=csv:{faces}/x?limits=3")
    tests = f"data.tests=csv:{faces}/test.csv"
    line = refused("evaluate", f"detector={detector}", tests, "data.methods=swap")
    assert "no fakes of method 'swap'; the methods there are columns, rows" in line


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"path": "a.png", "label": 0, "lable": 1}], "entry 1: unknown 'lable'"),
        ([{"path": "a.png", "label": 2}], "entry 1: label 2; it must be 0 (real) or 1 (fake)"),
        ([{"path": "a.png", "label": "fake"}], "entry 1: label 'fake'"),
        ([{"label": 0}], "entry 1: no 'path'"),
        ([], "no images are listed"),
        ({"path": "a.png"}, "not a JSON list"),
    ],
)
def test_lists_with_mistakes_are_named(refused, tmp_path, entries, expected):
    (tmp_path / "list.json").write_text(json.dumps(entries))
    line = refused("pretrain", f"data.train=list:{tmp_path}/list.json")
    assert f"list:{tmp_path}/list.json" in line
    assert expected in line


def test_one_class_is_not_enough(refused, tmp_path, mae, detector, data):
    jobs.draw_faces(tmp_path / "faces", seed=0, reals=4)
    rows = [(f"faces/real{i}.png", 0, "real", "faces", "") for i in range(4)]
    jobs.write_table(tmp_path / "reals.csv", rows)
    reals = f"csv:{tmp_path}/reals.csv"
    assert reals in refused("evaluate", f"detector={detector}", f"data.tests={reals}")
    train, validation = data
    line = refused("detect", f"mae={mae}", f"data.train={reals}", validation)
    assert "data.train holds no fake images" in line
    assert reals in refused("detect", f"mae={mae}", train, f"data.validation={reals}")
    fakes = [(f"faces/rows{i}.png", 1, "rows", "faces", "") for i in range(2)]
    jobs.write_table(tmp_path / "fakes.csv", fakes)
    line = refused("pretrain", validation, f"data.train=csv:{tmp_path}/fakes.csv")
    assert "holds no real image" in line


def test_unusual_images_are_used_and_bad_ones_are_named(tmp_path, mae, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    rgb = Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    good = {
        "alpha.png": rgb.convert("RGBA"),
        "cmyk.jpg": rgb.convert("CMYK"),
        "deep.png": Image.fromarray(np.full((48, 48), 30_000, np.uint16)),
        "grey.png": rgb.convert("L"),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image in good.items():
        image.save(folder / name)
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.save(folder / "whole.png")
    bad = {
        "empty.png": b"",
        "huge.png": huge_png(),
        "text.jpg": b"no image",
        "truncated.png": (folder / "whole.png").read_bytes()[:60],
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    Image.new("RGB", (1, 1)).save(folder / "dot.png")

    flags = (f"mae={mae}", f"data.inputs=folder:{folder}")
    assert jobs.start("residual", tmp_path / "run", *flags, "data.max_bad_fraction=0.5") == 0
    error = capsys.readouterr().err
    for name in (*bad, "dot.png"):
        assert error.count(f"left out: {folder}/{name}: ") == 1
    assert "pixels are too many, the limit is 80 million" in error
    assert "1 x 1 pixels are too few" in error
    with np.load(tmp_path / "run" / "residuals.npz") as arrays:
        used = sorted(path.rpartition("/")[2] for path in arrays["path"])
    assert used == sorted([*good, "turned.jpg", "whole.png"])

    assert jobs.start("residual", tmp_path / "strict", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "images cannot be used, and max_bad_fraction allows 0.01" in line
    assert str(folder) in line
    assert not (tmp_path / "strict" / "residuals.npz").exists()


def test_too_many_bad_files_in_a_training_end_it(tmp_path, capsys):
    jobs.draw_faces(tmp_path / "train", seed=0, reals=4)
    for path in (tmp_path / "train").glob("real*"):
        path.write_bytes(b"")
    flags = [f"data.{split}=csv:{tmp_path}/train.csv" for split in ("train", "validation")]
    assert jobs.start("pretrain", tmp_path / "run", *flags) == 2
    assert "of 4 images cannot be used" in capsys.readouterr().err.splitlines()[-1]
    assert jobs.saved_steps(tmp_path / "run" / "checkpoints" / "latest") == []


# ---- settings


@pytest.mark.parametrize(
    ("job", "flag", "expected"),
    [
        ("pretrain", "blocks.k=5", "blocks.k=5 does not fit a grid of 4 x 4 patches"),
        ("pretrain", "blocks.k=0", "blocks.k=0 does not fit"),
        ("pretrain", "model.image_size=50", "model.image_size=50 is not a multiple"),
        ("pretrain", "model.size=huge", "model.size='huge' is not known; choose one of vit_b16"),
        ("pretrain", "mask.blocks=3", "3 blocks in one pass (blocks.blocks_per_pass, mask.blocks)"),
        ("pretrain", "mask.kind=blocks", "mask.kind='blocks' is not known"),
        ("pretrain", "dtype=half", "dtype='half' is not known"),
        ("pretrain", "optimizer.schedule=cosin", "optimizer.schedule='cosin' is not known"),
        ("pretrain", "optimizer.warmup_steps=4", "optimizer.warmup_steps=4 must lie between"),
        ("pretrain", "optimizer.warmup_steps=-1", "optimizer.warmup_steps=-1; it must not be"),
        ("pretrain", "optimizer.learning_rate=0.0", "optimizer.learning_rate=0.0; it must be abo"),
        ("pretrain", "optimizer.learning_rate=nan", "optimizer.learning_rate=nan; it must be abo"),
        ("detect", "optimizer.weight_decay=-0.1", "optimizer.weight_decay=-0.1; it must not be"),
        (
            "detect",
            "optimizer.backbone_learning_rate=nan",
            "optimizer.backbone_learning_rate=nan; it must not be",
        ),
        ("detect", "optimizer.b1=1.0", "optimizer.b1=1.0; it must be 0 or more and below 1"),
        ("detect", "optimizer.b2=-0.5", "optimizer.b2=-0.5; it must be 0 or more and below 1"),
        ("pretrain", "batch_size=0", "batch_size=0; it must be 1 or more"),
        ("pretrain", "init_from=gone", "init_from=gone holds no checkpoint"),
        ("detect", "mae=gone", "mae=gone holds no checkpoint"),
        ("detect", "detector.init=gone", "detector.init=gone holds no checkpoint"),
        ("detect", "detector.inputs=rgb", "detector.inputs='rgb' is not known"),
        ("detect", "detector.blocks=some", "detector.blocks='some' is not known"),
        ("detect", "detector.residual=no", "detector.residual='no' is not known"),
        ("detect", "selection=best", "selection='best' is not known"),
        ("detect", "blocks.probability=0.0", "blocks.probability=0.0 must lie in (0, 1]"),
        ("detect", "blocks.on_empty=skip", "blocks.on_empty='skip' is not known"),
        ("detect", "blocks.group=3", "4 images, which do not fit blocks.group=3; set --config.ba"),
        ("detect", "data.methods=swap", "data.methods: no fakes of method 'swap'"),
    ],
)
def test_settings_that_do_not_fit_are_named(refused, data, mae, job, flag, expected):
    flags = (*data, f"mae={mae}") if job == "detect" else data
    assert expected in refused(job, *flags, flag)


def test_a_typo_is_told_before_a_missing_mae(refused, data):
    line = refused("detect", *data, "mae=gone", "detector.inputs=rgb")
    assert "detector.inputs='rgb' is not known" in line


def test_mask_ratios_are_named(refused, data):
    line = refused("pretrain", *data, "mask.kind=random", "mask.ratio=1.5")
    assert "mask.ratio=1.5 hides 24 of 16 patches" in line


def test_a_mistake_leaves_a_good_workdir_as_it_is(mae, data, capsys):
    config = (mae / "config.json").read_bytes()
    for flag in ("optimizer.schedule=cosin", "optimizer.warmup_steps=4", "steps=0"):
        assert jobs.start("pretrain", mae, *data, flag) == 2
        assert (mae / "config.json").read_bytes() == config
    capsys.readouterr()


def test_an_odd_balanced_batch_is_named(refused, data, mae):
    line = refused("detect", *data, f"mae={mae}", "batch_size=5", "blocks.group=5")
    assert "batch size 5 is odd" in line


# ---- checkpoints and workdirs


def test_checkpoints_of_other_models_are_refused(refused, data, mae, detector, faces):
    line = refused("detect", *data, f"mae={mae}", "blocks.k=4")
    assert "was pretrained with k=2 and blocks.k=4" in line
    line = refused("detect", *data, f"mae={mae}", "model.image_size=60")
    assert "reads 48 px images in 12 px patches" in line
    line = refused("pretrain", *data, f"init_from={mae}", "model.size=mini")
    assert f"init_from={mae} holds" in line
    line = refused("detect", *data, f"mae={mae}", f"detector.init={mae}", "model.size=mini")
    assert f"detector.init={mae} holds" in line
    assert "holds a detector checkpoint, not a mae" in refused("residual", f"mae={detector}")
    tests = f"data.tests=csv:{faces}/test.csv"
    assert "holds a mae checkpoint, not a detector" in refused("evaluate", f"detector={mae}", tests)
    assert "detector=gone holds no checkpoint" in refused("evaluate", "detector=gone", tests)


@pytest.mark.parametrize(
    "flag",
    [
        "model.size=mini",
        "mask.kind=grid",
        "seed=1",
        "dtype=float32",
        "batch_size=6",
        "steps=8",
        "optimizer.learning_rate=0.5",
        "optimizer.b1=0.5",
        "blocks.alpha=3.0",
    ],
)
def test_a_workdir_of_another_run_stays_as_it_is(mae, data, capsys, flag):
    before, record = changed_times(mae), (mae / "run.json").read_text()
    assert jobs.start("pretrain", mae, *data, flag) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{mae} holds a run with other settings (" in line
    name, value = flag.split("=")
    assert re.search(rf'{name}: \S+ there, "?{value}"? in this config', line)
    assert changed_times(mae) == before
    assert (mae / "run.json").read_text() == record


def changed_times(workdir):
    """Of all files but the two that a program writes while it looks whether it may run."""
    files = (path for path in workdir.rglob("*") if path.name not in (".lock", "run.json"))
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_detector_does_not_go_on_with_another_mae(tmp_path, data, mae, detector, capsys):
    other = tmp_path / "other"
    assert jobs.start("pretrain", other, *data, "seed=1", "steps=2") == 0
    capsys.readouterr()
    before = (detector / "config.json").read_bytes()
    flags = (*data, "data.methods=rows", f"mae={other}")
    assert jobs.start("detect", detector, *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"mae={other} is not the MAE that {detector} was begun with" in line
    assert (detector / "config.json").read_bytes() == before


def test_a_workdir_in_use_is_refused(mae, data, capsys, faces, detector):
    for job, workdir, flags in (
        ("pretrain", mae, data),
        ("evaluate", detector, (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")),
    ):
        with locked_folder(workdir):
            assert jobs.start(job, workdir, *flags) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"--workdir={workdir} is in use by another run" in line


def test_more_steps_are_a_new_run(mae, data, detector, capsys):
    assert jobs.start("pretrain", mae, *data, "steps=8") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "steps: 4 there, 8 in this config" in line
    assert (
        f"more steps are a new run, which can start from this one: --config.init_from={mae}" in line
    )
    flags = (*data, f"mae={mae}", "data.methods=rows", "steps=8")
    assert jobs.start("detect", detector, *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("more steps are a new run")


def test_a_workdir_of_another_job_is_refused(mae, detector, faces, capsys):
    before = (detector / "config.json").read_bytes()
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", detector, *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--workdir={detector} holds a run of the job detect; name another folder" in line
    assert (detector / "config.json").read_bytes() == before


def test_a_validation_set_without_a_usable_real_is_named(tmp_path, mae, data, capsys):
    jobs.draw_faces(tmp_path / "v", seed=0, reals=2)
    for path in (tmp_path / "v").glob("real*"):
        path.write_bytes(b"")
    flags = (data[0], f"data.validation=csv:{tmp_path}/v.csv", "data.max_bad_fraction=0.9")
    assert jobs.start("detect", tmp_path / "run", *flags, f"mae={mae}") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "dataset 'faces' has no usable real image among 4" in line


def test_bests_of_one_name_are_refused(refused, tmp_path, mae, data):
    jobs.draw_faces(tmp_path / "v", seed=0, reals=2)
    methods = ("real", "a/b", "a b")
    rows = [
        (f"v/{file}{i}.png", int(method != "real"), method, "set", "")
        for i in range(2)
        for file, method in zip(("real", "rows", "columns"), methods, strict=True)
    ]
    jobs.write_table(tmp_path / "v.csv", rows)
    line = refused("detect", data[0], f"data.validation=csv:{tmp_path}/v.csv", f"mae={mae}")
    assert "method 'a b' of 'set' and for method 'a/b' of 'set' would both be named set-a_b" in line
