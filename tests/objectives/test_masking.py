import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from nonverbal.errors import UserError
from nonverbal.objectives.masking import draw_negatives, frame_tensors, span_mask


@given(st.lists(st.integers(14, 300), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 2**32))
def test_rows_have_equal_masks_inside_their_frames(frames, length, seed):
    mask = span_mask(np.array(frames), 0.65, length, np.random.default_rng(seed))
    assert mask.shape == (len(frames), max(frames))
    assert len(set(mask.sum(1))) == 1
    assert mask[0].sum() >= min(length, 2)
    assert all(not row[count:].any() for row, count in zip(mask, frames, strict=True))


@given(st.integers(0, 2**32))
def test_one_row_is_whole_spans(seed):
    (mask,) = span_mask(np.array([200]), 0.65, 10, np.random.default_rng(seed))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    assert all(stop - start >= 10 for start, stop in edges.reshape(-1, 2))


@given(st.lists(st.integers(14, 60), min_size=1, max_size=4), st.integers(0, 2**32))
def test_places_of_frames_are_those_that_boolean_indexing_finds(frames, seed):
    mask = span_mask(np.array(frames), 0.65, 10, np.random.default_rng(seed))
    tensors = frame_tensors(mask, np.array(frames))
    values = np.random.default_rng(seed).normal(size=(*mask.shape, 2))
    flat = values.reshape(-1, 2)
    assert np.array_equal(flat[tensors["masked"]], values[mask])
    own = np.arange(mask.shape[1]) < np.array(frames)[:, None]
    assert ("own" in tensors) == (not own.all())
    if "own" in tensors:
        assert np.array_equal(flat[tensors["own"]], values[own])


def test_about_49_percent_are_masked_as_in_transformers():
    random = np.random.default_rng(0)
    np.random.seed(0)  # noqa: NPY002 - what transformers draws from
    # One row at a time: fairseq's equal counts, which transformers does not have, cost several rows some.
    ours = [span_mask(np.array([499]), 0.65, 10, random).mean() for _ in range(400)]
    theirs = [_compute_mask_indices((1, 499), 0.65, 10, min_masks=2).mean() for _ in range(400)]
    assert np.mean(ours) == pytest.approx(0.49, abs=0.01)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.01)


def test_every_frame_but_the_last_can_be_masked():
    random = np.random.default_rng(0)
    share = np.mean([span_mask(np.array([60]), 0.65, 10, random)[0] for _ in range(3000)], axis=0)
    # As in fairseq, no span starts at T - length or later, so the last frame is never masked.
    assert share[-1] == 0
    assert share[:-1].min() > 0
    # In the middle, where ten starts reach a frame, the share is level.
    assert np.ptp(share[10:50]) < 0.1


def test_a_row_too_short_for_two_spans_is_refused():
    with pytest.raises(
        UserError, match="`mask_length` must be at most 9, 2 less than the 11 frames of the shortest clip, but is 10"
    ):
        span_mask(np.array([40, 11]), 0.65, 10, np.random.default_rng(0))


@given(st.integers(1, 4), st.integers(2, 30), st.integers(1, 20), st.integers(0, 2**32))
def test_a_target_is_never_its_own_negative(rows, masked, count, seed):
    negatives = draw_negatives(rows, masked, count, np.random.default_rng(seed))
    assert negatives.shape == (rows, masked, count)
    assert negatives.min() >= 0
    assert negatives.max() < masked
    assert (negatives != np.arange(masked)[:, None]).all()


def test_negatives_are_uniform_over_the_others():
    negatives = draw_negatives(1, 5, 40_000, np.random.default_rng(0))[0]
    for target, drawn in enumerate(negatives):
        shares = np.bincount(drawn, minlength=5) / len(drawn)
        assert shares[target] == 0
        assert np.delete(shares, target) == pytest.approx(0.25, abs=0.015)
