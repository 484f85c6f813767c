"""What is drawn of classes, masks and mixtures, against hand-computed cases and transformers."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_classifiers import LABELS, clip_batch, objective_of, rows_like
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from nonverbal.objectives.class_targets import ClassTargets, Masking
from nonverbal.objectives.classification import ClassifierSettings
from nonverbal.objectives.masking import loose_mask

SECONDS = [0.2, 0.4, 0.3, 0.25]
CLIPS = np.array([5, 0, 2, 1])
WEIGHTS = np.array([0.5, 1.25, 3.0], np.float32)


def frames(samples):
    return samples // 320


MASKING = Masking(0.5, 3, 0.4, 2, 10, frames)


def drawn(targets, seed=0):
    return targets(CLIPS, rows_like(SECONDS), np.arange(4), np.random.default_rng(seed))


def test_targets_are_classes_and_their_weights():
    targets = ClassTargets(LABELS, WEIGHTS)(CLIPS, rows_like(SECONDS), np.arange(4), None)
    assert targets.tensors["labels"].tolist() == [1, 0, 2, 1]
    assert targets.tensors["weights"].tolist() == [1.25, 0.5, 3.0, 1.25]
    assert targets.count == 6.0


def test_nothing_is_drawn_without_a_source_of_randomness():
    targets = ClassTargets(LABELS, WEIGHTS, MASKING, mixup=0.5)
    assert targets(CLIPS, rows_like(SECONDS), np.arange(4), None).tensors.keys() == {"labels", "weights"}
    with_random = drawn(targets).tensors.keys()
    assert with_random > {"time_mask", "feature_mask", "partner", "share", "other_labels", "other_weights"}


def test_targets_travel_to_data_workers():
    targets = ClassTargets(LABELS, WEIGHTS, MASKING, mixup=0.5)
    again = pickle.loads(pickle.dumps(targets))
    for (name, one), other in zip(drawn(targets).tensors.items(), drawn(again).tensors.values(), strict=True):
        assert torch.equal(one, other), name


def test_masks_are_of_the_own_frames_of_rows():
    tensors = drawn(ClassTargets(LABELS, WEIGHTS, MASKING)).tensors
    own = frames(rows_like(SECONDS).lengths)
    time, feature = tensors["time_mask"], tensors["feature_mask"]
    assert time.shape == (4, own.max())
    assert feature.shape == (4, 10)
    assert time.any(1).all()
    assert not any(row[count:].any() for row, count in zip(time, own, strict=True))
    # 0.4 x 10 / 2: two spans of two values, which may overlap
    assert feature.sum(1).min() >= 3
    assert feature.sum(1).max() <= 4


def test_masked_shares_are_those_of_transformers():
    """Whose spans may start one frame later."""
    ours = loose_mask(np.full(3000, 50), 0.33, 10, np.random.default_rng(0))
    # It draws once for all rows of a batch whether they get a span more.
    theirs = np.concatenate([_compute_mask_indices((2, 50), 0.33, 10, min_masks=0) for _ in range(1500)])
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.05)
    # 0.33 x 50 / 10 = 1.65 spans: one or two
    assert set(np.diff(ours.astype(int), prepend=0, axis=1).clip(0).sum(1)) <= {1, 2}
    assert ours.any(1).all()


def test_rows_that_hold_no_span_are_not_masked():
    mask = loose_mask(np.array([10, 4, 11]), 1.0, 10, np.random.default_rng(0))
    assert mask.sum(1).tolist() == [0, 0, 10]


def test_mixtures_are_shared_out_as_by_a_beta_distribution():
    targets = ClassTargets(np.zeros(20_000, np.int64), WEIGHTS, mixup=0.3)
    clips = np.arange(20_000)
    tensors = targets(clips, rows_like([0.1] * 20_000), clips, np.random.default_rng(0)).tensors
    beta = np.random.default_rng(1).beta(0.3, 0.3, 20_000)
    expected = np.maximum(beta, 1 - beta)
    share = tensors["share"].numpy()
    np.testing.assert_allclose(np.quantile(share, [0.1, 0.3, 0.5]), np.quantile(expected, [0.1, 0.3, 0.5]), atol=0.02)
    assert sorted(tensors["partner"].tolist()) == clips.tolist()


def test_counts_of_mixtures_are_exact():
    """Sums of their weights, in any order."""
    weights = np.array([1 / 3, 7 / 11, 2.7], np.float32)
    targets = drawn(ClassTargets(LABELS, np.round(weights * 2**16) / np.float32(2**16), mixup=1.0))
    values = np.concatenate([targets.tensors[name].numpy() for name in ("weights", "other_weights")])
    orders = (values, values[::-1], np.sort(values))
    assert {sum(float(value) for value in order) for order in orders} == {targets.count}


@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_is_learned_as_both_of_its_classes(seed):
    objective = objective_of("wav2vec2 large", ClassifierSettings(mixup=1.0))
    targets = drawn(objective.targets(LABELS, np.arange(6)), seed)
    batch = clip_batch(SECONDS, targets, seed=seed)
    loss = objective(batch)
    of_class = objective.targets(LABELS, np.arange(6)).weights
    expected = count = 0.0
    for row, (partner, share) in enumerate(
        zip(*(targets.tensors[k].tolist() for k in ("partner", "share")), strict=True)
    ):
        length = max(int(batch.lengths[row]), int(batch.lengths[partner]))
        mixture = share * batch.waveforms[row] + (1 - share) * batch.waveforms[partner]
        one = replace(clip_batch([0.1]), waveforms=mixture[None, :length], lengths=torch.tensor([length]))
        log_p = objective.logits(one)[0].log_softmax(0)
        for clip, part in ((row, share), (partner, 1 - share)):
            label = LABELS[CLIPS[clip]]
            expected = expected - part * of_class[label] * log_p[label]
            count += part * of_class[label]
    torch.testing.assert_close(loss.sum, expected)
    assert targets.count == pytest.approx(count)
    torch.testing.assert_close(loss.metrics["loss"][1], torch.tensor(targets.count, dtype=torch.float32))


def test_settings_reach_the_targets():
    settings = ClassifierSettings(time_masking=0.4, time_mask_length=2, feature_masking=0.5, feature_mask_length=4)
    objective = objective_of(settings=settings)
    masking = objective.targets(LABELS, np.arange(6)).masking
    assert masking == replace(masking, time=0.4, time_length=2, feature=0.5, feature_length=4, width=16)
    travelled = pickle.loads(pickle.dumps(masking))
    assert travelled.frames(np.array([6400])).tolist() == [19]
    assert not list(travelled.frames.__self__.parameters())
    assert list(objective.encoder.parameters())
    assert objective_of().targets(LABELS, np.arange(6)).masking is None
