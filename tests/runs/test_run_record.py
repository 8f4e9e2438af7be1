"""How a run ended, as its folder says."""

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
