"""What every head makes of a job: it chooses on the rows that inner folds test, and is fitted to its own rows alone."""

from dataclasses import replace

import numpy as np
import pytest

from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.heads.base import Fitted, Job, Pooled
from nonverbal.tasks.folds import Fold

CLIPS, TEST = 60, 12


def _job() -> Job[Pooled]:
    """Two layers, of which the second shows the class."""
    random = np.random.default_rng(0)
    labels = np.arange(CLIPS) % 3
    features = random.standard_normal((CLIPS, 2, 8)).astype(np.float32)
    features[:, 1, :3] += 4 * np.eye(3, dtype=np.float32)[labels]
    rows = np.arange(CLIPS)
    inner = [Fold("0", rows[TEST:], rows[:TEST]), Fold("1", rows[:-TEST], rows[-TEST:])]
    return Job(features, labels, ["a", "b", "c"], [f"s{row // 6}" for row in rows], inner, 0)


def _fitted(name: str, job: Job[Pooled]) -> Fitted[Pooled]:
    (fitted,) = HEADS[name].fit([job])
    return fitted


def _same(first: Fitted[Pooled], second: Fitted[Pooled], features: np.ndarray) -> None:
    assert dict(first.chosen) == dict(second.chosen)
    np.testing.assert_allclose(first.predict(features), second.predict(features), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_rows_that_are_neither_trained_on_nor_chosen_on_are_not_read(name: str) -> None:
    job = _job()
    more = replace(
        job,
        features=np.concatenate([job.features, np.full_like(job.features[:9], 1e6)]),
        labels=np.concatenate([job.labels, job.labels[1:10]]),
        groups=[*job.groups, *["other"] * 9],
        training=np.arange(CLIPS),
    )
    _same(_fitted(name, job), _fitted(name, more), job.features)


@pytest.mark.parametrize("name", HEADS)
def test_clips_that_only_choose_are_not_trained_on(name: str) -> None:
    """A side to choose on that holds copies of training clips: it chooses as these do, and adds nothing to the fit."""
    whole = _job()
    rows, copied = np.arange(CLIPS), np.arange(TEST)
    alone = replace(whole, inner=[Fold("0", rows, copied)])
    twice = replace(
        whole,
        features=np.concatenate([whole.features, whole.features[:TEST]]),
        labels=np.concatenate([whole.labels, whole.labels[:TEST]]),
        groups=[*whole.groups, *whole.groups[:TEST]],
        inner=[Fold("0", rows, CLIPS + copied)],
        training=rows,
    )
    _same(_fitted(name, alone), _fitted(name, twice), whole.features)


@pytest.mark.parametrize("name", HEADS)
def test_a_job_without_inner_folds_is_fitted_by_default(name: str) -> None:
    job = replace(_job(), inner=[])
    fitted = _fitted(name, job)
    assert list(fitted.inner_uar) == []
    # Chance is 1/3. Of so few clips voc2vec's warm-up leaves its layers little time.
    assert np.mean(fitted.predict(job.features).argmax(1) == job.labels) > 0.5
