"""The classes of clips: loss, weights, windows and metrics, against transformers, scikit-learn and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_encoders import KINDS, clip_batch, plain_encoder, rows_like
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING

from nonverbal.errors import UserError
from nonverbal.models.classifier_heads import pooled
from nonverbal.objectives.class_targets import class_weights
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings

CLASSES = ["cough", "laugh", "sigh"]
LABELS = np.array([0, 1, 2, 0, 0, 1])


def objective_of(kind="wav2vec2", settings=None, classes=CLASSES):
    torch.manual_seed(0)
    objective = ClassificationObjective(plain_encoder(kind), classes, settings or ClassifierSettings(), seed=3)
    with torch.no_grad():
        for parameter in objective.head.parameters():
            parameter.add_(torch.randn_like(parameter))
    return objective


def batch_of(objective, seconds, labels=LABELS, random=None, seed=0):
    """A batch of as many clips as there are lengths, and its targets."""
    clips = np.arange(len(seconds))
    targets = objective.targets(labels, np.arange(len(labels)))
    drawn = targets(clips, rows_like(seconds), clips, random)
    return clip_batch(seconds, drawn, seed=seed)


def plain_classifier(objective):
    """transformers' own classifier, with the objective's weights."""
    encoder, head = objective.encoder, objective.head
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    config.num_labels, config.use_weighted_layer_sum = len(objective.classes), head.layer_weights is not None
    model = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)](config)
    getattr(model, model.base_model_prefix).load_state_dict(encoder.model.state_dict())
    missing, unexpected = model.load_state_dict(head.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith(model.base_model_prefix) for name in missing)
    return model.train()


@pytest.mark.parametrize("layers", ["last", "weighted"])
@pytest.mark.parametrize("kind", [*KINDS, "audio_mamba"])
def test_a_step_is_that_of_transformers(kind, layers):
    """Loss and gradients of clips of equal length, where transformers' padding plays no part."""
    if kind == "audio_mamba" and layers == "weighted":
        pytest.skip("its classifier reads the last layer alone")
    objective = objective_of(kind, ClassifierSettings(layers=layers, class_weights="none"))
    batch = batch_of(objective, [0.4] * 4)
    ours = objective(batch).sum / batch.targets.count
    ours.backward()
    plain = plain_classifier(objective)
    theirs = plain(batch.waveforms, labels=batch.targets.tensors["labels"]).loss
    theirs.backward()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    of_plain = gradients(plain)
    for name, gradient in gradients(objective).items():
        own = name.removeprefix("head.").replace("encoder.model.", plain.base_model_prefix + ".")
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
    with pytest.raises(UserError, match="no clips of 'sigh' to train on.*head.class_weights"):
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
    batch = batch_of(objective, [0.2] * 6)
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
    whole = batch_of(objective, seconds)
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
