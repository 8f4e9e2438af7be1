"""Videos with boxes and running scores, decoded again."""

import dataclasses
import errno
import logging
import resource

import av
import av.error
import numpy as np
import pytest
from av.video.frame import PictureType

from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.faces.frames import read_frames
from rffr_jax.predict import (
    annotated_video,
    face_finding,
    face_settings,
    file_scorer,
    video_index,
)
from rffr_jax.predict.annotated_video import annotate_video, interpolate_box, running_score
from tests import jobs
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, picture

MEAN, HIGHEST = VideoScore("mean", 0, 3), VideoScore("top_k", 1, 3)
SEEN = [
    {"frame": 2, "time": 0.2, "score": 0.2, "box": [10.0, 20.0, 50.0, 60.0]},
    {"frame": 6, "time": 0.6, "score": 0.8, "box": [30.0, 40.0, 70.0, 80.0]},
]


def record(frames=12, looked_at=3, seconds=1.2):
    source = {"kind": "video", "codec": "h264", "width": 161, "height": 121, "frames": frames,
              "seconds": seconds, "frames_looked_at": looked_at}  # fmt: skip
    face = {"face": 0, "box": SEEN[1]["box"], "frames": SEEN, "not_judged": []}
    return {"source": source, "faces": [face]}


def decoded(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time or 0) for f in frames]


@pytest.fixture
def grey(tmp_path):
    frames = [np.full((121, 161, 3), 128, np.uint8)] * 12
    return write_movie(tmp_path / "grey.mp4", frames)


def test_boxes_move_and_end():
    assert interpolate_box(SEEN, 4, 2.0) == (20, 30, 60, 70)
    assert interpolate_box(SEEN, 0, 2.0) == (10, 20, 50, 60)
    assert interpolate_box(SEEN, 8, 2.0) == (30, 40, 70, 80)
    assert interpolate_box(SEEN, 9, 2.0) is None
    assert interpolate_box(SEEN, 4, 1.0) is None  # not seen between
    assert interpolate_box(SEEN, 5, 1.0) == (30, 40, 70, 80)


def test_score_is_that_of_the_frames_until_then():
    assert running_score(SEEN, 0, MEAN) == 0.2
    assert running_score(SEEN, 5, MEAN) == 0.2
    assert running_score(SEEN, 6, MEAN) == pytest.approx(0.5)
    assert running_score(SEEN, 9, HIGHEST) == 0.8


def test_whole_video_has_its_frames_times_and_boxes(tmp_path, grey):
    path = tmp_path / "annotated" / "out.mp4"
    annotate_video(path, grey, record(), 0.5, video_score=HIGHEST, band="Score 0.8, a word. " * 4)
    frames, times = decoded(path)
    assert len(frames) == 12
    assert times == pytest.approx(np.arange(12) / 10, abs=1e-3)
    height, width, _ = frames[0].shape
    assert width == 162
    assert height > 122
    before, after = frames[2].astype(int), frames[6].astype(int)
    assert before[30, 10, 1] > before[30, 10, 0] + 30  # green at the left edge
    assert after[60, 30, 0] > after[60, 30, 1] + 30  # red
    assert np.abs(after[60, 50] - 128).max() < 20  # nothing within
    assert np.abs(frames[11][:122].astype(int) - 128).max() < 20  # the face is gone
    assert frames[0][122:].max() > 200  # the band's words
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]


