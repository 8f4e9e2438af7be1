"""A trained detector as evaluation uses it: its weights, its scores, and what it was trained on."""

import itertools
import logging
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, PyTree

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation import operating_point, residual_reference
from rffr_jax.evaluation.operating_point import OperatingPoint
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.residual_reference import ResidualReference
from rffr_jax.evaluation.scoring import PreparedSet, Scorer
from rffr_jax.examples import Dataset, Example
from rffr_jax.method.detection import AUTOENCODERS, DetectionSettings
from rffr_jax.method.detectors import make_detection
from rffr_jax.method.residual_cache import ResidualCache, parameters_digest, shared_folder
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.checkpoints.weights import (
    BEST,
    FROZEN,
    load_weights,
    read_about,
)

log = logging.getLogger(__name__)


class TrainedDetector:
    """A detect workdir: its last and best weights, and what they were trained on.

    Attributes:
      about: what its checkpoint says of it.
      detection: its forward functions.
      frozen: weights of the MAE or UNet in it; {} without one.
      scorer: of images and data sets.
    """

    def __init__(self, folder: pathlib.Path, mesh: Mesh, config: Config):
        self._folder, self._mesh = folder, mesh
        self.about = read_about(folder, "detector", "detector")
        settings = DetectionSettings.from_json(self.about["detection"])
        self.detection = make_detection(settings, compute_dtype(config.dtype))
        self.alpha = settings.alpha
        self.frozen: PyTree = {}
        if settings.autoencoder:
            self.frozen = load_weights(
                folder / FROZEN[settings.autoencoder],
                "detector",
                self.detection.abstract_frozen,
                mesh,
            )
        self.scorer = Scorer(
            self.detection,
            self.frozen,
            mesh,
            batch_size=config.batch_size,
            workers=config.data.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            kept=ResidualCache(
                self.detection,
                self.frozen,
                mesh,
                folder=shared_folder(config.residuals.folder, folder),
                memory_gb=config.residuals.memory_gb,
            ),
        )

    def predictions(
        self, checkpoint: str, tests: Sequence[Dataset] | Sequence[PreparedSet]
    ) -> Predictions:
        """Scores of all test sets with `last` or `best:NAME`; nothing of a `Dataset` is kept."""
        parameters = self.parameters(checkpoint)
        return concatenate([self.scorer.score(parameters, test) for test in tests])

    def evidence(
        self, checkpoint: str, dataset: Dataset
    ) -> tuple[list[Example], Float32[np.ndarray, "n features"], Float32[np.ndarray, "n _ _ _"]]:
        """Class tokens and attention maps of a data set, as `Scorer.evidence` gives them."""
        return self.scorer.evidence(self.parameters(checkpoint), dataset)

    def require(self, checkpoint: str):
        """Raises: UserError if there is no such checkpoint (`last` or `best:NAME`)."""
        there = ["last", *(f"best:{name}" for name in self._best())]
        if checkpoint not in there:
            raise UserError(
                f"checkpoint={checkpoint!r} is not in {self._folder}; there are {', '.join(there)}"
            )

    def selection_rule(self, checkpoint: str, examples: Sequence[Example]) -> str:
        """How the checkpoint was chosen: last, source, oracle, transfer or unknown.

        A best is `source` if it was chosen on the training domain's own methods, `oracle` if on
        others of them or on a data set that is tested, `transfer` if on a data set that is neither
        trained nor tested on. Names made of a file's path (`PARENT/NAME`) prove neither `source`
        nor `transfer`, and equal originals or files prove that other names mean the same data.

        Args:
          examples: what is tested.
        """
        if checkpoint in ("last", "matched"):
            return {"last": "last", "matched": "oracle"}[checkpoint]
        best = self._best()[checkpoint.removeprefix("best:")]
        chosen, trained = set(best["datasets"]), set(self.about["trained_datasets"])
        tested = {example.dataset for example in examples}
        if chosen <= trained:
            if not set(best["methods"]) <= set(self.about["trained_methods"]):
                return "oracle"
            return "unknown" if _any_is_path(chosen) else "source"
        if chosen & tested:
            return "oracle"
        if chosen & trained or _any_is_path(chosen | trained | tested):
            return "unknown"
        three = (self._seen("training"), self._seen("validation"), Origins.of(examples))
        alike = any(one.resemble(other) for one, other in itertools.combinations(three, 2))
        return "unknown" if alike else "transfer"

    def trained_on(self) -> dict[str, Origins]:
        """What the detector and its MAE or UNet were trained on; nothing where it is not known."""
        autoencoder = AUTOENCODERS.get(self.about["detection"]["residual"], "MAE")
        return {"detector": self._seen("training"), autoencoder: self._seen("mae_training")}

    def operating_point(self, checkpoint: str) -> OperatingPoint:
        """The thresholds and calibrations that are kept for these very weights, if there are."""
        file = self._operating_point_file(checkpoint)
        if not any(processes.all_gather_objects(file.is_file())):
            return operating_point.DEFAULT_OPERATING_POINT
        return operating_point.read_operating_point(
            file, parameters_digest(self.parameters(checkpoint))
        )

    def keep_operating_point(self, checkpoint: str, point: OperatingPoint):
        """Writes thresholds and calibrations beside the weights, for later use."""
        digest = parameters_digest(self.parameters(checkpoint))
        file = self._operating_point_file(checkpoint)
        if not processes.is_main_process():
            return
        try:
            operating_point.write_operating_point(file, point, digest)
        except OSError as error:
            log.warning("%s cannot be written (%s): results.json alone has it", file, error)

    def keep_residual_reference(self, checkpoint: str, reference: ResidualReference):
        """Writes what residuals of real faces are beside the weights, for later use."""
        digest = parameters_digest(self.parameters(checkpoint))
        residual_reference.write_reference(self._folder, checkpoint, reference, digest)

    def _operating_point_file(self, checkpoint: str) -> pathlib.Path:
        return self._folder / "operating_points" / f"{checkpoint.replace(':', '-')}.json"

    def _seen(self, part: str) -> Origins:
        file = self._folder / f"{part}_sources.json"
        if not file.exists():
            return Origins()
        record = read_json_object(file)
        if not all(isinstance(name, str) for names in record.values() for name in _as_list(names)):
            raise UserError(f"{file} is damaged (not lists of names); put a copy back")
        return Origins.from_json(record)

    def parameters(self, checkpoint: str) -> PyTree:
        """The weights of `last` or `best:NAME`, on the mesh.

        Raises:
          UserError: there is no such checkpoint.
        """
        self.require(checkpoint)
        folder = self._folder
        if checkpoint != "last":
            folder = folder / BEST / checkpoint.removeprefix("best:")
        return load_weights(folder, "detector", self.detection.abstract_parameters, self._mesh)

    def _best(self) -> dict[str, Any]:
        record = self._folder / "best.json"
        return read_json_object(record) if record.exists() else {}


def _as_list(names: object) -> list[object]:
    return names if isinstance(names, list) else [None]


def _any_is_path(names: Iterable[str]) -> bool:
    return any("/" in name for name in names)
