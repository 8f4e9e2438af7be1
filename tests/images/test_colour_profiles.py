"""Colour profiles, EXIF orientation and HEIC: what is done to a photograph is said."""

import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from rffr_jax.images import decode
from rffr_jax.images.decode import (
    read_image,
    read_photograph,
)
from tests.images.test_decode import SIZE, ramp, reason

# The primaries of Display P3 and sRGB as XYZ under D50, by colour.
P3 = np.array([[0.5151, 0.2412, -0.0011], [0.292, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
SRGB = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])


def make_profile(primaries, name="Display P3", space=b"RGB "):
    """An ICC profile of version 2, gamma 2.2."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + np.round(np.array(values) * 65536).astype(">i4").tobytes()

    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": xyz([0.9642, 1, 0.8249]),
        **{f"{c}XYZ".encode(): xyz(p) for c, p in zip("rgb", primaries, strict=True)},
        **{f"{c}TRC".encode(): b"curv\0\0\0\0\0\0\0\1\2\x33\0\0" for c in "rgb"},
    }
    table, content = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", 0, b"test", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + xyz([0.9642, 1, 0.8249])[8:]
    profile = head.ljust(128, b"\0") + table + content
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_of_a_profile_become_srgb(tmp_path, mode):
    colours = np.array([[200, 80, 60], [60, 160, 90], [224, 172, 150], [128, 128, 128]], np.uint8)
    pixels = colours.repeat(8, 0)[None].repeat(SIZE, 0)
    image = Image.fromarray(pixels)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png", icc_profile=make_profile(P3))
    found, conversions = read_photograph(tmp_path / "a.png")
    light = (colours / 255) ** (2 + 0x33 / 256) @ P3 @ np.linalg.inv(SRGB)
    light = light.clip(0, 1)
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(found[0, 4::8] - expected).max() < 2
    assert np.abs(expected - colours).max() > 10
    assert conversions == ("colour profile Display P3 to sRGB",)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", SIZE), found)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (make_profile(SRGB, "sRGB IEC61966-2.1"), ()),
        (b"no profile", ("colour profile not used: it is damaged or of another kind of image",)),
        (make_profile(P3)[:200], ("colour profile not used: it is damaged or of another kind of "
                                  "image",)),
    ],
)  # fmt: skip
def test_pixels_stay_where_a_profile_is_srgb_or_cannot_be_used(tmp_path, profile, said):
    Image.fromarray(ramp()).save(tmp_path / "a.png", icc_profile=profile)
    found, conversions = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, ramp())
    assert conversions == said


def test_turned_photographs_say_so(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 5
    Image.fromarray(ramp(SIZE, 48)).save(tmp_path / "a.png", exif=exif)
    found, conversions = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, ramp(SIZE, 48).transpose(1, 0, 2))
    assert conversions == ("turned by EXIF orientation 5",)


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_means_nothing_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(ramp(SIZE, 48)).save(tmp_path / "a.png", exif=exif)
    found, conversions = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, ramp(SIZE, 48))
    assert conversions == ()
    np.testing.assert_array_equal(
        decode.read_full_image(tmp_path / "a.png", turn=False), ramp(SIZE, 48)
    )


def test_heic_needs_a_package_and_says_which(monkeypatch):
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decode.supported_formats.cache_clear()
    assert reason(heic) == (
        "HEIC photographs are read by pillow-heif; pip install 'rffr-jax[heic]'"
    )
    registered = []
    package = types.SimpleNamespace(register_heif_opener=lambda: registered.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    decode.supported_formats.cache_clear()
    assert decode.supported_formats()[-1] == "HEIF"
    assert registered == [1]
    decode.supported_formats.cache_clear()
