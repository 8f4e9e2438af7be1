"""A sign that whole frames were given where crops of faces are meant: their shape.

No face finder is asked: a square picture with a small face is not noticed.
"""

import collections
from collections.abc import Sequence

from PIL import Image

from rffr_jax.examples import Example

LOOKED_AT = 32  # images of a data set, evenly spaced; only their headers are read
WIDEST, TALLEST = 1.3, 1.6  # width over height and height over width of a crop of a face


def describe_frames_as_crops(examples: Sequence[Example]) -> list[str]:
    """One line for each data set of which most images are as wide or tall as frames are."""
    by_dataset = collections.defaultdict(list)
    for example in examples:
        by_dataset[example.dataset].append(example.path)
    lines = []
    for dataset, paths in sorted(by_dataset.items()):
        sizes = [picture_size(path) for path in paths[:: -(-len(paths) // LOOKED_AT)]]
        known = [size for size in sizes if size]
        frames = [(w, h) for w, h in known if w > WIDEST * h or h > TALLEST * w]
        if 2 * len(frames) > len(known):
            width, height = frames[0]
            lines.append(
                f"dataset '{dataset}': {len(frames)} of {len(known)} images looked at are wide or "
                f"tall as whole frames are (such as {width} x {height}), and only their middle "
                "square is used: if they are no crops of faces, make crops with "
                "scripts/prepare_faces.py"
            )
    return lines


def picture_size(path: str) -> tuple[int, int] | None:
    """Width and height from a file's header; None where there is no such picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # made on the fly, a prepared record, or a bad file that reading names
