"""WildDeepfake: sequences of face crops from the internet, as its archives unpack.

    {real,fake}_{train,test}/SHARD[/{real,fake}]/SEQUENCE/N.png

The archives are called `SHARD.tar.gz` and are plain tar files. Every folder with pictures is a
video; its label and split are those of the outermost folder. What ties the sequences of one archive
is not documented, so they are one group. There is no validation part: it is a tenth of the archives
of training, those for which the first 8 bytes of the SHA-256 of `real_train/SHARD`, as a fraction
of 2 ** 64, are below 0.1. Nobody is named, and nothing tells from which original a fake was made.
"""

import pathlib

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import Benchmark, Medium, hash_to_fraction

DATASET = "WildDeepfake"
FOLDERS = {
    f"{label}_{split}": (int(label == "fake"), split)
    for label in ("real", "fake")
    for split in ("train", "test")
}
VALIDATION = 0.1


def find(folder: pathlib.Path) -> Benchmark:
    """The sequences that are there; ids are `real_train/6/54`: the archive and the sequence in it.

    Raises:
      UserError: another layout, or archives that are not unpacked.
    """
    tops = [name for name in FOLDERS if (folder / name).is_dir()]
    if not tops:
        raise UserError(
            f"--input {folder}: not WildDeepfake, which has {', '.join(FOLDERS)}; "
            "name the folder that holds these"
        )
    catalogue = Catalogue(folder)
    for top in tops:
        packed = [
            p for p in catalogue.entries(folder / top) if p.name.endswith((".tar.gz", ".tar"))
        ]
        if packed:
            raise UserError(
                f"{packed[0]}: {len(packed)} archives in {top} are packed; unpack each there with "
                "tar xf (they are not compressed) and move them away"
            )
        for shard in catalogue.entries(folder / top):
            _add_shard(catalogue, top, shard)
    return catalogue.benchmark()


def _add_shard(catalogue: Catalogue, top: str, shard: pathlib.Path) -> None:
    label, split = FOLDERS[top]
    group = f"{top}/{shard.name}"
    if split == "train" and hash_to_fraction(group) < VALIDATION:
        split = "validation"
    inner = [shard / name for name in ("real", "fake") if (shard / name).is_dir()]
    for place in inner or [shard]:
        if inner and place.name != top.split("_")[0]:
            catalogue.note(f"{catalogue.name(place)}: taken as {top.split('_')[0]}, as its archive")
        for name, paths in catalogue.frame_folders(place).items():
            catalogue.add(
                Medium(
                    id=f"{group}/{name}",
                    path=paths[0],
                    split=split,
                    label=label,
                    dataset=DATASET,
                    method="fake" if label else "real",
                    source=f"{group}/{name}",
                    group=group,
                )
            )
