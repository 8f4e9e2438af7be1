"""README.md of a model folder: the card of its training, and how the folder is used."""

import pathlib
import re

from rffr_jax import __version__
from rffr_jax.errors import UserError
from rffr_jax.reports.templates import render
from rffr_jax.runs.model_folder import CARD, is_model_folder
from rffr_jax.runs.text_files import read_text

TRAINING_CARD = "model_card.md"


def model_folder_card(kind: str, name: str, workdir: pathlib.Path) -> str:
    """The text, with the metadata that model hubs read in front of it.

    Args:
      kind: `detector`, `mae`, `unet` or `vit`.
      name: of the folder.
      workdir: of the run, whose own card is taken over where it has one. That of a model folder
        is taken as it is.

    Raises:
      UserError: the card of a model folder cannot be read.
    """
    if is_model_folder(workdir) and (workdir / CARD).is_file():
        return read_text(workdir / CARD)
    file = workdir / TRAINING_CARD
    card = file.read_text(encoding="utf-8").rstrip() if file.is_file() else ""
    return render("model_folder.md", kind=kind, name=name, card=card, version=__version__)


def first_paragraph(card: str) -> str:
    """The first paragraph of a card, in one line; metadata and headings are none.

    Raises:
      UserError: it has no paragraph.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
    for paragraph in paragraphs:
        if paragraph and not paragraph.startswith("#"):
            return " ".join(paragraph.split())
    raise UserError("the card has no paragraph; its first one becomes a note on every score")
