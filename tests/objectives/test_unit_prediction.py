"""HuBERT's loss against a plain computation over transformers' own forward pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_contrastive import TINY, batch_of
from transformers import AutoModel, HubertConfig, HubertModel

from nonverbal.errors import UserError
from nonverbal.models.wav2vec2 import NO_DROPOUT, encoder_options, normalised
from nonverbal.objectives.encoding import encode
from nonverbal.objectives.unit_prediction import ClusterSettings, HubertSettings, build_hubert_objective

UNITS = 7
BARE = ClusterSettings(penalty_weight=0, conv_gradient_scale=1)


def tiny(layout="base", objective=BARE, **changes):
    settings = HubertSettings(
        architecture=replace(TINY, layout=layout), dropouts=NO_DROPOUT, objective=objective, **changes
    )
    built = build_hubert_objective(settings, UNITS, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return built.train()


def labelled(objective, lengths, **places):
    batch = batch_of(objective, lengths, **places)
    mask = batch.targets.tensors["mask"]
    units = np.random.default_rng(4).integers(UNITS, size=mask.shape)
    batch.targets.tensors["units"] = torch.from_numpy(units)
    return batch


@pytest.mark.parametrize("layout", ["base", "large"])
@pytest.mark.parametrize("lengths", [(32_000, 32_000), (24_000, 32_000)], ids=["cropped", "padded"])
def test_loss_and_gradients_are_those_of_a_plain_computation(layout, lengths):
    objective = tiny(layout)
    batch = labelled(objective, lengths)
    mask, units = batch.targets.tensors["mask"], batch.targets.tensors["units"]
    loss = objective(batch)
    loss.sum.backward()
    ours = {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
    objective.zero_grad()

    waveforms = normalised(batch.waveforms, batch.lengths) if layout == "large" else batch.waveforms
    attended = (torch.arange(max(lengths)) < batch.lengths[:, None]).long() if len(set(lengths)) > 1 else None
    # In evaluation mode transformers drops nothing; a mask that it is given it applies all the same.
    objective.eval()
    hidden = objective.encoder(waveforms, attention_mask=attended, mask_time_indices=mask).last_hidden_state
    total, right = 0.0, 0
    for row, frame in mask.nonzero().tolist():
        predicted = objective.projection(hidden[row, frame])
        scores = torch.stack([torch.cosine_similarity(predicted, unit, dim=0) for unit in objective.units]) / 0.1
        total = total - (scores[units[row, frame]] - torch.logsumexp(scores, 0))
        right += int(scores.argmax() == units[row, frame])
    total.backward()
    assert loss.sum.item() == pytest.approx(total.item(), rel=1e-5)
    assert int(loss.metrics["accuracy"][0]) == right
    for name, parameter in objective.named_parameters():
        error = (ours[name] - parameter.grad).norm()
        assert error <= 1e-4 * parameter.grad.norm() + 1e-6, name
    assert batch.targets.count == int(mask.sum()) == int(loss.metrics["loss"][1])


def test_the_penalty_is_the_convolutions_mean_square_times_the_targets():
    objective, bare = tiny(objective=ClusterSettings(conv_gradient_scale=1)), tiny()
    batch = labelled(bare, (32_000, 32_000))
    conv = bare.encoder.feature_extractor(batch.waveforms)
    expected = 10 * conv.square().mean() * batch.targets.count
    assert (objective(batch).sum - bare(batch).sum).item() == pytest.approx(expected.item(), rel=1e-4)


def test_accuracy_is_held_against_the_most_frequent_unit():
    objective = tiny()
    batch = labelled(objective, (32_000, 32_000))
    units = batch.targets.tensors["units"][batch.targets.tensors["mask"]]
    loss = objective(batch)
    assert int(loss.metrics["chance"][0]) == np.bincount(units.numpy()).max()


def test_units_are_learned():
    objective = tiny(layout="large", objective=ClusterSettings())
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    batch = labelled(objective, (32_000, 32_000))
    losses = []
    for _ in range(30):
        loss = objective(batch).sum / batch.targets.count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("layout", ["base", "large"])
def test_the_export_is_a_hubert_of_transformers_that_can_be_continued(tmp_path, layout):
    objective = tiny(layout)
    objective.export(tmp_path / "encoder", objective.state_dict())
    loaded = AutoModel.from_pretrained(tmp_path / "encoder").eval()
    assert loaded.config.model_type == "hubert"
    again = tiny(layout, init=str(tmp_path / "encoder"))
    assert again.normalise == objective.normalise == (layout == "large")
    waveforms = 0.1 * torch.randn(1, 16_000)
    expected = objective.encoder.eval()(waveforms).last_hidden_state
    assert torch.equal(loaded(waveforms).last_hidden_state, expected)


def test_an_architecture_that_contradicts_the_checkpoint_is_refused(tmp_path):
    objective = tiny()
    objective.export(tmp_path / "encoder", objective.state_dict())
    settings = HubertSettings(init=str(tmp_path / "encoder"), architecture=replace(TINY, layers=3))
    with pytest.raises(UserError, match="contradicts the checkpoint .* in num_hidden_layers; leave it out"):
        build_hubert_objective(settings, UNITS, seed=0)
    without = HubertSettings(init=str(tmp_path / "encoder"))
    assert build_hubert_objective(without, UNITS, seed=0).encoder.config.num_hidden_layers == 2


def test_projection_units_and_mask_are_the_head():
    objective = tiny()
    parts = {name: objective.part(name) for name, _ in objective.named_parameters()}
    head = {name for name, part in parts.items() if part.kind == "head"}
    assert head == {"projection.weight", "projection.bias", "units", "encoder.masked_spec_embed"}
    assert parts["encoder.encoder.layers.0.attention.k_proj.weight"].depth == 1
    assert parts["encoder.feature_extractor.conv_layers.3.conv.weight"].kind == "conv"


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    objective = tiny()
    objective.export(tmp_path / "encoder", objective.state_dict())
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot load the checkpoint"):
        tiny(init=str(tmp_path / "encoder"))
    with pytest.raises(UserError, match="objective.temperature must be above 0, but is 0"):
        ClusterSettings(temperature=0)


def saved(folder, **changes):
    """A HuBERT's folder of other options than ours."""
    options = {**encoder_options(TINY), **changes}
    HubertModel(HubertConfig(**options)).save_pretrained(folder)
    return str(folder)


def test_an_encoder_without_a_norm_before_its_projection_is_trained(tmp_path):
    objective = tiny(init=saved(tmp_path, feat_proj_layer_norm=False)).eval()
    batch = labelled(objective, (32_000, 32_000))
    mask = batch.targets.tensors["mask"]
    found = encode(objective.encoder, batch, False, NO_DROPOUT, 1.0).context
    expected = objective.encoder(batch.waveforms, mask_time_indices=mask).last_hidden_state
    assert torch.allclose(found, expected, atol=1e-5)
    objective.train()(batch).sum.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_stride": (5, 2, 2, 2, 2, 2, 1)}, "frames of 400 samples every 160, but units have"),
        ({"conv_kernel": (10, 3, 3, 3, 3, 2, 3)}, "frames of 560 samples every 320, but units have"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm: True, which is not supported; only False is"),
    ],
    ids=["stride", "kernel", "batch norm"],
)
def test_an_encoder_whose_frames_are_not_those_of_units_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        tiny(init=saved(tmp_path, **changes))
