"""Inpainting without a network: the mean face, Telea's method, and a ridge regression.

Each fills every block of the grid from the rest of the image, as a MAE does in
`method.residual.inpaint`. A MAE that loses to one of them has not learnt faces.
"""

import dataclasses

import cv2
import numpy as np
import scipy.linalg
from jaxtyping import Float, Float32, Float64, UInt8

from rffr_jax.method.blocks import BlockGrid

TELEA_RADIUS = 3
"""Pixels around a hidden pixel that Telea's method looks at, as in OpenCV's examples."""

PENALTIES = 10.0 ** np.arange(-4, 1.5, 0.5)
"""Of the ridge regression, relative to the mean squared length of the training images."""

IMAGES_FOR_PENALTY = 400
"""Evenly spaced training images that choose the penalty of a block."""

SHARE_OF_PIXELS = 7
"""Every so many-th value of a block chooses its penalty."""


def mean_face(training: UInt8[np.ndarray, "n size size 3"]) -> Float32[np.ndarray, "size size 3"]:
    """The mean of the training images, in [0, 1]."""
    return (training.mean(axis=0, dtype=np.float64) / 255).astype(np.float32)


def inpaint_telea(
    images: UInt8[np.ndarray, "n size size 3"], blocks: BlockGrid, patch: int
) -> Float32[np.ndarray, "n size size 3"]:
    """Telea, An Image Inpainting Technique Based on the Fast Marching Method (2004), by OpenCV.

    Args:
      patch: side of a patch in pixels.

    Returns:
      Images in [0, 1], put together from their inpainted blocks; the original elsewhere.
    """
    size = images.shape[1]
    inpainted = images.copy()
    for area in block_areas(blocks, patch):
        mask = np.zeros((size, size), np.uint8)
        mask[area] = 255
        for image, target in zip(images, inpainted, strict=True):
            # OpenCV reads hidden pixels where they touch the image's edge: they must say nothing.
            hidden = image.copy()
            hidden[area] = image[mask == 0].mean(axis=0)
            target[area] = cv2.inpaint(hidden, mask, TELEA_RADIUS, cv2.INPAINT_TELEA)[area]
    return inpainted.astype(np.float32) / 255


@dataclasses.dataclass(frozen=True, eq=False)
class RidgeInpainter:
    """A linear ridge regression of each block's pixels on all pixels outside the block.

    It is solved in its dual form, W = X' (X X' + p I)^-1 Y with centred training images X outside
    the block and Y inside, so that its cost depends on the number of images and not on their size.

    Attributes:
      mean: of the training images, in [0, 1].
      centred: the training images minus their mean.
      coefficients: (X X' + p I)^-1 Y of each block.
      penalties: p of each block, relative to the mean squared length of X, chosen from `PENALTIES`
        by the squared error when each of `IMAGES_FOR_PENALTY` images is left out.
    """

    blocks: BlockGrid
    patch: int
    mean: Float32[np.ndarray, "size size 3"]
    centred: Float32[np.ndarray, "n size size 3"]
    coefficients: list[Float64[np.ndarray, "n pixels"]]
    penalties: list[float]

    @classmethod
    def fit(
        cls, training: UInt8[np.ndarray, "n size size 3"], blocks: BlockGrid, patch: int
    ) -> "RidgeInpainter":
        """Fits one regression for each block.

        Args:
          training: at least two images.
          patch: side of a patch in pixels.

        Raises:
          ValueError: fewer than two images.
        """
        if len(training) < 2:
            raise ValueError(f"need at least two images, got {len(training)}")
        mean = mean_face(training)
        centred = training.astype(np.float32) / 255 - mean
        products = _products(centred, centred)
        some = np.linspace(0, len(centred) - 1, min(len(centred), IMAGES_FOR_PENALTY)).astype(int)
        coefficients, penalties = [], []
        for area in block_areas(blocks, patch):
            inside = centred[:, *area].reshape(len(centred), -1).astype(np.float64)
            outside = products - inside @ inside.T
            penalties.append(_choose_penalty(outside[np.ix_(some, some)], inside[some]))
            coefficients.append(_solve(outside, inside, penalties[-1]))
        return cls(blocks, patch, mean, centred, coefficients, penalties)

    def inpaint(
        self, images: UInt8[np.ndarray, "n size size 3"]
    ) -> Float32[np.ndarray, "n size size 3"]:
        """Images in about [0, 1], put together from their inpainted blocks; the original elsewhere.

        Args:
          images: other ones than those of the training.
        """
        pixels = images.astype(np.float32) / 255
        centred = pixels - self.mean
        products = _products(centred, self.centred)
        inpainted = pixels.copy()
        areas = block_areas(self.blocks, self.patch)
        for area, coefficients in zip(areas, self.coefficients, strict=True):
            inside = centred[:, *area].reshape(len(images), -1).astype(np.float64)
            outside = products - inside @ self.centred[:, *area].reshape(len(self.centred), -1).T
            filled = (outside @ coefficients).reshape(inpainted[:, *area].shape)
            inpainted[:, *area] = filled + self.mean[area]
        return inpainted

    def compact(self, most: int) -> dict[str, Float32[np.ndarray, "..."]]:
        """The regression whose weights lie in the span of principal components.

        With all components of the training images it inpaints as `inpaint` does;
        `baseline_residuals.ridge_differences` applies it. It holds no training image.

        Args:
          most: components that are kept, those of the largest variance.

        Returns:
          `mean` [patches, pixels], `components` [patches, pixels, rank] and `coefficients`
          [blocks, rank, pixels of a block, patch by patch].
        """
        values, vectors = scipy.linalg.eigh(_products(self.centred, self.centred))
        rank = max(1, min(most, int((values > 1e-7 * values[-1]).sum())))
        scales = np.sqrt(np.maximum(values[-rank:], 1e-12))
        flat = self.centred.reshape(len(self.centred), -1)
        components = (vectors[:, -rank:] / scales).T @ flat
        images = components.reshape(rank, *self.mean.shape)
        coefficients = []
        for area, penalty in zip(block_areas(self.blocks, self.patch), self.penalties, strict=True):
            targets = self.centred[:, *area].reshape(len(flat), -1).astype(np.float64)
            inside = images[:, *area].reshape(rank, -1)
            features = flat @ components.T - targets @ inside.T  # of the pixels outside
            length = (np.square(flat).sum() - np.square(targets).sum()) / len(flat)
            metric = np.eye(rank) - inside @ inside.T  # components outside are not orthogonal
            normal = features.T @ features + (penalty * length or 1.0) * metric
            normal += 1e-9 * (np.trace(normal) / rank or 1.0) * np.eye(rank)
            solution = scipy.linalg.solve(normal, features.T @ targets, assume_a="pos")
            side = self.blocks.side * self.patch
            coefficients.append(_patches(solution.reshape(rank, side, side, 3), self.patch))
        arrays = {
            "mean": _patches(self.mean[None], self.patch)[0],
            "components": _patches(images, self.patch).transpose(1, 2, 0),
            "coefficients": np.stack(coefficients).reshape(len(coefficients), rank, -1),
        }
        return {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}


