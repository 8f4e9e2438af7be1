"""The rows of Table 3 and Fig. 1: MAEs with other real faces to learn from, and other masks."""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, numbered, row
from rffr_jax.config import Config

NONE, ONE, TWO = "No RFFR", "Ours, FF", "Ours, FN + FF"


def real_faces(name: str, title: str, variant: str) -> Config:
    """Rows without a MAE, with one that saw one source of real faces, and with one that saw two."""
    config = base(name, title, variant)
    config.autoencoders = ConfigDict(
        {
            "one_source": {"data": {"train": config.data.one_source}},
            "mae": {"data": {"train": config.data.two_sources}},
        }
    )
    config.rows = numbered(
        {
            "none": row(NONE, detector={"inputs": "original"}),
            "one": row(ONE, "one_source"),
            "two": row(TWO, "mae"),
        }
    )
    config.claims = numbered(
        {
            "rffr": claim("the residual helps", better=ONE, worse=NONE),
            "more": claim("more real faces help", better=TWO, worse=ONE),
        }
    )
    return config
