"""The rows of Table 3 and Fig. 1: MAEs with other real faces to learn from, and other masks."""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, manipulations, numbered, rival, row, trained_label
from rffr_jax.config import Config

NONE, ONE, TWO = "No RFFR", "Ours, FF", "Ours, FN + FF"
RECCE_ONE, RECCE_TWO = "RECCE, FF", "RECCE, FN + FF"


def real_faces(name: str, title: str, variant: str) -> Config:
    """Rows without a MAE, with one that saw one source of real faces, and with one that saw two.

    And RECCE, which learns to reconstruct real faces, with the same sources of them.
    """
    config = base(name, title, variant)
    config.autoencoders = ConfigDict(
        {
            "one_source": {"data": {"train": config.data.one_source}},
            "mae": {"data": {"train": config.data.two_sources}},
        }
    )
    config.rows = numbered(
        {
            "recce_one": row(RECCE_ONE, **rival("recce", variant)),
            "recce_two": row(RECCE_TWO, **_with_more_reals(config, variant)),
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


def _with_more_reals(config: Config, variant: str) -> dict:
    """RECCE with the reals of the second source, too.

    Its fakes are of manipulations that are not trained on, so that none of them is used.
    """
    recce = rival("recce", variant)
    second = [spec for spec in config.data.two_sources if spec not in config.data.one_source]
    if variant != "faceforensics":
        other = next(
            m for label, m in manipulations(variant).items() if label != trained_label(variant)
        )
        second = [f"{spec}{'&' if '?' in spec else '?'}method={other}" for spec in second]
    train = (*config.data.train, *second)
    return recce | {"data": {**recce.get("data", {}), "train": train}}
