"""Makes one data set of records from all media of a benchmark, even where a run is stopped.

The faces of each medium are written to a file of their own first, in a folder beside the data set
that is deleted at the end. A run that was killed finds them there and resumes. The order of records
depends only on their ids, so that the result is the same. At the end the ids in the shards are
compared with those in the files. The report is written last. A data set with a report is finished
and is never replaced.
"""

import collections
import logging
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm

from rffr_jax.data.readers.records import PREPARATION, FaceRecord
from rffr_jax.errors import UserError
from rffr_jax.faces.media import SPLITS, Benchmark, Medium
from rffr_jax.faces.prepare import PreparationSettings, medium_facts
from rffr_jax.faces.report import draw_sheet, make_report
from rffr_jax.faces.runners import Runner, Task, Work
from rffr_jax.faces.shards import VERSION, check_name, read_ids, write_dataset
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.inventory import Inventory, describe_changes, make_inventory
from rffr_jax.runs.lock import locked_folder

log = logging.getLogger(__name__)

REPORT = "report.json"
SECONDS_BETWEEN_LINES = 60.0
_BEGUN = "begun.json"
_PROGRESS = "{n_fmt} of {total_fmt} videos, {rate_fmt}, {remaining} left"


def build_dataset(
    benchmark: Benchmark,
    settings: PreparationSettings,
    output: pathlib.Path,
    name: str,
    *,
    run: Runner,
    max_bad_fraction: float,
    min_coverage: float = 0.0,
) -> pathlib.Path:
    """Prepares all media, packs their records and checks them.

    A data set that the same settings made of the same media is kept as it is.

    Args:
      output: the data set becomes OUTPUT/NAME/VERSION.
      name: small letters, digits and underscores.
      run: `run_sequentially`, `process_runner(n)` or `beam_runner(...)`.
      max_bad_fraction: of all media may have given no face; where it is more than one, also of
        those of each split, data set and method.
      min_coverage: share of all media that must be there and readable.

    Returns:
      The data set's version folder, with `report.json` in it.

    Raises:
      UserError: another run is at work there; other records are there, or were begun; the disk is
        full; media are lost; or too many gave no face, are missing or unreadable (the data set is
        written all the same).
    """
    check_name(name, "--name")
    compressions = {medium.compression for medium in benchmark.media}
    preparation = settings.to_json() | {"compression": ",".join(sorted(compressions))}
    dataset = output / name / VERSION
    parts = output.absolute() / f".{name}.parts"
    with locked_folder(parts, "--output"):
        try:
            report = _finished_report(dataset, parts, preparation, benchmark)
            if report is None:
                _resume_or_refuse(parts / _BEGUN, preparation, benchmark)
                report = _build(benchmark, Work(parts, settings), dataset, preparation, run)
        except OSError as error:
            raise UserError(
                f"{error.filename or f'--output {output}'}: {error.strerror or error}; when that "
                "is mended, start the same command again to resume"
            ) from error
        shutil.rmtree(parts, ignore_errors=True)
    _tell(report)
    _refuse_too_many_bad(report, dataset, max_bad_fraction)
    _refuse_low_coverage(report, dataset, min_coverage)
    return dataset


def _build(
    benchmark: Benchmark,
    work: Work,
    dataset: pathlib.Path,
    preparation: dict[str, Any],
    run: Runner,
) -> dict[str, Any]:
    tasks = _make_tasks(benchmark)
    todo = [task for task in tasks if not work.done(task)]
    if len(todo) < len(tasks):
        log.info("%d of %d media were prepared before", len(tasks) - len(todo), len(tasks))
    _run(run, work, todo)
    by_split = _media_by_split(benchmark)
    _pack(work, by_split, dataset, preparation)
    _check(work, by_split, dataset)
    report = make_report(work, benchmark) | {"input": _inventory(benchmark)}
    for split, media in by_split.items():
        draw_sheet(dataset / f"{split}.png", work, media, set(report["without_face"]))
    write_json(dataset / REPORT, report)
    return report


