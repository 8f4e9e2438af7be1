"""Memory that the compiler plans for a training step of a detector with a backbone."""

import pytest

from rffr_jax.models.sizes import BackboneSettings
from scripts.backbone_memory import step_bytes


@pytest.mark.slow
def test_training_only_norms_takes_little_of_the_memory_of_training_all():
    deep = BackboneSettings(width=128, depth=12, heads=2, image_size=112, patch_size=14)
    found = {train: step_bytes(deep, train, True, 16) for train in ("all", "norms", "head")}
    assert found["norms"] <= 0.6 * found["all"], found
    assert found["head"] < found["norms"], found
