"""The measurements of an experiment, and its table: the hand-over from trainings to tables."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

UNKNOWN_TRAINING: Mapping[str, Any] = {
    **{"seconds": None, "inference_seconds": None},
    **{"mae_error_ratio": None, "mae_doubts": {}},
    **{"own_auc": None, "reference_auc": None, "detector_doubts": {}},
}
"""What a row of another program says in place of `summary.measured_rows`."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One detector, tested: a row of a table for one pair of seeds.

    Attributes:
      trained_on: label of the fakes that it learnt from, such as "F2F".
      method: label of the row, such as "Ours".
      rule: how its weights were chosen, as the config asked: last, source, oracle or transfer.
      seed: of the detector.
      mae_seed: of its MAE or UNet; None where it has none.
      aucs: in [0, 1], by the label of the column.
      intervals: 95 % of the AUC over clusters of test images; None where there is one cluster.
      rules: how the weights were chosen for each column, as results.json says.
      training: workdir of `detect`.
      evaluations: workdir of `evaluate` for each column; several columns may share one.
      autoencoder: workdir of `pretrain`; None where there is none.
      seconds: that the training of the detector took.
      inference_seconds: that one image takes, residual included; None where nobody asked.
      mae_check: `reconstruction_check.read_reconstruction_check` of its MAE; {} where it has none,
        or one that was never compared with inpainting without a network.
      detector_check: `reference_check.read_reference_check` of its training; {} where it is not the
        detector that was tested, or where nobody looked.
      tests_training: whether what `training` left is tested; False for a row that only reads its
        data, such as a logistic regression.
    """

    trained_on: str
    method: str
    rule: str
    seed: int
    mae_seed: int | None
    aucs: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float] | None]
    rules: Mapping[str, str]
    training: pathlib.Path
    evaluations: Mapping[str, pathlib.Path]
    autoencoder: pathlib.Path | None
    seconds: float
    inference_seconds: float | None = None
    mae_check: Mapping[str, float | int] = dataclasses.field(default_factory=dict)
    detector_check: Mapping[str, float | str | None] = dataclasses.field(default_factory=dict)
    tests_training: bool = True


@dataclasses.dataclass(frozen=True)
class Claim:
    """The paper says that one row beats another.

    Attributes:
      text: in words.
      better, worse: labels of two rows.
      trained_on: for these fakes; '' for all that the table trains on.
      column: in this column; '' for the mean over the columns that were not trained on.
      caveat: why no number here can confirm it; '' where there is no such reason.
    """

    text: str
    better: str
    worse: str
    trained_on: str = ""
    column: str = ""
    caveat: str = ""


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """A table of the paper, as it is to be written.

    Attributes:
      name: such as "table5".
      variant: the data: synthetic, smoke, photographs or faceforensics.
      title: what is compared, in one line.
      columns: labels in their order.
      seen: for each `RunResult.trained_on` the columns whose fakes it was trained on.
      note: what must be said of made-up data; '' for a benchmark.
      claims: what the paper says of its rows.
      external: label of a row -> `external:FILE`, the predictions of another program.
      command: that makes it again.
      remarks: what else must be known of this table, a sentence each.
      controls: the columns that test on reals with one trace of manipulation, where nobody was
        replaced. No mean over columns holds them.
    """

    name: str
    variant: str
    title: str
    columns: tuple[str, ...]
    seen: Mapping[str, tuple[str, ...]]
    note: str
    claims: tuple[Claim, ...] = ()
    external: Mapping[str, str] = dataclasses.field(default_factory=dict)
    command: str = ""
    remarks: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