def _make_tasks(benchmark: Benchmark) -> list[Task]:
    """With the fake that comes first of each real, one with a mask before one without."""
    paths = {medium.id: medium.path for medium in benchmark.media}
    originals = {m.id: m.original or paths.get(m.source) for m in benchmark.media if m.label}
    fakes: dict[pathlib.Path | None, Medium] = {}
    for medium in sorted(benchmark.media, key=lambda m: m.mask is None):
        if medium.label:
            fakes.setdefault(originals[medium.id], medium)
    tasks = []
    for medium in benchmark.media:
        if medium.label:
            tasks.append(Task(medium, original=originals[medium.id], mask=medium.mask))
        else:
            fake = fakes.get(medium.path)
            tasks.append(Task(medium, fake=fake and fake.path, mask=fake and fake.mask))
    return tasks


def _run(run: Runner, work: Work, tasks: Sequence[Task]):
    """Raises: UserError if a runner ended well and did not do all that it was given."""
    begun = told = time.monotonic()
    with tqdm.tqdm(total=len(tasks), unit=" videos", disable=None, smoothing=0.05) as bar:
        for done, _ in enumerate(run(work, tasks), 1):
            bar.update()
            now = time.monotonic()
            if bar.disable and now - told >= SECONDS_BETWEEN_LINES:  # there is no terminal
                told = now
                line = bar.format_meter(
                    done, len(tasks), now - begun, unit=" videos", bar_format=_PROGRESS
                )
                log.info("%s", " ".join(line.split()))
    lost = [task.medium.id for task in tasks if not work.done(task)]
    if lost:
        raise UserError(
            f"{len(lost)} of {len(tasks)} media were not prepared, or have changed meanwhile "
            f"({lost[0]} the first); start the same command again to resume"
        )


# ---- what was begun or finished before


def _finished_report(
    dataset: pathlib.Path,
    parts: pathlib.Path,
    preparation: Mapping[str, Any],
    benchmark: Benchmark,
) -> dict[str, Any] | None:
    """The report of a data set that the same command made; None if it is still to be made."""
    if not dataset.exists():
        return None
    if not (dataset / REPORT).exists():
        if (parts / _BEGUN).exists():
            return None  # killed after it was packed
        shutil.rmtree(parts, ignore_errors=True)
        raise UserError(f"{dataset} is there and unfinished; delete it, or give another --name")
    report = read_json_object(dataset / REPORT)
    different = _differences(dataset / PREPARATION, preparation)
    media = _inventory(benchmark)
    if report["input"]["sha256"] != media["sha256"]:
        different.append("media")
    if different:
        shutil.rmtree(parts, ignore_errors=True)
        raise UserError(
            f"{dataset} is finished and has other {', '.join(different)}; give another --output or "
            "--name"
        )
    log.info("%s was finished before; delete it to make it again", dataset)
    if changed := describe_changes(report["input"], media):
        log.warning("its input has changed since (%s): these are the records of before", changed)
    return report


def _resume_or_refuse(begun: pathlib.Path, preparation: dict[str, Any], benchmark: Benchmark):
    media = _inventory(benchmark)
    if not begun.exists():
        write_json(begun, preparation | {"input": media})
    elif different := _differences(begun, preparation):
        raise UserError(
            f"{begun.parent} holds an unfinished run with other {', '.join(different)}; give the "
            "same command to resume, or another --output or --name, or delete that folder"
        )
    elif changed := describe_changes(read_json_object(begun)["input"], media):
        log.warning(
            "the input has changed since this was begun (%s): the records will be those of the "
            "files as they are now",
            changed,
        )


def _differences(file: pathlib.Path, preparation: Mapping[str, Any]) -> list[str]:
    there = read_json_object(file)
    return [name for name, value in preparation.items() if there.get(name) != value]


def _inventory(benchmark: Benchmark) -> Inventory:
    return make_inventory((m.id, str(m.path), medium_facts(m)) for m in benchmark.media)


# ---- records


