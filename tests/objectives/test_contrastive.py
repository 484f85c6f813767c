import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_shapes import WAV2VEC2
from transformers import Wav2Vec2ForPreTraining
from transformers.models.wav2vec2 import modeling_wav2vec2

from nonverbal.batch import Batch, Rows
from nonverbal.errors import UserError
from nonverbal.models.blocks import kept_layers
from nonverbal.models.wav2vec2 import NO_DROPOUT, Architecture, Dropouts
from nonverbal.objectives import contrastive
from nonverbal.objectives.contrastive import (
    ContrastiveSettings,
    ContrastiveTargetSampler,
    Wav2Vec2Settings,
    build_objective,
    chance,
)
from nonverbal.objectives.masking import frame_tensors

TINY = Architecture(**WAV2VEC2)
BARE = ContrastiveSettings(penalty_weight=0, conv_gradient_scale=1)
"""What transformers' loss has: no feature penalty, no scaled gradient."""


def tiny(layout="base", objective=BARE, dropouts=NO_DROPOUT, normalise=None):
    architecture = replace(TINY, layout=layout)
    settings = Wav2Vec2Settings(architecture=architecture, objective=objective, dropouts=dropouts, normalise=normalise)
    built = build_objective(settings, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        # transformers draws biases as zeros and norms as ones, where a mistake would not show.
        for parameter in built.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return built.train()


def batch_of(objective, lengths, seed=0, step=0, position=0):
    random = np.random.default_rng(seed)
    lengths = np.array(lengths)
    waveforms = torch.zeros(len(lengths), lengths.max())
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = torch.from_numpy(random.normal(0, 0.1, length))
    targets = objective.target_sampler(Rows(lengths), random)
    return Batch(waveforms, torch.from_numpy(lengths), [], targets, seed, step, position, padded=len(set(lengths)) > 1)


def transformers_negatives(batch):
    """Our places among a row's masked frames, as transformers' places in the flattened batch."""
    mask, negatives = batch.targets.tensors["mask"], batch.targets.tensors["negatives"]
    rows, frames = mask.shape
    theirs = torch.zeros(rows, frames, negatives.shape[-1], dtype=torch.long)
    for row in range(rows):
        masked = mask[row].nonzero()[:, 0]
        theirs[row, masked] = masked[negatives[row]] + row * frames
    return theirs


def inject_noise(monkeypatch, mask, groups, codes):
    """Give both implementations the same Gumbel noise at each masked frame."""
    noise = -torch.empty(mask.numel(), groups, codes).exponential_().log()
    monkeypatch.setattr(contrastive, "gumbel_noise", lambda logits: noise[mask.flatten()])

    def gumbel_softmax(logits, tau, hard):
        soft = ((logits + noise.view_as(logits)) / tau).softmax(-1)
        return torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0) - soft.detach() + soft

    monkeypatch.setattr(modeling_wav2vec2.nn.functional, "gumbel_softmax", gumbel_softmax)


@pytest.mark.parametrize("layout", ["base", "large"])
@pytest.mark.parametrize("lengths", [(32_000, 32_000, 32_000), (24_000, 32_000, 28_800)], ids=["cropped", "padded"])
def test_loss_and_gradients_are_those_of_transformers(monkeypatch, layout, lengths):
    objective = tiny(layout)
    batch = batch_of(objective, lengths, step=3)
    mask, padded = batch.targets.tensors["mask"], len(set(lengths)) > 1
    inject_noise(monkeypatch, mask, groups=2, codes=16)
    ours = objective(batch)
    ours.sum.backward()

    model: Wav2Vec2ForPreTraining = objective.model
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    # transformers reads its dropouts when a model is built.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    model.config.layerdrop = 0.0
    model.quantizer.temperature = 2 * 0.999995**3
    waveforms = batch.waveforms
    if layout == "large":
        waveforms = torch.stack([normalised(row, length) for row, length in zip(waveforms, lengths, strict=True)])
    attended = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long() if padded else None
    theirs = model(
        waveforms,
        attention_mask=attended,
        mask_time_indices=mask,
        sampled_negative_indices=transformers_negatives(batch),
    )
    theirs.loss.backward()
    assert ours.sum.item() == pytest.approx(theirs.loss.item(), rel=1e-5)
    assert batch.targets.count == int(mask.sum())
    assert ours.metrics["contrastive"][0].item() == pytest.approx(theirs.contrastive_loss.item(), rel=1e-5)
    assert ours.metrics["diversity"][0].item() == pytest.approx(theirs.diversity_loss.item(), rel=1e-5)
    assert len(gradients) > 40
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert gradients[name] is None, name
        else:
            error = (gradients[name] - parameter.grad).norm()
            assert error <= 1e-4 * parameter.grad.norm() + 1e-6, name


