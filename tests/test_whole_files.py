"""Files that are written whole or not at all."""

import os

from rffr_jax.whole_files import whole_file


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """Even with one process id, as on two machines."""
    path = tmp_path / "file"
    with whole_file(path) as slow:
        slow.write_text("slow")
        with whole_file(path) as fast:
            fast.write_text("fast")
            for part in (slow, fast):
                assert part.name.startswith(".")
                assert part.suffix == ".part"
        assert path.read_text() == "fast"
        assert slow.read_text() == "slow"
    assert path.read_text() == "slow"
    assert os.listdir(tmp_path) == ["file"]
