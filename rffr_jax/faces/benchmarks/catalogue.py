"""Collects the media of a benchmark: every id once, and what is missing by name."""

import os
import pathlib
import unicodedata
from collections.abc import Iterable

from rffr_jax.errors import UserError
from rffr_jax.faces.media import Benchmark, Medium

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


class Catalogue:
    """The media found so far; `benchmark` gives them all.

    Attributes:
      folder: the one that names in messages are relative to.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._media: dict[str, Medium] = {}
        self._missing: list[str] = []

    def add(self, medium: Medium) -> None:
        """Takes a medium in.

        Raises:
          UserError: another one has the same id.
        """
        other = self._media.setdefault(medium.id, medium)
        if other is not medium:
            if other.path == medium.path:
                raise UserError(f"{medium.path} is listed twice; list it once")
            raise UserError(
                f"two files are {medium.id!r}: {other.path} and {medium.path}; keep one of them"
            )

    def miss(self, line: str) -> None:
        """Notes what is not there, or not taken, and why."""
        self._missing.append(line)

    def videos(self, *folders: pathlib.Path) -> dict[str, pathlib.Path]:
        """The videos that lie directly in the folders, by name without extension.

        Hidden files are left out (`._000.mp4` is what a Mac leaves beside `000.mp4`), and so are
        folders that do not exist; one that cannot be read is noted.

        Raises:
          UserError: two videos of one name.
        """
        found: dict[str, pathlib.Path] = {}
        for folder in folders:
            for path in self.entries(folder):
                if path.suffix.lower() not in VIDEO_EXTENSIONS:
                    continue
                other = found.setdefault(path.stem, path)
                if other is not path:
                    raise UserError(
                        f"two videos are called {path.stem!r}: {other} and {path}; keep one of them"
                    )
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
        media = tuple(self._media[id_] for id_ in sorted(self._media))
        return Benchmark(media, tuple(self._missing))
