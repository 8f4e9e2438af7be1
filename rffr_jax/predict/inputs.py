"""The files to score: those that are named, and all images and videos of folders.

The first bytes of a file say what it is, whatever its name. In a folder all images and videos are
taken, and so is every file with the name of one, so that broken ones are reported. Other files are
counted. Files and folders whose names begin with a dot are skipped. Links to folders are followed;
each folder is gone through once.
"""

import dataclasses
import logging
import os
import pathlib
import stat
from collections.abc import Iterator, Sequence

from rffr_jax.data.readers.left_out import SkippedFiles
from rffr_jax.errors import UserError
from rffr_jax.faces.frame_folder import file_stamp
from rffr_jax.images.decode import HEIC_BRANDS
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

log = logging.getLogger(__name__)

IMAGE, VIDEO = "image", "video"
MEDIA_EXTENSIONS = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS, ".gif")
UNKNOWN_KIND = (
    "not an image or a video of a kind that is read (JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC; MP4, "
    "MOV, AVI, MKV, WebM, WMV, MPEG)"
)

_HEAD = 197  # bytes; holds the beginnings of two packets of a transport stream
_PACKETS = ((0, 188), (4, 196))  # where they begin; those of camcorders have a time before each
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")
# Matroska, MPEG, Windows Media
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11")
_PHOTOGRAPH_BRANDS = (*HEIC_BRANDS, b"avif", b"avis")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One file to score.

    Attributes:
      path: where it is.
      kind: `image`, `video`, or '' where it is neither.
      reason: why it is neither; its status is `unknown` then.
      stamp: `frame_folder.file_stamp` from before it was read; '' of what is no file.
    """

    path: pathlib.Path
    kind: str
    reason: str = ""
    stamp: str = ""


def find_files(
    inputs: Sequence[str],
    *,
    exclude: pathlib.Path | None = None,
    left_out: SkippedFiles | None = None,
) -> list[InputFile]:
    """The files of `inputs` in their order, those of a folder by their names, each once.

    Args:
      inputs: files and folders; one that does not exist may be several with commas between them.
      exclude: a folder whose files are never taken, such as that of the results.
      left_out: counts the files of folders that are neither image nor video; they are logged.

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
        for file in _walk(path, exclude) if path.is_dir() else [_classify(path)]:
            if isinstance(file, InputFile):
                found.setdefault(file.path.absolute(), file)
            else:
                others.setdefault(file.absolute(), file)
    left_out = SkippedFiles() if left_out is None else left_out
    for absolute in others.keys() - found.keys():
        left_out.add(others[absolute])
    if left_out.counts:
        log.info("%s", left_out)
    if not found:
        raise UserError(
            f"--config.inputs: there is no image or video in {', '.join(map(str, named))}"
            + (f" ({left_out})" if left_out.counts else "")
            + "; name others"
        )
    return list(found.values())


def named_file(path: str | os.PathLike[str]) -> InputFile:
    """One file.

    Raises:
      UserError: it does not exist, or is a folder.
    """
    file = pathlib.Path(path).expanduser()
    if not _path_exists(os.fspath(file)):
        raise UserError(f"{file} does not exist; name an image or a video")
    if file.is_dir():
        raise UserError(f"{file} is a folder; name one file, or score it with the job predict")
    return _classify(file)


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
    heif = head[4:8] == b"ftyp" and head[8:12] in _PHOTOGRAPH_BRANDS
    riff = head[8:12] if head[:4] == b"RIFF" else b""
    if heif or head.startswith(_IMAGE_STARTS) or riff == b"WEBP":
        return IMAGE, ""
    transport_stream = any(head[a : a + 1] == head[b : b + 1] == b"\x47" for a, b in _PACKETS)
    if head[4:8] in _MP4_BOXES or head.startswith(_VIDEO_STARTS) or riff == b"AVI ":
        return VIDEO, ""
    return (VIDEO, "") if transport_stream else ("", UNKNOWN_KIND)


def _split(text: str) -> list[pathlib.Path]:
    """Raises: UserError if a part does not exist."""
    parts = [text] if _path_exists(text) else [part for part in text.split(",") if part.strip()]
    for part in parts:
        if not _path_exists(part):
            raise UserError(f"--config.inputs: {part} does not exist; name files and folders")
    return [pathlib.Path(part).expanduser() for part in parts]


def _path_exists(text: str) -> bool:
    try:
        return bool(text) and os.path.lexists(os.path.expanduser(text))
    except ValueError:  # a name that no file can have
        return False


def _classify(path: pathlib.Path) -> InputFile:
    stamp = file_stamp(path)
    return InputFile(path, *media_kind(path), stamp)


def _walk(folder: pathlib.Path, exclude: pathlib.Path | None) -> Iterator[InputFile | pathlib.Path]:
    """The files to score, and the paths of the files to leave out."""
    unreadable: list[InputFile] = []

    def note(error: OSError):
        reason = f"unreadable folder: {(error.strerror or str(error)).lower()}"
        unreadable.append(InputFile(pathlib.Path(error.filename or folder), "", reason))

    passed = {exclude.resolve()} if exclude else set()
    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        yield from unreadable
        unreadable.clear()
        real = pathlib.Path(parent).resolve()
        if real in passed:
            folders.clear()
            continue
        passed.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            file = _classify(pathlib.Path(parent, name))
            is_media = file.kind or name.lower().endswith(MEDIA_EXTENSIONS)
            yield file if is_media else file.path
    yield from unreadable
