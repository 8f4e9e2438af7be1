"""Controls of a detector: real faces with one trace of manipulation."""

import numpy as np
import pytest

from rffr_jax.data.self_blending.controls import (
    BRIGHTNESS,
    BRIGHTNESS_STEP,
    CONTROLS,
    FORMAT,
    IDENTITY,
    ControlledReals,
    _resampled,
    blended_control,
)
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL
from rffr_jax.images.corruptions import reformat
from rffr_jax.images.landmarks import LandmarkedFace, load_face

SIZE = 64
SPEC = "synthetic:5#test?limit=6"


@pytest.fixture(scope="module")
def controlled():
    return ControlledReals(load_dataset(SPEC), 0, option="data.reals")


def test_examples_are_reals_then_each_control(controlled):
    reals = [e for e in load_dataset(SPEC).examples if e.label == REAL]
    count = len(reals)
    assert len(controlled.examples) == 5 * count
    assert list(controlled.examples[:count]) == reals
    for number, control in enumerate(CONTROLS, start=1):
        for real, fake in zip(reals, controlled.examples[number * count :], strict=False):
            assert (fake.label, fake.method, fake.cluster) == (FAKE, control, real.cluster)
            assert fake.id == f"{real.id}#{control}"
    assert controlled.landmark_counts == {"own": count, "approximate template": 0}


def test_a_control_changes_the_face_and_not_what_is_around_it(controlled):
    count = len(controlled.examples) // 5
    for number, control in enumerate(CONTROLS, start=1):
        for place in range(count):
            real, image = (
                controlled.load(index, SIZE).astype(int)
                for index in (place, number * count + place)
            )
            if control == FORMAT:
                expected = reformat(real.astype(np.uint8), 75, "")
                np.testing.assert_array_equal(image, expected)
                continue
            corners = np.stack([real - image])[:, [0, 0, -1, -1], [0, -1, 0, -1]]
            assert not corners.any(), control
            assert np.abs(real - image).max() > 3, control


def test_the_same_image_whatever_the_order_or_the_rest_of_the_data(controlled):
    count = len(controlled.examples) // 5
    few = ControlledReals(load_dataset("synthetic:5#test?limit=2"), 0, option="data.reals")
    other_seed = ControlledReals(load_dataset(SPEC), 1, option="data.reals")
    left = len(few.examples) // 5
    for number in range(1, 4):
        image = controlled.load(number * count, SIZE)
        np.testing.assert_array_equal(few.load(number * left, SIZE), image)
        assert (other_seed.load(number * count, SIZE) != image).any()


def test_brightness_is_one_step_and_identity_none_on_a_smooth_face():
    """On one colour: the step is within its bounds, and resampling changes nothing."""
    points = load_face(load_dataset(SPEC), 0, SIZE).landmarks
    grey = LandmarkedFace(np.full((SIZE, SIZE, 3), 128, np.uint8), points)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        step = np.abs(blended_control(grey, BRIGHTNESS, rng).astype(int) - 128)
        low, high = (round(255 * bound) for bound in BRIGHTNESS_STEP)
        assert low <= step.max() <= high
        assert step.min() == 0
        assert (blended_control(grey, IDENTITY, rng) == 128).all()


def test_reals_without_landmarks_are_refused(faces):
    dataset = load_dataset(f"csv:{faces}/test.csv")
    with pytest.raises(UserError, match=r"^data\.reals: no landmarks are known of .*landmarks"):
        ControlledReals(dataset, 0, option="data.reals")


def test_resampling_loses_nothing_at_the_border():
    """A smooth ramp comes back as it was, where the mask is at its largest too."""
    ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
    image = np.stack([ramp[None] + 0 * ramp[:, None]] * 3, axis=-1)
    for seed in range(5):
        again = _resampled(image, np.random.default_rng(seed))
        assert np.abs(again - image)[2:-2, 2:-2].max() < 0.02
