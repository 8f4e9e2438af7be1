import contextlib
import functools

import cv2
import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.images.decode import decode_image
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.synthetic import capture as path
from rffr_jax.synthetic import manipulations
from rffr_jax.synthetic.capture import capture, resample
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS, manipulate
from rffr_jax.synthetic.procedural_face import render_face

SIZE = 64


render = functools.cache(render_face)


def taken(method, source, seed=0):
    donor = render(seed, source + 1, 96)
    return capture(render(seed, source, 96), donor, method, (seed, source), SIZE)


def auc_of_rank(real, fake):
    return mannwhitneyu(fake, real).statistic / (len(real) * len(fake))


def chance_bound(n_real, n_fake):
    """Three standard errors of the AUC where there is nothing to see."""
    return 3 * np.sqrt((n_real + n_fake + 1) / (12 * n_real * n_fake))


@pytest.mark.parametrize("method", [IDENTITY, *METHODS])
def test_encoded_bytes_decode_to_the_image(method):
    one = taken(method, 3)
    np.testing.assert_array_equal(decode_image(one.encoded, len(one.image), ""), one.image)
    assert one.encoded[:2] == b"\xff\xd8"
    np.testing.assert_array_equal(one.image, taken(method, 3).image)
    assert one.mask.any() == (method != IDENTITY)


def test_jpeg_is_quality_95_without_subsampling():
    """Read from the file itself: sampling factors 1x1, quantiser of the first coefficient 2."""
    encoded = taken(IDENTITY, 0).encoded
    frame = encoded.index(b"\xff\xc0")
    assert [encoded[frame + 11 + 3 * i] for i in range(3)] == [0x11] * 3
    table = encoded.index(b"\xff\xdb")
    assert encoded[table + 5] == 2


def test_encoding_is_not_a_different_picture():
    image = (render_face(0, 0, SIZE).image * 255).astype(np.uint8)
    assert (
        np.abs(decode_image(encode_crop(image, "jpeg"), len(image), "").astype(int) - image).mean()
        < 4
    )


def test_a_real_and_its_fakes_share_geometry_and_differ_inside_the_mask_alone():
    """JPEG works on blocks of 8: a block without masked pixels is the same in real and fake."""
    for source in range(4):
        real = taken(IDENTITY, source).image
        for method in METHODS:
            fake = taken(method, source)
            blocks = fake.mask.reshape(8, 8, 8, 8).max((1, 3)) > 0
            same = ~np.kron(blocks, np.ones((8, 8), bool))
            assert same.any()
            np.testing.assert_array_equal(fake.image[same], real[same])
            assert (fake.image != real).any()


def test_before_encoding_the_pixels_outside_the_mask_are_the_reals(monkeypatch):
    seen = []
    monkeypatch.setattr(
        path, "encode_crop", lambda image, kind: seen.append(image) or encode_crop(image, kind)
    )
    real_mask = taken(IDENTITY, 5).mask
    masks = [real_mask, *(taken(method, 5).mask for method in METHODS)]
    for image, mask in zip(seen[1:], masks[1:], strict=True):
        np.testing.assert_array_equal(image[mask == 0], seen[0][mask == 0])
        assert (image[mask > 0] != seen[0][mask > 0]).any()


def test_geometry_is_drawn_by_key_and_the_donor_has_its_own():
    face = render_face(0, 0, 96)
    one = capture(face, None, IDENTITY, (0, 1), SIZE).image
    other = capture(face, None, IDENTITY, (0, 2), SIZE).image
    assert np.abs(one.astype(int) - other).mean() > 1
    landmarks = [
        resample(face, path._make_generator((0, 1), purpose, method), SIZE).landmarks
        for purpose, method in (
            (path._GEOMETRY, IDENTITY),
            (path._DONOR, "lowres_swap"),
            (path._DONOR, "polygon_paste"),
        )
    ]
    assert np.abs(landmarks[0] - landmarks[1]).max() > 0.05
    assert np.abs(landmarks[1] - landmarks[2]).max() > 0.05


def test_no_corner_falls_outside_the_source():
    """A source with a frame of 1 % around it: after any draw no pixel of the frame is seen."""
    image = np.zeros((200, 200, 3), np.float32)
    image[:1] = image[-1:] = image[:, :1] = image[:, -1:] = 1
    face = AlignedFace(image, render_face(0, 0, 200).landmarks)
    for seed in range(300):
        seen = resample(face, np.random.default_rng(seed), 100)
        assert seen.image.max() < 0.01, seed


