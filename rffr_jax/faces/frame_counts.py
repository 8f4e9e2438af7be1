"""How many frames of a video each split takes."""

from collections.abc import Mapping

from rffr_jax.errors import UserError
from rffr_jax.faces.media import SPLITS

ALL = "all"
FRAMES: Mapping[str, int | None] = {"train": 32, "validation": 1, "test": 1}


def parse_frames(text: str) -> dict[str, int | None]:
    """How many frames of a video each split takes, None for all of them.

    Args:
      text: `16` or `all` for every split, or `train=16,test=all`; splits that are left out take
        what `FRAMES` says.

    Raises:
      UserError: no such split, a split twice, or a number that is none.
    """
    if "=" not in text:
        return dict.fromkeys(SPLITS, _frame_count(text, text))
    frames = dict(FRAMES)
    given: set[str] = set()
    for part in text.split(","):
        split, _, count = part.partition("=")
        if split not in SPLITS or split in given:
            problem = "twice" if split in given else "unknown"
            raise UserError(
                f"--frames {text!r}: the split {split!r} is {problem}; write SPLIT=NUMBER "
                f"for some of {', '.join(SPLITS)}, or one number for all"
            )
        given.add(split)
        frames[split] = _frame_count(text, count)
    return frames


def _frame_count(text: str, count: str) -> int | None:
    if count == ALL:
        return None
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise UserError(f"--frames {text!r}: {count!r} is no number; give one from 1 up, or {ALL}")
    return int(count)
