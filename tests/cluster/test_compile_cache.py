"""Where compiled programs are kept, and where they are not."""

import jax
import pytest

from rffr_jax.cluster.compile_cache import enable_compile_cache


def cache_folder():
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(autouse=True)
def no_cache_yet():
    before = cache_folder()
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def folder_on(monkeypatch, backend, environment):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    enable_compile_cache(environment)
    return cache_folder()


def test_on_an_accelerator_the_users_cache_folder_is_taken(monkeypatch, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    assert folder_on(monkeypatch, "gpu", environment) == str(tmp_path / "rffr_jax" / "compiled")


def test_without_xdg_it_lies_below_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_on(monkeypatch, "tpu", {}) == str(tmp_path / ".cache" / "rffr_jax" / "compiled")


def test_a_cpu_keeps_none(monkeypatch):
    assert folder_on(monkeypatch, "cpu", {}) is None


def test_a_folder_that_the_user_chose_stays(monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert folder_on(monkeypatch, "gpu", {}) == str(tmp_path)


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null/cache"])
def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_kept(monkeypatch, caplog, folder):
    assert folder_on(monkeypatch, "gpu", {"XDG_CACHE_HOME": folder}) is None
    assert "compiled programs are not kept for later runs: [Errno" in caplog.text


def test_no_home_folder_is_told_and_nothing_is_kept(monkeypatch, caplog):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", unknown)
    assert folder_on(monkeypatch, "gpu", {}) is None
    assert "Could not determine home directory" in caplog.text
