"""Residuals and masks: planted residuals, and every number again in loops."""

import dataclasses

import numpy as np
import pytest

from rffr_jax.evaluation.localisation import (
    ALL,
    format_localisation,
    localisation_table,
    localise_residuals,
    pixel_auc,
)
from rffr_jax.examples import Example

SIZE = 12


def example(method: str, number: int, frame: int = 0) -> Example:
    name = f"{method}/{number}/{frame}"
    return Example(name, name, int(method != "real"), "d", method, name, frame, f"p{number}")


def planted(seed: int, people: int = 6):
    """Noise everywhere, and more of it inside the mask of `swap`; `warp` leaves no trace."""
    rng = np.random.default_rng(seed)
    examples, masks, residuals = [], [], []
    for number in range(people):
        base = 0.1 * rng.normal(size=(SIZE, SIZE, 3))
        mask = np.zeros((SIZE, SIZE), np.float32)
        row, column = rng.integers(2, 6, 2)
        mask[row : row + 4, column : column + 4] = 0.9
        for method in ("real", "swap", "warp"):
            residual = base + 0.01 * rng.normal(size=base.shape)
            if method == "swap":
                residual = residual + 0.4 * rng.normal(size=base.shape) * mask[..., None]
            examples.append(example(method, number))
            masks.append(mask if method != "real" else np.zeros_like(mask))
            residuals.append(residual.clip(-1, 1))
    residuals = np.array(residuals)
    residuals[:, [0, -1]] = residuals[:, :, [0, -1]] = 0.0  # a ring that no block covers
    return examples, masks, residuals


def test_numbers_are_those_of_loops():
    examples, masks, residuals = planted(0)
    found = localise_residuals(examples, masks, residuals)
    assert [one.example for one in found] == [e for e in examples if e.label]
    for one in found:
        row = examples.index(one.example)
        real = row - (1 if one.example.method == "swap" else 2)
        inside, outside = [], []
        for y in range(1, SIZE - 1):
            for x in range(1, SIZE - 1):
                (inside if masks[row][y, x] > 0.5 else outside).append((y, x))
        for measured, energy, number in (
            (one.auc, one.inside, row),
            (one.original_auc, one.original_inside, real),
        ):
            strength = np.abs(residuals[number]).mean(-1)
            wins = [
                (strength[a] > strength[b]) + 0.5 * (strength[a] == strength[b])
                for a in inside
                for b in outside
            ]
            assert measured == pytest.approx(np.mean(wins))
            assert energy == pytest.approx(np.mean([residuals[number][a] ** 2 for a in inside]))
        assert one.outside == pytest.approx(np.mean([residuals[row][b] ** 2 for b in outside]))


def test_a_trace_is_seen_and_no_trace_is_not():
    table = localisation_table(localise_residuals(*planted(1, people=12)))
    assert set(table) == {"swap", "warp", ALL}
    swap, warp = table["swap"], table["warp"]
    assert swap["pixel_auc_ci95"][0] > 0.7
    assert swap["pixel_auc_gain_ci95"][0] > 0.2
    assert swap["energy_gain"] > 3
    assert warp["pixel_auc_gain_ci95"][0] < 0.02
    assert warp["energy_gain"] == pytest.approx(1, abs=0.1)
    assert table[ALL]["n"] == 24
    assert table[ALL]["pixel_auc"] == pytest.approx((swap["pixel_auc"] + warp["pixel_auc"]) / 2)
    text = format_localisation(table)
    assert len({len(line) for line in text.splitlines()}) == 1
    assert f"{100 * swap['pixel_auc']:.1f}" in text


def test_what_is_hard_in_the_original_too_is_no_gain():
    """Residuals as strong inside the mask before the manipulation as after it."""
    examples, masks, residuals = planted(2)
    for row in range(0, len(examples), 3):
        residuals[row] = residuals[row + 1]
    swap = localisation_table(localise_residuals(examples, masks, residuals))["swap"]
    assert swap["pixel_auc"] > 0.8
    assert (swap["pixel_auc_gain"], swap["energy_gain"]) == (0.0, 1.0)


def test_fakes_without_mask_or_original():
    examples, masks, residuals = planted(3)
    assert localise_residuals(examples, [None] * len(masks), residuals) == []
    empty = [np.zeros_like(mask) for mask in masks]
    assert localise_residuals(examples, empty, residuals) == []
    moved = [dataclasses.replace(e, frame=5) if e.label else e for e in examples]
    (swap, _, _) = localisation_table(localise_residuals(moved, masks, residuals)).values()
    assert (swap["n"], swap["n_with_original"]) == (6, 0)
    assert swap["pixel_auc_gain"] is swap["pixel_auc_gain_ci95"] is swap["energy_gain"] is None
    one = localisation_table(localise_residuals(examples[:2], masks[:2], residuals[:2]))
    assert set(one) == {"swap"}
    assert one["swap"]["pixel_auc_ci95"] is None
    assert "-" in format_localisation(one)


def test_equal_strengths_say_nothing():
    mask = np.arange(10) < 4
    assert pixel_auc(mask, np.full((10, 3), 0.3)) == 0.5
    assert pixel_auc(mask, mask[:, None] * np.ones((10, 3))) == 1.0
