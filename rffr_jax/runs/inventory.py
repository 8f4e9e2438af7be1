"""A record of a run's data, so that a run that resumes on changed data warns about it."""

import hashlib
import heapq
import json
import logging
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.examples import Dataset
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.workdir import has_saved_state

log = logging.getLogger(__name__)

Inventory = dict[str, Any]
"""`count`, a digest of all items in their order, and `named`: {id: size of its file in bytes}."""

FILE = "data_inventory.json"
NAMED = 1000  # items with name and size in the record: those with the lowest hashes
_SHOWN = 3


def make_inventory(items: Iterable[tuple[str, str, object]]) -> Inventory:
    """The inventory of items.

    Args:
      items: an id, the path of its file, and other facts for JSON.
    """
    digest = hashlib.sha256()
    paths: dict[str, str] = {}
    for name, path, facts in items:
        digest.update(json.dumps([name, facts]).encode())
        paths[name] = path
    named = heapq.nsmallest(NAMED, paths, key=_hash)
    sizes = {name: _size(paths[name]) for name in named}
    return {"count": len(paths), "sha256": digest.hexdigest(), "named": sizes}


def describe_changes(then: Inventory, now: Inventory) -> str:
    """The differences between two inventories in words; empty if there are none."""
    if then == now:
        return ""
    reach = min(_highest_named_hash(then), _highest_named_hash(now))
    before, after = (
        {name: size for name, size in record["named"].items() if _hash(name) <= reach}
        for record in (then, now)
    )
    changes = {
        "added": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "of another size": {n for n in before.keys() & after.keys() if before[n] != after[n]},
    }
    lists = [_name_some(names, change) for change, names in changes.items() if names]
    text = ", ".join(lists) or "other names, labels or order"
    if max(then["count"], now["count"]) > NAMED:
        text = f"of {len(before | after)} that were compared by name: {text}"
    return f"{then['count']} then, {now['count']} now; {text}"


def warn_if_data_changed(workdir: pathlib.Path, datasets: Mapping[str, Dataset]):
    """Saves the inventory of a training that begins; warns if one that resumes has other data.

    Only process 0 does this.

    Args:
      datasets: by their config entries.
    """
    if not processes.is_main_process():
        return
    now = {
        name: make_inventory(
            (e.id, e.path, (e.label, e.dataset, e.method)) for e in dataset.examples
        )
        for name, dataset in datasets.items()
    }
    file = workdir / FILE
    if not has_saved_state(workdir) or not file.exists():
        write_json(file, now)
        return
    then = read_json_object(file)
    for name, record in now.items():
        changed = describe_changes(then.get(name, record), record)
        if changed:
            log.warning(
                "%s has changed since this run began (%s): the run resumes, but its result differs "
                "from that of a run without a break",
                name,
                changed,
            )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def _highest_named_hash(record: Inventory) -> str:
    """The highest hash up to which every item is named."""
    named = record["named"]
    return max(map(_hash, named)) if record["count"] > len(named) else "g"  # above all digits


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return None  # it is made on the fly, or gone


def _name_some(names: Iterable[str], change: str) -> str:
    names = sorted(names)
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {change} ({', '.join(names[:_SHOWN])}{more})"
