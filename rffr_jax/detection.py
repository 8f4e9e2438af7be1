"""From uint8 images to the detector's logits: preprocessing, residuals, chosen patches.

The one forward path of training, validation, testing and prediction.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float16, Int, PyTree, UInt8

from rffr_jax import residual
from rffr_jax.blocks import BlockGrid
from rffr_jax.errors import UserError
from rffr_jax.memory import passes_at_once
from rffr_jax.models.abstract import abstract, abstract_mae
from rffr_jax.models.detector import INPUTS, Detector, branch_names
from rffr_jax.models.layers import patchify, take_patches
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """What a detector is, apart from its weights.

    Attributes:
      model: shapes of both branches.
      mae: shapes of the frozen MAE; None where no residual is computed.
      inputs: `both`, `original` or `residual`.
      blocks: `random` reads the blocks that are drawn (all of them in a test); `full` reads every
        patch of the image, in training too, so that `original` + `full` is the plain ViT.
      residual: `mae`, or `zero`: the control with the same capacity and no information.
      k: k x k blocks.
      alpha: amplification of the residual.
      mean, std: of the RGB branch's input, for pixels in [0, 1].
      blocks_per_pass: blocks that one pass of the MAE hides together (`BlockGrid.per_pass`).
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

    def __post_init__(self):
        if self.inputs not in INPUTS:
            raise UserError(
                f"detector.inputs={self.inputs!r} is not known; choose {', '.join(INPUTS)}"
            )
        if self.blocks not in ("random", "full"):
            raise UserError(f"detector.blocks={self.blocks!r} is not known; choose random or full")
        if self.residual not in ("mae", "zero"):
            raise UserError(f"detector.residual={self.residual!r} is not known; choose mae or zero")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "DetectionSettings":
        """The settings that `dataclasses.asdict` wrote into a checkpoint."""
        mae = fields["mae"]
        return cls(
            **{
                **fields,
                "model": ModelSettings(**fields["model"]),
                "mae": None if mae is None else ModelSettings(**mae),
                "mean": tuple(fields["mean"]),
                "std": tuple(fields["std"]),
            }
        )

    @property
    def branches(self) -> tuple[str, ...]:
        return branch_names(self.inputs)

    @property
    def reads_residual(self) -> bool:
        return "residual" in self.branches

    @property
    def needs_mae(self) -> bool:
        return self.reads_residual and self.residual == "mae"


