"""Linear CKA against its definition by centred similarities, closed forms, and independent spaces."""

import numpy as np
import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.cka import cka, cka_map

RANDOM = np.random.default_rng(0)


def by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """Kornblith et al. (2019), equations 3 and 4: tr(K H L H), with the centring matrix H."""
    n = len(first)
    centring = np.eye(n) - 1 / n
    k, ell = first @ first.T, second @ second.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ centring @ b @ centring))

    return float(hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell)))


def by_loops(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased HSIC as means of products over tuples of different clips: Song et al. (2012), equation 4."""
    k, ell = first @ first.T, second @ second.T
    n = len(first)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        two = np.mean([a[i, j] * b[i, j] for i, j in pairs])
        three = np.mean([a[i, j] * b[i, q] for i, j in pairs for q in range(n) if q not in (i, j)])
        four = np.mean([a[i, j] * b[q, r] for i, j in pairs for q, r in pairs if not {i, j} & {q, r}])
        return float(two - 2 * three + four)

    return float(hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell)))


@pytest.mark.parametrize(("clips", "values", "others"), [(7, 3, 5), (7, 30, 5), (7, 30, 40)])
def test_it_is_what_its_definitions_say(clips: int, values: int, others: int) -> None:
    first = RANDOM.normal(2, 1, (clips, values))
    second = first[:, :1] * RANDOM.normal(0, 1, (1, others)) + RANDOM.normal(-1, 1, (clips, others))
    assert cka(first, second, debiased=False) == pytest.approx(by_definition(first, second), abs=1e-12)
    assert cka(first, second) == pytest.approx(by_loops(first, second), abs=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
def test_rotation_shift_and_scale_change_nothing(debiased: bool) -> None:
    first = RANDOM.normal(size=(20, 6))
    rotation = np.linalg.qr(RANDOM.normal(size=(6, 6)))[0]
    assert cka(first, 3 * first @ rotation + 7, debiased) == pytest.approx(1, abs=1e-12)
    second = RANDOM.normal(size=(20, 4))
    assert cka(first @ rotation - 2, second, debiased) == pytest.approx(cka(first, second, debiased), abs=1e-12)
    # One axis each: CKA is the squared correlation.
    one, other = RANDOM.normal(size=(2, 20, 1))
    expected = np.corrcoef(one[:, 0], other[:, 0])[0, 1] ** 2
    assert cka(one, other, debiased=False) == pytest.approx(expected, abs=1e-12)


def test_unrelated_spaces_of_few_clips_are_alike_by_the_plain_estimate_alone() -> None:
    draws = [RANDOM.normal(size=(2, 100, 768)) for _ in range(5)]
    plain, debiased = ([cka(a, b, kind) for a, b in draws] for kind in (False, True))
    assert np.mean(plain) == pytest.approx(0.885, abs=0.005)
    assert np.abs(debiased).max() < 0.02


def test_layers_are_compared_each_with_each() -> None:
    first, second = list(RANDOM.normal(size=(3, 9, 4))), list(RANDOM.normal(size=(2, 9, 5)))
    found = cka_map(first, second)
    assert found.shape == (3, 2)
    assert found[2, 1] == cka(first[2], second[1])
    np.testing.assert_allclose(np.diag(cka_map(first, first)), 1, atol=1e-12)


def test_what_has_no_cka_is_said() -> None:
    with pytest.raises(UserError, match="CKA needs at least 4 clips, but here are 3"):
        cka(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="`first` must have the clips of `second`"):
        cka(np.ones((5, 2)), np.ones((4, 2)))
    assert np.isnan(cka(np.full((5, 2), 0.1), RANDOM.normal(size=(5, 2))))
