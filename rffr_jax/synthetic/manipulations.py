"""Four manipulations of aligned real faces, each with an artefact family of its own.

They stand in for a benchmark's manipulations in tests and in the demo. They say nothing about
real deepfakes and share no name with any benchmark's.

- lowres_swap: within the face the finest scales are missing. No sharp edge, no shift of colour.
- polygon_paste: an edge at most 1.5 pixels wide with a step of colour across it. Nothing is
  blurred or interpolated: on both sides the texture is a camera's.
- mouth_warp: the geometry is wrong and texture is stretched along the displacement. No edge, no
  other colour, and the local sharpness is the original's.
- texture_upsample: the finest detail repeats with a period of two pixels. Its energy is the
  original's, place by place, so that the region is neither blurred nor sharpened.
"""

import math

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace, estimate_similarity, warp
from rffr_jax.synthetic.regions import (
    ManipulatedFace,
    blend,
    blur,
    ellipse_points,
    feather,
    match_detail,
    match_lab,
    polygon_mask,
)

METHODS: tuple[str, ...] = ("lowres_swap", "polygon_paste", "mouth_warp", "texture_upsample")
NEEDS_DONOR: tuple[str, ...] = ("lowres_swap", "polygon_paste")
IDENTITY = "identity"


def manipulate(
    method: str, face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """One of METHODS applied to a face, or "identity", which returns it as it is.

    Args:
      method: a name of METHODS, or "identity" for reals and for probes.
      face: any aligned real face, synthetic or photographed, 48 to 512 pixels on a side.
      donor: a face of another identity at the same size; only NEEDS_DONOR use it.
      rng: every random choice comes from it.

    Returns:
      The manipulated image and its mask; where the mask is 0 the pixels equal the face's exactly.

    Raises:
      ValueError: unknown method, or a donor is needed and missing or of another size.
    """
    if method == IDENTITY:
        return ManipulatedFace(face.image, np.zeros(face.image.shape[:2], np.float32))
    if method not in METHODS:
        raise ValueError(f"manipulation {method!r} is unknown; known: {', '.join(METHODS)}")
    if method in NEEDS_DONOR:
        if donor is None or donor.size != face.size:
            raise ValueError(f"manipulation {method!r} needs a donor of the face's size")
        swap = _lowres_swap if method == "lowres_swap" else _polygon_paste
        made = swap(face, donor, rng)
    else:
        change = _mouth_warp if method == "mouth_warp" else _texture_upsample
        made = change(face, rng)
    touched = (made.mask > 0).astype(np.uint8)
    image = cv2.copyTo(made.image.clip(0, 1), touched, face.image.copy())
    return ManipulatedFace(image, made.mask)


# ---- lowres_swap: another identity's inner face at low resolution, matched in colour, feathered

_RESOLUTION = (0.2, 0.4)  # of the round trip, as a share of the image's
_SWAP_FEATHER = 0.022  # of the face's scale


def _lowres_swap(
    face: AlignedFace, donor: AlignedFace, rng: np.random.Generator
) -> ManipulatedFace:
    """Swaps the inner face for the donor's after a 20-40 % resolution round trip."""
    region = ellipse_points(
        0.5, 0.6 + rng.uniform(-0.01, 0.01), rng.uniform(0.17, 0.2), rng.uniform(0.19, 0.22), 32
    )
    mask = feather(polygon_mask(face, region), _SWAP_FEATHER * face.scale)
    matrix = estimate_similarity(donor.landmarks, face.landmarks)
    inner = _round_trip(warp(donor.image, matrix, face.size), rng.uniform(*_RESOLUTION))
    inner = match_lab(inner, face.image, mask)
    return ManipulatedFace(blend(face.image, inner, mask), mask)


def _round_trip(image: np.ndarray, share: float) -> np.ndarray:
    size = image.shape[0]
    small = max(4, round(size * share))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)


# ---- polygon_paste: another identity's face at full resolution along a sharp polygon

_GAMMA = (1.1, 1.3)  # or its inverse
_OFFSET = (0.025, 0.06)  # of one colour channel or another, up or down


def _polygon_paste(
    face: AlignedFace, donor: AlignedFace, rng: np.random.Generator
) -> ManipulatedFace:
    """Pastes a polygon of the donor's face without feather."""
    corners = ellipse_points(0.5, 0.6, 0.185, 0.21, int(rng.integers(7, 12)))
    centre = np.array([0.5, 0.6])
    corners = centre + (corners - centre) * rng.uniform(0.86, 1.02, (len(corners), 1))
    mask = polygon_mask(face, corners)
    pasted = _match_mean(_moved(donor, face), face.image, mask)
    pasted = _shift_tones(pasted, rng)
    return ManipulatedFace(blend(face.image, pasted, mask), mask)


def _moved(donor: AlignedFace, face: AlignedFace) -> np.ndarray:
    """The donor's picture moved by whole pixels, so that its landmarks lie about on the face's."""
    across, down = np.rint((face.landmarks - donor.landmarks).mean(0)).tolist()
    move = np.array([[1.0, 0, across], [0, 1, down]])
    return warp(donor.image, move, face.size, interpolation=cv2.INTER_NEAREST)


