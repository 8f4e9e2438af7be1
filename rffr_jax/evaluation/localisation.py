"""Does the residual lie where the manipulation is? The test of what the paper's Fig. 3 shows.

A face is not equally hard to inpaint everywhere: hair and mouth leave residuals in real images too.
So each fake is held against its own original, under the same mask.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from sklearn.metrics import roc_auc_score

from rffr_jax.evaluation import bootstrap
from rffr_jax.evaluation.results_text import format_interval
from rffr_jax.examples import FAKE, REAL, Example

ALL = "(all)"


@dataclasses.dataclass(frozen=True)
class Localisation:
    """The residual of one fake inside and outside its mask, over the area that blocks cover.

    Attributes:
      example: the fake.
      auc: chance that |R| (mean of the channels) of a pixel inside is above that of one outside.
      inside, outside: energy, the mean of R^2 over pixels and channels.
      original_auc: the same of its original's residual, under the fake's mask; None without one.
      original_inside: energy of the original's residual inside the fake's mask; None without one.
    """

    example: Example
    auc: float
    inside: float
    outside: float
    original_auc: float | None
    original_inside: float | None


def pixel_auc(mask: Bool[np.ndarray, " pixels"], residual: Float[np.ndarray, "pixels 3"]) -> float:
    """AUC of the mean of |R| over the channels against the mask, pixel by pixel."""
    return float(roc_auc_score(mask, np.abs(residual).mean(axis=-1)))


def localise_residuals(
    examples: Sequence[Example],
    masks: Sequence[Float32[np.ndarray, "size size"] | None],
    residuals: Float[np.ndarray, "n size size 3"],
) -> list[Localisation]:
    """Every fake that has a mask with pixels inside and outside in the covered area.

    What no block covers is 0 in all residuals, and so does not count.

    Args:
      examples: fakes and, where they are there, their originals (same dataset, source and frame).
      masks: 0 to 1, of each example; above 0.5 is inside.
      residuals: in [-1, 1].
    """
    originals = {
        (example.spec, example.dataset, example.source, example.frame): row
        for row, example in enumerate(examples)
        if example.label == REAL
    }
    covered = (residuals != 0).any(axis=(0, 3))
    found = []
    for example, mask, residual in zip(examples, masks, residuals, strict=True):
        if example.label != FAKE or mask is None:
            continue
        inside = mask[covered] > 0.5
        if inside.all() or not inside.any():
            continue
        own = residual[covered]
        row = originals.get((example.spec, example.dataset, example.source, example.frame))
        original = None if row is None else residuals[row][covered]
        found.append(
            Localisation(
                example,
                auc=pixel_auc(inside, own),
                inside=_energy(own[inside]),
                outside=_energy(own[~inside]),
                original_auc=None if original is None else pixel_auc(inside, original),
                original_inside=None if original is None else _energy(original[inside]),
            )
        )
    return found


def localisation_table(found: Sequence[Localisation]) -> dict[str, dict[str, Any]]:
    """Means over the fakes of each method, and of `(all)`.

    Returns:
      {METHOD: {`n`; `pixel_auc` and `pixel_auc_ci95`; `energy_inside`, `energy_outside`;
      `n_with_original`; of those `pixel_auc_gain` (the fake's minus its original's, under the same
      mask) and `pixel_auc_gain_ci95`, and `energy_gain` (energy inside over the original's there,
      both averaged first)}}. Intervals are 95 %, from the bootstrap over clusters; None for one
      cluster, or without originals.
    """
    methods = sorted({one.example.method for one in found})
    groups = {method: [one for one in found if one.example.method == method] for method in methods}
    if len(methods) > 1:
        groups[ALL] = list(found)
    return {name: _summarise_method(group) for name, group in groups.items()}


def format_localisation(table: dict[str, dict[str, Any]]) -> str:
    """The table as aligned text."""
    rows = [("fakes", "n", "pixel AUC", "95 %", "inside / outside", "gain over original", "95 %")]
    for name, entry in table.items():
        gain = entry["pixel_auc_gain"]
        rows.append(
            (
                name,
                str(entry["n"]),
                f"{100 * entry['pixel_auc']:.1f}",
                format_interval(entry["pixel_auc_ci95"], ".1f") or "-",
                f"{entry['energy_inside']:.5f} / {entry['energy_outside']:.5f}",
                "-" if gain is None else f"{100 * gain:+.1f}",
                format_interval(entry["pixel_auc_gain_ci95"], "+.1f") or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)).rstrip() for row in rows)


def _summarise_method(group: Sequence[Localisation]) -> dict[str, Any]:
    clusters = [one.example.cluster for one in group]
    aucs = np.array([one.auc for one in group])
    entry: dict[str, Any] = {
        "n": len(group),
        "pixel_auc": float(aucs.mean()),
        "pixel_auc_ci95": _mean_interval(aucs, clusters),
        "energy_inside": float(np.mean([one.inside for one in group])),
        "energy_outside": float(np.mean([one.outside for one in group])),
        **dict.fromkeys(("pixel_auc_gain", "pixel_auc_gain_ci95", "energy_gain")),
    }
    pairs = [
        (one.auc - one.original_auc, one.inside, one.original_inside, one.example.cluster)
        for one in group
        if one.original_auc is not None
    ]
    entry["n_with_original"] = len(pairs)
    if pairs:
        gains, inside, before, names = zip(*pairs, strict=True)
        entry["pixel_auc_gain"] = float(np.mean(gains))
        entry["pixel_auc_gain_ci95"] = _mean_interval(np.array(gains), names)
        entry["energy_gain"] = float(np.mean(inside) / np.mean(before)) if any(before) else None
    return entry


def _mean_interval(values: Float[np.ndarray, " n"], clusters: Sequence[str]) -> list[float] | None:
    if len(set(clusters)) == 1:
        return None
    draws = bootstrap.ClusterDraws(clusters)
    means = [values @ times / times.sum(axis=0) for times in draws.times(clusters)]
    return list(bootstrap.percentile_interval(np.concatenate(means)))


def _energy(residual: Float[np.ndarray, "pixels 3"]) -> float:
    return float(np.square(residual, dtype=np.float64).mean())
