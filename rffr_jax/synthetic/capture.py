"""The one path by which every image, real or fake, becomes pixels of a data set.

A similarity (small turn, zoom and shift) with antialiased resize -> manipulation -> one rounding
-> one JPEG encoding -> one decoder. The similarity is sampled per source photograph, so that a real
and its fakes share it; reals go through the manipulation "identity". Hence a real and a fake
differ in the manipulation and in nothing else.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from rffr_jax.images.alignment import AlignedFace, align, transform_points, warp
from rffr_jax.images.decode import decode_image
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.images.landmarks import to_five_landmarks
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS, NEEDS_DONOR, manipulate

ALIGNED_OVER_OUTPUT = 2  # photographs with landmarks are cut out at this multiple of the size
_GEOMETRY, _MANIPULATION, _DONOR = range(3)  # what a stream of random numbers is for
_TURN = math.radians(2.5)
_ZOOM = (1.065, 1.12)  # enough that no corner of the crop falls outside the source
_SHIFT = 0.01  # of the crop's side


@dataclasses.dataclass(frozen=True)
class CapturedImage:
    """An image as a data set holds it.

    Attributes:
      image: RGB, decoded from `encoded`.
      mask: the manipulation's, 0 to 1; all 0 for a real.
      encoded: the bytes of the JPEG file.
    """

    image: UInt8[np.ndarray, "size size 3"]
    mask: Float32[np.ndarray, "size size"]
    encoded: bytes


def capture(
    source: AlignedFace,
    donor: AlignedFace | None,
    method: str,
    key: tuple[int, ...],
    size: int,
) -> CapturedImage:
    """A real (`method` "identity") or one manipulation of it, as a data set would hold it.

    Args:
      source: the real face, at any resolution.
      donor: a face of another identity; only some methods need it.
      method: "identity" or one of `manipulations.METHODS`.
      key: non-negative integers that name the source photograph (and the seed). All random
        choices are functions of it and, but for the source's geometry, of the method.
      size: side of the result in pixels.
    """
    face = resample(source, _make_generator(key, _GEOMETRY, IDENTITY), size)
    other = None
    if method in NEEDS_DONOR and donor is not None:
        other = resample(donor, _make_generator(key, _DONOR, method), size)
    made = manipulate(method, face, other, _make_generator(key, _MANIPULATION, method))
    encoded = encode_crop(np.rint(made.image * 255).astype(np.uint8), "jpeg")
    return CapturedImage(decode_image(encoded, size, "capture"), made.mask, encoded)


def capture_frame(
    image: UInt8[np.ndarray, "height width 3"],
    landmarks: Float32[np.ndarray, "68 2"],
    key: tuple[int, ...],
    size: int,
    mask: Float32[np.ndarray, "height width"] | None = None,
) -> CapturedImage:
    """A photograph or a fake made in its pixels, cut out by the landmarks; `key` as in `capture`.

    The photograph and its fakes share landmarks and key, hence their geometry, and so does the
    fake's mask.
    """
    five, aligned = to_five_landmarks(landmarks), ALIGNED_OVER_OUTPUT * size
    face = align(image.astype(np.float32) / 255, five, aligned)
    taken = capture(face, None, IDENTITY, key, size)
    if mask is None:
        return taken
    covered = align(cv2.merge([mask, mask, mask]), five, aligned).image
    moved = warp(covered, capture_similarity(key, aligned, size), size)
    return dataclasses.replace(taken, mask=moved[..., 0].copy())


def capture_similarity(
    key: tuple[int, ...], source_size: int, size: int
) -> Float64[np.ndarray, "2 3"]:
    """The similarity from pixels of a source to pixels of its capture; arguments as there."""
    return _sample_similarity(_make_generator(key, _GEOMETRY, IDENTITY), source_size, size)


def resample(face: AlignedFace, rng: np.random.Generator, size: int) -> AlignedFace:
    """The face at `size` x `size` pixels after a small random similarity, antialiased."""
    matrix = _sample_similarity(rng, face.size, size)
    return AlignedFace(warp(face.image, matrix, size), transform_points(face.landmarks, matrix))


def _make_generator(key: tuple[int, ...], purpose: int, method: str) -> np.random.Generator:
    number = 0 if method == IDENTITY else 1 + METHODS.index(method)
    return np.random.default_rng(np.random.SeedSequence([*key, purpose, number]))


def _sample_similarity(
    rng: np.random.Generator, source_size: int, size: int
) -> Float64[np.ndarray, "2 3"]:
    """From pixels of the source to pixels of the result; turns and zooms about the centre."""
    turn = rng.uniform(-_TURN, _TURN)
    scale = rng.uniform(*_ZOOM) * size / source_size
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * size
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    offset = (size - 1) / 2 + shift - linear @ np.full(2, (source_size - 1) / 2)
    return np.concatenate([linear, offset[:, None]], 1)
