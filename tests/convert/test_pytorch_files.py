"""Files of PyTorch: those that are read, and those that are refused in one line."""

import argparse
import json
import re

import numpy as np
import pytest

from rffr_jax.convert.files import PYTORCH
from rffr_jax.convert.tables import MAE_TABLES
from tests import jobs
from tests.convert.source_files import Trap, about, convert, converted, mae_arrays

pytestmark = pytest.mark.parity


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def tensors(torch, arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_holds_code_is_not_run(refused, tmp_path, torch, zipped):
    trap = tmp_path / "run"
    file = tmp_path / "mae.pth"
    held = {"model": tensors(torch, mae_arrays()), "epoch": Trap(trap)}
    torch.save(held, file, _use_new_zipfile_serialization=zipped)
    line = refused(file)
    assert f"{file} holds more than weights (posix.mkdir)" in line
    assert "is not opened: such a file can run any code" in line
    assert not trap.exists()
    torch.load(file, weights_only=False)
    assert trap.exists()  # so it would have been run


def test_a_whole_module_is_not_opened(refused, tmp_path, torch):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "holds more than weights (torch.nn.modules.linear.Linear)" in refused(
        tmp_path / "module.pth"
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_of_pytorch_is_named(refused, tmp_path, torch, zipped):
    file = tmp_path / "mae.pth"
    torch.save(tensors(torch, mae_arrays()), file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    for length in (0, 10, 1000, len(whole) // 2, len(whole) - 300):
        file.write_bytes(whole[:length])
        assert re.search(rf"{file} (cannot be read \(|is no file of PyTorch)", refused(file))


@pytest.mark.parametrize("ending", PYTORCH)
def test_random_bytes_are_no_file_of_pytorch(refused, tmp_path, torch, ending):
    file = tmp_path / f"weights{ending}"
    file.write_bytes(np.random.default_rng(0).bytes(10_000))
    assert re.search(rf"{file} (cannot be read \(|is no file of PyTorch)", refused(file))


def test_files_of_pytorch_without_arrays_are_named(refused, tmp_path, torch):
    file = tmp_path / "weights.pth"
    for held, said in (
        ([1, 2], "but a list"),
        (torch.zeros(3), "but a Tensor"),
        ({}, "but a dict"),
        ({"epoch": 3, 5: torch.zeros(2)}, "but epoch, 5"),
    ):
        torch.save(held, file)
        assert f"{file} holds no arrays by name, {said}; save a state_dict" in refused(file)


def test_settings_and_scores_beside_the_weights_are_read(tmp_path, torch, capsys):
    args = argparse.Namespace(norm_pix_loss=True, batch_size=64)
    scores = {"best": np.float64(0.9), "epoch": np.int64(3), "loss": np.float32(0.1)}
    file = tmp_path / "mae.pth"
    torch.save({"model": tensors(torch, mae_arrays()), "args": args, **scores}, file)
    assert convert(file, tmp_path / "out") == 0
    assert "its residuals will be poor" in capsys.readouterr().out
    assert about(tmp_path / "out")["provenance"]["kind"] == "mae"
    settings = {"hidden_size": 32, "norm_pix_loss": False, "image_mean": [0] * 3}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert convert(file, tmp_path / "first") == 0
    assert about(tmp_path / "first")["normalised_targets"]  # the file itself says so
    (tmp_path / "config.json").unlink()
    for number, other in enumerate(({"norm_pix_loss": True}, "text", None)):
        torch.save({"model": tensors(torch, mae_arrays()), "args": other}, file)
        assert convert(file, tmp_path / f"other{number}") == 0
        assert not about(tmp_path / f"other{number}")["normalised_targets"]


@pytest.mark.parametrize("ending", PYTORCH)
def test_settings_beside_a_file_of_pytorch_are_read(tmp_path, torch, ending):
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    settings |= {"hidden_size": 32, "norm_pix_loss": True}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    file = tmp_path / f"mae{ending}"
    torch.save(tensors(torch, mae_arrays()), file)
    assert convert(file, tmp_path / "out") == 0
    said = about(tmp_path / "out")
    assert said["normalised_targets"]
    trained = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}
    assert said["provenance"]["trained_with"] == trained


def test_scores_of_an_older_numpy_are_read(tmp_path, torch):
    file = tmp_path / "mae.pth"
    held = {"model": tensors(torch, mae_arrays()), "best": np.float64(0.9)}
    torch.save(held, file, _use_new_zipfile_serialization=False)
    written = file.read_bytes()
    assert written.count(b"numpy._core.multiarray") == 1
    file.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert convert(file, tmp_path / "out") == 0


@pytest.mark.parametrize("zipped", [True, False])
def test_a_mae_of_the_rffr_authors_loads_from_either_format(tmp_path, torch, capsys, zipped):
    arrays = mae_arrays()
    named = {f"module.{name}": tensor for name, tensor in tensors(torch, arrays).items()}
    file = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": named, "epoch": 3}, file, _use_new_zipfile_serialization=zipped)
    assert convert(file, tmp_path / "out") == 0
    said = about(tmp_path / "out")
    assert (said["kind"], said["k"], said["provenance"]["kind"]) == ("mae", 4, "rffr")
    guess = "  a MAE of the RFFR authors (pixels in [0, 1], k = 4), because it lies under"
    assert guess in capsys.readouterr().out
    for kind in ("rffr", "mae"):
        assert convert(file, tmp_path / kind, "--kind", kind) == 0
        assert guess not in capsys.readouterr().out
        assert about(tmp_path / kind)["k"] == {"rffr": 4, "mae": None}[kind]
    expected = converted(tmp_path / "same", arrays, "--kind", "rffr")
    jobs.assert_same_arrays(
        jobs.saved_arrays(tmp_path / "out" / "0"), jobs.saved_arrays(expected / "0")
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_tensors_of_other_types_become_float32(tmp_path, torch, dtype):
    arrays = mae_arrays(MAE_TABLES["mae"])
    other = {n: t.to(getattr(torch, dtype)) for n, t in tensors(torch, arrays).items()}
    torch.save({"model": other}, tmp_path / "mae.pth")
    assert convert(tmp_path / "mae.pth", tmp_path / "out", "--normalisation", "none") == 0
    saved = jobs.saved_arrays(tmp_path / "out" / "0")
    assert {array.dtype for array in saved.values()} == {np.dtype(np.float32)}
    expected = other["decoder_pred.weight"].float().numpy().T
    np.testing.assert_array_equal(saved["['prediction']['kernel']"], expected)
