"""The scores of a detector for the images of a test, in an order that the run does not change."""

import contextlib
import csv
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.runs.atomic_files import atomic_write

CSV_COLUMNS = (
    *("id", "path", "dataset", "method", "video", "frame", "label", "score"),
    *("source", "group"),
)
NEEDED_COLUMNS = ("label", "score")
GEND_COLUMNS = ("files", "labels", "prob_class_0", "prob_class_1")
"""The header of GenD's test_predictions.csv, with more classes behind it where fakes have kinds."""
UNNAMED = "scores"


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of the examples of one or several test sets.

    Attributes:
      examples: what was scored, each (dataset, id) once.
      scores: one finite number an example; higher means more likely fake. For a detector it is
        its raw score, in [0, 1].
      bad: examples whose file could not be used, with the reason; they have no score and are in
        no metric but `n_bad`.
      hashes: of the images, in the order of `examples`; None where they were not at hand.

    Raises:
      UserError: an example is there twice, or a score is not finite.
    """

    examples: Sequence[Example]
    scores: Float64[np.ndarray, " n"]
    bad: Mapping[Example, str] = dataclasses.field(default_factory=dict)
    hashes: ImageHashes | None = None

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

    @property
    def are_probabilities(self) -> bool:
        """Whether all scores lie in [0, 1]."""
        return bool(((self.scores >= 0) & (self.scores <= 1)).all())

    @property
    def fake_methods(self) -> list[str]:
        """Names of the manipulations, sorted."""
        return sorted({example.method for example in self.examples if example.label == FAKE})

    def ordered(self) -> "Predictions":
        """The same predictions sorted by dataset, then id: independent of batches and order."""
        order = sorted(
            range(len(self.examples)),
            key=lambda i: (self.examples[i].dataset, self.examples[i].id),
        )
        bad = sorted(self.bad.items(), key=lambda item: (item[0].dataset, item[0].id))
        return Predictions([self.examples[i] for i in order], self.scores[order], dict(bad))

    def by_dataset(self) -> dict[str, "Predictions"]:
        """The predictions of each dataset, by name; a dataset with only bad files is there, too."""
        names = sorted({example.dataset for example in (*self.examples, *self.bad)})
        parts = {}
        for name in names:
            rows = [i for i, example in enumerate(self.examples) if example.dataset == name]
            bad = {example: why for example, why in self.bad.items() if example.dataset == name}
            parts[name] = Predictions([self.examples[i] for i in rows], self.scores[rows], bad)
        return parts

    def rename_datasets(self, rename: Callable[[str], str]) -> "Predictions":
        """The same predictions under other names of their datasets."""
        examples = [dataclasses.replace(e, dataset=rename(e.dataset)) for e in self.examples]
        return Predictions(examples, self.scores)

    def write_csv(self, path: str | Path) -> None:
        """Writes `predictions.csv`: one line an example, sorted by dataset, then id.

        Scores are written with all their digits, so that reading them back gives the same float64.
        """
        with (
            atomic_write(path) as part,
            open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CSV_COLUMNS)
            ordered = self.ordered()
            for example, score in zip(ordered.examples, ordered.scores, strict=True):
                row = dataclasses.asdict(example) | {"score": repr(float(score))}
                writer.writerow([row[column] for column in CSV_COLUMNS])

    @classmethod
    def read_csv(cls, path: str | Path, *, named: bool = True) -> "Predictions":
        """Reads what `write_csv` wrote, or a table of another program with such a header.

        GenD's test_predictions.csv is read, too. Of other tables `label` and `score` are needed.
        Without `id` the path is the id. Without the others the dataset is `UNNAMED`, the method
        `real` or `fake`, path and video are the id, and source and group are empty: unknown.

        Args:
          named: whether `id` or `path` is needed, too; else rows without are known by their line.

        Raises:
          UserError: no such table; the line is named.
        """
        path = Path(path)
        try:
            with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                reader = csv.DictReader(file)
                header = reader.fieldnames or []
                is_of_gend = set(GEND_COLUMNS) <= set(header)
                if not is_of_gend:
                    _check_header(path, header, named)
                rows = [
                    _example_and_score(
                        _from_gend(row, f"{path}: line {reader.line_num}") if is_of_gend else row,
                        path,
                        reader.line_num,
                    )
                    for row in reader
                ]
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"{path}: {reason}; name a table of predictions") from None
        except csv.Error as error:
            raise UserError(f"{path}: no CSV table ({error}); correct it") from None
        if not rows:
            raise UserError(f"{path}: no predictions in it; name a table with rows")
        return cls([example for example, _ in rows], np.array([score for _, score in rows]))


def _check_header(path: Path, header: Sequence[str], named: bool):
    missing = [name for name in NEEDED_COLUMNS if name not in header]
    if named and "id" not in header and "path" not in header:
        missing.insert(0, "id")
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; a table of predictions has the header "
            f"{','.join(CSV_COLUMNS)}"
        )


def _from_gend(row: dict[str, str | None], place: str) -> dict[str, str | None]:
    """A row of GenD in our columns: class 0 is real, all others are kinds of fakes, of which the
    largest probability counts; a video is a folder of frames, as that program groups them."""
    if None in row or None in row.values():
        return row
    cells = {name: cell or "" for name, cell in row.items()}
    classes = [name for name in cells if re.fullmatch(r"prob_class_[1-9]\d*", name)]
    score = max(_number(cells[name], name, place) for name in classes)
    label = int(_number(cells["labels"], "labels", place) != 0)
    file = cells["files"]
    return {
        **{"id": file, "path": file, "video": file.rpartition("/")[0]},
        **{"label": str(label), "score": repr(score)},
    }


def _example_and_score(row: dict[str, str | None], path: Path, line: int) -> tuple[Example, float]:
    if None in row or None in row.values():
        raise UserError(f"{path}: line {line} has not as many cells as the header; correct it")
    cells = {name: cell for name, cell in row.items() if cell}
    score, label, frame = (
        _number(cells.get(name, "0" if name == "frame" else ""), name, f"{path}: line {line}")
        for name in ("score", "label", "frame")
    )
    if label not in (REAL, FAKE):
        raise UserError(f"{path}: line {line}: label {label:g}; it must be 0 (real) or 1 (fake)")
    name = cells.get("id") or cells.get("path") or f"line {line}"
    example = Example(
        id=name,
        path=cells.get("path", name),
        label=int(label),
        dataset=cells.get("dataset", UNNAMED),
        method=cells.get("method") or ("fake" if label == FAKE else "real"),
        video=cells.get("video", name),
        frame=int(frame),
        source=cells.get("source", ""),
        group=cells.get("group", ""),
    )
    return example, score


def _number(text: str, column: str, place: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    raise UserError(f"{place}: {column} {text!r} is no finite number; correct it")


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


def independence_warnings(predictions: Predictions) -> list[str]:
    """A warning where nothing says on which other images some of them depend."""

    def unknown(example: Example) -> bool:
        return not (example.group or example.source) and example.video == example.id

    count = sum(map(unknown, predictions.examples))
    if not count:
        return []
    return [
        f"{count} of {len(predictions.examples)} images name no source, group or video, and count "
        "as independent: intervals are too narrow where images share one; add such a column"
    ]


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several test sets, or of several pieces of one, as one."""
    hashes = [part.hashes for part in parts if part.hashes is not None]
    return Predictions(
        [example for part in parts for example in part.examples],
        np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        {example: reason for part in parts for example, reason in part.bad.items()},
        ImageHashes.concatenate(hashes) if len(hashes) == len(parts) else None,
    )
