"""The classes of clips: loss, weights, windows and metrics, against transformers, scikit-learn and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from tiny_classifiers import LABELS, PLAIN, WHOLE, as_read, batch_for, clip_batch, objective_of, rows_like
from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING

from nonverbal.errors import UserError
from nonverbal.models.classifier_heads import pooled
from nonverbal.objectives.class_targets import class_weights
from nonverbal.objectives.classification import ClassifierSettings
from nonverbal.training.optimizer import OptimizerSettings, build_optimizer, set_rate


def plain_classifier(objective, inner=None):
    """transformers' own classifier, with the objective's weights; ``inner`` is its name for the encoder."""
    encoder, head = objective.encoder, objective.head
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    config.num_labels, config.use_weighted_layer_sum = len(objective.classes), head.layer_weights is not None
    model = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)](config)
    inner = inner or model.base_model_prefix
    model.load_state_dict(
        {f"{inner}.{name}": value for name, value in encoder.model.state_dict().items()} | head.state_dict()
    )
    return model.eval()


@pytest.mark.parametrize(("name", "layers"), PLAIN)
def test_a_step_is_that_of_transformers(name, layers):
    """Loss and gradients of clips of equal length, without dropout.

    Of shorter clips in a batch transformers' are others: its base models (group norm) get no mask, and their norm and
    their mean over frames take the padding too.
    """
    objective = objective_of(name, ClassifierSettings(layers=layers, class_weights="none"))
    batch = batch_for(objective, [0.4] * 4)
    plain = plain_classifier(objective)
    check_step(objective, batch, plain, plain.base_model_prefix, as_read(objective, batch))


def test_a_step_of_whole_windows_is_that_of_transformers():
    """Whisper's classifier takes the mean over all of its window: that of a clip which fills it."""
    objective = objective_of("whisper", ClassifierSettings(layers="weighted", class_weights="none"))
    assert "pools its whole window of 30 s" in objective.inexpressible()
    batch = batch_for(objective, [30.0])
    features = objective.encoder.extractor(batch.waveforms[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    check_step(objective, batch, plain_classifier(objective, "encoder"), "encoder", features["input_features"])


def check_step(objective, batch, plain, inner, inputs):
    """Loss and gradients are those of a plain classifier, in which the encoder is called ``inner``."""
    ours = objective(batch).sum / batch.targets.count
    ours.backward()
    theirs = plain(inputs, labels=batch.targets.tensors["labels"]).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    of_plain = gradients(plain)
    for name, gradient in gradients(objective).items():
        own = name.removeprefix("head.").replace("encoder.model.", f"{inner}.")
        torch.testing.assert_close(gradient, of_plain.pop(own), rtol=1e-4, atol=1e-5, msg=name)
    assert not of_plain


def test_classes_weigh_as_in_scikit_learn():
    labels = np.repeat([0, 1, 2, 3], [97, 1, 40, 589])
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    ours = class_weights(labels, list("abcd"))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.0**-17)
    assert (ours * 2.0**16 % 1 == 0).all()


def test_a_class_without_clips_cannot_be_weighed():
    objective = objective_of()
    with pytest.raises(UserError, match="no training clips of 'sigh'.*head.class_weights"):
        objective.targets(LABELS, np.array([0, 1, 3, 4]))
    unweighted = replace(objective.settings, class_weights="none")
    objective.settings = unweighted
    assert objective.targets(LABELS, np.array([0, 1, 3])).weights.tolist() == [1, 1, 1]


def test_classes_are_weighed_by_the_side_that_is_fitted():
    targets = objective_of().targets(LABELS, np.array([0, 1, 2, 5]))
    np.testing.assert_allclose(targets.weights, [4 / 3, 4 / 6, 4 / 3], atol=2.0**-17)


def test_the_loss_is_the_weighted_cross_entropy_of_torch():
    """Divided by the weights' sum, as the trainer divides it, it is torch's mean with class weights."""
    objective = objective_of()
    batch = batch_for(objective, [0.2] * 6)
    logits = objective.logits(batch)
    weights = torch.from_numpy(objective.targets(LABELS, np.arange(6)).weights)
    theirs = torch.nn.functional.cross_entropy(logits, batch.targets.tensors["labels"], weights)
    loss = objective(batch)
    torch.testing.assert_close(loss.sum / batch.targets.count, theirs)
    value, weight = loss.metrics["loss"]
    torch.testing.assert_close(value / weight, theirs.detach())


def gradients(objective):
    return {name: parameter.grad for name, parameter in objective.named_parameters() if parameter.grad is not None}


def test_two_micro_batches_are_one():
    """Gradients of the parts, each over the weights of all, add up to those of the whole."""
    objective = objective_of("wav2vec2 large")
    seconds = [0.3, 0.2, 0.25, 0.3, 0.2, 0.3]
    whole = batch_for(objective, seconds)
    (objective(whole).sum / whole.targets.count).backward()
    of_whole = {name: gradient.clone() for name, gradient in gradients(objective).items()}
    objective.zero_grad()
    targets, parts = objective.targets(LABELS, np.arange(6)), []
    for clips in (np.arange(2), np.arange(2, 6)):
        own = [seconds[clip] for clip in clips]
        batch = clip_batch(own, targets(clips, rows_like(own), np.arange(len(clips)), None))
        parts.append(replace(batch, waveforms=whole.waveforms[clips, : batch.waveforms.shape[1]]))
    count = sum(part.targets.count for part in parts)
    assert count == whole.targets.count
    for part in parts:
        (objective(part).sum / count).backward()
    assert gradients(objective).keys() == of_whole.keys()
    for name, gradient in gradients(objective).items():
        torch.testing.assert_close(gradient, of_whole[name], rtol=1e-4, atol=1e-5)


def test_the_mean_of_recalls_is_that_of_scikit_learn():
    """Over several batches, some without clips of a class, as the trainer adds them up."""
    objective = objective_of(classes=["a", "b", "c"])
    random = np.random.default_rng(0)
    labels, decided = random.integers(0, 3, 60), random.integers(0, 3, 60)
    sums: dict[str, np.ndarray] = {}
    for start in range(0, 60, 7):
        own, said = labels[start : start + 7], decided[start : start + 7]
        logits = torch.nn.functional.one_hot(torch.from_numpy(said), 3).float()
        for name, pair in objective._recalls(logits, torch.from_numpy(own)).items():
            sums[name] = sums.get(name, np.zeros(2)) + np.array([float(value) for value in pair])
    row = objective.finish({name: total / weight for name, (total, weight) in sums.items()})
    assert row["uar"] == pytest.approx(balanced_accuracy_score(labels, decided))
    assert row["accuracy"] == pytest.approx((labels == decided).mean())
    assert row["chance"] == pytest.approx(1 / 3)
    assert objective.best.metric in row


def test_windows_make_the_whole_clip():
    """With the mean and a linear head: of windows that an encoder sees one by one, as of all their frames at once."""
    objective = objective_of("wav2vec2 large", ClassifierSettings(layers="weighted"))
    objective.eval()
    batch = clip_batch([0.4, 0.3, 0.4, 0.2], clip=[0, 1, 0, 1])
    seen = objective.encoder(batch)
    expected = []
    for rows in ([0, 2], [1, 3]):
        # (1, S, M) of each layer: the own frames of all windows, one after another
        joined = [torch.cat([state[row][seen.valid[row]] for row in rows])[None] for state in seen.states]
        expected.append(objective.head(replace(seen, states=joined, valid=None))[0])
    torch.testing.assert_close(objective.logits(batch), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_attention_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    frames, query = torch.randn(3, 7, 4), torch.randn(4)
    counts = [7, 2, 5]
    valid = torch.arange(7) < torch.tensor(counts)[:, None]
    for row, count in enumerate(counts):
        weights = [float(torch.exp(frames[row, i] @ query)) for i in range(count)]
        expected = sum(weight * frames[row, i] for i, weight in enumerate(weights)) / sum(weights)
        torch.testing.assert_close(pooled(frames, valid, query)[row], expected)
        torch.testing.assert_close(pooled(frames, valid, None)[row], frames[row, :count].mean(0))
    torch.testing.assert_close(pooled(frames, None, torch.zeros(4)), frames.mean(1))


@pytest.mark.parametrize("train", ["all", "no_convolutions", "head", "last", "lora"])
@pytest.mark.parametrize("settings", [ClassifierSettings(), WHOLE], ids=["plain", "whole"])
def test_every_parameter_that_is_trained_gets_a_gradient(settings, train):
    """In every micro-batch: processes that add up their gradients wait for all of them."""
    objective = objective_of(settings=settings, train=train)
    batch = batch_for(objective, [0.3, 0.2, 0.4], np.random.default_rng(0))
    objective(batch).sum.backward()
    trained = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    assert gradients(objective).keys() == trained
    assert {name for name in trained if name.startswith("head.")} == {
        f"head.{name}" for name in objective.head.state_dict()
    }


def test_masks_hide_frames_in_training_alone():
    objective = objective_of(settings=WHOLE)
    targets = objective.targets(LABELS, np.arange(6))
    clips, rows = np.arange(3), rows_like([0.3] * 3)
    unmasked = clip_batch([0.3] * 3, targets(clips, rows, clips, None))
    drawn = targets(clips, rows, clips, np.random.default_rng(0))
    masked = replace(unmasked, targets=replace(unmasked.targets, tensors=drawn.tensors | unmasked.targets.tensors))
    objective.eval()
    assert (objective.logits(masked) - objective.logits(unmasked)).abs().min() > 1e-6


def test_the_head_learns_alone_at_first():
    objective = objective_of(settings=ClassifierSettings(head_steps=3))
    settings = OptimizerSettings(warmup_steps=1, layer_decay=0.5)
    optimizer = build_optimizer(objective, 10, settings)
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    for step, still in ((2, True), (3, False)):
        set_rate(optimizer, 1.0, step)
        rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert all(rate == 1 for name, rate in rates.items() if name.startswith("head."))
        of_encoder = {rate for name, rate in rates.items() if name.startswith("encoder.")}
        assert of_encoder == ({0.0} if still else {1.0, 0.5, 0.25})


@pytest.mark.parametrize(
    ("recalls", "holds"),
    [
        ({"a": 1.0, "b": 0.0, "c": 0.005}, True),
        ({"a": 0.9, "b": 0.0, "c": 0.0}, False),
        ({"a": 1.0, "b": 0.1, "c": 0.0}, False),
        ({"a": 1.0}, False),
        ({}, False),
    ],
)
def test_a_run_that_knows_one_class_alone_is_noticed(recalls, holds):
    (symptom,) = objective_of().symptoms
    assert symptom.slow
    assert symptom.holds({"uar": 0.3} | {f"recall.{name}": value for name, value in recalls.items()}) == holds


def test_a_pass_without_clips_has_no_recall():
    assert objective_of().finish({"loss": 1.0}) == {"loss": 1.0}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"projection": -1}, "head.projection must be at least 0"),
        ({"hidden": [4, 0]}, "head.hidden must be at least 1"),
        ({"dropout": 1.0}, "head.dropout"),
        ({"head_steps": -1}, "head.head_steps"),
        ({"time_masking": 1.0}, "head.time_masking"),
        ({"time_mask_length": 0}, "head.time_mask_length"),
        ({"feature_masking": -0.1}, "head.feature_masking"),
        ({"feature_mask_length": 0}, "head.feature_mask_length"),
        ({"mixup": -1.0}, "head.mixup"),
        ({"mixup": float("nan")}, "head.mixup"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, why):
    with pytest.raises(UserError, match=why):
        ClassifierSettings(**changes)


def test_a_span_as_wide_as_a_frame_is_refused():
    with pytest.raises(UserError, match="head.feature_mask_length must be below 16, the number of values"):
        objective_of(settings=ClassifierSettings(feature_masking=0.5, feature_mask_length=16))
