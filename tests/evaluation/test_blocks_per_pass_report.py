"""scripts/blocks_per_pass_report.py: what several blocks in one pass change."""

import re

import numpy as np
import pytest

from tests.data.test_make_manipulations import load_script

script = load_script("blocks_per_pass_report")


def test_differences_are_in_parts_of_the_residual():
    own = [np.array([0.2, -0.4]), np.array([0.6])]
    other = [np.array([0.3, -0.4]), np.array([0.5])]
    text = script.line(4, other, {"swap": 0.875}, own, {"swap": 0.9})
    assert text == "4 a pass: mean |difference| / mean |R| 0.167; AUC swap 0.8750 (-0.0250)"


def test_a_detector_that_is_none_is_one_clear_error(tmp_path, capsys):
    assert script.main(["--detector", str(tmp_path), "--tests", "synthetic:0#test?limit=8"]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_pass_of_one_block_is_exact_and_others_are_not(detector, faces, capsys):
    flags = ["--detector", str(detector), "--tests", f"csv:{faces}/test.csv", "--limit", "6"]
    assert script.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" a pass")[0] for line in lines] == ["1", "2"]
    errors = [float(error) for line in lines for error in re.findall(r"\|R\| ([\d.]+);", line)]
    assert errors[0] == 0 < errors[1]
    assert all(re.search(r"columns [01]\.\d{4} .* rows [01]\.\d{4} ", line) for line in lines)
