"""What is kept of a face: its crop, where it is from, and where in the frame it lay."""

import dataclasses

import numpy as np
from jaxtyping import Float32


@dataclasses.dataclass(frozen=True)
class FaceRecord:
    """One aligned crop as it goes into a shard.

    Attributes:
      id: `MEDIUM_ID/FRAME` with the frame as six digits; unique in its data set.
      image: the crop, encoded as the data set's image format says (PNG or JPEG bytes, or the bytes
        of height x width x 3 uint8 where the format is raw).
      label, dataset, method, source, group, person: as in `media.Medium`.
      video: the medium's id.
      frame: number of the frame in its video, 0 for photographs.
      box: left, top, right, bottom of the face in pixels of the decoded frame.
      landmarks: the five points in pixels of the CROP (not rounded).
      score: of the detector, in [0, 1].
    """

    id: str
    image: bytes
    label: int
    dataset: str
    method: str
    video: str
    frame: int
    source: str
    group: str
    person: str
    box: Float32[np.ndarray, "4"]
    landmarks: Float32[np.ndarray, "5 2"]
    score: float
