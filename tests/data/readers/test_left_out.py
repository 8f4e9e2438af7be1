"""Files that no reader takes: counted by ending, the first of each ending named."""

from pathlib import PurePosixPath

from rffr_jax.data.readers.left_out import LONGEST, SkippedFiles


def left_out(*names):
    found = SkippedFiles()
    for name in names:
        found.add(PurePosixPath(name))
    return found


def test_files_are_counted_by_ending_and_the_first_is_named():
    found = left_out("b/x.TXT", "a/y.txt", "c.gif", "README", "notes of 3. May")
    assert found.counts == {".txt": 2, ".gif": 1, "": 2}
    assert str(found) == (
        "left out 5 files: 2 without an ending (first: README), 2 .txt (first: a/y.txt), "
        "1 .gif (first: c.gif)"
    )
    assert str(left_out("a.txt")) == "left out 1 file: 1 .txt (first: a.txt)"
    assert str(SkippedFiles()) == ""


def test_the_line_is_short_and_printable_whatever_files_are_called():
    names = [f"{'long' * 60}/a\nb\udce4.e{number}" for number in range(100)]
    found = left_out(*names, *names)
    line = str(found)
    assert line.endswith(", 184 of 92 other endings")
    assert len(line) < 8 * (LONGEST + 40)
    assert line.isascii()
    assert line.isprintable()
