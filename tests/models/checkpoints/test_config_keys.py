"""A checkpoint is taken as it computes, or refused: every key of a configuration, changed one at a time."""

import json

import numpy as np
import plain_audio_mamba as plain
import pytest
import torch
from tiny_shapes import SSAM
from transformers import (
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
)
from transformers.activations import ACT2FN

from nonverbal.batch import Batch, Targets
from nonverbal.errors import UserError
from nonverbal.models import ssam, wav2vec2
from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaForPreTraining
from nonverbal.models.checkpoints import audio_mamba
from nonverbal.models.checkpoints.config_keys import (
    ACTIVATIONS,
    FAIRSEQ_ACTIVATIONS,
    ONLY,
    USED,
    WITHOUT_EFFECT,
    check_config,
    without_calling,
)
from nonverbal.models.checkpoints.fairseq_settings import settings_of
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS
from nonverbal.models.checkpoints.reading import read_checkpoint
from nonverbal.models.checkpoints.starting import hubert_from, start_from
from nonverbal.models.checkpoints.weight_names import Layout, renamed
from nonverbal.models.wav2vec2 import NO_DROPOUT, Architecture
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
    "architectures": [["Another"]],
    "my_own_key": ["anything"],
}
"""Values for keys whose meaning asks for more than ``other`` makes."""


def other(value):
    """A value of the same kind that is not the default."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) or (isinstance(value, float) and value >= 1):
        return value + 1
    if isinstance(value, float):
        return value + 0.25
    if isinstance(value, list):
        return [other(item) for item in value]
    return f"{value or 'some'} other" if value is None or isinstance(value, str) else {"some": "other"}


def cases(kind, stable):
    for key, value in {**kind().to_dict(), **dict.fromkeys(CHANGES)}.items():
        if key not in ("model_type", "transformers_version"):
            for changed in CHANGES.get(key, [other(SIZES.get(key, value))]):
                yield pytest.param(kind, {"do_stable_layer_norm": stable, key: changed}, id=f"{key}={changed}"[:60])


TEXT = (
    WITHOUT_EFFECT
    - {key for key in WITHOUT_EFFECT if "mask" in key or key in CHANGES}
    - {
        *("return_dict", "torchscript", "output_attentions", "output_hidden_states", "gradient_checkpointing"),
        # Together with tie_encoder_decoder, transformers cannot build a model.
        "is_encoder_decoder",
    }
)
"""Keys of text and of other tasks' heads, which one case changes together."""

