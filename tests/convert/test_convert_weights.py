"""scripts/convert_weights.py as a user calls it, on small files of every kind."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy

from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES
from rffr_jax.models.layers import sincos_positions
from rffr_jax.runs.checkpoints.weights import (
    read_about,
    warn_of_normalised_targets,
)
from scripts import convert_weights
from tests import jobs
from tests.convert.source_files import about, convert, converted, mae_arrays, vit_arrays, write

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
NONE = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
NORMALISED = ("--targets", "normalised")


@pytest.fixture
def notes(capsys) -> Callable[[], list[str]]:
    """The notes printed since the last call."""

    def printed() -> list[str]:
        lines = capsys.readouterr().out.splitlines()
        return [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]

    return printed


def encoder_of_a_mae():
    """timm's names, and the fixed positions that a MAE has."""
    arrays = vit_arrays()
    tokens, width = arrays["pos_embed"].shape[1:]
    fixed = sincos_positions(round((tokens - 1) ** 0.5), width)
    return {**arrays, "pos_embed": np.concatenate([np.zeros((1, width), np.float32), fixed])[None]}


# ---- kinds


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("names", VIT_TABLES)
def test_every_kind_of_vit(tmp_path, capsys, names, told):
    kind = names[:2] if names.startswith("hf") else names
    arrays = vit_arrays(VIT_TABLES[names])
    file = write(tmp_path / ("vit.npz" if names == "google" else "vit.safetensors"), arrays)
    assert convert(file, tmp_path / "out", *(("--kind", kind) if told else ())) == 0
    output, errors = capsys.readouterr()
    assert not errors
    heads = "  2 heads of 16 channels"
    told = ["told by the arrays:", heads, "assumed:"]
    assumed = ["assumed:", f"{heads} (as in tiny here; --heads says otherwise)"]
    assert output.splitlines() == [
        *(told if names == "google" else assumed),
        "  trained on pixels in [0, 1] normalised with mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5) "
        "(--normalisation says otherwise)",
        "  exact GELU",
        "  layer norms with epsilon 1e-06",
        f"wrote {tmp_path}/out: a {kind} vit (tiny, 48 px, patches of 12 px)",
        f"use it with --config.detector.init or --config.backbone.weights={tmp_path}/out",
    ]
    said = about(tmp_path / "out")
    assert said["kind"] == "vit"
    assert said["model"] == {"size": "tiny", "image_size": 48, "patch_size": 12}
    assert said["normalisation"] == HALF
    saved = jobs.saved_arrays(tmp_path / "out" / "0")
    assert {array.dtype for array in saved.values()} == {np.dtype(np.float32)}
    class_token = next(arrays[name] for name in arrays if name.endswith(("cls", "cls_token")))
    np.testing.assert_array_equal(saved["['class_token']"], class_token.reshape(-1))


@pytest.mark.parametrize(
    ("names", "told"),
    [("mae", True), ("mae", False), ("hf", True), ("hf4", False), ("hf5_saved", False)],
)
def test_every_kind_of_mae(tmp_path, capsys, names, told):
    kind = names[:2] if names.startswith("hf") else names
    file = write(tmp_path / "mae.safetensors", mae_arrays(MAE_TABLES[names]))
    assert convert(file, tmp_path / "out", *(("--kind", kind) if told else ())) == 0
    output, errors = capsys.readouterr()
    assert not errors
    heads = "heads of 16 channels (as in tiny here; "
    assert output.splitlines() == [
        "assumed:",
        f"  2 {heads}--heads says otherwise)",
        f"  2 decoder {heads}--decoder-heads says otherwise)",
        "  trained on pixels in [0, 1] normalised with mean (0.485, 0.456, 0.406), std (0.229, "
        "0.224, 0.225) (--normalisation says otherwise)",
        "  exact GELU",
        "  layer norms with epsilon 1e-06",
        "  its decoder predicts pixels (its arrays do not tell: on drawn pictures its predictions "
        "explain 0 % of the pixels and 0 % of patches normalised by their own mean and spread; "
        "--targets says otherwise)",
        "note: folded that into the weights: this MAE reads and predicts pixels in [0, 1]",
        f"wrote {tmp_path}/out: a {kind} mae (tiny, 48 px, patches of 12 px)",
        "use it with --config.mae, --config.init_from, --config.detector.init or "
        f"--config.backbone.weights={tmp_path}/out",
    ]
    said = about(tmp_path / "out")
    assert (said["kind"], said["k"], said["input_range"]) == ("mae", None, [0.0, 1.0])
    assert said["mask"] == {"kind": "random", "ratio": 0.75}
    assert not said["normalised_targets"]
    assert not any("positions" in name for name in jobs.saved_arrays(tmp_path / "out" / "0"))


def test_a_mae_of_the_rffr_authors_is_taken_as_it_is(tmp_path, notes):
    arrays = mae_arrays()
    folder = converted(tmp_path / "rffr", arrays, "--kind", "rffr")
    assert notes() == []
    assert about(folder)["k"] == 4
    assert about(folder)["provenance"]["trained_with"] == NONE
    saved = jobs.saved_arrays(folder / "0")
    kernel = saved["['prediction']['kernel']"]
    np.testing.assert_array_equal(kernel, arrays["decoder_pred.weight"].T)


