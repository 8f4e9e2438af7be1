"""The sdist and the wheel are built, installed in a new environment, and run in an empty folder."""

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LARGEST_WHEEL = 2 * 2**20  # bytes


def done(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_the_wheel_has_the_whole_program(tmp_path):
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "rffr_jax", "configs"):
        done("cp", "-r", ROOT / name, tmp_path, cwd=tmp_path)
    done(sys.executable, "-m", "build", "--no-isolation", tmp_path, cwd=tmp_path)
    (wheel,) = tmp_path.glob("dist/*.whl")
    assert len(list(tmp_path.glob("dist/*.tar.gz"))) == 1
    assert wheel.stat().st_size < LARGEST_WHEEL

    # A new environment; what the program needs is read from the one that runs the tests.
    done(sys.executable, "-m", "venv", tmp_path / "new", cwd=tmp_path)
    python = tmp_path / "new/bin/python"
    done(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    packages = pathlib.Path(
        done(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    )
    (packages / "needs.pth").write_text(sysconfig.get_paths()["purelib"])

    empty = tmp_path / "empty"
    empty.mkdir()
    command = tmp_path / "new/bin/rffr-jax"
    assert "paper/table9" in done(command, "--help", cwd=empty)
    assert "a residual image was computed" in done(command, "doctor", cwd=empty)
    where = "import rffr_jax; print(rffr_jax.__file__)"
    assert str(packages) in done(python, "-c", where, cwd=empty)
    done(command, "paper/fig3:smoke", cwd=empty)
    assert (empty / "runs/paper/fig3-smoke/report.html").is_file()
