"""What is told of weights besides their arrays: by the file itself, and by settings beside it.

A folder of downloads may hold the settings of another model, so they count only where they agree
with the arrays.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rffr_jax.convert.files import WeightFile
from rffr_jax.errors import UserError
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.text_files import read_json

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
ITSELF = "the file itself"
MODEL_TYPES = {True: ("vit_mae",), False: ("vit", "vit_mae", "vit_msn", "deit")}
"""transformers' names of what the arrays of a file with and without a decoder belong to."""
SILENT = "it says nothing of the model that can be compared with the arrays"


@dataclasses.dataclass(frozen=True)
class StatedSettings:
    """What is told, by who tells it; the first one who speaks of something counts.

    Attributes:
      by: settings by their names in transformers, under `ITSELF` or the name of a file.
      notes: files that were not believed, and why.
    """

    by: Mapping[str, Mapping[str, Any]]
    notes: list[str] = dataclasses.field(default_factory=list)

    def find(self, name: str) -> tuple[Any, str]:
        """A setting and who tells it; None and "" where nobody does."""
        for source, said in self.by.items():
            if said.get(name) is not None:
                return said[name], source
        return None, ""


def read_stated_settings(
    file: WeightFile, kind: str, decodes: bool, model: ModelSettings
) -> StatedSettings:
    """What a file says of itself, then the believed settings beside it.

    Args:
      kind: of the file, by its names.
      model: the size that the arrays have.

    Raises:
      UserError: settings that are no JSON object.
    """
    config = _read(file.path.with_name(CONFIG))
    preprocessor = _read(file.path.with_name(PREPROCESSOR))
    by, notes = {ITSELF: file.said}, []
    if config is None:
        why = f"no {CONFIG} is beside it that agrees with the arrays"
    else:
        why = next(_objections(config, kind, decodes, model), None)
        if why is not None:
            notes.append(f"{CONFIG} was not used: {why}")
            why = f"the {CONFIG} beside it is not this model's"
    if why is not None and preprocessor is not None:
        notes.append(f"{PREPROCESSOR} was not used: {why}; --normalisation says what it would")
    elif preprocessor is not None:
        by[PREPROCESSOR] = preprocessor
    if config is not None and why is None:
        by[CONFIG] = _with_names_of_transformers(config)
    return StatedSettings(by, notes)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object, but a {type(found).__name__}")
    return found


def _with_names_of_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' settings as they are, and timm's under transformers' names."""
    trained, changed = (_object(config, name) for name in ("pretrained_cfg", "model_args"))
    activation = changed.get("act_layer")
    if "quickgelu" in str(config.get("architecture")):
        activation = "quick_gelu"
    timm = {
        "num_attention_heads": changed.get("num_heads"),
        "hidden_act": activation,
    }
    if {"mean", "std"} <= trained.keys():
        timm |= {"image_mean": trained["mean"], "image_std": trained["std"]}
    return {**timm, **config}


def _object(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _objections(
    config: Mapping[str, Any], kind: str, decodes: bool, model: ModelSettings
) -> Iterator[str]:
    """Why settings are not those of the arrays; nothing where they agree."""
    compared = False
    model_type, architecture = config.get("model_type"), config.get("architecture")
    if model_type is not None:
        compared = True
        if kind != "hf":
            yield f"its model_type {model_type!r} is of transformers, the arrays' names are not"
        elif model_type not in MODEL_TYPES[decodes]:
            network = "a MAE with a decoder" if decodes else "a ViT"
            yield f"its model_type is {model_type!r}, and the arrays are {network}"
    elif architecture is not None:
        compared = True
        if kind != "timm" or not re.match("vit|deit", str(architecture)):
            yield f"its architecture {architecture!r} is not that of the arrays, which are {kind}"
        patch = re.search(r"_patch(\d+)", str(architecture))
        if patch and int(patch[1]) != model.patch_size:
            yield f"its architecture is {architecture!r}, the arrays have {model.patch_size}"
    size, changed = model.shape, _object(config, "model_args")
    expected = {
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "intermediate_size": 4 * size.width,
        "image_size": model.image_size,
        "patch_size": model.patch_size,
        "num_features": size.width,
        "embed_dim": size.width,
        "depth": size.depth,
    }
    if decodes:
        expected |= {
            "decoder_hidden_size": size.decoder_width,
            "decoder_num_hidden_layers": size.decoder_depth,
            "decoder_intermediate_size": 4 * size.decoder_width,
        }
    for name, here in expected.items():
        there = config.get(name, changed.get(name))
        if there is not None:
            compared = True
            if there != here:
                yield f"its {name} is {there!r}, and the arrays have {here}"
    widths = {"num_attention_heads": size.width, "num_heads": size.width}
    if decodes:
        widths["decoder_num_attention_heads"] = size.decoder_width
    for name, width in widths.items():
        heads = config.get(name, changed.get(name))
        if heads is not None and (type(heads) is not int or heads < 1 or width % heads):
            yield f"its {name} {heads!r} does not divide the width {width}"
    if not compared:
        yield SILENT
