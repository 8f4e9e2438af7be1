"""The fixture of conversions that are refused."""

import pytest

from tests.convert.source_files import convert


@pytest.fixture
def refused(tmp_path, capsys):
    """Converts a file that must be refused in one line, without a trace; returns the line."""

    def start(file, *flags, output=tmp_path / "folder" / "out"):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert convert(file, output, *flags) == 2
        printed, errors = capsys.readouterr()
        assert printed == ""
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = errors.splitlines()
        assert line.startswith("error: ")
        return line

    return start
