"""`rffr_jax.find_faces`: the faces of one picture for users of the library."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

import rffr_jax
from rffr_jax.errors import BadImageError, UserError
from tests.faces.movies import ASTRONAUT


def test_arrays_images_and_paths_give_the_same_faces(tmp_path):
    picture = skimage.data.astronaut()[:256, :384]
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    found = [rffr_jax.find_faces(i) for i in (picture, Image.fromarray(picture), path, str(path))]
    (face,) = found[0]
    assert face.box == pytest.approx(ASTRONAUT.box, abs=12)
    assert face.landmarks == pytest.approx(ASTRONAUT.landmarks, abs=8)
    assert face.score > 0.9
    for (other,) in found[1:]:
        np.testing.assert_array_equal(other.box, face.box)
    assert rffr_jax.find_faces(np.zeros((64, 64, 3), np.uint8)) == []
    grey = Image.fromarray(picture).convert("L")
    assert len(rffr_jax.find_faces(grey)) == 1


@pytest.mark.parametrize("image", [None, [[1, 2]], np.zeros((64, 64, 3)), Image.new("L", (1, 1))])
def test_what_is_no_picture_is_refused_in_one_line(image):
    with pytest.raises(UserError) as caught:
        rffr_jax.find_faces(image)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("words")
    for name, reason in (("a.jpg", "not an image"), ("b.jpg", "no such file")):
        with pytest.raises(BadImageError, match=reason):
            rffr_jax.find_faces(tmp_path / name)
