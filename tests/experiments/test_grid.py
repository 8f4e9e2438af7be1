import csv
import io
import os
import tarfile

import pytest

from configs import detect
from configs.paper import fig4, orderings, table1, table2, table3, table5, table6, table8, table9
from rffr_jax.data.selection import keep_methods
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.experiments import experiment
from rffr_jax.experiments.draw_to_disk import with_data_on_disk
from rffr_jax.experiments.grid import Folders, Plan, autoencoder_run, make_grid, split_by_seed
from rffr_jax.experiments.run_key import RunKeys
from rffr_jax.runs.workdir import write_config
from rffr_jax.training.validation import load_validation_sets
from tests.faces.test_shards import draw_records, write
from tests.jobs import draw_faces


@pytest.fixture(scope="module")
def drawn_data(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


def points_of(module, drawn_data, variant="smoke", **changes):
    config = module.get_config(variant)
    config.update(changes)
    return make_grid(with_data_on_disk(config, drawn_data), Folders(drawn_data / "trainings"))


def test_every_row_has_every_seed_under_every_rule(drawn_data):
    points = points_of(table5, drawn_data, seeds=(1, 2, 3), mae_seeds=(4, 5))
    found = {(p.method, p.rule, p.seed, p.mae_seed) for p in points}
    assert len(found) == len(points) == 2 * 3 * (2 * 1 + 4 * 2)
    assert {p.mae_seed for p in points if p.method == "Random original"} == {None}
    assert {p.mae_seed for p in points if p.method == "Random residual"} == {4, 5}


def test_runs_that_are_asked_for_twice_are_one(drawn_data):
    points = points_of(table5, drawn_data, seeds=(1, 2), mae_seeds=(1, 2))
    config = table5.get_config("smoke")
    plan = Plan(drawn_data, config, config, points, {}, {})
    jobs = [run.config.job for run in plan.runs]
    assert jobs == sorted(jobs, key=("pretrain", "detect", "evaluate").index)
    assert jobs.count("detect") == len(points) / 2  # two rules
    assert jobs.count("pretrain") == 2


def test_tables_share_trainings(drawn_data):
    five = {p.method: p.detect.folder for p in points_of(table5, drawn_data)}
    eight = {p.method: p.detect.folder for p in points_of(table8, drawn_data)}
    one = points_of(table1, drawn_data)
    one = {p.trained_on: p.detect.folder for p in one if p.method == "Ours"}
    nine = {p.method: p.detect.folder for p in points_of(table9, drawn_data)}
    assert five["Random original and residual"] == eight["MIM"] == one["lowres_swap"] == nine["4x4"]
    assert five["Random original"] == eight["None"]
    assert len({*five.values()}) == 6


@pytest.mark.parametrize("variant", ["smoke", "synthetic"])
def test_a_second_source_gives_recce_only_reals(variant):
    config = table3.get_config(variant)
    one, two = (row.detect for name, row in config.rows.items() if "recce" in name)
    assert "train" not in one.get("data", {})
    assert two.data.train[: len(config.data.train)] == config.data.train
    methods = config.trained_on.lowres_swap.data.methods
    kept = keep_methods(load_dataset(two.data.train), methods, where="data.methods").examples
    assert {example.method for example in kept} == {"real", "lowres_swap"}
    sources = {label: {e.id.split("#")[0] for e in kept if e.label == label} for label in (0, 1)}
    first = config.data.train[0].split("#")[0]
    assert sources[1] == {first}
    assert len(sources[0] - {first}) == 1


def test_a_rival_whose_reconstructions_are_drawn_is_trained_once(drawn_data):
    folders = Folders(drawn_data)
    drawn = with_data_on_disk(fig4.get_config("smoke"), drawn_data)
    found = autoencoder_run(drawn, "recce", 1, folders)
    assert (found.config.job, found.config.detector.backbone) == ("detect", "recce")
    tested = make_grid(with_data_on_disk(table6.get_config("smoke"), drawn_data), folders)
    assert found.folder in {p.detect.folder for p in tested if p.method == "RECCE"}


def test_what_shapes_the_weights_makes_another_training(drawn_data):
    def folder(**changes):
        config = table1.get_config("smoke")
        for name, value in changes.items():
            config.update_from_flattened_dict({name.replace("__", "."): value})
        points = make_grid(with_data_on_disk(config, drawn_data), Folders(drawn_data))
        return next(p.detect.folder for p in points if p.method == "Ours")

    assert folder() == folder(detect__data__workers="3") == folder(detect__save_every=7)
    assert folder() == folder(detect__rival__width=0.5) == folder(pretrain__unet__depth=1)
    others = [
        folder(),
        folder(detect__steps=5),
        folder(detect__optimizer__learning_rate=0.5),
        folder(pretrain__steps=5),
        folder(seeds=(9,)),
        folder(mae_seeds=(9,)),
    ]
    assert len({*others}) == len(others)


def test_changed_data_behind_the_same_path_make_another_training(tmp_path, drawn_data):
    draw_faces(tmp_path / "faces", seed=0)

    def keys():
        config = table1.get_config("smoke")
        config.data.test = config.data.train = (f"csv:{tmp_path}/faces.csv",)
        on_disk = with_data_on_disk(config, drawn_data)
        point = make_grid(on_disk, Folders(tmp_path / "shared" / "trainings"))[0]
        evaluation = next(iter(point.evaluations.values()))
        return point.detect.key, evaluation.key

    before = keys()
    assert keys() == before
    picture = next((tmp_path / "faces").glob("real*.png"))
    picture.write_bytes(picture.read_bytes() + b" ")
    of_another_size = keys()
    table = tmp_path / "faces.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    one_less = keys()
    os.utime(picture, (0, 0))
    found = zip(before, of_another_size, one_less, keys(), strict=True)
    assert [len({*of_run}) for of_run in found] == [4, 4]


@pytest.mark.parametrize("column", ["video", "source", "group", "method"])
def test_what_a_table_says_of_an_image_is_in_the_key(tmp_path, column):
    draw_faces(tmp_path / "faces", seed=0)
    table, config = tmp_path / "faces.csv", detect.get_config()
    config.data.train = (f"csv:{table}",)
    before = RunKeys(tmp_path, tmp_path / "drawn").of(config)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    rows[-1][column] = "another"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    assert RunKeys(tmp_path, tmp_path / "drawn").of(config) != before


def test_other_images_in_a_file_of_many_are_in_the_key(tmp_path):
    def key(more: int) -> str:
        samples = {"a/1.png": b"x" * (20 + more), "a/1.cls": b"0", "2.png": b"", "2.cls": b"1"}
        with tarfile.open(tmp_path / "faces.tar", "w") as archive:
            for name, data in samples.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return RunKeys(tmp_path, tmp_path / "drawn").of(config)

    config = detect.get_config()
    config.data.train = (f"tar:{tmp_path}/faces.tar",)
    assert key(0) != key(20_000)


def test_files_beside_a_folder_of_records_are_not_in_the_key(tmp_path):
    write(tmp_path, {"train": draw_records(4, "png")})
    config = detect.get_config()
    config.data.train = (f"tfds:{tmp_path}/faces#train",)

    def key() -> str:
        return RunKeys(tmp_path, tmp_path / "drawn").of(config)

    before = key()
    for folder in (tmp_path, tmp_path / "faces"):
        os.utime(folder, (0, 0))  # as after another file was made in it
    assert key() == before
    os.utime(next(tmp_path.glob("faces/**/*array_record*")), (0, 0))
    assert key() != before


@pytest.mark.parametrize("entry", ["mae", "init_from", "detector.init", "backbone.weights"])
def test_other_weights_behind_the_same_path_make_another_training(tmp_path, entry):
    folder = tmp_path / "weights" / "checkpoints" / "latest"
    folder.mkdir(parents=True)
    (folder / "array").write_bytes(b"a")
    config = detect.get_config()
    config.update_from_flattened_dict({entry: str(tmp_path / "weights")})
    keys = RunKeys(tmp_path, tmp_path)
    before = keys.of(config)
    (tmp_path / "weights" / "log.txt").write_text("looked at")
    assert keys.of(config) == before
    (folder / "array").write_bytes(b"ab")
    assert keys.of(config) != before
    # An experiment trains it itself, and says what it will be.
    named = keys.of(config, {entry: "mae-1"})
    (folder / "array").write_bytes(b"abc")
    assert keys.of(config, {entry: "mae-1"}) == named != keys.of(config, {entry: "mae-2"})


def test_another_mae_in_a_folder_with_a_readable_name_makes_other_detectors(tmp_path):
    def keys(steps: int) -> dict[str, str]:
        config = orderings.get_config("smoke")
        config.pretrain.steps = steps
        plans = split_by_seed(config)
        drawn = with_data_on_disk(plans[0], tmp_path / "data", by_split=True, draw=False)
        points = make_grid(drawn, Folders(tmp_path / "seed_0", readable=True))
        return {str(p.detect.folder): p.detect.key for p in points}

    before, after = keys(8), keys(9)
    assert before.keys() == after.keys()
    assert all(before[folder] != after[folder] for folder in before)


def test_drawn_data_of_another_spec_are_refused(tmp_path):
    def draw(limit: int, **how: bool):
        config = orderings.get_config("smoke")
        config.data.test = (f"synthetic:{{seed}}#test?limit={limit}",)
        return with_data_on_disk(split_by_seed(config)[0], tmp_path, by_split=True, **how)

    draw(4)
    assert draw(4, draw=False).columns == draw(4).columns
    before = (tmp_path / "test.csv").read_bytes()
    for how in ({}, {"draw": False}):
        with pytest.raises(UserError, match=r"test\.csv was drawn from .*limit=4 at .*limit=6 at"):
            draw(6, **how)
    assert (tmp_path / "test.csv").read_bytes() == before


def test_a_table_of_other_settings_is_refused_where_its_trainings_lie_elsewhere(tmp_path):
    config = orderings.get_config("smoke")
    config.shared = "../trained"
    workdir = tmp_path / "table"
    workdir.mkdir()
    write_config(workdir, config)
    config.detect.steps += 1
    experiment.list_experiment(config, workdir)
    (tmp_path / "trained" / "seed_0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds a run with other settings \(detect\.steps"):
        experiment.list_experiment(config, workdir)


def test_a_rate_that_is_never_halved_is_the_training_without_that_entry(tmp_path):
    keys, config = RunKeys(tmp_path, tmp_path), detect.get_config()
    here = keys.of(config)
    config.optimizer.halve_every = 5
    assert keys.of(config) != here
    del config.optimizer["halve_every"]
    assert keys.of(config) == here


def test_a_rate_of_the_backbone_matters_where_there_is_one(tmp_path):
    keys, config = RunKeys(tmp_path, tmp_path), detect.get_config()
    here = keys.of(config)
    config.optimizer.backbone_learning_rate = 1e-3
    assert keys.of(config) == here
    config.backbone.weights = str(tmp_path / "dinov2")
    at_its_rate = keys.of(config)
    config.optimizer.backbone_learning_rate = 0.0
    assert keys.of(config) != at_its_rate


def test_rules_name_checkpoints(drawn_data):
    checkpoints = {
        p.rule: next(iter(p.evaluations.values())).config.checkpoint
        for p in points_of(table6, drawn_data)
    }
    assert checkpoints == {
        "oracle": "matched",
        "source": "best:synthetic_1-lowres_swap",
        "last": "last",
    }
    for point in points_of(table2, drawn_data):
        if point.rule == "transfer":
            assert {run.config.checkpoint for run in point.evaluations.values()} == {
                "best:synthetic_21"
            }


def test_a_foreign_set_that_has_the_name_of_the_own_chooses(tmp_path, drawn_data):
    for folder, seed in (("own", 0), ("foreign", 1)):
        draw_faces(tmp_path / folder / "validation", "photographs", seed=seed)
    own, foreign = (f"csv:{tmp_path}/{name}/validation.csv" for name in ("own", "foreign"))
    config = table2.get_config("smoke")
    config.rules = ("transfer", "source")
    config.data.validation, config.data.chosen_on = (own, foreign), (foreign,)
    on_disk = with_data_on_disk(config, drawn_data)
    curves = load_validation_sets(on_disk.detect.data.validation, [])
    points = make_grid(on_disk, Folders(drawn_data / "trainings"))
    chosen = {
        point.rule: run.config.checkpoint
        for point in points
        for run in point.evaluations.values()
        if point.method == "RECCE"
    }
    assert chosen["transfer"] == "best:photographs-2"
    assert curves["photographs-2"].examples == load_dataset(foreign).examples
    assert chosen["source"] == "best:photographs"


def test_a_foreign_set_without_a_validation_curve_is_refused(drawn_data):
    config = table2.get_config("smoke")
    config.data.validation = config.data.validation[:1]
    with pytest.raises(UserError, match=r"chooses on data\.chosen_on=.* data\.validation lacks"):
        make_grid(with_data_on_disk(config, drawn_data), Folders(drawn_data / "trainings"))


@pytest.mark.parametrize("variant", ["smoke", "synthetic", "photographs", "faceforensics"])
def test_recce_is_flipped_in_every_variant(variant):
    for module in (table1, table3):
        rows = module.get_config(variant).rows.values()
        recce = [row.detect for row in rows if row.label.startswith("RECCE")]
        assert recce
        assert all(detect.data.augmentation.flip for detect in recce)
        assert all(detect.get("residuals", {}).get("training") != "always" for detect in recce)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, "different whole numbers"),
        ({"mae_seeds": (-1,)}, "different whole numbers"),
        ({"rules": ("best",)}, "'best' is not known"),
        ({"rules": ("transfer",)}, "needs data.chosen_on"),
        ({"rules": ("transfer",), "data": {"chosen_on": ("csv:a", "csv:b")}}, "one foreign set"),
        ({"columns": {"real": {"test": "synthetic:1#test?fakes=controls"}}}, "is a control"),
        ({"rows": {}}, None),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(changes, said):
    config = table1.get_config("smoke")
    if said is None:
        config.rows, config.galleries = type(config)(), ()
        said = "give it some"
    else:
        if "columns" in changes:
            config.columns = type(config)()
        config.update(changes)
    with pytest.raises(UserError, match=said):
        split_by_seed(config)
