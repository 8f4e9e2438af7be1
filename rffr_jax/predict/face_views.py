"""The images of a face's evidence one by one, and the crops of its frames, for the web page."""

import pathlib
from typing import Any

import numpy as np
from PIL import Image

from rffr_jax.predict.evidence import NO_CAUSE, colour_strip, describe_heat
from rffr_jax.predict.prediction import FacePrediction

COLOURS = 256
CROP_QUALITY = 85  # JPEG


def write_views(workdir: pathlib.Path, place: str, face: FacePrediction) -> dict[str, Any]:
    """Writes the images of a face that has a score.

    Args:
      place: the start of the images' paths, relative to the workdir.

    Returns:
      `views`: `name`, `title` and `picture` of each image, a path relative to the workdir.
      `heat_scale`: the `labels` from 0 to the top, the `colours` between them as a picture, and
      their `meaning`; None without heat. `frames`: those of the record, each of several with the
      `picture` of its crop.
    """
    shown = face.explanation
    assert shown is not None

    def write(name: str, image: np.ndarray) -> str:
        file = f"{place}-{name}"
        Image.fromarray(image).save(workdir / file, quality=CROP_QUALITY)
        return file

    views = [
        {"name": name, "title": shown.title(name), "picture": write(f"{name}.png", image)}
        for name, image in shown.views().items()
    ]
    scale = None
    if shown.heat is not None:
        scale = {
            "labels": [" ".join(text.split()) for text in reversed(shown.heat_scale.labels)],
            "colours": write("colours.png", colour_strip(COLOURS, shown.heat_scale)[None]),
            "meaning": f"{describe_heat(shown.reference)} {NO_CAUSE}",
        }
    frames = face.record["frames"]
    if len(frames) > 1:
        frames = [
            frame | {"picture": write(f"crop{frame['frame']}.jpg", crop)}
            for frame, crop in zip(frames, face.crops, strict=True)
        ]
    return {"views": views, "heat_scale": scale, "frames": frames}
