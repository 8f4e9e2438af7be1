"""Xception as a rival: its head and loss, and its trainings as jobs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.exporting import export_weights
from rffr_jax.errors import UserError
from rffr_jax.rivals import rival_settings
from rffr_jax.rivals.xception import Detector, Settings
from tests import jobs
from tests.training.test_ablations import stopped_and_resumed

SMALL = ("rival.width=0.0625", "rival.middle_blocks=1")


@pytest.mark.slow
def test_fresh_logits_are_linear_in_the_mean_of_the_last_features():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)

    @jax.jit
    def run(images):
        model = Detector(Settings(1 / 16, 1), 64, dtype=jnp.float32, rngs=nnx.Rngs(0))
        features = model.backbone(images, training=False)
        return model.logits(images), features, model.head.kernel[...]

    logits, features, kernel = jax.device_get(run(images))
    assert features.shape == (2, 2, 2, 128)
    expected = features.mean(axis=(1, 2)) @ kernel
    np.testing.assert_allclose(logits, expected, atol=1e-6 * np.abs(expected).max() + 1e-7)


@pytest.mark.slow
def test_it_trains_resumes_bit_for_bit_and_is_evaluated(tmp_path, data, faces):
    flags = (*data, *SMALL, "data.methods=rows")
    workdir = tmp_path / "detect"
    assert jobs.start("detect:xception", workdir, *flags) == 0
    arrays = stopped_and_resumed("detect:xception", workdir, flags)
    means = [array for name, array in arrays.items() if name.endswith("['mean']")]
    assert len(means) > 10
    assert all(np.abs(mean).max() > 0 for mean in means)
    tests = (f"detector={workdir}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests, "checkpoint=best:faces") == 0
    with pytest.raises(UserError, match=f"--input {workdir} holds a detector of backbone xcep"):
        export_weights(workdir, "timm", tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("remat=True",),
            "remat=True is for the two-branch detector; leave it out with detector.backbone='xcep",
        ),
        (("detector.patch_loss=0.1",), "detector.patch_loss=0.1 is for the two-branch detector"),
        (("detector.inputs=both",), "detector.backbone='xception' reads whole original images"),
        (("model.image_size=24",), "model.image_size=24 is too small for Xception"),
        (("rival.width=0.0",), "rival.width=0.0 must be above 0"),
        (("detector.init=nowhere",), "detector.init=nowhere holds no checkpoint"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, data, capsys, flags, says):
    assert jobs.start("detect:xception", tmp_path / "run", *data, *SMALL, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match=r"rival.depth is no setting of xception; it has width, mi"):
        rival_settings("xception", {"depth": 3})
