"""Scores do not depend on batches, padding, order or bad neighbours."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.selection import select_examples
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.method import array_cache
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
    read_about,
)
from tests import jobs


@pytest.fixture(scope="module")
def detection(detector):
    about = read_about(detector, "detector", "detector")
    return Detection(DetectionSettings.from_json(about["detection"]), jnp.float32)


@pytest.fixture(scope="module")
def parameters(detection, detector):
    return load_weights(detector, "detector", detection.abstract_parameters, make_mesh())


@pytest.fixture(scope="module")
def scorer(detection, detector):
    mae = load_weights(
        detector / "checkpoints" / "mae", "detector", detection.abstract_frozen, make_mesh()
    )

    def build(batch_size, max_bad_fraction=0.0, **kept):
        return Scorer(
            detection,
            mae,
            make_mesh(),
            batch_size=batch_size,
            workers=0,
            max_bad_fraction=max_bad_fraction,
            kept=ResidualCache(detection, mae, make_mesh(), **kept) if kept else None,
        )

    return build


@pytest.fixture(scope="module")
def test_set(faces):
    return load_dataset(f"csv:{faces}/test.csv")


@pytest.fixture(scope="module")
def scores(scorer, parameters, test_set):
    return by_id(scorer(4).score(parameters, test_set))


def by_id(predictions):
    return {e.id: s for e, s in zip(predictions.examples, predictions.scores, strict=True)}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, score in found.items():
        assert score == pytest.approx(expected[name], abs=1e-6), name


def test_every_example_is_scored_once(scores, test_set):
    assert sorted(scores) == sorted(example.id for example in test_set.examples)
    assert len(set(scores.values())) > 10


@pytest.mark.parametrize("batch_size", [18, 7])
def test_batch_size_and_padding_change_nothing(scorer, parameters, test_set, scores, batch_size):
    assert_close(by_id(scorer(batch_size).score(parameters, test_set)), scores)


def test_order_changes_nothing(scorer, parameters, test_set, scores):
    turned = select_examples(select_examples(test_set, range(17)), range(16, -1, -1))
    found = by_id(scorer(4).score(parameters, turned))
    left_out = test_set.examples[17].id
    assert_close(found, {name: score for name, score in scores.items() if name != left_out})


def test_residuals_are_kept_and_give_the_same_scores(scorer, parameters, test_set, scores):
    scoring = scorer(4)
    prepared = scoring.prepare(test_set)
    covered = (jobs.SIZE // jobs.PATCH) ** 2, jobs.PATCH**2 * 3
    assert all(batch["difference"].shape == (4, *covered) for batch in prepared.batches())
    for _ in range(2):
        assert_close(by_id(scoring.score(parameters, prepared)), scores)


class Watched:
    """A dataset that counts how often an image is read."""

    def __init__(self, dataset):
        self.examples, self._dataset, self.loads = dataset.examples, dataset, 0

    def load(self, index, size):
        self.loads += 1
        return self._dataset.load(index, size)


@pytest.mark.parametrize(
    ("memory_gb", "loads"), [(0.0, 36), (150e-6, 18), (1.0, 18)], ids=["none", "images", "all"]
)
def test_memory_decides_what_is_read_again_and_changes_no_score(
    scorer, parameters, test_set, scores, tmp_path, monkeypatch, memory_gb, loads
):
    monkeypatch.setattr(array_cache, "FILE_BYTES", 60_000)
    scoring = scorer(4, folder=tmp_path, memory_gb=memory_gb)
    watched = Watched(test_set)
    prepared = scoring.prepare(watched)
    assert_close(by_id(scoring.score(parameters, prepared)), scores)
    assert len(list(tmp_path.glob("*/*.npy"))) > 1
    monkeypatch.setattr(scoring.kept, "compute", None)  # nothing is computed a second time
    assert_close(by_id(scoring.score(parameters, prepared)), scores)
    assert watched.loads == loads
    next_run = scorer(4, folder=tmp_path, memory_gb=memory_gb)
    monkeypatch.setattr(next_run.kept, "compute", None)
    assert_close(by_id(next_run.score(parameters, next_run.prepare(test_set))), scores)


class WithBadFile:
    """A dataset whose sixth image cannot be read, and maybe another."""

    def __init__(self, dataset, also=5):
        self.examples, self._dataset, self._bad = dataset.examples, dataset, (5, also)

    def load(self, index, size):
        if index in self._bad:
            raise BadImageError("six", "no image")
        return self._dataset.load(index, size)


def test_a_bad_file_has_no_score_and_its_neighbours_keep_theirs(
    scorer, parameters, test_set, scores, caplog
):
    predictions = scorer(4, max_bad_fraction=0.1).score(parameters, WithBadFile(test_set))
    bad = test_set.examples[5]
    assert predictions.bad == {bad: "no image"}
    assert_close(by_id(predictions), {n: s for n, s in scores.items() if n != bad.id})
    small = scorer(4, max_bad_fraction=0.1, memory_gb=0.0)
    prepared = small.prepare(WithBadFile(test_set))
    for _ in range(2):
        assert small.score(parameters, prepared).bad == {bad: "no image"}
    assert len([r for r in caplog.records if "left out" in r.message]) == 2
    with pytest.raises(UserError, match="2 of 18 images cannot be used"):
        scorer(4).score(parameters, WithBadFile(test_set, also=6))


def test_heat_is_that_of_the_examples_that_can_be_read(scorer, parameters, test_set, scores):
    scoring = scorer(4, max_bad_fraction=0.1)
    predictions, heat = scoring.score_with_heat(parameters, WithBadFile(test_set))
    good = [n for n in range(len(test_set.examples)) if n != 5]
    assert [example.id for example in predictions.examples] == [
        test_set.examples[n].id for n in good
    ]
    assert_close(by_id(predictions), {n: s for n, s in scores.items() if n in by_id(predictions)})
    images = np.stack([test_set.load(n, jobs.SIZE) for n in good])
    _, residuals, _ = scoring.pictures(images, None)
    half = jobs.SIZE // 2
    expected = np.abs(residuals).reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4, 5))
    np.testing.assert_allclose(heat, expected, rtol=2e-3)


def test_a_zero_residual_is_scored_without_a_mae(test_set, detection):
    settings = dataclasses.replace(
        detection.settings, residual="zero", mae=None, model=ModelSettings("tiny", 48, 12)
    )
    zero = Detection(settings, jnp.float32)
    scoring = Scorer(zero, {}, make_mesh(), batch_size=4, workers=0, max_bad_fraction=0.0)
    found = scoring.score(
        zero.init_parameters(0), scoring.prepare(select_examples(test_set, range(6)))
    )
    assert np.isfinite(found.scores).all()
    assert len(found.scores) == 6
