import os
import pickle
import re

import pytest
import torch
from sources import (
    fairseq_weights,
    forget,
    layout_named,
    model_of,
    namespace,
    omegaconf_like,
    save_fairseq,
    save_transformers,
)
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMModel,
)

from nonverbal.errors import UserError
from nonverbal.families.conversion import convert
from nonverbal.families.hidden_states import fixed_signal, own_states, prepared, states_of
from nonverbal.families.wav2vec2 import ENCODERS, encoder
from nonverbal.models.checkpoints import audio_mamba
from nonverbal.models.checkpoints.pickles import list_globals
from nonverbal.models.checkpoints.reading import read_checkpoint
from nonverbal.models.checkpoints.starting import start_from
from nonverbal.models.checkpoints.weight_names import TABLE, Layout, renamed, translate
from nonverbal.models.wav2vec2 import Architecture
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective

LAYOUTS = ("base", "large")


def difference(checkpoint, model):
    """Largest difference of hidden states between a checkpoint as read and the model it was written from."""
    inputs = prepared(fixed_signal(), checkpoint.normalise)
    found, expected = (states_of(each, inputs) for each in (encoder(checkpoint), model.eval()))
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("configuration", [namespace, omegaconf_like])
def test_fairseq(tmp_path, layout, zipped, configuration):
    model = save_fairseq(tmp_path / "model.pt", layout, zipped, configuration)
    checkpoint = read_checkpoint(str(tmp_path / "model.pt"))
    assert (checkpoint.format, checkpoint.normalise, checkpoint.notes) == ("fairseq", layout == "large", ())
    assert checkpoint.config.num_attention_heads == 4
    assert_same(checkpoint.weights, model.state_dict())
    assert difference(checkpoint, model.wav2vec2) <= 1e-5


def test_a_recogniser_of_fairseq_leaves_its_head_over(tmp_path):
    model = model_of()
    state = {
        f"w2v_encoder.w2v_model.{name}": value
        for name, value in fairseq_weights(model, "base").items()
        if not re.match("quantizer|project_q|final_proj", name)
    }
    state |= {"w2v_encoder.proj.weight": torch.zeros(5, 64)}
    torch.save({"model": state, "cfg": {"model": {"w2v_args": namespace("base")}}}, tmp_path / "model.pt")
    checkpoint = read_checkpoint(str(tmp_path / "model.pt"))
    assert checkpoint.left_over == ("w2v_encoder.proj.weight",)
    assert not checkpoint.has_head
    assert difference(checkpoint, model.wav2vec2) == 0


def test_what_fairseq_does_not_say_is_inferred_and_said(tmp_path):
    weights = fairseq_weights(model_of("large"), "large")
    torch.save({"model": weights}, tmp_path / "model.pt")
    checkpoint = read_checkpoint(str(tmp_path / "model.pt"))
    assert checkpoint.config.num_attention_heads == 1
    assert checkpoint.normalise
    assert [note.split(", because")[0] for note in checkpoint.notes] == [
        "1 attention heads are assumed (64 / 64), and strides, activations and the place of LayerNorm are assumed to "
        "be those of all released models",
        "waveforms are normalised to zero mean and unit variance, the default for this layout",
    ]
    assert read_checkpoint(str(tmp_path / "model.pt"), heads=4).config.num_attention_heads == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transformers_whole_encoder_alone_and_recogniser(tmp_path, layout):
    model = save_transformers(tmp_path / "whole", layout)
    assert_same(read_checkpoint(str(tmp_path / "whole")).weights, model.state_dict())
    recogniser = Wav2Vec2ForCTC(model.config)
    recogniser.wav2vec2.load_state_dict(model.wav2vec2.state_dict())
    for name, part in (("encoder", model.wav2vec2), ("recogniser", recogniser)):
        part.save_pretrained(tmp_path / name)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / name)
        checkpoint = read_checkpoint(str(tmp_path / name))
        assert not checkpoint.has_head
        assert not checkpoint.normalise
        assert checkpoint.left_over == (("lm_head.bias", "lm_head.weight") if name == "recogniser" else ())
        assert difference(checkpoint, model.wav2vec2) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hubert(tmp_path, layout):
    config = {key: value for key, value in model_of(layout).config.to_dict().items() if key in HubertConfig().to_dict()}
    hubert = HubertModel(HubertConfig(**{**config, "model_type": "hubert"})).eval()
    hubert.save_pretrained(tmp_path)
    checkpoint = read_checkpoint(str(tmp_path))
    assert checkpoint.config.model_type == "wav2vec2"
    assert not checkpoint.has_head
    assert "no preprocessor_config.json" in checkpoint.notes[0]
    assert difference(checkpoint, hubert) <= 1e-5


