"""Collects the media of a benchmark: every id once, and what is missing or left out by name."""

import os
import pathlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from rffr_jax.data.readers.left_out import SkippedFiles
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.frame_folder import describe_gaps, list_frames
from rffr_jax.faces.media import Benchmark, Medium
from rffr_jax.images.image_formats import VIDEO_EXTENSIONS


class Catalogue:
    """The media found so far; `benchmark` gives them all.

    Attributes:
      folder: the one that names in messages are relative to.
      lists: names of the benchmark's own lists and label files.
    """

    def __init__(self, folder: pathlib.Path, lists: Collection[str] = ()):
        self.folder = folder
        self.lists = lists
        self._media: dict[str, list[Medium]] = {}
        self._missing: list[str] = []
        self._absent: dict[str, str] = {}
        self._notes: list[str] = []
        self._passed_over: set[pathlib.Path] = set()

    def add(self, medium: Medium) -> None:
        """Takes a medium in.

        All files that share an id are left out. A file that is listed again is noted.

        Raises:
          UserError: the same file was listed with another label or split.
        """
        found = self._media.setdefault(medium.id, [])
        same = next((other for other in found if other.path == medium.path), None)
        if same is None:
            found.append(medium)
            return
        before, now = (f"{other.method}, {other.split}" for other in (same, medium))
        if before != now:
            raise UserError(f"{medium.path} is listed as {before} and as {now}; correct the lists")
        self.miss(f"{medium.id}: listed twice, taken once")

    def miss(self, line: str) -> None:
        """Notes a medium that is missing or left out, with the reason."""
        self._missing.append(line)

    def absent(self, id_: str, split: str, why: str) -> None:
        """Notes a medium that should be there, such as "listed in test.txt", and is not."""
        self._absent[id_] = split
        self.miss(f"{id_}: {why} and not there")

    def note(self, line: str) -> None:
        """Notes what is worth knowing of a medium that is taken."""
        self._notes.append(line)

    def note_gaps(self, id_: str, frames: Mapping[int, pathlib.Path]) -> None:
        """Notes where numbers are missing among the frames of a folder."""
        if gaps := describe_gaps(list(frames)):
            self.note(f"{id_}: {gaps}")

    def pass_over(self, path: pathlib.Path) -> None:
        """Counts a file that has no ending of a video or image, once; lists are not counted."""
        if path.name not in self.lists:
            self._passed_over.add(path)

    def listed_path(self, text: str, place: str) -> pathlib.PurePosixPath | None:
        """The path that a list names, relative to where its files lie; backslashes are slashes.

        None, and noted, where it is absolute, leads up with `..`, or is empty.

        Args:
          text: as it stands in the list.
          place: where it stands, for messages.
        """
        path = pathlib.PurePosixPath(text.replace("\\", "/"))
        drive = path.parts and path.parts[0].endswith(":")
        if not path.name or path.is_absolute() or drive or ".." in path.parts:
            self.miss(f"{place}: {text!r} is not a path below the list's folder, left out")
            return None
        return path

    def videos(self, *folders: pathlib.Path) -> dict[str, list[pathlib.Path]]:
        """The videos that lie directly in the folders, by name without extension.

        Hidden files are left out (`._000.mp4` is what a Mac leaves beside `000.mp4`), and so are
        folders that do not exist; one that cannot be read is noted. Other files are counted.
        """
        found: dict[str, list[pathlib.Path]] = {}
        for folder in folders:
            for path in self.entries(folder):
                if path.suffix.lower() in VIDEO_EXTENSIONS:
                    found.setdefault(path.stem, []).append(path)
                elif not os.path.isdir(path):
                    self.pass_over(path)
        return found

    def frame_folders(self, folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
        """The folders of frames that lie directly in a folder, by name.

        Gaps in their numbers are noted, and folders without a picture.
        """
        found = {}
        for path in self.entries(folder):
            if not os.path.isdir(path):
                self.pass_over(path)
                continue
            try:
                self.note_gaps(self.name(path), list_frames(path))
            except BadImageError as error:
                self.miss(f"{self.name(path)}: {error.reason}")
            else:
                found[path.name] = [path]
        return found

    def entries(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """What lies in a folder, hidden entries left out, sorted.

        An empty list where there is no such folder. What cannot be read, and a name that no
        record can hold, is noted.
        """
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.miss(f"{self.name(folder)}: the folder cannot be read ({reason})")
            return []
        kept = []
        for name in names:
            if name.startswith("."):
                continue
            if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
                where = self.name(folder)
                self.miss(f"{where}: the name {name!a} holds control characters or no UTF-8 text")
            else:
                kept.append(folder / name)
        return kept

    def unlisted(self, paths: Iterable[pathlib.Path], lists: str) -> None:
        """Notes files that are there and that no list names."""
        for path in paths:
            self.miss(f"{self.name(path)}: in none of {lists}, left out")

    def name(self, path: pathlib.Path) -> str:
        """A path as messages show it: below the benchmark's folder where it lies there."""
        inside = path.is_relative_to(self.folder) and path != self.folder
        return (path.relative_to(self.folder) if inside else path).as_posix()

    def benchmark(self) -> Benchmark:
        """The media whose id belongs to only one file, and all notes."""
        media, shared = [], []
        for id_, found in sorted(self._media.items()):
            if len(found) == 1:
                media += found
            else:
                names = ", ".join(self.name(medium.path) for medium in found)
                shared.append(f"{id_}: {len(found)} files have this id, all left out: {names}")
        left_out = SkippedFiles()
        for path in self._passed_over:
            left_out.add(pathlib.PurePath(self.name(path)))
        return Benchmark(
            tuple(media),
            (*self._missing, *shared),
            left_out,
            tuple(self._notes),
            self._absent,
        )