def normalised(row, length):
    row = row.clone()
    row[:length] = (row[:length] - row[:length].mean()) / torch.sqrt(row[:length].var(correction=0) + 1e-7)
    return row


def test_accuracy_and_chance_by_hand():
    # One row, three masked frames; codes 0, 1, 1; each frame's negatives are the other two, some drawn twice.
    objective = tiny(objective=ContrastiveSettings(negatives=3, diversity_weight=0, penalty_weight=0))
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    true = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    codes = contrastive.Codes(true, torch.tensor([0, 1, 1]), torch.full((1, 2), 0.5))
    negatives = torch.tensor([[[1, 2, 1], [0, 2, 2], [0, 0, 1]]])
    loss = objective._loss(predicted, true, codes, negatives, torch.tensor(0.0))
    # Cosines / 0.1. Frame 0: positive 10, negatives 0, 0, 0. Frame 1: positive 0, negative 10 (the others have its own
    # code). Frame 2: positive 10, negatives 0, 0.
    e = np.exp
    expected = np.log(1 + 3 * e(-10)) + np.log(1 + e(10)) + np.log(1 + 2 * e(-10))
    assert loss.sum.item() == pytest.approx(expected, rel=1e-6)
    assert loss.metrics["accuracy"][0].item() == 2
    # Among two different codes in each case: 1/2, 1/2, 1/2.
    assert loss.metrics["chance"][0].item() == pytest.approx(1.5)
    assert loss.metrics["contrastive"][0].item() == pytest.approx(expected, rel=1e-6)


def test_chance_counts_different_codes():
    ids = torch.tensor([[[5, 5, 7, 9], [2, 2, 2, 2], [1, 0, 0, 3]]])
    same = torch.tensor([[[False, False, False, True], [True, True, True, True], [False, False, False, False]]])
    assert chance(ids, same).tolist() == [[pytest.approx(1 / 3), 1.0, pytest.approx(1 / 4)]]


def test_diversity_and_penalty_add_to_the_loss():
    plain = tiny(objective=ContrastiveSettings(diversity_weight=0, penalty_weight=0)).eval()
    full = tiny(objective=ContrastiveSettings(diversity_weight=0.3, penalty_weight=7)).eval()
    batch = batch_of(plain, [32_000, 32_000])
    loss, n = full(batch), batch.targets.count
    conv = full.model.wav2vec2.feature_extractor(batch.waveforms)
    penalty = conv.square().mean()
    assert loss.metrics["penalty"][0].item() == pytest.approx(n * penalty.item(), rel=1e-5)
    perplexity = loss.metrics["perplexity"][0].item() / n
    assert 1 <= perplexity <= 32
    expected = plain(batch).sum.item() + n * (0.3 * (32 - perplexity) / 32 + 7 * penalty.item())
    assert loss.sum.item() == pytest.approx(expected, rel=1e-5)


def test_the_penalty_counts_no_padding():
    objective = tiny().eval()
    # 200 samples less than 32 000 are no frame less.
    for lengths, frames in (([26_000, 32_000], (81, 99)), ([31_800, 32_000], (99, 99))):
        batch = batch_of(objective, lengths)
        conv = objective.model.wav2vec2.feature_extractor(batch.waveforms).transpose(1, 2)
        squares = torch.cat([row[:count].square().flatten() for row, count in zip(conv, frames, strict=True)])
        penalty, weight = objective(batch).metrics["penalty"]
        assert penalty.item() / weight.item() == pytest.approx(squares.mean().item(), rel=1e-5)


def test_gradient_reaches_every_part():
    objective = tiny(objective=ContrastiveSettings(), dropouts=Dropouts())
    objective(batch_of(objective, [32_000, 32_000])).sum.backward()
    without = [name for name, parameter in objective.named_parameters() if parameter.grad is None]
    assert without == []
    codebook = objective.model.quantizer.codevectors.grad
    assert codebook.abs().sum() > 0
    assert objective.model.quantizer.weight_proj.weight.grad.abs().sum() > 0


