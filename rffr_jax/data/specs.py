"""Dataset specs: the text `kind:path[#split][?key=value&...]` that names data in every config.

`docs/datasets.md` is the guide for users.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from rffr_jax.config import local_path
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.readers.deepfakebench import read_deepfakebench
from rffr_jax.data.readers.folder import default_dataset_name, read_folder
from rffr_jax.data.readers.parquet import read_parquet
from rffr_jax.data.readers.table import read_csv, read_list
from rffr_jax.data.readers.tar import read_tar
from rffr_jax.data.selection import (
    Selection,
    keep_dataset,
    keep_first,
    keep_frames,
    keep_methods,
    keep_of_groups,
    split_methods,
)
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset, Example

TABLES = {"list": read_list, "csv": read_csv}
FOLDER = "folder"
DEEPFAKEBENCH, PREPARED, PARQUET = "deepfakebench", "tfds", "parquet"
PACKED = {PARQUET: read_parquet, "tar": read_tar}
KINDS = (PROCEDURAL, FOLDER, *TABLES, DEEPFAKEBENCH, PREPARED, *PACKED)
# Keys of one value: the kinds that take them, and what they say.
FLAGS = {
    "labels": ("real", (FOLDER,), "every image is real"),
    "videos": ("folders", (FOLDER,), "the images of a folder are the frames of one video"),
    "mixed": ("ok", KINDS, "the data may stand beside others that were prepared differently"),
    "landmarks": (
        "aligned",
        (FOLDER, *TABLES, DEEPFAKEBENCH),
        "faces without landmarks are aligned as FFHQ's",
    ),
    "fakes": ("controls", KINDS, "its reals under every control stand in place of its fakes"),
}
CONTROLS_SEED = 0
KEYS = ("dataset", "method", "frames", "group_limit", "limit", "compression", "weight", *FLAGS)


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A parsed spec.

    Attributes:
      text: as the user wrote it.
      kind: one of `KINDS`.
      path: a file or folder; the seed where the kind is synthetic.
      split: part of the data, None if not given.
      methods: the fakes to keep, all of them if empty; reals always stay.
      frames: evenly spaced frames to keep of each video, None for all.
      group_limit: evenly spaced examples to keep of each group, None for all.
      limit: examples to keep, None for all.
      compression: the level to read of a `deepfakebench` file that holds several.
      all_real: whether every image of a `folder` is real, whatever its folders are called.
      frame_folders: whether the images of a folder are the frames of one video.
      mixed: whether the data may stand beside others that were prepared differently.
      aligned: whether files without landmarks hold faces that are aligned as FFHQ's.
      controls: whether reals under every control stand in place of the fakes.
      weight: how many of its images are drawn for those of the other specs; None if not given.
      dataset: the one data set to keep of several; all of them if empty.
    """

    text: str
    kind: str
    path: str
    split: str | None = None
    methods: tuple[str, ...] = ()
    frames: int | None = None
    group_limit: int | None = None
    limit: int | None = None
    compression: str | None = None
    all_real: bool = False
    frame_folders: bool = False
    mixed: bool = False
    aligned: bool = False
    controls: bool = False
    weight: int | None = None
    dataset: str = ""


