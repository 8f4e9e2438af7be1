"""Table 3: one source of real faces for the MAE, or two; and other masks in its pretraining.

'FF' is the source that the detector learns from, too. 'FN' is the second source: ForgeryNet, other
procedural people or other photographs.

python -m rffr_jax.main --config=configs/paper/table3.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import row
from configs.paper.real_faces import TWO, real_faces
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    title = "real faces that the MAE learns from, and its mask"
    config = real_faces("table3", title, variant)
    for kind in ("grid", "random"):
        config.autoencoders[f"{kind}_mask"] = ConfigDict({"mask": {"kind": kind, "schedule": ""}})
        config.rows[f"{kind}_mask"] = ConfigDict(row(f"{TWO}, {kind} mask", f"{kind}_mask"))
    return config
