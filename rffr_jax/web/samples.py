"""Sample pictures for a person who has none at hand: faces that the program draws, a photograph."""

import functools
import importlib.util
import io
import pathlib

import numpy as np
from PIL import Image

SEED, SIZE = 26, 384
DRAWN, MANIPULATED, PHOTOGRAPH = "drawn-face.png", "drawn-face-manipulated.png", "photograph.png"


def sample_titles() -> dict[str, str]:
    """What each sample shows, by its name."""
    titles = {
        DRAWN: "a drawn face",
        MANIPULATED: "a drawn face with another one pasted in",
    }
    if _photograph():
        titles[PHOTOGRAPH] = "a photograph of an astronaut (NASA, public domain)"
    return titles


@functools.cache
def sample_picture(name: str) -> bytes:
    """A PNG file.

    Args:
      name: one of `sample_titles`.
    """
    if name == PHOTOGRAPH:
        photograph = _photograph()
        assert photograph is not None
        return photograph.read_bytes()
    from rffr_jax.synthetic.manipulations import manipulate
    from rffr_jax.synthetic.procedural_face import render_face

    face, donor = (render_face(SEED, identity, SIZE) for identity in (0, 1))
    image = face.image
    if name == MANIPULATED:
        image = manipulate("polygon_paste", face, donor, np.random.default_rng(SEED)).image
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _photograph() -> pathlib.Path | None:
    """A free photograph of scikit-image, where that is installed."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return None
    file = pathlib.Path(found.origin).parent / "data/astronaut.png"
    return file if file.is_file() else None
