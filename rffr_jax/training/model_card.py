"""model_card.md: a trained detector, its data, and the uses that it is not made for.

The headings follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

import collections
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from rffr_jax import __version__
from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.origins import Origins, note_on_training
from rffr_jax.evaluation.energy_reference import detector_doubts
from rffr_jax.evaluation.reconstruction_error import doubts
from rffr_jax.evaluation.results import RULES
from rffr_jax.examples import FAKE, REAL, Dataset
from rffr_jax.method.detection_settings import AUTOENCODERS
from rffr_jax.models.sizes import BackboneSettings
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.reports.templates import render
from rffr_jax.runs.atomic_files import read_json_object, write_text
from rffr_jax.runs.model_folder import is_model_folder, read_config
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.validation_metrics import read_validation_metrics

NAME = "model_card.md"
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}


def write_model_card(
    workdir: pathlib.Path,
    config: Config,
    about: Mapping[str, Any],
    training: Dataset,
    validation: Mapping[str, Dataset],
    mae_sources: Origins,
    shortcuts: Sequence[str] = (),
    mae_check: Mapping[str, float | int] = MappingProxyType({}),
    reference_check: Mapping[str, float | str | None] = MappingProxyType({}),
):
    """Writes the card of a finished training into its workdir, in the main process only.

    Args:
      workdir: with metrics.jsonl and, where weights were selected, best.json.
      about: what the detector's checkpoint says of it.
      validation: by the names that metrics.jsonl has for them.
      mae_sources: what the detector's MAE or UNet was pretrained on; none without one.
      shortcuts: of the training data, as `data.shortcuts.shortcut_warnings` names them.
      mae_check: `reconstruction_check.read_reconstruction_check` of the MAE.
      reference_check: of `reference_check.check_against_reference`.
    """
    if not processes.is_main_process():
        return
    mae_datasets = mae_sources.datasets
    note = note_on_training({*about["trained_datasets"], *mae_datasets}, about["trained_methods"])
    sources = {e.source for e in training.examples if e.label == REAL}
    text = render(
        "model_card.md",
        name=workdir.absolute().name,
        note=note[:1].upper() + note[1:],
        version=__version__,
        reads_residual=about["detection"]["inputs"] != "original",
        model=markdown_table([("", ""), *_model(about["detection"])]),
        data=markdown_table(_data(training, validation)),
        origins="\n".join(_origins(config, about, mae_sources, mae_datasets, mae_check)),
        config=config,
        optimizer=_optimizer(config.optimizer),
        rule=RULES[config.selection],
        shortcuts="\n".join(f"- **Shortcut**: {shortcut}." for shortcut in shortcuts),
        validation=_validation(workdir, config, validation) + _reference(reference_check),
        methods=_listed(about["trained_methods"]),
        reals=len(sources),
        folder=workdir,
    )
    write_text(workdir / NAME, text)


def _model(detection: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = detection["model"]
    branches = {"both": "the image and its residual", "original": "only the image"}
    rows = [("reads", branches.get(detection["inputs"], "only the residual"))]
    shape = f"{model['image_size']} px"
    if detection["rival"] is not None:
        numbers = ", ".join(f"{name} {value}" for name, value in detection["rival"].items())
        rows.append(("classifier", f"{detection['backbone']} ({numbers}), {shape}"))
    else:
        size = f"{model['size']}, {shape}, patches of {model['patch_size']} px"
        backbone = detection["pretrained"]
        if backbone is None:
            rows.append(("classifier", f"a ViT for each of them: {size}"))
        else:
            settings = BackboneSettings(**backbone)
            rows.append(("image", f"a pretrained vision transformer: {settings}"))
            part = {"all": "all of it", "norms": "only its norms", "head": "nothing of it"}
            rows.append(("trained of that", part[detection["train"]]))
            if detection["inputs"] == "both":
                rows.append(("residual's classifier", f"a ViT: {size}"))
    if detection["inputs"] != "original":
        kinds = {"mae": "a frozen MAE, trained only on real faces, inpaints block by block",
                 "unet": "a frozen UNet, trained only on real faces, copies the image",
                 "ridge": "a ridge regression on real faces fills block by block",
                 "high_pass": "a high-pass filter", "zero": "zero, a control"}  # fmt: skip
        rows.append(("residual", f"{kinds[detection['residual']]}; alpha {detection['alpha']:g}"))
    if detection["rival"] is None:
        k = detection["k"]
        rows.append(("blocks", f"{k} x {k}, {detection['blocks']}"))
    if detection["embedding"] != "linear":
        rows.append(
            ("patch embedding", f"linear, and {detection['embedding']} added: not the paper's")
        )
    if detection["patch_head"]:
        rows.append(("loss on patches", "from masks of the manipulations: not the paper's"))
    rows.append(("RGB input", f"mean {detection['mean']}, standard deviation {detection['std']}"))
    return rows


def _data(training: Dataset, validation: Mapping[str, Dataset]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("part", "real", "fake", "fakes by method", "originals")]
    parts = {"training": training, **{f"validation: {n}": d for n, d in validation.items()}}
    for name, dataset in parts.items():
        methods = collections.Counter(e.method for e in dataset.examples if e.label == FAKE)
        fakes = ", ".join(f"{method} {count}" for method, count in sorted(methods.items()))
        reals = len(dataset.examples) - methods.total()
        sources = {(e.dataset, e.source) for e in dataset.examples}
        rows.append((name, str(reals), str(methods.total()), fakes, str(len(sources))))
    return rows


def _origins(
    config: Config,
    about: Mapping[str, Any],
    mae_sources: Origins,
    mae_datasets: Sequence[str],
    mae_check: Mapping[str, float | int],
) -> list[str]:
    lines = [f"- Trained on {_code(config.data.train)}: data sets "
             f"{_listed(about['trained_datasets'])}."]  # fmt: skip
    if config.data.validation:
        lines.append(f"- Validated on {_code(config.data.validation)}.")
    if about.get("self_blending"):
        lines.append("- The fakes of the training are blended of its reals while it trains.")
    kind = about["detection"]["residual"]
    if kind in AUTOENCODERS and about["detection"]["inputs"] != "original":
        count = len(mae_sources.sources)
        known = f"{count} originals of {_listed(mae_datasets)}" if count else "not recorded"
        lines.append(f"- Its {AUTOENCODERS[kind]} (`{config.mae}`) learned from: {known}.")
        lines += _reconstruction(mae_check)
    if config.init_from:
        lines.append(f"- It was trained further from `{config.init_from}`. {_statement(config)}")
    if config.detector.init:
        lines.append(f"- It started from `{config.detector.init}`.")
    if config.backbone.weights:
        known = f", digest {about['backbone']}, which it needs" if "backbone" in about else ""
        lines.append(f"- Its pretrained backbone is of `{config.backbone.weights}`{known}.")
    preparations = about["preparations"]
    said = "; ".join(json.dumps(preparation) for preparation in preparations)
    lines.append(
        f"- Faces were found and cut out with `{said}`."
        if preparations
        else "- How the faces were found and cut out is not recorded."
    )
    return lines


def _optimizer(config: Config) -> str:
    name = OPTIMIZERS[config.name]
    if config.sam_rho:
        name += f" with sharpness-aware minimisation (rho {config.sam_rho:g})"
    rate = f"{config.schedule}, {config.warmup_steps} steps of warm-up"
    if config.halve_every:
        rate += f", halved every {config.halve_every} steps"
    return (
        f"{name}, learning rate {config.learning_rate:g} ({rate}), weight decay "
        f"{config.weight_decay:g}"
    )


def _statement(config: Config) -> str:
    """What the author of a model folder said of it; '' for a workdir."""
    folder = folder_of_model(config.init_from, "init_from")
    said = read_config(folder, "init_from")["statement"] if is_model_folder(folder) else ""
    return f"Its card: {said}" if said else ""


def _reconstruction(mae_check: Mapping[str, float | int]) -> list[str]:
    if not mae_check:
        return []
    text = (
        f"- On unseen real faces the squared error of its MAE is {mae_check['mae']:.4f}: "
        f"{mae_check['to_ridge']:.2f} times that of a ridge regression, "
        f"{mae_check['to_telea']:.2f} times that of Telea's inpainting, "
        f"{mae_check['to_training']:.2f} times that on its training faces."
    )
    weak = "**It does not know faces well: its residuals show what it cannot draw.**"
    return [f"{text} {weak}" if doubts(mae_check) else text]


def _validation(workdir: pathlib.Path, config: Config, validation: Mapping[str, Dataset]) -> str:
    rows: list[tuple[str, ...]] = [("data set", "fakes", "weights", "AUC in %")]
    last = read_validation_metrics(workdir)
    for name in validation:
        for metric, value in last.get(name, {}).items():
            if metric.startswith("auc"):
                method = metric.removeprefix("auc").removeprefix("_") or "all"
                rows.append((name, method, f"last, step {last[name]['step']}", _percent(value)))
    best = workdir / "best.json"
    if config.selection != "last" and best.exists():
        for name, entry in read_json_object(best).items():
            where = f"best:{name}, step {entry['step']}"
            methods = _listed(entry["methods"])
            rows.append((_listed(entry["datasets"]), methods, where, _percent(entry["auc"])))
    if len(rows) == 1:
        return "No validation data was named. Measure the detector before it is used."
    return (
        f"{markdown_table(rows)}\n\nOver images, not videos, to watch the training by; those of "
        "best weights were chosen for being high. Numbers to be quoted come from `evaluate` on "
        "test data, with their intervals."
    )


def _reference(check: Mapping[str, float | str | None]) -> str:
    """The detector beside the logistic regression, and whether it counts as untrained."""
    auc, reference = check.get("auc"), check.get("reference_auc")
    lines = []
    if isinstance(auc, float) and isinstance(reference, float):
        lines.append(
            f"On {check['validation']}, over the fakes that it was trained on, its AUC is "
            f"{_percent(auc)}; a logistic regression on energies of high-pass filters has "
            f"{_percent(reference)}."
        )
    found = detector_doubts(check)
    if found:
        lines.append(f"**It counts as untrained: {'; '.join(found)}.**")
    return "".join(f"\n\n{line}" for line in lines)


def _percent(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{100 * value:.1f}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _code(specs: str | Sequence[str]) -> str:
    return ", ".join(f"`{spec}`" for spec in ([specs] if isinstance(specs, str) else specs))
