"""Models on the Hugging Face hub, played by a server of this machine: nothing else is asked."""

import logging
import pathlib
import sys

import numpy as np
import pytest

import rffr_jax
from rffr_jax.command import entry
from rffr_jax.config import refuse_address, with_local_models
from rffr_jax.errors import UserError
from rffr_jax.runs import hub
from rffr_jax.runs.hub import local_model, push_model
from rffr_jax.runs.model_folder import read_config, write_model
from tests import jobs
from tests.random_detectors import settings_of, write_random_detector
from tests.runs.fake_hub import REPOSITORY, FakeHub

# The hub's client passes files to its HTTP library in a deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = f"hf://{REPOSITORY}"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The hub's client, read anew with the settings that `start` gives it."""

    def start(url: str, **settings: str):
        for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
            monkeypatch.delitem(sys.modules, name)
        fixed = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        for name, value in {**fixed, **quiet, "HF_TOKEN": "hf_none", **settings}.items():
            monkeypatch.setenv(name, value)

    return start


@pytest.fixture
def server(client):
    """A hub that has the repository, empty."""
    fake = FakeHub()
    client(fake.url)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def model(tmp_path):
    tree = {"kernel": np.random.default_rng(0).random((3, 4), np.float32)}
    config = {"about": {"kind": "mae", "version": "1"}}
    write_model(tmp_path / "model", {"mae": tree}, config, "# Mine\n\nFor tests.\n")
    return tmp_path / "model"


def test_what_is_pushed_is_found_by_its_name(server, model, caplog):
    server.commit({"notes.txt": b"of the owner"})
    name = push_model(model, REPOSITORY)
    assert name == f"{NAME}@{list(server.commits)[-1]}"
    files = server.commits[name.partition("@")[2]]
    assert files.keys() == {"notes.txt", "README.md", "config.json", "model.safetensors"}
    assert files["notes.txt"] == b"of the owner"
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: rffr-jax\n")
    assert card.endswith("---\n# Mine\n\nFor tests.\n")
    assert "license: unknown" in caplog.text
    for asked in (NAME, name, f"{NAME}@main"):
        folder = pathlib.Path(local_model(asked, "detector"))
        assert read_config(folder, "mae") == read_config(model, "mae")
    assert not (folder / "notes.txt").exists()


def test_a_push_goes_on_where_it_broke_and_replaces_only_a_model(server, model):
    server.broken_uploads = 1
    with pytest.raises(UserError, match=r"the hub did not do it \("):
        push_model(model, REPOSITORY)
    assert list(server.commits) == ["0" * 40]  # no half of a model
    first = push_model(model, REPOSITORY)
    again = push_model(model, REPOSITORY)  # a new commit of the same files
    assert server.uploads == 1
    assert first != again
    assert len({commit["model.safetensors"] for commit in list(server.commits.values())[1:]}) == 1


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_files_of_others_are_not_overwritten(server, model, name):
    server.commit({name: b"{}"})
    with pytest.raises(UserError, match=f"holds another {name}, which is not overwritten"):
        push_model(model, REPOSITORY)
    assert len(server.commits) == 2


def test_the_cache_serves_when_there_is_no_network(server, model, client):
    name = push_model(model, REPOSITORY)
    folder = local_model(NAME, "detector")
    server.server.shutdown()
    server.server.server_close()
    assert local_model(NAME, "detector") == folder
    client("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert local_model(name, "detector") == local_model(NAME, "detector") == folder
    with pytest.raises(UserError, match=r"cannot be reached .* and its cache does not hold"):
        local_model("hf://someone/else", "detector")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set; unset it"):
        push_model(model, REPOSITORY)


def test_mistakes_are_named_in_one_line(server, model, tmp_path, monkeypatch):
    server.commit({"weights.bin": b"1"})
    good = {file.name: file.read_bytes() for file in model.iterdir()}
    other = server.commit({**good, "model.safetensors": b"damaged"})
    for name, message in [
        ("hf://someone/none", "the hub has no such repository, or it is private"),
        (f"{NAME}@v9", "the repository has no such revision"),
        (f"{NAME}@{1:040x}", "holds no model of rffr_jax"),
        (f"{NAME}@{other}", "its SHA-256 differs"),
        ("hf://detector", "is not hf://OWNER/NAME"),
        (f"{NAME}@", "is not hf://OWNER/NAME"),
    ]:
        with pytest.raises(UserError, match=message) as raised:
            local_model(name, "detector")
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="is no model folder; write one with"):
        entry.run(["push", str(tmp_path), REPOSITORY])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(UserError, match=r"need an extra: pip install 'rffr-jax\[hub\]'"):
        local_model(NAME, "detector")


def test_detectors_and_jobs_take_a_name_on_the_hub(server, tmp_path, capsys):
    folder = write_random_detector(tmp_path / "detector", settings_of())
    push_model(folder, REPOSITORY)
    assert rffr_jax.load_detector(NAME).digest == rffr_jax.load_detector(folder).digest
    exported = ["export-model", NAME, str(tmp_path / "copy")]
    assert entry.run(exported) == 0
    for job, flag in (
        ("evaluate", "detector=hf://someone/none"),
        ("detect", "init_from=hf://someone/none"),
        ("detect", "mae=hf://someone/none"),
        ("pretrain", "data.train=hf://someone/none"),
    ):
        assert jobs.start(job, tmp_path / "run", flag) == 2
        wanted = "no place for one" if "train" in flag else "the hub has no such repository"
        assert wanted in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_new_repository_is_made(client, model, capsys):
    fake = FakeHub(exists=False)
    client(fake.url)
    assert entry.run(["push", str(model), REPOSITORY, "--private"]) == 0
    assert capsys.readouterr().out == f"{NAME}@{1:040x} is the model\n"
    fake.server.shutdown()
    fake.server.server_close()


def test_configs_name_models_on_the_hub_and_nothing_else_there(monkeypatch):
    from ml_collections import ConfigDict

    config = ConfigDict(
        {
            "detectors": "runs/a,hf://b/c@v1",
            "detector": {"init": "hf://d/e"},
            "mae": "",
            "data": {"train": "csv:train.csv"},
        }
    )
    found = with_local_models(config, lambda name, entry: f"/cache/{entry}/{name[5:]}")
    assert found.detectors == "runs/a,/cache/detectors/b/c@v1"
    assert found.detector.init == "/cache/detector.init/d/e"
    refuse_address("--config.mae=hf://a/b", models=True)
    with pytest.raises(UserError, match="names a model, and this is no place for one"):
        refuse_address("hf://a/b", "--config.data.train=")
    with pytest.raises(UserError, match="addresses"):
        refuse_address("hf://a/b,gs://x/y", models=True)


def test_everywhere_else_a_name_stays_as_it_is(caplog):
    caplog.set_level(logging.INFO)
    assert local_model("runs/detect", "detector") == "runs/detect"
    assert hub.log.name not in [record.name for record in caplog.records]
