"""SSAM's objective: masks and crops, the loss by another computation, metrics by hand, and that it learns."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_shapes import SSAM
from transformers import AutoModelForPreTraining

from nonverbal.batch import Batch, Rows, Targets
from nonverbal.data.synthetic import CLASSES, vocal_sound
from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import log_mel, patches, standardise
from nonverbal.models.parts import Part
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.reconstruction import (
    PatchSampler,
    ReconstructionSettings,
    SsamSettings,
    build_ssam_objective,
)
from nonverbal.training.optimizer import OptimizerSettings, build_optimizer

TINY = Architecture(**SSAM)


def objective_of(architecture=TINY, **objective):
    return build_ssam_objective(
        SsamSettings(architecture=architecture, objective=ReconstructionSettings(**objective)), 0
    )


def batch_of(objective, lengths, seed=0):
    random = np.random.default_rng(seed)
    lengths = np.array(lengths)
    waveforms = torch.zeros(len(lengths), lengths.max())
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = torch.from_numpy(random.normal(0, 0.1, length) * np.linspace(0, 1, length))
    targets, padded = objective.target_sampler(Rows(lengths), random), len(set(lengths)) > 1
    return Batch(waveforms, torch.from_numpy(lengths), [], targets, seed, 0, 0, padded)


def rows_of(batch, rows):
    tensors = {name: value[rows] for name, value in batch.targets.tensors.items()}
    return replace(batch, waveforms=batch.waveforms[rows], lengths=batch.lengths[rows], targets=Targets(0, tensors))


def test_half_of_the_patches_are_hidden_all_as_often_and_by_the_seed_alone():
    sampler = pickle.loads(pickle.dumps(PatchSampler(0.5, "masked")))
    lengths = np.full(2000, 32_000)
    targets, again, other = (sampler(Rows(lengths), np.random.default_rng(seed)) for seed in (0, 0, 1))
    mask = targets.tensors["mask"]
    assert mask.shape == (2000, 250)
    assert (mask.sum(1) == 125).all()
    # Each is hidden in half of the rows, give or take four deviations of a mean of 2000.
    assert (mask.float().mean(0) - 0.5).abs().max() < 4.5 * (0.25 / 2000) ** 0.5
    assert torch.equal(mask, again.tensors["mask"])
    assert not torch.equal(mask, other.tensors["mask"])
    assert targets.count == 2000 * 125
    assert PatchSampler(0.8, "official")(Rows(lengths), np.random.default_rng(0)).count == 2000 * 250
    assert (PatchSampler(0.8, "masked")(Rows(lengths), np.random.default_rng(0)).tensors["mask"].sum(1) == 200).all()


def test_crops_begin_anywhere_in_the_clip_and_end_in_it():
    # 2.1 s are 211 frames: 12 places. 201 frames have two; shorter clips begin at their beginning.
    random = np.random.default_rng(0)
    starts = PatchSampler(0.5, "masked")(Rows(np.full(12_000, 33_600)), random).tensors["starts"]
    counts = starts.bincount()
    assert len(counts) == 12
    assert (counts - 1000).abs().max() < 150
    for samples, highest in ((32_000, 1), (31_999, 0), (3200, 0), (160_000, 801)):
        starts = PatchSampler(0.5, "masked")(Rows(np.full(20_000, samples)), random).tensors["starts"]
        assert (starts.min(), starts.max()) == (0, highest)


def test_a_crop_is_of_the_whole_clip_standardised_and_short_ones_begin_anew():
    objective = objective_of()
    lengths = torch.tensor([80_000, 8000])
    batch = batch_of(objective, lengths.tolist())
    mel, frames = log_mel(batch.waveforms, batch.lengths)
    cut = objective.model.crop(standardise(mel, frames, 0), frames, torch.tensor([77, 0]))
    whole = (mel[0] - mel[0].mean()) / (mel[0].std(correction=0) + 1e-8)
    assert torch.allclose(cut[0], patches(whole[None, 77:277])[0], atol=1e-5)
    short = mel[1, :51]
    tiled = ((short - short.mean()) / short.std(correction=0)).repeat(4, 1)[:200]
    assert torch.allclose(cut[1], patches(tiled[None])[0], atol=1e-5)


@pytest.mark.parametrize("loss", ["masked", "official"])
@pytest.mark.parametrize("masked_positions", ["official", "kept"])
def test_loss_and_gradients_are_those_of_the_mean_that_is_meant(loss, masked_positions):
    objective = objective_of(loss=loss, masked_positions=masked_positions)
    batch = batch_of(objective, [80_000, 33_600, 8000])
    ours = objective(batch)
    (ours.sum / batch.targets.count).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    objective.zero_grad()
    mask, starts = batch.targets.tensors["mask"], batch.targets.tensors["starts"]
    rows = []
    for waveform, length, start in zip(batch.waveforms, batch.lengths, starts, strict=True):
        mel, frames = log_mel(waveform[None, :length], length[None])
        mel = standardise(mel, frames, 0)[0]
        mel = mel.repeat(-(-200 // len(mel)), 1) if len(mel) < 200 else mel
        rows.append(patches(mel[None, start : start + 200])[0])
    cut = torch.stack(rows)
    predictions = objective.model.predict(cut, mask)
    chosen = mask if loss == "masked" else torch.ones_like(mask)
    expected = torch.nn.functional.mse_loss(predictions[chosen], cut[chosen])
    expected.backward()
    assert ours.sum.item() / batch.targets.count == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in objective.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        assert (gradients[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm(), name


@pytest.mark.parametrize("loss", ["masked", "official"])
def test_metrics_by_hand(loss):
    objective = objective_of(loss=loss)
    error = torch.arange(250.0).view(1, 250)
    mask = torch.zeros(1, 250, dtype=torch.bool)
    # Hidden: bands 0, 1, 1 and 4.
    mask[0, [0, 1, 6, 14]] = True
    cut = torch.full((1, 250, 64), 2.0)
    found = objective._loss(error, cut, mask)
    means = {name: (value / weight).item() for name, (value, weight) in found.metrics.items()}
    everything = sum(range(250))
    assert found.sum.item() == (21 if loss == "masked" else everything)
    assert means["loss"] == pytest.approx(21 / 4 if loss == "masked" else everything / 250)
    assert means["masked_error"] == pytest.approx(21 / 4)
    assert means["visible_error"] == pytest.approx((everything - 21) / 246)
    assert means["mean_error"] == 4
    assert (means["masked_error.band0"], means["masked_error.band1"], means["masked_error.band4"]) == (0, 3.5, 14)
    assert found.metrics["masked_error.band2"][1] == 0


def test_two_micro_batches_add_up_to_one():
    objective = objective_of()
    batch = batch_of(objective, [80_000, 33_600, 40_000, 16_000])
    objective(batch).sum.backward()
    together = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    objective.zero_grad()
    for rows in (slice(0, 2), slice(2, 4)):
        objective(rows_of(batch, rows)).sum.backward()
    for name, parameter in objective.named_parameters():
        assert (together[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm(), name


def test_bf16_gives_a_float32_loss_close_to_its_own():
    objective = objective_of()
    batch = batch_of(objective, [40_000, 33_600])
    exact = objective(batch).sum
    with torch.autocast("cpu", torch.bfloat16):
        cast = objective(batch).sum
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(exact.item(), rel=0.01)


def test_it_learns_to_fill_what_is_hidden_in_a_few_sounds():
    objective = objective_of(Architecture(hidden_size=32, layers=2, state_size=4))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    sounds = [vocal_sound(kind, speaker=0, take=0, seed=0) for kind in list(CLASSES)[:4]]
    waveforms = torch.from_numpy(np.stack([np.resize(sound, 32_000) for sound in sounds])).float()
    lengths = np.full(4, 32_000)
    random = np.random.default_rng(0)
    for _ in range(150):
        targets = objective.target_sampler(Rows(lengths), random)
        found = objective(Batch(waveforms, torch.from_numpy(lengths), [], targets, 0, 0, 0, padded=False))
        optimizer.zero_grad()
        (found.sum / targets.count).backward()
        optimizer.step()
    means = {name: (value / weight).item() for name, (value, weight) in found.metrics.items()}
    assert means["masked_error"] < 0.6 * means["mean_error"]
    assert not objective.symptoms[0].holds(means)
    assert objective.symptoms[0].holds(means | {"masked_error": means["mean_error"]})
    assert not objective.symptoms[0].holds({})


def test_what_is_exported_loads_and_predicts_the_same(tmp_path):
    objective = objective_of(masked_positions="kept")
    with torch.no_grad():
        objective.model.mask_token += 1
    objective.export(tmp_path, objective.state_dict())
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert model.config.masked_positions == "kept"
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["do_normalize"] is False
    cut, mask = torch.randn(1, 250, 64), torch.rand(1, 250) < 0.5
    with torch.no_grad():
        assert torch.equal(model.predict(cut, mask), objective.model.predict(cut, mask))


def test_a_start_is_told_of(tmp_path):
    objective = objective_of()
    assert objective.account is None
    objective.export(tmp_path, objective.state_dict())
    again = build_ssam_objective(SsamSettings(init=str(tmp_path)), seed=1)
    assert [row[:2] for row in again.account.rows] == [("taken", "encoder"), ("taken", "head")]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in objective.state_dict().items())


def test_every_parameter_has_its_part():
    objective = objective_of()
    parts = {name: objective.part(name) for name, _ in objective.named_parameters()}
    expected = {
        "audio_mamba.cls_token": Part("conv", 2),
        "audio_mamba.patch_embed.proj.weight": Part("conv", 2),
        "audio_mamba.blocks.0.mixer.A_log": Part("transformer", 1),
        "audio_mamba.blocks.1.norm.bias": Part("transformer", 0),
        "audio_mamba.encoder_norm.weight": Part("transformer", 0),
        "mask_token": Part("head", 0),
        "pred.2.bias": Part("head", 0),
    }
    assert {name: parts[f"model.{name}"] for name in expected} == expected
    assert {name for name, part in parts.items() if part.kind == "head"} == {
        name for name in parts if ".pred." in name or "mask_token" in name
    }


def test_matrices_decay_as_in_the_released_code():
    objective = objective_of()
    settings = OptimizerSettings(warmup_steps=1, weight_decay=0.05, decay="matrices")
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    groups = {
        group["weight_decay"]: {names[id(parameter)] for parameter in group["params"]}
        for group in build_optimizer(objective, 10, settings).param_groups
    }
    assert groups.keys() == {0.05, 0.0}
    assert groups[0.05] | groups[0.0] == set(names.values())
    ends = ("A_log", "conv1d.weight", "proj.weight", "_token", "pred.0.weight", "pred.2.weight")
    assert groups[0.05] == {name for name in names.values() if name.endswith(ends)}
    assert {name for name in groups[0.0] if not name.endswith("bias")} == {
        name for name in names.values() if name.endswith((".D", "norm.weight"))
    }
    everything = build_optimizer(objective, 10, replace(settings, decay="all")).param_groups
    assert [len(group["params"]) for group in everything] == [len(names)]
    by_part = build_optimizer(objective, 10, replace(settings, layer_decay=0.5)).param_groups
    # Four depths (patches, two blocks, head), each in two; the highest block's is also the last norm's.
    assert len(by_part) == 8


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.001])
def test_hiding_nothing_or_everything_is_refused(ratio):
    with pytest.raises(UserError, match=f"objective.mask_ratio must mask some of 250 patches, but is {ratio}"):
        ReconstructionSettings(mask_ratio=ratio)
