"""Results of the units of an experiment as small files, which other machines' results join.

    units/unit_N.csv.gz scores: a line a test image with the columns of the table that it counts
                        in, a column a detector; people are digests
    units/unit_N.json   settings, and what a table says of each detector beside its scores

A unit is a seed with data, a MAE and detectors of its own. Weights chosen for each column (the rule
`oracle`) have several scores an image, and are left out.
"""

import collections
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import math
import pathlib
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.config import Config, flat, local_path
from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example
from rffr_jax.experiments.auc_replicates import ReadScores
from rffr_jax.experiments.run_key import WITHOUT_EFFECT, read_entries
from rffr_jax.experiments.run_result import RunResult
from rffr_jax.runs.atomic_files import atomic_write, read_json_object, write_json

ABOUT_IMAGE = ("dataset", "method", "label", "person", "columns")
FACTS = ("seed", "mae_seed", "aucs", "intervals", "rules", "seconds", "mae_check", "detector_check")
"""Of a `RunResult`, beside the names of its row."""

DAMAGED = (csv.Error, EOFError, zlib.error)
_SETTINGS = ("pretrain", "detect", "evaluate", "rows", "columns", "trained_on", "autoencoders")
_OF_DATA = ("data.train", "data.validation")


@dataclasses.dataclass(frozen=True)
class KeptUnits:
    """Detectors of other machines.

    Attributes:
      results: of each; they name no folders.
      scores: of a result, by the column of the table.
    """

    results: Sequence[RunResult]
    scores: Mapping[int, Mapping[str, Predictions]]

    def of(self, run: RunResult) -> Mapping[str, Predictions] | None:
        """The scores of a detector, by the column; None for one of this machine."""
        return self.scores.get(id(run))


def write_units(
    folder: pathlib.Path, config: Config, results: Sequence[RunResult], read_scores: ReadScores
):
    """Writes a pair of files for each unit.

    Args:
      config: of the experiment, with {seed} in its specs.
      read_scores: of the images of a column.
    """
    for seed in sorted({run.seed for run in results}):
        runs = [run for run in results if run.seed == seed and run.rule != "oracle"]
        scores = [_all_columns(run, read_scores) for run in runs]
        if not runs:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        columns = _columns_of_images(runs[0], read_scores)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*ABOUT_IMAGE, *map(_name, runs)])
        for image, of_image in columns.items():
            about = (image.dataset, image.method, image.label, _digest(image))
            of_runs = (_score_text(of_run[image]) for of_run in scores)
            writer.writerow([*about, json.dumps(of_image), *of_runs])
        with atomic_write(folder / f"unit_{seed}.csv.gz") as part:
            part.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
        facts = {_name(run): {fact: getattr(run, fact) for fact in FACTS} for run in runs}
        found = {"settings": settings_of(config), "runs": facts}
        write_json(folder / f"unit_{seed}.json", found)


def read_units(folders: str, config: Config, own_seeds: Collection[int]) -> KeptUnits:
    """The units in some folders.

    Args:
      folders: with commas between; '' for none.
      config: of the experiment that they join, with {seed} in its specs.
      own_seeds: units of this machine.

    Raises:
      UserError: there are none, a unit is there twice, its files are damaged, or it was trained or
        tested otherwise.
    """
    results, scores = [], {}
    seeds = dict.fromkeys(own_seeds, "this machine")
    for name in filter(None, folders.split(",")):
        files = sorted(local_path(name, "units").glob("unit_*.json"))
        if not files:
            raise UserError(f"units={name} holds no unit_N.json; copy WORKDIR/units of a run")
        for file in files:
            unit = _read_unit(file, config)
            for seed in {run.seed for run, _ in unit}:
                if seed in seeds:
                    raise UserError(
                        f"units: unit {seed} is in {file} and in {seeds[seed]}; name it once, or "
                        "choose other --config.seeds"
                    )
                seeds[seed] = str(file)
            results += [run for run, _ in unit]
            scores |= {id(run): predictions for run, predictions in unit}
    return KeptUnits(results, scores)


def joined_reader(
    kept: KeptUnits, read_scores: ReadScores
) -> Callable[[RunResult, str], Predictions]:
    """Reads the scores of all detectors, with people under the same digests."""

    def read(run: RunResult, column: str) -> Predictions:
        found = kept.of(run)
        if found is not None:
            return found[column]
        here = read_scores(run, column)
        examples = [dataclasses.replace(e, group=_digest(e)) for e in here.examples]
        return Predictions(examples, here.scores)

    return read


def settings_of(config: Config) -> dict[str, Any]:
    """What shapes the results of an experiment but its seeds and training data, by dotted names.

    Args:
      config: with {seed} in its specs.
    """
    sections = {name: config[name].to_dict() for name in _SETTINGS}
    entries = flat(json.loads(json.dumps(sections)))
    left_out = (*WITHOUT_EFFECT, *_OF_DATA, "seed", "mae", "detector.init")
    return {
        name: value
        for name, value in entries.items()
        if name.partition(".")[2] not in left_out and not name.endswith(_OF_DATA)
    }


