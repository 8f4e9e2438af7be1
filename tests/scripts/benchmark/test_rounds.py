"""Processes that take turns, with sides that do no work."""

import pathlib

import pytest

from scripts.benchmark import rows
from scripts.benchmark.contestant import Contestant, UnavailableError
from scripts.benchmark.rows import Rounds, Side
from tests.scripts.benchmark.sides import GIBIBYTE

SIDES = "tests.scripts.benchmark.sides"


@pytest.fixture
def measured(monkeypatch, setup):
    """A function that measures one row of the named sides, and what was called in which order."""
    monkeypatch.setattr(rows, "MATRIX", (f"{SIDES}:yardstick",))

    def measure(*names, **options):
        sides = tuple(Side(name, f"{SIDES}:{name}") for name in names)
        monkeypatch.setitem(rows.ROWS, "residual", sides)
        finished = []
        rounds = Rounds(
            repeats=options.get("repeats", 2), device="NVIDIA H100 80GB HBM3", accelerator=True,
            torch=True, compiled=True, finished=finished.append,
        )  # fmt: skip
        try:
            results = rounds.measure("residual", setup)
        finally:
            rounds.close()
        assert finished == results
        calls = setup.folder / "calls"
        return results, calls.read_text() if calls.exists() else ""

    return measure


def without_repeats(calls: str) -> str:
    """aaabb -> ab"""
    return "".join(call for call, before in zip(calls, " " + calls, strict=False) if call != before)


def test_repeats_take_turns_and_the_matrix_product_is_in_every_round(measured):
    _, calls = measured("first", "second", repeats=3)
    assert without_repeats(calls) == "abmabmbamab"


def test_what_a_row_holds(measured):
    (first, second), _ = measured("first", "second", repeats=3)
    assert len(first.seconds) == len(second.seconds) == 3
    assert first.flops == second.flops == 10**9
    assert (first.difference, second.difference) == (None, 0.5)
    assert first.images == 2
    assert first.matrix_flops_per_second == second.matrix_flops_per_second
    assert first.matrix_flops_per_second > 0
    assert first.data_sheet_flops_per_second == 67e12


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "nobody installed it"),
        ("dies", "its process ended with exit code 7"),
        ("breaks_later", "failed with ValueError: no more"),
        ("unheard_of", "failed with AttributeError: module"),
    ],
)
def test_a_side_that_fails_is_named_and_the_others_go_on(measured, name, reason):
    (first, failed, second), _ = measured("first", name, "second")
    assert failed.reason.startswith(reason)
    assert first.reason is second.reason is None
    assert len(second.seconds) == 2


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="Linux counts it")
def test_the_peak_of_memory_is_that_of_the_repeats(setup):
    contestant = Contestant(f"{SIDES}:hungry", setup)
    contestant.started()
    contestant.repeat()
    memory = contestant.finish()
    beyond = memory["peak_bytes"] - memory["before_bytes"]
    assert 0.2 * GIBIBYTE < beyond < 0.4 * GIBIBYTE


def test_a_finished_process_answers_no_more(setup):
    contestant = Contestant(f"{SIDES}:first", setup)
    contestant.started()
    contestant.kill()
    with pytest.raises(UnavailableError, match="exit code -9"):
        contestant.repeat()
