"""AUCs of an experiment's runs under the same draws of test people, for the crossed bootstrap."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from rffr_jax.evaluation.bootstrap import REPLICATES, ClusterDraws, weighted_aucs
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.experiments.run_result import RunResult

ReadScores = Callable[[RunResult, str], Predictions]
"""The scores of a run that its AUC in a column is of."""
Training = tuple[int | None, int | None]
"""Seeds of the MAE and of the detector."""
Aucs = Float64[np.ndarray, " replicates_and_one"]
"""Under each draw of test people; the last is that of all people, once each."""
THESE_MAES, THESE_SEEDS = "these MAEs", "these seeds"


class AucReplicates:
    """AUCs of runs under the same draws of test people, each computed once.

    Args:
      measured: the runs that it will be asked for.
    """

    def __init__(
        self,
        measured: Sequence[RunResult],
        read_scores: ReadScores,
        *,
        replicates: int = REPLICATES,
    ):
        self._measured, self._scores, self._replicates = measured, read_scores, replicates
        self._aucs: dict[tuple[int, str], Aucs] = {}

    @functools.cached_property
    def _draws(self) -> ClusterDraws:
        people = {
            person
            for run in self._measured
            for column in run.aucs
            for person in people_of(self._scores(run, column))
        }
        return ClusterDraws(people, replicates=self._replicates)

    @property
    def knows_spread(self) -> bool:
        """Whether the tests show more than one person."""
        return len(self._draws) > 1

    def mean_aucs(self, run: RunResult, columns: Iterable[str]) -> Aucs:
        """The mean over columns."""
        return np.mean([self._column(run, column) for column in columns], axis=0)

    def _column(self, run: RunResult, column: str) -> Aucs:
        key = id(run), column
        if key not in self._aucs:
            found = self._scores(run, column)
            self._aucs[key] = redrawn_aucs(self._draws, found)
        return self._aucs[key]


def redrawn_aucs(draws: ClusterDraws, scores: Predictions) -> Aucs:
    """NaN for a draw that lacks a class."""
    drawn = draws.aucs(scores.labels, scores.scores, people_of(scores))
    once = np.ones((len(scores.examples), 1))
    return np.append(drawn, weighted_aucs(scores.labels, scores.scores, once))


def people_of(scores: Predictions) -> list[tuple[str, str]]:
    """The cluster of each example; equal names in two data sets are two people."""
    return [(example.dataset, example.cluster) for example in scores.examples]


def arrange_trainings(
    aucs: Mapping[Training, Aucs],
) -> tuple[Float64[np.ndarray, "replicates_and_one maes seeds"], list[str]]:
    """The trainings of a row as levels of two factors, and what to call levels that are held fixed.

    Where every seed has a MAE of its own, the two are one factor. A row without MAEs has one level
    of them, and no name for it.

    Args:
      aucs: every MAE with every seed, or every seed with a MAE of its own.
    """
    maes = list(dict.fromkeys(mae for mae, _ in aucs))
    seeds = list(dict.fromkeys(seed for _, seed in aucs))
    if maes == seeds and len(aucs) == len(seeds) > 1:
        grid, names = [[one] for one in aucs.values()], [THESE_MAES, ""]
    else:
        grid = [[aucs[mae, seed] for seed in seeds] for mae in maes]
        names = ["" if maes == [None] else THESE_MAES, THESE_SEEDS]
    return np.moveaxis(np.array(grid), -1, 0), names
