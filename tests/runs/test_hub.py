"""Models on the Hugging Face hub, played by a server of this machine: nothing else is asked."""

import errno
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

import rffr_jax
from rffr_jax import main
from rffr_jax.command import entry
from rffr_jax.config import refuse_address, refuse_addresses, with_pinned_models
from rffr_jax.errors import UserError
from rffr_jax.evaluation.controls import named_detectors
from rffr_jax.runs import model_names
from rffr_jax.runs.hub import push_model
from rffr_jax.runs.model_folder import read_config, write_model
from rffr_jax.runs.model_names import folder_of_model, last_part, pinned_model
from rffr_jax.training.detector_settings import detection_settings
from tests import jobs
from tests.random_detectors import TINY, settings_of, write_random_detector
from tests.runs.fake_hub import REPOSITORY, FakeHub

# The hub's client passes files to its HTTP library in a deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = f"hf://{REPOSITORY}"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A new process with the hub's client, read anew with the settings that `start` gives it."""

    def start(url: str, **settings: str):
        monkeypatch.setattr(model_names, "_found", {})
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
    assert "names no licence: put `license: ...` into its front matter" in caplog.text
    for asked in (NAME, name, f"{NAME}@main"):
        folder = folder_of_model(asked, "detector")
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
    folder = folder_of_model(NAME, "detector")
    server.server.shutdown()
    server.server.server_close()
    assert folder_of_model(NAME, "detector") == folder
    client("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert folder_of_model(name, "detector") == folder_of_model(NAME, "detector") == folder
    with pytest.raises(UserError, match=r"cannot be reached .* and its cache does not hold"):
        folder_of_model("hf://someone/else", "detector")
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
            folder_of_model(name, "detector")
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="is no model folder; write one with"):
        entry.run(["push", str(tmp_path), REPOSITORY])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(UserError, match=r"need an extra: pip install 'rffr-jax\[hub\]'"):
        folder_of_model(NAME, "detector")


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
    assert fake.private
    fake.server.shutdown()
    fake.server.server_close()


def test_configs_name_models_on_the_hub_and_nothing_else_there():
    from ml_collections import ConfigDict

    config = ConfigDict(
        {
            "detectors": "runs/a,hf://b/c@v1,RFFR=hf://b/d,hf://b/e",
            "detector": {"init": "hf://d/e"},
            "backbone": {"weights": "RFFR=hf://f/g"},
            "mae": "",
            "data": {"train": "csv:train.csv"},
        }
    )
    refuse_addresses(config)
    found = with_pinned_models(config, lambda name, entry: f"{name.partition('@')[0]}@{entry}")
    assert found.detectors == (
        "runs/a,hf://b/c@detectors,RFFR=hf://b/d@detectors,hf://b/e@detectors"
    )
    assert found.detector.init == "hf://d/e@detector.init"
    assert found.backbone.weights == "RFFR=hf://f/g@backbone.weights"
    refuse_addresses(found)
    assert named_detectors(found.detectors) == {
        "runs/a": ["runs/a"],
        "hf://b/c@detectors": ["hf://b/c@detectors"],
        "RFFR": ["hf://b/d@detectors"],
        "hf://b/e@detectors": ["hf://b/e@detectors"],
    }
    refuse_address("--config.mae=hf://a/b", models=True)
    with pytest.raises(UserError, match="names a model, and this is no place for one"):
        refuse_address("hf://a/b", "--config.data.train=")
    with pytest.raises(UserError, match="addresses"):
        refuse_address("hf://a/b,gs://x/y", models=True)


def test_everywhere_else_a_name_stays_as_it_is():
    assert folder_of_model("runs/detect", "detector") == pathlib.Path("runs/detect")
    assert pinned_model("runs/detect@v1", "detector") == "runs/detect@v1"
    assert last_part("runs/detect@v1") == "detect@v1"
    assert last_part("hf://someone/detector@v1") == "detector"


def test_a_private_push_never_publishes(server, model, capsys):
    with pytest.raises(UserError, match="is public, so --private would publish the model"):
        entry.run(["push", str(model), REPOSITORY, "--private"])
    assert len(server.commits) == 1
    assert server.uploads == 0
    server.private = True
    assert entry.run(["push", str(model), REPOSITORY, "--private"]) == 0
    assert len(server.commits) == 2