def _match_mean(image: np.ndarray, like: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with each colour's mean of `like` within the mask, so that any two people fit."""
    inside = (mask > 0.5).astype(np.uint8)
    mean, wanted = (np.array(cv2.mean(picture, inside)[:3]) for picture in (image, like))
    gain = np.clip(wanted / (mean + 1e-3), 0.4, 2.5)
    return (image * gain.astype(np.float32)).clip(0, 1)


def _shift_tones(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gamma = rng.uniform(*_GAMMA) ** rng.choice([-1, 1])
    offset = rng.uniform(*_OFFSET, 3) * rng.choice([-1, 1], 3)
    return (cv2.pow(image, gamma) + offset.astype(np.float32)).clip(0, 1)


# ---- mouth_warp: the own mouth moved by a smooth displacement

_CENTRE = (0.5, 0.745)  # of the region, in fractions of the template crop
_RADII = (0.165, 0.115)
_AMPLITUDE = (0.04, 0.06)  # of the displacement, of the face's scale


def _mouth_warp(face: AlignedFace, rng: np.random.Generator) -> ManipulatedFace:
    """Pulls the two halves of the mouth in different directions."""
    across, down, window = _coordinates(face)
    lift, stretch, slide = (
        rng.choice([-1, 1], 3) * rng.uniform(*_AMPLITUDE, 3) * face.scale
    ).astype(np.float32)
    move_y = window * (lift * np.sin(2.5 * across) + stretch * np.sin(2.5 * down))
    move_x = window * slide * (0.5 + np.sin(2.5 * down))
    columns, rows = _pixel_grid(face.size)
    warped = cv2.remap(
        face.image,
        columns - move_x,
        rows - move_y,
        cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    smooth = blur(warped, 1.0)
    detail = match_detail(
        warped - smooth, face.image - blur(face.image, 1.0), window=0.05 * face.scale, limit=1.6
    )
    sharp = blend(warped, smooth + detail, np.minimum(1, 4 * window))
    return ManipulatedFace(sharp, window)


def _pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2)
    return columns, rows


def _coordinates(face: AlignedFace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position in the region (-1 to 1 across and down) and a window that is 0 from its rim on."""
    to_template = cv2.invertAffineTransform(face.from_template()).astype(np.float32)
    columns, rows = _pixel_grid(face.size)
    x = to_template[0, 0] * columns + to_template[0, 1] * rows + to_template[0, 2]
    y = to_template[1, 0] * columns + to_template[1, 1] * rows + to_template[1, 2]
    across = ((x + 0.5) / face.size - _CENTRE[0]) / _RADII[0]
    down = ((y + 0.5) / face.size - _CENTRE[1]) / _RADII[1]
    window = np.maximum(1 - across**2 - down**2, 0) ** 2
    return across, down, window


# ---- texture_upsample: mouth and nose re-made from half their resolution

_UNEVEN = (0.12, 0.22)  # spread of the four phases' gains
_SHARE = (0.35, 0.55)  # of the fine energy that the filter's traces take over
_UPSAMPLE_FEATHER = 0.015  # of the face's scale


def _texture_upsample(face: AlignedFace, rng: np.random.Generator) -> ManipulatedFace:
    """Replaces the fine detail of mouth and nose by that of a transposed filter."""
    region = ellipse_points(0.5, 0.68, rng.uniform(0.13, 0.15), rng.uniform(0.135, 0.155), 32)
    mask = feather(polygon_mask(face, region), _UPSAMPLE_FEATHER * face.scale)
    made = _transposed(face.image, rng)
    smooth = blur(face.image, 0.9)
    own = face.image - smooth
    window = 0.03 * face.scale
    traces = match_detail(made - blur(made, 0.9), own, window, limit=8.0)
    share = rng.uniform(*_SHARE)
    mixed = np.float32(math.sqrt(1 - share)) * own + np.float32(math.sqrt(share)) * traces
    detail = match_detail(mixed, own, window, limit=2.0)
    return ManipulatedFace(blend(face.image, smooth + detail, mask), mask)


def _transposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` halved, spread on every second pixel and filtered with an uneven kernel."""
    size = image.shape[0]
    half = cv2.resize(image, ((size + 3) // 2,) * 2, interpolation=cv2.INTER_AREA)
    spread = np.zeros((2 * half.shape[0], 2 * half.shape[1], 3), np.float32)
    spread[::2, ::2] = half
    tent = np.array([0.5, 1, 0.5])
    uneven = rng.uniform(*_UNEVEN) * rng.choice([-1, 1], 2)
    kernel = np.outer(tent + [0, uneven[0], 0], tent + [0, uneven[1], 0])
    filtered = cv2.filter2D(spread, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    top, left = rng.integers(2, size=2)
    return filtered[top : top + size, left : left + size]
