"""The hardest errors of a detector: the reals most like fakes to it, the fakes most like reals."""

from collections.abc import Sequence

from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE, REAL, Dataset, Example
from rffr_jax.images.image_formats import encode_crop

FACE_SIZE = 160


def hardest_examples(predictions: Predictions, count: int) -> tuple[list[int], list[int]]:
    """The reals with the highest scores and the fakes with the lowest, the hardest first.

    Equal scores come in the order of data set and id.

    Args:
      count: of each at most.

    Returns:
      Indices of the reals, indices of the fakes.
    """
    examples, scores = predictions.examples, predictions.scores

    def ordered(label: int, sign: int) -> list[int]:
        own = [i for i, example in enumerate(examples) if example.label == label]
        return sorted(own, key=lambda i: (sign * scores[i], examples[i].dataset, examples[i].id))

    return ordered(REAL, -1)[:count], ordered(FAKE, 1)[:count]


def load_faces_as_png(
    dataset: Dataset | None, examples: Sequence[Example], size: int = FACE_SIZE
) -> list[bytes | None]:
    """The images of some examples as PNG files.

    Args:
      dataset: where they are looked up by data set and id.
      size: in pixels.

    Returns:
      The bytes of a file for each; None where the dataset has no such example or cannot read it.
    """
    there = {(e.dataset, e.id): i for i, e in enumerate(dataset.examples)} if dataset else {}
    faces: list[bytes | None] = []
    for example in examples:
        index = there.get((example.dataset, example.id))
        if dataset is None or index is None:
            faces.append(None)
            continue
        try:
            faces.append(encode_crop(dataset.load(index, size), "png"))
        except BadImageError:
            faces.append(None)
    return faces
