"""Models over several corpora: average ranks, and whether they differ (Demšar, 2006)."""

import numpy as np

FRIEDMAN_CORPORA = 6
"""With fewer corpora the test has next to no power, and its chi-squared approximation does not hold."""


def average_ranks(scores: np.ndarray) -> np.ndarray:
    """Return each model's mean rank over corpora, ``(models,)`` from 1 (best) on.

    Args:
        scores: ``(corpora, models)``, higher is better, without NaN. Models of one score share their mean rank.

    Raises:
        ValueError: a score is NaN or ``scores`` is not a table.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-_table(scores), axis=1).mean(0))


def friedman(scores: np.ndarray) -> tuple[float, float] | None:
    """Return statistic and p of Friedman's test that all models rank alike, with scipy's correction for ties.

    None where it says nothing: with fewer than 6 corpora or fewer than 3 models, or where all models are equal
    everywhere. Two models are compared by ``comparisons`` instead. ``scores`` and errors as for ``average_ranks``.
    """
    from scipy.stats import friedmanchisquare

    table = _table(scores)
    corpora, models = table.shape
    if corpora < FRIEDMAN_CORPORA or models < 3 or (table == table[:, :1]).all():
        return None
    statistic, p = friedmanchisquare(*table.T)
    return float(statistic), float(p)


def _table(scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or np.isnan(table).any():
        raise ValueError(f"`scores` must be (corpora, models) without NaN, but is {table.tolist()}.")
    return table
