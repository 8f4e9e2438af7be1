"""Which program computed a number."""

import shutil
import subprocess

import pytest

import rffr_jax
from rffr_jax.runs.program import program_version


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_checkout_is_named_and_whether_it_was_changed(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        run = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "rffr_jax" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(rffr_jax, "__file__", str(package))
    assert program_version() == {"version": rffr_jax.__version__, "commit": None}
    git("init", "-q")
    assert program_version()["commit"] is None  # nothing is committed
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert program_version()["commit"] == commit
    git("tag", "v1")
    package.write_text("changed = True")
    assert program_version()["commit"] == f"{commit}-dirty"
