"""Plans of epochs of whole clips: what every one of them holds, and how much is padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.batching.clip_plans import batch_sizes, padding, training_plan, whole_plan
from nonverbal.data.batching.clips import ClipBatches
from nonverbal.errors import UserError

lengths = st.lists(st.integers(1, 160_000), min_size=1, max_size=80).map(np.array)


@st.composite
def plannable(draw):
    """Lengths, with steps and micro-batches of a step that they are enough for."""
    per_step = draw(st.integers(1, 5))
    settings = ClipBatches(batch_clips=draw(st.integers(per_step, 20)), batches_per_step=per_step)
    clips = draw(lengths)
    try:
        return clips, settings.batch_clips, settings.steps(len(clips)), per_step
    except UserError:
        extra = np.ones(per_step * len(clips) * settings.batch_clips, np.int64)
        clips = np.concatenate([clips, extra])[: settings.batch_clips * len(clips)]
        return clips, settings.batch_clips, settings.steps(len(clips)), per_step


def plan_of(lengths, steps, per_step, by_length, seed):
    return training_plan(lengths, steps, per_step, by_length, np.random.default_rng(seed))


@given(plannable(), st.booleans(), st.integers(0, 99))
def test_every_clip_once_in_sizes_as_equal_as_can_be(case, by_length, seed):
    lengths, batch_clips, steps, per_step = case
    plan = plan_of(lengths, steps, per_step, by_length, seed)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    assert len(plan) == steps * per_step
    sizes = np.array([len(clips) for clips in plan])
    of_steps = sizes.reshape(steps, per_step).sum(1)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    assert of_steps.max() - of_steps.min() <= 1
    assert of_steps.max() <= batch_clips
    again = plan_of(lengths, steps, per_step, by_length, seed)
    assert [clips.tolist() for clips in again] == [clips.tolist() for clips in plan]


def test_sizes_by_hand():
    # 23 clips in 3 steps: 8, 8, 7; of three micro-batches each.
    assert batch_sizes(23, 3, 3).tolist() == [3, 3, 2, 3, 3, 2, 3, 2, 2]


def test_steps_of_an_epoch():
    assert ClipBatches(batch_clips=16).steps(160) == 10
    assert ClipBatches(batch_clips=16).steps(161) == 11
    assert ClipBatches().steps(0) == 0
    with pytest.raises(UserError, match=r"17 clips .* 5 x 4 .* lower batches.batches_per_step, or raise"):
        ClipBatches(batch_clips=4, batches_per_step=4).steps(17)
    with pytest.raises(UserError, match=r"batch_clips must be at least batches.batches_per_step \(4\)"):
        ClipBatches(batch_clips=3, batches_per_step=4)
    # Where batch_clips is a multiple, a last step that is not full is shared out by all.
    assert ClipBatches(batch_clips=8, batches_per_step=4).steps(9) == 2


REAL = {
    "Free Spoken Digit Dataset": "0.144 0.246 0.276 0.303 0.324 0.342 0.358 0.375 0.392 0.406 0.420 0.435 0.451 0.471 "
    "0.489 0.510 0.533 0.563 0.605 0.662 2.283",
    "HumanVoiceDataset": "0.738 0.993 1.035 1.043 1.070 1.086 1.098 1.111 1.121 1.140 1.144 1.167 1.172 1.183 1.197 "
    "1.217 1.233 1.254 1.276 1.340 1.741",
}
"""Seconds at every twentieth of a corpus's clips, from the shortest to the longest."""


def real(name, count):
    """Return the lengths of so many clips that are distributed as a corpus is, in an order of no meaning."""
    seconds = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 21), np.array(REAL[name].split(), float))
    return np.random.default_rng(count).permutation(np.round(seconds * 16_000).astype(np.int64))


def varied(count, seed):
    """Return log-normal lengths about 1.3 s, and a tenth of 10 s: the longer clips of corpora of bursts are cut."""
    seconds = np.random.default_rng(seed).lognormal(np.log(1.3), 0.8, count)
    long = np.random.default_rng(seed + 1).random(count) < 0.1
    return np.where(long, 160_000, np.clip(seconds * 16_000, 400, 160_000)).astype(np.int64)


@pytest.mark.parametrize(
    ("lengths", "batch_clips", "per_step", "at_random"),
    [
        (real("Free Spoken Digit Dataset", 3000), 16, 1, 0.35),
        (real("Free Spoken Digit Dataset", 3000), 32, 1, 0.4),
        (real("HumanVoiceDataset", 179), 16, 1, 0.2),
        (varied(654, 0), 16, 1, 0.6),
        (varied(654, 0), 32, 4, 0.6),
        (varied(1000, 3), 64, 1, 0.6),
        (varied(9000, 5), 16, 1, 0.6),
    ],
)
def test_little_is_padded_by_length_and_much_at_random(lengths, batch_clips, per_step, at_random):
    steps = ClipBatches(batch_clips=batch_clips, batches_per_step=per_step).steps(len(lengths))
    shares = [padding(lengths, plan_of(lengths, steps, per_step, True, seed)) for seed in range(5)]
    assert max(shares) <= 0.15
    assert padding(lengths, plan_of(lengths, steps, per_step, False, 0)) > at_random


def test_padding_by_hand():
    # 3 x 10 and 2 x 4 samples go through, of which 10 + 5 + 3 and 4 + 2 are sound.
    assert padding(np.array([10, 4, 5, 2, 3]), [np.array([0, 2, 4]), np.array([1, 3])]) == 1 - 24 / 38


def pairs(plan):
    return {(a, b) for clips in plan for a in clips.tolist() for b in clips.tolist() if a < b}


def test_clips_meet_others_each_epoch_and_micro_batches_come_in_any_order():
    lengths = varied(640, 2)
    plans = [plan_of(lengths, 40, 1, True, seed) for seed in range(6)]
    shared = [len(pairs(plans[0]) & pairs(plan)) / len(pairs(plans[0])) for plan in plans[1:]]
    assert max(shared) < 0.4
    longest = np.array([[lengths[clips].max() for clips in plan] for plan in plans])
    # Neither from short to long, nor the same way round each time.
    ranks = [np.corrcoef(np.arange(40), np.argsort(np.argsort(own)))[0, 1] for own in longest]
    assert np.abs(ranks).max() < 0.5
    # Clips of one length are drawn at random.
    equal = np.full(640, 160_000)
    first, other = (pairs(plan_of(equal, 40, 1, True, seed)) for seed in (0, 1))
    assert len(first & other) / len(first) < 0.06


@given(lengths, st.data(), st.integers(1, 2_000_000))
def test_whole_clips_are_each_in_one_batch_within_the_budget(lengths, data, budget):
    rows = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(lengths), max_size=len(lengths))))
    plan = whole_plan(lengths, rows, budget)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    for clips in plan:
        assert len(clips) == 1 or rows[clips].sum() * lengths[clips].max() <= budget
        assert lengths[clips].max() <= 1.25 * lengths[clips].min()


def test_whole_clips_by_hand():
    # From short to long; 3 rows of 100 and one of 100 to 4 x 100; then 2 x 110 (+ 100 would be 330); one alone is more.
    plan = whole_plan(np.array([110, 100, 105, 900]), np.array([2, 2, 1, 5]), 330)
    assert [clips.tolist() for clips in plan] == [[1, 2], [0], [3]]
    assert whole_plan(np.array([], np.int64), np.array([], np.int64), 330) == []
