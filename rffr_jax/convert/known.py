"""What is known of weights besides their arrays, and who said it: a flag, a file, or nobody."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.convert.normalisation import NORMALISATIONS, Normalisation, normalisation_by_name
from rffr_jax.convert.recognise import Network
from rffr_jax.convert.settings import StatedSettings
from rffr_jax.convert.targets import ExplainedVariance
from rffr_jax.errors import UserError
from rffr_jax.models.layers import NORM_EPSILON
from rffr_jax.models.sizes import ModelSettings, model_size

ASSUMED = "assumed"
ARRAYS = "the arrays"
GOOGLE_QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
HEADS_OF_TRANSFORMERS = {
    "heads": "num_attention_heads",
    "decoder_heads": "decoder_num_attention_heads",
}
USUAL_EPSILONS = (1e-6, 1e-12)
"""1e-12 is what transformers' classes take by default, whatever the weights were trained with."""
BYTE = 255


class Facts:
    """Decides what a file leaves open and keeps who decided.

    Attributes:
      by: what is known, by who said it; under `ASSUMED` what nobody said.
      notes: lines for the person who converts.
    """

    def __init__(self, path: pathlib.Path, told: StatedSettings):
        self._path, self._told = path, told
        self.by: dict[str, list[str]] = {}
        self.notes = list(told.notes)

    def add(self, source: str, fact: str):
        """Notes a fact and who told it."""
        self.by.setdefault(source, []).append(fact)

    def with_heads(
        self, model: ModelSettings, network: Network, asked: Mapping[str, int | None]
    ) -> ModelSettings:
        """The size with the heads that are asked for, told by arrays or told by settings, in this
        order; else its own.

        Args:
          asked: numbers of heads by the fields of `ModelSize`.

        Raises:
          UserError: heads that do not divide the width, or that are not those of the arrays.
        """
        size, found = model.shape, {}
        for field, given in asked.items():
            flag, said = f"--{field.replace('_', '-')}", field.replace("_", " ")
            there, source = self._told.find(HEADS_OF_TRANSFORMERS[field])
            if field == "heads" and network.kind == "google" and GOOGLE_QUERY in network.arrays:
                there, source = network.arrays[GOOGLE_QUERY].shape[1], ARRAYS
                if given not in (None, there):
                    raise UserError(f"{self._path}: {flag} {given}, but its arrays have {there}")
            if given is not None:
                there, source = given, flag
            if there is None:
                there, source = getattr(size, field), ASSUMED
            width = size.width if field == "heads" else size.decoder_width
            found[field] = self._heads(there, width, f"{said} told by {source}")
            fact = f"{found[field]} {said} of {width // found[field]} channels"
            if source == ASSUMED:
                fact += f" (as in {model.size} here; {flag} says otherwise)"
            self.add(source, fact)
        return dataclasses.replace(model, size=_size_name(model.size, found))

    def _heads(self, number: Any, width: int, said: str) -> int:
        try:
            heads = int(number)
        except (TypeError, ValueError):
            heads = 0
        if heads < 1 or width % heads:
            raise UserError(f"{self._path}: {number!r} {said} does not divide the width {width}")
        return heads

    def normalisation(self, asked: str, usual: str) -> Normalisation:
        """The one asked for, else the one that is told, else the kind's usual one.

        Raises:
          UserError: numbers that normalise nothing, or pixels whose range nobody tells.
        """
        if asked != "auto":
            trained, source, way = normalisation_by_name(asked), "--normalisation", ""
        else:
            trained, source = self._told_normalisation()
            way = ""
            if trained is None:
                trained, source = NORMALISATIONS[usual], ASSUMED
                way = " (--normalisation says otherwise)"
        if trained == NORMALISATIONS["none"]:
            self.add(source, f"trained on pixels in [0, 1], not normalised{way}")
        else:
            self.add(source, f"trained on pixels in [0, 1] normalised with {trained}{way}")
        return trained

    def _told_normalisation(self) -> tuple[Normalisation | None, str]:
        for source, said in self._told.by.items():
            mean, std = said.get("image_mean"), said.get("image_std")
            if said.get("do_normalize") is False:
                mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
            if mean is None or std is None:
                continue
            try:
                white = self._white(said, _colours(mean), source)
                return Normalisation(_colours(mean, white), _colours(std, white)), source
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"{self._path}: its image_mean {mean!r} and image_std {std!r} are not three "
                    f"numbers each, the latter above 0 (told by {source}); say --normalisation"
                ) from error
        return None, ""

    def _white(self, said: Mapping[str, Any], mean: Sequence[float], source: str) -> float:
        """How large white is when it is normalised, where ours is 1."""
        if said.get("do_rescale", True):
            white = BYTE * float(said.get("rescale_factor") or 1 / BYTE)
            return 1.0 if abs(white - 1) < 1e-6 else white
        if max(mean) > 1:
            return float(BYTE)
        raise UserError(
            f"{self._path}: {source} says do_rescale false, and not whether pixels were 0 to 255 "
            "or in [0, 1] already; say --normalisation, which is of pixels in [0, 1]"
        )

    def check_arithmetic(self):
        """Records activation and epsilon, of which only one each is computed here.

        Raises:
          UserError: another activation.
        """
        activation, source = self._told.find("hidden_act")
        if activation not in (None, "gelu"):
            raise UserError(
                f"{self._path}: {source} says hidden_act {activation!r}; only the exact 'gelu' is "
                "computed here"
            )
        self.add(source or ASSUMED, "exact GELU")
        epsilon, source = self._told.find("layer_norm_eps")
        if epsilon is None:
            self.add(ASSUMED, f"layer norms with epsilon {NORM_EPSILON}")
            return
        self.add(source, f"layer norms with epsilon {epsilon}")
        if epsilon not in USUAL_EPSILONS:
            self.notes.append(
                f"WARNING: {source} says layer_norm_eps {epsilon}; {NORM_EPSILON} is computed with "
                "here, so features differ a little"
            )

    def normalised_targets(self, asked: str, explained: ExplainedVariance) -> bool:
        """Whether a decoder predicts normalised patches: as asked, as told, or by what it
        predicts; else pixels are assumed."""
        judged = explained.normalised_targets
        there, source = self._told.find("norm_pix_loss")
        if asked != "auto":
            normalised, source = asked == "normalised", "--targets"
        elif there is not None:
            normalised = str(there).lower() == "true"
        elif judged is not None:
            normalised, source = judged, ARRAYS
        else:
            normalised, source = False, ASSUMED
        fact = f"its decoder predicts {'normalised patches' if normalised else 'pixels'}"
        if source == ARRAYS:
            fact += f" ({explained})"
        if source == ASSUMED:
            fact += f" (its arrays do not tell: {explained}; --targets says otherwise)"
        self.add(source, fact)
        if judged not in (None, normalised):
            self.notes.append(
                f"WARNING: {source} says that {fact}, and the arrays say otherwise: {explained}"
            )
        return normalised


def _size_name(base: str, heads: Mapping[str, int]) -> str:
    """The name of a size with these heads."""
    size, name = model_size(base), base
    for field, ending in (("heads", "h"), ("decoder_heads", "dh")):
        if heads.get(field, getattr(size, field)) != getattr(size, field):
            name += f"_{ending}{heads[field]}"
    return name


def _colours(
    numbers: str | Sequence[float | int], white: float = 1.0
) -> tuple[float, float, float]:
    red, green, blue = numbers.split() if isinstance(numbers, str) else numbers
    return float(red) / white, float(green) / white, float(blue) / white
