"""Settings of weights that their arrays do not show: heads, normalisation, targets, arithmetic.

A setting comes from a flag, from the arrays, from the file's metadata or from settings beside the
file; otherwise it is assumed. The source of each is recorded. A folder of downloads may hold the
settings of another model, so they count only if they agree with the arrays.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rffr_jax.convert.files import WeightFile
from rffr_jax.convert.normalisation import (
    NORMALISATIONS,
    Normalisation,
    normalisation_by_name,
    stated_normalisation,
)
from rffr_jax.convert.recognise import Network
from rffr_jax.convert.targets import ExplainedVariance
from rffr_jax.errors import UserError
from rffr_jax.models.layers import NORM_EPSILON
from rffr_jax.models.sizes import ModelSettings, model_size
from rffr_jax.runs.text_files import read_json

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
ASSUMED, ARRAYS, METADATA = "assumed", "the arrays", "the file itself"
MODEL_TYPES = {True: ("vit_mae",), False: ("vit", "vit_mae", "vit_msn", "deit")}
"""transformers' model types that fit arrays with and without a decoder."""
GOOGLE_QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
HEADS = {"heads": "num_attention_heads", "decoder_heads": "decoder_num_attention_heads"}
"""transformers' names of our fields."""
USUAL_EPSILONS = (1e-6, 1e-12)
"""1e-12 is the default of transformers' classes, whatever the weights were trained with."""


class Facts:
    """The settings of one network, each with its source.

    Attributes:
      by_source: the known facts in words, by their source; under `ASSUMED` those without one.
      notes: lines for the person who converts.
    """

    def __init__(self, file: WeightFile, network: Network, model: ModelSettings):
        """Reads the settings in the file and beside it.

        Args:
          model: the size that the arrays have.

        Raises:
          UserError: settings beside the file are no JSON object.
        """
        self._path, self._network, self._model = file.path, network, model
        self.by_source: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self._stated = self._read_settings(file)

    def add(self, source: str, fact: str):
        """Records a fact and its source."""
        self.by_source.setdefault(source, []).append(fact)

    def find_heads(self, asked: Mapping[str, int | None]) -> ModelSettings:
        """The size with its numbers of heads.

        They come from a flag, the arrays, or the settings; otherwise the size's own are assumed.

        Args:
          asked: numbers of heads by the fields of `ModelSize`.

        Raises:
          UserError: the heads do not divide the width, or contradict the arrays.
        """
        size, name = self._model.shape, self._model.size
        for field, given in asked.items():
            flag, words = f"--{field.replace('_', '-')}", field.replace("_", " ")
            number, source = self._find(HEADS[field])
            if field == "heads" and GOOGLE_QUERY in self._network.arrays:
                number, source = self._network.arrays[GOOGLE_QUERY].shape[1], ARRAYS
                if given not in (None, number):
                    raise UserError(f"{self._path}: {flag} {given}, but its arrays have {number}")
            if given is not None:
                number, source = given, flag
            if number is None:
                number, source = getattr(size, field), ASSUMED
            width = size.width if field == "heads" else size.decoder_width
            heads = self._check_heads(number, width, f"{words} told by {source}")
            fact = f"{heads} {words} of {width // heads} channels"
            if source == ASSUMED:
                fact += f" (as in {self._model.size} here; {flag} says otherwise)"
            self.add(source, fact)
            if heads != getattr(model_size(self._model.size), field):
                name += f"_{'h' if field == 'heads' else 'dh'}{heads}"
        return dataclasses.replace(self._model, size=name)

    def find_normalisation(self, asked: str, usual: str) -> Normalisation:
        """The normalisation of a flag or of the settings; otherwise the usual one is assumed.

        Raises:
          UserError: numbers that normalise nothing, or an unknown range of the pixels.
        """
        hint = ""
        if asked != "auto":
            trained, source = normalisation_by_name(asked), "--normalisation"
        else:
            trained, source = self._stated_normalisation()
        if trained is None:
            trained, source = NORMALISATIONS[usual], ASSUMED
            hint = " (--normalisation says otherwise)"
        applied = f" normalised with {trained}"
        if trained == NORMALISATIONS["none"]:
            applied = ", not normalised"
        self.add(source, f"trained on pixels in [0, 1]{applied}{hint}")
        return trained

    def check_arithmetic(self):
        """Records activation and epsilon; only one of each is supported.

        Raises:
          UserError: another activation.
        """
        activation, source = self._find("hidden_act")
        if activation not in (None, "gelu"):
            raise UserError(
                f"{self._path}: {source} says hidden_act {activation!r}; only the exact 'gelu' is "
                "computed here"
            )
        self.add(source or ASSUMED, "exact GELU")
        epsilon, source = self._find("layer_norm_eps")
        if epsilon is None:
            epsilon, source = NORM_EPSILON, ASSUMED
        self.add(source, f"layer norms with epsilon {epsilon}")
        if epsilon not in USUAL_EPSILONS:
            self.notes.append(
                f"WARNING: {source} says layer_norm_eps {epsilon}; this program computes with "
                f"{NORM_EPSILON}, so features differ a little"
            )

    def find_normalised_targets(self, asked: str, explained: ExplainedVariance) -> bool:
        """Whether a decoder predicts normalised patches.

        The answer comes from a flag, the settings or the predictions; otherwise pixels are assumed.
        """
        by_predictions = explained.normalised_targets
        stated, source = self._find("norm_pix_loss")
        if asked != "auto":
            normalised, source = asked == "normalised", "--targets"
        elif stated is not None:
            normalised = str(stated).lower() == "true"
        elif by_predictions is not None:
            normalised, source = by_predictions, ARRAYS
        else:
            normalised, source = False, ASSUMED
        fact = f"its decoder predicts {'normalised patches' if normalised else 'pixels'}"
        if source == ARRAYS:
            fact += f" ({explained})"
        if source == ASSUMED:
            fact += f" (its arrays do not tell: {explained}; --targets says otherwise)"
        self.add(source, fact)
        if by_predictions not in (None, normalised):
            self.notes.append(
                f"WARNING: {source} says that {fact}, and the arrays say otherwise: {explained}"
            )
        return normalised

    def _find(self, name: str) -> tuple[Any, str]:
        """A setting and its source; None and "" if there is none."""
        for source, settings in self._stated.items():
            if settings.get(name) is not None:
                return settings[name], source
        return None, ""

    def _check_heads(self, number: Any, width: int, words: str) -> int:
        try:
            heads = int(number)
        except (TypeError, ValueError):
            heads = 0
        if heads < 1 or width % heads:
            raise UserError(f"{self._path}: {number!r} {words} does not divide the width {width}")
        return heads

    def _stated_normalisation(self) -> tuple[Normalisation | None, str]:
        for source, settings in self._stated.items():
            stated = stated_normalisation(settings, source, self._path)
            if stated is not None:
                return stated, source
        return None, ""

    def _read_settings(self, file: WeightFile) -> dict[str, Mapping[str, Any]]:
        """The file's metadata, then the settings beside it that agree with the arrays."""
        config = _read_object(file.path.with_name(CONFIG))
        preprocessor = _read_object(file.path.with_name(PREPROCESSOR))
        stated: dict[str, Mapping[str, Any]] = {METADATA: file.metadata}
        if config is None:
            objection = f"no {CONFIG} is beside it that agrees with the arrays"
        else:
            objection = next(_objections(config, self._network, self._model), None)
            if objection is not None:
                self.notes.append(f"{CONFIG} was not used: {objection}")
                objection = f"the {CONFIG} beside it is not this model's"
        if objection is None:
            if preprocessor is not None:
                stated[PREPROCESSOR] = preprocessor
            stated[CONFIG] = add_names_of_transformers(config or {})
        elif preprocessor is not None:
            self.notes.append(
                f"{PREPROCESSOR} was not used: {objection}; --normalisation replaces it"
            )
        return stated


