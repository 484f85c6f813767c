"""Models over several corpora: average ranks, and a test of whether they differ (Demšar, 2006)."""

import numpy as np

FRIEDMAN_CORPORA = 6
"""With fewer corpora the test has almost no power, and its chi-squared approximation does not hold."""


def average_ranks(scores: np.ndarray) -> np.ndarray:
    """Return each model's mean rank over corpora, ``(models,)``; 1 is the best.

    Args:
        scores: ``(corpora, models)``, of which higher is better, without NaN. Models with equal scores share their mean
            rank.

    Raises:
        ValueError: a score is NaN or ``scores`` is not a table.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-_table(scores), axis=1).mean(0))


def friedman(scores: np.ndarray) -> tuple[float, float] | None:
    """Return statistic and p-value of Friedman's test that all models rank alike, with scipy's correction for ties.

    Returns None if the test says nothing: with fewer than 6 corpora or fewer than 3 models, or if all models are equal
    on every corpus. Use ``comparisons`` to compare two models. ``scores`` and errors as for ``average_ranks``.
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
