"""Geometry against hand-written tables and brute force; draws against their stated distribution."""

import numpy as np
import pytest
from scipy import stats

from rffr_jax.errors import UserError
from rffr_jax.method.blocks import (
    BlockGrid,
    complement,
    count_distribution,
    count_quantiles,
    group_distant_blocks,
    sample_blocks,
    sample_masks,
    sample_order,
)


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


@pytest.mark.parametrize(("k", "per_pass"), [(4, 0), (4, 3), (4, 16), (2, 4), (1, 2)])
def test_passes_that_do_not_come_out_even_are_a_user_error(k, per_pass):
    with pytest.raises(UserError, match=r"do not part the .* evenly .* choose 1"):
        BlockGrid(14, k, per_pass)


@pytest.mark.parametrize(
    ("k", "size"), [(1, 1), (2, 2), (3, 3), (4, 2), (4, 4), (4, 8), (6, 9), (7, 7)]
)
def test_every_block_is_in_one_group(k, size):
    groups = group_distant_blocks(k, size)
    assert groups.shape == (k * k // size, size)
    assert sorted(groups.reshape(-1)) == list(range(k * k))
    assert (np.diff(groups, axis=1) > 0).all()


def nearest(k, size):
    places = np.stack(np.divmod(group_distant_blocks(k, size), k), axis=-1)
    distances = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    return distances[distances > 0].min()


@pytest.mark.parametrize(
    ("k", "size", "least"),
    [(2, 2, 2**0.5), (4, 2, 8**0.5), (4, 4, 2), (4, 8, 2**0.5), (6, 4, 3), (6, 9, 2), (8, 4, 4)],
)
def test_groups_are_as_far_apart_as_any_can_be(k, size, least):
    assert nearest(k, size) == pytest.approx(least)


def test_a_pass_hides_its_blocks_and_shows_the_rest():
    blocks = BlockGrid(14, 4, per_pass=4)
    assert blocks.passes.shape == (4, 4)
    for group in blocks.passes:
        for block in group:
            together = blocks.hidden_in_pass[block]
            assert together[:9].tolist() == blocks.hidden[block].tolist()
            assert sorted(together) == sorted(blocks.hidden[group].reshape(-1))
            assert sorted([*together, *blocks.visible[block]]) == list(range(196))


def test_grid_masks_of_several_blocks_are_the_passes():
    blocks = BlockGrid(14, 4, per_pass=4)
    masks = sample_masks("grid", blocks, ratio=0.0, seed=1, step=2, batch=200)
    passes = {tuple(blocks.hidden[group].reshape(-1)) for group in blocks.passes}
    assert {tuple(mask) for mask in masks} == passes


def test_moved_groups_stay_in_the_covered_area_and_keep_their_shape():
    blocks = BlockGrid(14, 4, per_pass=2)
    masks = sample_masks("block", blocks, ratio=0.0, seed=1, step=2, batch=500)
    assert masks.shape == (500, 18)
    assert all(len(set(mask)) == 18 for mask in masks)
    assert set(masks.reshape(-1)) == set(blocks.hidden.reshape(-1))
    rows, columns = np.divmod(masks.reshape(500, 2, 9), 14)
    assert (np.ptp(rows, axis=-1) == 2).all()
    assert (np.ptp(columns, axis=-1) == 2).all()
    steps = rows[:, 1, 0] - rows[:, 0, 0], columns[:, 1, 0] - columns[:, 0, 0]
    places = np.divmod(blocks.passes, 4)
    of_grid = {tuple(3 * (b[1] - b[0]) for b in pair) for pair in zip(*places, strict=True)}
    assert set(zip(*steps, strict=True)) == of_grid


def test_complement_against_sets():
    generator = np.random.default_rng(0)
    indices = np.argsort(generator.random((5, 12)), axis=1)[:, :4]
    for row, rest in zip(indices, complement(indices, 12), strict=True):
        assert rest.tolist() == sorted(set(range(12)) - set(row.tolist()))


def test_grid_masks_are_blocks_and_all_occur():
    blocks = BlockGrid(14, 4)
    masks = sample_masks("grid", blocks, ratio=0.0, seed=1, step=2, batch=400)
    table = {tuple(row) for row in blocks.hidden}
    assert {tuple(row) for row in masks} == table


def test_block_masks_lie_anywhere_in_the_covered_area():
    blocks = BlockGrid(14, 4)
    masks = sample_masks("block", blocks, ratio=0.0, seed=1, step=2, batch=3000)
    corners = {(int(m[0]) // 14, int(m[0]) % 14) for m in masks}
    assert corners == {(r, c) for r in range(1, 11) for c in range(1, 11)}
    assert set(masks.reshape(-1)) == set(blocks.hidden.reshape(-1))


def test_random_masks_hide_the_ratio():
    masks = sample_masks("random", BlockGrid(14, 4), ratio=0.75, seed=1, step=2, batch=50)
    assert masks.shape == (50, 147)
    assert all(len(set(row)) == 147 for row in masks)
    frequency = np.bincount(masks.reshape(-1), minlength=196) / 50
    assert frequency.min() > 0.4


@pytest.mark.parametrize("kind", ["grid", "block", "random"])
def test_masks_are_a_function_of_seed_step_and_row(kind):
    blocks = BlockGrid(8, 4)

    def draw(seed, step):
        return sample_masks(kind, blocks, ratio=0.5, seed=seed, step=step, batch=32)

    assert np.array_equal(draw(3, 5), draw(3, 5))
    assert not np.array_equal(draw(3, 5), draw(3, 6))
    assert not np.array_equal(draw(3, 5), draw(4, 5))


def test_mask_mistakes_are_user_errors():
    blocks = BlockGrid(8, 4)
    with pytest.raises(UserError, match="ratio"):
        sample_masks("random", blocks, ratio=1.0, seed=0, step=0, batch=1)
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


@pytest.mark.parametrize("group", [4, 16, 64])
def test_count_quantiles_are_the_distributions_inverse(group):
    chances = count_distribution(16, 0.25, "redraw")
    counts = count_quantiles(chances, group)
    assert len(counts) == group
    assert list(counts) == sorted(counts)
    for i, count in enumerate(counts):
        level = (i + 0.5) / group
        assert chances[: count + 1].sum() >= level > chances[:count].sum()


def test_count_quantiles_approach_the_distribution():
    chances = count_distribution(16, 0.25, "redraw")
    distances = []
    for group in (16, 256):
        counts = count_quantiles(chances, group)
        assert abs(np.mean(counts) - np.arange(17) @ chances) < 0.05
        shares = np.bincount(counts, minlength=17) / group
        distances.append(0.5 * np.abs(shares - chances).sum())
    assert distances[0] < 0.06
    assert distances[1] < 0.01


def test_the_papers_setting_at_the_default_group():
    counts = count_quantiles(count_distribution(16, 0.25, "redraw"), 16)
    assert counts == (1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7)


def test_order_deals_rows_out_within_their_group_and_uniformly():
    orders = np.stack([sample_order(4, 0, step, 12) for step in range(4000)])
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(12), (4000, 1)))
    assert np.array_equal(orders // 4, np.tile(np.repeat(np.arange(3), 4), (4000, 1)))
    for place in range(12):
        assert stats.chisquare(np.bincount(orders[:, place] % 4, minlength=4)).pvalue > 1e-4


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_drawn_blocks_are_uniform_subsets(count):
    drawn = np.concatenate([sample_blocks(16, 5, 0, step, 64) for step in range(60)])
    assert all(len(set(row)) == 5 for row in drawn)
    counts = np.bincount(drawn[:, :count].reshape(-1), minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert len({tuple(row) for row in sample_blocks(16, 3, 0, 0, 64)}) > 20


def test_draws_are_a_function_of_seed_step_and_row():
    for draw in (
        lambda seed, step: sample_order(4, seed, step, 16),
        lambda seed, step: sample_blocks(16, 5, seed, step, 16),
    ):
        assert np.array_equal(draw(1, 2), draw(1, 2))
        assert not np.array_equal(draw(1, 2), draw(1, 3))
        assert not np.array_equal(draw(1, 2), draw(2, 2))


def test_each_block_enters_each_row_with_the_papers_probability():
    counts = count_quantiles(count_distribution(16, 0.25, "redraw"), 16)
    steps, entered = 3000, np.zeros(32)
    for step in range(steps):
        order = sample_order(16, 7, step, 32)
        blocks = sample_blocks(16, max(counts), 7, step, 32)
        for place, row in enumerate(order):
            entered[row] += 5 in blocks[place, : counts[place % 16]]
    expected = np.mean(counts) / 16
    error = np.sqrt(expected * (1 - expected) / steps)
    assert np.abs(entered / steps - expected).max() < 4.5 * error
    assert abs(expected - 0.25 / (1 - 0.75**16)) < 0.004
