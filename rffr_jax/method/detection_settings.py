"""The settings of a detector, as its config names them and its checkpoint records them."""

import dataclasses
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.models.backbone import TRAIN
from rffr_jax.models.detector import INPUTS, branch_names
from rffr_jax.models.patch_embedding import EMBEDDINGS
from rffr_jax.models.sizes import BackboneSettings, ModelSettings, UNetSettings
from rffr_jax.rivals import VIT, rival_settings

BLOCKS = ("random", "full", "covered")
RESIDUALS = ("mae", "unet", "ridge", "high_pass", "zero")
AUTOENCODERS = {"mae": "MAE", "unet": "UNet", "ridge": "ridge regression"}
"""Residuals that need trained weights, with the name of their model for messages."""


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """The settings of a detector without its weights.

    Attributes:
      model: shapes of both branches. Of a rival only the image's size counts; it reads the image
        as one patch.
      mae: shapes of the frozen MAE; None where no residual of one is computed.
      inputs: `both`, `original` or `residual`.
      blocks: `random` reads the blocks that are drawn (all of them in a test); `full` reads every
        patch of the image, in training too, so that `original` + `full` is the plain ViT;
        `covered` reads the patches that blocks cover, in training too: `full` without the ring
        that no block reaches.
      residual: `mae`; `unet`, of an autoencoder that hides nothing; `ridge`, of a linear
        regression that fills the blocks; `high_pass`, of a filter; or `zero`, the control with the
        same capacity and no information.
      k: k x k blocks.
      alpha: amplification of the residual.
      mean, std: of the RGB branch's input, for pixels in [0, 1].
      blocks_per_pass: blocks that one pass of the MAE hides together (`BlockGrid.per_pass`).
      unet: shapes of the frozen UNet; None where no residual of one is computed.
      ridge_rank: principal components of the ridge regression; 0 where none is used.
      backbone: `vit`, one for every branch, or the name of a rival (`rffr_jax.rivals`), which reads
        whole original images.
      rival: the rival's `Settings`; None without one.
      embedding: of patches: `linear`, the paper's; `conv`, `logdct` or `conv+logdct` adds to it
        what `models.patch_embedding` says.
      patch_head: whether a layer says of each patch of the original branch whether it is
        manipulated, for the loss on patches in training.
      pretrained: shapes of a pretrained backbone that reads whole images as branch `original`; then
        `mean` and `std` are those of its weights. None: a ViT.
      train: what of such a detector is trained, one of `TRAIN`; the rest is not in its checkpoints.
    """

    model: ModelSettings
    mae: ModelSettings | None
    inputs: str
    blocks: str
    residual: str
    k: int
    alpha: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    blocks_per_pass: int = 1
    unet: UNetSettings | None = None
    ridge_rank: int = 0
    backbone: str = VIT
    rival: Any = None
    embedding: str = "linear"
    patch_head: bool = False
    pretrained: BackboneSettings | None = None
    train: str = "all"

    def __post_init__(self):
        if self.inputs not in INPUTS:
            raise UserError(
                f"detector.inputs={self.inputs!r} is not known; choose {', '.join(INPUTS)}"
            )
        if self.blocks not in BLOCKS:
            raise UserError(
                f"detector.blocks={self.blocks!r} is not known; choose {', '.join(BLOCKS)}"
            )
        if self.residual not in RESIDUALS:
            raise UserError(
                f"detector.residual={self.residual!r} is not known; choose {', '.join(RESIDUALS)} "
                "(a detector that reads no residual has detector.inputs=original)"
            )
        if self.embedding not in EMBEDDINGS:
            raise UserError(
                f"detector.embedding={self.embedding!r} is not known; choose "
                f"{', '.join(EMBEDDINGS)}"
            )
        if self.patch_head and "original" not in self.branches:
            raise UserError(
                "detector.patch_loss is on patches of the original branch, and detector.inputs="
                f"{self.inputs} has none; set detector.patch_loss=0"
            )
        if self.is_rival and (self.inputs, self.blocks) != ("original", "full"):
            raise UserError(
                f"detector.backbone={self.backbone!r} reads whole original images; add "
                "--config.detector.inputs=original --config.detector.blocks=full"
            )
        self._check_backbone()

    def _check_backbone(self):
        """Raises: UserError for settings that do not go with a pretrained backbone, or need one."""
        if self.train not in TRAIN:
            raise UserError(
                f"detector.train={self.train!r} is not known; choose {', '.join(TRAIN)}"
            )
        if self.pretrained is None:
            if self.train != "all":
                raise UserError(
                    f"detector.train={self.train} leaves a pretrained backbone as it is, and none "
                    "is named; name its converted weights with --config.backbone.weights, or take "
                    "all"
                )
            return
        if self.is_rival:
            raise UserError(
                f"backbone.weights are of a vision transformer, and detector.backbone="
                f"{self.backbone!r} has a network of its own; leave one of them out"
            )
        if "original" not in self.branches:
            raise UserError(
                "backbone.weights: the backbone reads originals, and detector.inputs=residual "
                "reads none; set --config.detector.inputs=both or original"
            )
        if self.inputs == "original" and self.blocks != "full":
            raise UserError(
                "backbone.weights: the backbone reads whole images; with detector.inputs=original "
                "add --config.detector.blocks=full"
            )
        if self.patch_head or self.embedding != "linear":
            raise UserError(
                "backbone.weights: the backbone has an embedding and a grid of its own; leave out "
                "detector.embedding and detector.patch_loss"
            )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "DetectionSettings":
        """The settings that `to_json` wrote into a checkpoint.

        Model folders from before there were rivals say `xception` and no `backbone`; those from
        before there were backbones say no `pretrained`.
        """
        fields = {name: value for name, value in fields.items() if name != "xception"}
        mae, unet, name = fields["mae"], fields["unet"], fields.get("backbone", VIT)
        pretrained = fields.get("pretrained")
        return cls(
            **{
                **fields,
                "model": ModelSettings(**fields["model"]),
                "mae": None if mae is None else ModelSettings(**mae),
                "unet": None if unet is None else UNetSettings(**unet),
                "rival": None if name == VIT else rival_settings(name, fields["rival"]),
                "pretrained": None if pretrained is None else BackboneSettings(**pretrained),
                "mean": tuple(fields["mean"]),
                "std": tuple(fields["std"]),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as a checkpoint records them."""
        return dataclasses.asdict(self)

    @property
    def is_rival(self) -> bool:
        return self.backbone != VIT

    @property
    def is_frozen_in_part(self) -> bool:
        """Whether weights of the backbone are not trained, and so not in checkpoints."""
        return self.train != "all"

    @property
    def branches(self) -> tuple[str, ...]:
        return branch_names(self.inputs)

    @property
    def additions(self) -> tuple[str, ...]:
        """What is added to the linear embedding of a patch."""
        return () if self.embedding == "linear" else tuple(self.embedding.split("+"))

    @property
    def reads_residual(self) -> bool:
        return "residual" in self.branches

    @property
    def needs_mae(self) -> bool:
        return self.reads_residual and self.residual == "mae"

    @property
    def fills_blocks(self) -> bool:
        """Whether residuals are of blocks that are filled from the rest: those can be kept."""
        return self.reads_residual and self.residual in ("mae", "ridge")

    @property
    def autoencoder(self) -> str:
        """The kind of frozen model that residuals come from, of `AUTOENCODERS`; '' for none."""
        needed = self.reads_residual and self.residual in AUTOENCODERS
        return self.residual if needed else ""
