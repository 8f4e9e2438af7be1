"""A trained detector as evaluation uses it: its weights, its scores, and what it was trained on."""

import functools
import itertools
import logging
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.data.origin_records import IMAGES, MAE, TRAINING, VALIDATION
from rffr_jax.data.origins import Origins
from rffr_jax.data.preparations import check_same_preparation
from rffr_jax.data.specs import as_tuple
from rffr_jax.errors import UserError
from rffr_jax.evaluation import residual_reference
from rffr_jax.evaluation.operating_point import (
    DEFAULT_OPERATING_POINT,
    RECORD,
    OperatingPoint,
    read_operating_point,
    write_operating_point,
)
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.residual_reference import ResidualReference
from rffr_jax.evaluation.scoring import PreparedSet, Scorer
from rffr_jax.examples import Dataset, Example
from rffr_jax.method.array_cache import parameters_digest, shared_folder
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import AUTOENCODERS, DetectionSettings
from rffr_jax.method.pretrained_backbone import load_named_backbone
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.reports.model_folder_card import first_paragraph, model_folder_card
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.checkpoints.names import BEST
from rffr_jax.runs.checkpoints.weights import load_frozen, load_weights, read_about
from rffr_jax.runs.model_folder import (
    changed_by_rounding,
    is_model_folder,
    read_config,
    write_model,
)
from rffr_jax.runs.model_names import folder_of_model, is_portable
from rffr_jax.runs.validation_metrics import read_metrics_of_weights
from rffr_jax.runs.weight_records import (
    read_record,
    read_valid_record,
    record_file,
    without_names,
    write_record,
)

log = logging.getLogger(__name__)