ALL = [
    case
    for kind in (Wav2Vec2Config, HubertConfig)
    for stable in (False, True)
    for case in cases(kind, stable)
    # In the other order of norms these have nothing to act on.
    if not stable or set(case.values[1]) & {"adapter_attn_dim", "hidden_act", "layer_norm_eps", "conv_bias"}
    if not set(case.values[1]) & TEXT
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
    except LOADING_ERRORS:
        return None


def save(folder, kind, options):
    """A checkpoint whose config.json holds ``options`` to the letter."""
    model = made(kind, without_calling(options))
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
    batch = Batch(waveforms, lengths, ["a"], Targets(1, {"mask": mask}), seed=0, step=0, position=0, padded=False)
    with torch.no_grad():
        return encode(encoder.eval(), batch, False, NO_DROPOUT, 1.0).context


START = {Wav2Vec2Config: start_from, HubertConfig: hubert_from}


def refusal(kind, folder):
    """What is said of a checkpoint that is refused; None of one that is read."""
    try:
        START[kind](str(folder), Architecture(), None, 0)
    except UserError as error:
        return str(error)
    return None


def assert_computed_as_transformers_does(kind, folder):
    model = START[kind](str(folder), Architecture(), None, 0).model
    encoder = model.wav2vec2 if kind is Wav2Vec2Config else model
    assert hasattr(encoder, "masked_spec_embed")
    waveforms = 0.1 * torch.randn(1, 4000)
    # The reference is what transformers makes of the very folder.
    given = without_calling(json.loads((folder / "config.json").read_text()))
    options = {"config": kind.from_dict(given), "dtype": torch.float32, "trust_remote_code": False}
    theirs = AutoModel.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        expected = theirs(waveforms).last_hidden_state
    found = our_states(encoder, waveforms)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_every_key_is_computed_as_transformers_does_or_refused_by_name(tmp_path, kind, options):
    save(tmp_path, kind, options)
    key = next((key for key in options if key != "do_stable_layer_norm"), "do_stable_layer_norm")
    said = refusal(kind, tmp_path)
    if said is None:
        assert_computed_as_transformers_does(kind, tmp_path)
    else:
        assert key in said or "transformers cannot build the model" in said or "cannot load" in said
        assert key not in WITHOUT_EFFECT or key == "problem_type"
        assert "\n" not in said


@pytest.mark.parametrize("kind", [Wav2Vec2Config, HubertConfig])
def test_keys_of_text_and_of_other_tasks_have_no_effect(tmp_path, kind):
    defaults = kind().to_dict()
    save(tmp_path, kind, {key: other(defaults[key]) for key in sorted(TEXT & defaults.keys())})
    assert refusal(kind, tmp_path) is None
    assert_computed_as_transformers_does(kind, tmp_path)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_gradients_are_transformers_under_other_strides_and_activations(tmp_path, activation):
    options = {"conv_stride": [4, 3, 2, 2, 1, 3, 2], "feat_extract_activation": activation, "hidden_act": activation}
    save(tmp_path, Wav2Vec2Config, options)
    encoder = start_from(str(tmp_path), Architecture(), None, 0).model.wav2vec2.eval()
    waveforms, gradients = 0.1 * torch.randn(1, 4000), []
    for features in (wav2vec2.conv_features(encoder, waveforms), encoder.feature_extractor(waveforms).transpose(1, 2)):
        encoder.zero_grad()
        features.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.feature_extractor.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_recogniser_of_hubert_for_wav2vec2_needs_what_wav2vec2_has(tmp_path):
    save(tmp_path, HubertConfig, {"feat_proj_layer_norm": False})
    with pytest.raises(UserError, match="feat_proj_layer_norm: False, which is not supported; only True is"):
        start_from(str(tmp_path), Architecture(), None, 0)
    assert hubert_from(str(tmp_path), Architecture(), None, 0).model.config.feat_proj_layer_norm is False


def test_a_key_that_a_newer_transformers_adds_is_refused_unless_it_is_as_if_not_there():
    class Newer(Wav2Vec2Config):
        def __init__(self, rotary=False, **others):
            self.rotary = rotary
            super().__init__(**others)

    check_config("here", {"rotary": False}, Newer, USED)
    with pytest.raises(UserError, match="the configuration of here has rotary: True, .* only False is"):
        check_config("here", {"rotary": True}, Newer, USED)


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "relu"), ("conv_stride", [5, 2, 2, 2, 2, 2, 1]), ("layer_norm_eps", 0.1)],
)
def test_a_pickled_file_is_what_the_config_beside_it_says(tmp_path, key, value):
    model = save(tmp_path, Wav2Vec2Config, {key: value})
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert getattr(read_checkpoint(str(tmp_path / "pytorch_model.bin")).config, key) == value
    given = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(given | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"unknown weights: 16 \(wav2vec2.encoder.layers.1."):
        read_checkpoint(str(tmp_path / "pytorch_model.bin"))
    (tmp_path / "config.json").write_text(json.dumps(given | {"adapter_attn_dim": 4}))
    with pytest.raises(UserError, match="adapter_attn_dim: 4"):
        read_checkpoint(str(tmp_path / "pytorch_model.bin"))


def fairseq_file(path, layers="[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] * 2", **changed):
    """A file of fairseq with a whole configuration, and the model that it describes."""
    own = {"encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2}
    own |= {"conv_pos": 8, "conv_pos_groups": 2, "activation_fn": "gelu", "extractor_mode": "default"}
    own |= {"layer_norm_first": False, "conv_bias": False, "layer_type": "transformer", "conv_feature_layers": layers}
    model = made(Wav2Vec2Config, {"hidden_act": FAIRSEQ_ACTIVATIONS.get(changed.get("activation_fn"), "gelu")})
    weights = renamed(model.state_dict(), "transformers", "fairseq", Layout(group_norm=True, pre_norm=False))
    task = {"normalize": changed.pop("normalize", False), "sample_rate": changed.pop("sample_rate", 16_000)}
    torch.save({"cfg": {"model": own | changed, "task": task}, "model": weights}, path)
    return model


WRONG_KINDS = {
    "layer_norm_eps": ["1e-5", None, [1e-5], float("nan"), -1e-5, 10**400],
    "num_attention_heads": ["2", 2.0, None, -2, 0],
    "do_stable_layer_norm": ["false", None],
    "conv_bias": ["false"],
    "conv_stride": [[5.0, 2, 2, 2, 2, 2, 2], [5, 2, 2, 2, 2, 2, 0], "5, 2", None],
    "num_conv_pos_embedding_groups": ["2"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG_KINDS.items() for value in values])
def test_a_value_of_another_kind_is_refused_by_name(key, value):
    for kind in (Wav2Vec2Config, HubertConfig):
        check_config("here", {**kind().to_dict(), **SIZES}, kind, USED)
        with pytest.raises(UserError, match=f"has {key}: .* is expected"):
            check_config("here", {**kind().to_dict(), **SIZES, key: value}, kind, USED)


@pytest.mark.parametrize("said", [{"layer_norm_first": "false"}, {"normalize": "false"}, {"encoder_layers": "2"}])
def test_a_value_of_another_kind_in_fairseqs_configuration_is_refused_by_name(said):
    with pytest.raises(UserError, match=f"has {next(iter(said))}: .* is expected"):
        settings_of("here", {"cfg": {"model": said}})


@pytest.mark.parametrize("name", FAIRSEQ_ACTIVATIONS)
def test_fairseqs_activations_are_computed(tmp_path, name):
    model = fairseq_file(tmp_path / "model.pt", activation_fn=name)
    encoder = start_from(str(tmp_path / "model.pt"), Architecture(), None, 0).model.wav2vec2
    waveforms = 0.1 * torch.randn(1, 4000)
    with torch.no_grad():
        expected = model.wav2vec2(waveforms).last_hidden_state
    assert torch.allclose(our_states(encoder, waveforms), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"activation_fn": "gelu_unheard_of"}, "activation_fn: 'gelu_unheard_of'"),
        ({"layer_type": "conformer"}, "layer_type: 'conformer', .* only 'transformer' is"),
        ({"pos_conv_depth": 5}, "pos_conv_depth: 5"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm: True"),
        ({"quantize_input": True}, "quantize_input: True"),
        ({"target_glu": True}, "target_glu: True"),
        ({"crop_seq_to_multiple": 2}, "crop_seq_to_multiple: 2"),
        ({"sample_rate": 8000}, "sample_rate: 8000"),
        ({"extractor_mode": "layer_norm"}, "feat_extract_norm layer in its configuration, and group in its weights"),
        ({"encoder_layers": 3}, "num_hidden_layers 3 in its configuration, and 2 in its weights"),
        ({"conv_bias": True}, "conv_bias True in its configuration, and False in its weights"),
        ({"conv_pos": 16}, "num_conv_pos_embeddings 16"),
        ({"layers": "[(8, 10, 5)] * 7"}, r"conv_kernel \[10, 10, .*\] in its configuration, and \[10, 3"),
        (
            {"layers": "__import__('os').system('true')"},
            "conv_feature_layers is .__import__.* expected .*channels, kernel",
        ),
        ({"layers": "[(8, 10, 5)] * 1000000000"}, "conv_feature_layers is "),
    ],
    ids=str,
)
def test_fairseqs_configuration_is_heeded_or_refused_by_name(tmp_path, changed, said):
    fairseq_file(tmp_path / "model.pt", **changed)
    with pytest.raises(UserError, match=said):
        read_checkpoint(str(tmp_path / "model.pt"))