def test_folded_normalisation_is_told_and_done(tmp_path, notes):
    arrays = mae_arrays()
    plain = jobs.saved_arrays(converted(tmp_path / "a", arrays, "--normalisation", "none") / "0")
    assert notes() == []
    folder = converted(tmp_path / "b", arrays, "--normalisation", "half")
    (note,) = notes()
    assert "reads and predicts pixels in [0, 1]" in note
    assert about(folder)["provenance"]["trained_with"] == HALF
    folded = jobs.saved_arrays(folder / "0")
    bias = "['prediction']['bias']"
    np.testing.assert_allclose(folded[bias], 0.5 * plain[bias] + 0.5, rtol=1e-6)
    changed = {name for name in plain if not np.array_equal(plain[name], folded[name])}
    leaves = ("kernel", "bias")
    assert changed == {f"['{x}']['{leaf}']" for x in ("embedding", "prediction") for leaf in leaves}


# ---- notes


@pytest.mark.parametrize(
    ("names", "prefix", "heads"),
    [
        ("timm", "", ["head.weight", "head.bias", "pre_logits.fc.weight"]),
        ("hf", "vit.", ["classifier.weight", "classifier.bias"]),
        ("hf4", "", ["pooler.dense.weight", "pooler.dense.bias"]),
        ("google", "", ["head/kernel", "pre_logits/kernel"]),
    ],
)
def test_heads_that_are_dropped_are_named(tmp_path, notes, names, prefix, heads):
    arrays = {prefix + name: array for name, array in vit_arrays(VIT_TABLES[names]).items()}
    file = tmp_path / ("vit.npz" if names == "google" else "vit.safetensors")
    write(file, {**arrays, **dict.fromkeys(heads, np.ones(3, np.float32))})
    assert convert(file, tmp_path / "out") == 0
    (note,) = notes()
    assert note.startswith("left out (it has no place here): ")
    assert sorted(note.partition(": ")[2].split(", ")) == sorted(heads)
    assert sorted(about(tmp_path / "out")["provenance"]["left_out"]) == sorted(heads)


def test_the_encoder_of_a_mae_is_told(tmp_path, notes):
    folder = converted(tmp_path / "encoder", encoder_of_a_mae())
    (note,) = notes()
    assert "this is the encoder of a MAE" in note
    assert "mae_visualize_vit_base.pth" in note
    assert about(folder)["kind"] == "vit"
    assert about(folder)["normalisation"] == IMAGENET


def test_a_decoder_of_normalised_pixels_is_warned_of(tmp_path, notes):
    def warned(file, *flags):
        output = file.with_suffix("")
        assert convert(file, output, *flags) == 0
        text = " ".join(notes())
        warning = "its residuals will be poor" in text
        assert warning == about(output)["normalised_targets"]
        assert warning != ("predicts pixels in [0, 1]" in text)
        return warning

    full = "mae_pretrain_vit_tiny_full.safetensors"
    assert not warned(write(tmp_path / full, mae_arrays()))  # a name tells nothing
    assert warned(write(tmp_path / "asked.safetensors", mae_arrays()), *NORMALISED)
    for told in (True, False):
        file = write(tmp_path / str(told) / full, mae_arrays(MAE_TABLES["hf4"]))
        config = {"model_type": "vit_mae", "norm_pix_loss": told}
        (file.parent / "config.json").write_text(json.dumps(config))
        assert warned(file) == told


def test_a_mae_of_normalised_targets_stays_one_on_its_way_out_and_in(tmp_path):
    arrays = mae_arrays()
    for name, flags in (("normalised", NORMALISED), ("pixels", ())):
        folder = converted(tmp_path / name, arrays, *flags)
        for kind in ("mae", "hf", "hf4"):
            file = tmp_path / f"{name}-{kind}" / "out.safetensors"
            assert export(folder, file, "--kind", kind) == 0
            assert convert(file, file.with_suffix("")) == 0
            assert about(file.with_suffix(""))["normalised_targets"] == bool(flags)


def test_a_mae_of_normalised_targets_can_be_warned_of_where_it_inpaints(tmp_path, caplog):
    for name, flags, warnings in (("pixels", (), 0), ("normalised", NORMALISED, 1)):
        folder = converted(tmp_path / name, mae_arrays(), *flags)
        with caplog.at_level("WARNING", "rffr_jax"):
            warn_of_normalised_targets(read_about(folder, "mae", "mae"), f"mae={folder}")
        assert len(caplog.messages) == warnings
    assert f"mae={folder} was trained to predict patches normalised" in caplog.text
    warn_of_normalised_targets({"kind": "mae"}, "mae=one that was trained here")
    assert len(caplog.messages) == 1


