"""Geometry of the blocks: the patches that each hides, the visible ones, and random samples.

An image is a square grid of patches, numbered row by row. A `BlockGrid` lays k x k equal square
blocks on it, centred; patches outside the blocks are never hidden. NumPy only: the tables are
constants of the compiled programs, and every sample is a function of seed, step and global row.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from rffr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class BlockGrid:
    """k x k blocks of b x b patches, b = floor(grid / k), on a grid x grid patch grid.

    The released RFFR geometry is grid = 14, k = 4: b = 3, offset 1, so that 16 blocks cover
    12 x 12 patches and the outer ring stays visible.

    Attributes:
      grid: patches along a side of the image.
      k: blocks along a side.
      per_pass: blocks that one pass of the MAE hides and inpaints together, far apart from each
        other. 1 is the paper's; with n there are n times fewer passes, and each block is inpainted
        without the help of the n - 1 others.

    Raises:
      UserError: fewer patches than blocks along a side, or passes that do not come out even.
    """

    grid: int
    k: int
    per_pass: int = 1

    def __post_init__(self):
        if not 1 <= self.k <= self.grid:
            raise UserError(
                f"blocks.k={self.k} does not fit a grid of {self.grid} x {self.grid} patches; "
                f"choose k between 1 and {self.grid}"
            )
        fitting = [1, *(n for n in range(2, self.count) if self.count % n == 0)]
        if self.per_pass not in fitting:
            raise UserError(
                f"{self.per_pass} blocks in one pass (blocks.blocks_per_pass, mask.blocks) do not "
                f"part the {self.count} blocks of k={self.k} evenly with some left visible; "
                f"choose {', '.join(map(str, fitting))}"
            )

    @property
    def count(self) -> int:
        return self.k**2

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def side(self) -> int:
        """Patches along the side of one block."""
        return self.grid // self.k

    @property
    def offset(self) -> int:
        """First patch row (and column) that a block covers."""
        return (self.grid - self.k * self.side) // 2

    @functools.cached_property
    def hidden(self) -> Int[np.ndarray, "blocks patches_in_block"]:
        """Patches that each block hides, blocks row by row, patches of a block row by row."""
        corners = self.offset + self.side * np.arange(self.k)
        return square_blocks(self, np.repeat(corners, self.k), np.tile(corners, self.k))

    @functools.cached_property
    def passes(self) -> Int[np.ndarray, "passes per_pass"]:
        """The blocks that each pass hides together."""
        return group_distant_blocks(self.k, self.per_pass)

    @functools.cached_property
    def hidden_in_pass(self) -> Int[np.ndarray, "blocks patches_in_pass"]:
        """Patches that the pass of each block hides, those of the block itself first."""
        together = np.zeros((self.count, self.per_pass), int)
        for blocks in self.passes:
            for place, block in enumerate(blocks):
                together[block] = np.roll(blocks, -place)
        return self.hidden[together].reshape(self.count, -1)

    @functools.cached_property
    def visible(self) -> Int[np.ndarray, "blocks patches_outside_pass"]:
        """Patches that stay visible in the pass of each block, ascending."""
        return complement(self.hidden_in_pass, self.patches)

    def covered(self, patch_size: int) -> Bool[np.ndarray, "size size"]:
        """The pixels that blocks reach, in an image of `grid` patches of `patch_size` a side."""
        patches = np.zeros(self.patches, bool)
        patches[self.hidden.reshape(-1)] = True
        grid = patches.reshape(self.grid, self.grid)
        return grid.repeat(patch_size, axis=0).repeat(patch_size, axis=1)


@functools.cache
def group_distant_blocks(k: int, size: int) -> Int[np.ndarray, "groups size"]:
    """All k x k blocks in groups of `size` whose members lie far apart.

    Blocks change places between groups for as long as that lowers the sum of 1 / distance**6 over
    all pairs of a group, a sum that the closest pairs decide. With k = 4 and size 4 no two blocks
    of a group touch, not even at a corner.
    """
    count = k**2
    places = np.stack(np.divmod(np.arange(count), k), axis=1)
    squares = ((places[:, None] - places) ** 2).sum(axis=-1)
    closeness = np.where(squares, 1.0 / np.maximum(squares, 1) ** 3, 0.0)
    group = np.arange(count) % (count // size)
    while True:
        to_group = closeness @ np.eye(count // size)[group]
        to_other = to_group[:, group]
        to_own = np.diagonal(to_other)
        change = to_other + to_other.T - 2 * closeness - to_own - to_own[:, None]
        change[group[:, None] == group] = 0.0
        one, other = np.unravel_index(change.argmin(), change.shape)
        if change[one, other] > -1e-9:
            break
        group[one], group[other] = group[other], group[one]
    groups = np.argsort(group, kind="stable").reshape(-1, size)
    return groups[np.argsort(groups[:, 0])]


def square_blocks(
    blocks: BlockGrid, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n patches_in_block"]:
    """Patches of a block-sized square whose first patch is at each (row, column)."""
    step = np.arange(blocks.side)
    patch_rows = (rows[:, None] + step)[:, :, None]
    patch_columns = (columns[:, None] + step)[:, None, :]
    return (patch_rows * blocks.grid + patch_columns).reshape(len(rows), -1).astype(np.int32)


def complement(
    indices: Int[np.ndarray, "n chosen"], patches: int
) -> Int[np.ndarray, "n not_chosen"]:
    """The patch indices of 0..patches-1 that each row does not hold, ascending."""
    kept = np.ones((len(indices), patches), bool)
    np.put_along_axis(kept, indices, False, axis=1)
    return np.nonzero(kept)[1].reshape(len(indices), -1).astype(np.int32)


def sample_masks(
    kind: str, blocks: BlockGrid, *, ratio: float, seed: int, step: int, batch: int
) -> Int[np.ndarray, "batch hidden"]:
    """Hidden patches of every image of the global batch of a pretraining step.

    Args:
      kind: `grid` hides one of the k x k blocks (equations 1-4 of the paper), `block` a block of
        the same size anywhere in the area that the blocks cover, `random` single patches. With
        several blocks a pass, `grid` hides one of the groups that `BlockGrid.passes` holds, and
        `block` such a group, moved as a whole as far as that area has room.
      ratio: share of the patches that `random` hides.
      seed, step: the key of the random numbers; row i of the result belongs to global row i.
    """
    generator = np.random.default_rng((seed, step))
    if kind == "grid":
        drawn = blocks.passes[generator.integers(len(blocks.passes), size=batch)]
        return blocks.hidden[drawn].reshape(batch, -1)
    if kind == "block":
        groups = np.stack(np.divmod(blocks.passes, blocks.k))  # rows and columns of their blocks
        groups = blocks.side * (groups - groups.min(axis=-1, keepdims=True))
        drawn = np.random.default_rng((seed, step, 2)).integers(len(blocks.passes), size=batch)
        groups = groups[:, drawn]
        positions = blocks.side * (blocks.k - 1) + 1 - groups.max(axis=-1)
        corners = groups + blocks.offset + generator.integers(positions)[:, :, None]
        hidden = square_blocks(blocks, corners[0].reshape(-1), corners[1].reshape(-1))
        return hidden.reshape(batch, -1)
    if kind == "random":
        hidden = round(ratio * blocks.patches)
        if not 0 < hidden < blocks.patches:
            raise UserError(
                f"mask.ratio={ratio} hides {hidden} of {blocks.patches} patches; "
                "choose a ratio that hides some and leaves some visible"
            )
        order = np.argsort(generator.random((batch, blocks.patches)), axis=1)
        return np.sort(order[:, :hidden], axis=1).astype(np.int32)
    raise UserError(f"mask.kind={kind!r} is not known; choose grid, block or random")


def count_distribution(
    blocks: int, probability: float, on_empty: str
) -> Float[np.ndarray, " blocks_and_none"]:
    """P(K = 0..blocks) for the number K of blocks that enter the detector (section 3.3).

    Every block enters with `probability`, independently, so K is binomial; an empty draw is
    drawn again (`redraw`) or replaced by all blocks (`all`).

    Raises:
      UserError: a probability outside (0, 1] or an unknown rule.
    """
    if not 0 < probability <= 1:
        raise UserError(f"blocks.probability={probability} must lie in (0, 1]")
    from scipy import stats  # slow to import, and only training needs it

    chances = stats.binom.pmf(np.arange(blocks + 1), blocks, probability)
    if on_empty == "all":
        chances[blocks] += chances[0]
    elif on_empty != "redraw":
        raise UserError(f"blocks.on_empty={on_empty!r} is not known; choose redraw or all")
    chances[0] = 0.0
    return chances / chances.sum()


def count_quantiles(chances: Float[np.ndarray, " blocks_and_none"], group: int) -> tuple[int, ...]:
    """How many blocks the images of a group get: the quantiles at (i + 1/2) / group, ascending.

    Every group of a batch holds the same counts, dealt out to its images at random, so shapes
    are static, one compiled program serves all steps, and no block is computed that is not used.
    An image's count is thus uniform over these quantiles instead of following `chances` itself.
    With k = 4, p = 0.25 and group = 16 the counts are 1 to 7 with mean 4.00 (binomial: 4.04), the
    total variation distance is 0.06, and the 2.7 % of draws above 7 do not occur.
    """
    levels = (np.arange(group) + 0.5) / group
    return tuple(int(count) for count in np.searchsorted(np.cumsum(chances), levels))


def sample_order(group: int, seed: int, step: int, batch: int) -> Int[np.ndarray, " batch"]:
    """A random order of the rows within every group of the global batch: who gets which count."""
    generator = np.random.default_rng((seed, step))
    places = np.argsort(generator.random((batch // group, group)), axis=1)
    return (places + group * np.arange(batch // group)[:, None]).reshape(-1)


def sample_blocks(
    blocks: int, count: int, seed: int, step: int, batch: int
) -> Int[np.ndarray, "batch count"]:
    """`count` different blocks in random order for every row of the global batch.

    The first K of a row are a uniform K-subset of the blocks.
    """
    generator = np.random.default_rng((seed, step, 1))
    return np.argsort(generator.random((batch, blocks)), axis=1)[:, :count].astype(np.int32)
