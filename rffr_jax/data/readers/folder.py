"""Images that lie in files, and the reader of a folder of them (`folder:PATH`)."""

import collections
import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.data.readers.fake_folders import refuse_fake_folders
from rffr_jax.data.readers.frame_names import number_frames
from rffr_jax.data.readers.landmark_order import find_landmark_problem
from rffr_jax.data.readers.left_out import SkippedFiles
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.decode import read_full_image, read_image
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS
from rffr_jax.images.landmarks import FIVE, LandmarkedFace, crop_centred_square

log = logging.getLogger(__name__)

LABELS = {"real": REAL, "fake": FAKE}


@dataclasses.dataclass(frozen=True)
class FileDataset:
    """A `Dataset` whose examples are image files.

    Attributes:
      name: of the data set, where no column names it: see `default_dataset_name`.
      root: the folder that the examples' ids are relative to.
      examples: the files; an id is a path below `root` with forward slashes.
      landmarks: of each file the 68 or five points in its pixels, None where they are not known;
        empty where none are.
      masks: of each file the picture of where it is manipulated, below `root`, or an empty name;
        empty where there are none.
      aligned: whether faces without landmarks of their own lie as `alignment.TEMPLATE` says.
    """

    name: str
    root: Path
    examples: tuple[Example, ...]
    landmarks: tuple[Float32[np.ndarray, "_ 2"] | None, ...] = ()
    masks: tuple[str, ...] = ()
    aligned: bool = False

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB pixels of file `index`, in [0, 255].

        Raises:
          BadImageError: the file is missing or no usable image.
        """
        return read_image(self.root / self.examples[index].id, size)

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"] | None:
        """Where file `index` is manipulated, 0 to 1; None where no mask is known.

        Raises:
          UserError: the mask is missing or no usable image.
        """
        if not self.masks or not self.masks[index]:
            return None
        try:
            picture = read_image(self.root / self.masks[index], size)
        except BadImageError as error:
            raise UserError(f"mask {error}; correct or empty the column `mask`") from None
        return picture[..., 0].astype(np.float32) / 255

    def landmark_count(self, index: int) -> int:
        """68 or 5 where the points are known or the faces are aligned, else 0."""
        points = self._points(index)
        if points is None:
            return FIVE if self.aligned else 0
        return len(points)

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The largest centred square of file `index` at its own size.

        Raises:
          BadImageError: as for `load`, or the file has landmarks and is turned by its EXIF data, or
            these are not those of a face in it.
        """
        points = self._points(index)
        image = read_full_image(self.root / self.examples[index].id, turn=points is None)
        if points is not None:
            height, width, _ = image.shape
            problem = find_landmark_problem(points, (width, height))
            if problem:
                raise BadImageError(self.examples[index].path, f"landmarks: {problem}")
            return crop_centred_square(image, points)
        square = crop_centred_square(image, np.zeros((0, 2), np.float32)).image
        return LandmarkedFace(square, template_landmarks(len(square)))

    def _points(self, index: int) -> np.ndarray | None:
        return self.landmarks[index] if self.landmarks else None