def test_zero_positions_of_a_fresh_model_are_told(tmp_path, notes):
    arrays = mae_arrays(MAE_TABLES["hf"])
    zeros = {
        name: np.zeros_like(arrays[name])
        for name in ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
    }
    converted(tmp_path / "fresh", {**arrays, **zeros}, "--normalisation", "none")
    assert ["are all zero" in note for note in notes()] == [True, True]


# ---- what is recorded


def test_provenance(tmp_path):
    file = write(tmp_path / "source.npz", vit_arrays(VIT_TABLES["google"]))
    assert convert(file, tmp_path / "out", "--normalisation", "imagenet") == 0
    provenance = about(tmp_path / "out")["provenance"]
    assert provenance == {
        "file": "source.npz",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "kind": "google",
        "prefix": "",
        "left_out": [],
        "assumed": ["exact GELU", "layer norms with epsilon 1e-06"],
        "told": {
            "the arrays": ["2 heads of 16 channels"],
            "--normalisation": [
                "trained on pixels in [0, 1] normalised with mean (0.485, 0.456, 0.406), std "
                "(0.229, 0.224, 0.225)"
            ],
        },
        "trained_with": IMAGENET,
        "versions": {
            name: importlib.metadata.version(name) for name in ("rffr-jax", "jax", "numpy")
        },
    }


# ---- writing again


def test_overwrite_replaces_a_checkpoint(tmp_path, capsys):
    folder = converted(tmp_path / "out", vit_arrays(seed=0))
    before = jobs.saved_arrays(folder / "0")
    file = write(tmp_path / "new.safetensors", vit_arrays(seed=1))
    assert convert(file, folder) == 2
    assert f"--output {folder} exists" in capsys.readouterr().err
    jobs.assert_same_arrays(jobs.saved_arrays(folder / "0"), before)
    assert convert(file, folder, "--overwrite") == 0
    expected = jobs.saved_arrays(converted(tmp_path / "again", vit_arrays(seed=1)) / "0")
    jobs.assert_same_arrays(jobs.saved_arrays(folder / "0"), expected)
    assert about(folder)["provenance"]["file"] == "new.safetensors"
    hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert hidden == []


# ---- the other way


def export(folder, file, *flags) -> int:
    return convert_weights.main(["--input", str(folder), "--export", str(file), *flags])


@pytest.mark.parametrize("kind", ["mae", "hf", "hf4"])
def test_an_exported_mae_is_the_file_it_came_from(tmp_path, capsys, kind):
    arrays = mae_arrays(MAE_TABLES[kind])
    folder = converted(tmp_path / "in", arrays, "--normalisation", "none")
    file = tmp_path / "exported.safetensors"
    assert export(folder, file, "--kind", kind) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"wrote {file}",
        "it reads pixels in [0, 1], as here",
    ]
    jobs.assert_same_arrays(safetensors.numpy.load_file(file), arrays)


@pytest.mark.parametrize("kind", ["timm", "hf", "hf4"])
def test_an_exported_vit_is_the_file_it_came_from_and_tells_its_normalisation(
    tmp_path, capsys, kind
):
    arrays = vit_arrays(VIT_TABLES[kind])
    folder = converted(tmp_path / "in", arrays, "--normalisation", "imagenet")
    file = tmp_path / "exported.safetensors"
    assert export(folder, file, "--kind", kind) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("it reads (p - mean) / std of pixels p in [0, 1], mean (0.485, 0.456")
    jobs.assert_same_arrays(safetensors.numpy.load_file(file), arrays)
    assert convert(file, tmp_path / "again") == 0
    assert about(tmp_path / "again")["normalisation"] == IMAGENET


def test_exports_that_cannot_be_are_refused(tmp_path, capsys):
    vit = converted(tmp_path / "vit", vit_arrays())
    mae = converted(tmp_path / "mae", mae_arrays())
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    blocked = there / "file.safetensors"
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))

    def refused(folder, file, *flags):
        assert export(folder, file, *flags) == 2
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = capsys.readouterr().err.splitlines()
        return line

    fine = tmp_path / "fine.safetensors"
    assert "--export needs --kind, one of timm, hf, hf4, mae; not 'auto'" in refused(mae, fine)
    assert "not 'google'" in refused(mae, fine, "--kind", "google")
    for ending in (".pth", ".npz", ""):
        line = refused(mae, tmp_path / f"fine{ending}", "--kind", "mae")
        assert "its name must end with .safetensors" in line
    assert "a ViT goes out as timm or hf" in refused(vit, fine, "--kind", "mae")
    assert f"{there} exists" in refused(mae, there, "--kind", "mae")
    assert there.read_text() == "mine"
    assert f"{blocked} cannot be written" in refused(mae, blocked, "--kind", "mae")
    assert "leave out --overwrite" in refused(mae, fine, "--kind", "mae", "--overwrite")
    for flag, value in (("--normalisation", "imagenet"), ("--heads", "2"), ("--prefix", "a")):
        assert f"leave out {flag}" in refused(mae, fine, "--kind", "mae", flag, value)
    assert "holds no checkpoint" in refused(tmp_path / "gone", fine, "--kind", "mae")
    assert "holds no checkpoint" in refused(there, fine, "--kind", "mae")
