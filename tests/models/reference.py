"""The MAE and the ViT once more, in float64 NumPy, written from the papers with plain loops.

An independent reference: it shares no code with `rffr_jax.models`, keeps MAE's own order of
tokens (mask tokens at their places, everything decoded) and works on one image at a time.
"""

import numpy as np
from scipy.special import erf, softmax


def as_float64(tree):
    if isinstance(tree, dict):
        return {name: as_float64(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def norm(x, p):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def layer(stacked, index):
    if isinstance(stacked, dict):
        return {name: layer(value, index) for name, value in stacked.items()}
    return stacked[index]


def transformer(x, stacked, depth, heads):
    for index in range(depth):
        p = layer(stacked, index)
        query, key, value = np.split(linear(norm(x, p["attention_norm"]), p["qkv"]), 3, axis=-1)
        width = x.shape[-1] // heads
        attended = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = softmax(query[:, part] @ key[:, part].T / np.sqrt(width), axis=-1)
            attended.append(scores @ value[:, part])
        x = x + linear(np.concatenate(attended, -1), p["projection"])
        x = x + linear(gelu(linear(norm(x, p["mlp_norm"]), p["expand"])), p["contract"])
    return x


def patches_of(image, patch):
    grid = image.shape[0] // patch
    return np.stack(
        [
            image[r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].reshape(-1)
            for r in range(grid)
            for c in range(grid)
        ]
    )


def sincos(grid, width):
    table = np.zeros((grid * grid, width))
    quarter = width // 4
    for row in range(grid):
        for column in range(grid):
            for i in range(quarter):
                frequency = 1.0 / 10000.0 ** (i / quarter)
                place = table[row * grid + column]
                place[i] = np.sin(column * frequency)
                place[quarter + i] = np.cos(column * frequency)
                place[2 * quarter + i] = np.sin(row * frequency)
                place[3 * quarter + i] = np.cos(row * frequency)
    return table


def inpaint(p, size, patch, image, hidden):
    """Pixels of the hidden patches of one float64 image, MAE's way."""
    grid = image.shape[0] // patch
    tokens = linear(patches_of(image, patch), p["embedding"]) + sincos(grid, size.width)
    visible = [i for i in range(grid * grid) if i not in set(hidden)]
    x = np.concatenate([p["class_token"][None], tokens[visible]])
    x = norm(transformer(x, p["encoder"]["blocks"], size.depth, size.heads), p["encoder_norm"])
    x = linear(x, p["decoder_embedding"])
    full = np.tile(p["mask_token"], (grid * grid, 1))
    full[visible] = x[1:]
    full = np.concatenate([x[:1], full + sincos(grid, size.decoder_width)])
    full = transformer(full, p["decoder"]["blocks"], size.decoder_depth, size.decoder_heads)
    return linear(norm(full, p["decoder_norm"]), p["prediction"])[1:][hidden]


def class_feature(p, size, patches, indices):
    """The class token's feature of one image's chosen patches, the ViT's way."""
    tokens = linear(patches, p["embedding"]) + p["positions"][1:][indices]
    x = np.concatenate([(p["class_token"] + p["positions"][0])[None], tokens])
    return norm(transformer(x, p["transformer"]["blocks"], size.depth, size.heads)[0], p["norm"])
