"""Small videos for the tests, of pictures that show a real face or none."""

import fractions
import pathlib
from collections.abc import Sequence

import av
import cv2
import numpy as np
import skimage.data
from av.video.stream import VideoStream

from rffr_jax.faces.face import Face

# In skimage.data.astronaut(), found by RetinaFace and looked at: the box and the five landmarks.
ASTRONAUT = Face(
    box=np.array([177.0, 56.0, 273.0, 177.0], np.float32),
    landmarks=np.array(
        [[204.0, 101.0], [247.0, 103.0], [223.0, 129.0], [202.0, 138.0], [244.0, 140.0]], np.float32
    ),
    score=1.0,
)


def write_movie(
    path: pathlib.Path,
    frames: Sequence[np.ndarray],
    fps: int = 10,
    rotation: int = 0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
) -> pathlib.Path:
    """Writes RGB uint8 frames of one size as a video, the container told by the path's ending.

    Args:
      rotation: by how many degrees a player turns it counterclockwise.
      options: of the container.
      times: of each frame, in 1/fps of a second; evenly spaced if not given.
    """
    height, width, _ = frames[0].shape
    even = height % 2 == 0 and width % 2 == 0
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "ultrafast"}
        else:
            stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times is not None:
                frame.pts = times[number]
                frame.time_base = fractions.Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def face_frames(seed: int, count: int, size: int) -> list[np.ndarray]:
    """`count` pictures of `size` x `size` of one face that moves and grows a little."""
    random = np.random.default_rng(seed)
    picture = skimage.data.astronaut()
    centre = (ASTRONAUT.box[:2] + ASTRONAUT.box[2:]) / 2 + random.uniform(-8, 8, 2)
    factor = size / random.uniform(190, 230)
    drift, growth = random.uniform(-20, 20, 2), random.uniform(-0.1, 0.1)
    frames = []
    for time in np.linspace(-0.5, 0.5, count):
        k = factor * (1 + growth * time)
        shift = (size - 1) / 2 - k * (centre + drift * time)
        matrix = np.array([[k, 0, shift[0]], [0, k, shift[1]]])
        frames.append(
            cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        )
    return frames


def empty_frames(seed: int, count: int, size: int) -> list[np.ndarray]:
    """`count` pictures of `size` x `size` of smooth colours, without a face."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return [cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC) for picture in coarse]
