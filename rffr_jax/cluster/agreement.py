"""Config, versions and data are compared between processes before the first step."""

import hashlib
import importlib.metadata
import json
import logging
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config, flat
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset

log = logging.getLogger(__name__)

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
FILES_COMPARED = 1000  # files whose sizes are compared: all of them would take minutes


def require_same_config(config: Config, workdir: pathlib.Path):
    """Raises: UserError if processes differ in settings or versions; the differences are named."""
    if processes.process_count() == 1:
        return
    facts = {f"--config.{name}": value for name, value in flat(config.to_dict()).items()}
    facts["--workdir"] = str(workdir.absolute())
    facts["python"] = ".".join(map(str, sys.version_info[:2]))
    facts |= {name: importlib.metadata.version(name) for name in PACKAGES}
    _require_same(facts)


def agree_on_devices():
    """What programs are compiled for is the same in all processes; called before the first one.

    The smallest memory counts, and cuDNN computes attention of a shape only if it can in every
    process.
    """
    if processes.process_count() == 1:
        return
    from rffr_jax.cluster.memory import agree_on_device_memory
    from rffr_jax.models.attention import agree_on_fused_attention

    agree_on_device_memory()
    agree_on_fused_attention(processes.all_gather_objects)


def require_same_data(**datasets: Dataset):
    """Raises: UserError if processes differ in examples, or in the sizes of their files.

    Args:
      datasets: by their config entries.
    """
    if processes.process_count() == 1:
        return
    _require_same({f"data.{name}": _summary(dataset) for name, dataset in datasets.items()})


def _require_same(facts: Mapping[str, Any]):
    first, *others = processes.all_gather_objects(facts)
    for process, other in enumerate(others, start=1):
        names = [n for n in {**first, **other} if first.get(n) != other.get(n)]
        if names:
            differences = "; ".join(
                f"{name}: {first.get(name, 'nothing')} in process 0, "
                f"{other.get(name, 'nothing')} in process {process}"
                for name in names
            )
            raise UserError(
                f"process {process} does not have what process 0 has ({differences}); give all "
                "processes the same config, the same packages and the same data"
            )


def _summary(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for example in dataset.examples:
        about = (example.id, example.label, example.dataset, example.method, example.source)
        digest.update(json.dumps(about).encode())
    step = -(-len(dataset.examples) // FILES_COMPARED) or 1
    for example in dataset.examples[::step]:
        file = pathlib.Path(example.path)
        digest.update(str(file.stat().st_size if file.is_file() else None).encode())
    return f"{len(dataset.examples)} examples, digest {digest.hexdigest()[:12]}"
