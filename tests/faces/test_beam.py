"""Apache Beam as a runner. With Beam installed (an environment of its own) it really runs."""

import errno
import logging
import os
import sys

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces import runners
from rffr_jax.faces.beam import beam_runner
from rffr_jax.faces.build import build_dataset
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.media import Benchmark
from rffr_jax.faces.prepare import PreparationSettings
from rffr_jax.faces.runners import run_sequentially
from tests.faces.builds import content
from tests.faces.movies import empty_frames, face_frames, write_movie
from tests.faces.test_prepare import medium


def test_without_beam_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"in an environment of its own: pip install '.*beam\]'"):
        beam_runner("DirectRunner")


def make_benchmark(folder):
    media = []
    for i in range(6):
        name = "real" if i % 2 else "Deepfakes"
        frames = empty_frames(i, 4, 96) if i == 5 else face_frames(i, 4, 96)
        path = write_movie(folder / f"{name}{i}.mp4", frames)
        media.append(medium(path, f"{name}/{i}", source=f"real/{i | 1}"))
    (folder / "broken.mp4").write_bytes(b"no video")
    media.append(medium(folder / "broken.mp4", "real/broken"))
    return Benchmark(tuple(sorted(media, key=lambda one: one.id)))


SETTINGS = PreparationSettings(
    "retinaface", None, CropSettings(size=48), 20, "png", {"train": 3, "validation": 1, "test": 1}
)


@pytest.mark.parametrize(
    "options", ["", "--direct_running_mode=multi_processing --direct_num_workers=2"]
)
@pytest.mark.filterwarnings("default")  # Beam's own
def test_beam_builds_the_same_bytes(tmp_path, options):
    pytest.importorskip("apache_beam")
    benchmark = make_benchmark(tmp_path)
    built = []
    for name, run in (("here", run_sequentially), ("beam", beam_runner("DirectRunner", options))):
        built.append(
            build_dataset(
                benchmark, SETTINGS, tmp_path / name, "faces", run=run, max_bad_fraction=0.4
            )
        )
    assert content(built[0]) == content(built[1])
    assert len(list(built[1].glob("*array_record*"))) == 1


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("runner", "message"),
    [("NoSuchRunner", "NoSuchRunner failed: "), ("DirectRunner", "No space left on device")],
)
def test_failure_of_a_pipeline_is_one_line(tmp_path, monkeypatch, runner, message):
    pytest.importorskip("apache_beam")
    benchmark = make_benchmark(tmp_path)
    monkeypatch.setattr(runners, "write_part", full_disk)
    run = beam_runner(runner)
    with pytest.raises(UserError) as caught:
        build_dataset(benchmark, SETTINGS, tmp_path / "out", "faces", run=run, max_bad_fraction=0.4)
    assert "\n" not in str(caught.value)
    assert message in str(caught.value)


def test_the_mode_that_loses_records_is_refused():
    pytest.importorskip("apache_beam")
    with pytest.raises(UserError, match="multi_threading; use multi_processing or in_memory"):
        beam_runner("DirectRunner", "--direct_running_mode multi_threading")


def teardown_module():
    logging.getLogger("apache_beam").handlers.clear()
