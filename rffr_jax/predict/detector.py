"""A trained detector to be used from Python: scores of face crops, and pictures of its inputs."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16, Float32, Float64, UInt8
from ml_collections import ConfigDict

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.origins import note_on_training
from rffr_jax.errors import UserError
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.images.decode import resize_to_square
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual_cache import parameters_digest
from rffr_jax.runs.atomic_files import read_json_object

log = logging.getLogger(__name__)

DEMO, DEMO_DETECTOR = pathlib.Path("runs", "quickstart"), "RFFR"
Crops = UInt8[np.ndarray, "n size size 3"]
Differences = Float16[np.ndarray, "n covered pixels"]


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """The score of one crop, and pictures of the detector's inputs.

    They do not show what the score rests on.

    Attributes:
      score: raw, from `LoadedDetector.score`.
      image: the crop as the detector reads it, in [0, 1].
      reconstruction: by the MAE block by block, or by the UNet, about [0, 1]; None for a detector
        without one.
      residual: R = alpha (reconstruction - image), equation 5 of the paper, in [-1, 1]; None for a
        detector that reads none.
      heat: the mean of |residual| in each of the k x k blocks, in [0, 1]; None without residual.
      relative_heat: heat over the 95th percentile of real validation faces in the same block; None
        where no reference is stored beside the detector.
    """

    score: float
    image: Float32[np.ndarray, "size size 3"]
    reconstruction: Float32[np.ndarray, "size size 3"] | None
    residual: Float32[np.ndarray, "size size 3"] | None
    heat: Float32[np.ndarray, "k k"] | None
    relative_heat: Float32[np.ndarray, "k k"] | None


class LoadedDetector:
    """A detector with its weights on the device, its thresholds and its calibrations.

    Scores and thresholds are raw. The job `evaluate` with `data.validation` stores thresholds and
    calibrations beside the weights. A calibration only changes the probability that is shown.

    Attributes:
      folder, checkpoint: what was loaded.
      about: the checkpoint's description of the detector.
      image_size: of the crops that it reads, in pixels; others are cut square and resized.
      blocks, patch_size: the geometry of `Explanation.heat`.
      alpha: amplification of the residual.
      operating_point: thresholds for images and videos, stored beside the weights.
      reference: residuals of real validation faces, stored beside the weights; None if missing.
      threshold: for single images; a score above it means `fake`.
      digest: of all weights.
      training_origins: of the data that the detector and its MAE or UNet were trained on.
      note: a warning to show beside every score; '' if there is none.
    """

    def __init__(self, trained: TrainedDetector, folder: pathlib.Path, checkpoint: str):
        self.folder, self.checkpoint, self._trained = folder, checkpoint, trained
        self.about = trained.about
        settings = trained.detection.settings
        self.image_size = settings.model.image_size
        self.blocks: BlockGrid = trained.detection.blocks
        self.patch_size, self.alpha = settings.model.patch_size, settings.alpha
        self._scorer, self._parameters = trained.scorer, trained.parameters(checkpoint)
        digest = parameters_digest(self._parameters)
        self.operating_point = trained.operating_point(checkpoint, digest)
        self.threshold = self.operating_point.image.value
        self.reference = trained.residual_reference(checkpoint, digest)
        self.digest = parameters_digest({"detector": self._parameters, "frozen": trained.frozen})
        self.training_origins = trained.trained_on()
        names = {name for origins in self.training_origins.values() for name, _ in origins.sources}
        self.note = note_on_training(
            {*names, *self.about["trained_datasets"], *trained.autoencoder_datasets()},
            self.about["trained_methods"],
        )

    def score(self, images: Sequence[np.ndarray] | np.ndarray) -> Float64[np.ndarray, " n"]:
        """Raw scores of aligned face crops, in [0, 1]; a higher one means more likely `fake`.

        Args:
          images: uint8 RGB [height, width, 3] each, of any sizes; [n, height, width, 3] will do.

        Raises:
          UserError: an image of another type or shape, or weights that are broken.
        """
        return self.score_crops(self._crops(images))[0]

    def probabilities(self, scores: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"] | None:
        """Calibrated probabilities of `fake` for scores of single crops; None without calibration.

        They hold for data like those that the calibration was fitted on, with as many fakes.
        """
        calibration = self.operating_point.image.calibration
        return None if calibration is None else calibration.probabilities(scores)

    def explain(self, image: np.ndarray) -> Explanation:
        """The score of one aligned face crop, and pictures of the detector's inputs.

        Args:
          image: uint8 RGB [height, width, 3].

        Raises:
          UserError: as for `score`.
        """
        crops = self._crops([image])
        scores, differences = self.score_crops(crops)
        return self.explain_crops(crops, scores, differences)[0]

    def score_crops(self, crops: Crops) -> tuple[Float64[np.ndarray, " n"], Differences | None]:
        """Scores of crops of the detector's size, and the differences that `explain_crops` needs.

        Raises:
          UserError: a score is not finite.
        """
        scores, differences = self._scorer.score_images(self._parameters, crops)
        if not np.isfinite(scores).all():
            raise UserError(
                f"detector={self.folder}, {self.checkpoint}: its scores are not finite: its "
                "weights are broken; use another checkpoint"
            )
        return scores, differences

    def explain_crops(
        self, crops: Crops, scores: Float64[np.ndarray, " n"], differences: Differences | None
    ) -> list[Explanation]:
        """Scores and pictures of at least one crop, from the results of `score_crops`."""
        reconstructions, residuals, heat = self._scorer.pictures(crops, differences)
        relative = None
        if heat is not None and self.reference is not None:
            relative = self.reference.relative(heat)
        pictures = (reconstructions, residuals, heat, relative)
        return [
            Explanation(
                float(scores[i]),
                crops[i].astype(np.float32) / 255,
                *(None if array is None else array[i] for array in pictures),
            )
            for i in range(len(crops))
        ]

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: str = "float32"):
        """Writes a model folder, which `load_detector` and `--config.detector` take.

        Thresholds, calibrations and the reference of real faces go with it where they were chosen
        on the weights as they are saved.

        Args:
          folder: does not exist, or is empty.
          dtype: of the arrays: `float32`, or `float16` in half the space.

        Raises:
          UserError: the folder holds something, or cannot be written.
        """
        path = pathlib.Path(folder)
        self._trained.save_model(path, self.checkpoint, self._parameters, dtype)

    def _crops(self, images: Sequence[np.ndarray] | np.ndarray) -> Crops:
        size = self.image_size
        crops = []
        for number, image in enumerate(images):
            image = np.asarray(image)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise UserError(
                    f"image {number} is {image.dtype} of shape {image.shape}; give uint8 RGB "
                    "pixels of shape [height, width, 3]"
                )
            fits = image.shape[:2] == (size, size)
            crops.append(image if fits else resize_to_square(image, size))
        return np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)


def load_detector(
    folder: str | os.PathLike[str],
    *,
    checkpoint: str = "last",
    dtype: str = "auto",
    batch_size: int = 32,
) -> LoadedDetector:
    """A trained detector; see `rffr_jax.load_detector`."""
    path = pathlib.Path(folder)
    config = ConfigDict(
        {
            "dtype": dtype,
            "batch_size": batch_size,
            "data": {"workers": 0, "max_bad_fraction": 1.0},
            "residuals": {"folder": "", "memory_gb": 0.0},  # no image is seen twice
        }
    )
    return LoadedDetector(TrainedDetector(path, make_mesh(), config), path, checkpoint)


def find_detector_folder(named: str) -> pathlib.Path:
    """The folder of the named detector, else of the one that `make demo` trained first.

    Raises:
      UserError: none is named, and no demo has trained one below the current folder.
    """
    if named:
        return pathlib.Path(named)
    runs = [file.parent for file in DEMO.glob(f"seed_*/{DEMO_DETECTOR}/run.json")]
    finished = [run for run in runs if read_json_object(run / "run.json")["done"]]
    if not finished:
        raise UserError(
            f"no detector is named and {DEMO} holds none: name one with --config.detector=DIR, or "
            "run `make demo`, which trains a small one on procedural faces for trying the program"
        )
    folder = min(finished, key=lambda run: int(run.parent.name.removeprefix("seed_")))
    log.info("no detector is named: %s, which `make demo` trained, is used", folder)
    return folder
