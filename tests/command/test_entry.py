"""The command `rffr-jax`: its arguments become those of the program, its help names every job."""

import json
import subprocess
import sys

import pytest

from rffr_jax import main
from rffr_jax.command import entry
from rffr_jax.errors import UserError
from tests.jobs import CONFIGS


def test_arguments_become_flags(monkeypatch):
    monkeypatch.setitem(sys.modules, "configs", None)
    config = f"--config={CONFIGS}"
    for arguments, expected in [
        (["evaluate"], [f"{config}/evaluate.py"]),
        (["demo", "--config.seeds=1"], [f"{config}/quickstart.py", "--config.seeds=1"]),
        (["paper/table5:smoke"], [f"{config}/paper/table5.py:smoke"]),
        (["--config=own.py", "--workdir=x"], ["--config=own.py", "--workdir=x"]),
        (
            ["predict", "a.png", "--workdir=out", "b c.mp4"],
            [f"{config}/predict.py", "--workdir=out", "--config.inputs=a.png,b c.mp4"],
        ),
        (["predict", "a,b.png"], [f"{config}/predict.py", "--config.inputs=a,b.png"]),
        (
            ["predict", "--config.annotate", "a.png"],
            [f"{config}/predict.py", "--config.annotate", "--config.inputs=a.png"],
        ),
    ]:
        assert entry.flags_of(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predct"], "no job 'predct'; did you mean predict?"),
        (["xyz"], "no job 'xyz'; `rffr-jax --help` lists"),
        (["paper/base"], "no job 'paper/base'"),
        (["web", "photo.jpg"], "'photo.jpg' is not a flag; `rffr-jax web` takes"),
        (["predict", "a.png", "b.png,c.png"], "'b.png,c.png' does not exist; separate files with"),
        (["predict", "a.png", "--workdir", "out"], "--workdir has no value; write --workdir=DIR"),
        (["evaluate", "--workdir"], "--workdir has no value; write --workdir=DIR"),
        (
            ["predict", "a.png", "--config.detector", "box"],
            "--config.detector has no value; write --config.detector=VALUE",
        ),
        (["doctor", "now"], "unrecognized arguments: now; usage: rffr-jax doctor"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=r"^[^\n]+$") as refused:
        entry.run(arguments)
    assert message in str(refused.value)


def test_a_comma_in_one_of_several_names_is_refused(tmp_path):
    (tmp_path / "a,b.png").touch()
    with pytest.raises(UserError, match=r"a,b.png' has a comma in its name"):
        entry.run(["predict", str(tmp_path / "a,b.png"), "c.png"])


def test_help_names_every_job_and_loads_no_jax():
    code = (
        "import sys; from rffr_jax.command import entry; entry.run([]); print('jax' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = found.stdout.splitlines()
    assert lines[-1] == "False"
    for job in {file.stem for file in CONFIGS.glob("*.py")}:
        assert any(line.split()[:1] == [job] for line in lines), job


@pytest.mark.parametrize("command", entry.OTHERS)
def test_every_other_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        entry.run([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: rffr-jax {command} " in capsys.readouterr().out


def test_a_run_records_what_was_typed_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "configs", None)
    (tmp_path / "configs").mkdir()  # a folder of the user's, which is not ours
    seen = []
    monkeypatch.setitem(main.JOBS, "experiment", "tests.command.test_entry")
    monkeypatch.setattr(sys.modules[__name__], "run", lambda *of: seen.append(of), raising=False)
    assert entry.run(["demo", "--config.seeds=(3,)", "--workdir=here"]) == 0
    config, workdir = seen[0]
    assert json.loads(config.to_json())["seeds"] == [3]
    assert config.command == "rffr-jax demo '--config.seeds=(3,)' --workdir=here"
    assert str(workdir) == "here"
