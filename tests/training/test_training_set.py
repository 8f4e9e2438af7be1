"""What a detector is trained on: given fakes, or self-blended ones of the reals alone."""

import json

import numpy as np
import pytest

from configs import detect
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.training.reference_check import reference_training_set
from rffr_jax.training.training_set import load_training_set
from tests import jobs
from tests.test_bad_input import refused  # noqa: F401

SELF_BLENDED = "data.fakes=self_blended"


@pytest.fixture(scope="module")
def aligned(faces):
    """The flags of a training on pictures that count as aligned."""
    return (
        f"data.train=csv:{faces}/train.csv?landmarks=aligned",
        f"data.validation=csv:{faces}/validation.csv",
        "batch_size=4",
    )


@pytest.mark.slow
def test_a_detector_is_trained(tmp_path, aligned, capsys):
    workdir = tmp_path / "run"
    plain = ("detector.inputs=original", "detector.blocks=full")
    flags = (*aligned, *plain, SELF_BLENDED, "selection=last", "data.validation=()")
    assert jobs.start("detect", workdir, *flags) == 0
    said = capsys.readouterr().err
    assert "self-blended from 6 reals (0 with 68 landmarks, 6 with a template" in said
    assert "12 given fakes are not used" in said
    losses = [line["loss"] for line in jobs.metric_lines(workdir) if line["split"] == "train"]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    kept = json.loads((workdir / "training_sources.json").read_text())
    assert len(kept["faces"]) == 6


@pytest.mark.slow
def test_results_say_how_the_fakes_were_made(tmp_path, mae, aligned, faces):
    workdir = tmp_path / "run"
    flags = (*aligned, f"mae={mae}", SELF_BLENDED, "steps=2", "data.full_blends=0.25")
    assert jobs.start("detect", workdir, *flags) == 0
    tests = f"data.tests=csv:{faces}/test.csv"
    results = tmp_path / "results"
    assert jobs.start("evaluate", results, f"detector={workdir}", tests) == 0
    about = json.loads((results / "results.json").read_text())["about"]
    assert about["trained_methods"] == ["self_blended"]
    assert about["preprocessing"]["self_blending"] == {
        "landmarks": {"own": 0, "approximate template": 6},
        "post_augmentation": True,
        "captures": 0,
        "full_blends": 0.25,
    }


@pytest.mark.slow
def test_the_given_fakes_change_nothing(tmp_path, mae, aligned, faces):
    """The same reals with other fakes beside them give the same weights."""
    weights = []
    for methods in ("rows", "columns"):
        train = f"data.train=csv:{faces}/train.csv?landmarks=aligned&method={methods}"
        flags = (train, *aligned[1:], f"mae={mae}", SELF_BLENDED, "data.cache=True")
        workdir = tmp_path / methods
        assert jobs.start("detect", workdir, *flags) == 0
        latest = workdir / "checkpoints" / "latest"
        weights.append(jobs.saved_arrays(latest / str(max(jobs.saved_steps(latest)))))
    jobs.assert_same_arrays(*weights)


def test_settings_that_do_not_fit_are_refused(refused, mae, data, aligned):  # noqa: F811
    def line(*flags):
        return refused("detect", f"mae={mae}", *flags)

    assert "data.fakes='blended' is not known; choose given or" in line(
        *aligned, "data.fakes=blended"
    )
    assert "data.methods chooses given fakes" in line(*aligned, SELF_BLENDED, "data.methods=rows")
    assert "makes new ones at every step" in line(
        *aligned, SELF_BLENDED, "residuals.training=always"
    )
    assert "data.augmentation makes new ones at every step; leave one of them out, or" in line(
        *data, "data.augmentation.flip=True", "residuals.training=always"
    )
    assert "data.augmentation is for given fakes" in line(
        *aligned, SELF_BLENDED, "data.augmentation.flip=True"
    )
    assert "data.captures=2 is a number of captures that data.augmentation or" in line(
        *aligned, "data.captures=2"
    )
    assert "data.captures=2 changes every image by itself, and data.pairs=True both" in line(
        *data, "data.augmentation.flip=True", "data.captures=2", "data.pairs=True"
    )
    assert "data.captures=-1 is a number" in line(*aligned, SELF_BLENDED, "data.captures=-1")
    assert "no landmarks are known of" in line(*data, SELF_BLENDED)
    assert "data.full_blends=1.0 is a share" in line(*aligned, SELF_BLENDED, "data.full_blends=1.0")
    for flags in ((), (SELF_BLENDED, "data.captures=2")):
        assert "new fakes at every step; set --config.data.fakes=self_blended" in line(
            *aligned, *flags, "data.full_blends=0.5"
        )


def test_the_share_of_full_blends_is_one_of_the_steps(aligned):
    config = detect.get_config()
    config.data.train = (aligned[0].partition("=")[2],)
    config.data.fakes, config.steps, config.model.image_size = "self_blended", 10, jobs.SIZE
    config.data.workers, config.data.cache = "0", "True"
    ratios, references = [], []
    for share in (0.0, 0.3):
        config.data.full_blends = share
        training = load_training_set(config)
        known = reference_training_set(training.originals)
        references.append([known.load(i, jobs.SIZE) for i in range(len(known.examples))])
        pairs = training.dataset
        assert isinstance(pairs, SelfBlendedPairs)
        masks = [
            pairs.mask_for_row(pairs.pair_count, jobs.SIZE, step=step, row=1) for step in range(10)
        ]
        ratios.append([mask.max() for mask in masks])
    differing = {step for step in range(10) if ratios[0][step] != ratios[1][step]}
    assert differing
    assert differing <= {0, 1, 2}
    np.testing.assert_array_equal(*references)
