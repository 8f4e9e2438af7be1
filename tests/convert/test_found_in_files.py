"""The network of a file is found under prefixes, in shards and in folders; one that is not read is
named as what it is."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest

from rffr_jax.convert.importing import ImportedWeights, ImportOptions, import_weights
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES
from tests.convert.source_files import mae_arrays, vit_arrays, write

PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "module.base_encoder.", "a.b.net.")
ONE = np.ones(3, np.float32)


def arrays_of(names: str):
    table = {**VIT_TABLES, "mae": MAE_TABLES["mae"], "hf_mae": MAE_TABLES["hf"]}[names]
    return (mae_arrays if "mae" in names else vit_arrays)(table)


def under(prefix: str, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def assert_same(imported: ImportedWeights, expected: ImportedWeights):
    jax.tree.map(np.testing.assert_array_equal, imported.parameters, expected.parameters)
    assert imported.about["model"] == expected.about["model"]


# ---- prefixes


@pytest.mark.parametrize("names", ["timm", "google", "hf_mae"])
def test_a_prefix_of_all_names_is_taken_off_and_told(tmp_path, names):
    arrays = arrays_of(names)
    plain = import_weights(write(tmp_path / "plain.npz", arrays))
    for prefix in PREFIXES:
        imported = import_weights(write(tmp_path / "file.npz", under(prefix, arrays)))
        assert_same(imported, plain)
        assert f"took the prefix {prefix!r} off the names" in imported.notes
        assert imported.about["provenance"]["prefix"] == prefix
    assert not any("prefix" in note for note in plain.notes)


def test_names_beside_the_prefix_are_left_out_and_counted(tmp_path):
    others = {"module.predictor.0.weight": ONE, "module.predictor.0.bias": ONE, "queue": ONE}
    arrays = {**under("module.base_encoder.", vit_arrays()), **others}
    imported = import_weights(write(tmp_path / "moco.npz", arrays))
    assert "left out (not under that prefix): module.predictor.* (2), queue (1)" in imported.notes
    assert sorted(imported.about["provenance"]["left_out"]) == sorted(others)


def test_of_several_networks_one_must_be_chosen(tmp_path, refused):
    student, teacher = vit_arrays(seed=1), vit_arrays(seed=2)
    arrays = {**under("student.backbone.", student), **under("teacher.backbone.", teacher)}
    file = write(tmp_path / "dino.npz", arrays)
    both = "'student.backbone.', 'teacher.backbone.'"
    assert f"holds 2 networks, under {both}; say which with --prefix" in refused(file)
    expected = import_weights(write(tmp_path / "teacher.npz", teacher))
    for prefix in ("teacher.backbone.", "teacher.backbone"):
        assert_same(import_weights(file, ImportOptions(prefix=prefix)), expected)
    assert f"under --prefix 'ema'; choose one of {both}" in refused(file, "--prefix", "ema")


def test_a_copy_inside_a_network_is_left_out(tmp_path, refused):
    arrays = {**vit_arrays(seed=1), **under("ema.", vit_arrays(seed=2))}
    file = write(tmp_path / "vit.npz", arrays)
    assert "holds 2 networks, under '', 'ema.'" in refused(file)
    plain = import_weights(write(tmp_path / "plain.npz", vit_arrays(seed=1)))
    imported = import_weights(file, ImportOptions(prefix=""))
    assert_same(imported, plain)
    assert len(imported.about["provenance"]["left_out"]) == len(vit_arrays())


def test_a_name_under_the_prefix_without_a_rule_is_still_refused(tmp_path, refused):
    arrays = under("model.", {**vit_arrays(), "adapter.weight": ONE})
    line = refused(write(tmp_path / "vit.npz", arrays))
    assert "no such array here: adapter.weight" in line


# ---- shards and folders


def shards(folder, arrays, count=3):
    """The arrays in several files with an index, as on Hugging Face's hub."""
    names = sorted(arrays)
    files = [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]
    places = {name: files[number % count] for number, name in enumerate(names)}
    for file in files:
        write(folder / file, {name: arrays[name] for name in names if places[name] == file})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("names", ["hf4", "hf_mae"])