def test_the_convolutions_gradient_is_scaled():
    def gradients(scale):
        objective = tiny(objective=ContrastiveSettings(conv_gradient_scale=scale))
        torch.manual_seed(0)
        objective(batch_of(objective, [32_000, 32_000])).sum.backward()
        return {name: parameter.grad for name, parameter in objective.model.wav2vec2.named_parameters()}

    whole, tenth = gradients(1.0), gradients(0.1)
    for name, gradient in whole.items():
        factor = 0.1 if name.startswith("feature_extractor") else 1.0
        assert torch.allclose(tenth[name], factor * gradient, rtol=1e-3, atol=1e-4), name


def test_the_loss_is_a_function_of_seed_and_place():
    objective = tiny(objective=ContrastiveSettings(), dropouts=Dropouts())
    batch = batch_of(objective, [32_000, 32_000])

    def loss():
        torch.manual_seed(7)
        return objective(batch).sum.item()

    assert loss() == loss()


def test_layer_drop_depends_on_the_step_alone():
    objective = tiny()
    batches = [batch_of(objective, [32_000], step=step, position=p) for step in range(40) for p in (0, 1)]
    kept = [kept_layers(batch, 2, 0.5) for batch in batches]
    assert kept[::2] == kept[1::2]
    assert 20 < sum(map(sum, kept[::2])) < 60
    assert kept_layers(batches[0], 2, 0.0) == [True, True]


def test_layers_are_dropped_in_training_only():
    objective = tiny(dropouts=replace(NO_DROPOUT, layer=0.9))
    ran = []
    for block in objective.model.wav2vec2.encoder.layers:
        block.final_layer_norm.register_forward_hook(lambda *given: ran.extend([1] * bool(given[2].numel())))
    batches = [batch_of(objective, [32_000], step=step) for step in range(10)]
    for batch in batches:
        objective(batch)
    assert len(ran) < 10
    ran.clear()
    objective.eval()(batches[0])
    assert len(ran) == 2


def test_the_gumbel_temperature_falls():
    objective = tiny(objective=ContrastiveSettings(gumbel_start=2, gumbel_end=0.5, gumbel_decay=0.5))
    assert [objective._gumbel_temperature(step) for step in range(4)] == [2, 1, 0.5, 0.5]


def test_bf16_is_close():
    objective = tiny(layout="large").eval()
    batch = batch_of(objective, [32_000, 32_000])
    exact = objective(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = objective(batch)
    assert rounded.sum.dtype == torch.float32
    assert rounded.sum.item() == pytest.approx(exact.sum.item(), rel=0.05)


def test_padding_changes_nothing_in_the_large_layout():
    objective = tiny(layout="large").eval()
    alone = batch_of(objective, [32_000])
    waveforms = torch.zeros(2, 48_000)
    waveforms[0, :32_000] = alone.waveforms[0]
    waveforms[1] = 0.1 * torch.randn(48_000)
    frames = alone.targets.tensors["mask"].shape[1]
    mask = torch.zeros(2, 149, dtype=torch.bool)
    mask[0, :frames] = alone.targets.tensors["mask"][0]
    # The second row masks as many frames, anywhere.
    masked = int(mask[0].sum())
    mask[1, :masked] = True
    tensors = frame_tensors(mask.numpy(), np.array([frames, 149]))
    tensors["negatives"] = alone.targets.tensors["negatives"].expand(2, -1, -1)
    targets = replace(alone.targets, tensors=tensors)
    both = Batch(waveforms, torch.tensor([32_000, 48_000]), [], targets, 0, 0, 0, padded=True)

    def contexts(batch):
        seen = []
        handle = objective.model.project_hid.register_forward_hook(lambda *args: seen.append(args[2]))
        objective(batch)
        handle.remove()
        return seen[0]

    assert torch.allclose(contexts(both)[:masked], contexts(alone), atol=1e-5)


def test_the_sampler_travels_and_repeats():
    sampler = tiny().target_sampler
    copy = pickle.loads(pickle.dumps(sampler))
    lengths = np.array([48_000, 40_000])
    first, second = (draw(Rows(lengths), np.random.default_rng(5)) for draw in (sampler, copy))
    assert first.count == second.count == int(first.tensors["mask"].sum())
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_three_frames_of_sound_are_refused_in_words():
    with pytest.raises(UserError, match=r"`mask_length` must be at most 1, 2 less than the 3 frames of the shortest"):
        ContrastiveTargetSampler()(Rows(np.array([1040])), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_probability": 0}, "objective.mask_probability must be in"),
        ({"negatives": 0}, "objective.negatives must be at least 1, but is 0"),
        ({"gumbel_end": 3.0}, "objective.gumbel_end must be above 0 and at most gumbel_start, but is 3.0"),
    ],
)
def test_settings_without_meaning_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        ContrastiveSettings(**change)