SHAMS = {"sham polygon_paste": "polygon_paste", "sham mouth_warp": "mouth_warp"}


@contextlib.contextmanager
def changing_nothing():
    """Manipulations run as they are, but paste the face itself, unshifted, and move by zero."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manipulations, "_shift_tones", lambda image, rng: image)
        patch.setattr(manipulations, "_AMPLITUDE", (0.0, 0.0))
        own = lambda method, face, donor, rng: manipulate(method, face, face, rng)  # noqa: E731
        patch.setattr(path, "manipulate", own)
        yield


@pytest.mark.parametrize("method", SHAMS.values())
def test_a_sham_is_the_real_up_to_rounding(monkeypatch, method):
    seen = []
    monkeypatch.setattr(
        path, "encode_crop", lambda image, kind: seen.append(image.astype(int)) or b""
    )
    monkeypatch.setattr(path, "decode_image", lambda *_: np.zeros((SIZE, SIZE, 3), np.uint8))
    for source in range(120, 136):
        taken(IDENTITY, source)
        with changing_nothing():
            mask = taken(method, source).mask
        real, sham = seen[-2:]
        assert (mask > 0).mean() > 0.02
        assert np.abs(sham - real).max() <= 1, source


@pytest.fixture(scope="module")
def pictures():
    """Reals of sources 0..119, fakes and shams of sources 120..239."""
    reals = [taken(IDENTITY, source) for source in range(120)]
    fakes = {method: [taken(method, source) for source in range(120, 240)] for method in METHODS}
    with changing_nothing():
        for sham, method in SHAMS.items():
            fakes[sham] = [taken(method, source) for source in range(120, 240)]
    return reals, fakes


def described(image):
    """Fine energies in a grid of cells, and coarse colours."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energy = cv2.resize(cv2.Laplacian(grey, cv2.CV_32F) ** 2, (8, 8), interpolation=cv2.INTER_AREA)
    colour = cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA)
    return np.concatenate([np.log(energy.ravel() + 1), colour.ravel() / 255])


def cross_validated_auc(real, fake):
    """Every image is scored by a classifier that saw neither it nor its source."""
    data, labels = np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    order = np.random.default_rng(0).permutation(len(data))
    scores = cross_val_predict(model, data[order], labels[order], cv=5, method="decision_function")
    return roc_auc_score(labels[order], scores)


@pytest.mark.slow
def test_sham_stays_at_chance_where_a_manipulation_does_not(pictures):
    reals, fakes = pictures
    real = np.stack([described(one.image) for one in reals])
    for method, ones in fakes.items():
        auc = cross_validated_auc(real, np.stack([described(one.image) for one in ones]))
        if method in SHAMS:
            assert abs(auc - 0.5) < chance_bound(120, 120), (method, auc)
        if method == "lowres_swap":
            assert auc > 0.9, auc


@pytest.mark.slow
def test_border_ring_stays_at_chance(pictures):
    reals, fakes = pictures

    def ring(one):
        image = one.image.copy()
        image[8:-8, 8:-8] = 0
        return described(image)

    real = np.stack([ring(one) for one in reals])
    for method, ones in fakes.items():
        auc = cross_validated_auc(real, np.stack([ring(one) for one in ones]))
        assert abs(auc - 0.5) < chance_bound(120, 120), (method, auc)


@pytest.mark.slow
def test_file_size_stays_at_chance(pictures):
    """But for lowres_swap's own artefact: what has no detail needs fewer bytes."""
    reals, fakes = pictures
    real = [len(one.encoded) for one in reals]
    for method, ones in fakes.items():
        auc = auc_of_rank(real, [len(one.encoded) for one in ones])
        allowed = chance_bound(120, 120) + (0.2 if method == "lowres_swap" else 0.03)
        assert abs(auc - 0.5) < allowed, (method, auc)


def test_the_encoder_sees_no_method():
    """A fake's file has the markers, the tables and the frame of a real's: all but the scan."""

    def header(method, source):
        encoded = taken(method, source).encoded
        return encoded[: encoded.index(b"\xff\xc4")]

    of_fakes = {header(method, source) for method in METHODS for source in range(120, 126)}
    assert of_fakes == {header(IDENTITY, 0)}


def test_manipulation_sees_the_resampled_face(monkeypatch):
    sizes = []

    def spy(method, face, donor, rng):
        sizes.append((face.size, donor.size))
        return manipulate(method, face, donor, rng)

    monkeypatch.setattr(path, "manipulate", spy)
    taken("lowres_swap", 0)
    assert sizes == [(SIZE, SIZE)]
