"""What the head of an image or video file says of how the file was saved."""

import hashlib
import os
from typing import NamedTuple

from PIL import Image


class FileHeader(NamedTuple):
    """How a file was saved.

    Attributes:
      ending: of the file's name, in lower case.
      format: of an image as Pillow calls it, of a video its codec as FFmpeg calls it.
      size: width and height in pixels, as stored.
      tables: digest of the quantisation tables of a JPEG; empty for other formats.
    """

    ending: str
    format: str
    size: tuple[int, int]
    tables: str = ""

    def to_text(self) -> str:
        """`.jpg JPEG 640x480 5f3a...`, for `from_text`."""
        ending = self.ending.replace(" ", "_") or "."
        return f"{ending} {self.format} {self.size[0]}x{self.size[1]} {self.tables}".rstrip()

    @classmethod
    def from_text(cls, text: str) -> "FileHeader | None":
        """What `to_text` gave; None for another text."""
        try:
            ending, image_format, size, *tables = text.split(" ")
            width, height = map(int, size.split("x"))
        except ValueError:
            return None
        return cls(ending, image_format, (width, height), "".join(tables))


def file_ending(path: str | os.PathLike[str]) -> str:
    """`.jpg` of a file's name, in lower case."""
    return os.path.splitext(os.fspath(path))[1].lower()


def read_image_header(path: str | os.PathLike[str]) -> FileHeader | None:
    """The header of an image file; None where Pillow cannot tell: who reads the pixels names it."""
    try:
        with Image.open(path) as image:
            tables = [list(table) for table in getattr(image, "quantization", {}).values()]
            digest = hashlib.sha256(repr(tables).encode()).hexdigest()[:16] if tables else ""
            return FileHeader(file_ending(path), image.format or "", image.size, digest)
    except Exception:  # Pillow has many for a damaged file
        return None
