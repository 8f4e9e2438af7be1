# %% [markdown]
# # A detector for your own faces
#
# From a folder of aligned faces to a detector and its numbers: write the folder, train the detector
# in the box further, evaluate it on people that it never saw, look at one face. The faces here are
# drawn by the program, few and small, and the training is far too short: the numbers say nothing.
# With your own folders in `data` and without `SHORT` it is the real thing.
#
# It needs the installed demonstration model: `pip install . ./pretrained`.

# %%
import json
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import rffr_jax
from rffr_jax.command import entry
from rffr_jax.data.specs import load_dataset

temporary = tempfile.TemporaryDirectory()  # is removed when Python ends
data = pathlib.Path(temporary.name, "mine")
runs = data.parent / "runs"

# %% [markdown]
# ## The folders
#
# `real/` and `fake/METHOD/` with images, for training, validation and test. No person may be in two
# of these. Faces in photographs and videos are cut out by `scripts/prepare_faces.py`
# ([data](../../data.md)); other layouts are in [datasets](../../datasets.md).

# %%
SIZES = {"train": 64, "validation": 48, "test": 48}
for split, size in SIZES.items():
    drawn = load_dataset((f"synthetic:0#{split}?limit={size}",))
    for index, example in enumerate(drawn.examples):
        folder = data / split / (f"fake/{example.method}" if example.label else "real")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.load(index, 112)).save(folder / f"{index:03}.png")
for folder in sorted({file.parent for file in data.rglob("*.png")}):
    print(folder.relative_to(data), len(list(folder.iterdir())))

# %% [markdown]
# ## The detector
#
# The same as the command `rffr-jax recipes/fine_tune --config.data.train=folder:DIR ...`
# ([fine-tuning](../../fine_tuning.md)). The recipe takes 500 steps of 32 images.

# %%
SHORT = ["steps=4", "batch_size=16", "optimizer.warmup_steps=1", "evaluate_every=4"]


def run(job: str, *settings: str) -> None:
    """Runs a job in this process; its log goes where logs go."""
    flags = [f"--config.{setting}" for setting in (*settings, "data.workers=0")]
    code = entry.run([job, f"--workdir={runs / job}", *flags])
    assert code == 0, f"{job} ended with {code}"


run(
    "recipes/fine_tune",
    f"data.train=folder:{data / 'train'}",
    f"data.validation=folder:{data / 'validation'}",
    *SHORT,
)
for line in (runs / "recipes/fine_tune/metrics.jsonl").read_text().splitlines():
    values = json.loads(line)
    shown = {name: values[name] for name in ("loss", "auc") if name in values}
    print(values["step"], values["split"], shown)

# %% [markdown]
# ## The numbers
#
# `evaluate` chooses a threshold on the validation data and measures on the test data, with
# intervals ([metrics](../../metrics.md)).

# %%
run(
    "evaluate",
    f"detector={runs / 'recipes/fine_tune'}",
    f"data.tests=folder:{data / 'test'}",
    f"data.validation=folder:{data / 'validation'}",
)
results = json.loads((runs / "evaluate/results.json").read_text())
for name, numbers in results["mine/test"]["methods"].items():
    low, high = numbers["auc_ci95"]
    print(f"{name:18} AUC {100 * numbers['auc']:5.1f} % ({100 * low:.1f} to {100 * high:.1f})")

# %% [markdown]
# ## One face
#
# The evidence: the image, its reconstruction, the residual, and the size of the residual in each
# block ([what it shows and what not](../../predict.md#evidence)).

# %%
detector = rffr_jax.load_detector(runs / "recipes/fine_tune")
face = np.asarray(Image.open(next((data / "test/fake/lowres_swap").iterdir())))
plt.figure(figsize=(9, 4))
plt.imshow(detector.explain(face).picture())
plt.axis("off")
