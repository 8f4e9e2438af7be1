"""Galleries: a real beside its own fakes, and every picture in its place."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.residuals import residual_arrays
from rffr_jax.examples import Example
from rffr_jax.experiments.galleries import draw_gallery, same_sources
from rffr_jax.reports.contact_sheet import residual_pixels
from tests import jobs

CONFIG = ConfigDict(
    {"batch_size": 4, "dtype": "float32", "data": {"workers": 0, "max_bad_fraction": 0.0}}
)


class Frames:
    """Videos a, b, c of five frames; of c no `swap` was made, and fakes have fewer frames."""

    def __init__(self, rng):
        def example(source, method, frame):
            name = f"{source}/{method}/{frame}"
            return Example(name, name, int(method != "real"), "d", method, name, frame, source)

        there = [("a", "real", range(5)), ("a", "warp", (0, 3)), ("a", "swap", (1, 4))]
        there += [("b", "real", range(5)), ("b", "warp", (2,)), ("b", "swap", (0, 1))]
        there += [("c", "real", range(5)), ("c", "warp", range(5))]
        listed = [example(s, m, frame) for s, m, frames in there for frame in frames]
        self.examples = [listed[i] for i in rng.permutation(len(listed))]

    def load(self, index, size):
        raise AssertionError("choosing needs no pixels")


@pytest.mark.parametrize("seed", range(4))
def test_a_real_stands_beside_the_nearest_frames_of_its_fakes(seed):
    dataset = Frames(np.random.default_rng(seed))
    titles, rows = same_sources(dataset, 4)
    assert titles == ["real", "swap", "warp"]
    found = {tuple(dataset.examples[i].id for i in row) for row in rows}
    assert found == {("a/real/2", "a/swap/1", "a/warp/3"), ("b/real/2", "b/swap/1", "b/warp/2")}
    assert len(same_sources(dataset, 1)[1]) == 1


def test_fakes_without_their_reals_make_no_gallery():
    dataset = Frames(np.random.default_rng(0))
    dataset.examples = [e for e in dataset.examples if e.method != "real"]
    with pytest.raises(UserError, match="none of 12 fakes has the real"):
        same_sources(dataset, 2)


def test_a_gallery_of_two_autoencoders(tmp_path, mae, faces):
    """All six sources, so that the gallery holds the whole data set in another order."""
    dataset, mesh = load_dataset([f"csv:{faces}/test.csv"]), make_mesh()
    png = draw_gallery(tmp_path / "fig4", dataset, {"A": mae, "B": mae}, mesh, CONFIG, sources=6)
    assert png == tmp_path / "fig4.png"
    assert png.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
    with Image.open(png) as image:
        sheet = np.asarray(image.convert("RGB"))
    step, factor = 192 + 8, 192 // jobs.SIZE
    left = sheet.shape[1] - 3 * step
    index, arrays = residual_arrays(dataset, mae, mesh, CONFIG)
    residuals = {dataset.examples[i].id: r for i, r in zip(index, arrays["residual"], strict=True)}
    for number in range(6):
        for column, method in enumerate(("real", "columns", "rows")):
            name = f"test/{method}{number}.png"
            with Image.open(faces / name) as image:
                original = np.asarray(image)

            def shown(line, number=number, column=column):
                top = 31 + (5 * number + line) * step
                place = slice(left + column * step, left + column * step + 192)
                return sheet[top : top + 192, place][::factor, ::factor]

            np.testing.assert_array_equal(shown(0), original)
            for line in (2, 4):
                expected = residual_pixels(residuals[name]).astype(int)
                assert np.abs(shown(line).astype(int) - expected).max() <= 1
            np.testing.assert_array_equal(shown(1), shown(3))
