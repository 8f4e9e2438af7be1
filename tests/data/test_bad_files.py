"""The account of files that could not be used."""

import contextlib

import pytest
from PIL import Image

from rffr_jax.cluster import processes
from rffr_jax.data.bad_files import BadFiles, log
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(log, "warning", lambda text, *values: lines.append(text % values))
    return lines


def faces(root, good, bad):
    for number in range(good):
        Image.new("L", (20, 20), number).save(root / f"good{number}.png")
    for number in range(bad):
        (root / f"bad{number}.png").write_bytes(b"" if number % 2 else b"text")
    return load_dataset(f"folder:{root}")


def batches_of(dataset):
    with contextlib.closing(evaluation_batches(dataset, size=20, batch_size=4)) as batches:
        return list(batches)


def test_each_bad_file_is_named_once_with_its_reason(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=7, bad=2)
    bad_files = BadFiles(dataset, max_bad_fraction=0.5)
    for batch in batches_of(dataset) * 3:
        bad_files.update(batch)
    names = [str(tmp_path / "bad0.png"), str(tmp_path / "bad1.png")]
    assert list(bad_files.names) == names
    assert "not an image" in bad_files.names[names[0]]
    assert bad_files.names[names[1]] == "the file is empty"
    assert warnings_logged == [f"left out: {name}: {bad_files.names[name]}" for name in names]


def test_padding_and_black_images_are_not_bad(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=5, bad=0)  # good0 is all black; 3 rows are padding
    bad_files = BadFiles(dataset, max_bad_fraction=0.0)
    for batch in batches_of(dataset):
        bad_files.update(batch)
    assert bad_files.names == {}
    assert warnings_logged == []


def test_too_many_end_the_run(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=6, bad=2)
    first, last = batches_of(dataset)
    just_enough = BadFiles(dataset, max_bad_fraction=0.25)
    just_enough.update(first)
    just_enough.update(last)
    assert len(just_enough.names) == 2
    too_many = BadFiles(dataset, max_bad_fraction=0.24)
    with pytest.raises(UserError) as caught:
        too_many.update(first)
    message = str(caught.value)
    assert "\n" not in message
    assert "2 of 8 images" in message
    assert "max_bad_fraction allows 0.24" in message
    assert f"{tmp_path}/bad0.png: not an image" in message


def test_a_file_that_came_back_is_still_named(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=3, bad=1)
    batches = batches_of(dataset)
    Image.new("L", (20, 20)).save(tmp_path / "bad0.png")
    bad_files = BadFiles(dataset, max_bad_fraction=0.5)
    bad_files.update(batches[0])
    assert "second try" in bad_files.names[str(tmp_path / "bad0.png")]


def test_a_single_bad_file_never_ends_a_run(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=3, bad=1)
    bad_files = BadFiles(dataset, max_bad_fraction=0.01)
    for batch in batches_of(dataset):
        bad_files.update(batch)
    assert list(bad_files.names) == [str(tmp_path / "bad0.png")]
    (tmp_path / "good0.png").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 4 images cannot be used"):
        bad_files.update(batches_of(dataset)[0])


def test_a_dataset_of_one_bad_file_does(tmp_path, warnings_logged):
    dataset = faces(tmp_path, good=0, bad=1)
    with pytest.raises(UserError, match="1 of 1 images cannot be used"):
        BadFiles(dataset, max_bad_fraction=0.01).update(batches_of(dataset)[0])


def test_processes_decide_on_the_files_of_all(tmp_path, warnings_logged, monkeypatch):
    dataset = faces(tmp_path, good=8, bad=2)  # process 0 reads the first bad one, 1 the second
    halves = [BadFiles(dataset, 0.1), BadFiles(dataset, 0.1)]
    batch = batches_of(dataset)[0]
    for row, half in enumerate(halves):
        half.update({name: rows[row : row + 1] for name, rows in batch.items()})
    assert [len(half.names) for half in halves] == [1, 1]  # 1 of 10 each: allowed

    said = {"counts": [1, 1], "names": [dict(half.names) for half in halves]}
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(
        processes,
        "all_gather_objects",
        lambda own: said["counts" if isinstance(own, int) else "names"],
    )
    messages = set()
    for half in halves:
        with pytest.raises(UserError, match="2 of 10 images") as caught:
            half.share()
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert list(halves[0].names.items()) == list(halves[1].names.items())


def test_a_file_that_two_processes_met_counts_once(tmp_path, warnings_logged, monkeypatch):
    dataset = faces(tmp_path, good=8, bad=1)
    bad_files = BadFiles(dataset, 0.1)
    bad_files.update(batches_of(dataset)[0])
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "all_gather_objects", lambda own: [own, own])
    bad_files.share()
    assert len(bad_files.names) == 1
