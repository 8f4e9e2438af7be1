"""The hardest errors against a loop, and their pictures."""

import io

import numpy as np
from PIL import Image

from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example
from rffr_jax.experiments.report import hardest_examples, load_faces_as_png


def example(number: int, label: int) -> Example:
    name = f"{number:02d}"
    return Example(name, name, label, "d", "swap" if label else "real", name, 0, name)


def test_the_hardest_are_those_a_loop_finds():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 40)
    scores = rng.integers(0, 12, 40) / 12  # many ties
    predictions = Predictions([example(i, int(y)) for i, y in enumerate(labels)], scores)
    left = {0: {i for i in range(40) if not labels[i]}, 1: {i for i in range(40) if labels[i]}}
    expected = {0: [], 1: []}
    for label, worse in ((0, lambda a, b: a > b), (1, lambda a, b: a < b)):
        for _ in range(7):
            hardest = min(left[label])
            for i in sorted(left[label]):
                if worse(scores[i], scores[hardest]):
                    hardest = i
            expected[label].append(hardest)
            left[label].remove(hardest)
    assert hardest_examples(predictions, 7) == (expected[0], expected[1])
    reals, fakes = hardest_examples(predictions, 100)
    assert sorted(reals + fakes) == list(range(40))


class Faces:
    """Number i is a picture of grey i; number 1 is broken."""

    examples = tuple(example(i, 0) for i in range(5))

    def load(self, index: int, size: int) -> np.ndarray:
        if index == 1:
            raise BadImageError("01", "broken")
        return np.full((size, size, 3), index, np.uint8)


def test_faces_are_looked_up_by_data_set_and_id():
    stranger = example(9, 0)
    other = Example("02", "02", 0, "another", "real", "02", 0, "02")
    faces = load_faces_as_png(
        Faces(), [example(3, 0), example(1, 0), stranger, other, example(0, 0)], 24
    )
    assert [face is None for face in faces] == [False, True, True, True, False]
    for face, grey in ((faces[0], 3), (faces[4], 0)):
        assert face is not None
        with Image.open(io.BytesIO(face)) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), np.full((24, 24, 3), grey))
    assert load_faces_as_png(None, [stranger]) == [None]
