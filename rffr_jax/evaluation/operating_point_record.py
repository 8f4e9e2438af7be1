"""The operating point that validation data chose, beside the weights that it belongs to."""

import dataclasses
import logging
from pathlib import Path

from rffr_jax.evaluation.operating_point import (
    DEFAULT_OPERATING_POINT,
    OperatingPoint,
    explain_missing_calibration,
)
from rffr_jax.evaluation.threshold import Threshold
from rffr_jax.runs.weight_records import read_valid_record, record_file, write_record

log = logging.getLogger(__name__)

RECORD = "operating_point"


def write_operating_point(detector: Path, checkpoint: str, point: OperatingPoint, weights: str):
    """Writes an operating point beside the detector.

    Args:
      detector: its workdir or model folder.
      weights: digest of the weights that it was chosen for.
    """
    record = {**point.to_json(), "origins": point.origins.to_json()}
    write_record(detector, RECORD, checkpoint, weights, record)


def read_operating_point(detector: Path, checkpoint: str, weights: str) -> OperatingPoint:
    """Reads the record of `write_operating_point`.

    A calibration that does not rise is left out, and a warning says so.

    Args:
      detector: its workdir or model folder.
      weights: digest of the detector's weights.

    Returns:
      `DEFAULT_OPERATING_POINT` if there is no record, or if it belongs to other weights.

    Raises:
      UserError: the file is damaged.
    """
    point = read_valid_record(detector, RECORD, checkpoint, weights, OperatingPoint.from_json)
    if point is None:
        return DEFAULT_OPERATING_POINT
    file = record_file(detector, RECORD, checkpoint)
    return dataclasses.replace(
        point,
        image=_drop_decreasing_calibration(point.image, file),
        video=point.video and _drop_decreasing_calibration(point.video, file),
    )


def _drop_decreasing_calibration(threshold: Threshold, file: Path) -> Threshold:
    if threshold.calibration is None or threshold.calibration.is_increasing:
        return threshold
    log.warning("%s: %s; its threshold is used", file, explain_missing_calibration(threshold))
    return dataclasses.replace(threshold, calibration=None)
