"""The tables of the paper from a user's command to the files, at a size that shows they run."""

import dataclasses
import html.parser
import importlib
import json
import pathlib
import re
import shlex
import threading
import time

import pytest

from configs.paper import table1, table4
from configs.paper.base import VARIANTS
from rffr_jax.config import check_config
from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.experiments import dry_run, experiment, grid, run_key
from rffr_jax.experiments.claims import read_claims
from rffr_jax.main import run
from rffr_jax.runs import lock
from rffr_jax.training import detector_settings

CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "paper"
WITH_THEIR_RULES = ("table1", "table2", "table6")
NAMES = [*(f"table{number}" for number in range(1, 10)), "fig1", "fig3", "fig4", "fig5"]


def start(name: str, workdir: pathlib.Path, *flags: str) -> int:
    return run(["rffr_jax", f"--config={CONFIGS / name}.py:smoke", f"--workdir={workdir}", *flags])


def table_of(workdir: pathlib.Path, name: str) -> dict:
    return json.loads((workdir / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder whose tables share trainings and drawn data."""
    return tmp_path_factory.mktemp("paper")


def plain_vit():
    """Table 4 with the plain ViT alone, under one rule."""
    config = table4.get_config("smoke")
    rows = {name: row for name, row in config.rows.items() if row.label == "ViT"}
    config.rows = type(config)(rows)
    config.rules = ("last",)
    config.galleries = ()
    config.detect.steps = 2
    return config


@pytest.fixture(scope="module")
def finished(shared):
    experiment.run(plain_vit(), shared / "plain")
    return shared / "plain"


def test_a_table_says_what_was_measured(finished):
    table = table_of(finished, "table4")
    (row,) = table["rows"]
    assert (row["method"], row["rule"], row["trained_on"]) == ("ViT", "last", "lowres_swap")
    assert row["cells"]["lowres_swap"]["seen"]
    assert not row["cells"]["mouth_warp"]["seen"]
    assert {claim["verdict"] for claim in table["claims"]} == {"not measured"}
    (evaluation,) = (finished.parent / "trainings").glob("*/evaluations/*")
    results = json.loads((evaluation / "results.json").read_text())["synthetic:1"]
    for method, entry in results["methods"].items():
        assert row["cells"][method]["auc"] == entry["auc"]
    assert row["cells"]["mean_all"]["auc"] == pytest.approx(results["mean_all"])
    assert row["cells"]["mean_unseen"]["auc"] == pytest.approx(results["mean_unseen"])


def test_what_is_there_is_not_done_again(finished):
    files = [file for file in finished.parent.rglob("*") if file.is_file()]
    written = {file: file.stat().st_mtime_ns for file in files if "trainings" in file.parts}
    assert sum(file.name == "run.json" for file in written) == 2
    before = (finished / "table4.json").read_bytes()
    page = (finished / "report.html").read_bytes()
    experiment.run(plain_vit(), finished)
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert (finished / "table4.json").read_bytes() == before
    assert (finished / "report.html").read_bytes() == page


def test_a_dry_run_tells_what_is_done_and_writes_nothing(finished, capsys):
    before = {file: file.stat().st_mtime_ns for file in finished.parent.rglob("*")}
    config = plain_vit()
    dry_run.run(config, finished)
    assert "2 runs: 2 done, 0 to do\n" in capsys.readouterr().out
    config.seeds = (1, 2)
    dry_run.run(config, finished)
    said = capsys.readouterr().out
    assert "4 runs: 2 done, 2 to do; about " in said
    assert "not known" not in said
    assert {file: file.stat().st_mtime_ns for file in finished.parent.rglob("*")} == before


def test_rows_of_others_stand_beside(finished):
    config = plain_vit()
    (evaluation,) = (finished.parent / "trainings").glob("*/evaluations/*")
    ours = Predictions.read_csv(evaluation / "predictions.csv")
    perfect = dataclasses.replace(ours, scores=ours.labels.astype(float))
    theirs = finished.parent / "theirs.csv"
    perfect.write_csv(theirs)
    config.external = f"Perfect=external:{theirs}"
    experiment.run(config, finished)
    rows = {row["method"]: row for row in table_of(finished, "table4")["rows"]}
    assert rows["Perfect"]["source"] == "external"
    assert rows["Perfect"]["cells"]["mouth_warp"]["auc"] == 1


def test_another_table_in_its_workdir_is_refused(finished, capsys):
    assert start("table5", finished) == 2
    assert "holds table4:smoke" in capsys.readouterr().err


def test_a_second_command_waits_to_write_the_table(finished, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_TRIES", 0.05)
    command = threading.Thread(target=experiment.run, args=(plain_vit(), finished))
    table = finished / "table4.json"
    with lock.locked_folder(finished):
        table.unlink()
        command.start()
        time.sleep(0.3)
        assert not table.exists()
    command.join(60)
    assert table.exists()


def test_all_that_is_missing_is_said_before_anything_is_trained(tmp_path, capsys):
    flags = ["--config.data.train=('csv:none.csv',)", "--config.detect.detector.init=weights/none"]
    command = ["rffr_jax", f"--config={CONFIGS / 'table2.py'}:faceforensics", *flags]
    assert run([*command, f"--workdir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    for name in ("forgerynet", "celeb_df", "dfdc", "none.csv", "weights/none"):
        assert name in said
    assert "nothing was trained" in said
    assert not (tmp_path / "trainings").exists()


def missing_weights(said: str) -> dict[str, str]:
    """Weights that a message asks for -> the flags that do without them."""
    found = re.findall(r"(weights/\w+) holds no .*? random weights with ([^;]*)", said)
    return dict(found)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (
            "table1",
            {
                "weights/xception": "\"--config.rows['01_recce'].detect.detector.init=\"",
                "weights/vit": "\"--config.rows['02_uia_vit'].detect.detector.init=\" "
                '"--config.detect.detector.init="',
            },
        ),
        ("fig4", {"weights/xception": "\"--config.autoencoders['recce'].detect.detector.init=\""}),
    ],
)
def test_missing_weights_are_named_with_the_flags_of_who_reads_them(
    name, flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    command = ["rffr_jax", f"--config={CONFIGS / name}.py:faceforensics", "--workdir=run"]
    assert run(command) == 2
    assert missing_weights(capsys.readouterr().err.strip()) == flags
    assert run([*command, *shlex.split(" ".join(flags.values()))]) == 2
    said = capsys.readouterr().err.strip()
    assert "faceforensics" in said
    assert not missing_weights(said)


@pytest.mark.parametrize(
    ("variant", "init_of_recce", "random"),
    [
        ("smoke", None, {"RECCE", "UIA-ViT"}),
        ("smoke", "weights/xception", {"UIA-ViT"}),
        ("faceforensics", None, set()),
        ("faceforensics", "", {"RECCE"}),
    ],
)
def test_claims_about_rivals_from_random_weights_have_a_caveat(
    variant, init_of_recce, random, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_key.RunKeys, "_digest_of_data", lambda *_: "")
    config = table1.get_config(variant)
    config.rules = ("last",)
    if init_of_recce is not None:
        config.rows["01_recce"].detect.detector.init = init_of_recce
    claims = read_claims(config, grid.make_grid(config, grid.Folders(tmp_path)))
    assert {claim.worse for claim in claims} == {"RECCE", "UIA-ViT"}
    assert {claim.worse for claim in claims if claim.caveat} == random
    assert all(f"this {claim.worse} starts" in claim.caveat for claim in claims if claim.caveat)


def test_an_unknown_variant_is_named(capsys):
    assert run(["rffr_jax", f"--config={CONFIGS / 'table1.py'}:mine"]) == 2
    assert "variant 'mine' is not known" in capsys.readouterr().err


def test_a_column_that_the_test_does_not_hold_is_named(finished):
    config = plain_vit()
    config.columns.mouth_warp.method = "nose_job"
    with pytest.raises(UserError, match="column mouth_warp: no fakes of nose_job"):
        experiment.run(config, finished)


def test_a_column_of_two_data_sets_is_refused(finished, tmp_path):
    table = finished.parent / "data" / "synthetic_1_test_limit_40_48px.csv"
    lines = table.read_text().splitlines()
    lines = [line.replace("synthetic:1,", f"set {n % 2},") for n, line in enumerate(lines)]
    (tmp_path / "two.csv").write_text("\n".join(lines))
    config = plain_vit()
    config.data.test = (f"csv:{tmp_path}/two.csv",)
    with pytest.raises(UserError, match=r"holds 2 data sets \(set 0, set 1\); keep one"):
        experiment.run(config, finished)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_detector_of_every_variant_can_be_built(name, variant, tmp_path, monkeypatch):
    """What needs no data: the settings that `detect` would refuse after a MAE was trained."""
    config = importlib.import_module(f"configs.paper.{name}").get_config(variant)
    named = lambda specs: {f"set {n}": (spec, None) for n, spec in enumerate(specs)}  # noqa: E731
    monkeypatch.setattr(grid, "name_validation_sets", named)
    config.detect.data.validation = config.data.validation
    monkeypatch.setattr(run_key.RunKeys, "_digest_of_data", lambda *_: "")
    check_config(config)
    for point in grid.make_grid(config, grid.Folders(tmp_path)):
        job = point.detect.config
        check_config(job)
        if point.pretrain:
            about = {
                "kind": point.pretrain.config.autoencoder,
                "k": job.blocks.k,
                "model": point.pretrain.config.model.to_dict(),
            }
            if about["kind"] == "unet":
                size = {"image_size": about["model"]["image_size"]}
                about["model"] = point.pretrain.config.unet.to_dict() | size
            if job.detector.residual == "ridge":
                about |= {"kind": "ridge", "rank": 256}
            monkeypatch.setattr(
                detector_settings, "read_autoencoder", lambda *_, about=about: about
            )
        detector_settings.detection_settings(job)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_table_and_figure_runs(shared, name, capsys):
    workdir = shared / name
    rules = () if name in WITH_THEIR_RULES else ("--config.rules=last",)
    assert start(name, workdir, *rules) == 0
    page = (workdir / "report.html").read_text()
    html.parser.HTMLParser().feed(page)
    assert "procedural faces" in page
    if name in ("fig3", "fig4"):
        assert (workdir / f"{name}.png").stat().st_size > 10_000
        assert (workdir / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        for folder in workdir.glob("localisation-*"):
            assert json.loads((folder / "localisation.json").read_text())["methods"]
        return
    table = table_of(workdir, name)
    assert table["rows"]
    assert all(0 <= cell["auc"] <= 1 for row in table["rows"] for cell in row["cells"].values())
    for claim in table["claims"]:
        if claim["difference"] is not None and claim["trained_on"] != "(mean)":
            column = claim["column"] or "mean_unseen"
            better, worse = (
                next(
                    row["cells"][column]["auc"]
                    for row in table["rows"]
                    if all(row[key] == claim[key] for key in ("trained_on", "rule"))
                    and row["method"] == claim[side]
                )
                for side in ("better", "worse")
            )
            assert claim["difference"] == pytest.approx(better - worse, abs=1e-9)
    for ending in ("csv", "md", "tex"):
        assert (workdir / f"{name}.{ending}").stat().st_size > 200
    if name in ("fig1", "fig5"):
        figure = {"fig1": "fig1_bars", "fig5": "fig5_curves"}[name]
        assert (workdir / f"{figure}.png").stat().st_size > 10_000
        assert (workdir / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    if name == "table9":
        assert all(row["inference_seconds"] > 0 for row in table["rows"])
    if name == "table2":
        rules = {c: cell["rule"] for c, cell in table["rows"][0]["cells"].items() if "," in c}
        assert list(rules.values()) == ["oracle", "transfer"]
    assert "report.html" in capsys.readouterr().out


def test_an_external_row_without_a_table_is_refused(tmp_path):
    config = plain_vit()
    config.external = "RECCE"
    with pytest.raises(UserError, match="write LABEL=external:FILE"):
        experiment.run(config, tmp_path)
