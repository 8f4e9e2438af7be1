"""Tiny copies of the benchmarks' folder layouts.

Each function lays one out below a folder. `write(path, label, method)` makes each media file (its
folder is there already), with the label 0 = real, 1 = fake and the method as prepared data have
them, so that a test can put real small videos there.
"""

import collections
import json
import pathlib
import re
from collections.abc import Callable

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import find_media

Write = Callable[[pathlib.Path, int, str], None]

FF_PAIRS = {"train": [("003", "001")], "val": [("000", "004")], "test": [("002", "005")]}
FF_METHODS = ("Deepfakes", "NeuralTextures")


def a_few_bytes(path: pathlib.Path, label: int, method: str) -> None:
    """No medium, but a file that is there."""
    path.write_bytes(f"{label} {method}".encode())


def put(path: pathlib.Path, label: int, method: str, write: Write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, label, method)


def text(path: pathlib.Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def write_splits(folder: pathlib.Path, pairs: dict[str, list[tuple[str, str]]] = FF_PAIRS) -> None:
    """The split lists of FaceForensics++: train.json, val.json and test.json."""
    for name, content in pairs.items():
        text(folder / f"{name}.json", json.dumps(content))


def faceforensics(
    root: pathlib.Path,
    write: Write = a_few_bytes,
    *,
    compression: str = "c23",
    videos_level: str = "videos",
    pairs: dict[str, list[tuple[str, str]]] = FF_PAIRS,
    splits: bool = True,
) -> None:
    """Six originals, twelve fakes of two methods, and the lists in `splits/`."""
    inner = pathlib.Path(compression, videos_level)
    ends = ("/0000.png", "/0001.png") if videos_level == "images" else (".mp4",)
    for first, second in (pair for part in pairs.values() for pair in part):
        for end in ends:
            for name in (first, second):
                path = root / "original_sequences/youtube" / inner / f"{name}{end}"
                put(path, 0, "real", write)
            for method in FF_METHODS:
                for name in (f"{first}_{second}", f"{second}_{first}"):
                    path = root / "manipulated_sequences" / method / inner / f"{name}{end}"
                    put(path, 1, method, write)
    if splits:
        write_splits(root / "splits", pairs)


def deepfake_detection(root: pathlib.Path, write: Write = a_few_bytes) -> None:
    """Two originals and a fake of the part that has actors and no splits."""
    actors = root / "original_sequences/actors/c23/videos"
    fakes = root / "manipulated_sequences/DeepFakeDetection/c23/videos"
    put(actors / "01__kitchen_pan.mp4", 0, "real", write)
    put(actors / "02__kitchen_pan.mp4", 0, "real", write)
    put(fakes / "01_02__kitchen_pan__AB12CD34.mp4", 1, "DeepFakeDetection", write)


def celeb_df(root: pathlib.Path, write: Write = a_few_bytes, *, videos_level: str = "") -> None:
    """Ten people in five circles of two, each with a real and a fake, and two of YouTube.

    id0 and id1 are in the test list with their videos; the list's 1 means real.
    """
    for target in range(10):
        source = target + 1 if target % 2 == 0 else target - 1
        real = root / "Celeb-real" / videos_level / f"id{target}_0000.mp4"
        fake = root / "Celeb-synthesis" / videos_level / f"id{target}_id{source}_0000.mp4"
        put(real, 0, "real", write)
        put(fake, 1, "Celeb-synthesis", write)
    for number in ("00000", "00001"):
        put(root / "YouTube-real" / videos_level / f"{number}.mp4", 0, "real", write)
    listed = ["1 YouTube-real/00001.mp4"]
    for target, source in ((0, 1), (1, 0)):
        listed.append(f"1 Celeb-real/id{target}_0000.mp4")
        listed.append(f"0 Celeb-synthesis/id{target}_id{source}_0000.mp4")
    text(root / "List_of_testing_videos.txt", "\n".join(listed) + "\n")


def celeb_df_plus_plus(
    root: pathlib.Path, write: Write = a_few_bytes, *, videos_level: str = ""
) -> None:
    """Celeb-DF with fakes of three kinds, of which a talking face has no source; one is tested."""
    celeb_df(root, write, videos_level=videos_level)
    old = root / "Celeb-synthesis"
    names = [path.stem for path in sorted(old.rglob("*.mp4"))]
    for path in old.rglob("*.mp4"):
        path.unlink()
        if isinstance(write, Written):
            del write.files[path]
    if videos_level:
        (old / videos_level).rmdir()
    lines = (root / "List_of_testing_videos.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if "synthesis" not in line]
    for kind, method in (
        ("FaceSwap", "Celeb-DF"),
        ("FaceReenact", "LIA"),
        ("TalkingFace", "FLOAT"),
    ):
        for name in names:
            target, _, take = name.split("_")
            stem = f"{target}_{take}_test_7" if kind == "TalkingFace" else name
            place = f"{kind}/{method}/{videos_level}".rstrip("/")
            put(old / place / f"{stem}.mp4", 1, method, write)
            if target in ("id0", "id1"):
                lines.append(f"0 Celeb-synthesis/{kind}/{method}/{stem}.mp4")
    text(root / "List_of_testing_videos.txt", "\n".join(lines) + "\n")


def wilddeepfake(root: pathlib.Path, write: Write = a_few_bytes, *, inner: bool = False) -> None:
    """Two archives of two sequences in each of the four folders, as tar unpacks them."""
    for label, kind in ((0, "real"), (1, "fake")):
        for split in ("train", "test"):
            for shard in ("1", "2"):
                for sequence in ("0", "54"):
                    place = root / f"{kind}_{split}" / shard / (kind if inner else "") / sequence
                    for number in (3, 10):
                        put(place / f"{number}.png", label, kind, write)


def df40(root: pathlib.Path, write: Write = a_few_bytes) -> None:
    """A swap and a generator, a method with its own reals, and the reals of the other two."""
    write_splits(root / "FaceForensics++")
    frames = "FaceForensics++/original_sequences/youtube/c23/frames"
    for pair in (pair for part in FF_PAIRS.values() for pair in part):
        for name in pair:
            put(root / frames / name / "000.png", 0, "real", write)
    celeb = root / "Celeb-DF-v2"
    put(celeb / "Celeb-real/frames/id0_0000/000.png", 0, "real", write)
    text(celeb / "List_of_testing_videos.txt", "1 Celeb-real/id0_0000.mp4\n")
    put(root / "DF40_train/simswap/frames/003_001/000.png", 1, "simswap", write)
    put(root / "DF40_train/DiT/001/seed0188.png", 1, "DiT", write)
    put(root / "DF40/simswap/ff/frames/002_005/000.png", 1, "simswap", write)
    put(root / "DF40/DiT/ff/004/seed0001.png", 1, "DiT", write)
    put(root / "DF40/simswap/cdf/frames/id0_id1_0000/000.png", 1, "simswap", write)
    put(root / "DF40/DiT/cdf/Fake_from_Celeb-real/id0_0000/seed1.png", 1, "DiT", write)
    put(root / "DF40/MidJourney/real/a.jpg", 0, "real", write)
    put(root / "DF40/MidJourney/fake/b.jpg", 1, "MidJourney", write)


def dfdc(
    root: pathlib.Path,
    write: Write = a_few_bytes,
    *,
    test_level: str = "test",
    videos_level: str = "videos",
    validation: bool = False,
) -> None:
    """Two training parts, the second of validation, and the test videos with labels.csv.

    With `validation` the official validation videos besides, which makes the parts both training's.
    """
    for part, names in (("dfdc_train_part_0", "abc"), ("dfdc_train_part_45", "def")):
        real, *fakes = (f"{name * 10}.mp4" for name in names)
        metadata = {real: {"label": "REAL", "split": "train", "original": None}}
        put(root / part / real, 0, "real", write)
        for fake in fakes:
            metadata[fake] = {"label": "FAKE", "split": "train", "original": real}
            put(root / part / fake, 1, "fake", write)
        text(root / part / "metadata.json", json.dumps(metadata))
    labelled = [(root / test_level, ("tttttttttt", "uuuuuuuuuu"))]
    if validation:
        labelled.append((root / "validation", ("vvvvvvvvvv", "wwwwwwwwww")))
    for folder, (real, fake) in labelled:
        put(folder / videos_level / f"{real}.mp4", 0, "real", write)
        put(folder / videos_level / f"{fake}.mp4", 1, "fake", write)
        text(folder / "labels.csv", f"filename,label\n{real}.mp4,0\n{fake}.mp4,1\n")


def dfdc_preview(root: pathlib.Path, write: Write = a_few_bytes) -> None:
    """The preview: an original and a fake of it in each of its splits."""
    content = {}
    for split, target, source in (("train", "111111", "222222"), ("test", "333333", "444444")):
        real = f"original_videos/{target}/{target}_A_001.mp4"
        fake = f"method_A/{target}/{target}_A/{source}_{target}_A_001.mp4"
        put(root / real, 0, "real", write)
        put(root / fake, 1, "method_A", write)
        content[real] = {"label": "real", "set": split, "target_id": int(target)}
        content[fake] = {"label": "fake", "set": split, "target_id": int(target)}
        content[fake]["swapped_id"] = int(source)
    text(root / "dataset.json", json.dumps(content))


def forgerynet(root: pathlib.Path, write: Write = a_few_bytes) -> None:
    """Training and validation lists, each with two reals and images of two methods."""
    for split, release in (("Training", "train_release"), ("Validation", "val_perturb_release")):
        lines = ["image_name binary_cls_label triple_cls_label 16cls_label"]
        for image, method in (
            ("1/aaaa/frame00001.jpg", 0),
            ("1/aaaa/frame00017.jpg", 0),
            ("6/bbbb/cccc/frame00049.jpg", 4),
            ("12/dddd.jpg", 11),
        ):
            name = "real" if method == 0 else f"forgery_{method:02d}"
            put(root / split / "image" / release / image, int(method != 0), name, write)
            triple = 0 if method == 0 else 2 if method < 8 else 1
            lines.append(f"{release}/{image} {int(method != 0)} {triple} {method}")
        text(root / split / "image_list.txt", "\n".join(lines) + "\n")


def folder(
    root: pathlib.Path,
    write: Write = a_few_bytes,
    *,
    splits: tuple[str, ...] = ("train", "validation", "test"),
) -> None:
    """The user's own files: two reals and two fakes in each split, or without split folders."""
    for split in splits or ("",):
        put(root / split / "real" / "a holiday.mp4", 0, "real", write)
        put(root / split / "real" / "Gesicht ä.mp4", 0, "real", write)
        put(root / split / "fake" / "FaceSwap" / "x.mp4", 1, "FaceSwap", write)
        put(root / split / "fake" / "y..z.mp4", 1, "fake", write)


def table(root: pathlib.Path, write: Write = a_few_bytes) -> None:
    """A real and a fake video, folder of frames and picture, and two pictures of one video."""
    lines = ["path,label,split,video,method,source"]
    for label, kind, original in ((0, "real", ""), (1, "fake", "real")):
        put(root / kind / "a.mp4", label, kind, write)
        for name in ("b/2.jpg", "b/9.jpg", "b/10.jpg", "c.jpg", "d.jpg" if label else "d/1.jpg"):
            put(root / kind / name, label, kind, write)
        for name in ("a.mp4", "b", "c.jpg"):
            source = f"{original}/{name}" if original else ""
            lines.append(f"{kind}/{name},{kind},train,,,{source}")
    lines.append("real/d/1.jpg,real,test,walk,,")
    lines.append("fake/d.jpg,fake,test,,Swap,walk")
    text(root / "media.csv", "\n".join(lines) + "\n")


class Written:
    """A `write` that remembers label and method of every file."""

    def __init__(self):
        self.files = {}

    def __call__(self, path, label, method):
        a_few_bytes(path, label, method)
        self.files[path] = (label, method)

    def media(self):
        """The files, and for the numbered frames of a video its folder."""
        return {
            path.parent if re.fullmatch(r"\d+\.png", path.name) else path: facts
            for path, facts in self.files.items()
        }


def refusal(name, folder, **options):
    with pytest.raises(UserError) as caught:
        find_media(name, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_id(found):
    return {medium.id: medium for medium in found.media}


def splits_of(found):
    splits = collections.defaultdict(set)
    for medium in found.media:
        splits[medium.split].add(medium.id)
    return splits
