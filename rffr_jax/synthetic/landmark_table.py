"""A table of photographs with 68 landmarks: the CSV image,person,x0,y0,...,x67,y67."""

import csv
import dataclasses
import pathlib

import numpy as np
from jaxtyping import Float32

from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.landmarks import ALL
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame


@dataclasses.dataclass(frozen=True)
class FrameFile:
    """An image file, who is shown, and x, y of the landmarks in pixels of the image."""

    path: pathlib.Path
    person: str
    landmarks: Float32[np.ndarray, "68 2"]

    def load(self) -> LandmarkedFrame:
        """The image with its landmarks.

        Raises:
          BadImageError: the file cannot be used, is turned by its EXIF data (nobody can tell
            whether the landmarks were found before or after turning), or its landmarks are wrong.
        """
        pixels = read_full_image(self.path, turn=False)
        try:
            return LandmarkedFrame(pixels, self.landmarks, self.person)
        except ValueError as error:
            raise BadImageError(str(self.path), str(error)) from None


def read_landmark_table(file: pathlib.Path, folder: pathlib.Path) -> list[FrameFile]:
    """The files of a table, whose names are relative to `folder`, in the table's order.

    Raises:
      UserError: the table or an image is not there, a column is missing, or a point is no number.
    """
    if not file.is_file():
        raise UserError(f"--landmarks {file}: no such file")
    points = [f"{axis}{i}" for i in range(ALL) for axis in "xy"]
    found = []
    with file.open(newline="") as lines:
        table = csv.DictReader(lines)
        missing = [x for x in ("image", "person", *points) if x not in (table.fieldnames or ())]
        if missing:
            raise UserError(f"--landmarks {file}: column {missing[0]!r} is missing")
        for row in table:
            path = folder / row["image"]
            if not path.is_file():
                raise UserError(f"--landmarks {file}: {row['image']} is not in {folder}")
            try:
                values = np.array([float(row[name]) for name in points], np.float32)
            except (TypeError, ValueError):
                raise UserError(
                    f"--landmarks {file}: line {table.line_num} holds a point that is no number"
                ) from None
            found.append(FrameFile(path, row["person"], values.reshape(ALL, 2)))
    return found
