"""Places that cannot be written, and full disks: nothing that was there is touched or lost."""

import errno
import pathlib
import shutil
import subprocess
import sys

import pytest

from rffr_jax.convert import importing
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints import manager
from rffr_jax.runs.checkpoints.weights import find_checkpoint
from tests import jobs
from tests.convert.source_files import convert, converted, mae_arrays, vit_arrays, write

HINT = "make room, or name another folder"


def test_what_is_there_is_not_touched(refused, tmp_path):
    file = write(tmp_path / "vit.safetensors", vit_arrays())
    folder, text = tmp_path / "mine", tmp_path / "text"
    frames = folder / "000"  # a folder of data may look like a checkpoint's step
    frames.mkdir(parents=True)
    (frames / "0.png").write_text("a picture")
    text.write_text("a text")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for output in (folder, text, tmp_path / "dangling"):
        line = refused(file, output=output)
        assert f"--output {output} exists; name another folder, or give --overwrite" in line
        line = refused(file, "--overwrite", output=output)
        assert f"--output {output} is no checkpoint, so --overwrite does not touch it" in line
    assert (frames / "0.png").read_text() == "a picture"
    assert text.read_text() == "a text"


def test_overwrite_does_not_touch_a_workdir(refused, tmp_path, mae):
    file = write(tmp_path / "mae.safetensors", mae_arrays())
    before = {path: path.stat().st_mtime_ns for path in mae.rglob("*")}
    assert "is no checkpoint" in refused(file, "--overwrite", output=mae)
    assert {path: path.stat().st_mtime_ns for path in mae.rglob("*")} == before


def test_a_place_below_a_file_is_named(refused, tmp_path):
    file = write(tmp_path / "vit.safetensors", vit_arrays())
    line = refused(file, output=file / "out")
    assert f"--output {file}/out cannot be written: " in line


# ---- a full disk


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_in_the_middle_leaves_what_was_there(tmp_path, capsys, monkeypatch, overwrite):
    output = tmp_path / "out"
    if overwrite:
        converted(output, vit_arrays(seed=0))
        before = jobs.saved_arrays(output / "0")
    file = write(tmp_path / "new.safetensors", vit_arrays(seed=1))
    files = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    save = importing.save_weights

    def half_way(folder, *rest):
        save(folder, *rest)
        (folder / "0").rename(folder / "0.orbax-checkpoint-tmp")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importing, "save_weights", half_way)
    assert convert(file, output, *(("--overwrite",) if overwrite else ())) == 2
    (line,) = capsys.readouterr().err.splitlines()
    reason = "[Errno 28] No space left on device"
    assert line == f"error: --output {output} cannot be written: {reason}; {HINT}"
    assert sorted(tmp_path.rglob("*")) == files
    if overwrite:
        jobs.assert_same_arrays(jobs.saved_arrays(output / "0"), before)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_an_interruption_between_old_and_new_puts_the_old_back(tmp_path, monkeypatch, error):
    output = converted(tmp_path / "out", vit_arrays(seed=0))
    before = jobs.saved_arrays(output / "0")
    file = write(tmp_path / "new.safetensors", vit_arrays(seed=1))
    files = sorted(tmp_path.rglob("*"))
    rename = pathlib.Path.rename

    def interrupted(self, target):
        if self.name == "new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", interrupted)
    if isinstance(error, OSError):
        assert convert(file, output, "--overwrite") == 2
    else:
        with pytest.raises(KeyboardInterrupt):
            convert(file, output, "--overwrite")
    assert sorted(tmp_path.rglob("*")) == files
    jobs.assert_same_arrays(jobs.saved_arrays(output / "0"), before)


LIMITED = """
import resource, sys
from scripts import convert_weights
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
{change}
sys.exit(convert_weights.main(sys.argv[2:]))
"""


def convert_with_small_files(file, output, *, limit: int, change: str = ""):
    """Converts in a process that cannot write files of more bytes than `limit`."""
    flags = ("--input", file, "--output", output, "--overwrite")
    return subprocess.run(
        [sys.executable, "-c", LIMITED.format(change=change), str(limit), *map(str, flags)],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys):
    old = converted(tmp_path / "old", vit_arrays())
    before = jobs.saved_arrays(old / "0")
    file = write(tmp_path / "mae.safetensors", mae_arrays())
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(manager.shutil, "disk_usage", lambda _: full)
    for output in (tmp_path / "new", old):
        files = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert convert(file, output, "--overwrite") == 2
        reason = "[Errno 28] No space left on device"
        expected = f"error: --output {output} cannot be written: {reason}; {HINT}\n"
        assert capsys.readouterr() == ("", expected)
        assert sorted(tmp_path.rglob("*")) == files
    jobs.assert_same_arrays(jobs.saved_arrays(old / "0"), before)


@pytest.mark.slow
def test_a_disk_that_fills_while_the_checkpoint_is_written_leaves_none(tmp_path):
    old = converted(tmp_path / "old", vit_arrays())
    before = jobs.saved_arrays(old / "0")
    file = write(tmp_path / "mae.safetensors", mae_arrays())
    unnoticed = (
        "from rffr_jax.runs.checkpoints import weights; weights.require_space = lambda *_: None"
    )
    for output in (tmp_path / "new", old):
        ended = convert_with_small_files(file, output, limit=20_000, change=unnoticed)
        assert ended.returncode == 2
        told = f"error: --output {output} cannot be written: "
        assert ended.stderr.count(told) == 1  # among pages that Orbax prints
    assert not (tmp_path / "new").exists()
    for folder in (path for path in tmp_path.rglob("*") if path.is_dir()):
        if old not in (folder, *folder.parents):
            with pytest.raises(UserError, match="holds no checkpoint"):
                find_checkpoint(folder, "mae")
    jobs.assert_same_arrays(jobs.saved_arrays(old / "0"), before)
