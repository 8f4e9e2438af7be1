"""Celeb-DF v1, v2 and ++: celebrities, real and faked, split by their list of test videos.

    Celeb-real[/videos]/idT_NNNN.mp4             real, celebrity T
    YouTube-real[/videos]/NNNNN.mp4              real, nobody named
    Celeb-synthesis[/videos]/idT_idS_NNNN.mp4    fake: Celeb-real/idT_NNNN with the face of S
    List_of_testing_videos.txt                   `1 YouTube-real/00170.mp4`: there 1 means REAL

In Celeb-DF++ the fakes lie in a folder for each method, `Celeb-synthesis/KIND/METHOD[/videos]`,
KIND being FaceSwap, FaceReenact or TalkingFace; a talking face is called idT_NNNN_... and names no
source. v1 has v2's layout, and is told from it by its size: at most 158, 250 and 795 videos in the
three folders, 1,000 or more in all, and a list that is not v2's of 518. The three are data sets of
their own.

The list gives `test`. Its authors split by videos: the people of the test videos are, most of them,
in the other videos too, and nothing is left out here to change that. So the test part is only
foreign to a detector that was trained on another benchmark.

`validation` is cut from the rest and shares nobody with `train`, neither as target nor as source:

- People who were ever swapped with one another, directly or through others, are one circle, and
  stay together. (The pairs of v2 seen so far form five circles, of 30, 10, 10, 5 and 4 people.)
- Circles are taken in the order of the SHA-256 of their first person (`id7` before `id10`), passing
  over one that would bring validation above a fifth of all people, until it has a tenth of them.
- A video of YouTube-real is validation if the first 8 bytes of the SHA-256 of its name (`00170`),
  as a fraction of 2 ** 64, are below 0.1.

Where all people form one circle there are no validation videos but those of YouTube-real.
"""

import os
import pathlib
import re

from rffr_jax.data.connected_components import connected_components
from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import Benchmark, Medium, hash_to_fraction
from rffr_jax.runs.text_files import read_lines

V1, V2, PLUS_PLUS = "Celeb-DF-v1", "Celeb-DF", "Celeb-DF++"
CELEBRITIES, YOUTUBE, FAKES = "Celeb-real", "YouTube-real", "Celeb-synthesis"
FOLDERS = (CELEBRITIES, YOUTUBE, FAKES)
KINDS = ("FaceSwap", "FaceReenact", "TalkingFace")  # of Celeb-DF++
TEST_LIST = "List_of_testing_videos.txt"
SIZE_OF_V1, LEAST_OF_V1 = {CELEBRITIES: 158, YOUTUBE: 250, FAKES: 795}, 1000
TESTS_OF_V2 = 518

VALIDATION, VALIDATION_AT_MOST = 0.1, 0.2


def find(folder: pathlib.Path) -> Benchmark:
    """The videos that are there; ids are `Celeb-synthesis/id0_id1_0000`, its folder and name.

    Raises:
      UserError: another layout, no test list or one that cannot be right.
    """
    if not any((folder / name).is_dir() for name in FOLDERS):
        raise UserError(
            f"--input {folder}: not Celeb-DF, which has {', '.join(FOLDERS)}; "
            "name the folder that holds these"
        )
    catalogue = Catalogue(folder)
    test, unclear = read_test_list(catalogue)
    videos: dict[str, list[pathlib.Path]] = {}
    for name in _places(catalogue):
        level = folder / name / "videos"
        found = catalogue.videos(level if level.is_dir() else folder / name)
        if not found:
            catalogue.miss(f"{name}: no videos")
        for stem, paths in found.items():
            id_ = f"{name}/{stem}"
            if stem in unclear:
                continue
            if name == YOUTUBE or _parse(id_):
                videos[id_] = paths
                continue
            example = "id0_0000" if name == CELEBRITIES else "id0_id1_0000"
            for path in paths:
                catalogue.miss(f"{catalogue.name(path)}: not named as {example}, left out")
    for id_ in sorted(test - videos.keys()):
        catalogue.absent(id_, "test", f"listed in {TEST_LIST}")

    dataset = _version(videos, test)
    held_out = choose_validation_people([_people(id_) for id_ in sorted(videos)])
    for id_, paths in videos.items():
        place, _, stem = id_.rpartition("/")
        people = _people(id_)
        if id_ in test:
            split = "test"
        elif people:
            split = "validation" if people[0] in held_out else "train"
        else:
            split = "validation" if hash_to_fraction(stem) < VALIDATION else "train"
        original = f"{CELEBRITIES}/{people[0]}_{_parse(id_)[-1]}" if people else id_
        for path in paths:
            catalogue.add(
                Medium(
                    id=id_,
                    path=path,
                    split=split,
                    label=int(place.startswith(FAKES)),
                    dataset=dataset,
                    method=place.split("/")[-1] if place.startswith(FAKES) else "real",
                    source=original if original in videos else id_,
                    group=people[0] if people else "",
                    person=people[0] if people else "",
                )
            )
    return catalogue.benchmark()


