"""``nonverbal convert`` and ``nonverbal compare``, and a run between two formats."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sources import model_of, save_fairseq, save_transformers
from tiny_shapes import SSAM
from transformers import AutoModel, HubertConfig, HubertModel

from evaluate.compare import main as compare
from nonverbal.errors import UserError
from nonverbal.evaluation.differences import LinearCKA, compare_encoders
from nonverbal.families import conversion, read_any
from nonverbal.models.checkpoints.reading import read_checkpoint
from nonverbal.models.wav2vec2 import export
from pretrain import train
from pretrain.convert import main as convert

CLIPS = [("a", seconds, "train") for seconds in (0.6, 1.0, 1.5, 0.4, 2.0)] * 3 + [("a", 1.0, "validation")]


def test_convert_says_how_far_both_are_apart(tmp_path, capsys):
    save_fairseq(tmp_path / "model.pt")
    convert([str(tmp_path / "model.pt"), "--to", "transformers", "--out", str(tmp_path / "folder")])
    output = capsys.readouterr().out
    parameters = sum(value.numel() for value in model_of().state_dict().values())
    assert f"fairseq -> transformers: 58 weights, {parameters:,} parameters" in output
    assert "0.0e+00" in output
    assert (tmp_path / "folder" / "preprocessor_config.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_replaced_without_being_told(tmp_path):
    save_transformers(tmp_path / "source")
    save_transformers(tmp_path / "there")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    source = str(tmp_path / "source")
    to = [source, "--to", "transformers", "--out"]
    before = (tmp_path / "there" / "model.safetensors").stat().st_mtime_ns
    for argv, message in (
        ([*to, str(tmp_path / "there")], "there already exists; choose another --out, or give --overwrite"),
        ([*to, source, "--overwrite"], "is the source itself, or a folder that contains it"),
        ([*to, str(tmp_path), "--overwrite"], "is the source itself, or a folder that contains it"),
        ([*to, str(tmp_path / "mine"), "--overwrite"], "is not a checkpoint in transformers's format"),
        ([*to, str(tmp_path / "a.pt")], "must be a folder"),
    ):
        with pytest.raises(UserError, match=message):
            convert(argv)
    assert (tmp_path / "there" / "model.safetensors").stat().st_mtime_ns == before
    convert([*to, str(tmp_path / "there"), "--overwrite"])
    assert (tmp_path / "there" / "model.safetensors").stat().st_mtime_ns > before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "source", "there"]


def test_in_a_few_steps_and_out(tmp_path, make_shards, capsys):
    save_fairseq(tmp_path / "start.pt")
    run = tmp_path / "run"
    settings = {"trainer.steps": 2, "trainer.optimizer.warmup_steps": 1, "trainer.precision": "fp32"}
    settings |= {"batches.batch_seconds": 3, "batches.batches_per_step": 2, "batches.max_seconds": 2}
    settings |= {"batches.min_seconds": 0.5}
    given = ["--data", str(make_shards(CLIPS).folder), "--out", str(run)]
    given += ["--wav2vec2.init", str(tmp_path / "start.pt"), *(f"--{key}={value}" for key, value in settings.items())]
    train.main(given)
    said = capsys.readouterr().out
    assert "starting from" in said
    assert "initialised" not in said
    convert([str(run), "--to", "fairseq", "--out", str(tmp_path / "end.pt")])
    convert([str(tmp_path / "end.pt"), "--to", "transformers", "--out", str(tmp_path / "end")])
    trained, back = AutoModel.from_pretrained(run / "encoder"), AutoModel.from_pretrained(tmp_path / "end")
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in trained.state_dict().items())
    with pytest.raises(SystemExit) as ended:
        compare([str(tmp_path / "start.pt"), str(run), "--clips", "2", "--json", str(tmp_path / "figures.json")])
    assert ended.value.code == 1
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [layer["layer"] for layer in figures["layers"]] == [0, 1, 2]
    assert all(layer["largest"] > 0 and layer["cka"] > 0.9 for layer in figures["layers"])
    assert figures["moved"][0]["relative"] > figures["moved"][-1]["relative"] >= 0
    assert figures["moved"][0]["name"].removeprefix("wav2vec2.") in capsys.readouterr().out
    assert figures["differ"]
    compare([str(run), str(tmp_path / "end.pt"), "--clips", "2"])


def test_what_fairseq_looks_for_is_there_and_plain(tmp_path):
    save_transformers(tmp_path / "source", "large")
    convert([str(tmp_path / "source"), "--to", "fairseq", "--out", str(tmp_path / "model.pt")])
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert state["cfg"]["model"]["encoder_attention_heads"] == 4
    assert state["cfg"]["model"]["conv_feature_layers"].startswith("[(16, 10, 5), (16, 3, 2)")
    assert state["cfg"]["task"]["normalize"]
    assert {"lr_scheduler_state", "optimizer_name", "num_updates"} <= state["optimizer_history"][-1].keys()
    assert state["extra_state"]["train_iterator"]["epoch"] == 1


def changed(folder, name, change):
    """Change one of the weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights[name])
    save_file(weights, folder / "model.safetensors")


