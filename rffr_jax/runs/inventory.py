"""What data held when a run began, so that one that resumes on other data says so at its start."""

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
NAMED = 1000  # items whose names and sizes are kept; of more items, those whose hash is lowest
_LISTED = 3


def make_inventory(items: Iterable[tuple[str, str, object]]) -> Inventory:
    """The inventory of items: an id, the path of its file, and what else is known, for JSON."""
    digest = hashlib.sha256()
    paths: dict[str, str] = {}
    for name, path, facts in items:
        digest.update(json.dumps([name, facts]).encode())
        paths[name] = path
    named = heapq.nsmallest(NAMED, paths, key=_hash)
    sizes = {name: _size(paths[name]) for name in named}
    return {"count": len(paths), "sha256": digest.hexdigest(), "named": sizes}


def describe_changes(then: Inventory, now: Inventory) -> str:
    """What has changed between two inventories, in words; empty if nothing has."""
    if then == now:
        return ""
    reach = min(_reach(then), _reach(now))
    before, after = (
        {name: size for name, size in record["named"].items() if _hash(name) <= reach}
        for record in (then, now)
    )
    changes = {
        "added": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "of another size": {n for n in before.keys() & after.keys() if before[n] != after[n]},
    }
    told = [_told(names, what) for what, names in changes.items() if names]
    text = ", ".join(told) or "other names, labels or order"
    if max(then["count"], now["count"]) > NAMED:
        text = f"of {len(before | after)} that were compared by name: {text}"
    return f"{then['count']} then, {now['count']} now; {text}"


def warn_if_data_changed(workdir: pathlib.Path, datasets: Mapping[str, Dataset]):
    """Keeps the inventory of a training that begins; warns if one that resumes has other data.

    Process 0 does.

    Args:
      datasets: by the config entry that named them.
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
                "%s has changed since this run began (%s): the run resumes, but it is not the one "
                "that it would have been without a break",
                name,
                changed,
            )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def _reach(record: Inventory) -> str:
    """The highest hash up to which every item is named."""
    named = record["named"]
    return max(map(_hash, named)) if record["count"] > len(named) else "g"  # above all digits


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return None  # it is made on the fly, or gone


def _told(names: Iterable[str], what: str) -> str:
    names = sorted(names)
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} {what} ({', '.join(names[:_LISTED])}{more})"
