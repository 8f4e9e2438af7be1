"""Keeps account of the files that could not be used: names, reasons, and when it is too many."""

import logging

import numpy as np

from rffr_jax.cluster import processes
from rffr_jax.data.pipeline import PADDING, Batch
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset

log = logging.getLogger(__name__)


class BadFiles:
    """Counts the bad files of one dataset over any number of batches, each file once.

    Attributes:
      names: path of every bad file met so far -> why it cannot be used.
    """

    def __init__(self, dataset: Dataset, max_bad_fraction: float):
        """
        Args:
          dataset: the one that the batches' indices point into.
          max_bad_fraction: of all the dataset's files; more bad ones end the run. A single one
            never does, as long as there are others.
        """
        self.names: dict[str, str] = {}
        self._dataset = dataset
        self._files = len({example.path for example in dataset.examples})
        self._max_bad_fraction = max_bad_fraction

    def update(self, batch: Batch) -> None:
        """Looks for bad files in a batch: rows of weight 0 that are no padding.

        Each is named in one warning. The file is tried again to learn the reason.

        Raises:
          UserError: as `check` does.
        """
        bad = (batch["weight"] == 0) & (batch["index"] != PADDING)
        size = batch["image"].shape[1]
        for row in np.flatnonzero(bad):
            self._add(int(batch["index"][row]), size)
        self._check()

    def share(self) -> None:
        """Makes the bad files of all processes known to each; all come by here together.

        One process knows of fewer bad files than all together, so none ends the run too early.

        Raises:
          UserError: more than `max_bad_fraction` of the dataset's files, and more than one, are
            bad; or all are.
        """
        known = processes.all_gather_objects(len(self.names))
        if any(known) and processes.process_count() > 1:
            merged = {
                path: why
                for names in processes.all_gather_objects(self.names)
                for path, why in names.items()
            }
            self.names = dict(sorted(merged.items()))
            self._check()

    def _check(self) -> None:
        total = self._files
        bad_ones = len(self.names)
        if bad_ones > max(1.0, self._max_bad_fraction * total) or 0 < bad_ones == total:
            name, reason = next(iter(self.names.items()))
            raise UserError(
                f"{bad_ones} of {total} images cannot be used, and max_bad_fraction allows "
                f"{self._max_bad_fraction:g} of them; put right or leave out the files named "
                f"above, the first of them {name}: {reason}"
            )

    def _add(self, index: int, size: int) -> None:
        path = self._dataset.examples[index].path
        if path in self.names:
            return
        try:
            self._dataset.load(index, size)
            reason = "could not be read, but could be at a second try"
        except BadImageError as error:
            reason = error.reason
        self.names[path] = reason
        log.warning("left out: %s: %s", path, reason)