def unit_range(images: UInt8[Array, "batch size size 3"]) -> Float[Array, "batch size size 3"]:
    """uint8 pixels as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


class Detection:
    """Forward functions of one detector; parameters are passed in, so that all can be jitted.

    Args:
      dtype: what matrices are multiplied in.
      remat: of the detector's branches, in training.
    """

    def __init__(self, settings: DetectionSettings, dtype: DTypeLike, *, remat: bool = False):
        self.settings = settings
        self.blocks = BlockGrid(settings.model.grid, settings.k, settings.blocks_per_pass)
        self.dtype, self._remat = dtype, remat
        self._definition, self.abstract_parameters = abstract(self._detector)
        if settings.needs_mae:
            assert settings.mae is not None
            self._mae_definition, self.abstract_mae = abstract_mae(settings.mae, dtype)
        else:
            self._mae_definition, self.abstract_mae = None, {}

    def _detector(self, rngs: nnx.Rngs) -> Detector:
        settings = self.settings
        return Detector(
            settings.model,
            inputs=settings.inputs,
            dtype=self.dtype,
            remat=self._remat,
            rngs=rngs,
        )

    def initial_parameters(self, seed: int) -> PyTree:
        """Fresh parameters of both branches and the head."""
        return nnx.to_pure_dict(nnx.state(self._detector(nnx.Rngs(seed)), nnx.Param))

    def train_logits(
        self,
        parameters: PyTree,
        mae_parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        chosen: Int[Array, "batch most"] | None,
        counts: tuple[int, ...],
        differences: Float16[Array, "batch patches pixels"] | None = None,
    ) -> Float[Array, "batch 2"]:
        """Logits from the chosen blocks alone (`random`) or from all patches (`full`).

        Args:
          chosen: blocks of each image, of which row r uses the first `counts[r % len(counts)]`;
            None reads all patches.
          counts: numbers of blocks in every group of rows; static.
          differences: what `differences` gave, of the chosen blocks or of all; None computes the
            residuals here.
        """
        if chosen is None:
            if differences is None:
                residuals = self.residual_images(mae_parameters, images)
            else:
                residuals = self.residual_images_of(differences)
            return self.logits(parameters, images, residuals)
        pixels = unit_range(images)
        indices = jnp.asarray(self.blocks.hidden)[chosen].reshape(len(images), -1)
        patches = {"original": take_patches(self._normalised_patches(pixels), indices)}
        if differences is not None:
            patches["residual"] = residual.amplified(differences, self.settings.alpha)
        elif self.settings.needs_mae:
            mae, alpha = self._mae(mae_parameters), self.settings.alpha
            residuals, _ = residual.residual_patches(
                mae, self.blocks, pixels, chosen, counts, alpha
            )
            patches["residual"] = jax.lax.stop_gradient(residuals)
        elif self.settings.reads_residual:
            patches["residual"] = jnp.zeros_like(patches["original"])
        groups = len(images) // len(counts)
        lengths = jnp.tile(jnp.array(counts, jnp.int32) * self.blocks.side**2, groups)
        return self._classify(parameters, patches, indices, lengths)

    def residual_images(
        self, mae_parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> Float[Array, "batch size size 3"] | None:
        """Whole residual images in [-1, 1]; None for a detector that reads none.

        As many passes at a time as fit into memory.
        """
        if not self.settings.reads_residual:
            return None
        if not self.settings.needs_mae:
            return jnp.zeros(images.shape, jnp.float32)
        at_once = self._passes_at_once(len(images))
        mae, alpha = self._mae(mae_parameters), self.settings.alpha
        return residual.residual_image(mae, self.blocks, unit_range(images), alpha, at_once)[1]

    @property
    def differences_shape(self) -> tuple[int, int]:
        """Patches that blocks cover, and the values of one."""
        return self.blocks.hidden.size, self.settings.model.patch_size**2 * 3

    def differences(
        self, mae_parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> Float16[Array, "batch covered pixels"]:
        """B_hat - B of the area that blocks cover, not amplified, as it is kept on disk."""
        mae = self._mae(mae_parameters)
        at_once = self._passes_at_once(len(images))
        found = residual.block_differences(mae, self.blocks, unit_range(images), at_once)
        return found.astype(jnp.float16)

    def residual_images_of(
        self, differences: Float16[Array, "batch covered pixels"]
    ) -> Float[Array, "batch size size 3"]:
        """Whole residual images in [-1, 1] from what `differences` gave."""
        patch, alpha = self.settings.model.patch_size, self.settings.alpha
        return residual.residual_image_of(differences, self.blocks, patch, alpha)

    def logits(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        residuals: Float[Array, "batch size size 3"] | None,
    ) -> Float[Array, "batch 2"]:
        """Logits of whole images: from every block (`random`) or every patch (`full`).

        Args:
          residuals: as `residual_images` or `residual_images_of` made them.
        """
        return self._classify(parameters, *self._whole_images(images, residuals))

    def evidence(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        residuals: Float[Array, "batch size size 3"] | None,
    ) -> tuple[Float[Array, "batch features"], Float[Array, "batch branches grid grid"]]:
        """What logits of whole images come from.

        Returns:
          The class tokens of the branches, original first; and for every branch how much its class
          token attends to each patch in the last block, the mean over heads (0 where no patch is
          read).
        """
        patches, indices = self._whole_images(images, residuals)
        detector: Detector = nnx.merge(self._definition, nnx.State(parameters))
        attention = detector.class_attention(patches, indices)
        grid = self.settings.model.grid
        maps = jnp.zeros((*attention.shape[:2], grid**2)).at[..., indices].set(attention)
        features = detector.features(patches, indices)
        return features, maps.reshape(*attention.shape[:2], grid, grid)

    def _whole_images(
        self, images: Array, residuals: Array | None
    ) -> tuple[dict[str, Array], Array]:
        """The patches that a test reads, of every branch, and their places."""
        patch = self.settings.model.patch_size
        if self.settings.blocks == "full":
            indices = jnp.arange(self.blocks.patches)
        else:
            indices = jnp.asarray(self.blocks.hidden).reshape(-1)
        pixels = self._normalised_patches(unit_range(images))
        patches = {"original": take_patches(pixels, indices)}
        if residuals is not None:
            patches["residual"] = take_patches(patchify(residuals, patch), indices)
        return patches, indices

    def _normalised_patches(self, pixels: Array) -> Array:
        mean, std = jnp.asarray(self.settings.mean), jnp.asarray(self.settings.std)
        return patchify((pixels - mean) / std, self.settings.model.patch_size)

    def _classify(
        self,
        parameters: PyTree,
        patches: dict[str, Array],
        indices: Array,
        lengths: Array | None = None,
    ) -> Array:
        detector: Detector = nnx.merge(self._definition, nnx.State(parameters))
        return detector(patches, indices, lengths)

    def _passes_at_once(self, images: int) -> int:
        assert self.settings.mae is not None
        return passes_at_once(self.settings.mae, self.dtype, images)

    def _mae(self, mae_parameters: PyTree) -> MAE:
        assert self._mae_definition is not None
        return nnx.merge(self._mae_definition, nnx.State(mae_parameters))
