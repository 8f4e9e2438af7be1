"""From uint8 images to the detector's logits: preprocessing, residuals, chosen patches.

The one forward path of training, validation, testing and prediction.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float16, Int, PyTree, UInt8, UInt32

from rffr_jax.cluster.memory import passes_at_once
from rffr_jax.method import residual
from rffr_jax.method.baseline_residuals import (
    high_pass_residual,
    reconstruction_residual,
    ridge_differences,
    ridge_shapes,
)
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.patch_loss import PatchLogits
from rffr_jax.models.abstract import PARAMETERS, abstract, abstract_mae, abstract_unet
from rffr_jax.models.backbone import trained_part
from rffr_jax.models.detector import Detector
from rffr_jax.models.layers import patchify, take_patches
from rffr_jax.models.mae import in_compute_type
from rffr_jax.models.transfer import replace_leaves
from rffr_jax.rivals import Rival, find_rival


def unit_range(images: UInt8[Array, "batch size size 3"]) -> Float[Array, "batch size size 3"]:
    """uint8 pixels as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


class TrainOutputs(NamedTuple):
    """What a detector says of training images.

    Attributes:
      logits: real, fake.
      patches: None without a patch head.
    """

    logits: Float[Array, "batch 2"]
    patches: PatchLogits | None


class Detection:
    """Forward functions of the two-branch detector, or of a rival.

    Parameters are arguments, so that all functions can be jitted; they are all of the detector,
    also those of a backbone that are not trained. A rival reads whole original images; its residual
    images are None.

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
            self._frozen_definition, self.abstract_frozen = abstract_mae(settings.mae, dtype)
        elif settings.autoencoder == "unet":
            assert settings.unet is not None
            self._frozen_definition, self.abstract_frozen = abstract_unet(settings.unet)
        elif settings.autoencoder == "ridge":
            patch, rank = settings.model.patch_size, settings.ridge_rank
            self._frozen_definition = None
            self.abstract_frozen = ridge_shapes(self.blocks, patch, rank)
        else:
            self._frozen_definition, self.abstract_frozen = None, {}

    def in_compute_type(self, frozen: PyTree) -> PyTree:
        """What residuals come from, as the functions here read it: results are the same.

        A MAE takes half of the memory in bfloat16, and is not cast at every use.
        """
        return in_compute_type(frozen, self.dtype) if self.settings.needs_mae else frozen

    @property
    def abstract_trained(self) -> PyTree:
        """The shapes of the parameters that checkpoints hold (`trained_part`)."""
        return self.trained_part(self.abstract_parameters)

    def _detector(self, rngs: nnx.Rngs) -> nnx.Module:
        settings, dtype = self.settings, self.dtype
        if settings.is_rival:
            rival = find_rival(settings.backbone)
            return rival.Detector(settings.rival, settings.model.image_size, dtype=dtype, rngs=rngs)
        return Detector(
            settings.model,
            inputs=settings.inputs,
            backbone=settings.pretrained,
            additions=settings.additions,
            patch_head=settings.patch_head,
            dtype=dtype,
            remat=self._remat,
            rngs=rngs,
        )

    def init_parameters(self, seed: int) -> PyTree:
        """Fresh parameters of the detector."""
        return nnx.to_pure_dict(nnx.state(self._detector(nnx.Rngs(seed)), PARAMETERS))

    def trained_part(self, parameters: PyTree) -> PyTree:
        """The parameters that are trained, which checkpoints hold; `whole` puts them back."""
        if not self.settings.is_frozen_in_part:
            return parameters
        branches = {**parameters["branches"]}
        branches["original"] = trained_part(branches["original"], self.settings.train)
        branches = {name: branch for name, branch in branches.items() if branch}
        rest = {name: part for name, part in parameters.items() if name != "branches"}
        return {**rest, **({"branches": branches} if branches else {})}

    def whole(self, trained: PyTree, backbone: PyTree) -> PyTree:
        """All parameters of the detector, from the result of `trained_part`.

        Args:
          backbone: parameters of the `Backbone` as it was before the training; not read where all
            of it is trained.
        """
        if not self.settings.is_frozen_in_part:
            return trained
        branches = trained.get("branches", {})
        original = replace_leaves(backbone, branches.get("original", {}))
        return {**trained, "branches": {**branches, "original": original}}

    def train_logits(
        self,
        parameters: PyTree,
        frozen: PyTree,
        images: UInt8[Array, "batch size size 3"],
        chosen: Int[Array, "batch most"] | None,
        counts: tuple[int, ...],
        differences: Float16[Array, "batch patches pixels"] | None = None,
        features: Float[Array, "batch width"] | None = None,
    ) -> TrainOutputs:
        """Logits from only the chosen blocks (`random`) or from whole images (the others).

        Args:
          frozen: parameters of the MAE or the UNet that residuals come from; {} without one.
          chosen: blocks of each image, of which row r uses the first `counts[r % len(counts)]`;
            None uses the patches of a test.
          counts: numbers of blocks in every group of rows; static.
          differences: results of `differences`, of the chosen blocks or of all; None computes the
            residuals here.
          features: of the pretrained backbone, which is not trained; None computes them here.
        """
        if chosen is None:
            if differences is None:
                residuals = self.residual_images(frozen, images)
            else:
                residuals = self.residual_images_from_differences(differences)
            patches, indices = self._test_patches(images, residuals, features)
            lengths = None
        else:
            patches, indices, lengths = self._chosen_patches(
                frozen, images, chosen, counts, differences, features
            )
        if not self.settings.patch_head:
            return TrainOutputs(self._classify(parameters, patches, indices, lengths), None)
        detector: Detector = self._model(parameters)
        logits, patch_logits = detector.with_patch_logits(patches, indices, lengths)
        return TrainOutputs(logits, PatchLogits(patch_logits, indices, lengths))

    def rival_losses(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        labels: Int[Array, " batch"],
        weight: Float[Array, " batch"],
        seeds: UInt32[Array, " batch"],
        progress: Float[Array, ""] | float = 0.0,
    ) -> tuple[Mapping[str, Float[Array, " batch"]], PyTree]:
        """The parts of the loss of a rival for each image, and the parameters that follow the batch
        instead of a gradient, such as running statistics of batch normalisation.

        Args:
          labels, weight, seeds: as for `Rival.losses`.
          progress: as for `Rival.at_progress`.
        """
        model: Rival = self._model(parameters)
        model.at_progress(jnp.asarray(progress))
        pixels = self._normalised(unit_range(images))
        losses = model.losses(pixels, labels, weight, seeds)
        return losses, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def _chosen_patches(
        self,
        frozen: PyTree,
        images: Array,
        chosen: Array,
        counts: tuple[int, ...],
        differences: Array | None,
        features: Array | None,
    ) -> tuple[dict[str, Array], Array, Array]:
        """The patches of the chosen blocks for every branch, their places and their numbers."""
        pixels = unit_range(images)
        indices = jnp.asarray(self.blocks.hidden)[chosen].reshape(len(images), -1)
        patches = {"original": self._original(images, indices, features)}
        if differences is not None:
            patches["residual"] = residual.amplify(differences, self.settings.alpha)
        elif self.settings.needs_mae:
            mae, alpha = self._frozen_model(frozen), self.settings.alpha
            at_once = self._passes_at_once(len(images) // len(counts))
            residuals, _ = residual.residual_patches(
                mae, self.blocks, pixels, chosen, counts, alpha, at_once
            )
            patches["residual"] = jax.lax.stop_gradient(residuals)
        else:
            residuals = self.residual_images(frozen, images)
            if residuals is not None:
                patches["residual"] = self._patches(residuals, indices)
        groups = len(images) // len(counts)
        lengths = jnp.tile(jnp.array(counts, jnp.int32) * self.blocks.side**2, groups)
        return patches, indices, lengths

    def residual_images(
        self, frozen: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> Float[Array, "batch size size 3"] | None:
        """Whole residual images in [-1, 1]; None for a detector that reads none.

        As many passes of the MAE run at a time as fit into memory.
        """
        settings, pixels = self.settings, unit_range(images)
        if not settings.reads_residual:
            return None
        if settings.residual == "zero":
            return jnp.zeros_like(pixels)
        if settings.residual == "high_pass":
            return high_pass_residual(pixels, settings.alpha)
        if settings.residual == "unet":
            unet = self._frozen_model(frozen)
            _, residuals = reconstruction_residual(unet, pixels, settings.alpha)
            return jax.lax.stop_gradient(residuals)
        if settings.residual == "ridge":
            patch, alpha = settings.model.patch_size, settings.alpha
            differences = ridge_differences(frozen, self.blocks, patch, pixels)
            return residual.residual_from_differences(differences, self.blocks, patch, alpha)
        at_once = self._passes_at_once(len(images))
        return residual.residual_image(
            self._frozen_model(frozen), self.blocks, pixels, settings.alpha, at_once
        )[1]

    def reconstructions(
        self,
        frozen: PyTree,
        images: UInt8[Array, "batch size size 3"],
        differences: Float16[Array, "batch covered pixels"] | None = None,
    ) -> Float[Array, "batch size size 3"] | None:
        """Images as the frozen model reconstructs them, about [0, 1]; None without one.

        Args:
          differences: results of `differences`; None computes them.
        """
        pixels = unit_range(images)
        if self.settings.autoencoder == "unet":
            return self._frozen_model(frozen)(pixels)
        if not self.settings.fills_blocks:
            return None
        if differences is None:
            differences = self.differences(frozen, images)
        patch = self.settings.model.patch_size
        return pixels + residual.difference_image(differences, self.blocks, patch)

    @property
    def differences_shape(self) -> tuple[int, int]:
        """Patches that blocks cover, and the values of one."""
        return self.blocks.hidden.size, self.settings.model.patch_size**2 * 3

    def differences(
        self, frozen: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> Float16[Array, "batch covered pixels"]:
        """B_hat - B of the area that blocks cover, not amplified, as the residual cache stores it.

        Only where blocks are filled: the other residuals take one pass, and are computed each time.
        """
        pixels = unit_range(images)
        if self.settings.residual == "ridge":
            patch = self.settings.model.patch_size
            found = ridge_differences(frozen, self.blocks, patch, pixels)
        else:
            at_once = self._passes_at_once(len(images))
            found = residual.block_differences(
                self._frozen_model(frozen), self.blocks, pixels, at_once
            )
        return found.astype(jnp.float16)

    def residual_images_from_differences(
        self, differences: Float16[Array, "batch covered pixels"]
    ) -> Float[Array, "batch size size 3"]:
        """Whole residual images in [-1, 1] from the results of `differences`."""
        patch, alpha = self.settings.model.patch_size, self.settings.alpha
        return residual.residual_from_differences(differences, self.blocks, patch, alpha)

    def logits(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        residuals: Float[Array, "batch size size 3"] | None,
    ) -> Float[Array, "batch 2"]:
        """Logits of whole images: from every patch (`full`), or from those that blocks cover.

        Args:
          residuals: from `residual_images` or `residual_images_from_differences`.
        """
        if self.settings.is_rival:
            model: Rival = self._model(parameters)
            return model.logits(self._normalised(unit_range(images)))
        return self._classify(parameters, *self._test_patches(images, residuals))

    def evidence(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        residuals: Float[Array, "batch size size 3"] | None,
    ) -> tuple[Float[Array, "batch features"], Float[Array, "batch branches grid grid"]]:
        """The features and attention behind the logits of whole images.

        Returns:
          The class tokens of the branches, original first; and for every branch how much its class
          token attends to each patch in the last block, the mean over heads (0 where no patch is
          read).
        """
        patches, indices = self._test_patches(images, residuals)
        detector: Detector = self._model(parameters)
        attention = detector.class_attention(patches, indices)
        grid = self.settings.model.grid
        maps = jnp.zeros((*attention.shape[:2], grid**2)).at[..., indices].set(attention)
        features = detector.features(patches, indices)
        return features, maps.reshape(*attention.shape[:2], grid, grid)

    def _test_patches(
        self, images: Array, residuals: Array | None, features: Array | None = None
    ) -> tuple[dict[str, Array], Array]:
        """The patches of a test for every branch, and their places."""
        if self.settings.blocks == "full":
            indices = jnp.arange(self.blocks.patches)
        else:
            indices = jnp.asarray(self.blocks.hidden).reshape(-1)
        patches = {"original": self._original(images, indices, features)}
        if residuals is not None:
            patches["residual"] = self._patches(residuals, indices)
        return patches, indices

    def _normalised(self, pixels: Array) -> Array:
        return (pixels - jnp.asarray(self.settings.mean)) / jnp.asarray(self.settings.std)

    def _original(self, images: Array, indices: Array, features: Array | None) -> Array:
        """What the original branch reads: the patches at these places, or for a pretrained backbone
        whole images, where its features are not there yet."""
        if features is not None:
            return features
        if self.settings.pretrained is not None:
            return self.backbone_images(images)
        return self._patches(self._normalised(unit_range(images)), indices)

    def backbone_images(
        self, images: UInt8[Array, "batch size size 3"]
    ) -> Float[Array, "batch side side 3"]:
        """Whole images, normalised and in the size of the pretrained backbone, as it reads them."""
        backbone, pixels = self.settings.pretrained, unit_range(images)
        assert backbone is not None
        if backbone.image_size != pixels.shape[1]:
            shape = (len(pixels), backbone.image_size, backbone.image_size, 3)
            pixels = jax.image.resize(pixels, shape, "bicubic", antialias=True).clip(0, 1)
        return self._normalised(pixels)

    def _patches(self, pixels: Array, indices: Array) -> Array:
        return take_patches(patchify(pixels, self.settings.model.patch_size), indices)

    def _classify(
        self,
        parameters: PyTree,
        patches: dict[str, Array],
        indices: Array,
        lengths: Array | None = None,
    ) -> Array:
        detector: Detector = self._model(parameters)
        return detector(patches, indices, lengths)

    def _model(self, parameters: PyTree) -> Any:
        return nnx.merge(self._definition, nnx.State(parameters))

    def _passes_at_once(self, images: int) -> int:
        assert self.settings.mae is not None
        return passes_at_once(self.settings.mae, self.dtype, images)

    def _frozen_model(self, frozen: PyTree) -> Any:
        assert self._frozen_definition is not None
        return nnx.merge(self._frozen_definition, nnx.State(frozen))
