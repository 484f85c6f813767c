"""The null of a probe: its score if labels have nothing to do with the sounds."""

from dataclasses import replace
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.features import Features
from nonverbal.evaluation.heads.base import Head
from nonverbal.tasks.divisions import divide
from nonverbal.tasks.groups import units
from nonverbal.tasks.metrics import uar
from nonverbal.tasks.statistics.nulls import Null, permutation_null
from nonverbal.tasks.task import Task

STOP = 20
"""Number of draws scoring as high as the true labels after which p is known to be large."""


def label_null(task: Task, head: Head[Any], features: Features, seed: int, most: int, one_frame: bool = False) -> Null:
    """Return the null of the pooled UAR of one seed: everything that uses labels is repeated for each draw.

    That includes the division into folds, features that depend on the fold, the choices on the training sides, the fit,
    and the test. Labels are permuted within units, or between whole units that have one class
    (``nonverbal.tasks.statistics.nulls``); with random folds too, units are speakers. Permuted labels that the protocol
    cannot divide are skipped.

    Args:
        task: clips and protocol.
        head: the head to fit.
        features: see ``cross_validate``; those that depend on the fold are fitted again for each draw.
        seed: seed of the division, and of the permutations.
        most: largest number of draws, at least 1; fewer are made if 20 of them score as high as the true labels.
        one_frame: see ``Job``.

    Raises:
        UserError: no label can be permuted, or almost no permuted labels can be divided.
    """
    protocol = replace(task.division.protocol, seeds=(seed,))

    def score(permuted: np.ndarray) -> float | None:
        labels = permuted.tolist()
        try:
            division = divide(protocol, labels, task.clips)
            groups, folds = division.groups, division.folds[seed]
            results = list(cross_validate(head, features, labels, groups, folds, seed, protocol, one_frame))
        except UserError:
            return None
        rows = np.concatenate([result.test for result in results])
        return uar(permuted[rows], np.concatenate([result.predicted for result in results]))

    speakers, recordings = ([getattr(clip, name) for clip in task.clips] for name in ("speaker", "recording"))
    numbers, _ = units(task.groups, speakers, recordings)
    return permutation_null(score, task.labels, numbers, seed, most, STOP)
