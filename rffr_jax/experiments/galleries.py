"""Galleries of residuals: a real beside the fakes made of it (the paper's Fig. 3 and 4)."""

import pathlib
from collections.abc import Mapping

import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.config import Config
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.selection import select_examples
from rffr_jax.errors import UserError
from rffr_jax.evaluation.residuals import residual_arrays, to_pixels
from rffr_jax.examples import FAKE, REAL, Dataset
from rffr_jax.reports.contact_sheet import contact_sheet
from rffr_jax.runs.atomic_files import atomic_write

SOURCES = 4


def same_sources(dataset: Dataset, count: int) -> tuple[list[str], list[list[int]]]:
    """Reals, each with a fake of every manipulation made of it.

    Of a video the middle frame is taken, and of its fakes the frame that is nearest to it. Only
    sources with as many manipulations as the fullest one are taken, in the order of the data.

    Args:
      count: how many sources at most.

    Returns:
      The titles of the columns, "real" and the manipulations by name; for each source the indices
      of its images in that order.

    Raises:
      UserError: no fake has its real beside it.
    """
    images: dict[tuple[str, str, str], dict[str, list[int]]] = {}
    for index, example in enumerate(dataset.examples):
        method = "real" if example.label == REAL else example.method
        source = (example.spec, example.dataset, example.source)
        images.setdefault(source, {}).setdefault(method, []).append(index)
    pairs = [found for found in images.values() if "real" in found and len(found) > 1]
    if not pairs:
        fakes = sum(example.label == FAKE for example in dataset.examples)
        raise UserError(
            f"none of {fakes} fakes has the real that it was made from beside it; name a data set "
            "that tells the sources of its fakes"
        )
    methods = sorted(set(max(pairs, key=len)) - {"real"})

    def frame(index: int) -> int:
        return dataset.examples[index].frame

    rows = []
    for found in pairs:
        if not found.keys() >= set(methods):
            continue
        reals = sorted(found["real"], key=frame)
        real = reals[len(reals) // 2]
        nearest = [min(found[m], key=lambda i: abs(frame(i) - frame(real))) for m in methods]
        rows.append([real, *nearest])
    return ["real", *methods], rows[:count]


def draw_gallery(
    stem: pathlib.Path,
    dataset: Dataset,
    autoencoders: Mapping[str, pathlib.Path],
    mesh: Mesh,
    config: Config,
    *,
    sources: int = SOURCES,
) -> pathlib.Path:
    """Writes STEM.png and STEM.pdf: columns of a real and its fakes; below each original what every
    autoencoder makes of it, and the residual.

    Args:
      stem: where to, without a suffix.
      dataset: that `same_sources` finds its images in.
      autoencoders: for every name, such as "MAE", what `residual_arrays` takes. Pictures of another
        image size than that of the last one are resized to it.
      config: `batch_size`, `dtype` and `data` of an evaluation.
      sources: that are shown at most.

    Returns:
      The path of the PNG.

    Raises:
      UserError: as `same_sources`; an image cannot be used.
    """
    titles, indices = same_sources(dataset, sources)
    chosen = [index for row in indices for index in row]
    shown = select_examples(dataset, chosen)
    made: dict[str, list[UInt8[np.ndarray, "height width 3"]]] = {}
    for name, folder in autoencoders.items():
        index, arrays = residual_arrays(shown, folder, mesh, config)
        if len(index) < len(chosen):
            bad = min(set(range(len(chosen))) - set(index.tolist()))
            raise UserError(f"{shown.examples[bad].path} cannot be used in a gallery; mend it")
        made["original"], made[name], made[f"{name}: residual"] = to_pixels(arrays)
    side = len(made["original"][0])
    made = {name: [_resized(picture, side) for picture in made[name]] for name in made}
    rows, row_titles = [], []
    for first in range(0, len(chosen), len(titles)):
        rows += [pixels[first : first + len(titles)] for pixels in made.values()]
        row_titles += made
    png = stem.with_suffix(".png")
    contact_sheet(png, rows, titles, synthetic_data_note(shown.examples), row_titles)
    picture_as_pdf(png)
    return png


def _resized(
    picture: UInt8[np.ndarray, "old old 3"], side: int
) -> UInt8[np.ndarray, "side side 3"]:
    if len(picture) == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def picture_as_pdf(png: pathlib.Path):
    """Writes the picture of a PNG file as the one page of a PDF beside it (JPEG at quality 95)."""
    with Image.open(png) as image, atomic_write(png.with_suffix(".pdf")) as part:
        image.convert("RGB").save(
            part,
            format="PDF",
            resolution=120.0,
            quality=95,
            subsampling=0,
            creationDate=None,
            modDate=None,
        )
