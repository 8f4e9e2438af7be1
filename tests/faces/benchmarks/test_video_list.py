import dataclasses

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.benchmarks.video_list import keep_listed_videos
from tests.faces import layouts


@pytest.fixture
def benchmark(tmp_path):
    layouts.dfdc(tmp_path / "dfdc")
    return find_media("dfdc", tmp_path / "dfdc")


def test_of_the_test_part_only_what_is_listed_stays(benchmark, tmp_path):
    tests = [medium for medium in benchmark.media if medium.split == "test"]
    others = [medium for medium in benchmark.media if medium.split != "test"]
    for chosen in tests:
        for name in (chosen.id, chosen.path.name, chosen.path.stem):
            (tmp_path / "list.txt").write_text(f"\n{name}\n")
            kept = keep_listed_videos(benchmark, tmp_path / "list.txt")
            assert [m for m in kept.media if m.split == "test"] == [chosen] != tests
            assert [m for m in kept.media if m.split != "test"] == others
            assert kept.missing == benchmark.missing


def test_lines_that_name_no_single_video_are_named(benchmark, tmp_path):
    tests = [medium for medium in benchmark.media if medium.split == "test"]
    train = next(medium for medium in benchmark.media if medium.split == "train")
    file = tmp_path / "list.txt"
    for lines, said in (
        (["nobody.mp4"], "list.txt:1: 'nobody.mp4' is no test video"),
        ([train.id], "is no test video"),
        ([tests[0].id, tests[0].path.name], r"list.txt:2: .* is in .*list.txt:1 already"),
        ([""], "names no video"),
    ):
        file.write_text("\n".join(lines))
        with pytest.raises(UserError, match=said):
            keep_listed_videos(benchmark, file)


def test_a_name_that_several_videos_have_asks_for_the_id(tmp_path):
    layouts.faceforensics(tmp_path / "ff")
    found = find_media("faceforensics", tmp_path / "ff")
    fakes = [m for m in found.media if m.split == "test" and m.label]
    same = [m for m in fakes if m.path.stem == fakes[0].path.stem]
    assert len(same) > 1
    (tmp_path / "list.txt").write_text(fakes[0].path.stem)
    with pytest.raises(UserError, match=f"names {len(same)} test videos; write its id"):
        keep_listed_videos(found, tmp_path / "list.txt")


def test_test_videos_that_are_not_there_are_missing_only_if_the_list_names_them(tmp_path):
    layouts.celeb_df(tmp_path / "celeb")
    found = find_media("celeb_df", tmp_path / "celeb")
    kept, lost, other = [medium for medium in found.media if medium.split == "test"][:3]
    lost.path.unlink()
    other.path.unlink()
    found = find_media("celeb_df", tmp_path / "celeb")
    before = {i for i, split in found.absent.items() if split != "test"}
    assert {lost.id, other.id} <= set(found.absent)
    file = tmp_path / "list.txt"
    file.write_text(kept.path.name)
    alone = keep_listed_videos(found, file)
    assert set(alone.absent) == before
    assert not [line for line in alone.missing if lost.id in line or other.id in line]
    for name in (lost.id, lost.path.name):
        file.write_text(f"{kept.path.name}\n{name}")
        with_lost = keep_listed_videos(found, file)
        assert set(with_lost.absent) == before | {lost.id}
        assert sum(line.startswith(f"{lost.id}: ") for line in with_lost.missing) == 1


def test_a_name_of_several_videos_is_refused_whether_they_are_there_or_not(benchmark, tmp_path):
    there = next(medium for medium in benchmark.media if medium.split == "test")
    absent = {"a/x": "test", "b/x": "test", f"c/{there.path.stem}": "test", "d/y": "test"}
    found = dataclasses.replace(benchmark, absent={**absent, "e/y": "train"})
    file = tmp_path / "list.txt"
    for name in ("x", "x.mp4", there.path.name, there.path.stem):
        file.write_text(name)
        with pytest.raises(UserError, match=f"'{name}' names 2 test videos; write its id"):
            keep_listed_videos(found, file)
    for name in ("f/d/y.mp4", "d/y.mp4", "c/x", "z.mp4"):
        file.write_text(name)
        with pytest.raises(UserError, match=f"'{name}' is no test video"):
            keep_listed_videos(found, file)
    for name, kept in (("b/x", "b/x"), ("y", "d/y"), ("y.avi", "d/y")):
        file.write_text(name)
        assert set(keep_listed_videos(found, file).absent) == {kept, "e/y"}
