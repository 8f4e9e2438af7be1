"""Conversions that cannot be end in one line and exit code 2, and leave nothing behind."""

import dataclasses
import json
import re
import sys

import ml_dtypes
import numpy as np
import pytest

from rffr_jax.convert.files import PYTORCH
from rffr_jax.convert.tables import VIT_TABLES
from rffr_jax.models.sizes import SIZES, ModelSettings
from tests import jobs
from tests.convert.source_files import (
    Trap,
    about,
    convert,
    converted,
    mae_arrays,
    vit_arrays,
    write,
)

HINT = "make room, or name another folder"


# ---- files that cannot be read


def test_a_missing_file_is_named(refused, tmp_path):
    assert f"{tmp_path}/gone.npz: no such file" in refused(tmp_path / "gone.npz")
    assert f"{tmp_path} holds no file of weights" in refused(tmp_path)


def test_an_unknown_ending_is_named(refused, tmp_path):
    for name in ("weights.h5", "weights"):
        (tmp_path / name).write_bytes(b"")
        line = refused(tmp_path / name)
        assert f"{tmp_path}/{name}: no file of weights by its name" in line
        assert ".safetensors .npz .pth .pt .tar .bin .ckpt" in line


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_a_truncated_file_is_named(refused, tmp_path, ending):
    table = VIT_TABLES["google" if ending == ".npz" else "timm"]
    whole = write(tmp_path / f"whole{ending}", vit_arrays(table)).read_bytes()
    file = tmp_path / f"cut{ending}"
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        line = refused(file)
        assert f"{file} cannot be read (" in line
        assert "is it whole? Fetch it again" in line


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_random_bytes_are_named(refused, tmp_path, ending):
    file = tmp_path / f"weights{ending}"
    file.write_bytes(np.random.default_rng(0).bytes(10_000))
    assert f"{file} cannot be read (" in refused(file)


def test_a_damaged_array_is_named(refused, tmp_path):
    file = write(tmp_path / "vit.npz", vit_arrays(VIT_TABLES["google"]))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    file.write_bytes(damaged)
    assert "Bad CRC-32 for file" in refused(file)


