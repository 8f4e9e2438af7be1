"""Model folders: written whole or not at all, read with every fault named."""

import json
import pathlib

import jax
import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.runs import model_folder
from rffr_jax.runs.model_folder import is_model_folder, read_config, read_part, write_model


@pytest.fixture
def tree():
    rng = np.random.default_rng()
    return {
        "layers": {"kernel": rng.random((3, 4, 5), np.float32), "bias": rng.random(7, np.float32)},
        "blocks": {0: {"scale": rng.random((2, 1), np.float32)}},
        "count": np.int32(3),
    }


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


@pytest.fixture
def folder(tmp_path, tree):
    write_model(tmp_path / "model", {"mae": tree}, {"about": {"kind": "mae"}}, "# Card\n")
    return tmp_path / "model"


def test_what_is_written_is_read(folder, tree):
    read = read_part(folder, "mae", "mae", shapes(tree))
    jax.tree.map(np.testing.assert_array_equal, read, tree)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert read_config(folder, "mae")["about"] == {"kind": "mae"}
    assert is_model_folder(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_half_precision_is_rounded_once(tmp_path, tree):
    for name in ("once", "twice"):
        write_model(tmp_path / name, {"mae": tree}, {"about": {}}, "", "float16")
        tree = read_part(tmp_path / name, "mae", "mae", shapes(tree))
    digests = [read_config(tmp_path / name, "mae")["digests"] for name in ("once", "twice")]
    assert digests[0] == digests[1]
    assert tree["layers"]["kernel"].dtype == np.float32
    assert (tmp_path / "once/model.safetensors").stat().st_size < 1000


def test_a_workdir_is_no_model_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"job": "detect"}')
    assert not is_model_folder(tmp_path)
    assert not is_model_folder(tmp_path / "none")


def overwritten(file, change):
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors; copy the whole"),
        (lambda f: (f / "config.json").unlink(), "has no config.json; copy the whole"),
        (lambda f: (f / "config.json").write_text("{"), "is damaged"),
        (
            lambda f: overwritten(f / "config.json", lambda c: c.update(format="rffr_jax model 9")),
            "not of 'rffr_jax model 1' but of 'rffr_jax model 9', written by version",
        ),
        (
            lambda f: overwritten(f / "config.json", lambda c: c["about"].update(k=9)),
            "config.json is not as the program wrote it (its SHA-256 differs)",
        ),
        (
            lambda f: overwritten(f / "config.json", lambda c: c.update(digests=None)),
            "config.json is not as the program wrote it",
        ),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "vit"}'),
            "holds weights that this program did not write; convert them with scripts/convert",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:-9]
            ),
            "its SHA-256 differs",
        ),
    ],
)
def test_damage_is_named_in_one_line(folder, tree, damage, message):
    damage(folder)
    assert is_model_folder(folder)
    with pytest.raises(UserError, match=r"^[^\n]+$") as refused:
        read_part(folder, "mae", "mae", shapes(tree))
    assert message in str(refused.value)


def test_a_truncated_file_of_the_right_digest_is_refused(folder, tree):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    config = read_config(folder, "mae")
    model_folder._write_config(folder, config, model_folder._digest(file))
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        read_part(folder, "mae", "mae", shapes(tree))


def test_arrays_of_another_model_are_named(folder, tree):
    asked = shapes(tree)
    asked["layers"]["bias"] = jax.ShapeDtypeStruct((8,), np.float32)
    with pytest.raises(UserError, match=r"layers.bias: 7 there, 8 here"):
        read_part(folder, "mae", "mae", asked)
    with pytest.raises(UserError, match="part 'unet', does not fit"):
        read_part(folder, "unet", "mae", shapes(tree))


def test_an_entry_is_replaced_and_the_rest_stays(folder, tree):
    before = read_config(folder, "mae")
    model_folder.update_config(folder, operating_point={"weights": "w"})
    after = read_config(folder, "mae")
    assert after.pop("operating_point") == {"weights": "w"}
    assert {**before, "digests": None} == {**after, "digests": None}
    jax.tree.map(np.testing.assert_array_equal, read_part(folder, "mae", "mae", shapes(tree)), tree)


def test_rounding_is_noticed(tree):
    assert not model_folder.changed_by_rounding({"mae": tree}, "float32")
    assert model_folder.changed_by_rounding({"mae": tree}, "float16")
    halves = jax.tree.map(lambda array: np.float32(np.float16(array)), tree)
    assert not model_folder.changed_by_rounding({"mae": halves}, "float16")


def test_a_place_that_cannot_be_written_is_one_line(folder, tree):
    with pytest.raises(UserError, match=r"README\.md/x cannot be written \(.*\); name another"):
        write_model(folder / "README.md" / "x", {"mae": tree}, {"about": {}}, "")


def test_the_empty_folder_that_one_stands_in_will_do(tmp_path, monkeypatch, tree):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_model(pathlib.Path(), {"mae": tree}, {"about": {}}, "")
    assert is_model_folder(tmp_path / "here")


def test_nothing_is_written_over_or_half_written(folder, tree):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="is not an empty folder; name a new one"):
        write_model(folder, {"mae": tree}, {"about": {}}, "")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    tree["layers"]["bias"][2] = 1e6
    with pytest.raises(UserError, match=r"mae.layers.bias has values that float16 cannot hold"):
        write_model(folder.parent / "half", {"mae": tree}, {"about": {}}, "", "float16")
    with pytest.raises(TypeError):
        write_model(folder.parent / "half", {"mae": tree}, {"about": object()}, "")
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_weights_are_refused(tmp_path, tree, dtype, value):
    tree["layers"]["bias"][2] = value
    message = r"^mae\.layers\.bias has values that are not finite: .*; use another checkpoint$"
    with pytest.raises(UserError, match=message):
        write_model(tmp_path / "model", {"mae": tree}, {"about": {}}, "", dtype)
    assert not list(tmp_path.iterdir())
