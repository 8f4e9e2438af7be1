"""The shell's settings and the ends of its pipes: one line, or what was asked for all the same."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SHOW = "print('Müller/\\u4eba', flush=True)\n    print('more', flush=True)\n    return 0"
USE_JAX = "import jax.numpy as jnp\n    print(jnp.arange(2.0).dtype)\n    return 0"


def program(tmp_path, body, *arguments, redirect="", **environment):
    """Runs a program whose main function has that body, below bash."""
    file = tmp_path / "program.py"
    file.write_text(
        "import sys\nfrom rffr_jax.cluster.command_line import run_program\n"
        f"def main():\n    {body}\nsys.exit(run_program(main))\n",
        encoding="utf-8",
    )
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = f'"{sys.executable}" "$0" "$@" {redirect}'
    words = ["bash", "-o", "pipefail", "-c", command, str(file), *arguments]
    return subprocess.run(words, env=settings, capture_output=True, text=True)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_text_that_the_terminal_cannot_show_is_escaped(tmp_path, environment):
    found = program(tmp_path, SHOW, **environment)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == "M\\xfcller/\\u4eba\nmore\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_one_line_and_a_closed_one_ends_the_program(tmp_path, unbuffered):
    found = program(tmp_path, SHOW, redirect="> /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert found.returncode == 2
    reason = "standard output cannot be written: No space left on device; files are complete"
    assert found.stderr == f"error: {reason}\n"
    body = f"import time\n    print(1, flush=True)\n    time.sleep(0.5)\n    {SHOW}"
    found = program(tmp_path, body, redirect="| head -1", PYTHONUNBUFFERED=unbuffered)
    assert (found.returncode, found.stdout, found.stderr) == (141, "1\n", "")


def test_a_reader_that_has_enough_does_not_matter_to_a_program_that_is_done(tmp_path):
    found = program(
        tmp_path, "print('x' * 100)\n    return 0", redirect="| true", PYTHONUNBUFFERED=""
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_closed_output_is_none(tmp_path):
    found = program(tmp_path, SHOW, redirect=">&- 2>&-")
    assert (found.returncode, found.stdout) == (0, "")


def test_an_error_of_a_file_stays_what_it_is(tmp_path):
    found = program(tmp_path, "raise BrokenPipeError(32, 'of a child')")
    assert found.returncode == 1
    assert "BrokenPipeError: [Errno 32] of a child" in found.stderr


def test_addresses_are_refused_as_arguments_of_every_script(tmp_path):
    for script in sorted((ROOT / "scripts").glob("*.py")):
        text = script.read_text(encoding="utf-8")
        assert ("run_program(main" in text) == ('"__main__"' in text), script
    found = program(tmp_path, SHOW, "--output=s3://bucket/x")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: --output=s3://bucket/x: addresses (s3://) are not read")
    found = program(tmp_path, SHOW, "--output=hf://me/x")
    assert (found.returncode, found.stdout) == (2, "")
    assert "--output=hf://me/x: hf:// names a model, and this is no place" in found.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_ENABLE_X64", "1"), ("JAX_ENABLE_X64", "odd"), ("JAX_DISABLE_JIT", "true")],
)
def test_settings_of_jax_that_change_results_are_not_used(tmp_path, name, value):
    found = program(tmp_path, USE_JAX, JAX_PLATFORMS="cpu", **{name: value})
    assert (found.returncode, found.stdout) == (0, "float32\n")
    assert found.stderr == f"note: {name}={value} is not used; {name}=0 is\n"


def test_settings_as_they_are_anyway_are_not_told(tmp_path):
    found = program(tmp_path, USE_JAX, JAX_PLATFORMS="cpu", JAX_ENABLE_X64="False")
    assert (found.stdout, found.stderr) == ("float32\n", "")


def test_a_device_that_is_not_there_is_one_line_and_nothing_is_made(tmp_path):
    command = [sys.executable, "-m", "rffr_jax.main", f"--config={ROOT}/configs/pretrain.py"]
    for platform in ("cuda", "abacus"):
        settings = {
            **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform,
            "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        found = subprocess.run(command, env=settings, capture_output=True, text=True, cwd=tmp_path)
        assert found.returncode == 2
        (line,) = found.stderr.splitlines()
        assert line.startswith(
            f"rffr_jax: JAX cannot use the devices of JAX_PLATFORMS='{platform}': "
        )
        assert list(tmp_path.iterdir()) == []
