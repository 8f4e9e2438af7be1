"""How a run ended, as its folder says."""

import json
import os

import pytest

from rffr_jax.cluster.interruption import InterruptedRunError
from rffr_jax.errors import UserError
from rffr_jax.runs.run_record import read_record, recorded_run


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "done"), (InterruptedRunError("stop"), "stopped"), (OSError("disk"), "failed")],
)
def test_the_record_says_how_the_run_ended(tmp_path, error, state):
    def run():
        with recorded_run(tmp_path, key="k"):
            assert read_record(tmp_path)["state"] == "running"
            if error:
                raise error

    for _ in range(2):
        before = read_record(tmp_path)["seconds"]
        if error:
            with pytest.raises(type(error)):
                run()
        else:
            run()
        found = read_record(tmp_path)
        assert (found["state"], found["done"], found["key"]) == (state, state == "done", "k")
        assert found["seconds"] > before


def test_a_refused_command_leaves_the_record(tmp_path):
    def command(writes_config):
        with recorded_run(tmp_path):
            if writes_config:
                (tmp_path / "config.json").write_text("{}")
            raise UserError("no")

    def refuse(writes_config):
        with pytest.raises(UserError):
            command(writes_config)

    refuse(writes_config=False)
    assert list(tmp_path.iterdir()) == []
    with recorded_run(tmp_path):
        pass
    refuse(writes_config=False)
    assert read_record(tmp_path)["state"] == "done"
    refuse(writes_config=True)
    assert read_record(tmp_path)["state"] == "failed"


@pytest.mark.parametrize(("last_line", "seconds"), [(1030, 130), (990, 100), (None, 100)])
def test_the_seconds_of_a_part_that_was_killed_count_up_to_its_last_line(
    tmp_path, last_line, seconds
):
    killed = {"state": "running", "done": False, "seconds": 100.0}
    (tmp_path / "run.json").write_text(json.dumps(killed))
    os.utime(tmp_path / "run.json", (1000, 1000))
    if last_line is not None:
        (tmp_path / "metrics.jsonl").touch()
        os.utime(tmp_path / "metrics.jsonl", (last_line, last_line))
    assert read_record(tmp_path)["seconds"] == seconds
    with recorded_run(tmp_path):
        assert read_record(tmp_path)["seconds"] == seconds
    assert read_record(tmp_path)["seconds"] > seconds