def _pack(
    work: Work,
    by_split: Mapping[str, Sequence[Medium]],
    dataset: pathlib.Path,
    preparation: Mapping[str, Any],
):
    def records(split: str) -> Iterator[FaceRecord]:
        for medium in by_split[split]:
            yield from work.part(medium).records

    write_dataset(
        dataset.parents[1],
        dataset.parent.name,
        {split: lambda split=split: records(split) for split in by_split},
        image_format=work.settings.image_format,
        size=work.settings.crop.size,
        preparation=preparation,
    )


def _check(work: Work, by_split: Mapping[str, Sequence[Medium]], dataset: pathlib.Path):
    """Raises: UserError if the shards hold other ids than the parts of the media."""
    for split, media in by_split.items():
        parts = (work.part(medium, images=False) for medium in media)
        expected = collections.Counter(record.id for part in parts for record in part.records)
        try:
            there = collections.Counter(read_ids(dataset, split))
        except RuntimeError as error:  # of array_record
            reason = " ".join(f"{error}".split())
            raise UserError(
                f"{dataset}: {split} cannot be read back ({reason}); start the same command again"
            ) from error
        if there != expected:
            lost, more = expected - there, there - expected
            raise UserError(
                f"{dataset} is not what was prepared: in {split} {lost.total()} records are lost "
                f"and {more.total()} are there twice or unasked, {min(lost + more)} the first; "
                "start the same command again to pack it again"
            )


def _media_by_split(benchmark: Benchmark) -> dict[str, list[Medium]]:
    by_split = {
        split: [medium for medium in benchmark.media if medium.split == split] for split in SPLITS
    }
    return {split: media for split, media in by_split.items() if media}


# ---- the end


def _tell(report: Mapping[str, Any]):
    for (split, dataset, method), numbers in _cells(report).items():
        log.info(
            "%-10s  %-20s %-20s %6d media %8d faces in %8d frames",
            split, dataset, method, numbers["media"], numbers["faces"], numbers["frames"],
        )  # fmt: skip
    for told_by, count in report["several_faces"].items():
        log.info("%d media show several faces: taken by %s", count, told_by)
    for conversion, count in report["conversions"].items():
        log.info("%d media: %s", count, conversion)
    for reason, count in report["reasons"].items():
        log.info("dropped %6d: %s", count, reason)


def _refuse_too_many_bad(report: Mapping[str, Any], dataset: pathlib.Path, max_bad_fraction: float):
    cells = _cells(report)
    numbers = {"": {key: sum(c[key] for c in cells.values()) for key in ("media", "without_face")}}
    for name, cell in cells.items():
        if cell["without_face"] > 1:
            numbers[f" of {' '.join(name)}"] = cell
    where, worst = max(numbers.items(), key=lambda n: n[1]["without_face"] / n[1]["media"])
    if worst["without_face"] > max_bad_fraction * worst["media"]:
        raise UserError(
            f"{worst['without_face']} of {worst['media']} media{where} gave no face, more than "
            f"--max-bad-fraction {max_bad_fraction:g}; the others are in {dataset}, the reasons in "
            f"{REPORT} there (without_face: {report['without_face'][0]} the first)"
        )


def _refuse_low_coverage(report: Mapping[str, Any], dataset: pathlib.Path, min_coverage: float):
    counts = collections.Counter(medium["status"] for medium in report["media"])
    if counts["ok"] < min_coverage * counts.total():
        raise UserError(
            f"{counts['ok']} of {counts.total()} media could be read ({counts['missing']} missing, "
            f"{counts['error']} with an error), less than --min-coverage {min_coverage:g}; their "
            f"records are in {dataset}, the status of each in {REPORT} there (media)"
        )


def _cells(report: Mapping[str, Any]) -> dict[tuple[str, str, str], dict[str, int]]:
    """The numbers of each split, data set and method."""
    return {
        (split, dataset, method): numbers
        for split, datasets in report["splits"].items()
        for dataset, methods in datasets.items()
        for method, numbers in methods.items()
    }
