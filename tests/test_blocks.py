"""Geometry against hand-written tables and brute force; draws against their stated distribution."""

import numpy as np
import pytest
from scipy import stats

from rffr_jax.blocks import (
    BlockGrid,
    complement,
    count_distribution,
    draw_blocks,
    draw_count,
    draw_masks,
)
from rffr_jax.errors import UserError


@pytest.mark.parametrize(
    ("k", "side", "offset"), [(2, 7, 0), (4, 3, 1), (6, 2, 1), (1, 14, 0), (14, 1, 0)]
)
def test_geometry_of_the_papers_grid(k, side, offset):
    blocks = BlockGrid(14, k)
    assert (blocks.side, blocks.offset) == (side, offset)
    assert blocks.hidden.shape == (k * k, side * side)


def test_released_geometry_block_by_block():
    hidden = BlockGrid(14, 4).hidden
    for block in range(16):
        row, column = 3 * (block // 4) + 1, 3 * (block % 4) + 1
        expected = [14 * (row + i) + column + j for i in range(3) for j in range(3)]
        assert hidden[block].tolist() == expected


@pytest.mark.parametrize(("grid", "k"), [(14, 4), (14, 6), (8, 3), (5, 5), (7, 2)])
def test_hidden_and_visible_part_the_grid(grid, k):
    blocks = BlockGrid(grid, k)
    for hidden, visible in zip(blocks.hidden, blocks.visible, strict=True):
        assert sorted([*hidden, *visible]) == list(range(grid * grid))
    covered = blocks.hidden.reshape(-1)
    assert len(set(covered)) == len(covered), "blocks do not overlap"


@pytest.mark.parametrize("k", [0, -1, 15])
def test_k_that_does_not_fit_is_a_user_error(k):
    with pytest.raises(UserError, match=r"blocks\.k"):
        BlockGrid(14, k)


def test_complement_against_sets():
    generator = np.random.default_rng(0)
    indices = np.argsort(generator.random((5, 12)), axis=1)[:, :4]
    for row, rest in zip(indices, complement(indices, 12), strict=True):
        assert rest.tolist() == sorted(set(range(12)) - set(row.tolist()))


def test_grid_masks_are_blocks_and_all_occur():
    blocks = BlockGrid(14, 4)
    masks = draw_masks("grid", blocks, ratio=0.0, seed=1, step=2, batch=400)
    table = {tuple(row) for row in blocks.hidden}
    assert {tuple(row) for row in masks} == table


def test_block_masks_lie_anywhere_in_the_covered_area():
    blocks = BlockGrid(14, 4)
    masks = draw_masks("block", blocks, ratio=0.0, seed=1, step=2, batch=3000)
    corners = {(int(m[0]) // 14, int(m[0]) % 14) for m in masks}
    assert corners == {(r, c) for r in range(1, 11) for c in range(1, 11)}
    assert set(masks.reshape(-1)) == set(blocks.hidden.reshape(-1))


def test_random_masks_hide_the_ratio():
    masks = draw_masks("random", BlockGrid(14, 4), ratio=0.75, seed=1, step=2, batch=50)
    assert masks.shape == (50, 147)
    assert all(len(set(row)) == 147 for row in masks)
    frequency = np.bincount(masks.reshape(-1), minlength=196) / 50
    assert frequency.min() > 0.4


@pytest.mark.parametrize("kind", ["grid", "block", "random"])
def test_masks_are_a_function_of_seed_step_and_row(kind):
    blocks = BlockGrid(8, 4)

    def draw(seed, step):
        return draw_masks(kind, blocks, ratio=0.5, seed=seed, step=step, batch=32)

    assert np.array_equal(draw(3, 5), draw(3, 5))
    assert not np.array_equal(draw(3, 5), draw(3, 6))
    assert not np.array_equal(draw(3, 5), draw(4, 5))


def test_mask_mistakes_are_user_errors():
    blocks = BlockGrid(8, 4)
    with pytest.raises(UserError, match="ratio"):
        draw_masks("random", blocks, ratio=1.0, seed=0, step=0, batch=1)
    with pytest.raises(UserError, match="on_empty"):
        count_distribution(16, 0.25, "never")
    with pytest.raises(UserError, match="probability"):
        count_distribution(16, 0.0, "redraw")


def test_count_distribution_is_the_binomial_without_zero():
    chances = count_distribution(16, 0.25, "redraw")
    binomial = stats.binom.pmf(np.arange(17), 16, 0.25)
    assert chances[0] == 0
    np.testing.assert_allclose(chances[1:], binomial[1:] / (1 - binomial[0]), rtol=1e-12)
    everything = count_distribution(4, 0.25, "all")
    np.testing.assert_allclose(everything[4], 0.25**4 + 0.75**4, rtol=1e-12)


@pytest.mark.parametrize("on_empty", ["redraw", "all"])
def test_drawn_counts_follow_the_distribution(on_empty):
    chances = count_distribution(16, 0.25, on_empty)
    counts = [draw_count(chances, seed, step) for seed in range(4) for step in range(2500)]
    observed = np.bincount(counts, minlength=17)
    expected = chances * len(counts)
    usual = expected > 5
    rest = ~usual
    result = stats.chisquare(
        [*observed[usual], observed[rest].sum()], [*expected[usual], expected[rest].sum()]
    )
    assert result.pvalue > 1e-3
    assert observed[0] == 0


def test_drawn_blocks_are_uniform_subsets_and_differ_between_images():
    drawn = np.concatenate([draw_blocks(16, 3, 0, step, 64) for step in range(60)])
    assert all(len(set(row)) == 3 for row in drawn)
    counts = np.bincount(drawn.reshape(-1), minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert len({tuple(row) for row in draw_blocks(16, 3, 0, 0, 64)}) > 20


def test_each_block_enters_with_the_papers_probability():
    chances = count_distribution(16, 0.25, "redraw")
    entered = 0.0
    steps = 3000
    for step in range(steps):
        count = draw_count(chances, 7, step)
        entered += np.mean(np.isin(5, draw_blocks(16, count, 7, step, 8)[0]))
    expected = 0.25 / (1 - 0.75**16)
    assert abs(entered / steps - expected) < 4 * np.sqrt(expected * (1 - expected) / steps)
