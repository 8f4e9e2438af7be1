"""Every kind of image file becomes 8-bit RGB, and whatever is no image says so."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from rffr_jax.errors import BadImageError
from rffr_jax.images import decode
from rffr_jax.images.decode import (
    MAX_PIXELS,
    decode_full_image,
    decode_image,
    read_full_image,
    read_image,
)

SIZE = 32


def ramp(height=SIZE, width=SIZE):
    """Smooth RGB pixels that are not the same when turned or mirrored."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x // max(width - 1, 1), 255 * y // max(height - 1, 1)
    return np.stack([red, green, (red + green) // 2], axis=-1).astype(np.uint8)


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width, height):
    """A PNG whose header claims a size, with no pixels behind it."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def reason(data):
    with pytest.raises(BadImageError) as caught:
        decode_image(data, SIZE, "the name")
    assert caught.value.name == "the name"
    assert "\n" not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixels_of_the_right_size_are_untouched(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(ramp()), kind, **options)
    result = decode_image(data, SIZE, "x")
    np.testing.assert_array_equal(result, ramp())
    assert result.dtype == np.uint8


def test_avif_is_read():
    data = encode(Image.fromarray(ramp()), "AVIF", quality=100, subsampling="4:4:4")
    assert np.abs(decode_image(data, SIZE, "x").astype(int) - ramp()).max() <= 3


def test_jpeg_is_decoded_as_opencv_does():
    data = encode(Image.fromarray(ramp(48, 48)), "JPEG", quality=90)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    difference = decode_image(data, 48, "x").astype(int) - other[..., ::-1]
    assert np.abs(difference).max() <= 1


def test_grey_becomes_three_equal_channels():
    grey = ramp()[..., 0]
    for kind in ("PNG", "JPEG"):
        result = decode_image(encode(Image.fromarray(grey), kind), SIZE, "x")
        np.testing.assert_array_equal(result[..., 0], result[..., 1])
        np.testing.assert_array_equal(result[..., 0], result[..., 2])
        assert np.abs(result[..., 0].astype(int) - grey).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind):
    deep = np.linspace(0, 65535, SIZE * SIZE).round().astype(np.uint16).reshape(SIZE, SIZE)
    result = decode_image(encode(Image.fromarray(deep), kind), SIZE, "x")
    exact = deep / 257.0
    assert np.abs(result - exact[..., None]).max() <= 1
    assert (result.min(), result.max()) == (0, 255)


def test_sixteen_bit_colour_is_scaled_and_not_clipped():
    deep = ramp().astype(np.uint16) * 257
    done, data = cv2.imencode(".png", deep[..., ::-1])
    assert done
    np.testing.assert_array_equal(decode_image(data.tobytes(), SIZE, "x"), ramp())


def test_cmyk_jpeg():
    image = Image.fromarray(ramp()).convert("CMYK")
    result = decode_image(encode(image, "JPEG", quality=100), SIZE, "x")
    assert np.abs(result.astype(int) - ramp()).mean() < 3


def test_palette():
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
    indices = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 3
    image = Image.fromarray(colours[indices]).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(decode_image(encode(image), SIZE, "x"), colours[indices])


def test_alpha_is_laid_over_black():
    pixels = np.dstack([ramp(), np.full((SIZE, SIZE), 255, np.uint8)])
    pixels[:8, :, 3] = 0
    pixels[8:16, :, 3] = 128
    result = decode_image(encode(Image.fromarray(pixels)), SIZE, "x").astype(int)
    assert result[:8].max() == 0
    np.testing.assert_allclose(result[8:16], ramp()[8:16] * (128 / 255), atol=1)
    np.testing.assert_array_equal(result[16:], ramp()[16:])


def test_transparent_colour_of_a_palette_is_laid_over_black():
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 250, 240, 230])
    assert decode_image(encode(image), SIZE, "x").max() == 250
    assert decode_image(encode(image, transparency=1), SIZE, "x").max() == 0
    assert decode_image(encode(image, transparency=bytes([255, 0])), SIZE, "x").max() == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "as_seen"),
    [
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (6, lambda stored: np.rot90(stored, -1)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation_is_applied(kind, orientation, as_seen):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = encode(Image.fromarray(ramp()), kind, exif=exif, **options)
    difference = decode_image(data, SIZE, "x").astype(int) - as_seen(ramp())
    assert np.abs(difference).max() <= 4


def test_the_centre_is_cut_out():
    wide = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    wide[:, SIZE // 2 : SIZE // 2 + SIZE] = ramp()
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(wide)), SIZE, "x"), ramp())
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    expected = ramp().transpose(1, 0, 2)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(tall)), SIZE, "x"), expected)


def test_shrinking_does_not_alias():
    # Stripes one pixel wide are mean grey at a sixth of the resolution; sampling would keep them.
    stripes = np.tile(np.array([0, 255], np.uint8), (6 * SIZE, 3 * SIZE))
    result = decode_image(encode(Image.fromarray(stripes)), SIZE, "x").astype(int)
    assert np.abs(result - 127.5).max() < 8


def test_enlarging_keeps_a_linear_ramp():
    result = decode_image(encode(Image.fromarray(ramp(16, 16))), 64, "x")[..., 0].astype(float)
    centres = (np.arange(64) + 0.5) / 4 - 0.5
    inside = (centres > 0) & (centres < 15)
    np.testing.assert_allclose(result[30, inside], 255 * centres[inside] / 15, atol=1.5)


def test_what_is_no_image():
    assert reason(b"") == "the file is empty"
    assert "not an image" in reason(bytes(5000))
    assert "not an image" in reason(b"some text, no image at all")
    assert "not an image" in reason(encode(Image.fromarray(ramp()), "GIF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_truncated_files(kind, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    assert reason(data[: int(part * len(data))])


def test_a_damaged_body():
    data = bytearray(encode(Image.fromarray(ramp(64, 64))))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    assert "damaged or truncated" in reason(bytes(data))


def test_too_small():
    assert "1 x 1 pixels" in reason(encode(Image.new("RGB", (1, 1))))
    assert "15 x 200 pixels" in reason(encode(Image.new("RGB", (15, 200))))
    assert decode_image(encode(Image.new("RGB", (16, 16))), SIZE, "x").shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("side", [9000, 10_000, 20_000, 2**31 - 1])
def test_too_large_is_found_before_decoding(side):
    # The file has no pixels: had they been asked for, the reason would be another.
    assert side * side > MAX_PIXELS
    assert "pixels are too many" in reason(png_header(side, side))


def test_samples_without_a_scale_are_refused():
    image = Image.fromarray(np.ones((SIZE, SIZE), np.float32))
    assert "kind 'F'" in reason(encode(image, "TIFF"))


def test_files_that_cannot_be_read(tmp_path):
    for path, words in [
        (tmp_path / "missing.png", "no such file"),
        (tmp_path, "is a directory"),
        (f"{tmp_path}/a\0b.png", "null"),
        (tmp_path / ("a" * 300), "file name too long"),
    ]:
        with pytest.raises(BadImageError, match=words) as caught:
            read_image(path, SIZE)
        assert caught.value.name == str(path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImageError, match="empty"):
        read_image(tmp_path / "empty.jpg", SIZE)


class FailingDisk(io.FileIO):
    """A file that cannot be read from its middle on."""

    def readinto(self, buffer) -> int:
        half = os.fstat(self.fileno()).st_size // 2
        if self.tell() >= half:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[: half - self.tell()]) or 0

    def readall(self) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_failing_disk_is_not_the_fault_of_the_file(tmp_path, monkeypatch, kind):
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    path = tmp_path / "a"
    path.write_bytes(encode(Image.fromarray(noise), kind))
    assert read_image(path, SIZE).shape == (SIZE, SIZE, 3)

    def failing(name, *_):
        return io.BufferedReader(FailingDisk(name))

    monkeypatch.setattr(decode, "open", failing, raising=False)
    for read in (lambda: read_image(path, SIZE), lambda: read_full_image(path)):
        with pytest.raises(OSError, match="Input/output error") as caught:
            read()
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT])
def test_lack_of_something_is_not_the_fault_of_the_file(tmp_path, monkeypatch, number):

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(decode, "open", fail, raising=False)
    with pytest.raises(OSError, match=os.strerror(number)):
        read_image(tmp_path / "a.png", SIZE)


def test_lack_of_memory_is_not_the_fault_of_the_file(monkeypatch):

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        decode_image(encode(Image.new("L", (SIZE, SIZE)), "BMP"), SIZE, "x")


def test_a_file_gives_the_same_pixels_as_its_bytes(tmp_path):
    data = encode(Image.fromarray(ramp(50, 70)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.jpg", SIZE), decode_image(data, SIZE, "x")
    )


def test_pillows_warnings_do_not_leak(tmp_path):
    # An own process: pytest turns warnings into errors and so hides what a user would see.
    (tmp_path / "large.png").write_bytes(png_header(12_000, 12_000))
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 250, 240, 230])
    image.save(tmp_path / "palette.png", transparency=bytes([255, 0]))
    program = """if True:
        import sys
        from PIL import Image
        from rffr_jax.images.decode import read_image
        from rffr_jax.errors import BadImageError
        read_image(sys.argv[1] + "/palette.png", 32)
        try:
            read_image(sys.argv[1] + "/large.png", 32)
        except BadImageError as error:
            print(error.reason)
        Image.open(sys.argv[1] + "/large.png").close()  # warns, were it not for decode.py
    """
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "12000 x 12000 pixels are too many" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (50706, b"\x01\x04\x00\x00", "a RAW file; export it as JPEG or PNG"),
        (254, 1, "a RAW file, or a TIFF that begins with a small preview"),
    ],
)
def test_the_preview_of_a_raw_photograph_is_not_taken_for_it(tag, value, reason):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = value
    stream, preview = io.BytesIO(), Image.new("RGB", (32, 32))
    preview.save(
        stream, "TIFF", tiffinfo=tags, save_all=True, append_images=[Image.new("RGB", (64, 64))]
    )
    with pytest.raises(BadImageError, match=reason):
        decode_full_image(stream.getvalue(), "a.dng")
