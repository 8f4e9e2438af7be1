"""Frames are timed and counted as a player shows them."""

import fractions

import av
import numpy as np
import pytest

from rffr_jax.faces.frames import count_frames, read_frames
from rffr_jax.predict.video_index import index_video
from tests.faces.movies import write_movie
from tests.faces.test_frames import numbered


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_times_count_from_the_start_of_the_file(tmp_path, ending):
    """The sound begins half a second before the pictures."""
    path = tmp_path / f"late.{ending}"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10, options={"bf": "0"})
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("mp2", rate=48_000, layout="stereo")
        for number in range(40):
            samples = np.zeros((1, 2 * 1152), np.int16)
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            heard.rate, heard.pts = 48_000, 1152 * number
            container.mux(sound.encode(heard))
        for number, image in enumerate(numbered(4)):
            shown = av.VideoFrame.from_ndarray(image, format="rgb24")
            shown.pts, shown.time_base = number + 5, fractions.Fraction(1, 10)
            container.mux(pictures.encode(shown))
        for stream in (sound, pictures):
            container.mux(stream.encode())
    times = [frame.time for frame in read_frames(path)]
    assert times == pytest.approx([0.5, 0.6, 0.7, 0.8], abs=0.02)


def test_hidden_frames_of_vp8_do_not_count(tmp_path):
    shown = write_movie(tmp_path / "shown.webm", numbered(20), codec="libvpx")
    path = tmp_path / "hidden.webm"
    with av.open(str(shown)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                if number in (4, 11):
                    data[0] &= ~0x10  # the bit that shows it
                hidden = av.Packet(bytes(data))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                hidden.is_keyframe, hidden.stream = packet.is_keyframe, stream
                container.mux(hidden)
    assert (count_frames(shown), count_frames(path)) == (20, 18)
    assert index_video(path).total == 18
    assert [frame.index for frame in read_frames(path)] == list(range(18))