def _places(catalogue: Catalogue) -> list[str]:
    """The folders of videos; in Celeb-DF++ one for each method."""
    kinds = [kind for kind in KINDS if (catalogue.folder / FAKES / kind).is_dir()]
    methods = [
        catalogue.name(path)
        for kind in kinds
        for path in catalogue.entries(catalogue.folder / FAKES / kind)
        if os.path.isdir(path)
    ]
    return [CELEBRITIES, YOUTUBE, *(methods if kinds else [FAKES])]


def _version(videos: dict[str, list[pathlib.Path]], test: set[str]) -> str:
    if any(id_.count("/") > 1 for id_ in videos):
        return PLUS_PLUS
    sizes = {name: sum(id_.startswith(f"{name}/") for id_ in videos) for name in FOLDERS}
    small = all(sizes[name] <= most for name, most in SIZE_OF_V1.items())
    whole = sum(sizes.values()) >= LEAST_OF_V1
    return V1 if small and whole and len(test) != TESTS_OF_V2 else V2


def choose_validation_people(swaps: list[tuple[str, ...]]) -> set[str]:
    """The people whose videos are validation; the module's docstring has the rule.

    Args:
      swaps: of every video, the people in it: none, one or two.
    """
    circles = connected_components(swaps)
    first = {min(people, key=_number): people for people in circles}
    everyone = sum(map(len, circles))
    held_out: set[str] = set()
    for name in sorted(first, key=hash_to_fraction):
        if len(held_out) >= VALIDATION * everyone:
            break
        if len(held_out) + len(first[name]) <= VALIDATION_AT_MOST * everyone:
            held_out |= first[name]
    return held_out


def _number(person: str) -> int:
    return int(person.removeprefix("id"))


def _people(id_: str) -> tuple[str, ...]:
    """Target, and source of a fake; nobody where the name does not tell."""
    return tuple(name for name in _parse(id_)[:-1] if name)


def _parse(id_: str) -> tuple[str | None, ...]:
    """Target, source and the target's recording; empty where the name has other parts."""
    place, _, stem = id_.rpartition("/")
    if place == CELEBRITIES:
        pattern = r"(id\d+)_(\d+)"
    elif place == FAKES:
        pattern = r"(id\d+)_(id\d+)_(\d+)"
    elif place.startswith(FAKES):
        pattern = r"(id\d+)(?:_(id\d+))?_(\d+)(?:_.*)?"
    else:
        return ()
    match = re.fullmatch(pattern, stem)
    return match.groups() if match else ()


def read_test_list(catalogue: Catalogue) -> tuple[set[str], set[str]]:
    """The ids of the test videos, and the names of those whose place the list does not tell.

    Raises:
      UserError: there is no list, or it cannot be right.
    """
    file = catalogue.folder / TEST_LIST
    if not file.is_file():
        raise UserError(
            f"--input {catalogue.folder}: no {TEST_LIST}, which comes with Celeb-DF and tells "
            "which videos are for testing; put it there"
        )
    listed, unclear = set(), set()
    for place, line in read_lines(file):
        label, _, text = line.partition(" ")
        if label not in ("0", "1") or not text.strip():
            raise UserError(
                f"{place}: {line!r} is not a label (1 = real, 0 = fake) and a video; correct it"
            )
        path = catalogue.listed_path(text.strip(), place)
        if path is None:
            unclear.add(pathlib.PurePosixPath(text.strip().replace("\\", "/")).stem)
            continue
        parts = [part for part in path.parts if part != "videos"]
        levels = (2, 4) if parts[0] == FAKES else (2,)
        if len(parts) not in levels or parts[0] not in FOLDERS:
            raise UserError(
                f"{place}: {text.strip()!r} is in none of {', '.join(FOLDERS)}; correct it"
            )
        if (label == "1") != (parts[0] != FAKES):
            raise UserError(
                f"{place}: label {label} for a video of {parts[0]}; in this list 1 means real and "
                "0 fake, take the list that comes with Celeb-DF"
            )
        listed.add("/".join([*parts[:-1], path.stem]))
    if not listed:
        raise UserError(f"{file}: names no video; take the list that comes with Celeb-DF")
    return listed, unclear
