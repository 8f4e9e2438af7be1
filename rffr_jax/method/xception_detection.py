"""The forward path of an Xception (Table 4): it reads whole original images and no residual."""

from flax import nnx
from jaxtyping import Array, Float, Float16, Int, PyTree, UInt8

from rffr_jax.method.detection import Detection, unit_range
from rffr_jax.models.xception import Xception


class XceptionDetection(Detection):
    """Forward functions of an Xception; its residual images are None."""

    def _detector(self, rngs: nnx.Rngs) -> nnx.Module:
        assert self.settings.xception is not None
        return Xception(self.settings.xception, dtype=self.dtype, rngs=rngs)

    def train_logits(
        self,
        parameters: PyTree,
        frozen: PyTree,
        images: UInt8[Array, "batch size size 3"],
        chosen: Int[Array, "batch most"] | None,
        counts: tuple[int, ...],
        differences: Float16[Array, "batch patches pixels"] | None = None,
        weight: Float[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch 2"], PyTree]:
        """Logits of whole images, and the running statistics of batch normalisation.

        Args:
          weight: of the images; those of weight 0 do not count in batch normalisation.
        """
        model = self._xception(parameters)
        logits = model(self._normalised(unit_range(images)), training=True, weight=weight)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def logits(
        self,
        parameters: PyTree,
        images: UInt8[Array, "batch size size 3"],
        residuals: Float[Array, "batch size size 3"] | None,
    ) -> Float[Array, "batch 2"]:
        """Logits of whole images, by the running statistics."""
        return self._xception(parameters)(self._normalised(unit_range(images)), training=False)

    def _xception(self, parameters: PyTree) -> Xception:
        return nnx.merge(self._definition, nnx.State(parameters))
