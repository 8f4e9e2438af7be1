"""Files that are written whole or not at all."""

import os

import pytest

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import (
    atomic_write,
    read_json_object,
    remove_unfinished_files,
    write_json,
)


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """Even with one process id, as on two machines."""
    path = tmp_path / "file"
    with atomic_write(path) as slow:
        slow.write_text("slow")
        with atomic_write(path) as fast:
            fast.write_text("fast")
            for part in (slow, fast):
                assert part.name.startswith(".")
                assert part.suffix == ".part"
        assert path.read_text() == "fast"
        assert slow.read_text() == "slow"
    assert path.read_text() == "slow"
    assert os.listdir(tmp_path) == ["file"]


def test_only_unfinished_files_of_this_folder_are_removed(tmp_path):
    for name in ("run", "run/samples", "run/other"):
        (tmp_path / name).mkdir()
        part = atomic_write(tmp_path / name / "file.json").__enter__()  # never left: killed
        part.write_text("half")
        (tmp_path / name / ".download.part").write_text("of another program")
    (tmp_path / "run/other/.lock").touch()
    remove_unfinished_files(tmp_path / "run")
    left = [path.relative_to(tmp_path / "run") for path in tmp_path.rglob(".file.json.*.part")]
    assert [path.parent.name for path in left] == ["other"]
    assert len(list(tmp_path.rglob(".download.part"))) == 3


@pytest.mark.parametrize("text", ["", '{"a": ', "[1]", "null", "[" * 100_000, "\udcff"])
def test_a_damaged_record_is_named_in_one_line(tmp_path, text):
    write_json(tmp_path / "whole.json", {"a": 1})
    assert read_json_object(tmp_path / "whole.json") == {"a": 1}
    file = tmp_path / "record.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as refused:
        read_json_object(file)
    assert f"{file} is damaged" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_that_is_no_utf8_comes_back_as_it_was(tmp_path):
    name = b"lat\xfcin.png".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "file.json", {"path": f"M\u00fc/{name}"})
    assert read_json_object(tmp_path / "file.json") == {"path": f"M\u00fc/{name}"}
