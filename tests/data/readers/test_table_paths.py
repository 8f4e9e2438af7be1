"""Paths in tables and lists: their spellings, and those of another machine."""

import json

import pytest

from rffr_jax.data.readers.table import read_csv, read_list
from rffr_jax.errors import UserError
from tests.data.readers.test_files import save


def test_one_spelling_of_a_path_is_one_image(tmp_path):
    file = tmp_path / "list.csv"
    for path in ("./a.png", "x\\\\..//a.png", "a.png/", "b/./../a.png"):
        file.write_text(f"path,label\na.png,0\n{path},0\n")
        if path in ("./a.png", "a.png/"):
            with pytest.raises(UserError, match=r"line 3: a.png is listed before, at line 2"):
                read_csv(file)
        else:
            (_, example) = read_csv(file).examples  # links may make it another file
            assert "//" not in example.id
            assert "\\" not in example.id
            assert "/./" not in example.id


def test_two_slashes_in_front_are_one(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"path,label\n/{tmp_path}/a.png,0\n")
    dataset = read_csv(tmp_path / "list.csv")
    assert dataset.examples[0].path == str(tmp_path / "a.png")
    assert dataset.load(0, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("path", ["C:\\data\\a.png", "d:/a.png", "\\\\server\\a.png"])
def test_paths_of_another_machine_are_named(tmp_path, path):
    table, entries = tmp_path / "a.csv", tmp_path / "a.json"
    table.write_text(f"path,label\n{path},0\n")
    entries.write_text(json.dumps([{"path": path, "label": 0}]))
    for read, file, place in ((read_csv, table, "line 2"), (read_list, entries, "entry 1")):
        with pytest.raises(UserError, match=f"{place}: .* is a path of another machine") as caught:
            read(file)
        assert "\n" not in str(caught.value)