def _that_are_read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the entries of MAEs and detectors that no row reads."""
    rows = [_below(row, "detect") for row in _sections(settings, "rows")]
    unread: set[str] = set()
    for job, changes in (("pretrain", _sections(settings, "autoencoders")), ("detect", rows)):
        shared = _below(settings, job)
        read = {name for change in ({}, *changes) for name in read_entries(shared | change)}
        unread |= {f"{job}.{name}" for name in shared.keys() - read}
    return {name: value for name, value in settings.items() if name not in unread}


def _below(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    start = f"{section}."
    return {k.removeprefix(start): v for k, v in settings.items() if k.startswith(start)}


def _sections(settings: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    within = _below(settings, section)
    return [_below(within, name) for name in sorted({k.partition(".")[0] for k in within})]


def _all_columns(run: RunResult, read_scores: ReadScores) -> dict[Example, float]:
    found: dict[Example, float] = {}
    for column in run.aucs:
        part = read_scores(run, column)
        found |= dict(zip(part.examples, part.scores.tolist(), strict=True))
    return found


def _columns_of_images(run: RunResult, read_scores: ReadScores) -> dict[Example, list[str]]:
    """The columns in which every test image counts, which are the same for all detectors."""
    found: dict[Example, list[str]] = {}
    for column in run.aucs:
        for example in read_scores(run, column).examples:
            found.setdefault(example, []).append(column)
    return dict(sorted(found.items(), key=lambda item: (item[0].dataset, item[0].id)))


def _score_text(score: float) -> str:
    """Nine digits of a score, or of what it lacks of 1 where that is little: no two become one."""
    lacks = 1.0 - score
    return f"{score:.{8 - math.floor(math.log10(lacks))}f}" if 0 < lacks < 0.1 else f"{score:.9g}"


def _name(run: RunResult) -> str:
    return json.dumps([run.trained_on, run.method, run.rule])


def _digest(example: Example) -> str:
    """A name for a person that is no plain name; who knows the names can find it."""
    return hashlib.sha256(f"{example.dataset}\n{example.cluster}".encode()).hexdigest()[:16]


def _read_unit(
    file: pathlib.Path, config: Config
) -> list[tuple[RunResult, dict[str, Predictions]]]:
    found = read_json_object(file)
    try:
        _require_same(found["settings"], settings_of(config), file)
        scores = _read_scores(file.with_suffix(".csv.gz"))
        return [(_result(label, facts), scores[label]) for label, facts in found["runs"].items()]
    except (AttributeError, LookupError, OSError, TypeError, ValueError, *DAMAGED) as error:
        raise UserError(
            f"{file} and its .csv.gz cannot be read ({type(error).__name__}: {error}); copy the "
            "folder again"
        ) from None


def _result(label: str, facts: Mapping[str, Any]) -> RunResult:
    trained_on, method, rule = json.loads(label)
    intervals = {c: i and (i[0], i[1]) for c, i in facts["intervals"].items()}
    return RunResult(
        trained_on=trained_on,
        method=method,
        rule=rule,
        **{**facts, "intervals": intervals},
        training=pathlib.Path(),
        evaluations={},
        autoencoder=None,
    )


def _read_scores(file: pathlib.Path) -> dict[str, dict[str, Predictions]]:
    """The scores of every detector in every column."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    if tuple(header[: len(ABOUT_IMAGE)]) != ABOUT_IMAGE:
        raise ValueError(f"no columns {', '.join(ABOUT_IMAGE)}; an older version wrote it")
    examples, scores, of_column = [], [], collections.defaultdict(list)
    for i, (dataset, method, label, person, columns, *of_runs) in enumerate(rows):
        name = str(i)
        examples.append(Example(name, "", int(label), dataset, method, name, 0, "", person))
        scores.append(of_runs)
        for column in json.loads(columns):
            of_column[column].append(i)
    table = np.array(scores, np.float64)
    return {
        name: {
            column: Predictions([examples[i] for i in images], table[images, number])
            for column, images in of_column.items()
        }
        for number, name in enumerate(header[len(ABOUT_IMAGE) :])
    }


def _require_same(there: Mapping[str, Any], here: Mapping[str, Any], file: pathlib.Path):
    there, here = _that_are_read(there), _that_are_read(here)
    for name in sorted({*there, *here}):
        if there.get(name) != here.get(name):
            raise UserError(
                f"{file} was made with other settings ({name} is {there.get(name)!r} there and "
                f"{here.get(name)!r} here); join units of one experiment, or add to the file what "
                "an older version did not write"
            )
