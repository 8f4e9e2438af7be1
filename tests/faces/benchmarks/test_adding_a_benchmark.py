"""The benchmark that docs/adding_a_benchmark.md shows, as it stands there."""

import pathlib
import re

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces import benchmarks

PAGE = pathlib.Path(__file__).parents[3] / "docs/adding_a_benchmark.md"


@pytest.fixture
def find(monkeypatch):
    (code,) = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text(encoding="utf-8"))
    namespace = {}
    exec(code, namespace)
    monkeypatch.setitem(benchmarks.BENCHMARKS, "mine", namespace["find"])
    return lambda folder: benchmarks.find_media("mine", folder)


def test_the_shown_benchmark_is_found(find, tmp_path):
    for name in ("real/a.mp4", "real/b.mp4", "fake/Swap/a_b.mp4", "real/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"video")
    (tmp_path / "test.txt").write_text("b\n")
    found = find(tmp_path)
    said = [(m.id, m.split, m.label, m.method, m.source) for m in found.media]
    assert said == [
        ("Swap/a_b", "train", 1, "Swap", "real/a"),
        ("real/a", "train", 0, "real", "real/a"),
        ("real/b", "test", 0, "real", "real/b"),
    ]
    assert found.left_out.counts == {".txt": 1}
    with pytest.raises(UserError, match=r"no folder real/"):
        find(tmp_path / "fake")