def parse_spec(text: str) -> DatasetSpec:
    """Parses one spec; a path can hold neither `?` nor `#`.

    Raises:
      UserError: an unknown kind or key, a key given twice, a number that is none.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        raise UserError(
            f"dataset '{text}': unknown kind '{kind}'; write KIND:PATH with one of the kinds "
            f"{', '.join(KINDS)}"
        )
    address, question, query = rest.partition("?")
    path, hash_sign, split = address.partition("#")
    if not path:
        raise UserError(f"dataset '{text}': nothing after '{kind}:'; name a file, folder or seed")
    if hash_sign and not split:
        raise UserError(f"dataset '{text}': nothing after '#'; name a split or leave out the '#'")
    values = _parse_query(text, query) if question else {}
    methods = tuple(split_methods(values["method"])) if "method" in values else ()
    for key, (value, kinds, meaning) in FLAGS.items():
        if key in values and (values[key] != value or kind not in kinds):
            raise UserError(
                f"dataset '{text}': {key}={values[key]}; {key}={value} goes with "
                f"{', '.join(kinds)} and says that {meaning}; leave it out otherwise"
            )
    if "compression" in values and kind != DEEPFAKEBENCH:
        raise UserError(f"dataset '{text}': compression=... is for {DEEPFAKEBENCH}; leave it out")
    return DatasetSpec(
        text=text,
        kind=kind,
        path=path,
        split=split or None,
        methods=methods,
        frames=_parse_count(text, values, "frames"),
        group_limit=_parse_count(text, values, "group_limit"),
        limit=_parse_count(text, values, "limit"),
        compression=values.get("compression"),
        all_real="labels" in values,
        frame_folders="videos" in values,
        mixed="mixed" in values,
        aligned="landmarks" in values,
        controls="fakes" in values,
        weight=_parse_count(text, values, "weight"),
        dataset=values.get("dataset", ""),
    )


def _parse_query(text: str, query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for item in query.split("&"):
        key, _, value = item.partition("=")
        if key not in KEYS:
            raise UserError(f"dataset '{text}': unknown key '{key}'; the keys are {_KEYS_HELP}")
        if not value or key in values:
            problem = f"'{key}' has no value" if not value else f"'{key}' is given twice"
            raise UserError(f"dataset '{text}': {problem}; the keys are {_KEYS_HELP}")
        values[key] = value
    return values


_KEYS_HELP = (
    "dataset=NAME, method=A,B (or A+B), frames=N, group_limit=N and limit=N; compression=NAME for "
    "deepfakebench, labels=real and videos=folders for folder, mixed=ok for tfds and parquet, "
    "landmarks=aligned for files, weight=N for pretraining and fakes=controls for tests"
)


def _parse_count(text: str, values: dict[str, str], key: str) -> int | None:
    if key not in values:
        return None
    value = values[key]
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise UserError(f"dataset '{text}': {key}={value}; write a whole number from 1 up")
    return int(value)


def load_dataset(
    spec: str | Sequence[str], *, default_split: str = "train", weighted: bool = False
) -> Dataset:
    """The dataset that a spec names, or several of them one after another.

    The filters of a spec are applied in the order dataset, method, frames, group_limit, limit.
    `fakes=controls` comes between the first two, so that a control's name counts as a method.
    `limit` keeps the first examples of every method and of the reals in proportion to their
    numbers, in their order.
    Where two parts hold the same id, every id in them gets the spec as a prefix; if the parts are
    different data, their names of videos too, and those of sources and groups where the name of
    the data set is made of its path. A data set's own name says that equal sources are the same.

    Prepared records whose faces were made differently are refused, except in specs with `mixed=ok`.

    Args:
      spec: one spec or a list of them.
      default_split: the split where the kind has splits and the spec names none.
      weighted: whether specs may have weights, which then all of several must have.

    Raises:
      UserError: the spec is wrong, what it names is missing, empty or not as it should be, the
        specs were prepared differently, their weights are not wanted or not for all, or they have
        controls and are no tests.
    """
    texts = as_tuple(spec)
    if not texts:
        raise UserError(f"an empty list of datasets; name one as KIND:PATH ({', '.join(KINDS)})")
    repeated = [text for text, count in collections.Counter(texts).items() if count > 1]
    if repeated:
        raise UserError(f"dataset '{repeated[0]}' is listed twice; list it once")
    specs = [parse_spec(text) for text in texts]
    _check_weights(specs, weighted)
    for part in specs:
        if part.controls and default_split != "test":
            raise UserError(
                f"dataset '{part.text}': fakes=controls is for tests; nothing is trained or chosen "
                "on it, so leave it out"
            )
    parts = [_apply_filters(_open(part, default_split), part) for part in specs]
    _check_parts_alike(parts, specs)
    return parts[0] if len(parts) == 1 else _concatenate(parts, specs)


def as_tuple(specs: str | Sequence[str]) -> tuple[str, ...]:
    """One spec or several as a tuple."""
    return (specs,) if isinstance(specs, str) else tuple(specs)


def load_unfiltered(text: str, default_split: str = "train") -> Dataset:
    """What one spec names before its filters are applied.

    Raises:
      UserError: as `load_dataset`.
    """
    return _open(parse_spec(text), default_split)


def _check_weights(specs: list[DatasetSpec], weighted: bool):
    having = [spec.text for spec in specs if spec.weight]
    if having and not weighted:
        raise UserError(
            f"dataset '{having[0]}': weight=... is for data.train of a pretraining; leave it out"
        )
    if having and (len(having) < len(specs) or len(specs) == 1):
        raise UserError(
            f"dataset '{having[0]}': weight=... says how often it is drawn beside others; name "
            "several specs and give each a weight, or none"
        )


def _check_parts_alike(parts: list[Dataset], specs: list[DatasetSpec]):
    strict = [
        (part, spec.text)
        for part, spec in zip(parts, specs, strict=True)
        if spec.kind in (PREPARED, PARQUET) and not spec.mixed
    ]
    if not strict:
        return
    from rffr_jax.data.readers.prepared import collect_preparations, compare_preparations

    differing = compare_preparations([p for part, _ in strict for p in collect_preparations(part)])
    if differing:
        raise UserError(
            f"the faces of {' and '.join(text for _, text in strict)} were prepared differently "
            f"({'; '.join(differing)}), which moves results; prepare them alike, or add mixed=ok "
            "to the specs that may differ"
        )


def load_separately(texts: Sequence[str], *, default_split: str) -> list[Dataset]:
    """Each spec as a dataset of its own, so that no two are one data set by accident.

    Where different files, folders or seeds have got the same data-set name from their paths, each
    gets a longer one. Data sets that a `dataset` column calls the same stay the same.

    Args:
      texts: specs as `load_dataset` takes them.
      default_split: as for `load_dataset`.
    """
    places = [_location(parse_spec(text), default_split) for text in texts]
    datasets = []
    for text, place in zip(texts, places, strict=True):
        level = 0
        others = [other for other in places if other != place]
        while any(_dataset_name(other, level) == _dataset_name(place, level) for other in others):
            level += 1
        dataset = load_dataset(text, default_split=default_split)
        datasets.append(
            _rename_dataset(dataset, _dataset_name(place, 0), _dataset_name(place, level))
        )
    return datasets


def _location(spec: DatasetSpec, default_split: str) -> Path | str:
    if spec.kind == PROCEDURAL:
        return f"{spec.kind}:{spec.path}#{spec.split or default_split}"
    return Path(os.path.abspath(_path(spec)))


def _path(spec: DatasetSpec) -> Path:
    return local_path(spec.path, f"dataset '{spec.text}'")


def _dataset_name(place: Path | str, level: int) -> str:
    if isinstance(place, str):
        return place if level else PROCEDURAL
    return default_dataset_name(place, level)


def _rename_dataset(dataset: Dataset, old: str, new: str) -> Dataset:
    if old == new:
        return dataset
    examples = tuple(
        dataclasses.replace(example, dataset=new) if example.dataset == old else example
        for example in dataset.examples
    )
    return Selection(examples, (dataset,), tuple((0, index) for index in range(len(examples))))


def _open(spec: DatasetSpec, default_split: str) -> Dataset:
    split = spec.split or default_split
    if spec.kind == PROCEDURAL:
        return _open_synthetic(spec, split)
    path = _path(spec)
    if spec.kind == DEEPFAKEBENCH:
        files = read_deepfakebench(path, split, spec.compression)
        return dataclasses.replace(files, aligned=spec.aligned)
    if spec.kind == PREPARED:
        from rffr_jax.data.readers.prepared import read_prepared

        return read_prepared(path, split)
    if spec.kind in PACKED:
        return PACKED[spec.kind](path, split, asked=spec.split is not None)
    if spec.split:
        raise UserError(
            f"dataset '{spec.text}': {spec.kind} has no splits; leave out '#{spec.split}'"
        )
    if spec.kind == FOLDER:
        files = read_folder(path, all_real=spec.all_real, frame_folders=spec.frame_folders)
    else:
        files = TABLES[spec.kind](path)
    return dataclasses.replace(files, aligned=spec.aligned)


def _open_synthetic(spec: DatasetSpec, split: str) -> Dataset:
    if not (spec.path.isascii() and spec.path.isdigit()):
        raise UserError(
            f"dataset '{spec.text}': the seed '{spec.path}' is no whole number from 0 up; "
            "write for example synthetic:0"
        )
    from rffr_jax.synthetic.dataset import SyntheticDataset

    return SyntheticDataset(int(spec.path), split)


def _apply_filters(dataset: Dataset, spec: DatasetSpec) -> Dataset:
    where = f"dataset '{spec.text}'"
    if spec.dataset:
        dataset = keep_dataset(dataset, spec.dataset, where=where)
    if spec.controls:
        from rffr_jax.data.self_blending.controls import ControlledReals

        dataset = ControlledReals(dataset, CONTROLS_SEED, option=where)
    dataset = keep_methods(dataset, spec.methods, where=where)
    dataset = keep_frames(dataset, spec.frames)
    dataset = keep_of_groups(dataset, spec.group_limit, where=where)
    return keep_first(dataset, spec.limit)


def _concatenate(parts: list[Dataset], specs: list[DatasetSpec]) -> Selection:
    owners = collections.defaultdict(set)
    for number, part in enumerate(parts):
        for example in part.examples:
            owners[example.id].add(number)
    examples: list[Example] = []
    for number, (part, spec) in enumerate(zip(parts, specs, strict=True)):
        rivals = set().union(*(owners[example.id] for example in part.examples)) - {number}
        origin = (spec.kind, spec.path, spec.split)
        foreign = any((s.kind, s.path, s.split) != origin for s in (specs[r] for r in rivals))
        for example in part.examples:
            if foreign:
                address = spec.text.partition("?")[0]
                example = _tell_apart(example, address)
            if rivals:
                example = _add_prefix(example, spec.text, ("id",))
            examples.append(example)
    places = tuple(
        (n, index) for n, part in enumerate(parts) for index in range(len(part.examples))
    )
    weights = tuple(spec.weight for spec in specs if spec.weight)
    strata = tuple(number for number, _ in places) if weights else ()
    return Selection(tuple(examples), tuple(parts), places, strata, weights)


def _tell_apart(example: Example, address: str) -> Example:
    origins = ("source", "group") if "/" in example.dataset else ()
    example = dataclasses.replace(example, spec=address)
    return _add_prefix(example, address, ("video", *origins))


def _add_prefix(example: Example, prefix: str, names: Sequence[str]) -> Example:
    values = {name: getattr(example, name) for name in names}
    return dataclasses.replace(
        example, **{name: f"{prefix}/{value}" for name, value in values.items() if value}
    )
