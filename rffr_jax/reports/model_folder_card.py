"""README.md of a model folder: the card of its training, and how the folder is used."""

import pathlib
import re

from rffr_jax import __version__
from rffr_jax.errors import UserError
from rffr_jax.reports.templates import render

TRAINING_CARD = "model_card.md"


def model_folder_card(kind: str, name: str, dtype: str, workdir: pathlib.Path) -> str:
    """The text, with the metadata that model hubs read in front of it.

    Args:
      kind: `detector`, `mae`, `unet` or `vit`.
      name: of the folder.
      dtype: of the arrays.
      workdir: of the run, whose own card is taken over where it has one.
    """
    file = workdir / TRAINING_CARD
    card = file.read_text(encoding="utf-8").rstrip() if file.is_file() else ""
    return render(
        "model_folder.md", kind=kind, name=name, dtype=dtype, card=card, version=__version__
    )


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
