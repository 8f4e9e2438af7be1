"""The steps of a training that are traced."""

import pytest

from rffr_jax.errors import UserError
from rffr_jax.training import profile
from rffr_jax.training.profile import StepProfile, profiled_steps


def test_the_entry_names_the_first_and_the_last_step():
    assert list(profiled_steps("10,12")) == [10, 11, 12]
    assert list(profiled_steps("")) == []


@pytest.mark.parametrize("entry", ["10", "20,10", "-1,3", "a,b", "1,2,3"])
def test_other_entries_are_refused(entry):
    with pytest.raises(UserError, match="such as --config"):
        profiled_steps(entry)


@pytest.mark.parametrize(
    ("first_step", "last_step", "expected"),
    [(0, 6, ["start 2", "stop 5"]), (3, 4, ["start 3", "stop end"]), (5, 6, [])],
    ids=["all", "resumed inside, ends inside", "resumed behind"],
)
def test_a_trace_runs_over_these_steps_only(tmp_path, monkeypatch, first_step, last_step, expected):
    told: list[str] = []
    now: list[object] = ["end"]
    monkeypatch.setattr(
        profile.jax.profiler, "start_trace", lambda folder: told.append(f"start {now[0]}")
    )
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: told.append(f"stop {now[0]}"))
    traced = StepProfile("2,4", tmp_path)
    for step in range(first_step, last_step + 1):
        now[0] = step
        traced.before(step, {})
    now[0] = "end"
    traced.close()
    assert told == expected
