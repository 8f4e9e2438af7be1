"""The list of runs, of folders as runs leave them."""

import csv
import json
import subprocess
import sys

import pytest

from rffr_jax.command import entry
from rffr_jax.errors import UserError
from rffr_jax.experiments import run_list
from rffr_jax.experiments.run_list import find_runs
from rffr_jax.runs.lock import try_lock
from rffr_jax.runs.run_record import recorded_run


def write_run(folder, config, lines=(), **files):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


@pytest.fixture
def runs(tmp_path):
    losses = [{"step": n, "split": "train", "loss": 1 / n} for n in (1, 2)]
    validated = {"step": 2, "split": "faces", "auc": 0.6}
    pretrain = {"job": "pretrain", "seed": 3, "optimizer": {"learning_rate": 0.5}}
    write_run(
        tmp_path / "mae", pretrain, [*losses, {"step": 2, "split": "validation", "loss": 0.25}]
    )
    detect = {"job": "detect", "data": {"methods": []}}
    write_run(tmp_path / "detect", detect, [*losses, validated])
    best = {"faces-swap": {"auc": 0.9, "step": 1, "methods": ["swap"]}}
    best["faces"] = {"auc": 0.7, "step": 2, "methods": ["swap", "warp"]}
    other = {"job": "detect", "batch_size": 1, "seed": 2}
    write_run(tmp_path / "best", other, [*losses, validated], best=best)
    other["seed"] = 3
    write_run(tmp_path / "data/other", other)
    results = {"faces": {"mean_all": 0.8, "mean_unseen": None}, "about": {}}
    write_run(tmp_path / "best/evaluations/last", {"job": "evaluate"}, results=results)
    write_run(tmp_path / "mae/checkpoints/latest", {"job": "detect"})
    (tmp_path / "data/config.json").write_text("[]")
    with recorded_run(tmp_path / "mae"):
        pass
    return tmp_path


def test_every_run_is_found_with_its_numbers(runs):
    found = {run.folder.relative_to(runs).as_posix(): run for run in find_runs(runs)}
    assert list(found) == ["best", "best/evaluations/last", "data/other", "detect", "mae"]
    mae, detect = found["mae"], found["detect"]
    assert (mae.step, mae.loss, mae.validation_loss, mae.auc) == (2, 0.5, 0.25, None)
    assert mae.seconds is not None
    assert (detect.auc, detect.auc_of, detect.seconds) == (0.6, "validation faces, step 2", None)
    assert (found["best"].auc, found["best"].auc_of) == (0.7, "best validation faces, step 2")
    tested = found["best/evaluations/last"]
    assert (tested.auc, tested.auc_of) == (0.8, "test faces, mean_all")


def test_the_lock_tells_a_running_run_from_a_killed_one(runs):
    def states():
        return [run.state for run in find_runs(runs)]

    assert states() == [*["unknown"] * 4, "done"]
    (runs / "mae/run.json").write_text('{"state": "running"}')
    assert states()[-1] == "stopped"
    with try_lock(runs / "mae/.lock") as free:
        assert free
        assert states()[-1] == "running"


def test_locks_of_another_user_are_not_tried(runs, monkeypatch):
    (runs / "mae/run.json").write_text('{"state": "running"}')
    (runs / "mae/.lock").touch()

    def refused(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(run_list, "try_lock", refused)
    assert find_runs(runs)[-1].state == "running"


def test_the_command_prints_a_table_and_loads_no_jax(runs):
    code = "import sys; from rffr_jax.command import entry; entry.run(sys.argv[1:]); "
    code += "print('jax' in sys.modules)"
    arguments = ["runs", str(runs), "--csv", str(runs / "runs.csv")]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    headings, _, *rows, loaded = found.stdout.splitlines()
    assert loaded == "False"
    assert headings.split("|")[1].strip() == "run"
    assert len({len(row) for row in [headings, *rows]}) == 1
    assert "seed=3" in rows[-1]
    lines = {
        line["run"]: line for line in csv.DictReader((runs / "runs.csv").read_text().splitlines())
    }
    assert lines["mae"]["settings"] == "seed=3; optimizer.learning_rate=0.5"
    assert lines["detect"]["settings"] == ""
    assert lines["best"]["settings"] == "seed=2; batch_size=1"
    assert (lines["mae"]["loss"], lines["mae"]["validation_loss"]) == ("0.5000", "0.2500")


def test_odd_runs_do_not_hide_the_others(runs, capsys):
    removed = {"job": "experiment", "name": "table1", "variant": "removed"}
    write_run(runs / "odd/variant", removed)
    write_run(runs / "odd/no_variants", {"job": "pretrain", "name": "box", "variant": "removed"})
    write_run(runs / "odd/job", {"job": "examples"})
    lines = [7, "x", [], {"loss": 1}, {"step": 5, "split": "train", "loss": 0.125}]
    odd = {"results": {"faces": 1}, "best": {"faces": {}}}
    write_run(runs / "odd/lines", {"job": "detect"}, lines, **odd)
    write_run(runs / "odd/record", {"job": "detect"})
    (runs / "odd/record/run.json").write_text("{")
    found = {run.folder.relative_to(runs).as_posix(): run for run in find_runs(runs)}
    assert (found["odd/lines"].step, found["odd/lines"].loss) == (5, 0.125)
    assert (found["odd/record"].state, found["odd/record"].seconds) == ("unknown", None)
    entry.run(["runs", str(runs)])
    listed = capsys.readouterr().out
    assert all(name in listed for name in found)
    assert "learning_rate" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["none"], "no such folder"), (["."], "holds no run"), (["a", "b"], "usage: rffr-jax runs")],
)
def test_nothing_to_list(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        entry.run(["runs", *arguments])
