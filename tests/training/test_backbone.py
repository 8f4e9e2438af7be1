"""Detectors with a pretrained backbone: what is trained and kept, and what is refused."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from rffr_jax import load_detector
from rffr_jax.command import entry
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.errors import UserError
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]
SMALL = ("backbone.image_size=36", "selection=source")
ALONE = ("mae=", "detector.inputs=original", "detector.blocks=full")
NORMS = ("'attention_norm'", "'mlp_norm'", "'norm'")


@pytest.fixture(scope="module")
def backbone(mae, tmp_path_factory):
    """A MAE whose encoder is the backbone, where nothing else lies."""
    folder = tmp_path_factory.mktemp("weights") / "mae"
    shutil.copytree(mae / "checkpoints" / "latest", folder)
    return folder


@pytest.fixture(scope="module")
def norms(tmp_path_factory, data, mae, backbone):
    """A detector beside the residual branch, of whose backbone only the norms were trained."""
    workdir = tmp_path_factory.mktemp("runs") / "norms"
    flags = (f"mae={mae}", f"backbone.weights={backbone}", "detector.train=norms")
    assert jobs.start("detect", workdir, *data, *SMALL, *flags) == 0
    return workdir


@pytest.fixture(scope="module")
def head(tmp_path_factory, data, backbone):
    """A detector of whose backbone nothing was trained."""
    workdir = tmp_path_factory.mktemp("runs") / "head"
    flags = (*ALONE, f"backbone.weights={backbone}", "detector.train=head")
    assert jobs.start("detect", workdir, *data, *SMALL, *flags) == 0
    return workdir


def test_checkpoints_hold_what_was_trained(norms, head):
    arrays = jobs.saved_arrays(norms / "checkpoints" / "latest" / "4")
    original = [name for name in arrays if name.startswith("['branches']['original']")]
    assert len(original) == 2 * len(NORMS)
    assert all(any(norm in name for norm in NORMS) for name in original)
    assert "['branches']['residual']['transformer']['blocks']['qkv']['kernel']" in arrays
    best = next((norms / "checkpoints" / "best").iterdir())
    assert jobs.saved_arrays(next(best.iterdir())).keys() == arrays.keys()
    of_head = jobs.saved_arrays(head / "checkpoints" / "latest" / "4")
    assert of_head.keys() == {"['head']['kernel']", "['head']['bias']"}
    moments = jobs.saved_arrays(head / "checkpoints" / "latest" / "4", "training")
    assert not any("original" in name for name in moments)


def test_a_resumed_run_equals_an_uninterrupted_one(norms, data, mae, backbone, tmp_path):
    resumed = tmp_path / "resumed"
    shutil.copytree(norms, resumed)
    shutil.rmtree(resumed / "checkpoints" / "latest" / "4")
    flags = (f"mae={mae}", f"backbone.weights={backbone}", "detector.train=norms")
    assert jobs.start("detect", resumed, *data, *SMALL, *flags) == 0
    jobs.assert_same_run(norms, resumed)


def test_a_model_folder_needs_the_backbone_and_knows_it(
    head, mae, backbone, data, tmp_path, capsys
):
    folder = tmp_path / "model"
    trained = load_detector(head)
    trained.save_pretrained(folder)
    assert (folder / "model.safetensors").stat().st_size < 2000
    config = json.loads((folder / "config.json").read_text())
    assert str(backbone) not in json.dumps(config)
    with pytest.raises(UserError, match=r"name the converted weights of the rest"):
        load_detector(folder)
    crops = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 3), np.uint8)
    loaded = load_detector(folder, backbone=backbone)
    np.testing.assert_array_equal(loaded.score(crops), trained.score(crops))
    other = tmp_path / "other"
    assert jobs.start("pretrain", other, *data, "seed=7", "steps=2") == 0
    with pytest.raises(UserError, match=r"holds other weights \(digest \w+\) than those that"):
        load_detector(folder, backbone=other)
    given = (f"data.tests={data[1].partition('=')[2]}", f"detector={folder}")
    assert jobs.start("evaluate", tmp_path / "e", *given, f"backbone.weights={backbone}") == 0
    assert jobs.start("evaluate", tmp_path / "e2", *given) == 2
    assert "--config.backbone.weights" in capsys.readouterr().err.splitlines()[-1]


TWO_DEVICES = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
from tests import jobs
print([jobs.start("detect", *run) for run in json.loads(sys.argv[2])])
"""


@pytest.mark.slow
def test_two_devices_train_beside_the_encoder_of_a_mae(
    head, data, backbone, tmp_path, compiled_programs
):
    flags = (*data, *SMALL, *ALONE, f"backbone.weights={backbone}")
    runs = [
        (f"{tmp_path}/{train}", *flags, f"detector.train={train}", f"mesh.fsdp={fsdp}")
        for train, fsdp in (("head", 1), ("norms", 2), ("all", 1))
    ]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(compiled_programs), json.dumps(runs)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.stdout.endswith("[0, 0, 0]\n"), done.stderr[-3000:]
    one, two = (
        [line for line in jobs.metric_lines(w) if "loss" in line] for w in (head, tmp_path / "head")
    )
    losses = [[line["loss"] for line in lines] for lines in (one, two)]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-6)


