"""The data, weights and tables of others that must be there before anything is trained."""

from collections.abc import Iterator, Sequence

from rffr_jax.config import Config
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.specs import as_tuple, load_dataset, load_unfiltered
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE
from rffr_jax.experiments.external import read_external
from rffr_jax.runs.checkpoints.weights import is_checkpoint
from rffr_jax.runs.model_names import folder_of_model


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
    for name, flags in _starting_weights(config).items():
        if not is_checkpoint(folder_of_model(name, "detector.init")):
            missing.append(
                f"{name} holds no converted weights; make them with scripts/convert_weights.py, or "
                f"start from random weights with {' '.join(flags)}"
            )
    backbone = config.detect.backbone.weights
    if backbone not in ("", *config.autoencoders) and not is_checkpoint(
        folder_of_model(backbone, "backbone.weights")
    ):
        missing.append(
            f"{backbone} holds no converted weights of a backbone; make them with "
            "scripts/convert_weights.py (docs/backbones.md), or name their folder with "
            "--config.detect.backbone.weights=DIR"
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


def _starting_weights(config: Config) -> dict[str, list[str]]:
    """The weights that detectors of the grid start from -> the flags that do without them."""
    rows = {f"rows['{name}'].": row for name, row in config.rows.items()}
    trained = {*config.galleries, *(row.autoencoder for row in rows.values())}
    rows |= {
        f"autoencoders['{name}'].": entry
        for name, entry in config.autoencoders.items()
        if name in trained and "detect" in entry
    }
    found: dict[str, list[str]] = {}
    for place, row in rows.items():
        own = "init" in row.detect.get("detector", {})
        name = (row.detect if own else config.detect).detector.init
        if name and name not in config.autoencoders:
            # Quoted for a shell; a name that begins with a digit is no attribute.
            flag = f'"--config.{place if own else ""}detect.detector.init="'
            flags = found.setdefault(name, [])
            flags += [flag] if flag not in flags else []
    return found