def test_a_pickled_file_of_transformers_is_read_by_name_alone(tmp_path):
    model = save_transformers(tmp_path, "base")
    (tmp_path / "model.safetensors").unlink()
    weights = model.state_dict()
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        place = "wav2vec2.encoder.pos_conv_embed.conv."
        weights[place + old] = weights.pop(f"{place}parametrizations.weight.{new}")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"its weights are pickled; nonverbal convert .*pytorch_model.bin"):
        read_checkpoint(str(tmp_path))
    checkpoint = read_checkpoint(str(tmp_path / "pytorch_model.bin"))
    assert_same(checkpoint.weights, model.state_dict())
    assert (checkpoint.config.num_attention_heads, checkpoint.normalise) == (4, False)


def test_a_run_gives_its_encoder(tmp_path):
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match=r"has no encoder/ yet"):
        read_checkpoint(str(tmp_path))
    model = save_transformers(tmp_path / "encoder")
    assert_same(read_checkpoint(str(tmp_path)).weights, model.state_dict())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_direction_gives_the_same_bits(tmp_path, layout):
    model = save_transformers(tmp_path / "first", layout)
    source = str(tmp_path / "first")
    for number, target in enumerate(("fairseq", "transformers", "fairseq2", "fairseq", "fairseq2", "transformers")):
        out = tmp_path / f"{number}"
        conversion = convert(source, target, out)
        assert conversion.result.normalise == (layout == "large")
        assert conversion.result.notes == ()
        assert max(conversion.differences) <= 1e-5
        assert len(conversion.differences) == 3
        assert_same(conversion.result.weights, model.state_dict())
        source = str(out)
    assert AutoModel.from_pretrained(source).config.num_attention_heads == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fairseq2_built_by_fairseq2(tmp_path, layout):
    pytest.importorskip("fairseq2", reason="fairseq2 is an extra")
    from nonverbal.families.fairseq import fairseq2_model

    config = model_of(layout).config
    torch.manual_seed(0)
    theirs = fairseq2_model(config, fairseq2_model(config, everything(config, layout)).state_dict())
    torch.save({"model": theirs.state_dict()}, tmp_path / "model.pt")
    checkpoint = read_checkpoint(str(tmp_path / "model.pt"), heads=4)
    assert checkpoint.format == "fairseq2"
    assert checkpoint.left_over == ()
    assert checkpoint.has_head
    inputs = prepared(fixed_signal(), checkpoint.normalise)
    expected, by = own_states(ENCODERS, checkpoint, inputs)
    assert by == "fairseq2"
    found = states_of(encoder(checkpoint), inputs)
    assert max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) <= 1e-5


