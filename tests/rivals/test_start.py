"""Rivals start from converted weights of ImageNet; weights that do not fit are one clear line."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.convert.importing import import_weights, write_converted
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import resize_positions
from rffr_jax.rivals import rival_settings
from rffr_jax.training.initial_weights import check_start, init_detector
from tests import jobs

FIXTURES = pathlib.Path(__file__).parents[1] / "convert" / "fixtures"
VIT = FIXTURES / "timm" / "model.safetensors"
XCEPTION = FIXTURES / "xception" / "model.safetensors"
SMALL = ("rival.width=0.0625", "rival.middle_blocks=1")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "xception"
    write_converted(folder, import_weights(XCEPTION))
    return folder


def rival_settings_of(name, given, image_size):
    return DetectionSettings(
        model=ModelSettings("tiny", image_size, image_size),
        mae=None,
        inputs="original",
        blocks="full",
        residual="mae",
        k=1,
        alpha=4.0,
        mean=HALF,
        std=HALF,
        backbone=name,
        rival=rival_settings(name, given),
    )


@pytest.mark.parametrize("name", ["xception", "recce"])
def test_the_backbone_starts_from_them_and_the_rest_does_not(start, name):
    settings = rival_settings_of(name, {"width": 1 / 16, "middle_blocks": 1}, image_size=48)
    check_start(start, settings)
    shapes = Detection(settings, jnp.float32).abstract_parameters
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    mesh = make_mesh(1)
    begun = init_detector(start, jax.device_put(ones), settings, mesh)
    converted = import_weights(XCEPTION).parameters
    jax.tree.map(np.testing.assert_array_equal, begun["backbone"], converted)
    for part in ones.keys() - {"backbone"}:
        jax.tree.map(np.testing.assert_array_equal, begun[part], ones[part])


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "vit"
    write_converted(folder, import_weights(VIT))
    return folder


def test_a_rivals_vit_starts_from_them_with_positions_of_its_own_grid(vit):
    settings = rival_settings_of("uia_vit", {"size": "tiny", "patch_size": 4}, image_size=32)
    check_start(vit, settings)
    shapes = Detection(settings, jnp.float32).abstract_parameters
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    begun = init_detector(vit, jax.device_put(ones), settings, make_mesh(1))
    converted = import_weights(VIT).parameters
    expected = resize_positions(jnp.asarray(converted.pop("positions")), 8)
    np.testing.assert_array_equal(begun["backbone"].pop("positions"), expected)
    jax.tree.map(np.testing.assert_array_equal, begun["backbone"], converted)
    jax.tree.map(np.testing.assert_array_equal, begun["head"], ones["head"])


def test_weights_of_another_network_or_size_are_refused_for_a_rivals_vit(
    vit, start, tmp_path, data, capsys
):
    for folder, patch, says in (
        (start, 4, "holds a backbone checkpoint, not a vit"),
        (vit, 12, "make rival.size and rival.patch_size the same"),
    ):
        flags = ("rival.size=tiny", f"rival.patch_size={patch}", f"detector.init={folder}")
        assert jobs.start("detect:uia_vit", tmp_path / "run", *data, *flags) == 2
        assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_one_clear_line(start, tmp_path, data, mae, capsys):
    other = tmp_path / "efficientnet"
    file = FIXTURES / "efficientnet" / "tf_efficientnet_tiny_ap.safetensors"
    write_converted(other, import_weights(file))
    for folder, flags, says in (
        (other, SMALL, "holds a network of kind efficientnet, and detector.backbone='xception' st"),
        (
            start,
            ("rival.width=0.125", SMALL[1]),
            "of another size than this config's; set --config.rival.width=0.0625",
        ),
        (mae, SMALL, "holds a mae checkpoint, not a backbone"),
    ):
        given = (*data, *flags, f"detector.init={folder}")
        assert jobs.start("detect:xception", tmp_path / "run", *given) == 2
        assert says in capsys.readouterr().err.splitlines()[-1]
    given = (*data, *SMALL, f"detector.init={other}")
    assert jobs.start("detect:recce", tmp_path / "run", *given) == 2
    assert "and detector.backbone='recce' starts from one of kind xcep" in capsys.readouterr().err
    assert (
        jobs.start("detect", tmp_path / "run", *data, f"mae={mae}", f"detector.init={start}") == 2
    )
    assert "holds a backbone checkpoint, not a vit or mae" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
