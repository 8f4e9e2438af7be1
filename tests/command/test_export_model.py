"""Model folders of trained detectors and MAEs: exported, carried elsewhere, used everywhere."""

import json
import shutil

import numpy as np
import pytest

import rffr_jax
from rffr_jax.command import entry
from rffr_jax.errors import UserError
from tests import jobs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A MAE and a detector of drawn faces, with a threshold that was chosen for the detector."""
    root = tmp_path_factory.mktemp("runs")
    data = (
        "data.train=synthetic:0#train?limit=12",
        "data.validation=synthetic:0#validation?limit=8",
    )
    assert jobs.start("pretrain", root / "mae", *data) == 0
    assert jobs.start("detect", root / "detector", f"mae={root / 'mae'}", *data) == 0
    evaluate(root, root / "detector", data[1])
    return root


def evaluate(root, detector, validation="data.validation=()"):
    tests = "data.tests=synthetic:0#test?limit=8"
    shutil.rmtree(root / "evaluate", ignore_errors=True)
    code = jobs.start("evaluate", root / "evaluate", f"detector={detector}", tests, validation)
    assert code == 0
    return json.loads((root / "evaluate/results.json").read_text())


def exported(runs, tmp_path, name="detector", *flags):
    assert entry.run(["export-model", str(runs / name), str(tmp_path / "model"), *flags]) == 0
    return tmp_path / "model"


@pytest.fixture
def crops():
    return np.random.default_rng().integers(0, 256, (3, 48, 48, 3), np.uint8)


def test_a_carried_detector_scores_as_the_workdir_does(runs, tmp_path, crops):
    model = exported(runs, tmp_path).rename(tmp_path / "carried")
    here, there = rffr_jax.load_detector(runs / "detector"), rffr_jax.load_detector(model)
    np.testing.assert_array_equal(there.score(crops), here.score(crops))
    assert there.operating_point.image == here.operating_point.image
    assert there.operating_point.chosen_on == here.operating_point.chosen_on
    assert (there.digest, there.note, there.about) == (here.digest, here.note, here.about)
    np.testing.assert_array_equal(there.explain(crops[0]).residual, here.explain(crops[0]).residual)
    last = jobs.metric_lines(runs / "detector")[-1]
    metrics = json.loads((model / "config.json").read_text())["metrics"]
    assert metrics == {last.pop("split"): last}
    again = tmp_path / "again"
    there.save_pretrained(again)
    for name in ("model.safetensors", "config.json"):
        assert (again / name).read_bytes() == (model / name).read_bytes()


def test_half_the_size_has_a_threshold_only_when_it_is_chosen_again(runs, tmp_path, crops, caplog):
    model = exported(runs, tmp_path, "detector", "--dtype=float16")
    assert "operating point belongs to other weights" in caplog.text
    here, there = rffr_jax.load_detector(runs / "detector"), rffr_jax.load_detector(model)
    np.testing.assert_allclose(there.score(crops), here.score(crops), atol=5e-3)
    assert there.operating_point.chosen_on == ()
    results = evaluate(tmp_path, model, "data.validation=synthetic:0#validation?limit=8")
    chosen = rffr_jax.load_detector(model).operating_point
    assert chosen.chosen_on == ("synthetic:0#validation?limit=8",)
    saved = json.loads((model / "config.json").read_text())["operating_point"]
    assert saved["origins"] == {}  # names of originals may be names of people
    assert chosen.image.value == results["about"]["operating_point"]["thresholds"]["image"]["value"]
    assert any("which originals were seen" in text for text in results["about"]["warnings"])


def test_a_best_checkpoint_says_how_it_was_chosen(runs, tmp_path):
    model = exported(runs, tmp_path, "detector", "--checkpoint=best:synthetic")
    assert evaluate(tmp_path, model)["about"]["rule"] == "source"
    with pytest.raises(UserError, match="checkpoint='best:x' is not in"):
        rffr_jax.load_detector(model, checkpoint="best:x")


def test_its_config_names_no_folders_and_no_originals(runs, tmp_path):
    model = exported(runs, tmp_path)
    config = json.loads((model / "config.json").read_text())
    assert config["operating_point"]["origins"] == {}
    assert str(tmp_path.parents[1]) not in (model / "config.json").read_text()
    card = (model / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: rffr-jax\n")
    assert "# Model card" in card
    assert "trained on procedural faces" in card


def test_a_mae_starts_what_its_workdir_starts(runs, tmp_path):
    model = exported(runs, tmp_path, "mae")
    data = "data.train=synthetic:0#train?limit=12"
    fixed = ("steps=1", "selection=last", "data.validation=()")
    for mae, workdir in ((runs / "mae", "a"), (model, "b")):
        flags = (f"mae={mae}", f"detector.init={mae}", data, *fixed)
        assert jobs.start("detect", tmp_path / workdir, *flags) == 0
    one, other = (rffr_jax.load_detector(tmp_path / workdir) for workdir in "ab")
    assert one.digest == other.digest
    flags = (f"init_from={model}", data, data.replace("train", "validation"), "steps=2")
    assert jobs.start("pretrain", tmp_path / "more", *flags) == 0


def test_a_card_and_a_preparation_of_ones_own(runs, tmp_path):
    card, record = tmp_path / "card.md", tmp_path / "preparation.json"
    card.write_text("# Mine\n\nFor trying only.\n\nMore of it.\n")
    crop = {"size": 32, "scale": 1.0, "alignment": "similarity", "interpolation": "area"}
    finder = {"detector": "retinaface", "weights_sha256": "0" * 64, "smallest_face": 20}
    record.write_text(json.dumps({**crop, **finder, "image_format": "png"}))
    model = exported(runs, tmp_path, "detector", f"--card={card}", f"--preparation={record}")
    assert (model / "README.md").read_text() == card.read_text()
    assert len({file.stat().st_mode for file in model.iterdir()}) == 1  # others can read all
    detector = rffr_jax.load_detector(model)
    assert detector.note.startswith("For trying only; this detector was trained on procedural")
    assert detector.about["preparations"] == [json.loads(record.read_text())]
    detector.save_pretrained(tmp_path / "again")
    assert rffr_jax.load_detector(tmp_path / "again").note == detector.note
    card.write_text("---\nlicense: mit\n---\n# Only a heading\n")
    for flag, message in [
        (f"--card={card}", "the card has no paragraph"),
        (f"--card={tmp_path}/none.md", "none.md"),
        (f"--preparation={card}", "is no record of a preparation"),
    ]:
        with pytest.raises(UserError, match=message):
            entry.run(["export-model", str(runs / "detector"), str(tmp_path / "x"), flag])
    assert not (tmp_path / "x").exists()


def test_mistakes_are_named(runs, tmp_path):
    mae = exported(runs, tmp_path, "mae")
    with pytest.raises(UserError, match="holds a mae checkpoint, not a detector"):
        rffr_jax.load_detector(mae)
    for arguments, message in [
        ((runs, tmp_path / "x"), "holds no checkpoint; name the workdir of a finished run"),
        ((runs / "mae", mae), "exists and is not an empty folder; name a new one"),
        ((runs / "detector", tmp_path / "x", "--checkpoint=best:no"), "'best:no' is not in"),
        ((runs / "mae", tmp_path / "x", "--preparation=p.json"), "holds a mae; leave it out"),
    ]:
        with pytest.raises(UserError, match=message):
            entry.run(["export-model", *map(str, arguments)])
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="required: folder; usage: rffr-jax export-model"):
        entry.run(["export-model", str(runs / "mae")])
