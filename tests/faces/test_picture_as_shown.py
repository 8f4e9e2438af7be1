"""Frames are read as a screen shows them: HDR, pixels that are not square, turned and mirrored."""

import fractions
import pathlib

import av
import cv2
import numpy as np
import pytest
from av.video.stream import VideoStream

from rffr_jax.faces.frames import read_frames
from rffr_jax.images import tone_mapping
from tests.faces.movies import write_movie

COLOURS = np.array(
    [[224, 172, 150], [141, 85, 60], [200, 60, 60], [60, 160, 90], [60, 90, 200], [128, 128, 128]]
)
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]])
WEIGHTS = np.array([0.2627, 0.678, 0.0593])  # of BT.2020's luminance
HLG, PQ = 18, 16


def encode_hlg(light):
    """The HLG signal of light, 1 being diffuse white at 75 % of the signal (BT.2408)."""
    light = light * 0.2034
    scene = light * np.maximum(light @ WEIGHTS, 1e-9)[..., None] ** (1 / 1.2 - 1)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def encode_pq(light):
    """The PQ signal of light, 1 being diffuse white at 203 cd/m2."""
    power = (light * 203 / 10000) ** (2610 / 16384)
    ratio = (3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)
    return ratio ** (2523 / 32)


def write_hdr(path: pathlib.Path, colours: np.ndarray, transfer: int) -> np.ndarray:
    """Writes one frame of stripes in 10 bits; returns them as a standard screen shows them.

    Into a transport stream: for mp4, FFmpeg sometimes refuses the headers of x265.
    """
    shown = np.repeat(colours[None], 48, 0).repeat(16, 1).astype(np.uint8)
    light = (shown / 255.0) ** 2.4 @ TO_BT2020.T
    signal = encode_hlg(light) if transfer == HLG else encode_pq(light)
    luma = signal @ WEIGHTS
    blue = (signal[..., 2] - luma) / (2 * (1 - WEIGHTS[2]))
    red = (signal[..., 0] - luma) / (2 * (1 - WEIGHTS[0]))
    planes = [4 * (16 + 219 * luma), *(4 * (128 + 224 * p)[::2, ::2] for p in (blue, red))]
    height, width, _ = shown.shape
    name = "arib-std-b67" if transfer == HLG else "smpte2084"
    mastering = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        stream.options = {
            "crf": "1",
            # Several threads give a packet now and then that cannot be written.
            "x265-params": "log-level=none:pools=none:frame-threads=1:"
            f"colorprim=bt2020:transfer={name}:colormatrix=bt2020nc:"
            f"range=limited:master-display={mastering}:max-cll=1000,400",
        }
        frame = av.VideoFrame(width, height, "yuv420p10le")
        frame.pts = 0
        for plane, values in zip(frame.planes, planes, strict=True):
            buffer = np.zeros((len(values), plane.line_size // 2), np.uint16)
            buffer[:, : values.shape[1]] = np.round(values)
            plane.update(buffer.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return shown


@pytest.mark.slow  # swscale's table takes seconds
@pytest.mark.parametrize(("transfer", "name"), [(HLG, "HLG"), (PQ, "PQ")])
def test_hdr_is_shown_as_its_original(tmp_path, transfer, name):
    shown = write_hdr(tmp_path / "a.ts", COLOURS, transfer)
    (frame,) = read_frames(tmp_path / "a.ts")
    assert frame.conversions == (f"tone-mapped from {name}",)
    assert np.abs(frame.image.astype(int) - shown).mean() < 4


def test_hdr_is_told_by_its_transfer_function(tmp_path, monkeypatch):
    write_hdr(tmp_path / "a.ts", COLOURS, HLG)
    blocks = []

    class Halved:
        def reformat(self, frame, **_):
            blocks.append((frame.width, frame.height))
            pixels = (frame.to_ndarray(format="rgb48le") >> 9).astype(np.uint8)
            return av.VideoFrame.from_ndarray(pixels, format="rgb24")

    monkeypatch.setattr(tone_mapping._local, "reformatters", {(HLG, 9): Halved()}, raising=False)
    (frame,) = read_frames(tmp_path / "a.ts")
    assert frame.conversions == ("tone-mapped from HLG",)
    assert 40 < frame.image.max() < 128
    large = np.full((300, 500, 3), 2**15, np.uint16)
    assert (tone_mapping.tone_map(large, HLG, 2) == 64).all()
    assert set(blocks) == {(512, 256)}
    assert len(blocks) == 1 + 2


def test_wide_primaries_of_a_standard_video_become_srgb(tmp_path):
    light = (COLOURS / 255) ** 2.4
    wide = np.rint(255 * (light @ TO_BT2020.T) ** (1 / 2.4)).astype(np.uint8)
    options = {"x264-params": "colorprim=bt2020:transfer=bt709", "crf": "1"}
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv444p"
        picture = wide[None].repeat(48, 0).repeat(16, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = read_frames(path)
    assert np.abs(wide.astype(int) - COLOURS).max() > 30
    assert np.abs(frame.image[24, 8::16].astype(int) - COLOURS).max() < 10
    assert frame.conversions == ("primaries BT.2020 to sRGB",)


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    picture = np.full((48, 64, 3), 30, np.uint8)
    cv2.circle(picture, (32, 24), 12, (230, 230, 230), -1)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(3, 2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = read_frames(path)
    assert frame.image.shape == (48, 96, 3)
    rows, columns = np.nonzero(frame.image[..., 0] > 128)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(1.5, abs=0.1)
    assert frame.conversions == ("pixels of aspect 3:2 made square",)


@pytest.mark.parametrize(
    "matrix", [(x, 0, 0, y) for x in (1, -1) for y in (1, -1)]
    + [(0, x, y, 0) for x in (1, -1) for y in (1, -1)],
)  # fmt: skip
def test_turned_and_mirrored_as_the_display_matrix_says(tmp_path, matrix):
    picture = np.full((32, 64, 3), 20, np.uint8)
    picture[:16, :16] = 120
    picture[16:, :16] = 220
    path = write_movie(tmp_path / "a.mp4", [picture])
    data = path.read_bytes()
    one = 1 << 16
    a, b, c, d = (one * value for value in matrix)
    place = data.index(b"tkhd") + 4 + 40  # after the box's name and its other fields
    content = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    assert data[place : place + 4] == np.array(one, ">i4").tobytes()
    path.write_bytes(data[:place] + content + data[place + len(content) :])
    (frame,) = read_frames(path)
    # Each pixel (x, y) goes to (a x + c y, b x + d y).
    y, x = np.mgrid[:32, :64]
    to_x, to_y = (a * x + c * y) // one, (b * x + d * y) // one
    expected = np.zeros((np.ptp(to_y) + 1, np.ptp(to_x) + 1, 3), np.uint8)
    expected[to_y - to_y.min(), to_x - to_x.min()] = picture
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 4
    assert bool(frame.conversions) == (matrix != (1, 0, 0, 1))


@pytest.mark.parametrize(
    ("ending", "codec"), [("wmv", "wmv2"), ("mpg", "mpeg2video"), ("ts", "mpeg2video"),
                          ("3gp", "libx264")]
)  # fmt: skip
def test_videos_of_many_endings_are_read(tmp_path, ending, codec):
    grain = np.random.default_rng(1).integers(0, 40, (48, 64, 3))
    pictures = [(grain + 60 * i).astype(np.uint8) for i in range(3)]
    path = write_movie(tmp_path / f"a.{ending}", pictures, fps=25, codec=codec)
    assert [round(f.image.mean() - 20, -1) for f in read_frames(path)] == [0, 60, 120]