def test_images_that_the_backbone_has_seen_are_recorded(faces, mae, tmp_path):
    workdir, specs = tmp_path / "run", [f"csv:{faces}/{s}.csv" for s in ("validation", "test")]
    data = [
        f"data.{split}={spec}" for split, spec in zip(("train", "validation"), specs, strict=True)
    ]
    other = tmp_path / "other"
    assert jobs.start("pretrain", other, *data, "steps=2") == 0
    flags = (f"mae={mae}", f"backbone.weights={other}", "detector.train=head", "steps=2")
    assert jobs.start("detect", workdir, *data, *SMALL, *flags) == 0
    seen = ImageHashes.load(workdir / "mae_training_images.npz").digests
    for folder in (mae, other):
        known = ImageHashes.load(folder / "training_images.npz").digests
        assert known.size
        assert np.isin(known, seen).all()


def test_an_export_is_told_where_the_backbone_lies(head, mae, backbone, tmp_path, capsys):
    workdir, moved = tmp_path / "head", tmp_path / "moved"
    shutil.copytree(head, workdir)
    shutil.copytree(backbone, moved)
    config = json.loads((workdir / "config.json").read_text())
    config["backbone"]["weights"] = str(tmp_path / "gone")
    (workdir / "config.json").write_text(json.dumps(config))
    command = ["export-model", str(workdir), str(tmp_path / "model")]
    with pytest.raises(UserError, match=r"not in .*/gone, with .*export-model --backbone=FOLDER"):
        entry.run(command)
    assert entry.run([*command, f"--backbone={moved}"]) == 0
    loaded = load_detector(tmp_path / "model", backbone=moved)
    assert np.isfinite(loaded.score(np.zeros((1, 48, 48, 3), np.uint8))).all()
    with pytest.raises(UserError, match=r"holds a mae; leave it out"):
        entry.run(["export-model", str(mae), str(tmp_path / "mae"), f"--backbone={moved}"])


def test_another_backbone_does_not_resume(head, data, tmp_path, capsys):
    other, resumed = tmp_path / "other", tmp_path / "resumed"
    assert jobs.start("pretrain", other, *data, "seed=7", "steps=2") == 0
    shutil.copytree(head, resumed)
    shutil.rmtree(resumed / "checkpoints" / "latest" / "4")
    flags = (*ALONE, f"backbone.weights={other}", "detector.train=head")
    assert jobs.start("detect", resumed, *data, *SMALL, *flags) == 2
    assert "holds a run with other settings (backbone: " in capsys.readouterr().err


def test_all_of_a_backbone_is_trained_and_kept(data, backbone, tmp_path):
    workdir = tmp_path / "all"
    flags = (*ALONE, f"backbone.weights={backbone}", "steps=2")
    assert jobs.start("detect", workdir, *data, *SMALL, *flags) == 0
    config = json.loads((workdir / "config.json").read_text())
    config["backbone"]["weights"] = str(tmp_path / "gone")
    (workdir / "config.json").write_text(json.dumps(config))
    assert np.isfinite(load_detector(workdir).score(np.zeros((1, 48, 48, 3), np.uint8))).all()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("detector.train=norms",), "leaves a pretrained backbone as it is, and none is named"),
        (
            ("optimizer.backbone_learning_rate=1e-3",),
            "optimizer.backbone_learning_rate=0.001 is for a pretrained backbone of which",
        ),
        (
            (
                "backbone.weights={backbone}",
                "detector.train=head",
                "optimizer.backbone_learning_rate=1e-3",
            ),
            "optimizer.backbone_learning_rate=0.001 is for a pretrained backbone of which",
        ),
        (("detector.train=most", "backbone.weights={backbone}"), "choose all, norms, head"),
        (("backbone.weights=none",), "backbone.weights=none holds no checkpoint"),
        (
            ("backbone.weights={backbone}", "backbone.image_size=50"),
            "backbone.image_size=50 is not a multiple of the backbone's patches of 12 px",
        ),
        (
            ("backbone.weights={backbone}", "detector.inputs=residual"),
            "the backbone reads originals, and detector.inputs=residual",
        ),
        (
            ("backbone.weights={backbone}", "detector.inputs=original"),
            "reads whole images; with detector.inputs=original add --config.detector.blocks=full",
        ),
        (("backbone.weights={backbone}", "detector.embedding=conv"), "an embedding and a grid of"),
        (("backbone.weights={backbone}", *ALONE, "detector.init={backbone}"), "leave it out"),
        (("backbone.keep_features=yes",), "backbone.keep_features='yes' is not known; choose auto"),
        (
            (
                "backbone.weights={backbone}",
                "detector.train=norms",
                "backbone.keep_features=always",
            ),
            "of a backbone of which nothing is trained, and detector.train=norms; set --config",
        ),
        (
            (
                *("backbone.weights={backbone}", "detector.train=head"),
                *("backbone.keep_features=always", "data.augmentation.flip=True"),
            ),
            "backbone.keep_features=always keeps the features of training images, and "
            "data.augmentation makes new ones at every step",
        ),
    ],
)
def test_settings_that_do_not_fit_are_one_line(flags, says, data, mae, backbone, tmp_path, capsys):
    flags = [flag.format(backbone=backbone) for flag in flags]
    assert jobs.start("detect", tmp_path / "run", *data, f"mae={mae}", *SMALL, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