def test_a_card_that_was_edited_on_the_hub_is_not_replaced(server, model):
    push_model(model, REPOSITORY)
    server.commit({"notes.txt": b"of the owner"})
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n\nBetter.\n")
    push_model(model, REPOSITORY)  # only this machine's card has changed
    edited = b"---\nlicense: apache-2.0\n---\n# Mine\n\nOnline.\n"
    there = server.commit({"README.md": edited})
    with pytest.raises(UserError, match=r"its README\.md was edited on the hub") as raised:
        push_model(model, REPOSITORY)
    assert str(model / "README.md") in str(raised.value)
    assert list(server.commits)[-1] == there
    (model / "README.md").write_bytes(edited)
    name = push_model(model, REPOSITORY)
    assert server.commits[name.partition("@")[2]]["README.md"] == edited


def test_a_commit_of_somebody_else_in_between_is_kept(server, model, monkeypatch):
    real = server._of_repository

    def answer(path, body):
        if path.startswith("/preupload/"):
            server.commit({"notes.txt": b"meanwhile"})
        return real(path, body)

    monkeypatch.setattr(server, "_of_repository", answer)
    with pytest.raises(UserError, match=r"the hub did not do it \(.*412"):
        push_model(model, REPOSITORY)
    assert server.titles == ["initial commit", "Edit"]


@pytest.mark.parametrize(
    ("card", "warned"),
    [
        ("---\nlicense: mit\n---\n# A\n", False),
        ("---\nlicense: unknown\n---\n# A\n", True),
        ("---\ntags:\n- a\n---\n# A\n\nlicense: mit\n", True),
        ("# A\n", True),
    ],
)
def test_a_card_without_a_licence_is_named(server, model, card, warned, caplog):
    (model / "README.md").write_text(card)
    push_model(model, REPOSITORY)
    assert (f"{model / 'README.md'} names no licence" in caplog.text) == warned


def test_nothing_is_made_for_a_card_that_cannot_be_read(client, model):
    fake = FakeHub(exists=False)
    client(fake.url)
    (model / "README.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8 text"):
        push_model(model, REPOSITORY)
    assert not fake.commits
    fake.server.shutdown()
    fake.server.server_close()


def test_only_the_hub_and_the_network_are_blamed_for_what_they_did(server, model, monkeypatch):
    import huggingface_hub

    name = push_model(model, REPOSITORY)
    for error, kind, message in [
        (OSError(errno.ENOSPC, "full"), UserError, "No space left on device; HF_HOME names"),
        (ConnectionResetError("reset"), UserError, r"the hub did not do it \(ConnectionReset"),
        (KeyError("defect"), KeyError, "defect"),
        (OSError("defect"), OSError, "defect"),
    ]:

        def fail(*args, error=error, **settings):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(kind, match=message):
            folder_of_model(name, "detector")


def test_the_weights_of_something_else_are_not_fetched(server, model):
    good = {file.name: file.read_bytes() for file in model.iterdir()}
    edited = json.loads(good["config.json"]) | {"format": "rffr_jax model 0"}
    other = server.commit({**good, "config.json": json.dumps(edited).encode()})
    asked = []
    real = server._of_repository
    server._of_repository = lambda path, body: asked.append(path) or real(path, body)
    with pytest.raises(UserError, match="is not of 'rffr_jax model 1'"):
        folder_of_model(f"{NAME}@{other}", "detector")
    assert not [path for path in asked if "safetensors" in path]


def test_a_damaged_cache_says_what_to_delete(server, model, client):
    name = push_model(model, REPOSITORY)
    folder = folder_of_model(name, "detector")
    client(server.url)
    (folder / "model.safetensors").resolve().write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"its SHA-256 differs.*; delete (\S+) to down") as raised:
        folder_of_model(name, "detector")
    cache = pathlib.Path(str(raised.value).split("delete ")[1].split(" to down")[0])
    shutil.rmtree(cache)
    assert folder_of_model(name, "detector") == folder


