"""Files in parts, in wrappers, of several models, in other pickles: read where it is meant, or the true reason."""

import json

import pytest
import torch
from safetensors.torch import save_file
from sources import fairseq_weights, model_of, save_fairseq, save_transformers
from test_ssam import model_of as mamba_of
from test_ssam import released_weights
from transformers import HubertConfig, HubertForCTC, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_encoder
from nonverbal.families import read_any
from nonverbal.models import ssam
from nonverbal.models.checkpoints import audio_mamba, weight_files
from nonverbal.models.checkpoints.hugging_face import refuse_not_finite
from nonverbal.models.checkpoints.reading import read_checkpoint
from nonverbal.models.checkpoints.starting import hubert_from, start_from
from nonverbal.models.wav2vec2 import Architecture
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


def in_parts(folder, weights, write, ending):
    """Weights in two files and their index, as transformers cuts them."""
    names = sorted(weights)
    parts = {f"{ending[0]}-0000{i + 1}-of-00002.{ending[1]}": names[i::2] for i in range(2)}
    for name, held in parts.items():
        write({key: weights[key].contiguous() for key in held}, folder / name)
    index = {"weight_map": {key: name for name, held in parts.items() for key in held}}
    (folder / f"{ending[0]}.{ending[1]}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_a_name_is_found_wherever_a_chunk_ends(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(weight_files, "CHUNK", chunk)
    (tmp_path / "a.pt").write_bytes(b"....encoder.layers.0....")
    assert weight_files.holds_any(tmp_path / "a.pt", ["absent", "encoder.layers.0"])
    assert not weight_files.holds_any(tmp_path / "a.pt", ["encoder.layers.1", "decoder"])
    (tmp_path / "a.pt").write_bytes(b"")
    assert not weight_files.holds_any(tmp_path / "a.pt", ["decoder"])


def test_parts_are_read_by_their_index_or_by_one_of_them(tmp_path):
    model = save_transformers(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    in_parts(tmp_path, model.state_dict(), torch.save, ("pytorch_model", "bin"))
    with pytest.raises(
        UserError, match=r"nonverbal convert .*pytorch_model.bin.index.json --to transformers can read them"
    ):
        read_checkpoint(str(tmp_path))
    for name in ("pytorch_model.bin.index.json", "pytorch_model-00002-of-00002.bin"):
        assert_same(read_checkpoint(str(tmp_path / name)).weights, model.state_dict())
    in_parts(tmp_path, model.state_dict(), save_file, ("model", "safetensors"))
    assert_same(read_checkpoint(str(tmp_path)).weights, model.state_dict())
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(UserError, match="names files that do not exist: pytorch_model-00001-of-00002.bin"):
        read_checkpoint(str(tmp_path / "pytorch_model.bin.index.json"))
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(UserError, match="is one of 2 parts, but their index is missing; copy pytorch_model.bin"):
        read_checkpoint(str(tmp_path / "pytorch_model-00002-of-00002.bin"))


def test_an_index_names_no_file_of_another_folder(tmp_path):
    save_transformers(tmp_path / "other")
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../other/model.safetensors"}})
    )
    (folder / "config.json").write_text((tmp_path / "other" / "config.json").read_text())
    with pytest.raises(UserError, match="names files in other folders"):
        read_checkpoint(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.module.", "model._orig_mod."])
@pytest.mark.parametrize("kind", ["transformers", "fairseq", "bare", "ssam"])
def test_what_wraps_a_model_leaves_no_trace(tmp_path, prefix, kind):
    model = mamba_of() if kind == "ssam" else save_transformers(tmp_path)
    weights = {
        "transformers": model.state_dict,
        "bare": lambda: model.wav2vec2.state_dict(),
        "fairseq": lambda: fairseq_weights(model, "base"),
        "ssam": lambda: released_weights(model),
    }[kind]()
    torch.save(
        {"state_dict": {prefix + name: value for name, value in weights.items()}, "epoch": 3}, tmp_path / "a.ckpt"
    )
    checkpoint = read_any(str(tmp_path / "a.ckpt"), heads=4)
    assert checkpoint.left_over == ()
    assert checkpoint.has_head == (kind != "bare")
    expected = model.state_dict()
    assert_same(checkpoint.weights, {n: v for n, v in expected.items() if kind != "bare" or n.startswith("wav2vec2.")})


def test_a_wrapper_in_the_middle_of_names(tmp_path):
    model = save_transformers(tmp_path)
    weights = {name.replace("layers.1.", "layers.1._orig_mod."): value for name, value in model.state_dict().items()}
    torch.save(weights, tmp_path / "model.bin")
    assert_same(read_checkpoint(str(tmp_path / "model.bin")).weights, model.state_dict())
    save_file({f"_orig_mod.{name}": value for name, value in weights.items()}, tmp_path / "model.safetensors")
    assert_same(read_checkpoint(str(tmp_path)).weights, model.state_dict())
    torch.save(weights | model.state_dict(), tmp_path / "model.bin")
    with pytest.raises(UserError, match="holds a weight with and without a wrapper"):
        read_checkpoint(str(tmp_path / "model.bin"))


def test_lightnings_hyperparameters_are_not_run_and_its_other_modules_are_left_over(tmp_path):
    from sources import forget, made

    model = save_transformers(tmp_path)
    state = {f"model.{name}": value for name, value in model.wav2vec2.state_dict().items()}
    state |= {"classifier.weight": torch.zeros(2, 64), "model.pool.weight": torch.zeros(3)}
    hyper = made("omegaconf.dictconfig", "DictConfig")
    torch.save({"state_dict": state, "hyper_parameters": hyper, "pytorch-lightning_version": "2"}, tmp_path / "a.ckpt")
    forget()
    checkpoint = read_checkpoint(str(tmp_path / "a.ckpt"))
    assert checkpoint.left_over == ("classifier.weight", "pool.weight")
    assert not checkpoint.has_head


def test_two_encoders_in_one_file(tmp_path):
    model = save_transformers(tmp_path)
    weights = model.wav2vec2.state_dict()
    averaged = {name: value + 1 for name, value in weights.items()}
    torch.save({"model": weights, "ema": averaged}, tmp_path / "beside.pt")
    checkpoint = read_checkpoint(str(tmp_path / "beside.pt"))
    assert_same(checkpoint.weights, {f"wav2vec2.{name}": value for name, value in weights.items()})
    assert checkpoint.notes[0] == "the weights are model in the file, not ema"
    student, teacher = ({f"{who}.{name}": v for name, v in weights.items()} for who in ("student", "teacher"))
    torch.save({"state_dict": student | teacher}, tmp_path / "a.ckpt")
    with pytest.raises(
        UserError, match=r"holds 2 encoders \(state_dict, student\.\*, state_dict, teacher\.\*\); write"
    ):
        read_checkpoint(str(tmp_path / "a.ckpt"))
    torch.save({"one": weights, "other": averaged}, tmp_path / "neither.pt")
    with pytest.raises(UserError, match=r"holds 2 encoders \(one, other\)"):
        read_checkpoint(str(tmp_path / "neither.pt"))


def save_hubert(folder):
    config = {key: value for key, value in model_of().config.to_dict().items() if key in HubertConfig().to_dict()}
    torch.manual_seed(0)
    model = HubertForCTC(HubertConfig(**{**config, "model_type": "hubert"})).eval()
    model.save_pretrained(folder)
    return model


def test_hubert_starts_from_whatever_wav2vec2_starts_from(tmp_path):
    model = save_hubert(tmp_path / "hubert")
    own = model.hubert.state_dict()
    torch.save(model.state_dict(), tmp_path / "hubert" / "pytorch_model.bin")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").touch()
    objective = build_hubert_objective(HubertSettings(init=str(tmp_path / "hubert")), 5, 0)
    objective.export(run / "encoder", objective.state_dict())
    as_wav2vec2 = model_of()
    as_wav2vec2.wav2vec2.load_state_dict(own)
    save_fairseq(tmp_path / "hubert.pt", model=as_wav2vec2, label_embs_concat=torch.zeros(5, 4))
    for source in ("hubert", "hubert/pytorch_model.bin", "run", "run/encoder", "hubert.pt"):
        start = hubert_from(str(tmp_path / source), Architecture(), None, 0)
        assert_same(start.model.state_dict(), own)
        assert start.account.rows[0][:2] == ("taken", "encoder")
        objective = build_hubert_objective(HubertSettings(init=str(tmp_path / source)), 5, 0)
        assert objective.account.rows == start.account.rows


def test_a_mask_embedding_that_is_not_there_is_drawn_from_the_seed(tmp_path):
    model = save_hubert(tmp_path)
    weights = {name: value for name, value in model.hubert.state_dict().items() if name != "masked_spec_embed"}
    save_file(weights, tmp_path / "model.safetensors")
    first, again, other = (
        hubert_from(str(tmp_path), Architecture(), None, seed).model.masked_spec_embed for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_released_audio_mamba_in_half_precision(tmp_path, dtype):
    model = mamba_of()
    torch.save(
        {"model": {name: value.to(dtype) for name, value in released_weights(model).items()}}, tmp_path / "a.pth"
    )
    weights = audio_mamba.read_checkpoint(str(tmp_path / "a.pth")).weights
    assert_same(weights, {name: value.to(dtype).float() for name, value in model.state_dict().items()})


def test_an_audio_mamba_of_transformers_is_read_with_the_config_beside_it(tmp_path):
    model = mamba_of(frame_order="official", padding="masked")
    ssam.export(model, model.state_dict(), tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    checkpoint = read_any(str(tmp_path / "pytorch_model.bin"))
    assert_same(checkpoint.weights, model.state_dict())
    assert (checkpoint.config.frame_order, checkpoint.config.padding) == ("official", "masked")
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="whose config.json says how clips are read; put it in its folder"):
        read_any(str(tmp_path / "pytorch_model.bin"))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_pickle_protocols_are_read_or_the_reason_is_true(tmp_path, protocol):
    model, path = model_of(), tmp_path / "model.pt"
    torch.save({"model": fairseq_weights(model, "base")}, path, pickle_protocol=protocol)
    if protocol == 3:
        assert_same(read_checkpoint(str(path), heads=4).weights, model.state_dict())
        return
    with pytest.raises(UserError, match=f"is written in pickle protocol {protocol}, .* write it again with torch.save"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_weights_whose_scale_is_elsewhere_are_refused(tmp_path, dtype):
    model = save_transformers(tmp_path)
    name = "wav2vec2.encoder.layers.0.feed_forward.intermediate_dense.weight"
    save_file(model.state_dict() | {name: model.state_dict()[name].to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"{name} (is stored )?in torch.{str(dtype).split('.')[1]}"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_by_name(tmp_path, bad):
    model = save_transformers(tmp_path)
    weights = model.state_dict()
    weights["wav2vec2.encoder.layers.1.final_layer_norm.weight"][3] = bad
    save_file(weights, tmp_path / "model.safetensors")
    message = "NaN or infinite values in 1 of .* weights: .*encoder.layers.1.final_layer_norm.weight"
    for use in (
        lambda: start_from(str(tmp_path), Architecture(), None, 0),
        lambda: hubert_from(str(tmp_path), Architecture(), None, 0),
        lambda: load_encoder(str(tmp_path)),
    ):
        with pytest.raises(UserError, match=message):
            use()
    mamba = mamba_of()
    mamba.pred[0].bias.data[0] = bad
    with pytest.raises(UserError, match="pred.0.bias"):
        refuse_not_finite("mamba", mamba.state_dict())


def test_a_head_that_is_not_what_the_configuration_says_is_no_head_to_leave_over(tmp_path):
    save_transformers(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_codevectors_per_group": 8}))
    with pytest.raises(UserError, match=r"quantizer.codevectors \(1, 32, 8\), not \(1, 16, 8\)"):
        read_checkpoint(str(tmp_path))


def test_the_weights_of_a_runs_own_checkpoint_are_refused_as_its_folder_is(tmp_path):
    save_file({f"model.{name}": value for name, value in model_of().state_dict().items()}, tmp_path / "a.safetensors")
    (tmp_path / "state.json").touch()
    for source in (tmp_path, tmp_path / "a.safetensors"):
        with pytest.raises(UserError, match="is a checkpoint from which its run continues; give the run's folder"):
            read_any(str(source))


def test_another_rate_than_ours_is_refused(tmp_path):
    save_transformers(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(UserError, match="has a sampling_rate of 8000 Hz, but only 16000 Hz is supported"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", "somebody/kernel"),
        ("quantization_config", {"quant_method": "x"}),
        ("transformers_weights", "../a.safetensors"),
    ],
)
def test_an_encoder_to_probe_loads_neither_other_files_nor_code(tmp_path, key, value):
    save_transformers(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    for name in (str(tmp_path), f"initialised:{tmp_path}"):
        with pytest.raises(UserError, match=f"the configuration of .* has {key}"):
            load_encoder(name)


def test_an_encoder_to_probe_gives_its_layers_whatever_its_configuration_asks_for(tmp_path):
    import numpy as np

    model = save_transformers(tmp_path)
    waveform = np.sin(np.arange(4000, dtype=np.float32))
    expected = load_encoder(str(tmp_path)).frames(waveform)
    recogniser = Wav2Vec2ForCTC(model.config)
    recogniser.wav2vec2.load_state_dict(model.wav2vec2.state_dict())
    recogniser.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"return_dict": False, "torchscript": True}))
    assert np.array_equal(load_encoder(str(tmp_path)).frames(waveform), expected)
    with pytest.raises(UserError, match="makes a frame of 400 samples, but a part of a clip has 399"):
        load_encoder(str(tmp_path)).frames(waveform[:399])


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
def test_the_last_layer_is_after_the_norm_that_ends_the_encoder_and_before_an_adapter(tmp_path, kind):
    import numpy as np
    import transformers

    sizes = {key: value for key, value in model_of("large").config.to_dict().items() if key in HubertConfig().to_dict()}
    sizes.pop("model_type")
    adapter = {"add_adapter": True, "num_adapter_layers": 1} if kind != "Hubert" else {}
    config = getattr(transformers, f"{kind}Config")(**sizes, **adapter)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    torch.nn.init.normal_(model.encoder.layer_norm.weight)
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    waveform = np.sin(np.arange(4000, dtype=np.float32))
    outputs = []
    model.encoder.register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0]))
    with torch.no_grad():
        model(torch.from_numpy(waveform)[None])
    frames = load_encoder(str(tmp_path)).frames(waveform)
    assert len(frames) == 3
    assert np.allclose(frames[-1], outputs[0][0].numpy(), atol=1e-5)


@pytest.mark.parametrize("how", ["sparse", "meta"])
def test_weights_that_are_no_plain_tensors_are_refused_by_name(tmp_path, how):
    weights = save_transformers(tmp_path).state_dict()
    value = weights["wav2vec2.encoder.layer_norm.weight"]
    weights["wav2vec2.encoder.layer_norm.weight"] = value.to_sparse() if how == "sparse" else value.to("meta")
    torch.save(weights, tmp_path / "model.bin")
    with pytest.raises(UserError, match=r"encoder\.layer_norm\.weight is stored .*save it as a plain tensor"):
        read_checkpoint(str(tmp_path / "model.bin"))


def test_one_weight_in_two_places_is_refused(tmp_path):
    weights = save_transformers(tmp_path).state_dict()
    old = {f"wav2vec2.encoder.pos_conv_embed.conv.weight_{end}": torch.ones(1) for end in "gv"}
    save_file(weights | old, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="the same weight has two names"):
        read_checkpoint(str(tmp_path))
    for number in (1, 2):
        save_file(weights, tmp_path / f"model-0000{number}-of-00002.safetensors")
    index = {"weight_map": {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(weights)}}
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="contain a weight more than once"):
        read_checkpoint(str(tmp_path))


def test_an_adapter_beside_the_weights_is_not_left_out(tmp_path):
    save_transformers(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    for read in (read_any, load_encoder):
        with pytest.raises(UserError, match="holds a PEFT adapter"):
            read(str(tmp_path))


@pytest.mark.parametrize("name", ["encoder.pos_conv_embed.batch_norm.weight", "feature_projection.gate"])
def test_an_encoder_to_probe_leaves_none_of_its_own_weights_over(tmp_path, name):
    weights = save_transformers(tmp_path).state_dict()
    save_file(weights | {f"wav2vec2.{name}": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"unknown weights: 1 .*{name}.*expected .* its config.json"):
        load_encoder(str(tmp_path))