def test_a_decoder_that_draws_on_its_last_frame_gets_it_back_clean(tmp_path):
    path, grey = tmp_path / "grey.mov", np.full((120, 160, 3), 128, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "rgb24"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    annotate_video(tmp_path / "out.mp4", path, record(), 0.5, video_score=MEAN, band="")
    frames, _ = decoded(tmp_path / "out.mp4")
    assert np.abs(frames[2][:120].astype(int) - 128).max() > 60
    assert np.abs(frames[11][:120].astype(int) - 128).max() < 20


def test_of_a_long_video_the_frames_that_were_looked_at(tmp_path, grey, monkeypatch):
    monkeypatch.setattr(annotated_video, "DECODED_PIXELS", 0)
    annotate_video(tmp_path / "out.mp4", grey, record(), 0.5, video_score=MEAN, band="A word.")
    frames, times = decoded(tmp_path / "out.mp4")
    assert len(frames) == 3
    assert times == pytest.approx([0, 1, 2])


def test_all_scored_keyframes_of_a_long_video_are_shown(tmp_path, monkeypatch):
    """Few of them were found for the many that were wanted, and not evenly."""
    path = tmp_path / "long.mp4"
    options = {"x264-params": "keyint=1000:scenecut=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), number, np.uint8))
            if number in (0, 12, 99):
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for room in (annotated_video, video_index):
        monkeypatch.setattr(room, "DECODED_PIXELS", 0)
    score = VideoScore("mean", 0, 32)
    scored = list(video_index.sample_frames(path, video_index.index_video(path), score.frames))
    assert len(scored) == 3
    given = record(frames=100, looked_at=3, seconds=10.0)
    annotate_video(tmp_path / "out.mp4", path, given, 0.5, video_score=score, band="A word.")
    assert len(decoded(tmp_path / "out.mp4")[0]) == 3


def test_a_box_does_not_flicker_where_nearly_all_frames_were_looked_at(tmp_path, grey):
    given = record(looked_at=10)
    numbers = evenly_spaced(range(12), 10)
    assert len(set(range(12)) - set(numbers)) == 2
    given["faces"][0]["frames"] = [SEEN[1] | {"frame": number} for number in numbers]
    annotate_video(tmp_path / "out.mp4", grey, given, 0.5, video_score=MEAN, band="A word.")
    frames, _ = decoded(tmp_path / "out.mp4")
    for frame in frames:
        assert int(frame[60, 30, 0]) > int(frame[60, 30, 1]) + 30


def test_a_face_has_a_grey_box_where_it_is_not_judged(tmp_path, grey):
    given = record()
    unseen = [{name: frame[name] for name in ("frame", "time", "box")} for frame in SEEN]
    given["faces"][0] |= {"frames": SEEN[1:], "not_judged": unseen[:1]}
    annotate_video(tmp_path / "out.mp4", grey, given, 0.5, video_score=MEAN, band="A word.")
    frames, _ = decoded(tmp_path / "out.mp4")
    corner = frames[1][:20, :120].astype(int)
    assert np.abs(corner - 128).max() > 100  # its name above the box
    assert np.abs(frames[1][:122].astype(int) - frames[1][:122].mean(-1, keepdims=True)).max() < 12
    assert int(frames[6][60, 30, 0]) > int(frames[6][60, 30, 1]) + 30  # red, where it is judged


def test_frames_keep_their_own_times(tmp_path):
    times = [0, 1, 2, 3, 7, 8, 12, 13, 14, 20, 21, 22]
    frames = [np.full((121, 161, 3), 128, np.uint8)] * 12
    source = write_movie(tmp_path / "grey.mp4", frames, times=times)
    given = record(seconds=2.3)
    annotate_video(tmp_path / "out.mp4", source, given, 0.5, video_score=MEAN, band="A word.")
    _, shown = decoded(tmp_path / "out.mp4")
    assert shown == pytest.approx(np.array(times) / 10, abs=1e-3)


def test_pictures_that_begin_after_the_sound_are_shown_at_their_times(tmp_path, grey, monkeypatch):
    def later(*arguments, **options):
        for frame in read_frames(*arguments, **options):
            yield dataclasses.replace(frame, time=frame.time + 0.5)

    monkeypatch.setattr(annotated_video, "read_frames", later)
    annotate_video(tmp_path / "out.mp4", grey, record(), 0.5, video_score=MEAN, band="A word.")
    _, shown = decoded(tmp_path / "out.mp4")
    assert shown == pytest.approx(0.5 + np.arange(12) / 10, abs=1e-3)


def test_times_that_leap_or_go_back_are_shortened(tmp_path):
    frames = [np.full((120, 160, 3), 128, np.uint8)] * 12
    times = [0, 1, 2, *range(800_000, 800_009)]
    source = write_movie(tmp_path / "leaps.mkv", frames, times=times)
    twice = tmp_path / "back.ts"
    parts = [write_movie(tmp_path / f"{n}.ts", frames[:6]).read_bytes() for n in range(2)]
    twice.write_bytes(b"".join(parts))
    for file, shortest, longest in ((source, 0.1, 60.0), (twice, 0.0, 0.1)):
        annotate_video(tmp_path / "out.mp4", file, record(), 0.5, video_score=MEAN, band="A word.")
        _, shown = decoded(tmp_path / "out.mp4")
        times = [frame.time for frame in read_frames(file)]
        steps = np.clip(np.diff(times), 0, 60)
        assert np.diff(shown) == pytest.approx(steps, abs=2e-3)
        assert (steps.min(), steps.max()) == pytest.approx((shortest, longest))


def test_frames_that_change_their_size_are_shown_in_the_first_ones(tmp_path):
    sizes = ((120, 160), (240, 320), (90, 120))
    parts = []
    for number, (height, width) in enumerate(sizes):
        frame = np.full((height, width, 3), 60 + 60 * number, np.uint8)
        parts.append(write_movie(tmp_path / f"{number}.ts", [frame] * 4).read_bytes())
    source = tmp_path / "changes.ts"
    source.write_bytes(b"".join(parts))
    annotate_video(tmp_path / "out.mp4", source, record(), 0.5, video_score=MEAN, band="A word.")
    frames, _ = decoded(tmp_path / "out.mp4")
    wanted = [int(frame.image[0, 0, 0]) for frame in read_frames(source)]
    assert {round(value, -1) for value in wanted} == {60, 120, 180}
    assert [int(frame[110, 150, 0]) for frame in frames] == pytest.approx(wanted, abs=6)


def test_a_turned_video_is_shown_upright(tmp_path):
    frame = np.full((120, 160, 3), 128, np.uint8)
    frame[:40] = 250  # its upper part lies at the left once it is turned counterclockwise
    source = write_movie(tmp_path / "turned.mp4", [frame] * 12, rotation=90)
    annotate_video(tmp_path / "out.mp4", source, record(), 0.5, video_score=HIGHEST, band="A word.")
    frames, _ = decoded(tmp_path / "out.mp4")
    assert frames[0].shape[1] == 120
    assert frames[0][100, 5].min() > 200
    assert frames[0][5:40, 80].max() < 160
    assert int(frames[6][60, 30, 0]) > int(frames[6][60, 30, 1]) + 30  # the box's left edge, red


def test_of_a_full_disk_nothing_half_written_stays(tmp_path):
    noise = [np.random.default_rng(n).integers(0, 256, (120, 160, 3), np.uint8) for n in range(12)]
    source = write_movie(tmp_path / "noise.mp4", noise)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"Errno|large") as caught:
            annotate_video(
                tmp_path / "out.mp4", source, record(), 0.5, video_score=MEAN, band="A word."
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert sorted(file.name for file in tmp_path.iterdir()) == ["noise.mp4"]


def predicted(tmp_path, detector, monkeypatch, *flags):
    for room in (face_finding, face_settings):
        monkeypatch.setattr(room, "load_detector", lambda *_: BrightSquares())
    frames = [picture((8 + i, 10, 34), (90, 60 + i, 50), size=160) for i in range(12)]
    path = write_movie(tmp_path / "film.mp4", frames)
    loose = ("darkest=0", "least_sharpness=0")
    said = jobs.predict(tmp_path / "out", detector, path, *loose, *flags)
    return said["files"][0]["annotated"]


def test_job_writes_one_for_a_video(tmp_path, detector, monkeypatch):
    place = predicted(tmp_path, detector, monkeypatch, "frames_per_video=4")
    frames, _ = decoded(tmp_path / "out" / place)
    assert len(frames) == 12
    assert "annotated/film-" in (tmp_path / "out/report.html").read_text()


def test_job_writes_none_where_none_is_wanted(tmp_path, detector, monkeypatch):
    assert predicted(tmp_path, detector, monkeypatch, "annotate=False") is None
    assert not (tmp_path / "out/annotated").exists()


def test_a_video_that_cannot_be_written_is_named(tmp_path, detector, monkeypatch, capsys):
    def fails(*_, **__):
        raise BadImageError("film.mp4", "cut off")

    monkeypatch.setattr(file_scorer, "annotate_video", fails)
    logging.getLogger("rffr_jax").setLevel(logging.INFO)
    assert predicted(tmp_path, detector, monkeypatch) is None
    assert "film.mp4 was scored and could not be written again" in capsys.readouterr().err


def test_a_full_disk_is_told_and_the_video_looked_at_again(tmp_path, detector, monkeypatch, capsys):
    def full(path, *_, **__):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(file_scorer, "annotate_video", full)
        with pytest.raises(AssertionError):
            predicted(tmp_path, detector, patched)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "film" in told
    assert "space" in told.lower()
    assert predicted(tmp_path, detector, monkeypatch)