def test_a_config_keeps_the_name_with_its_commit(server, client, tmp_path, monkeypatch):
    folder = write_random_detector(tmp_path / "detector", settings_of())
    name = push_model(folder, REPOSITORY)
    started = []

    class Job:
        @staticmethod
        def run(config, workdir):
            started.append(config)

    monkeypatch.setitem(sys.modules, main.JOBS["detect"], Job)
    monkeypatch.setitem(sys.modules, main.JOBS["controls"], Job)
    detect = ["rffr_jax", f"--config={jobs.CONFIGS}/detect.py", f"--workdir={tmp_path / 'run'}"]
    assert main.run([*detect, f"--config.init_from={NAME}"]) == 0
    assert main.run([*detect, f"--config.mae={NAME}", *jobs.FIXED["detect"]]) == 0
    assert jobs.start("controls", tmp_path / "run", f"detectors=RFFR={NAME}") == 0
    server.commit({"README.md": b"changed"})
    of_detector, of_mae, of_controls = started
    assert (of_detector.init_from, of_detector.mae, of_mae.mae) == (name, name, name)
    assert of_controls.detectors == f"RFFR={name}"
    for config in (of_detector, of_mae):
        assert str(tmp_path / "hf") not in str(config)
        assert detection_settings(config)[0].mae == TINY
    client(server.url, HF_HOME=str(tmp_path / "elsewhere"))  # of another machine
    assert detection_settings(of_mae)[0].mae == TINY
    assert (tmp_path / "elsewhere").is_dir()


def test_a_process_asks_the_hub_once_for_a_model(server, client, tmp_path, monkeypatch):
    name = push_model(write_random_detector(tmp_path / "detector", settings_of()), REPOSITORY)
    asked, real = [], server.answer
    server.answer = lambda method, path, body: asked.append(path) or real(method, path, body)
    folder = folder_of_model(NAME, "mae")
    asked.clear()
    client(server.url)
    pinned_model(NAME, "mae")
    requests = len(asked)
    assert requests
    asked.clear()
    client(server.url)

    class Job:
        @staticmethod
        def run(config, workdir):
            assert len(asked) == requests
            for option in (config.mae, config.detector.init, name):
                assert folder_of_model(option, "mae") == folder
            detection_settings(config)

    monkeypatch.setitem(sys.modules, main.JOBS["detect"], Job)
    both = (f"mae={NAME}", f"detector.init={NAME}")
    assert jobs.start("detect", tmp_path / "run", *both) == 0
    assert len(asked) == requests


def test_a_mistake_is_seen_before_the_download(server, tmp_path, capsys):
    asked = []
    server._of_repository = lambda path, body: asked.append(path)
    assert main.run(
        ["rffr_jax", f"--config={jobs.CONFIGS}/evaluate.py", "--workdir=gs://b/run",
         f"--config.detector={NAME}"]
    ) == 2  # fmt: skip
    assert "--workdir=gs://b/run: addresses" in capsys.readouterr().err
    assert not asked


def test_outputs_are_not_on_the_hub(server, tmp_path, monkeypatch):
    push_model(write_random_detector(tmp_path / "detector", settings_of()), REPOSITORY)
    monkeypatch.chdir(tmp_path)
    for command in (
        ["export", NAME, "--to", "torch", "--output", "hf://me/x"],
        ["export", NAME, "--to", "torch", "--output=hf://me/x"],
        ["export-model", NAME, "hf://me/y"],
        ["metrics", "scores.csv", "--output", "hf://me/z"],
        ["push", "hf://me/x", REPOSITORY],
        ["runs", "hf://me/x"],
    ):
        with pytest.raises(UserError, match=r"hf://me/.: hf:// names a model, and this is no"):
            entry.run(command)
    there = {path.name for path in tmp_path.iterdir()}
    assert entry.run(["export", NAME, "--to", "torch"]) == 0
    assert {path.name for path in tmp_path.iterdir()} - there == {"detector-torch", "hf"}


def test_something_here_that_is_named_as_the_installed_detector_is_not_passed_over(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box").mkdir()
    with pytest.raises(UserError, match=r"detector=box is the installed detector.* write \./box"):
        folder_of_model("box", "detector")
    assert folder_of_model("./box", "detector") == pathlib.Path("box")
