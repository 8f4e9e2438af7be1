"""Frames are timed and counted as a player shows them."""

import fractions

import av
import numpy as np
import pytest

from rffr_jax.faces.frames import read_frames
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
