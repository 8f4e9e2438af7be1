"""The files that a prediction is asked for: named ones, and all images and videos of folders.

What a file is, is told by its first bytes, whatever it is called. In a folder those files are taken
that are images or videos, and those whose names say so, so that a broken one is named; others are
passed over and counted. Files and folders whose names begin with a dot are passed over too.
"""

import dataclasses
import logging
import os
import pathlib
import stat
from collections.abc import Iterator, Sequence

from rffr_jax.data.readers.left_out import LeftOut
from rffr_jax.errors import UserError
from rffr_jax.images.decode import EXTENSIONS

log = logging.getLogger(__name__)

IMAGE, VIDEO = "image", "video"
MEDIA_EXTENSIONS = (
    *EXTENSIONS,
    *(".gif", ".heic", ".heif", ".avif"),
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".ts", ".mts", ".mpg", ".mpeg"),
)
NOT_READ = "not an image or a video of a kind that is read"

_HEAD = 189  # bytes; the second packet of a transport stream begins at 188
_PHOTOGRAPH_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One file to look at.

    Attributes:
      path: where it lies.
      kind: `image`, `video`, or '' where it is neither.
      reason: why it is neither; it stays unknown then.
    """

    path: pathlib.Path
    kind: str
    reason: str = ""


def find_files(
    inputs: Sequence[str],
    *,
    leave_out: pathlib.Path | None = None,
    passed_over: LeftOut | None = None,
) -> list[InputFile]:
    """The files of `inputs` in their order, those of a folder by their names, each once.

    Args:
      inputs: files and folders; one that does not exist may be several with commas between them.
      leave_out: a folder whose files are never taken, such as that of the results.
      passed_over: counts the files of folders that are neither image nor video, which are logged.

    Raises:
      UserError: nothing is named, something named does not exist, or there is no image or video.
    """
    named = [path for text in inputs for path in _split(text)]
    if not named:
        raise UserError(
            "nothing to look at: name images, videos and folders with --config.inputs=PATH,PATH"
        )
    found: dict[pathlib.Path, InputFile] = {}
    others: dict[pathlib.Path, pathlib.Path] = {}
    for path in named:
        for file in _walk(path, leave_out) if path.is_dir() else [_classify(path)]:
            if isinstance(file, InputFile):
                found.setdefault(file.path.absolute(), file)
            else:
                others.setdefault(file.absolute(), file)
    passed_over = LeftOut() if passed_over is None else passed_over
    for absolute in others.keys() - found.keys():
        passed_over.add(others[absolute])
    if passed_over.counts:
        log.info("%s", passed_over)
    if not found:
        raise UserError(
            f"--config.inputs: there is no image or video in {', '.join(map(str, named))}"
            + (f" ({passed_over})" if passed_over.counts else "")
        )
    return list(found.values())


def media_kind(path: pathlib.Path) -> tuple[str, str]:
    """`image`, `video` or '', by a file's first bytes; and why it is neither."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "", "not a file"
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return "", f"unreadable: {(error.strerror or str(error)).lower()}"
    if not head:
        return "", "the file is empty"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "", "GIF pictures are not read; save a frame as PNG, or all of them as a video"
    if head[4:8] == b"ftyp" and head[8:12] in _PHOTOGRAPH_BRANDS:
        return "", "HEIC and AVIF photographs are not read; save it as JPEG or PNG"
    if _is_image(head):
        return IMAGE, ""
    return (VIDEO, "") if _is_video(head) else ("", NOT_READ)


def _is_image(head: bytes) -> bool:
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _is_video(head: bytes) -> bool:
    return (
        head[4:8] in _MP4_BOXES
        or head.startswith((b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3"))  # Matroska, MPEG
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (head[0] == 0x47 and head[188:189] == b"\x47")  # MPEG transport stream
    )


def _split(text: str) -> list[pathlib.Path]:
    """Raises: UserError if a part does not exist."""
    parts = [text] if _path_exists(text) else [part for part in text.split(",") if part.strip()]
    for part in parts:
        if not _path_exists(part):
            raise UserError(f"--config.inputs: {part} does not exist; name files and folders")
    return [pathlib.Path(part).expanduser() for part in parts]


def _path_exists(text: str) -> bool:
    if not text:
        return False
    try:
        return os.path.lexists(os.path.expanduser(text))
    except ValueError:  # a name that no file can have
        return False


def _classify(path: pathlib.Path) -> InputFile:
    return InputFile(path, *media_kind(path))


def _walk(
    folder: pathlib.Path, leave_out: pathlib.Path | None
) -> Iterator[InputFile | pathlib.Path]:
    """What is to be looked at, and the paths of the files that are passed over."""
    unreadable: list[InputFile] = []

    def note(error: OSError):
        reason = f"unreadable folder: {(error.strerror or str(error)).lower()}"
        unreadable.append(InputFile(pathlib.Path(error.filename or folder), "", reason))

    ignored = leave_out and leave_out.resolve()
    for parent, folders, names in os.walk(folder, onerror=note):
        yield from unreadable
        unreadable.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if ignored and pathlib.Path(parent).resolve() == ignored:
            folders.clear()
            continue
        for name in sorted(names):
            if name.startswith("."):
                continue
            file = _classify(pathlib.Path(parent, name))
            if file.kind or name.lower().endswith(MEDIA_EXTENSIONS):
                yield file
            else:
                yield file.path
    yield from unreadable
