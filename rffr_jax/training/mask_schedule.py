"""Masks that change in the course of a pretraining: many hidden patches first, one block last."""

import dataclasses
import re

from rffr_jax.config import Config
from rffr_jax.errors import UserError

_PART = re.compile(r"([a-z]+)(?:x(\d+))?:(\d*\.?\d+)")


@dataclasses.dataclass(frozen=True)
class MaskStage:
    """Steps that hide patches in the same way.

    Attributes:
      start: the first of them.
      kind: as `method.blocks.sample_masks` takes it.
      blocks: hidden together, of `grid` and `block`.
    """

    start: int
    kind: str
    blocks: int


def read_mask_stages(mask: Config, steps: int) -> tuple[MaskStage, ...]:
    """The stages of `mask.schedule`, the last of which is that of `mask.kind` and `mask.blocks`.

    `random:0.5,gridx4:0.3` hides random patches in the first half of the steps, then for 30 % four
    blocks of the grid together.

    Raises:
      UserError: the text is no such schedule, or it leaves no step to the last stage or to another.
    """
    stages, start, shares = [], 0, 0.0
    for part in filter(None, mask.schedule.split(",")):
        found = _PART.fullmatch(part.strip())
        if not found:
            raise UserError(
                f"mask.schedule={mask.schedule!r}: {part!r} is no KIND:SHARE; write random:0.8 for "
                "random patches in the first 80 % of the steps, or gridx4:0.8 for 4 blocks together"
            )
        kind, blocks, share = found.groups()
        stages.append(MaskStage(start, kind, int(blocks or 1)))
        shares += float(share)
        if not start < round(shares * steps) < steps:
            raise UserError(
                f"mask.schedule={mask.schedule!r}: every part needs a step, and the steps that the "
                f"shares leave belong to mask.kind={mask.kind}; they must sum up to less than 1"
            )
        start = round(shares * steps)
    return (*stages, MaskStage(start, mask.kind, mask.blocks))
