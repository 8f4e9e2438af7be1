"""What a run that resumes says about data that have changed since it began."""

import shutil

import pytest

from rffr_jax.runs import inventory as inventories
from rffr_jax.runs.inventory import describe_changes, make_inventory
from tests import jobs


def record(folder, **files):
    for name, content in files.items():
        (folder / name).write_text(content)
    return make_inventory((name, str(folder / name), "real") for name in files)


def test_what_has_changed_is_named(tmp_path):
    then = record(tmp_path, a="1", b="2", c="3")
    assert describe_changes(then, record(tmp_path, a="1", b="2", c="3")) == ""
    now = record(tmp_path, b="2222", c="3", d="4", e="5")
    assert (
        describe_changes(then, now)
        == "3 then, 4 now; 2 added (d, e), 1 gone (a), 1 of another size (b)"
    )
    many = record(tmp_path, a="1", b="2", c="3", **{f"n{i}": "" for i in range(5)})
    assert describe_changes(then, many) == "3 then, 8 now; 5 added (n0, n1, n2, ...)"


def test_other_labels_and_another_order_are_changes():
    then = make_inventory([("a", "", 0), ("b", "", 1)])
    for other in ([("b", "", 1), ("a", "", 0)], [("a", "", 1), ("b", "", 1)]):
        assert (
            describe_changes(then, make_inventory(other))
            == "2 then, 2 now; other names, labels or order"
        )


def test_a_large_record_stays_small_and_compares_what_it_has_kept(monkeypatch):
    monkeypatch.setattr(inventories, "NAMED", 50)
    names = [f"{i:04d}" for i in range(1000)]
    then = make_inventory((name, "", 0) for name in names)
    assert len(then["named"]) == 50
    assert describe_changes(then, make_inventory((name, "", 0) for name in names)) == ""
    kept = sorted(then["named"])
    now = make_inventory((name, "", 0) for name in names if name not in kept[:2])
    assert describe_changes(then, now) == (
        f"1000 then, 998 now; of 50 that were compared by name: 2 gone ({kept[0]}, {kept[1]})"
    )


@pytest.mark.parametrize("job", ["pretrain", "detect"])
def test_a_training_that_resumes_on_other_data_says_so(tmp_path, job, data, faces, capsys, request):
    mae = request.getfixturevalue("mae")
    begun = mae if job == "pretrain" else request.getfixturevalue("detector")
    flags = [*data] if job == "pretrain" else [*data, f"mae={mae}", "data.methods=rows"]
    workdir = shutil.copytree(begun, tmp_path / "run")
    table = faces / "train.csv"

    def warnings():
        capsys.readouterr()
        assert jobs.start(job, workdir, *flags) == 0
        said = capsys.readouterr().err.splitlines()
        return [line for line in said if line.startswith("rffr_jax: ") and "changed" in line]

    whole = table.read_text()
    try:
        assert warnings() == []
        table.write_text(whole.replace("train/real0.png,0", "validation/real0.png,0"))
        (line,) = warnings()
    finally:
        table.write_text(whole)
    assert line.startswith("rffr_jax: data.train has changed since this run began (")
    assert "1 added (validation/real0.png), 1 gone (train/real0.png)" in line
    assert line.endswith(
        "the run resumes, but its result differs from that of a run without a break"
    )