WEIGHT = "wav2vec2.encoder.layers.0.final_layer_norm.bias"


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["transformers", "fairseq"])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_not_the_source_is_not_kept(tmp_path, monkeypatch, target, there):
    save_fairseq(tmp_path / "source.pt", **{"ctc.weight": torch.zeros(2), "proj.weight": torch.zeros(2)})
    argv = [str(tmp_path / "source.pt"), "--to", target, "--out", str(tmp_path / "out"), "--overwrite"]
    if there:
        convert(argv)
    before = files_in(tmp_path)
    original = conversion.write

    def off(checkpoint, target, path):
        weights = checkpoint.weights | {WEIGHT: checkpoint.weights[WEIGHT] + 1e-7}
        original(replace(checkpoint, weights=weights), target, path)

    monkeypatch.setattr(conversion, "write", off)
    with pytest.raises(UserError, match=f"out is not kept, .* in weights {WEIGHT}; .*ctc.weight, proj.weight"):
        convert(argv)
    assert files_in(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("wrong", [1e-6, float("nan")])
def test_states_that_differ_are_not_within_the_tolerance_of_one_implementation(tmp_path, monkeypatch, wrong):
    save_transformers(tmp_path / "source")
    original = conversion.own_states

    def off(kind, checkpoint, inputs):
        states, by = original(kind, checkpoint, inputs)
        states[1] = states[1] + wrong * ("out" in str(checkpoint.path))
        return states, by

    monkeypatch.setattr(conversion, "own_states", off)
    with pytest.raises(UserError, match="differs from .* in hidden states of layer 1 by"):
        convert([str(tmp_path / "source"), "--to", "fairseq", "--out", str(tmp_path / "out.pt")])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("layout", ["base", "large"])
def test_a_hubert_is_converted_to_the_same_bits(tmp_path, layout):
    config = {key: value for key, value in model_of(layout).config.to_dict().items() if key in HubertConfig().to_dict()}
    HubertModel(HubertConfig(**{**config, "model_type": "hubert"})).save_pretrained(tmp_path / "hubert")
    for target in ("transformers", "fairseq"):
        convert([str(tmp_path / "hubert"), "--to", target, "--out", str(tmp_path / target)])
    before, after = (
        load_file(tmp_path / "hubert/model.safetensors"),
        load_file(tmp_path / "transformers/model.safetensors"),
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_every_dropped_weight_is_named(tmp_path, capsys):
    more = {f"head.{i}.weight": torch.zeros(2) for i in range(9)}
    save_fairseq(tmp_path / "source.pt", **more)
    convert([str(tmp_path / "source.pt"), "--to", "transformers", "--out", str(tmp_path / "out")])
    output = capsys.readouterr().out
    assert all(name in output for name in more)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_a_difference(tmp_path, capsys, bad):
    for name in ("a", "b"):
        save_transformers(tmp_path / name)
    changed(tmp_path / "b", WEIGHT, lambda weight: weight[3].fill_(bad))
    with pytest.raises(UserError, match=f"NaN or infinite values in 1 of .*: {WEIGHT}"):
        convert([str(tmp_path / "b"), "--to", "fairseq", "--out", str(tmp_path / "out.pt")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for pair in (("a", "b"), ("b", "a"), ("b", "b")):
        argv = [*(str(tmp_path / name) for name in pair), "--clips", "1", "--json", str(tmp_path / "figures.json")]
        with pytest.raises(SystemExit, match="1"):
            compare(argv)
        assert "nan" in capsys.readouterr().out
        figures = json.loads((tmp_path / "figures.json").read_text(), parse_constant=pytest.fail)
        assert figures["moved"][0] == {"name": WEIGHT, "relative": None, "finite": False}
        assert figures["layers"][1]["largest"] is None
        assert not figures["layers"][1]["finite"]
        assert "finite" not in figures["layers"][0]


def test_the_least_difference_of_a_weight_is_one(tmp_path):
    for name in ("a", "b"):
        save_transformers(tmp_path / name)
        changed(tmp_path / name, WEIGHT, lambda weight: weight.fill_(1e-30))
    compare([str(tmp_path / "a"), str(tmp_path / "b"), "--clips", "1"])
    changed(tmp_path / "b", WEIGHT, lambda weight: weight[0].fill_(2e-30))
    with pytest.raises(SystemExit, match="1"):
        compare([str(tmp_path / "a"), str(tmp_path / "b"), "--clips", "1"])


def test_weights_that_only_one_has_are_named(tmp_path, capsys):
    model = save_transformers(tmp_path / "a")
    model.wav2vec2.save_pretrained(tmp_path / "b")
    for pair, one in ((("a", "b"), "A"), (("b", "a"), "B")):
        with pytest.raises(SystemExit, match="1"):
            compare([*(str(tmp_path / name) for name in pair), "--clips", "1"])
        output = " ".join(capsys.readouterr().out.split())
        assert f"weights that only {one} has in this shape: project_hid.bias" in output
        assert "quantizer.weight_proj.weight" in output


def test_a_difference_of_configurations_alone_is_named(tmp_path, capsys):
    for name in ("a", "b"):
        save_transformers(tmp_path / name)
    with_config(tmp_path / "b", hidden_act="relu", hidden_dropout=0.5)
    with pytest.raises(SystemExit, match="1"):
        compare([str(tmp_path / "a"), str(tmp_path / "b"), "--clips", "1"])
    output = capsys.readouterr().out
    assert "note: their configurations differ in hidden_act\n" in output
    assert "no weight differs" in output


def test_a_layer_that_never_changes_has_no_cka():
    cka = LinearCKA()
    cka.add(torch.ones(5, 2), torch.randn(5, 3))
    assert cka.read() is None


def with_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("key", "value", "target"),
    [("hidden_act", "relu", "fairseq2"), ("hidden_act", "mish", "fairseq"), ("layer_norm_eps", 0.1, "fairseq")],
)
def test_what_a_format_cannot_say_is_not_written(tmp_path, key, value, target):
    save_transformers(tmp_path / "a")
    with_config(tmp_path / "a", **{key: value})
    with pytest.raises(UserError, match=f"has {key} .*, but models in {target} always have"):
        convert([str(tmp_path / "a"), "--to", target, "--out", str(tmp_path / "out.pt")])
    convert([str(tmp_path / "a"), "--to", "transformers", "--out", str(tmp_path / "out")])
    assert getattr(read_checkpoint(str(tmp_path / "out")).config, key) == value


def test_fairseq_is_told_the_activation_and_the_strides(tmp_path):
    save_transformers(tmp_path / "a")
    changes = {"hidden_act": "relu", "conv_stride": [5, 2, 2, 2, 2, 2, 1]}
    with_config(tmp_path / "a", **changes)
    convert([str(tmp_path / "a"), "--to", "fairseq", "--out", str(tmp_path / "a.pt")])
    config = read_checkpoint(str(tmp_path / "a.pt")).config
    assert {key: getattr(config, key) for key in changes} == changes


def audio_mamba(folder, **options):
    from nonverbal.models import ssam
    from nonverbal.models.audio_mamba import AudioMambaForPreTraining

    torch.manual_seed(0)
    shape = ssam.Architecture(**SSAM)
    model = AudioMambaForPreTraining(ssam.config_of(shape, **options))
    ssam.export(model, model.state_dict(), folder)
    return model


def test_an_audio_mamba_to_the_released_file_and_back(tmp_path, capsys):
    model = audio_mamba(tmp_path / "a")
    convert([str(tmp_path / "a"), "--to", "ssam", "--out", str(tmp_path / "a.pth")])
    output = capsys.readouterr().out
    parameters = sum(value.numel() for value in model.state_dict().values())
    assert f"transformers -> ssam: {len(model.state_dict())} weights, {parameters:,} parameters" in output
    assert output.count("0.0e+00") == 3
    assert "contains only weights" in output
    convert([str(tmp_path / "a.pth"), "--to", "transformers", "--out", str(tmp_path / "b")])
    assert "ssam -> transformers" in capsys.readouterr().out
    back = AutoModel.from_pretrained(tmp_path / "b")
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.audio_mamba.state_dict().items())
    assert back.config.frame_order == "official"
    convert([str(tmp_path / "b"), "--to", "ssam", "--out", str(tmp_path / "b.pth")])
    one, other = (torch.load(tmp_path / name, weights_only=True)["model"] for name in ("a.pth", "b.pth"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_audio_mamba_without_head_is_converted_alone(tmp_path, capsys):
    audio_mamba(tmp_path / "a").audio_mamba.save_pretrained(tmp_path / "encoder")
    convert([str(tmp_path / "encoder"), "--to", "ssam", "--out", str(tmp_path / "a.pth")])
    assert "no whole head: the encoder alone" in capsys.readouterr().out
    assert not [name for name in torch.load(tmp_path / "a.pth")["model"] if name.startswith(("pred", "mask"))]
    convert([str(tmp_path / "a.pth"), "--to", "transformers", "--out", str(tmp_path / "b")])
    assert not read_any(str(tmp_path / "b")).has_head


def test_formats_of_the_other_family_are_refused(tmp_path):
    audio_mamba(tmp_path / "mamba")
    save_transformers(tmp_path / "wav2vec2")
    out = ["--out", str(tmp_path / "out.pth")]
    with pytest.raises(UserError, match="is an Audio Mamba, for which --to must be transformers or ssam, but"):
        convert([str(tmp_path / "mamba"), "--to", "fairseq", *out])
    with pytest.raises(
        UserError, match="wav2vec 2.0, for which --to must be transformers or fairseq or fairseq2, but it is"
    ):
        convert([str(tmp_path / "wav2vec2"), "--to", "ssam", *out])
    with pytest.raises(UserError, match="must be a folder"):
        convert([str(tmp_path / "mamba"), "--to", "transformers", *out])


def test_audio_mambas_are_compared_as_they_read_clips_alike(tmp_path):
    model = audio_mamba(tmp_path / "a")
    audio_mamba(tmp_path / "b", padding="official", frame_order="official")
    found = compare_encoders(str(tmp_path / "a"), str(tmp_path / "b"), None, 2)
    assert [layer.largest for layer in found.layers] == [0, 0, 0]
    # As they would be used, their frames are not the same.
    assert found.differ
    assert found.notes[1] == "their configurations differ in frame_order, padding"
    assert f"{tmp_path / 'b'} prepares clips differently (padding, frame_order)" in found.notes[2]
    assert len(found.moved) == len(model.state_dict())
    save_transformers(tmp_path / "c")
    with pytest.raises(UserError, match=r"a makes \d+ frames from a clip and .*c \d+, so frames do not correspond"):
        compare_encoders(str(tmp_path / "a"), str(tmp_path / "c"), None, 2)


def test_an_encoder_is_not_apart_from_itself(tmp_path, make_shards):
    save_transformers(tmp_path / "a", "large")
    found = compare_encoders(str(tmp_path / "a"), str(tmp_path / "a"), make_shards(CLIPS).folder, 3)
    assert found.clips == 3
    assert all(layer.largest == layer.mean == 0 for layer in found.layers)
    assert all(layer.cka == pytest.approx(1) for layer in found.layers)
    assert all(movement.relative == 0 for movement in found.moved)
    assert len(found.moved) == len(read_checkpoint(str(tmp_path / "a")).weights)
    assert not found.differ


def test_what_differs_in_the_waveforms_alone_is_said(tmp_path):
    from nonverbal.models.wav2vec2 import export

    model = model_of()
    for name, normalise in (("a", False), ("b", True)):
        export(model, model.state_dict(), normalise, tmp_path / name)
    found = compare_encoders(str(tmp_path / "a"), str(tmp_path / "b"), None, 1)
    assert found.layers[0].largest > 0
    assert found.notes == [
        f"only the waveforms of {tmp_path / 'b'} are normalised, which alone makes hidden states differ"
    ]


def test_encoders_of_other_sizes_have_cka_alone(tmp_path):
    from nonverbal.models.wav2vec2 import export

    for name, sizes in (("a", {}), ("b", {"hidden_size": 32, "layers": 3})):
        model = model_of(**sizes)
        export(model, model.state_dict(), False, tmp_path / name)
    found = compare_encoders(str(tmp_path / "a"), str(tmp_path / "b"), None, 2)
    assert len(found.layers) == 3
    assert all(layer.largest is None and 0 < layer.cka < 1 for layer in found.layers)
    with pytest.raises(UserError, match="--clips must be at least 1"):
        compare_encoders(str(tmp_path / "a"), str(tmp_path / "b"), None, 0)


def test_cka_is_as_defined_and_blind_to_rotation_and_scale():
    random = np.random.default_rng(0)
    x, y = random.normal(3, 1, (50, 6)), random.normal(-1, 2, (50, 4))
    y[:, 0] += 2 * x[:, 1]
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    centre = np.eye(50) - 1 / 50
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    for other, value in ((y, expected), (3 * x @ rotation, 1.0)):
        cka = LinearCKA()
        for part in (slice(0, 20), slice(20, 50)):
            cka.add(torch.from_numpy(x[part]), torch.from_numpy(other[part]))
        assert cka.read() == pytest.approx(value)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module."])
def test_a_folder_whose_names_transformers_does_not_find_is_converted(tmp_path, wrapper):
    weights = save_transformers(tmp_path / "a").state_dict()
    wrapped = {wrapper + name: value for name, value in weights.items()}
    save_file(wrapped, tmp_path / "a" / "model.safetensors", metadata={"format": "pt"})
    convert([str(tmp_path / "a"), "--to", "transformers", "--out", str(tmp_path / "b")])
    assert all(torch.equal(value, weights[name]) for name, value in load_file(tmp_path / "b/model.safetensors").items())


@pytest.mark.parametrize("target", ["fairseq", "fairseq2"])
def test_a_projection_to_the_same_width_is_not_written_where_there_is_none(tmp_path, target):
    model = model_of(conv_channels=64)
    export(model, model.state_dict(), False, tmp_path / "a")
    with pytest.raises(UserError, match=f"models in {target} have no such projection"):
        convert([str(tmp_path / "a"), "--to", target, "--out", str(tmp_path / "b.pt")])
    assert not (tmp_path / "b.pt").exists()
