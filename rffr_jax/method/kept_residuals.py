"""Residuals that are computed once for each MAE and image, and looked up from then on.

What is kept is B_hat - B before its amplification, of the area that blocks cover, in float16: a
residual made from it differs from the one computed in float32 by at most 2^-11 (0.0005) of its own
value, whatever alpha is. Values that were just computed are rounded in the same way, so
results do not depend on what was kept.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float16, PyTree, UInt8

from rffr_jax.cluster.sharding import batch_sharding, local_rows, put_batch, whole
from rffr_jax.method.array_store import DIGEST_BYTES, ArrayStore, Digests, Memory
from rffr_jax.method.detection import Detection
from rffr_jax.runs.whole_files import write_json

FORMAT = 1
"""Rises when the same weights and pixels give other residuals, or files are laid out otherwise."""

MEMORY_GB = 4.0


def shared_folder(entry: str, workdir: Path) -> Path | None:
    """The folder that the config entry `residuals.folder` names; None keeps nothing on disk.

    Args:
      workdir: of the detector; a relative folder starts there.
    """
    return Path(os.path.normpath(workdir / entry)) if entry else None


class KeptResiduals:
    """Unamplified differences B_hat - B of images, by the digest of their pixels.

    Attributes:
      memory: what this process may still keep; images of test sets count as well.
      folder: where files are, shared by all runs; a MAE with its settings has a folder in it.
      image_bytes: size of the differences of one image.
    """

    def __init__(
        self,
        detection: Detection,
        mae_parameters: PyTree,
        mesh: Mesh,
        *,
        folder: Path | None = None,
        memory_gb: float = MEMORY_GB,
    ):
        self.memory, self.folder = Memory(memory_gb), folder
        self._detection, self._mae_parameters, self._mesh = detection, mae_parameters, mesh
        self.image_bytes = 2 * int(np.prod(detection.differences_shape))
        self.compute = jax.jit(
            lambda mae, images: detection.differences(whole(mae, mesh), images),
            out_shardings=batch_sharding(mesh),
        )

    def of(
        self, images: UInt8[np.ndarray, "rows size size 3"], digests: Digests
    ) -> Float16[np.ndarray, "rows covered pixels"]:
        """The differences of this process's rows of a batch, in the order of `BlockGrid.hidden`.

        All processes call it together: if any of them lacks one, the whole batch is computed.

        Args:
          digests: of the images, as `image_digests` made them.
        """
        found = self._store.get(digests)
        if _anywhere(any(array is None for array in found)):
            on_mesh = put_batch({"image": images}, self._mesh)["image"]
            computed = local_rows(self.compute(self._mae_parameters, on_mesh))
            self._store.add(digests, computed)
            found = [new if old is None else old for old, new in zip(found, computed, strict=True)]
        return np.stack(found)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def read(self, digests: Digests) -> list[np.ndarray | None]:
        """What is kept for images, read-only; None for those of which nothing is."""
        return self._store.get(digests)

    def holds(self, digests: Digests) -> bool:
        """Whether there is something for every image."""
        return self._store.holds(digests)

    def flush(self):
        """Writes what is not in a file yet."""
        if self._detection.settings.needs_mae:
            self._store.flush()

    @functools.cached_property
    def _store(self) -> ArrayStore:
        """Made when it is first needed, because the digest of a MAE takes a while."""
        folder = None
        if self.folder is not None:
            about = self._about()
            name = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8)
            folder = self.folder / name.hexdigest()
            _say_what_it_is(folder, about)
        return ArrayStore(folder, self._detection.differences_shape, np.float16, self.memory)

    def _about(self) -> dict[str, object]:
        """All that the difference of an image depends on, the image apart."""
        settings = self._detection.settings
        assert settings.mae is not None
        return {
            "format": FORMAT,
            "mae": dataclasses.asdict(settings.mae),
            "mae_digest": parameters_digest(self._mae_parameters),
            "k": settings.k,
            "blocks_per_pass": settings.blocks_per_pass,
            "compute": np.dtype(self._detection.dtype).name,
            "backend": jax.default_backend(),
            "matmul_precision": str(jax.config.jax_default_matmul_precision),  # pyright: ignore[reportAttributeAccessIssue]
        }


def image_digests(
    images: UInt8[np.ndarray, "rows size size 3"],
) -> Digests:
    """A digest of the pixels of every image."""
    digests = [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()
        for image in images
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), DIGEST_BYTES)


def parameters_digest(parameters: PyTree) -> str:
    """A digest of names, shapes, types and values; all processes call it together."""
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _say_what_it_is(folder: Path, about: dict[str, object]):
    """Writes about.json for whoever wonders which folder may go."""
    if not (folder / "about.json").exists():
        with contextlib.suppress(OSError):  # the store says so when it writes what matters
            write_json(folder / "about.json", about)


def _anywhere(flag: bool) -> bool:
    """Whether `flag` holds on any process."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())