def read_folder(
    folder: Path, *, all_real: bool = False, frame_folders: bool = False
) -> FileDataset:
    """Lists the images below a folder, sorted by path.

    Sub-folders `real/` and `fake/` (in any case) give the labels and `fake/METHOD/` the method,
    "fake" for images directly in `fake/`. Without the two every image is real, which is logged.
    Every image counts as a photograph: it is its own video and its own source (but see
    `frame_folders`), called as its path without the ending, or with it where two have the same.
    Hidden files and folders are left out. So are files that have no image's ending; these are
    counted and logged.

    Args:
      folder: where the images lie.
      all_real: every image is real, whatever the folders below `folder` are called.
      frame_folders: the images of one folder are the frames of one video, which is its own source.

    Raises:
      UserError: the folder is missing or holds no image; images lie beside `real/` and `fake/`, or
        the two lie deeper than in the folder itself; a folder's name says that its files are fake;
        or `all_real` contradicts a `fake/` that gives labels.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"folder:{folder}: {folder} {problem}; name a folder of images")
    left_out = SkippedFiles()
    paths = list_images(folder, left_out)
    if not paths:
        raise UserError(
            f"folder:{folder}: no images in {folder} or below it; "
            f"files that end in {' '.join(IMAGE_EXTENSIONS)} are read"
            + (f" ({left_out})" if left_out.counts else "")
        )
    tops = {path.parts[0].lower() for path in paths if len(path.parts) > 1}
    labelled = not tops.isdisjoint(LABELS)
    if all_real and "fake" in tops:
        raise UserError(
            f"folder:{folder}?labels=real: fake/ in it says which images are fake; leave out "
            f"labels=real, or write folder:{folder}/real for the reals only"
        )
    if not labelled and not all_real:
        _refuse_fakes(folder, paths)
    examples = []
    for path in paths:
        label, method = (REAL, "real")
        if labelled and not all_real:
            label, method = label_by_folders(f"folder:{folder}", path, path.parts)
        examples.append(
            photograph_example(folder, path, label, method, dataset=default_dataset_name(folder))
        )
    if not labelled or all_real:
        log.info("folder:%s: all %d files are taken as REAL", folder, len(paths))
    if left_out.counts:
        log.info("folder:%s: %s", folder, left_out)
    if frame_folders:
        examples = _frames_of_folders(folder, examples)
    else:
        examples = _tell_apart_photographs(examples)
    return FileDataset(default_dataset_name(folder), folder, tuple(examples))


def _tell_apart_photographs(examples: Sequence[Example]) -> list[Example]:
    count = collections.Counter(example.video for example in examples)
    return [
        dataclasses.replace(example, video=example.id, source=example.id)
        if count[example.video] > 1
        else example
        for example in examples
    ]


def _frames_of_folders(root: Path, examples: Sequence[Example]) -> list[Example]:
    by_folder: collections.defaultdict[str, dict[str, Example]] = collections.defaultdict(dict)
    for example in examples:
        place = PurePosixPath(example.id)
        video = root.name if len(place.parts) == 1 else str(place.parent)
        by_folder[video][place.name] = example
    return [
        dataclasses.replace(pictures[name], video=video, frame=number, source=video)
        for video, pictures in by_folder.items()
        for number, name in number_frames(pictures).items()
    ]


def default_dataset_name(path: Path, level: int = 0) -> str:
    """What a file or folder without a name for its data is called: `PARENT/NAME`.

    Such a name holds a `/`, so that it can be told from one that a user gave on purpose.

    Args:
      path: the table, list or folder, or a pattern of files with `*`.
      level: 0 leaves out a file's extension, and a pattern; 1 keeps it; each one more puts a folder
        in front.
    """
    whole = Path(os.path.abspath(path))
    if level == 0 and "*" in whole.name:
        whole = whole.parent
    elif level == 0 and not whole.is_dir():
        whole = whole.with_suffix("")
    return PurePath(*whole.parts[-max(2, level + 1) :]).as_posix()


def photograph_example(
    root: Path, path: PurePosixPath, label: int, method: str, *, dataset: str
) -> Example:
    """The example of a single image: its own video and its own source."""
    video = str(path.with_suffix(""))
    return Example(
        id=str(path),
        path=str(root / path),
        label=label,
        dataset=dataset,
        method=method,
        video=video,
        frame=0,
        source=video,
    )


def warn_of_repeated_frames(where: str, examples: Sequence[Example]):
    """Names a number that several frames of one video have, in one line."""
    seen: set[int] = set()
    again: set[int] = set()
    for example in examples:
        digest = hash(_frame(example))  # of a long list, less than the frames themselves
        (again if digest in seen else seen).add(digest)
    frames = collections.defaultdict(list)
    for example in examples if again else ():
        if hash(_frame(example)) in again:
            frames[_frame(example)].append(example)
    repeated = [members for members in frames.values() if len(members) > 1]
    if repeated:
        first = repeated[0]
        log.warning(
            "%s: %d images have the frame number of another one of their video (such as %s and %s, "
            "both frame %d of %s), so that frames=N and the order of frames may be wrong; give the "
            "table a column `frame`",
            where,
            sum(len(members) - 1 for members in repeated),
            first[0].id,
            first[1].id,
            first[0].frame,
            first[0].video,
        )


def _frame(example: Example) -> tuple[str, str, str, int]:
    return example.dataset, example.method, example.video, example.frame


def list_images(folder: Path, left_out: SkippedFiles | None = None) -> list[PurePosixPath]:
    """The images below `folder`, relative to it, sorted; hidden files and folders are left out.

    Links to folders are followed unless they lead back up. A folder that cannot be read is logged.

    Args:
      folder: where to look.
      left_out: counts the files that have no image's ending.
    """

    def note(error: OSError):
        log.warning("left out: %s: %s", error.filename, (error.strerror or str(error)).lower())

    found = []
    above: dict[Path, tuple[Path, ...]] = {}  # of a folder to come: the real paths on the way to it
    for current, children, files in os.walk(folder, onerror=note, followlinks=True):
        here = Path(current)
        way = (*above.pop(here, ()), here.resolve())
        children[:] = [
            child
            for child in children
            if not child.startswith(".") and not _leads_up(here / child, way)
        ]
        above |= {here / child: way for child in children}
        relative = PurePosixPath(here.relative_to(folder).as_posix())
        for file in files:
            if file.startswith("."):
                continue
            if file.lower().endswith(IMAGE_EXTENSIONS):
                found.append(relative / file)
            elif left_out is not None:
                left_out.add(relative / file)
    return sorted(found)


def _leads_up(folder: Path, way: Sequence[Path]) -> bool:
    real = folder.resolve()
    return any(above.is_relative_to(real) for above in way)


def label_by_folders(where: str, path: PurePath, parts: Sequence[str]) -> tuple[int, str]:
    """Label and method of a file below `real/` or `fake/METHOD/`.

    Args:
      where: what the folder that holds these is called in messages.
      path: of the file, for messages.
      parts: of its path in that folder.

    Raises:
      UserError: it lies elsewhere, or METHOD is "real".
    """
    top = parts[0].lower()
    if len(parts) == 1 or top not in LABELS:
        raise UserError(
            f"{where}: {path} lies outside of real/ and fake/; move it into one of them"
        )
    if LABELS[top] == REAL:
        return REAL, "real"
    method = parts[1] if len(parts) > 2 else "fake"
    if method.lower() == "real":
        raise UserError(f"{where}: {path}: a method cannot be called 'real'; rename it")
    return FAKE, method


def _refuse_fakes(folder: Path, paths: list[PurePosixPath]):
    for path in paths:
        for depth, part in enumerate(path.parts[:-1]):
            if part.lower() in LABELS:
                deeper = folder.joinpath(*path.parts[:depth])
                raise UserError(
                    f"folder:{folder}: {part}/ lies deeper, in {deeper}; write folder:{deeper}, "
                    f"or folder:{folder}?labels=real if all images are real"
                )
    refuse_fake_folders(f"folder:{folder}", paths, f"write folder:{folder}?labels=real")
