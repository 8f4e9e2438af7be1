"""Sheets of images, every pixel of an image a pixel (or a square of them) on paper."""

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from rffr_jax.runs.atomic_files import atomic_write

IMAGE_SIZE = 192
GAP = 8
FONT_SIZE = 15
NOTE_FONT_SIZE = 11


def image_pixels(image: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """An image in [0, 1] as 8-bit pixels; values outside are clipped."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def residual_pixels(
    residual: Float[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """A residual in [-1, 1] as 8-bit pixels (r + 1) / 2: no difference is mid-grey."""
    return image_pixels((residual + 1.0) / 2.0)


def contact_sheet(
    path: str | Path,
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    note: str = "",
    row_titles: Sequence[str] = (),
) -> None:
    """Writes the PNG of `draw_contact_sheet`."""
    write_png(path, draw_contact_sheet(rows, titles, note, row_titles))


def write_png(path: str | Path, image: Image.Image, compress_level: int = 6):
    """Writes an RGB image as PNG, whole or not at all.

    Every row is stored as its difference from the row above, which is nothing for most rows of
    enlarged pixels; a search for the best filter of every row takes twice the time.

    Args:
      compress_level: 1 is the fastest, 9 gives the smallest file.
    """
    how = [cv2.IMWRITE_PNG_COMPRESSION, compress_level]
    how += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    _, data = cv2.imencode(".png", cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), how)
    with atomic_write(path) as part:
        part.write_bytes(data.tobytes())


def draw_contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    note: str = "",
    row_titles: Sequence[str] = (),
) -> Image.Image:
    """Images in rows and columns, pixel by pixel, with a title over each column.

    Images smaller than about 192 pixels are enlarged by a whole factor, each pixel to a square.

    Args:
      rows: equally many uint8 [height, width, 3] images a row, all of one size
        (`image_pixels` and `residual_pixels` make them).
      titles: one a column.
      note: drawn small under the images; the place for what the data are.
      row_titles: one a row, to the left of it; none by default.

    Raises:
      ValueError: no image, rows of another length than `titles`, another number of rows than of
        `row_titles`, or images that differ in size.
    """
    if not rows or not titles or any(len(row) != len(titles) for row in rows):
        raise ValueError(f"need rows of {len(titles)} images, got {[len(row) for row in rows]}")
    if row_titles and len(row_titles) != len(rows):
        raise ValueError(f"need {len(rows)} titles of rows, got {len(row_titles)}")
    forms = {(image.shape, image.dtype.name) for row in rows for image in row}
    height, width, *_ = shape = rows[0][0].shape
    if forms != {(shape, "uint8")} or shape != (height, width, 3):
        raise ValueError(f"need uint8 [height, width, 3] images of one size, got {sorted(forms)}")

    factor = max(1, round(IMAGE_SIZE / max(height, width)))
    height, width = factor * height, factor * width
    column = max(width, *(_text_width(title, FONT_SIZE) for title in titles))
    top = FONT_SIZE + 2 * GAP
    margin = GAP + max((_text_width(title, FONT_SIZE) + GAP for title in row_titles), default=0)
    sheet_width = margin + len(titles) * (column + GAP)
    bottom = top + len(rows) * (height + GAP)
    lines = _wrapped(note, sheet_width - 2 * GAP)
    line_height = NOTE_FONT_SIZE + GAP // 2
    sheet = Image.new("RGB", (sheet_width, bottom + len(lines) * line_height), "white")
    for number, line in enumerate(lines):
        _draw_text(sheet, (GAP, bottom + number * line_height), line, NOTE_FONT_SIZE, "la")
    for i, title in enumerate(row_titles):
        _draw_text(sheet, (GAP, top + i * (height + GAP) + height // 2), title, FONT_SIZE, "lm")
    for j, title in enumerate(titles):
        left = margin + j * (column + GAP)
        _draw_text(sheet, (left + column // 2, top // 2), title, FONT_SIZE, "mm")
        for i, row in enumerate(rows):
            corner = (left + (column - width) // 2, top + i * (height + GAP))
            sheet.paste(Image.fromarray(enlarge(row[j], factor)), corner)
    return sheet


def enlarge(
    image: UInt8[np.ndarray, "height width 3"], factor: int
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Every pixel as a square of `factor` x `factor` pixels."""
    if factor == 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def _draw_text(image: Image.Image, place: tuple[int, int], text: str, size: int, anchor: str):
    """Writes a line of black text whose anchor of Pillow, such as `lm` (left, middle), is there."""
    if text:
        mask, (left, top) = _text_mask(text, size, anchor)
        image.paste("black", (place[0] + left, place[1] + top), mask)


@functools.lru_cache(maxsize=4096)
def _text_width(text: str, size: int) -> int:
    """In pixels, rounded up."""
    return int(np.ceil(load_font(size).getlength(text)))


@functools.lru_cache(maxsize=512)
def _text_mask(text: str, size: int, anchor: str) -> tuple[Image.Image, tuple[int, int]]:
    """The letters, and where they begin from the anchor; most texts of many sheets are equal."""
    left, top, right, bottom = map(int, load_font(size).getbbox(text, anchor=anchor))
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=load_font(size), anchor=anchor)
    return mask, (left, top)


@functools.cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has the letters of most languages and comes with matplotlib."""
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(file, size)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most a width in pixels; a longer word has a line of its own."""
    lines: list[str] = []
    space, used = _text_width(" ", NOTE_FONT_SIZE), 0
    for word in text.split():
        longer = used + space + _text_width(word, NOTE_FONT_SIZE)
        if lines and longer <= width:
            lines[-1], used = f"{lines[-1]} {word}", longer
        else:
            lines.append(word)
            used = longer - used - space
    return lines
