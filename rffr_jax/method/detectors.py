"""Which forward path a detector has, by its settings."""

from jax.typing import DTypeLike

from rffr_jax.method.detection import Detection, DetectionSettings
from rffr_jax.method.xception_detection import XceptionDetection


def make_detection(
    settings: DetectionSettings, dtype: DTypeLike, *, remat: bool = False
) -> Detection:
    """Args: as for `Detection`."""
    kind = Detection if settings.xception is None else XceptionDetection
    return kind(settings, dtype, remat=remat)