def test_a_single_array_is_no_file_of_weights(refused, tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    file = (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    assert "it is no zip file" in refused(file)


def test_a_pickle_in_an_npz_is_not_run(refused, tmp_path):
    file = tmp_path / "vit.npz"
    trap = np.array([Trap(tmp_path / "run")])
    arrays = vit_arrays(VIT_TABLES["google"])
    np.savez(file, allow_pickle=True, **arrays, **{"head/kernel": trap})
    assert convert(file, tmp_path / "out") == 0  # a head is never even read
    del arrays["cls"]
    np.savez(file, allow_pickle=True, **arrays, cls=trap)
    assert f"{file} cannot be read (Object arrays cannot be loaded" in refused(file)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", PYTORCH)
def test_without_pytorch_its_files_say_what_to_install(refused, tmp_path, monkeypatch, ending):
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / f"weights{ending}"
    file.write_bytes(np.random.default_rng(0).bytes(10_000))
    assert "reading this format needs PyTorch (pip install torch" in refused(file)


def test_settings_beside_the_file_that_say_nothing_are_named(refused, tmp_path):
    file = write(tmp_path / "vit.safetensors", vit_arrays())
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny"}))
    settings = tmp_path / "preprocessor_config.json"
    problems = {"{": ":1: not JSON", "3": " is no JSON object", '["a"]': " is no JSON object"}
    for text, problem in {**problems, "\xff": ": not UTF-8 text"}.items():
        settings.write_text(text, encoding="latin-1")
        assert f"{settings}{problem}" in refused(file)
    for mean in (0.5, [0.5], [0.1, 0.2, "red"], {}):
        settings.write_text(json.dumps({"image_mean": mean, "image_std": [1, 1, 1]}))
        line = refused(file)
        assert f"its image_mean {mean!r}" in line
        assert "say --normalisation" in line
    for std in ([1.0, 1.0, 0.0], [1.0, -1.0, 1.0]):
        settings.write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": std}))
        line = refused(file)
        assert f"image_std {std!r} are not three numbers each, the latter above 0" in line


# ---- files of something else


def test_a_file_of_another_network_is_named(refused, tmp_path):
    names = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight")
    file = write(tmp_path / "resnet.safetensors", {name: np.ones(3, np.float32) for name in names})
    line = refused(file)
    assert f"{file} is no network known here: by its names it is a ResNet" in line
    assert sum(name in line for name in names) == 3


@pytest.mark.parametrize(
    "settings",
    [
        ModelSettings("tiny", 48, 12),
        ModelSettings("mini", 48, 12),
        ModelSettings("tiny", 36, 12),
    ],
)
def test_other_image_sizes_and_sizes_are_known(tmp_path, settings):
    folder = converted(tmp_path / "vit", vit_arrays(settings=settings))
    assert about(folder)["model"] == dataclasses.asdict(settings)


def vit_large(depth: int, width: int):
    """The names and shapes that tell the size of a ViT, in 16 px patches of a 32 px image."""
    arrays = {
        "patch_embed.proj.weight": np.zeros((width, 3, 16, 16), np.float32),
        "pos_embed": np.zeros((1, 5, width), np.float32),
        "cls_token": np.zeros((1, 1, width), np.float32),
    }
    fc1 = {f"blocks.{n}.mlp.fc1.weight": np.zeros((1, 1), np.float32) for n in range(depth)}
    return {**arrays, **fc1}


@pytest.mark.parametrize(("width", "depth"), [(1408, 40), (768, 24), (1024, 12)])
def test_a_large_vit_is_of_no_size_known_here(refused, tmp_path, width, depth):
    file = write(tmp_path / "vit_large.safetensors", vit_large(depth, width))
    line = refused(file)
    assert f"{file} is of no size known here: width {width}, depth {depth}; known: " in line
    for name, size in SIZES.items():
        assert f"{name} {size.width} x {size.depth}" in line


def test_a_decoder_of_another_size_is_of_no_size_known_here(refused, tmp_path):
    arrays = mae_arrays()
    arrays = {n: a for n, a in arrays.items() if not n.startswith("decoder_blocks.1.")}
    line = refused(write(tmp_path / "mae.safetensors", arrays))
    assert "width 32, depth 2, decoder width 32, decoder depth 1; known: " in line


PATCHES = [
    (VIT_TABLES["timm"], "patch_embed.proj.weight", shape)
    for shape in ((32, 1, 12, 12), (32, 12, 12, 3), (32, 3, 6, 24), (32, 432))
]
PATCHES += [
    (VIT_TABLES["google"], "embedding/kernel", shape)
    for shape in ((12, 12, 1, 32), (3, 12, 12, 32), (6, 24, 3, 32), (432, 32))
]


@pytest.mark.parametrize(("table", "name", "shape"), PATCHES)
def test_patches_that_are_no_squares_of_three_colours_are_named(
    refused, tmp_path, table, name, shape
):
    arrays = {**vit_arrays(table), name: np.zeros(shape, np.float32)}
    line = refused(write(tmp_path / "vit.npz", arrays))
    assert f"does not fit; misshaped: {name} {shape}" in line


def test_positions_of_no_square_grid_are_named(refused, tmp_path):
    odd = {**vit_arrays(), "pos_embed": np.zeros((1, 13, 32), np.float32)}
    line = refused(write(tmp_path / "odd.safetensors", odd))
    assert "13 positions are not" in line


def test_arrays_too_many_missing_and_misshaped_are_told_together(refused, tmp_path):
    arrays = vit_arrays()
    del arrays["norm.weight"], arrays["blocks.1.attn.proj.bias"]
    arrays["other_token"] = np.ones((1, 1, 32), np.float32)
    arrays["blocks.7.norm1.weight"] = np.ones(32, np.float32)
    arrays["blocks.0.mlp.fc2.weight"] = arrays["blocks.0.mlp.fc2.weight"].T
    arrays["cls_token"] = np.ones((1, 1, 31), np.float32)
    file = write(tmp_path / "vit.safetensors", arrays)
    line = refused(file)
    assert line.startswith(f"error: {file} does not fit; ")
    problems = dict(problem.split(": ", 1) for problem in line.split(" fit; ")[1].split("; "))
    assert problems.keys() == {
        "no such array here",
        "one block too many",
        "missing",
        "misshaped",
    }
    assert problems["no such array here"] == "other_token"
    assert problems["one block too many"] == "blocks.7.norm1.weight"
    assert sorted(problems["missing"].split(", ")) == ["blocks.1.attn.proj.bias", "norm.weight"]
    assert "cls_token (1, 1, 31)" in problems["misshaped"]
    assert "blocks.0.mlp.fc2.weight (128, 32)" in problems["misshaped"]


def test_many_names_are_cut_short(refused, tmp_path):
    arrays = {**vit_arrays(), **{f"extra.{i}": np.ones(1, np.float32) for i in range(40)}}
    line = refused(write(tmp_path / "vit.safetensors", arrays))
    assert len(re.findall(r"extra\.\d+", line)) == 6
    assert line.endswith("and 34 more")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(refused, tmp_path, value):
    arrays = mae_arrays()
    for name in ("norm.bias", "decoder_blocks.1.mlp.fc1.weight"):
        arrays[name][..., 0] = value
    line = refused(write(tmp_path / "mae.safetensors", arrays))
    assert "with numbers that are not finite: " in line
    assert "norm.bias" in line
    assert "decoder_blocks.1.mlp.fc1.weight" in line


def test_a_mae_with_learned_positions_is_refused(refused, tmp_path):
    arrays = mae_arrays()
    arrays["decoder_pos_embed"][0, 3] += 0.1
    line = refused(write(tmp_path / "mae.safetensors", arrays))
    assert "its decoder positions are not the fixed sine-cosine ones" in line


def test_a_missing_decoder_is_refused_with_the_file_that_has_one(refused, tmp_path):
    file = write(tmp_path / "mae_pretrain_vit_tiny.safetensors", vit_arrays())
    for kind in ("mae", "rffr"):
        line = refused(file, "--kind", kind)
        assert f"{file} has an encoder and no decoder, so it cannot inpaint" in line
        assert "mae_visualize_vit_base.pth" in line


def test_another_kind_than_told_is_refused(refused, tmp_path):
    file = write(tmp_path / "vit.npz", vit_arrays(VIT_TABLES["google"]))
    assert "is of kind google by its names, not timm" in refused(file, "--kind", "timm")
    assert "--kind 'resnet' is not known" in refused(file, "--kind", "resnet")
    line = refused(file, "--normalisation", "celeba")
    assert "--normalisation 'celeba' is not known; choose one of none, half, imagenet" in line


def test_a_detector_of_the_rffr_authors_is_refused_with_the_reason(refused, tmp_path):
    arrays = {
        f"module.dd.backbone_{branch}.{name}": array
        for branch in (1, 2)
        for name, array in vit_arrays().items()
    }
    line = refused(write(tmp_path / "detector.safetensors", arrays))
    assert "is a detector of the RFFR authors" in line
    assert "a patch in place of the class token" in line
    assert "convert their MAE, and train the detector" in line


def test_a_converted_vit_does_not_inpaint(tmp_path, data, capsys):
    vit = converted(tmp_path / "vit", vit_arrays())
    for job, option, flags in (
        ("detect", "mae", data),
        ("pretrain", "init_from", data),
        ("residual", "mae", ()),
    ):
        capsys.readouterr()
        assert jobs.start(job, tmp_path / job, *flags, f"{option}={vit}") == 2
        assert not (tmp_path / job).exists()
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"{option}={vit} holds a ViT: an encoder without a decoder" in line


# ---- numbers of other types


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("vit", np.float16), ("vit", np.float64), ("mae", ml_dtypes.bfloat16)],
)
def test_other_types_of_numbers_become_float32(tmp_path, kind, dtype):
    arrays = vit_arrays() if kind == "vit" else mae_arrays()
    other = {name: array.astype(dtype) for name, array in arrays.items()}
    folder = converted(tmp_path / "out", other, "--normalisation", "none")
    saved = jobs.saved_arrays(folder / "0")
    assert {array.dtype for array in saved.values()} == {np.dtype(np.float32)}
    expected = other["cls_token"].astype(np.float32).reshape(-1)
    np.testing.assert_array_equal(saved["['class_token']"], expected)
