"""Table 9: k x k blocks, with the time that an image takes.

The sizes differ in coverage, too: at 224 px 2 x 2 blocks cover all 196 patches, 4 x 4 and 6 x 6
blocks only the inner 144. The last row has small blocks and the coverage of 2 x 2.

python -m rffr_jax.main --config=configs/paper/table9.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, numbered, row
from rffr_jax.config import Config

FULL_COVERAGE = {"faceforensics": 7}


def get_config(variant: str = "synthetic") -> Config:
    config = base("table9", "size of the blocks", variant)
    sizes = (2, 4, 6, FULL_COVERAGE.get(variant, 8))
    config.autoencoders = ConfigDict({f"mae_{k}": {"blocks": {"k": k}} for k in sizes})
    if config.pretrain.mask.schedule:
        # Several blocks hidden together cannot be had of four.
        config.pretrain.mask.schedule = "random:0.7"
    config.rows = numbered({f"k{k}": row(f"{k}x{k}", f"mae_{k}") for k in sizes})
    config.claims = numbered(
        {
            "larger": claim("4 x 4 beats larger blocks", "4x4", "2x2"),
            "smaller": claim("4 x 4 beats smaller blocks", "4x4", "6x6"),
        }
    )
    config.galleries = ("mae_4",)
    config.time_inference = True
    return config
