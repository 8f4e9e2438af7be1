"""Colours that a file names by code points: HDR and wide primaries of photographs."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import BadImageError
from rffr_jax.images import cicp
from rffr_jax.images.cicp import CodePoints, convert_to_srgb, read_code_points
from rffr_jax.images.decode import decode_image, read_photograph
from tests.faces.test_picture_as_shown import COLOURS, HLG, PQ, TO_BT2020, encode_hlg, encode_pq
from tests.images.test_colour_profiles import SRGB, make_profile

NCLX = b"colrnclx"
P3, BT2020, SRGB_TRANSFER, BT709 = 12, 9, 13, 1
# From Display P3 to sRGB in linear light, as CSS Color 4 gives it.
P3_TO_SRGB = np.array(
    [[1.22494, -0.22494, 0], [-0.042057, 1.042057, 0], [-0.019638, -0.078636, 1.098274]]
)


def stripes(colours):
    return np.repeat(colours[None], 32, 0).repeat(16, 1).astype(np.uint8)


def avif(pixels, colour, profile=None):
    """A file that names its colours by `colour`, and by a profile."""
    stream = io.BytesIO()
    options = {"icc_profile": profile} if profile else {}
    Image.fromarray(pixels).save(stream, "AVIF", quality=100, subsampling="4:4:4", **options)
    data = stream.getvalue()
    place = data.index(NCLX) + len(NCLX)
    return data[:place] + struct.pack(">HH", *colour) + data[place + 4 :]


def png(pixels, colour, profile=None):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", icc_profile=profile)
    data = stream.getvalue()
    chunk = b"cICP" + bytes([*colour, 0, 1])
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    place = data.index(b"IDAT") - 4
    return data[:place] + chunk + data[place:]


def to_srgb(light):
    light = light.clip(0, 1)
    return 255 * np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("encode", [avif, png])
def test_display_p3_without_a_profile_becomes_srgb(tmp_path, encode):
    (tmp_path / "a").write_bytes(encode(stripes(COLOURS), (P3, SRGB_TRANSFER)))
    found, conversions = read_photograph(tmp_path / "a")
    value = COLOURS / 255
    light = np.where(value < 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    expected = to_srgb(light @ P3_TO_SRGB.T)
    assert np.abs(expected - COLOURS).max() > 10
    assert np.abs(found[16, 8::16] - expected).max() < 4
    assert conversions == ("primaries Display P3 to sRGB",)


@pytest.mark.parametrize("primaries", cicp.WIDE_PRIMARIES)
def test_grey_stays_and_no_level_is_lost(primaries):
    grey = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    found, _ = convert_to_srgb(grey, CodePoints(primaries, BT709))
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_colours_of_bt2020_are_those_of_the_standard():
    light = (COLOURS / 255) ** 2.4
    wide = np.rint(to_srgb(light @ TO_BT2020.T)).astype(np.uint8)[None]
    found, conversions = convert_to_srgb(wide, CodePoints(BT2020, BT709))
    assert np.abs(found[0] - to_srgb(light)).max() < 4
    assert conversions == ("primaries BT.2020 to sRGB",)


@pytest.mark.slow  # swscale's table takes seconds
@pytest.mark.parametrize(("transfer", "name"), [(HLG, "HLG"), (PQ, "PQ")])
def test_hdr_photographs_are_shown_as_their_originals(tmp_path, transfer, name):
    light = (COLOURS / 255) ** 2.4 @ TO_BT2020.T
    signal = encode_hlg(light) if transfer == HLG else encode_pq(light)
    (tmp_path / "a.avif").write_bytes(avif(stripes(255 * signal), (BT2020, transfer)))
    found, conversions = read_photograph(tmp_path / "a.avif")
    assert conversions == (f"tone-mapped from {name}",)
    assert np.abs(found.astype(int) - stripes(COLOURS)).mean() < 8


def test_hdr_without_the_decoder_of_videos_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadImageError, match="HDR photographs are tone-mapped by PyAV; pip install"):
        decode_image(avif(stripes(COLOURS), (BT2020, PQ)), 32, "a")


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        ((1, 13), ()),
        ((2, 2), ()),
        ((6, 6), ()),
        ((11, 1), ("primaries 11 of H.273 taken as sRGB's",)),
        ((1, 8), ("transfer function 8 of H.273 taken as sRGB's",)),
    ],
)
def test_other_colours_are_left_and_named(tmp_path, colour, said):
    (tmp_path / "a.png").write_bytes(png(stripes(COLOURS), colour))
    found, conversions = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, stripes(COLOURS))
    assert conversions == said


@pytest.mark.parametrize("encode", [avif, png])
def test_profiles_go_before_code_points_except_in_png(tmp_path, encode):
    (tmp_path / "a").write_bytes(
        encode(stripes(COLOURS), (P3, SRGB_TRANSFER), make_profile(SRGB, "mine"))
    )
    said = ("primaries Display P3 to sRGB",) if encode is png else ("colour profile mine to sRGB",)
    assert read_photograph(tmp_path / "a")[1] == said


def box(kind, *content):
    content = b"".join(content)
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("wide", [False, True])
def test_colours_are_those_of_the_primary_item(wide):
    """A gain map has colours of HDR; the picture that is read is another item."""
    item, number = (">I", ">H") if wide else (">H", ">B")

    def entry(identity, *properties):
        essential = 0x8000 if wide else 0x80
        numbers = b"".join(struct.pack(number, essential | p) for p in properties)
        return struct.pack(item, identity) + bytes([len(properties)]) + numbers

    def nclx(*colour):
        return box(b"colr", b"nclx", struct.pack(">HHHB", *colour, 6, 128))

    profile = box(b"colr", b"prof", b"of an older viewer")
    flags = bytes([wide, 0, 0, wide])
    table = flags + struct.pack(">I", 2) + entry(7, 1) + entry(3, 2, 3)
    meta = box(
        b"meta", bytes(4),
        box(b"pitm", bytes([wide, 0, 0, 0]), struct.pack(item, 3)),
        box(b"iprp", box(b"ipco", nclx(9, PQ), profile, nclx(12, 13)), box(b"ipma", table)),
    )  # fmt: skip
    data = box(b"ftyp", b"heic") + meta
    assert read_code_points(io.BytesIO(data)) == (12, 13)
    for end in range(0, len(data), 7):
        read_code_points(io.BytesIO(data[:end]))  # a file that is cut off raises nothing


@pytest.mark.parametrize(
    "save",
    [{"format": "JPEG", "dpi": (72, 144)}, {"format": "PNG", "dpi": (144, 72)}],
)
def test_pixels_that_a_density_calls_not_square_are_named(tmp_path, save):
    Image.fromarray(stripes(COLOURS)).save(tmp_path / "a", **save)
    found, conversions = read_photograph(tmp_path / "a")
    assert found.shape == stripes(COLOURS).shape
    x, y = save["dpi"]
    assert conversions == (
        f"pixels taken as square, though the file's densities are {x:.0f} and {y:.0f}",
    )


@pytest.mark.parametrize("densities", [(72, 72), (299.99, 300), (0, 72)])
def test_densities_that_agree_or_say_nothing_are_not_named(tmp_path, densities):
    Image.fromarray(stripes(COLOURS)).save(tmp_path / "a.jpg", dpi=densities)
    assert read_photograph(tmp_path / "a.jpg")[1] == ()


@pytest.mark.parametrize(("kind", "value"), [(2, b"abc\0"), (7, b"\1\2\3\4")])
def test_densities_that_are_no_numbers_do_not_spoil_an_image(tmp_path, kind, value):
    fields = [struct.pack("<HHI", tag, kind, 4) + value for tag in (0x011A, 0x011B)]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + b"".join(fields) + bytes(4)
    Image.fromarray(stripes(COLOURS)).save(tmp_path / "a.jpg", exif=exif)
    assert read_photograph(tmp_path / "a.jpg")[1] == ()