# ---- settings beside the file


def _read_object(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is no JSON object, but a {type(content).__name__}; correct it or remove it"
        )
    return content


def add_names_of_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' settings as they are, and timm's under transformers' names."""
    pretrained, arguments = (_get_object(config, name) for name in ("pretrained_cfg", "model_args"))
    activation = arguments.get("act_layer")
    if "quickgelu" in str(config.get("architecture")):
        activation = "quick_gelu"
    timm = {"num_attention_heads": arguments.get("num_heads"), "hidden_act": activation}
    if {"mean", "std"} <= pretrained.keys():
        timm |= {"image_mean": pretrained["mean"], "image_std": pretrained["std"]}
    return {**timm, **config}


def _get_object(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _objections(config: Mapping[str, Any], network: Network, model: ModelSettings) -> Iterator[str]:
    """The contradictions between settings and arrays."""
    compared = False
    model_type, architecture = config.get("model_type"), config.get("architecture")
    if model_type is not None:
        compared = True
        if network.kind != "hf":
            yield f"its model_type {model_type!r} is of transformers, the arrays' names are not"
        elif model_type not in MODEL_TYPES[network.has_decoder]:
            arrays = "a MAE with a decoder" if network.has_decoder else "a ViT"
            yield f"its model_type is {model_type!r}, and the arrays are {arrays}"
    elif architecture is not None:
        compared = True
        if network.kind != "timm" or not re.match("vit|deit", str(architecture)):
            yield (
                f"its architecture {architecture!r} is not that of the arrays, which are "
                f"{network.kind}"
            )
        patch = re.search(r"_patch(\d+)", str(architecture))
        if patch and int(patch[1]) != model.patch_size:
            yield f"its architecture is {architecture!r}, the arrays have {model.patch_size}"
    size = model.shape
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
    widths = {"num_attention_heads": size.width, "num_heads": size.width}
    if network.has_decoder:
        expected |= {
            "decoder_hidden_size": size.decoder_width,
            "decoder_num_hidden_layers": size.decoder_depth,
            "decoder_intermediate_size": 4 * size.decoder_width,
        }
        widths["decoder_num_attention_heads"] = size.decoder_width
    stated = {**_get_object(config, "model_args"), **config}
    for name, value in expected.items():
        if stated.get(name) is not None:
            compared = True
            if stated[name] != value:
                yield f"its {name} is {stated[name]!r}, and the arrays have {value}"
    for name, width in widths.items():
        heads = stated.get(name)
        if heads is not None and (type(heads) is not int or heads < 1 or width % heads):
            yield f"its {name} {heads!r} does not divide the width {width}"
    if not compared:
        yield "it says nothing of the model that can be compared with the arrays"