def block_areas(blocks: BlockGrid, patch: int) -> list[tuple[slice, slice]]:
    """Rows and columns of every block's pixels."""
    side, first = blocks.side * patch, blocks.offset * patch
    edges = [slice(first + n * side, first + (n + 1) * side) for n in range(blocks.k)]
    return [(rows, columns) for rows in edges for columns in edges]


def _patches(
    images: Float[np.ndarray, "n side side 3"], patch: int
) -> Float[np.ndarray, "n patches pixels"]:
    """As `models.layers.patchify`."""
    count, grid = len(images), images.shape[1] // patch
    squares = images.reshape(count, grid, patch, grid, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(count, grid**2, -1)


def _products(
    some: Float32[np.ndarray, "n size size 3"], others: Float32[np.ndarray, "m size size 3"]
) -> Float64[np.ndarray, "n m"]:
    return (some.reshape(len(some), -1) @ others.reshape(len(others), -1).T).astype(np.float64)


def _solve(
    products: Float64[np.ndarray, "n n"], targets: Float64[np.ndarray, "n pixels"], penalty: float
) -> Float64[np.ndarray, "n pixels"]:
    """(products + p I)^-1 targets; p is the penalty times the mean of the diagonal."""
    unit = float(np.trace(products)) / len(products) or 1.0
    matrix = products + penalty * unit * np.eye(len(products))
    return scipy.linalg.solve(matrix, targets, assume_a="pos", overwrite_a=True)


def _choose_penalty(
    products: Float64[np.ndarray, "n n"], targets: Float64[np.ndarray, "n pixels"]
) -> float:
    """The penalty of `PENALTIES` with the smallest leave-one-out error, in closed form.

    The error of image i without it in the training is row i of the solution over the i-th diagonal
    element of the inverse without its part along (1, ..., 1): the mean is fitted anew, too. (Cawley
    and Talbot, Fast exact leave-one-out cross-validation of least-squares machines, 2004.)
    """
    count = len(products)
    centre = np.eye(count) - 1.0 / count
    products, targets = centre @ products @ centre, targets - targets.mean(axis=0)
    values, vectors = scipy.linalg.eigh(products)
    values = np.maximum(values, 0.0)
    unit = float(values.mean()) or 1.0
    some = vectors.T @ targets[:, ::SHARE_OF_PIXELS]

    def error(penalty: float) -> float:
        shrunk = 1.0 / (values + penalty * unit)
        diagonal = (vectors**2) @ shrunk - 1.0 / (count * penalty * unit)
        left_out = (vectors @ (shrunk[:, None] * some)) / diagonal[:, None]
        return float((left_out**2).mean())

    return float(min(PENALTIES, key=error))
