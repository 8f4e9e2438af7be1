"""How the photographs of a benchmark come to be files: the same for reals and for fakes.

The picture may be compressed as a video's, before anything is cut out; the face is aligned, a
little at random, and cut out; it may be shrunk and enlarged again, blurred, noisy; and it is saved
as a JPEG. A photograph and its fakes share all that is random.
"""

import dataclasses
import fractions
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from rffr_jax.errors import UserError
from rffr_jax.images.alignment import estimate_similarity, template_landmarks, warp
from rffr_jax.images.corruptions import blur, noise, resize
from rffr_jax.images.image_formats import encode_jpeg

CENTRE = (0.5, 0.56)  # of a magnified crop, in fractions of FFHQ's
_TURN, _ZOOM, _SHIFT = math.radians(3), 1.05, 0.015  # to either side
_VIDEO, _RATE_FACTORS = 0.5, (18, 36)  # probability; of x264, the higher the worse
_SHRINKS, _SHARE = 0.3, (0.5, 1.0)
_BLURS, _DEVIATION = 0.2, (0.3, 1.0)
_NOISES, _LEVELS = 0.2, (1.0, 5.0)
_QUALITY = (40, 95)


@dataclasses.dataclass(frozen=True)
class PhotographCapture:
    """All that is random in a capture.

    Attributes:
      turn: of the face, in radians.
      zoom: of the face.
      shift: in sides of the crop, to the right and down.
      rate_factor: of the video's compression (CRF of x264); 0 without any.
      share: of its side that the crop is shrunk to; 1 leaves it.
      blur: standard deviation in pixels; 0 leaves it.
      noise: standard deviation in levels; 0 leaves it.
      quality: of the JPEG file.
    """

    turn: float
    zoom: float
    shift: tuple[float, float]
    rate_factor: int
    share: float
    blur: float
    noise: float
    quality: int


def sample_capture(rng: np.random.Generator) -> PhotographCapture:
    """A random capture."""
    video, shrinks, blurs, noises = (rng.random(4) < (_VIDEO, _SHRINKS, _BLURS, _NOISES)).tolist()
    across, down = rng.uniform(-_SHIFT, _SHIFT, 2).tolist()
    return PhotographCapture(
        turn=rng.uniform(-_TURN, _TURN),
        zoom=_ZOOM ** rng.uniform(-1, 1),
        shift=(across, down),
        rate_factor=int(rng.integers(*_RATE_FACTORS, endpoint=True)) if video else 0,
        share=rng.uniform(*_SHARE) if shrinks else 1.0,
        blur=rng.uniform(*_DEVIATION) if blurs else 0.0,
        noise=rng.uniform(*_LEVELS) if noises else 0.0,
        quality=int(rng.integers(*_QUALITY, endpoint=True)),
    )


def crop_matrix(
    landmarks: Float32[np.ndarray, "5 2"],
    capture: PhotographCapture,
    size: int,
    magnification: float,
) -> Float64[np.ndarray, "2 3"]:
    """From pixels of a photograph to pixels of its crop.

    Args:
      landmarks: the face's five points in the photograph.
      capture: turns, zooms and shifts it.
      size: side of the crop in pixels.
      magnification: of the face against FFHQ's alignment, about `CENTRE`, which comes to the
        middle; 1 is FFHQ's alignment itself.
    """
    centre = np.array(CENTRE) * size - 0.5
    middle = centre if magnification == 1 else np.full(2, (size - 1) / 2)
    scale = magnification * capture.zoom
    cos, sin = scale * math.cos(capture.turn), scale * math.sin(capture.turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    aligned = estimate_similarity(landmarks, template_landmarks(size))
    offset = linear @ (aligned[:, 2] - centre) + middle + np.array(capture.shift) * size
    return np.concatenate([linear @ aligned[:, :2], offset[:, None]], axis=1)


def capture_photograph(
    image: UInt8[np.ndarray, "height width 3"],
    matrix: Float64[np.ndarray, "2 3"],
    capture: PhotographCapture,
    size: int,
    name: str,
) -> bytes:
    """The JPEG file of a photograph, or of a fake made in its pixels.

    Args:
      image: RGB in [0, 255].
      matrix: of `crop_matrix`; what lies beyond the photograph mirrors it.
      size: side of the crop in pixels.
      name: of the photograph; noise is drawn for it.
    """
    if capture.rate_factor:
        image = compress_as_video(image, capture.rate_factor)
    crop = warp(image, matrix, size, border=cv2.BORDER_REFLECT_101)
    if capture.share < 1:
        crop = resize(crop, capture.share, name)
    if capture.blur:
        crop = blur(crop, capture.blur, name)
    if capture.noise:
        crop = noise(crop, capture.noise, name)
    return encode_jpeg(crop, capture.quality, "4:2:0")


def compress_as_video(
    image: UInt8[np.ndarray, "height width 3"], rate_factor: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The image as the first frame of an H.264 video.

    Args:
      rate_factor: of x264, 0 to 51.

    Raises:
      UserError: PyAV is missing.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "PyAV compresses photographs as videos and is missing; pip install 'rffr-jax[faces]'"
        ) from error
    height, width, _ = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *even.shape[:2], "yuv420p"
    encoder.framerate, encoder.thread_count = fractions.Fraction(25), 1
    encoder.options = {"crf": str(rate_factor), "preset": "veryfast", "tune": "zerolatency"}
    frame = av.VideoFrame.from_ndarray(even, format="rgb24")
    decoder = av.VideoCodecContext.create("h264", "r")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    frames = [decoded for packet in [*packets, None] for decoded in decoder.decode(packet)]
    return frames[0].to_ndarray(format="rgb24")[:height, :width]
