import numpy as np
import pytest

from nonverbal.tasks.statistics.ranks import average_ranks, friedman

# Table 6 of Demšar (2006): the AUC of four kinds of decision tree on 14 data sets. His ranks tell the two .975 of the
# last row but one apart, which rounding made equal.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_average_ranks_are_those_demsar_prints() -> None:
    np.testing.assert_allclose(average_ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4)


def test_friedmans_statistic_is_demsars_but_for_ties() -> None:
    found = friedman(DEMSAR)
    assert found is not None
    statistic, p = found
    # He prints 9.28, without the correction for ties: divide by 1 - (sum of t^3 - t) / (N k (k^2 - 1)).
    ties = sum(
        (np.unique(row, return_counts=True)[1] ** 3 - np.unique(row, return_counts=True)[1]).sum() for row in DEMSAR
    )
    assert statistic * (1 - ties / (14 * 4 * 15)) == pytest.approx(9.28, abs=0.005)
    assert 0.01 < p < 0.05


def test_friedman_says_nothing_of_few_corpora_or_models() -> None:
    assert friedman(DEMSAR[:5]) is None
    assert friedman(DEMSAR[:6]) is not None
    assert friedman(DEMSAR[:, :2]) is None
    assert friedman(np.ones((8, 3))) is None


def test_a_missing_score_has_no_rank() -> None:
    with pytest.raises(ValueError, match="without NaN"):
        average_ranks(np.array([[0.5, np.nan]]))
