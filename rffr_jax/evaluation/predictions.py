"""What a detector said about each image of a test, in an order that never depends on the run."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rffr_jax.data.examples import Example
from rffr_jax.errors import UserError
from rffr_jax.whole_files import whole_file

CSV_COLUMNS = ("id", "path", "dataset", "method", "video", "frame", "label", "score")


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of the examples of one or several test sets.

    Attributes:
      examples: what was scored, each (dataset, id) once.
      scores: one finite number an example; higher means more likely fake. For a detector it is
        the probability of "fake", in [0, 1].
      bad: examples whose file could not be used, with the reason; they have no score and are in
        no metric but `n_bad`.

    Raises:
      UserError: an example is there twice, or a score is not finite.
    """

    examples: Sequence[Example]
    scores: Float64[np.ndarray, " n"]
    bad: Mapping[Example, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.examples),):
            raise ValueError(f"{len(self.examples)} examples, scores of shape {self.scores.shape}")
        require_unique([*self.examples, *self.bad])
        not_finite = np.flatnonzero(~np.isfinite(self.scores))
        if not_finite.size:
            first = self.examples[not_finite[0]]
            raise UserError(
                f"{not_finite.size} scores are not finite, the first for '{first.id}' of dataset "
                f"'{first.dataset}': the detector's weights are broken, use another checkpoint"
            )

    @property
    def labels(self) -> np.ndarray:
        """int64 [n]: 0 = real, 1 = fake."""
        return np.array([example.label for example in self.examples], dtype=np.int64)

    def ordered(self) -> "Predictions":
        """The same predictions sorted by dataset, then id: independent of batches and order."""
        order = sorted(
            range(len(self.examples)),
            key=lambda i: (self.examples[i].dataset, self.examples[i].id),
        )
        bad = sorted(self.bad.items(), key=lambda item: (item[0].dataset, item[0].id))
        return Predictions([self.examples[i] for i in order], self.scores[order], dict(bad))

    def datasets(self) -> dict[str, "Predictions"]:
        """The predictions of each dataset, by name; a dataset of bad files alone is there too."""
        names = sorted({example.dataset for example in (*self.examples, *self.bad)})
        parts = {}
        for name in names:
            rows = [i for i, example in enumerate(self.examples) if example.dataset == name]
            bad = {example: why for example, why in self.bad.items() if example.dataset == name}
            parts[name] = Predictions([self.examples[i] for i in rows], self.scores[rows], bad)
        return parts

    def write_csv(self, path: str | Path) -> None:
        """Writes `predictions.csv`: one line an example, sorted by dataset, then id.

        Scores are written with all their digits, so that reading them back gives the same float64.
        """
        with (
            whole_file(path) as part,
            open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CSV_COLUMNS)
            ordered = self.ordered()
            for example, score in zip(ordered.examples, ordered.scores, strict=True):
                known = [getattr(example, column) for column in CSV_COLUMNS[:-1]]
                writer.writerow([*known, repr(float(score))])


def require_unique(examples: Sequence[Example]) -> None:
    """Refuses examples of which two have the same data set and id.

    Raises:
      UserError: the first one that is there twice.
    """
    seen: set[tuple[str, str]] = set()
    for example in examples:
        key = (example.dataset, example.id)
        if key in seen:
            raise UserError(
                f"dataset '{example.dataset}' holds '{example.id}' twice: "
                "name each test set once, with unique ids"
            )
        seen.add(key)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several test sets, or of several pieces of one, as one."""
    return Predictions(
        [example for part in parts for example in part.examples],
        np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        {example: reason for part in parts for example, reason in part.bad.items()},
    )