class TrainedDetector:
    """A detect workdir: its last and best weights, and what they were trained on.

    Attributes:
      about: what its checkpoint says of it.
      detection: its forward functions.
      frozen: weights of the MAE or UNet in it, as they are stored; {} without one. The scorer has
        them in the compute type.
      backbone: weights of its backbone that were not trained, which are not in it; {} without.
      scorer: of images and data sets.
    """

    def __init__(self, folder: pathlib.Path, mesh: Mesh, config: Config):
        self._folder, self._mesh = folder, mesh
        self.about = read_about(folder, "detector", "detector")
        settings = DetectionSettings.from_json(self.about["detection"])
        self.detection = Detection(settings, compute_dtype(config.dtype))
        self.alpha = settings.alpha
        self.frozen: PyTree = {}
        if settings.autoencoder:
            self.frozen = load_frozen(
                folder, settings.autoencoder, "detector", self.detection.abstract_frozen, mesh
            )
        held = self.detection.in_compute_type(self.frozen)
        self.backbone: PyTree = {}
        if settings.is_frozen_in_part:
            self.backbone = self._load_backbone(settings, config)
        self.scorer = Scorer(
            self.detection,
            held,
            mesh,
            batch_size=config.batch_size,
            workers=config.data.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            kept=ResidualCache(
                self.detection,
                held,
                mesh,
                folder=_residuals_folder(config, folder),
                memory_gb=config.residuals.memory_gb,
            ),
        )

    def _load_backbone(self, settings: DetectionSettings, config: Config) -> PyTree:
        named = config.get("backbone", {}).get("weights", "")
        recorded = ""
        if not is_model_folder(self._folder):
            recorded = read_json_object(self._folder / "config.json")["backbone"]["weights"]
        folder = folder_of_model(named or recorded, "backbone.weights")
        assert settings.pretrained is not None
        digest = self.about["backbone"]
        if not named and not (recorded and folder.exists()):
            moved = f", which are not in {folder}" if recorded else ""
            raise UserError(
                f"detector={self._folder} holds only what was trained of a backbone "
                f"({settings.pretrained}; digest {digest}); name the converted weights of the "
                f"rest{moved}, with --config.backbone.weights=FOLDER, `rffr-jax export-model "
                "--backbone=FOLDER` or load_detector(..., backbone=FOLDER)"
            )
        return load_named_backbone(folder, settings.pretrained, digest, self._mesh)

    def predictions(
        self, checkpoint: str, tests: Sequence[Dataset] | Sequence[PreparedSet]
    ) -> Predictions:
        """Scores of all test sets with `last` or `best:NAME`; nothing of a `Dataset` is kept."""
        parameters = self.parameters(checkpoint)
        return concatenate([self.scorer.score(parameters, test) for test in tests])

    def require_checkpoint(self, checkpoint: str):
        """Raises: UserError if there is no such checkpoint (`last` or `best:NAME`)."""
        there = ["last", *(f"best:{name}" for name in self._read_best())]
        if checkpoint not in there:
            raise UserError(
                f"checkpoint={checkpoint!r} is not in {self._folder}; choose {', '.join(there)}"
            )

    def require_same_preparation(
        self, specs: str | Sequence[str], datasets: Sequence[Dataset], option: str
    ) -> dict[str, Dataset]:
        """Checks that faces were prepared like those of the training data.

        Args:
          specs: of `datasets`, one each.
          option: the config entry that names them, for the message.

        Returns:
          The datasets by their specs.

        Raises:
          UserError: as for `preparations.check_same_preparation`.
        """
        by_spec = dict(zip(as_tuple(specs), datasets, strict=True))
        for spec, dataset in by_spec.items():
            check_same_preparation(self.about["preparations"], spec, dataset, option)
        return by_spec

    def selection_rule(self, checkpoint: str, examples: Sequence[Example]) -> str:
        """How the checkpoint was chosen: last, source, oracle, transfer or unknown.

        A best is `source` if it was chosen on the training domain's own methods, `oracle` if on
        others of them or on a data set that is tested, `transfer` if on a data set that is neither
        trained nor tested on. Names made of a file's path (`PARENT/NAME`) prove neither `source`
        nor `transfer`, and equal originals or files prove that other names mean the same data.

        Args:
          examples: what is tested.
        """
        if checkpoint == "matched":
            return "oracle"
        best = self._selected(checkpoint)
        if best is None:
            return "last"
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
        if not self.knows_its_origins:
            return "unknown"
        three = (
            Origins.load(self._folder / TRAINING),
            Origins.load(self._folder / VALIDATION),
            Origins.from_examples(examples),
        )
        alike = any(one.overlaps(other) for one, other in itertools.combinations(three, 2))
        return "unknown" if alike else "transfer"

    @property
    def knows_its_origins(self) -> bool:
        """Whether it is known which originals it was trained on.

        A model folder does not say it, and so no detector that was trained further from one.
        """
        return not is_model_folder(self._folder) and "unknown_origins" not in self.about

    def trained_on(self) -> dict[str, Origins]:
        """What the detector and its MAE or UNet were trained on; nothing where it is not known."""
        autoencoder = AUTOENCODERS.get(self.about["detection"]["residual"], "MAE")
        return {
            "detector": Origins.load(self._folder / TRAINING),
            autoencoder: Origins.load(self._folder / MAE),
        }

    def trained_images(self) -> dict[str, ImageHashes]:
        """The images that the detector and its MAE or UNet were trained on, where recorded."""
        autoencoder = AUTOENCODERS.get(self.about["detection"]["residual"], "MAE")
        return {
            "detector": ImageHashes.load(self._folder / IMAGES[TRAINING]),
            autoencoder: ImageHashes.load(self._folder / IMAGES[MAE]),
        }

    def operating_point(self, checkpoint: str, digest: str = "") -> OperatingPoint:
        """The thresholds and calibrations that are kept for these very weights, if there are.

        Args:
          digest: of the weights, where the caller has loaded them already.
        """
        file = record_file(self._folder, RECORD, checkpoint)
        if not any(processes.all_gather_objects(file.is_file())):
            return DEFAULT_OPERATING_POINT
        digest = digest or parameters_digest(self.parameters(checkpoint))
        return read_operating_point(self._folder, checkpoint, digest)

    def residual_reference(self, checkpoint: str, digest: str) -> ResidualReference | None:
        """The residuals of real faces that were measured for the weights with this digest."""
        from_json = functools.partial(ResidualReference.from_json, k=self.detection.blocks.k)
        name = residual_reference.RECORD
        return read_valid_record(self._folder, name, checkpoint, digest, from_json)

    def write_validation_records(
        self, checkpoint: str, point: OperatingPoint, reference: ResidualReference | None
    ):
        """Writes what was chosen and measured on validation data beside the weights."""
        digest = parameters_digest(self.parameters(checkpoint))
        write_operating_point(self._folder, checkpoint, point, digest)
        if reference is not None:
            name = residual_reference.RECORD
            write_record(self._folder, name, checkpoint, digest, reference.to_json())

    def save_model(
        self,
        folder: pathlib.Path,
        checkpoint: str,
        parameters: PyTree,
        dtype: str,
        about: Mapping[str, Any],
        card: str,
    ):
        """Writes a model folder; see `LoadedDetector.save_pretrained`."""
        autoencoder = self.detection.settings.autoencoder
        parts = {"detector": self.detection.trained_part(parameters)}
        parts |= {autoencoder: self.frozen} if autoencoder else {}
        same = not changed_by_rounding(parts, dtype)
        digest = parameters_digest(parameters)
        config: dict[str, Any] = {"about": about, "selected": self._selected(checkpoint)}
        config["autoencoder_datasets"] = self.autoencoder_datasets()
        config["metrics"] = read_metrics_of_weights(self._folder, self._weights(checkpoint))
        for name in (RECORD, residual_reference.RECORD):
            record = read_record(self._folder, name, checkpoint)
            if record and not (same and record["weights"] == digest):
                log.warning(
                    "the %s belongs to other weights than those in %s, and is left out; choose it "
                    "with the job evaluate, --config.detector=%s and --config.data.validation",
                    name.replace("_", " "),
                    dtype,
                    folder,
                )
                record = None
            config[name] = record and without_names(record)
        config["statement"] = first_paragraph(card) if card else self.statement
        card = card or model_folder_card("detector", folder.name, self._folder)
        write_model(folder, parts, config, card, dtype)

    @property
    def statement(self) -> str:
        """What the author of a model folder says beside every score; '' for a workdir."""
        if is_model_folder(self._folder):
            return read_config(self._folder, "detector").get("statement", "")
        return ""

    def autoencoder_datasets(self) -> list[str]:
        """Names of the data sets that the MAE or UNet learned from; empty where not known."""
        if is_model_folder(self._folder):
            return read_config(self._folder, "detector")["autoencoder_datasets"]
        return Origins.load(self._folder / MAE).datasets

    def _selected(self, checkpoint: str) -> dict[str, Any] | None:
        """The validation that chose the weights; None for the last ones."""
        if is_model_folder(self._folder):
            return read_config(self._folder, "detector")["selected"]
        return None if checkpoint == "last" else self._read_best()[checkpoint.removeprefix("best:")]

    def parameters(self, checkpoint: str) -> PyTree:
        """The weights of `last` or `best:NAME`, on the mesh.

        Raises:
          UserError: there is no such checkpoint.
        """
        self.require_checkpoint(checkpoint)
        folder, shapes = self._weights(checkpoint), self.detection.abstract_trained
        trained = load_weights(folder, "detector", shapes, self._mesh)
        return self.detection.whole(trained, self.backbone)

    def _weights(self, checkpoint: str) -> pathlib.Path:
        """The folder of the weights of `last` or `best:NAME`."""
        if checkpoint == "last":
            return self._folder
        return self._folder / BEST / checkpoint.removeprefix("best:")

    def _read_best(self) -> dict[str, Any]:
        record = self._folder / "best.json"
        return read_json_object(record) if record.exists() else {}


def _residuals_folder(config: Config, detector: pathlib.Path) -> pathlib.Path | None:
    """Where residuals are kept: never beside a detector whose folder is pip's or the hub's."""
    entry = config.residuals.folder
    if is_portable(config.get("detector", "")) and not pathlib.Path(entry).is_absolute():
        return None
    return shared_folder(entry, detector)


def _any_is_path(names: Iterable[str]) -> bool:
    return any("/" in name for name in names)
