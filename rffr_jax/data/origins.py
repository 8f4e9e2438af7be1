"""Where images come from: what a training has seen, and what must be said of made-up data."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.examples import Example
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.synthetic.manipulations import METHODS

FILES = ":files"
PROCEDURAL = "synthetic"
NOTES = {
    "procedural": "procedural faces and manipulations: this says nothing about real deepfakes",
    "made here": "manipulations made by this program: this says nothing about real deepfakes",
}


def synthetic_data_note(examples: Sequence[Example]) -> str:
    """What must stand beside numbers or pictures of data that this program made; else empty."""
    if any(example.dataset.partition(":")[0] == PROCEDURAL for example in examples):
        return NOTES["procedural"]
    return NOTES["made here"] if any(e.method in METHODS for e in examples) else ""


def note_on_training(datasets: Collection[str], methods: Collection[str]) -> str:
    """What must stand beside every verdict of a detector that learned from data made here.

    Args:
      datasets: that the detector, or the MAE in it, was trained on.
      methods: of its fakes.
    """
    if any(dataset.partition(":")[0] == PROCEDURAL for dataset in datasets):
        return (
            "this detector was trained on procedural faces: it is for trying the program, not for "
            "judging people"
        )
    if any(method in METHODS for method in methods):
        return (
            "this detector was trained on manipulations made by this program: what it says about "
            "real deepfakes has not been shown"
        )
    return ""


@dataclasses.dataclass(frozen=True)
class Origins:
    """What images were made from: enough to see if two sets of examples have any in common.

    Attributes:
      sources: (data set, source) of every example.
      files: absolute path of every file, links resolved; procedural images have none.
    """

    sources: frozenset[tuple[str, str]] = frozenset()
    files: frozenset[str] = frozenset()

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, sorted."""
        return sorted({dataset for dataset, _ in self.sources})

    @classmethod
    def from_examples(cls, examples: Sequence[Example]) -> "Origins":
        """The origins of some examples."""
        return cls(
            frozenset((example.dataset, example.source) for example in examples),
            frozenset(filter(None, map(_file, examples))),
        )

    @classmethod
    def from_json(cls, record: dict[str, list[str]]) -> "Origins":
        """What `to_json` made; a record without files is read as well."""
        sources = {
            (dataset, name) for dataset, names in record.items() if dataset != FILES
            for name in names
        }  # fmt: skip
        return cls(frozenset(sources), frozenset(record.get(FILES, ())))

    def to_json(self) -> dict[str, Any]:
        """`{DATA SET: [source, ...], ..., ":files": [path, ...]}`, all sorted."""
        record: dict[str, list[str]] = {}
        for dataset, source in sorted(self.sources):
            record.setdefault(dataset, []).append(source)
        return {**record, FILES: sorted(self.files)}

    @classmethod
    def load(cls, file: pathlib.Path) -> "Origins":
        """Those of a file that holds `to_json`; none where there is no file.

        Raises:
          UserError: the file is damaged.
        """
        record = read_json_object(file) if file.exists() else {}
        for names in record.values():
            if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise UserError(f"{file} is damaged (not lists of names); put a copy back")
        return cls.from_json(record)

    def union(self, *others: "Origins") -> "Origins":
        """These and all others."""
        parts = (self, *others)
        return Origins(
            frozenset().union(*(part.sources for part in parts)),
            frozenset().union(*(part.files for part in parts)),
        )

    def contains(self, example: Example) -> bool:
        """Whether the example's original or its very file is among these."""
        return (example.dataset, example.source) in self.sources or _file(example) in self.files

    def overlaps(self, other: "Origins") -> bool:
        """Whether the two have a file in common, or a source's name in whatever data sets."""
        names, others = ({source for _, source in o.sources} for o in (self, other))
        return bool(names & others or self.files & other.files)


def _file(example: Example) -> str | None:
    if example.path.startswith(f"{PROCEDURAL}:"):
        return None
    return os.path.realpath(example.path)
