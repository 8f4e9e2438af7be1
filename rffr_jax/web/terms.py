"""What the page says of files before the upload: their kinds and limits."""

from typing import Any

from rffr_jax.config import Config
from rffr_jax.images.decode import supported_formats
from rffr_jax.images.image_formats import VIDEO_EXTENSIONS


def upload_terms(config: Config) -> dict[str, Any]:
    """The kinds of images and videos, and the settings that limit a file or its scoring."""
    return {
        "images": list(supported_formats()),
        "videos": [ending.removeprefix(".").upper() for ending in VIDEO_EXTENSIONS],
        "seconds_per_file": config.seconds_per_file,
        "most_faces": config.most_faces,
        "frames_per_video": config.frames_per_video,
    }
