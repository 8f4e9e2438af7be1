"""The data, weights and tables of others that must be there before anything is trained."""

import pathlib
from collections.abc import Iterator, Sequence

from rffr_jax.config import Config
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.specs import as_tuple, load_dataset, load_unfiltered
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE
from rffr_jax.experiments.external import read_external
from rffr_jax.runs.checkpoints.weights import is_checkpoint


def require_prerequisites(config: Config):
    """Raises: UserError that lists all data, weights and tables of others that are not there."""
    missing = []
    for spec in dict.fromkeys(_all_specs(config)):
        if not spec.startswith(f"{PROCEDURAL}:"):
            try:
                load_unfiltered(spec)
            except UserError as error:
                missing.append(str(error))
    if not missing:
        missing += _unfit_data(config)
    for name in dict.fromkeys(_starting_weights(config)):
        if not is_checkpoint(pathlib.Path(name)):
            missing.append(
                f"{name} holds no converted weights; make them with scripts/convert_weights.py, or "
                "start from random weights with --config.detect.detector.init="
            )
    for label, table in external_tables(config).items():
        try:
            read_external(label, table)
        except UserError as error:
            missing.append(str(error))
    missing = list(dict.fromkeys(missing))
    if missing:
        raise UserError(
            f"{len(missing)} things are missing, and nothing was trained: "
            + "; ".join(f"({number}) {text}" for number, text in enumerate(missing, start=1))
        )


def _unfit_data(config: Config) -> Iterator[str]:
    """Manipulations and columns of the table that the data lack."""
    for label, fakes in config.trained_on.items():
        for method in fakes.get("data", {}).get("methods", ()):
            yield from _find_missing(config.data.train, "train", method, f"training on {label}")
    for label, column in config.columns.items():
        yield from _find_missing(column.test, "test", column.method, f"column {label}")


def _find_missing(
    specs: str | Sequence[str], default_split: str, method: str, where: str
) -> Iterator[str]:
    examples = load_dataset(as_tuple(specs), default_split=default_split).examples
    datasets = {example.dataset for example in examples}
    methods = {example.method for example in examples if example.label == FAKE}
    if default_split == "test" and len(datasets) > 1:
        yield (
            f"{where}: {', '.join(as_tuple(specs))} holds {len(datasets)} data sets "
            f"({', '.join(sorted(datasets))}); keep one with ?dataset=NAME"
        )
    if method and method not in methods:
        yield (
            f"{where}: no fakes of {method} in {', '.join(as_tuple(specs))}; there are "
            f"{', '.join(sorted(methods)) or 'none'}"
        )


def external_tables(config: Config) -> dict[str, str]:
    """Label of a row -> the table of another toolkit."""
    rows = [entry.partition("=") for entry in config.external.split(",") if entry]
    for label, _, table in rows:
        if not table:
            raise UserError(f"external: '{label}' names no table; write LABEL=external:FILE")
    return {label: table for label, _, table in rows}


def _all_specs(config: Config) -> Iterator[str]:
    """Every spec that a run of the grid may name."""
    for name in ("pretrain", "pretrain_validation", "train", "validation", "chosen_on"):
        yield from as_tuple(config.data[name])
    for overrides in (
        *config.autoencoders.values(),
        *config.trained_on.values(),
        *(row.detect for row in config.rows.values()),
    ):
        for name in ("train", "validation"):
            yield from as_tuple(overrides.get("data", {}).get(name, ()))
    for column in config.columns.values():
        yield from as_tuple(column.test)


def _starting_weights(config: Config) -> Iterator[str]:
    rows = (*config.rows.values(), *(e for e in config.autoencoders.values() if "detect" in e))
    for job in (config.detect, *(row.detect for row in rows)):
        name = job.get("detector", {}).get("init", "")
        if name and name not in config.autoencoders:
            yield name