def everything(config, layout):
    """Weights for all of fairseq2's names, drawn by transformers."""
    return renamed(model_of(layout).state_dict(), "transformers", "fairseq2", layout_named(layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_are_those_of_fairseq2s_own_key_map(layout):
    pytest.importorskip("fairseq2", reason="fairseq2 is an extra")
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2.config import Wav2Vec2Config as TheirConfig
    from fairseq2.models.wav2vec2.interop import convert_wav2vec2_state_dict

    config = TheirConfig()
    config.encoder_config.norm_order = TransformerNormOrder.POST if layout == "base" else TransformerNormOrder.PRE
    # Their map asks for mask_emb.weight, and leaves out the one convolution of positions that wav2vec 2.0 has.
    names = [name for name in fairseq_weights(model_of(layout), layout) if "pos_conv" not in name]
    theirs = convert_wav2vec2_state_dict({"mask_emb.weight": "", **{name: name for name in names}}, config)
    ours = {translate(name, "fairseq", "fairseq2", layout_named(layout)): name for name in names}
    drop = ("masker.temporal_mask_embed.weight", "quantizer.num_updates")
    assert ours == {name: value for name, value in theirs.items() if name not in drop}


@pytest.mark.parametrize("group_norm", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_no_name_stands_for_two(group_norm, pre_norm):
    rows = [row for row in TABLE if row.fits(Layout(group_norm, pre_norm))]
    for column in ("fairseq", "fairseq2", "transformers"):
        assert len({getattr(row, column) for row in rows}) == len(rows)


class Malicious:
    def __init__(self, folder, function=os.system):
        self.command, self.function = f"touch {folder / 'ran'}", function

    def __reduce__(self):
        return self.function, (self.command,)


@pytest.mark.parametrize("function", [os.system, eval, exec, getattr], ids=lambda function: function.__name__)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_could_run_something_is_named_refused_and_not_run(tmp_path, function, zipped):
    path = tmp_path / "model.pt"
    state = {"model": fairseq_weights(model_of(), "base"), "args": Malicious(tmp_path, function)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    name = f"{function.__module__}.{function.__name__}".replace("posix", "(posix|nt|os)")
    with pytest.raises(UserError, match=f"is refused: it imports {name}"):
        read_checkpoint(str(path))
    assert not (tmp_path / "ran").exists()


def test_globals_are_found_in_every_protocol(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(Malicious(tmp_path), protocol) * 5)
        assert set(list_globals(path)) == {f"{os.system.__module__}.system"}
        with pytest.raises(UserError, match="is refused: it imports"):
            read_checkpoint(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_function_of_an_allowed_package_is_not_called(tmp_path):
    class Call:
        def __reduce__(self):
            import collections.abc  # noqa: F401
            import typing

            return typing.cast, (int, "never called")

    torch.save({"model": fairseq_weights(model_of(), "base"), "args": Call()}, tmp_path / "model.pt")
    assert read_checkpoint(str(tmp_path / "model.pt")).format == "fairseq"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_cut_short(tmp_path, zipped, share):
    path = tmp_path / "model.pt"
    save_fairseq(path, zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="model.pt cannot be read .*truncated") as error:
        read_checkpoint(str(path))
    assert "\n" not in str(error.value)


def test_a_folder_whose_weights_are_cut_short(tmp_path):
    save_transformers(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot load the checkpoint.*model.safetensors is truncated or damaged"):
        read_checkpoint(str(tmp_path))


def test_a_folder_without_config_is_not_guessed_by_its_name(tmp_path):
    # transformers finds "mpt" in it.
    (tmp_path / "emptydir").mkdir()
    for read in (read_checkpoint, audio_mamba.read_checkpoint):
        with pytest.raises(UserError, match="emptydir is neither a run nor .* it has no config.json"):
            read(str(tmp_path / "emptydir"))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"\x80\x02]q\x00."], ids=repr)
def test_what_is_no_checkpoint(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match="model.pt cannot be read"):
        read_checkpoint(str(tmp_path / "model.pt"))


def test_another_architecture_is_refused_with_what_was_found(tmp_path):
    path = tmp_path / "model.pt"
    weights = fairseq_weights(model_of(), "base")
    data2vec = {name: value for name, value in weights.items() if "pos_conv" not in name}
    conformer = {name.replace("fc1", "ffn1.w_1"): value for name, value in weights.items()}
    relative = {**weights, "encoder.layers.0.self_attn.grep_a": torch.zeros(1)}
    text = {"encoder.embed_tokens.weight": torch.zeros(2, 2)}
    deep = {**weights, "feature_extractor.conv_layers.3.0.weight": torch.zeros(16, 16, 5)}
    for state, found in (
        ({**data2vec, "encoder.pos_conv.0.0.weight": torch.zeros(1)}, "no wav2vec2.encoder.pos_conv_embed"),
        (conformer, "no wav2vec2.encoder.layers.0.feed_forward"),
        (text, "weights such as encoder.embed_tokens.weight"),
        ({"epoch": 3}, "weights such as none at all"),
        (deep, "convolutions with kernels .10, 3, 3, 5, 3, 2, 2."),
        ({**weights, "quantizer.vars": torch.zeros(32, 8)}, "a quantizer of other shapes .not enough values"),
    ):
        torch.save({"model": state}, path)
        with pytest.raises(UserError, match=f"model.pt has another architecture: found {found}.*; expected an enc"):
            read_checkpoint(str(path))
    less = {name: value for name, value in weights.items() if "fc2" not in name}
    for state, found in (
        (relative, r"unknown weights: 1 \(encoder.layers.0.self_attn.grep_a\)"),
        (less, "missing weights: 4"),
    ):
        torch.save({"model": state}, path)
        with pytest.raises(UserError, match=f"model.pt does not hold one complete encoder: {found}.*; expected an enc"):
            read_checkpoint(str(path))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    for name, model in (("bert", BertModel(BertConfig(**sizes))), ("wavlm", WavLMModel(WavLMConfig(**sizes)))):
        model.save_pretrained(tmp_path / name)
        with pytest.raises(UserError, match=f"has another architecture: found a '{name}' model; expected"):
            read_checkpoint(str(tmp_path / name))


def test_what_is_missing_is_drawn_from_the_seed_and_said(tmp_path):
    model = model_of()
    model.wav2vec2.save_pretrained(tmp_path)
    starts = [start_from(str(tmp_path), Architecture(), None, seed) for seed in (0, 0, 1)]
    account = starts[0].account
    assert [row[:2] for row in account.rows] == [
        ("taken", "encoder"),
        ("initialised", "quantiser"),
        ("initialised", "projections"),
        ("taken", "mask embedding"),
    ]
    assert "has no quantiser" in account.warning
    assert "warm_quantiser_steps" in account.warning
    warmed = build_objective(Wav2Vec2Settings(init=str(tmp_path), warm_quantiser_steps=7), 0)
    assert warmed.account.warning == "the checkpoint has no quantiser; a new one is trained alone for 7 steps"
    first, again, other = (start.model.state_dict() for start in starts)
    assert torch.equal(first["project_q.weight"], again["project_q.weight"])
    assert not torch.equal(first["project_q.weight"], other["project_q.weight"])
    assert all(torch.equal(first[f"wav2vec2.{k}"], v) for k, v in model.wav2vec2.state_dict().items())


def test_the_quantiser_of_a_bare_encoder_is_the_settings(tmp_path):
    save_fairseq(tmp_path / "model.pt")
    model_of().wav2vec2.save_pretrained(tmp_path)
    sizes = {"hidden_size": 64, "layers": 2, "heads": 4, "ffn_size": 48, "conv_channels": 16}
    architecture = Architecture(**sizes, position_kernel=16, position_groups=4, codes=8, code_size=32)
    state = start_from(str(tmp_path), architecture, None, 0).model.state_dict()
    assert state["quantizer.codevectors"].shape == (1, 16, 16)
    with pytest.raises(UserError, match="contradicts the checkpoint .* in codevector_dim, num_codevec"):
        start_from(str(tmp_path / "model.pt"), Architecture(**sizes, position_kernel=16, position_groups=4), None, 0)


def teardown_module():
    forget()
