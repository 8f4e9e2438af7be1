"""The site's navigation: the groups of docs/README.md, the generated reference, other files."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
FRONT = "README"
MAP = "docs/README"
GENERATED = "docs/generated"
FOLDERS = ("docs", "pretrained")
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
REFERENCE = {
    "Reference": tuple(f"{GENERATED}/{name}" for name in ("commands", "configs/index", "api/index"))
}
PROJECT = {
    "The project": (
        MAP,
        "CONTRIBUTING",
        "CHANGELOG",
        "pretrained/README",
        "pretrained/rffr_jax_pretrained/detector/README",
    )
}
_GROUP = re.compile(r"^\| \*\*(.+)\*\* \|")
_ROW = re.compile(r"^\| \[[^\]]+\]\(([^)]+)\) \|")
_NOTEBOOK = re.compile(r"\(notebooks/(\w+)\.py\)")


def groups(pages: str) -> dict[str, tuple[str, ...]]:
    """The pages of each group of the table in docs/README.md, as names of documents.

    Args:
      pages: the text of that file.
    """
    found: dict[str, list[str]] = {}
    for line in _notebooks_as_pages(pages).splitlines():
        if group := _GROUP.match(line):
            found[group[1]] = []
        elif row := _ROW.match(line):
            list(found.values())[-1].append(f"docs/{row[1].removesuffix('.md')}")
    return {group: tuple(names) for group, names in found.items()}


def complete(name: str, text: str) -> str:
    """The text of a page with what only the site has.

    The front page gets the navigation; links of docs/README.md to notebooks lead to their pages.

    Args:
      name: of the document, such as "docs/predict".
    """
    if name == MAP:
        return _notebooks_as_pages(text)
    if name != FRONT:
        return text
    pages = (ROOT / f"{MAP}.md").read_text(encoding="utf-8")
    trees = {**groups(pages), **REFERENCE, **PROJECT}
    return text + "".join(toctree(caption, names) for caption, names in trees.items())


def toctree(caption: str, names: tuple[str, ...], hidden: bool = True) -> str:
    """A directive of MyST that puts pages, named from the root, into the navigation."""
    lines = [":hidden:"] * hidden + [f":caption: {caption}"] * bool(caption)
    return "\n".join(["", "```{toctree}", *lines, "", *(f"/{name}" for name in names), "```", ""])


def _notebooks_as_pages(text: str) -> str:
    return _NOTEBOOK.sub(r"(generated/notebooks/\1.md)", text)
