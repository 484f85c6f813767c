"""A checkpoint is taken as it computes, or refused: every key of a configuration, changed one at a time."""

import json

import pytest
import torch
from transformers import (
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
)
from transformers.activations import ACT2FN

from nonverbal.errors import UserError
from nonverbal.models import wav2vec2
from nonverbal.models.audio_mamba import AudioMambaConfig
from nonverbal.models.config_keys import ACTIVATIONS, FAIRSEQ_ACTIVATIONS, ONLY, USED, WITHOUT_EFFECT
from nonverbal.models.start import hubert_from, start_from
from nonverbal.models.wav2vec2 import NO_DROPOUT, Architecture
from nonverbal.objectives.base import Batch, Targets
from nonverbal.objectives.encoding import encode

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "proj_codevector_dim": 8,
}
CHANGES = {
    "feat_extract_norm": ["layer", "instance"],
    "feat_extract_activation": ["relu", "gelu_new", "prelu", "nothing"],
    "hidden_act": ["relu", "silu", "quick_gelu", "xielu", None],
    "conv_stride": [[5, 2, 2, 2, 2, 2, 1], [4, 2, 2, 2, 2, 2, 2], [5, 3, 2, 2, 2, 2, 2], [5, 2]],
    "conv_kernel": [[10, 3, 3, 3, 3, 2, 3], [5, 2, 2, 2, 2, 2, 2]],
    "conv_dim": [[8, 8, 8, 8, 8, 8, 12], [8, 8]],
    "feat_proj_layer_norm": [False],
    "layer_norm_eps": [0.1],
    "num_conv_pos_embeddings": [7],
    "num_conv_pos_embedding_groups": [4, 3],
    "num_attention_heads": [4, 3],
    "adapter_attn_dim": [4],
    "pruned_heads": [{"0": [1]}],
    "per_layer_config": [{"0": {"intermediate_size": 4}}],
    "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}],
    "transformers_weights": ["other.safetensors"],
    "attn_implementation": ["eager", "flash_attention_2", "kernels-community/flash-attn"],
    "problem_type": ["regression", "guess"],
    "mask_time_prob": [0.0, 0.5],
    "auto_map": [{"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}],
    "dtype": ["float16"],
    "id2label": [{"0": "a", "1": "b", "2": "c"}],
    "my_own_key": ["anything"],
}
"""Values for keys whose meaning asks for more than ``other`` makes."""


def other(value):
    """A value of the same kind that is not the default."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if value >= 1 else value + 0.25
    if isinstance(value, list):
        return [other(item) for item in value]
    return f"{value or 'some'} other" if value is None or isinstance(value, str) else {"some": "other"}


def cases(kind, stable):
    for key, value in {**kind().to_dict(), **dict.fromkeys(CHANGES)}.items():
        if key not in ("model_type", "transformers_version"):
            for changed in CHANGES.get(key, [other(SIZES.get(key, value))]):
                yield pytest.param(kind, {"do_stable_layer_norm": stable, key: changed}, id=f"{key}={changed}"[:60])


ALL = [
    case
    for kind in (Wav2Vec2Config, HubertConfig)
    for stable in (False, True)
    for case in cases(kind, stable)
    # In the other order of norms these have nothing to act on.
    if not stable or set(case.values[1]) & {"adapter_attn_dim", "hidden_act", "layer_norm_eps", "conv_bias"}
]


def shaken(model):
    """Biases and norms are random too: drawn as zeros and ones, a mistake would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def made(kind, options):
    """Transformers' own model under these options, or None where it makes none."""
    torch.manual_seed(0)
    try:
        config = kind(**{**SIZES, **options})
        return shaken((Wav2Vec2ForPreTraining if kind is Wav2Vec2Config else HubertModel)(config))
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError, NotImplementedError, AttributeError):
        return None


def save(folder, kind, options):
    """A checkpoint whose config.json holds ``options`` to the letter."""
    model = made(kind, options)
    (model or made(kind, {})).save_pretrained(folder)
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(given | options))
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return model


def our_states(encoder, waveforms):
    """The context by the objective's own forward pass, nothing masked."""
    lengths = torch.full((len(waveforms),), waveforms.shape[1])
    config = encoder.config
    frames = wav2vec2.frames_of(waveforms.shape[1], config.conv_kernel, config.conv_stride)
    mask = torch.zeros(len(waveforms), frames, dtype=torch.bool)
    batch = Batch(waveforms, lengths, ["a"], Targets(1, {"mask": mask}), seed=0, step=0, position=0)
    with torch.no_grad():
        return encode(encoder.eval(), batch, False, NO_DROPOUT, 1.0).context


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_every_key_is_computed_as_transformers_does_or_refused_by_name(tmp_path, kind, options):
    save(tmp_path, kind, options)
    (key,) = set(options) - {"do_stable_layer_norm"} or {"do_stable_layer_norm"}
    start = start_from if kind is Wav2Vec2Config else hubert_from
    try:
        model = start(str(tmp_path), Architecture(), None, 0).model
    except UserError as error:
        named = key in str(error) or "transformers makes no model" in str(error) or "cannot load" in str(error)
        assert named, error
        assert key not in WITHOUT_EFFECT or key == "problem_type"
        assert "\n" not in str(error)
        return
    waveforms = 0.1 * torch.randn(1, 4000)
    encoder = model.wav2vec2 if kind is Wav2Vec2Config else model
    assert hasattr(encoder, "masked_spec_embed")
    # The reference is what transformers makes of the very folder.
    theirs = AutoModel.from_pretrained(tmp_path, dtype=torch.float32, trust_remote_code=False).eval()
    with torch.no_grad():
        expected = theirs(waveforms, return_dict=True).last_hidden_state
    assert our_states(encoder, waveforms).shape == expected.shape
    assert torch.allclose(our_states(encoder, waveforms), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [Wav2Vec2Config, HubertConfig, AudioMambaConfig])
def test_the_table_has_every_key_of_the_installed_transformers(kind):
    assert kind().to_dict().keys() <= USED | WITHOUT_EFFECT | ONLY.keys()
    assert not USED & WITHOUT_EFFECT
    assert not (USED | WITHOUT_EFFECT) & ONLY.keys()
    defaults = kind().to_dict()
    assert all(defaults[key] in accepted for key, accepted in ONLY.items() if key in defaults)


def test_activations_are_those_without_weights():
    without = {name for name in ACT2FN if name != "xielu" and not list(ACT2FN[name].parameters())}
    assert without <= set(ACTIVATIONS)
    assert set(FAIRSEQ_ACTIVATIONS.values()) <= without
