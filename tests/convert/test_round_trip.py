"""What goes in comes out bit for bit."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
import pytest
import safetensors.numpy
from jaxtyping import PyTree

from rffr_jax.convert.exporting import export_weights
from rffr_jax.convert.importing import ImportOptions, import_weights, write_converted
from rffr_jax.convert.normalisation import NORMALISATIONS
from rffr_jax.convert.rules import to_ours, to_source
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES, fixed_positions
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import (
    find_checkpoint,
)
from tests import jobs

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
SETTINGS = ModelSettings("mini", image_size=24, patch_size=4)
TABLES = [(abstract_vit, table) for table in VIT_TABLES.values()]
TABLES += [(abstract_mae, table) for table in MAE_TABLES.values()]
NAMES = [f"vit-{name}" for name in VIT_TABLES] + [f"mae-{name}" for name in MAE_TABLES]


@pytest.mark.parametrize(("abstract", "table"), TABLES, ids=NAMES)
def test_a_table_serves_both_ways(abstract, table):
    shapes = abstract(SETTINGS)[1]
    if abstract is abstract_mae:
        shapes |= jax.eval_shape(lambda: fixed_positions(SETTINGS))
    heads = SETTINGS.shape.heads
    zeros = to_source(jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes), table, heads)
    generator = np.random.default_rng(0)
    source = {
        name: generator.standard_normal(array.shape).astype(np.float32)
        for name, array in zeros.items()
    }

    ours, left_out = to_ours(source, table, shapes, "a file")
    assert left_out == []
    assert_same_bytes(to_source(ours, table, heads), source)
    there, here = (sorted_numbers(jax.tree.leaves(tree)) for tree in (source, ours))
    np.testing.assert_array_equal(here, there, "every number has one place")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("timm/model.safetensors", "timm"),
        ("hf/model.safetensors", "hf4"),
        ("hf/in_memory.safetensors", "hf"),
    ],
)
def test_a_vit_through_files(tmp_path, file, kind):
    source = safetensors.numpy.load_file(FIXTURES / file)
    write_converted(tmp_path / "converted", import_weights(FIXTURES / file))
    exported = tmp_path / "out.safetensors"
    assert list(export_weights(tmp_path / "converted", kind, exported)) == [exported]
    expected = {
        name.removeprefix("vit."): array
        for name, array in source.items()
        if not name.startswith(("head.", "classifier."))
    }
    assert_same_bytes(safetensors.numpy.load_file(exported), expected)


def test_the_authors_mae_through_files(tmp_path):
    """Theirs reads pixels in [0, 1], so nothing is folded."""
    source = FIXTURES / "mae" / "model.safetensors"
    imported = import_weights(source, ImportOptions(kind="rffr"))
    assert imported.about["k"] == 4
    assert imported.parameters["embedding"]["kernel"].dtype == np.float32
    write_converted(tmp_path / "converted", imported)
    export_weights(tmp_path / "converted", "mae", tmp_path / "out.safetensors")
    exported = safetensors.numpy.load_file(tmp_path / "out.safetensors")
    assert_same_bytes(exported, safetensors.numpy.load_file(source))


@pytest.mark.parametrize("kind", ["mae", "hf", "hf4"])
def test_a_folded_mae_comes_back(tmp_path, kind):
    """What goes out reads pixels in [0, 1] and says so; nothing is folded a second time."""
    imported = import_weights(FIXTURES / "hf_mae" / "model.safetensors")
    write_converted(tmp_path / "converted", imported)
    export_weights(tmp_path / "converted", kind, tmp_path / "out.safetensors")
    again = import_weights(tmp_path / "out.safetensors")
    assert_same_bytes(by_place(again.parameters), by_place(imported.parameters))


def test_the_branches_of_a_detector(tmp_path, detector):
    files = export_weights(detector, "timm", tmp_path / "out.safetensors")
    assert {file.name: reads for file, reads in files.items()} == {
        "out-original.safetensors": "(p - mean) / std of pixels p in [0, 1], "
        "mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)",
        "out-residual.safetensors": "residuals in [-1, 1], as here",
    }
    saved = jobs.saved_arrays(find_checkpoint(detector, "--input") / "4")
    trained = {"original": NORMALISATIONS["imagenet"], "residual": NORMALISATIONS["none"]}
    for file, (branch, normalisation) in zip(files, trained.items(), strict=True):
        imported = import_weights(file)
        assert imported.about["normalisation"] == dataclasses.asdict(normalisation)
        settings = ModelSettings(**imported.about["model"])
        assert settings == ModelSettings("tiny", jobs.SIZE, jobs.PATCH)
        assert_same_bytes(
            by_place(imported.parameters),
            {
                name.removeprefix(f"['branches']['{branch}']"): array
                for name, array in saved.items()
                if name.startswith(f"['branches']['{branch}']")
            },
        )


def by_place(tree: PyTree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def sorted_numbers(arrays: list[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate([np.ravel(array) for array in arrays]))


def assert_same_bytes(some: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]):
    assert some.keys() == others.keys()
    for name, array in some.items():
        assert (array.shape, array.dtype) == (others[name].shape, others[name].dtype), name
        assert array.tobytes() == others[name].tobytes(), name
