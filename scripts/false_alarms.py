"""How often real photographs lie above a detector's threshold after what the world does to them.

    python scripts/false_alarms.py --detector runs/detect --reals folder:REAL_FACES

The images must be aligned crops of real faces that the detector has not seen in training; fakes
among them are left out. Each is brought to the detector's size, then saved as JPEG of quality 95
to 50, resized to a share of its side and back, or smoothed by a Gaussian, as in `robustness`.
Scores and threshold are those of the job `predict` for images. Prints a Markdown table with
Wilson's 95 % intervals over images; photographs of one person or one video depend on each other,
and the intervals are too narrow for those. Exit codes: 0 done; 2 a mistake.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import REAL, Dataset
from rffr_jax.images.corruptions import CorruptedDataset, Level, check_level

if TYPE_CHECKING:
    from rffr_jax.predict.detector import LoadedDetector

SWEEP: dict[str, Sequence[Level]] = {
    "jpeg": (95, 90, 80, 70, 60, 50),
    "resize": (0.75, 0.5, 0.25),
    "blur": (0.5, 1.0, 2.0),
}
SAID = {"jpeg": "JPEG, quality", "resize": "resized to (share of the side) and back",
        "blur": "smoothed, standard deviation in pixels"}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="", help="workdir; as for `predict` by default")
    parser.add_argument("--checkpoint", default="last", help="or best:NAME")
    parser.add_argument("--reals", required=True, help="a dataset spec")
    parser.add_argument("--threshold", type=float, help="the detector's own by default")
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    try:
        print(report(args.detector, args.checkpoint, args.reals, args.threshold, args.batch_size))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(
    folder: str, checkpoint: str, spec: str, threshold: float | None, batch_size: int
) -> str:
    """The table, with what must be said of it.

    Raises:
      UserError: no detector, no such data, no real image that can be read, or no such threshold.
    """
    from rffr_jax.data.origins import synthetic_data_note
    from rffr_jax.data.specs import load_dataset
    from rffr_jax.predict.detector import load_detector

    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"--threshold {threshold}: it must lie in [0, 1], as scores do")
    dataset = load_dataset(spec, default_split="test")
    detector = load_detector(folder, checkpoint=checkpoint, batch_size=batch_size)
    limit = detector.threshold if threshold is None else threshold
    reals = [n for n, example in enumerate(dataset.examples) if example.label == REAL]
    rows = [("as they are", *alarms(detector, dataset, reals, limit, batch_size))]
    for kind, levels in SWEEP.items():
        for level in levels:
            check_level(kind, level)
            found = alarms(
                detector, CorruptedDataset(dataset, kind, level), reals, limit, batch_size
            )
            rows.append((f"{SAID[kind]} {level:g}", *found))
    seen = sum(
        any(origins.contains(dataset.examples[n]) for origins in detector.training_origins.values())
        for n in reals
    )
    said = [f"threshold {limit:.4f}, detector {detector.folder}, {checkpoint}; `{spec}`"]
    said += [f"note: {seen} of these images, or their originals, were trained on"] if seen else []
    notes = (detector.note, synthetic_data_note([dataset.examples[n] for n in reals]))
    said += [f"note: {note}" for note in notes if note]
    return "\n".join([*table(rows), "", *said])


def alarms(
    detector: "LoadedDetector",
    dataset: Dataset,
    reals: Sequence[int],
    threshold: float,
    batch_size: int,
) -> tuple[int, int]:
    """How many reals there are that can be read, and how many scores lie above the threshold.

    Raises:
      UserError: none can be read.
    """
    count = above = 0
    for images in _batches(dataset, reals, detector.image_size, batch_size):
        count += len(images)
        above += int(np.count_nonzero(detector.score(images) > threshold))
    if not count:
        raise UserError("--reals: there is no real image that can be read")
    return count, above


def wilson(above: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    interval = stats.binomtest(above, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def table(rows: Sequence[tuple[str, int, int]]) -> list[str]:
    """Lines of Markdown from `(what was done, images, above the threshold)`."""
    lines = [
        "| photographs | images | above the threshold | share in % | 95 % |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, count, above in rows:
        low, high = wilson(above, count)
        share = f"{100 * above / count:.1f} | {100 * low:.1f} to {100 * high:.1f}"
        lines.append(f"| {name} | {count} | {above} | {share} |")
    return lines


def _batches(
    dataset: Dataset, numbers: Sequence[int], size: int, batch_size: int
) -> Iterator[np.ndarray]:
    images: list[np.ndarray] = []
    for number in numbers:
        try:
            images.append(dataset.load(number, size))
        except BadImageError as error:
            logging.warning("left out: %s", error)
            continue
        if len(images) == batch_size:
            yield np.stack(images)
            images = []
    if images:
        yield np.stack(images)


if __name__ == "__main__":
    sys.exit(run_program(main, models=True))
