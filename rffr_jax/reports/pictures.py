"""Pictures inside a page, so that one file holds all of it."""

import base64
import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image

from rffr_jax.images.image_formats import encode_jpeg

WIDE = 700


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture for the macro `figure`.

    Attributes:
      data_uri: a data address that holds the file.
      width, height: in pixels.
      caption: plain text, of which a reader who cannot see the picture is told, too.
    """

    data_uri: str
    width: int
    height: int
    caption: str

    @property
    def is_wide(self) -> bool:
        """Whether it is to be moved sideways on a phone, so that it can be read."""
        return self.width > WIDE


def picture_from_bytes(data: bytes, caption: str) -> Picture:
    """Of the bytes of a PNG or JPEG file."""
    with Image.open(io.BytesIO(data)) as image:
        address = data_uri(data, Image.MIME[image.format or "PNG"])
        return Picture(address, *image.size, caption)


def picture_from_file(path: pathlib.Path, most: int, caption: str) -> Picture:
    """Of a PNG file; one of more than `most` bytes as a JPEG, made smaller until it fits."""
    data = path.read_bytes()
    if len(data) <= most:
        return picture_from_bytes(data, caption)
    with Image.open(path) as image:
        full = image.convert("RGB")
    width, height = full.size
    while len(data) > most and min(width, height) > 16:
        data = encode_jpeg(np.asarray(full.resize((width, height))), 90)
        width, height = width * 4 // 5, height * 4 // 5
    return picture_from_bytes(data, f"{caption} (compressed to fit here; the file is {path.name})")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a MIME type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
