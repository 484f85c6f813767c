"""The whole loss, feature penalty and scaled gradient included, against the original authors' implementation."""

import pytest
import soundfile  # noqa: F401 - fairseq2 takes libsndfile from here
import torch
from test_contrastive import batch_of, tiny

from nonverbal.models.checkpoints.weight_names import NO_COUNTERPART, Layout, translate
from nonverbal.objectives import contrastive
from nonverbal.objectives.contrastive import ContrastiveSettings

pytest.importorskip("fairseq2", reason="fairseq2 is an extra")

from fairseq2.models.transformer import TransformerNormOrder
from fairseq2.models.wav2vec2 import vector_quantizer
from fairseq2.models.wav2vec2.config import Wav2Vec2Config
from fairseq2.models.wav2vec2.factory import create_wav2vec2_model
from fairseq2.nn import BatchLayout


def their_model(layout):
    config = Wav2Vec2Config(quantized_dim=16, final_dim=12, num_codebook_entries=16)
    encoder = config.encoder_config
    encoder.model_dim, encoder.num_encoder_layers, encoder.num_encoder_attn_heads = 32, 2, 4
    encoder.ffn_inner_dim, encoder.feature_dim = 48, 16
    encoder.pos_conv_kernel_size, encoder.num_pos_conv_groups = 16, 4
    encoder.feature_extractor_layer_descs = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
    encoder.dropout_p = encoder.attn_dropout_p = encoder.layer_drop_p = 0.0
    if layout == "large":
        encoder.layer_norm_features = False
        encoder.feature_extractor_bias = encoder.feature_extractor_layer_norm_convs = True
        encoder.norm_order = TransformerNormOrder.PRE
    return create_wav2vec2_model(config)


@pytest.mark.parametrize("layout", ["base", "large"])
def test_loss_and_gradients_are_those_of_fairseq2(monkeypatch, layout):
    ours = tiny(layout, ContrastiveSettings(), normalise=False)
    batch = batch_of(ours, [32_000, 32_000, 32_000])
    mask, negatives = batch.targets.tensors["mask"], batch.targets.tensors["negatives"]
    rows, masked, _ = negatives.shape
    noise = -torch.empty(rows * masked, 2, 16).exponential_().log()
    monkeypatch.setattr(contrastive, "gumbel_noise", lambda logits: noise)

    def gumbel_softmax(logits, tau, hard):
        soft = ((logits + noise.view_as(logits)) / tau).softmax(-1)
        return torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0) - soft.detach() + soft

    monkeypatch.setattr(vector_quantizer, "gumbel_softmax", gumbel_softmax)
    # The product with the codebook is compiled there, for minutes; it is the same without.
    monkeypatch.setattr(torch, "compile", lambda **_: lambda function: function)

    theirs = their_model(layout).train()
    weights = ours.model.state_dict()
    order = Layout(group_norm=layout == "base", pre_norm=layout == "large")
    names = {name: translate(name, "fairseq2", "transformers", order) for name in theirs.state_dict()}
    assert names.pop(NO_COUNTERPART) is None
    assert sorted(names.values()) == sorted(weights)
    theirs.load_state_dict({name: weights[other] for name, other in names.items()}, strict=False)
    theirs.masker.mask_factory = lambda **_: mask
    places = (negatives + torch.arange(rows)[:, None, None] * masked).flatten()
    theirs._sample_distractors = lambda targets: targets.flatten(0, 1)[places].unflatten(0, negatives.shape)

    loss = ours(batch)
    loss.sum.backward()
    expected, _ = theirs(batch.waveforms, BatchLayout.of(batch.waveforms))
    expected.aggregate.backward()
    assert loss.sum.item() == pytest.approx(expected.aggregate.item(), rel=1e-5)
    assert loss.metrics["contrastive"][0].item() == pytest.approx(expected.contrastive.item(), rel=1e-5)
    assert loss.metrics["penalty"][0].item() == pytest.approx(expected.features_penalty.item(), rel=1e-5)
    gradients = {name: parameter.grad for name, parameter in ours.model.named_parameters()}
    for name, parameter in theirs.named_parameters():
        error = (gradients[names[name]] - parameter.grad).norm()
        assert error <= 1e-4 * parameter.grad.norm() + 1e-6, name