def test_shards_are_read_by_their_index_or_their_folder(tmp_path, names):
    arrays = arrays_of(names)
    plain = import_weights(write(tmp_path / "plain" / "model.safetensors", arrays))
    index = shards(tmp_path / "shards", arrays)
    for path in (index, index.parent):
        imported = import_weights(path)
        assert_same(imported, plain)
        provenance = imported.about["provenance"]
        assert provenance["file"] == index.name
        assert len(provenance["shards"]) == 3


def test_shards_that_are_missing_or_mixed_are_named(tmp_path, refused):
    index = shards(tmp_path / "shards", vit_arrays())
    first, second, _ = sorted(index.parent.glob("*.safetensors"))
    assert f"{first} is one of 3 shards; name their index" in refused(first)
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    assert f"{second} is not the shard that {index.name} names" in refused(index)
    second.write_bytes(whole[:100])
    assert f"{second} cannot be read (" in refused(index)
    second.unlink()
    assert f"names 3 shards; missing beside it: {second.name}" in refused(index.parent)
    for text in ("{", "{}", "[]", '{"weight_map": {"a": "../a.npz"}}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        assert f"{index} is no index of shards" in refused(index)
    index.write_text(json.dumps({"weight_map": {"a": index.name}}))
    assert "it names an index as a shard" in refused(index)


def test_the_file_of_weights_in_a_folder(tmp_path, refused):
    folder = tmp_path / "folder"
    write(folder / "vit.safetensors", vit_arrays())
    (folder / "README.md").write_text("a text")
    assert import_weights(folder).about["provenance"]["file"] == "vit.safetensors"
    write(folder / "other.npz", vit_arrays())
    assert "name one with --input: other.npz, vit.safetensors" in refused(folder)
    write(folder / "model.safetensors", vit_arrays())
    assert import_weights(folder).about["provenance"]["file"] == "model.safetensors"


# ---- networks that are not read


def without(arrays, ending):
    return {name: array for name, array in arrays.items() if not name.endswith(ending)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {**a, "blocks.0.gamma_1": ONE}, "layer scale"),
        (lambda a: {**a, "blocks.0.mlp.w12.weight": ONE}, "SwiGLU MLPs"),
        (lambda a: {**a, "rope.freqs_cis": ONE}, "rotary positions"),
        (lambda a: {**a, "blocks.0.attn.relative_position_index": ONE}, "relative positions"),
        (lambda a: {**a, "blocks.0.attn.q_norm.weight": ONE}, "norms of queries and keys"),
        (lambda a: {**a, "dist_token": ONE}, "a distillation token"),
        (lambda a: {**a, "fc_norm.weight": ONE}, "a norm of averaged patches"),
        (lambda a: without(a, "cls_token"), "no class token"),
        (lambda a: without(a, "norm1.bias"), "norms without a bias (RMSNorm"),
        (lambda a: without(a, "qkv.bias"), "attention without biases"),
        (lambda a: {**a, "pos_embed": a["pos_embed"][:, 1:]}, "none is the class token's"),
    ],
)
def test_a_vit_with_other_parts_is_named(tmp_path, refused, change, said):
    arrays = change(vit_arrays())
    for prefix in ("", "module."):
        line = refused(write(tmp_path / "vit.npz", under(prefix, arrays)))
        assert "is a ViT that is not supported; " in line
        assert said in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conv_proj.weight", "a ViT of torchvision"),
        ("visual.conv1.weight", "CLIP of OpenAI"),
        ("params/embedding/kernel", "a ViT of big_vision"),
        ("layers.0.blocks.1.norm1.weight", "a network of stages"),
    ],
)
def test_another_network_is_named(tmp_path, refused, name, said):
    line = refused(write(tmp_path / "file.npz", {name: ONE}))
    assert f"is no network known here: by its names it is {said}" in line
    assert f"its first names are {name}" in line


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, np.int8])
def test_numbers_that_need_a_scale_are_refused(tmp_path, refused, dtype):
    arrays = vit_arrays()
    arrays["blocks.0.mlp.fc1.weight"] = arrays["blocks.0.mlp.fc1.weight"].astype(dtype)
    line = refused(write(tmp_path / "vit.safetensors", arrays))
    assert "holds blocks.0.mlp.fc1.weight as " in line
    assert "float8 or integers need scales" in line
