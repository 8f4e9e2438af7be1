"""A trained detector in Python: verdicts on photographs and videos, scores of face crops, and
pictures of the detector's inputs."""

import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16, Float64, PyTree, UInt8
from ml_collections import ConfigDict
from PIL import Image

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.origins import note_on_training
from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.pixels import rgb_pixels
from rffr_jax.method.array_cache import parameters_digest
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection import Detection
from rffr_jax.predict.decision_rule import decision_rules
from rffr_jax.predict.evidence import Explanation
from rffr_jax.predict.face_finding import find_faces, find_faces_in_pixels
from rffr_jax.predict.face_settings import FIND, face_settings, read_preparation
from rffr_jax.predict.inputs import named_file
from rffr_jax.predict.prediction import Prediction, predict_faces
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.installed_model import installed_model
from rffr_jax.runs.model_names import folder_of_model, pinned_model

log = logging.getLogger(__name__)

DEMO, DEMO_DETECTOR = pathlib.Path("runs", "quickstart"), "RFFR"
Crops = UInt8[np.ndarray, "n size size 3"]
Differences = Float16[np.ndarray, "n covered pixels"]


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
      dtype: what matrices are multiplied in, such as `float32`.
      training_origins: of the data that the detector and its MAE or UNet were trained on.
      note: a warning to show beside every score; '' if there is none.
    """

    def __init__(
        self, trained: TrainedDetector, folder: pathlib.Path, checkpoint: str, name: str = ""
    ):
        self.folder, self.checkpoint, self._trained = folder, checkpoint, trained
        self.name = name or str(folder)
        self.about = trained.about
        self.dtype = np.dtype(trained.detection.dtype).name
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
        datasets = {*names, *self.about["trained_datasets"], *trained.autoencoder_datasets()}
        note = note_on_training(datasets, self.about["trained_methods"])
        self.note = "; ".join(filter(None, (trained.statement.rstrip("."), note)))

    @property
    def parts(self) -> tuple[Detection, PyTree, PyTree]:
        """Its forward functions, its parameters, and those of what its residuals come from."""
        return self._trained.detection, self._parameters, self._trained.frozen

    def predict(
        self,
        source: str | os.PathLike[str] | np.ndarray | Image.Image,
        *,
        faces: str = FIND,
        frames: int = 32,
        threshold: float | None = None,
    ) -> Prediction:
        """The verdict on a photograph or a video, as the job `predict` gives it.

        Args:
          source: a path of an image or a video, uint8 RGB [height, width, 3] pixels, or an image of
            Pillow.
          faces: `find` looks for faces; `given` takes the picture as an aligned crop.
          frames: of a video, at most; the score of a face is the mean over them.
          threshold: a raw score above it is `fake`; None takes the detector's own.

        Returns:
          `status` and `score`; a file that cannot be read, or has no face that can be judged, is
          `unknown`, with a `reason`.

        Raises:
          UserError: the source is neither, a setting that is not possible, or a package that finds
            faces or reads videos is missing.
        """
        if isinstance(source, (list, tuple)):
            raise UserError(
                "predict takes one source; write [detector.predict(one) for one in sources]"
            )
        video_score = VideoScore.of("mean", 1, frames)
        rules = decision_rules(self.operating_point, threshold, video_score)
        settings = face_settings(
            self.about["preparations"], self.image_size, faces=faces, frames=frames
        )
        if isinstance(source, (str, os.PathLike)):
            found = find_faces(named_file(source), settings, self.image_size)
        else:
            found = find_faces_in_pixels(rgb_pixels(source), settings, self.image_size)
        (prediction,) = predict_faces(self, [found], rules, video_score, settings.note)
        return prediction

    def score(
        self, images: Sequence[np.ndarray | Image.Image] | np.ndarray
    ) -> Float64[np.ndarray, "..."]:
        """Raw scores of aligned face crops, in [0, 1]; a higher one means more likely `fake`.

        Args:
          images: a list of crops of any sizes, each uint8 RGB [height, width, 3] or an image of
            Pillow, or an array [..., height, width, 3].

        Returns:
          One score a crop: [n] for a list, [...] for an array.

        Raises:
          UserError: an image of another type or shape, or weights that are broken.
        """
        if not isinstance(images, (np.ndarray, Sequence)):
            raise UserError(
                f"images is a {type(images).__name__}; give a list of face crops, or an array of "
                "NumPy of shape [..., height, width, 3]"
            )
        leading = (len(images),)
        if isinstance(images, np.ndarray) and images.ndim >= 3:
            leading = images.shape[:-3]
            images = images.reshape(-1, *images.shape[-3:])
        return self.score_crops(self._crops(images))[0].reshape(leading)

    def probabilities(self, scores: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"] | None:
        """Calibrated probabilities of `fake` for scores of single crops; None without calibration.

        They hold for data like those that the calibration was fitted on, with as many fakes.
        """
        calibration = self.operating_point.image.calibration
        return None if calibration is None else calibration.probabilities(scores)

    def explain(self, image: np.ndarray | Image.Image) -> Explanation:
        """The score of one aligned face crop, and pictures of the detector's inputs.

        Args:
          image: uint8 RGB [height, width, 3], or an image of Pillow.

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
                blocks=self.blocks,
                patch_size=self.patch_size,
                alpha=self.alpha,
                reference=self.reference,
            )
            for i in range(len(crops))
        ]

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        card: str = "",
        preparation: str | os.PathLike[str] = "",
    ):
        """Writes a model folder, which `load_detector` and `--config.detector` take.

        Thresholds, calibrations and the reference of real faces go with it where they were chosen
        on the weights as they are saved.

        Args:
          folder: does not exist, or is empty.
          dtype: of the arrays: `float32`, or `float16` in half the space.
          card: text of README.md; its first paragraph becomes a note on every score. '' takes the
            card of the training; of a model folder its README.md and its note.
          preparation: a preparation.json that says how the training's faces were cut out, where
            the training's data do not record it; `predict` cuts faces out so.

        Raises:
          UserError: the folder holds something, or cannot be written; the card has no paragraph;
            the preparation is none, or another than that of the training.
        """
        about = self.about
        if preparation:
            record = read_preparation(pathlib.Path(preparation), about["preparations"])
            about = about | {"preparations": [record]}
        self._trained.save_model(
            pathlib.Path(folder), self.checkpoint, self._parameters, dtype, about, card
        )

    def _crops(self, images: Sequence[np.ndarray | Image.Image] | np.ndarray) -> Crops:
        size = self.image_size
        crops = [rgb_pixels(image, f"image {number}") for number, image in enumerate(images)]
        fitted = [
            crop if crop.shape[:2] == (size, size) else resize_to_square(crop, size)
            for crop in crops
        ]
        return np.stack(fitted) if fitted else np.zeros((0, size, size, 3), np.uint8)


