"""Faces that a detector is tried on must be prepared as those that it was trained on."""

from collections.abc import Sequence
from typing import Any

from rffr_jax.data.specs import parse_spec
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset


def check_same_preparation(
    trained: Sequence[dict[str, Any]], spec: str, dataset: Dataset, option: str
):
    """Faces that a detector is tried on must be prepared as those that it was trained on.

    Args:
      trained: `collect_preparations` the training data; data that say nothing go with any.
      spec: what `dataset` was loaded from.
      option: the config entry that named it, for the message.

    Raises:
      UserError: its faces were prepared like none of those, and the spec does not say `mixed=ok`.
    """
    from rffr_jax.data.readers.prepared import collect_preparations, compare_preparations

    if not trained or parse_spec(spec).mixed:
        return
    for preparation in collect_preparations(dataset):
        differing = min((compare_preparations([other, preparation]) for other in trained), key=len)
        if differing:
            raise UserError(
                f"{option}: the faces of '{spec}' were prepared otherwise than those that the "
                f"detector is trained on ({'; '.join(differing)}), which moves results; prepare "
                "them alike, or add mixed=ok to the spec"
            )
