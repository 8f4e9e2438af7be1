"""A preparation that is started again: the same bytes, and nothing is replaced."""

import dataclasses

import pytest

from rffr_jax.faces import build as building
from rffr_jax.faces.media import Benchmark
from rffr_jax.faces.runners import Work
from tests.faces.builds import (
    IDS,
    content,
    make_benchmark,
    recording,
    refusal,
    run_of,
    stopping,
)
from tests.faces.movies import write_movie
from tests.faces.test_prepare import settings, walk

pytestmark = pytest.mark.usefixtures("bright_squares")


@pytest.mark.parametrize("after", [0, 1, 4, 6])
def test_stopped_run_goes_on_to_the_same_bytes(tmp_path, benchmark, whole, after):
    with pytest.raises(KeyboardInterrupt):
        run_of(benchmark, tmp_path / "out", stopping(after, KeyboardInterrupt))
    assert not (tmp_path / "out/faces/1.0.0").exists()
    done = []
    dataset = run_of(benchmark, tmp_path / "out", recording(done))
    assert done == [one.id for one in benchmark.media][after:]
    assert content(dataset) == whole
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]


@pytest.mark.parametrize("where", ["_pack", "_check", "make_report", "draw_sheet", "write_json"])
def test_stopped_after_the_media_goes_on(tmp_path, benchmark, whole, monkeypatch, where):
    real = getattr(building, where)

    def stop(path, *_):
        if where == "write_json" and path.name != building.REPORT:
            return real(path, *_)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, where, stop)
        with pytest.raises(KeyboardInterrupt):
            run_of(benchmark, tmp_path / "out")
    done = []
    assert content(run_of(benchmark, tmp_path / "out", recording(done))) == whole
    assert done == []


def test_stopped_while_it_cleans_up_is_finished(tmp_path, benchmark):
    expected = content(run_of(benchmark, tmp_path / "out"))
    left = tmp_path / "out/.faces.parts/ab/ab.part"
    left.parent.mkdir(parents=True)
    left.touch()
    done = []
    assert content(run_of(benchmark, tmp_path / "out", recording(done))) == expected
    assert done == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]


def test_damaged_part_and_changed_file_are_prepared_again(tmp_path, caplog):
    benchmark = make_benchmark(tmp_path / "in")
    with pytest.raises(KeyboardInterrupt):
        run_of(benchmark, tmp_path / "out", stopping(6, KeyboardInterrupt))
    parts = Work((tmp_path / "out/.faces.parts").absolute(), settings(2))
    for id_, size in (("Deepfakes/b_a", -1), ("Face2Face/c_a", 0)):
        part = parts._path(next(m for m in benchmark.media if m.id == id_))
        part.write_bytes(part.read_bytes()[:size])
    write_movie(tmp_path / "in/real/a.mp4", walk(4))
    caplog.clear()
    done = []
    dataset = run_of(benchmark, tmp_path / "out", recording(done))
    assert done == ["Deepfakes/a_b", "Deepfakes/b_a", "Face2Face/c_a", "real/a"]  # a_b's original
    assert "6 then, 6 now; 1 of another size (real/a)" in caplog.text
    assert content(dataset) == content(run_of(benchmark, tmp_path / "fresh"))


def test_media_may_be_added_to_and_taken_from_an_unfinished_run(tmp_path, caplog):
    fewer = make_benchmark(tmp_path / "in", IDS[:5])
    with pytest.raises(KeyboardInterrupt):
        run_of(fewer, tmp_path / "out", stopping(5, KeyboardInterrupt))
    other = make_benchmark(tmp_path / "in", (*IDS[:2], *IDS[3:]))
    done = []
    dataset = run_of(other, tmp_path / "out", recording(done))
    assert done == ["Face2Face/c_a"]
    added, gone = set(IDS[5:]), IDS[2]
    assert (
        f"the input has changed since this was begun (5 then, 5 now; 1 added ({', '.join(added)}), "
        f"1 gone ({gone})): the records will be those of the files as they are now"
    ) in caplog.text
    assert content(dataset) == content(run_of(other, tmp_path / "fresh"))


def test_unfinished_run_with_other_settings_is_refused(tmp_path, benchmark):
    with pytest.raises(KeyboardInterrupt):
        run_of(benchmark, tmp_path / "out", stopping(2, KeyboardInterrupt))
    crop = dataclasses.replace(settings().crop, scale=1.3)
    message = refusal(benchmark, tmp_path / "out", crop=crop, smallest_face=9)
    assert "unfinished run with other smallest_face, scale; give the same command" in message
    other = Benchmark(tuple(dataclasses.replace(one, compression="c40") for one in benchmark.media))
    assert "other compression" in refusal(other, tmp_path / "out")
    done = []
    run_of(benchmark, tmp_path / "out", recording(done))
    assert len(done) == 4


def test_a_file_that_changed_since_the_data_set_was_finished_is_told(tmp_path, caplog):
    benchmark = make_benchmark(tmp_path / "in")
    before = content(run_of(benchmark, tmp_path / "out"))
    assert content(run_of(benchmark, tmp_path / "out")) == before
    assert "changed since" not in caplog.text
    write_movie(tmp_path / "in/real/a.mp4", walk(4))
    assert content(run_of(benchmark, tmp_path / "out")) == before
    assert "its input has changed since (6 then, 6 now; 1 of another size (real/a))" in caplog.text


def test_finished_data_set_is_kept_and_never_replaced(tmp_path, benchmark, caplog):
    dataset = run_of(benchmark, tmp_path / "out")
    before = content(dataset)
    done = []
    with caplog.at_level("INFO"):
        assert run_of(benchmark, tmp_path / "out", recording(done)) == dataset
    assert "was finished before; delete it to make it again" in caplog.text
    assert "other image_format; give another --output or --name" in refusal(
        benchmark, tmp_path / "out", recording(done), image_format="raw"
    )
    relabelled = [dataclasses.replace(m, method="x") for m in benchmark.media]
    for media in (benchmark.media[1:], relabelled):
        other = Benchmark(tuple(media))
        assert "has other media;" in refusal(other, tmp_path / "out", recording(done))
    assert done == []
    assert content(dataset) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]
    run_of(benchmark, tmp_path / "out", recording(done), name="others", image_format="raw")
    assert len(done) == 6


def test_what_is_not_ours_is_not_replaced(tmp_path, benchmark):
    theirs = tmp_path / "out/faces/1.0.0"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("years of work")
    assert f"{theirs} is there and unfinished" in refusal(benchmark, tmp_path / "out")
    assert content(theirs) == {"thesis.txt": b"years of work"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]