def load_detector(
    folder: str | os.PathLike[str] = "",
    *,
    backbone: str | os.PathLike[str] = "",
    checkpoint: str = "last",
    dtype: str = "auto",
    batch_size: int = 32,
) -> LoadedDetector:
    """A trained detector; see `rffr_jax.load_detector`."""
    name = pinned_model(os.fspath(folder), "detector")
    path = _find_folder(name)
    config = ConfigDict(
        {
            "backbone": {"weights": os.fspath(backbone)},
            "dtype": dtype,
            "batch_size": batch_size,
            "data": {"workers": 0, "max_bad_fraction": 1.0},
            "residuals": {"folder": "", "memory_gb": 0.0},  # no image is seen twice
        }
    )
    return LoadedDetector(TrainedDetector(path, make_mesh(), config), path, checkpoint, name)


def _find_folder(named: str) -> pathlib.Path:
    """The folder of the named detector, else of the installed one, else of the demo's first.

    Raises:
      UserError: none is named, installed, or trained by `make demo` below the current folder.
    """
    if named:
        return folder_of_model(named, "detector")
    folder = installed_model()
    if folder is not None:
        log.info("no detector is named: the installed one is used (%s)", folder)
        return folder
    runs = [file.parent for file in DEMO.glob(f"seed_*/{DEMO_DETECTOR}/run.json")]
    finished = [run for run in runs if read_json_object(run / "run.json")["done"]]
    if not finished:
        raise UserError(
            "no detector is named or installed: `pip install ./pretrained` in the source tree "
            "installs a research demonstration for photographs, `make demo` trains one on drawn "
            "faces, and --config.detector=DIR names yours"
        )
    folder = min(finished, key=lambda run: int(run.parent.name.removeprefix("seed_")))
    log.info("no detector is named: %s, which `make demo` trained, is used", folder)
    return folder
