"""Medians, shares and tables from times that are known."""

import dataclasses
import json

import pytest

from scripts.benchmark import report
from scripts.benchmark.report import Result

ABOUT = {
    "date": "2026-01-02",
    "device": "a device",
    "cores": 2,
    "versions": {"jax": "1.2"},
    "command": "python -m scripts.benchmark --output x",
    "notes": ["a note"],
}


def result(who="rffr_jax", work="residual", seconds=(4.0, 1.0, 2.0), images=8, **more):
    return Result(work, "float32", 8, who, seconds=list(seconds), images=images, **more)


def test_rates_follow_from_the_median():
    one = result(
        flops=3 * 10**12, matrix_flops_per_second=6e12, data_sheet_flops_per_second=15e12
    ).to_json()
    assert one["median_seconds"] == 2.0
    assert one["images_per_second"] == 4.0
    assert one["flops_per_second"] == 1.5e12
    assert one["share_of_measured_rate"] == 0.25
    assert one["share_of_data_sheet"] == 0.1


def test_a_row_of_the_table():
    one = result(
        flops=3 * 10**12,
        matrix_flops_per_second=6e12,
        data_sheet_flops_per_second=15e12,
        difference=1.26e-6,
        first_call_seconds=12.34,
        memory={"place": "host", "peak_bytes": 3_000_000_000, "before_bytes": 500_000_000},
    )
    lines = report.markdown(ABOUT, [one]).splitlines()
    assert "### residual, float32, 8 images a call" in lines
    assert lines[-1] == (
        "| rffr_jax | 2 (1..4) | 4 | 3000.0 | 1.5 | 25 % | 10 % | 12.3 | 3.00 | 2.50 | 1.3e-06 |"
    )


def test_a_side_that_is_missing_keeps_its_place_in_files_and_table(tmp_path):
    gone = result("PyTorch", reason="torch is not installed", seconds=())
    report.write(tmp_path, ABOUT, [result(), gone])
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert [row["who"] for row in rows] == ["rffr_jax", "PyTorch"]
    assert rows[1]["reason"] == "torch is not installed"
    lines = (tmp_path / "benchmark.md").read_text().splitlines()
    assert lines[-2].startswith("| rffr_jax | 2 (1..4) | 4 | - | - |")
    assert lines[-1].startswith("| PyTorch | torch is not installed |")
    assert len({line.count("|") for line in lines[-4:]}) == 1
    assert "torch is not installed" in report.one_line(gone)


def test_figure_5_by_hand():
    rows = [
        result(work="detect", seconds=[8.0], images=4),  # 2 s an image
        result("rffr_jax, residuals recomputed", "evaluate", [6.0], images=2),  # 3 s
        result("rffr_jax, residuals kept", "evaluate", [1.0], images=2),  # 0.5 s
    ]
    assert report.figure_5(rows[:2]) == {}
    hours = report.figure_5(rows)["float32"]
    assert hours["training_hours"] == pytest.approx(15_000 * 32 * 2 / 3600)
    assert hours["evaluation_hours_recomputed"] == pytest.approx(300 * 4 * 280 * 3 / 3600)
    once = 4 * 280 * 2.5
    assert hours["evaluation_hours_kept"] == pytest.approx((300 * 4 * 280 * 0.5 + once) / 3600)
    together = 960_000 + 1_008_000, 960_000 + 168_000 + once
    assert hours["times_less"] == pytest.approx(together[0] / together[1])


def test_figure_5_does_not_mix_dtypes():
    rows = [
        result(work="detect"),
        result("rffr_jax, residuals recomputed", "evaluate"),
        result("rffr_jax, residuals kept", "evaluate"),
    ]
    half = [dataclasses.replace(row, dtype="bfloat16", images=80) for row in rows]
    hours = report.figure_5([*rows, *half])
    slow, fast = (hours[dtype]["training_hours"] for dtype in ("float32", "bfloat16"))
    assert slow == pytest.approx(10 * fast)
    assert list(report.figure_5([*rows[:2], *half])) == ["bfloat16"]
    page = report.markdown(ABOUT, [*rows, *half])
    assert f"in float32, extrapolated: only training {slow:.2f} h" in page
    assert f"in bfloat16, extrapolated: only training {fast:.2f} h" in page