def test_fairseqs_strides_and_what_a_fork_adds(tmp_path):
    fairseq_file(tmp_path / "model.pt", layers="[(8, 10, 4)] + [(8, 3, 2)] * 4 + [(8,2,2)] * 2", rotary=True)
    checkpoint = read_checkpoint(str(tmp_path / "model.pt"))
    assert checkpoint.config.conv_stride == [4, 2, 2, 2, 2, 2, 2]
    assert checkpoint.notes == ("settings that fairseq does not have are ignored: rotary",)


@pytest.mark.parametrize("key", ["layer_norm_eps", "padding", "frame_order", "standardisation", "expand", "state_size"])
def test_audio_mambas_keys_are_computed_as_the_plain_one_does_or_refused_by_name(tmp_path, key):
    torch.manual_seed(0)
    config = ssam.config_of(ssam.Architecture(**SSAM))
    model = AudioMambaForPreTraining(config)
    ssam.export(model, model.state_dict(), tmp_path)
    given = json.loads((tmp_path / "config.json").read_text())
    value = {"layer_norm_eps": 0.1, "expand": 2, "state_size": 5}.get(key, "official")
    (tmp_path / "config.json").write_text(json.dumps(given | {key: value}))
    if key in ("expand", "state_size"):
        with pytest.raises(UserError, match=r"weights of another shape or type: .* \(audio_mamba.blocks.0"):
            audio_mamba.read_checkpoint(str(tmp_path))
        return
    read = ssam.model_of(audio_mamba.read_checkpoint(str(tmp_path)))
    assert getattr(read.config, key) == value
    if key == "layer_norm_eps":
        waveform = 0.1 * torch.randn(9600)
        with torch.no_grad():
            found = read.audio_mamba(waveform[None]).last_hidden_state[0]
        expected = plain.frames(waveform, plain.released(model), eps=0.1)[-1]
        assert np.abs(found.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "used"), [(Wav2Vec2Config, USED), (HubertConfig, USED), (AudioMambaConfig, audio_mamba.USED)]
)
def test_the_table_has_every_key_of_the_installed_transformers(kind, used):
    assert kind().to_dict().keys() <= used | WITHOUT_EFFECT | ONLY.keys()
    assert not used & WITHOUT_EFFECT
    assert not (used | WITHOUT_EFFECT) & ONLY.keys()
    defaults = kind().to_dict()
    assert all(defaults[key] in accepted for key, accepted in ONLY.items() if key in defaults)


def test_activations_are_those_without_weights():
    without = {name for name in ACT2FN if name != "xielu" and not list(ACT2FN[name].parameters())}
    assert without <= set(ACTIVATIONS)
    assert set(FAIRSEQ_ACTIVATIONS.values()) <= without
