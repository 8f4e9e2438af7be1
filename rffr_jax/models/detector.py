"""The two-branch detector: one ViT reads original patches, one their residuals (section 3.3).

A pretrained backbone may read whole images in place of the first.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from rffr_jax.models.backbone import Backbone
from rffr_jax.models.sizes import BackboneSettings, ModelSettings
from rffr_jax.models.vit import ViT

INPUTS = ("both", "original", "residual")


def branch_names(inputs: str) -> tuple[str, ...]:
    """The branches that a detector has, original first."""
    return ("original", "residual") if inputs == "both" else (inputs,)


class Detector(nnx.Module):
    """Class tokens of the branches, original first, concatenated, and one linear layer.

    Args:
      inputs: the branches: `both`, `original` or `residual`. Only `original` is the plain ViT.
      backbone: settings of a `Backbone` as branch `original`; None: a ViT.
      additions: to the patch embedding of every branch (`ViT`).
      patch_head: whether a second linear layer says of each patch of the original branch whether
        it is manipulated.
      remat: of every branch.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        inputs: str,
        backbone: BackboneSettings | None = None,
        additions: Sequence[str] = (),
        patch_head: bool = False,
        dtype: DTypeLike,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        branches, features = {}, 0
        for name in branch_names(inputs):
            if name == "original" and backbone is not None:
                branches[name] = Backbone(backbone, dtype=dtype, remat=remat, rngs=rngs)
                features += backbone.width
            else:
                branches[name] = ViT(
                    settings, additions=additions, dtype=dtype, remat=remat, rngs=rngs
                )
                features += settings.shape.width
        self.branches = nnx.Dict(branches)
        width, normal = settings.shape.width, nnx.initializers.normal(0.02)
        self.head = nnx.Linear(features, 2, kernel_init=normal, rngs=rngs)
        if patch_head:
            self.patch_head = nnx.Linear(width, 1, kernel_init=normal, rngs=rngs)

    def __call__(
        self,
        patches: dict[str, Float[Array, "batch ..."]],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch 2"]:
        """Logits (real, fake), float32.

        Args:
          patches: for each branch (`original`, `residual`) the pixels of the chosen patches,
            [batch, chosen, pixels]; for a backbone whole images, [batch, size, size, 3], or its
            features, [batch, width].
          indices: places of the chosen patches, the same for both branches.
          lengths: number of patches of each image; the rest is padding. None: all of them.
        """
        return self.head(self.features(patches, indices, lengths))

    def with_patch_logits(
        self,
        patches: dict[str, Float[Array, "batch chosen pixels"]],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
        lengths: Int[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch 2"], Float[Array, "batch chosen"]]:
        """The logits, and of each patch of the original branch the logit of being manipulated.

        What stands in padding means nothing.
        """
        tokens = {
            name: branch.tokens(patches[name], indices, lengths)
            for name, branch in self.branches.items()
        }
        features = [tokens[name][:, 0] for name in sorted(tokens)]
        patch_logits = self.patch_head(tokens["original"][:, 1:])[..., 0]
        return self.head(jnp.concatenate(features, axis=-1)), patch_logits

    def features(
        self,
        patches: dict[str, Float[Array, "batch ..."]],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch features"]:
        """The class tokens that the linear layer reads, those of the original branch first."""
        tokens = []
        for name in sorted(self.branches):
            branch, read = self.branches[name], patches[name]
            if not isinstance(branch, Backbone):
                tokens.append(branch(read, indices, lengths))
            else:
                tokens.append(read if read.ndim == 2 else branch(read))
        return jnp.concatenate(tokens, axis=-1)

    def class_attention(
        self,
        patches: dict[str, Float[Array, "batch chosen pixels"]],
        indices: Int[Array, " chosen"],
    ) -> Float[Array, "batch branches chosen"]:
        """`ViT.class_attention` of every branch, original first, the mean over its heads."""
        maps = [
            self.branches[name].class_attention(patches[name], indices).mean(axis=1)
            for name in sorted(self.branches)
        ]
        return jnp.stack(maps, axis=1)
