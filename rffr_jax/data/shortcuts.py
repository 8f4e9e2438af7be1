"""What a detector may learn in place of faces: how the files of reals and of fakes were saved.

Only the headers of image files are read, of a bounded number of them; prepared records hold those
of the files that they were cut from.
"""

import collections
import itertools
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Integer
from sklearn.metrics import roc_auc_score

from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.file_header import FileHeader, read_image_header

MOST_FILES, MOST_METHODS = 1000, 20
"""Files of each class; each of more methods has a twentieth of them."""
FEWEST_FILES = 10
"""Of each class; fewer separate by chance."""
SEPARATES = 0.8
HINT = (
    "a detector may learn this in place of faces; save both alike, and measure what is left with "
    "the control corruptions.format of the job robustness"
)


ATTRIBUTES: dict[str, Callable[[FileHeader], Hashable]] = {
    "file ending": lambda header: header.ending,
    "file format": lambda header: header.format,
    "size": lambda header: header.size,
    "number of pixels": lambda header: round(math.log2(max(1, math.prod(header.size)))),
    "JPEG quantisation tables": lambda header: header.tables,
}


def shortcut_warnings(examples: Sequence[Example]) -> list[str]:
    """A warning for each data set whose labels follow from how its files were saved.

    An attribute separates if its share of fakes, counted in one half of the files, orders the other
    half with an AUC of `SEPARATES` or more. All fakes are looked at first, then each method.

    Args:
      examples: of one or several data sets; those that are no image files are passed over.
    """
    datasets: dict[str, list[Example]] = collections.defaultdict(list)
    for example in examples:
        datasets[example.dataset].append(example)
    return [
        f"dataset '{name}': {found}; {HINT}"
        for name, part in sorted(datasets.items())
        if (found := describe_shortcuts(part))
    ]


def describe_shortcuts(examples: Sequence[Example]) -> str:
    """Which attributes of the files tell reals from fakes, and how well; empty if none does.

    The frames of a video count once: they would tell each other by what is the video's own.
    """
    videos = {(e.label, e.method, e.video): e for e in reversed(examples)}
    methods: dict[str, list[Example]] = collections.defaultdict(list)
    for example in reversed(videos.values()):
        methods[example.method if example.label == FAKE else ""].append(example)
    reals = _read_headers(methods.pop("", []), MOST_FILES)
    most = MOST_FILES // max(1, min(len(methods), MOST_METHODS))
    fakes = {name: _read_headers(own, most) for name, own in sorted(methods.items())}
    groups = {"fakes": list(itertools.chain(*fakes.values()))}
    groups |= {f"fakes of '{name}'": own for name, own in fakes.items()}
    for which, own in groups.items():
        if found := _separating(reals, own):
            return f"reals differ from {which} in {', '.join(found)}"
    return ""


def _read_headers(examples: Sequence[Example], most: int) -> list[FileHeader]:
    """The headers of up to `most` examples, evenly spaced, those that are known."""
    places = np.linspace(0, len(examples) - 1, min(len(examples), most)).round().astype(int)
    headers = [
        FileHeader.from_text(example.original)
        if example.original
        else read_image_header(example.path)
        for example in (examples[place] for place in places)
    ]
    return [header for header in headers if header]


def _separating(reals: Sequence[FileHeader], fakes: Sequence[FileHeader]) -> list[str]:
    found = []
    for what, value in ATTRIBUTES.items():
        known = [[shown for h in headers if (shown := value(h))] for headers in (reals, fakes)]
        labels = np.repeat((REAL, FAKE), [len(values) for values in known]).tolist()
        auc = cross_fitted_auc([*known[0], *known[1]], labels)
        if auc >= SEPARATES:
            found.append(f"{what} (AUC {100 * auc:.0f})")
    return found


def cross_fitted_auc(values: Sequence[Hashable], labels: Sequence[int]) -> float:
    """How well the share of fakes of a value, counted in other examples, orders the examples.

    The values of an attribute that is different in every file tell nothing of other files, so each
    half of the examples is ordered by what is counted in the other one.

    Returns:
      The AUC; 0.5 with fewer than `FEWEST_FILES` of a class.
    """
    kinds = np.asarray(labels)
    if min(np.count_nonzero(kinds == label) for label in (REAL, FAKE)) < FEWEST_FILES:
        return 0.5
    half = _alternating(kinds)
    shares = np.zeros(len(kinds))
    for one in (0, 1):
        counted: dict[Hashable, list[float]] = collections.defaultdict(lambda: [1.0, 1.0])
        for place, (value, label) in enumerate(zip(values, labels, strict=True)):
            counted[value][label] += half[place] != one
        for place in np.flatnonzero(half == one).tolist():
            reals, fakes = counted[values[place]]
            shares[place] = fakes / (reals + fakes)
    return float(roc_auc_score(kinds, shares))


def _alternating(labels: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """0 and 1 by turns within each class."""
    half = np.zeros(len(labels), np.int64)
    for label in (REAL, FAKE):
        places = np.flatnonzero(labels == label)
        half[places] = np.arange(len(places)) % 2
    return half
