"""scripts/precision_report.py: what bfloat16 changes."""

import json

import numpy as np
import pytest

from tests.data.test_make_manipulations import load_script

script = load_script("precision_report")


def write_outputs(folder, residuals, aucs):
    for dtype in ("float32", "bfloat16"):
        for job in ("residual", "evaluate"):
            (folder / f"{job}-{dtype}").mkdir()
        np.savez(folder / f"residual-{dtype}/residuals.npz", residual=residuals[dtype])
        methods = {"swap": {"auc": aucs[dtype]}}
        table = {"about": {}, "set": {"pooled": {"auc": 0.5}, "methods": methods}}
        (folder / f"evaluate-{dtype}/results.json").write_text(json.dumps(table))


def test_differences_are_those_of_the_files(tmp_path):
    exact = np.array([[0.2, -0.4]], np.float32)
    residuals = {"float32": exact, "bfloat16": exact + np.array([0.03, -0.01], np.float32)}
    write_outputs(tmp_path, residuals, {"float32": 0.9, "bfloat16": 0.875})
    text = script.report(tmp_path)
    assert "of 1 images: mean |R| 0.3000; bfloat16 - float32: mean 0.02000 (6.7% of it)" in text
    assert "largest 0.0300" in text
    *_, pooled, swap = (line.split() for line in text.splitlines())
    assert pooled == ["set", "pooled", "0.5000", "0.5000", "+0.0000"]
    assert swap == ["set", "swap", "0.9000", "0.8750", "-0.0250"]


def test_a_detector_that_is_none_is_one_clear_error(tmp_path, capsys):
    flags = ["--detector", str(tmp_path), "--tests", "synthetic:0#test?limit=8"]
    assert script.main(flags) == 2
    assert "holds no checkpoint" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_bfloat16_is_close_and_not_the_same(detector, faces, capsys):
    flags = ["--detector", str(detector), "--tests", f"csv:{faces}/test.csv", "--limit", "6"]
    assert script.main(flags) == 0
    first, _, _, *aucs = capsys.readouterr().out.splitlines()
    share = float(first.split("(")[1].split("%")[0])
    assert 0 < share < 20
    assert [line.split()[:2] for line in aucs] == [
        ["faces", "pooled"], ["faces", "columns"], ["faces", "rows"]
    ]  # fmt: skip
    assert all(abs(float(line.split()[-1])) < 0.3 for line in aucs)
