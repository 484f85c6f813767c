"""Audio Mamba against a forward pass written once more, the released code's ways by hand, and transformers' rules."""

import json
import os
import subprocess
import sys

import numpy as np
import plain_audio_mamba as plain
import pytest
import torch
from patience import HANGS
from tiny_shapes import AUDIO_MAMBA
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
)

from nonverbal.models import ssam
from nonverbal.models.audio_mamba import (
    AudioMambaConfig,
    AudioMambaForAudioClassification,
    AudioMambaForPreTraining,
    AudioMambaModel,
    log_mel,
    patches,
    positions,
    standardise,
)

CPU = torch.device("cpu")


def model_of(cls=AudioMambaForPreTraining, **options):
    """A small model whose biases and norms are random too: as zeros and ones a mistake would not show."""
    torch.manual_seed(0)
    model = cls(AudioMambaConfig(**AUDIO_MAMBA | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def sound(samples, seed=0):
    """A tone under noise that swells, ``(T,)``."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    return torch.from_numpy(np.sin(2000 * time * (1 + time)) * 0.3 * time + random.normal(0, 0.05, samples)).float()


def padded(*rows, filling=0.0):
    longest = max(len(row) for row in rows)
    batch = torch.full((len(rows), longest), filling)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        batch[i, : len(row)], mask[i, : len(row)] = row, 1
    return batch, mask


@pytest.mark.parametrize(("width", "millions"), [(192, 4.761), (384, 17.889), (768, 69.251)])
def test_sizes_are_the_papers(width, millions):
    with torch.device("meta"):
        model = AudioMambaForPreTraining(AudioMambaConfig(hidden_size=width))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_the_spectrogram_is_torchaudios_whatever_the_padding():
    rows = [sound(samples, seed) for seed, samples in enumerate((201, 400, 1601, 16_000, 31_999, 80_000))]
    batch, mask = padded(*rows, filling=9.0)
    mel, frames = log_mel(batch, mask.sum(1))
    assert frames.tolist() == [2, 3, 11, 101, 200, 501]
    for row, found, count in zip(rows, mel, frames, strict=True):
        assert (found[:count] - plain.log_mel(row)).abs().max() < 1e-5
        assert torch.allclose(log_mel(row[None], torch.tensor([len(row)]))[0][0], found[:count], atol=1e-5)


def test_what_is_too_short_to_be_reflected_is_followed_by_silence():
    row = sound(77)
    expected = plain.log_mel(torch.cat([row, torch.zeros(124)]))
    for batch, mask in (padded(row), padded(row, sound(900), filling=9.0)):
        mel, frames = log_mel(batch, mask.sum(1))
        assert frames[0] == 2
        assert (mel[0, :2] - expected).abs().max() < 1e-5


def test_positions_are_those_of_mae():
    for times, width in ((50, 192), (7, 16)):
        assert np.abs(positions(times, width, CPU).numpy() - plain.positions(times, width)).max() < 1e-6


def test_patches_lie_time_after_time_and_low_bands_first():
    mel = torch.arange(8 * 80.0).view(1, 8, 80)
    cut = patches(mel)
    assert cut.shape == (1, 10, 64)
    # The second band of the second time: frames 4 to 7, bins 16 to 31.
    assert cut[0, 6, :3].tolist() == [4 * 80 + 16, 4 * 80 + 17, 4 * 80 + 18]
    assert cut[0, 6, 16] == 5 * 80 + 16
    assert np.array_equal(cut[0].numpy(), plain.patches_of(mel[0].numpy()))


def test_silence_is_nothing_once_standardised():
    mel, frames = log_mel(torch.zeros(2, 40_000), torch.tensor([40_000, 9000]))
    assert standardise(mel, frames, 0).abs().max() < 0.01


@pytest.mark.parametrize("samples", [1, 700, 12_000, 31_840, 32_000, 70_000])
def test_the_forward_pass_is_the_plain_one(samples):
    model = model_of()
    row = sound(samples)
    heard = torch.cat([row, torch.zeros(max(201 - samples, 0))])
    with torch.no_grad():
        found = model.audio_mamba(row[None], output_hidden_states=True)
    expected = plain.frames(heard, plain.released(model))
    assert len(found.hidden_states) == len(expected) == 3
    for state, plainly in zip(found.hidden_states, expected, strict=True):
        assert np.abs(state[0].numpy() - plainly).max() < 2e-5 * max(np.abs(plainly).max(), 1)
    assert torch.equal(found.hidden_states[-1], found.last_hidden_state)
    assert found.frame_mask.all()


@pytest.mark.parametrize("masked_positions", ["official", "kept"])
@pytest.mark.parametrize("loss", ["masked", "official"])
def test_the_pretraining_pass_is_the_plain_one(masked_positions, loss):
    model = model_of(masked_positions=masked_positions, loss=loss)
    weights = plain.released(model)
    row = sound(40_000)
    mask = torch.rand(1, 250, generator=torch.Generator().manual_seed(1)).argsort() < 125
    with torch.no_grad():
        found = model(row[None], mask=mask)
    cut = plain.patches_of(plain.standardised(plain.log_mel(row))[:200])
    hidden = mask[0].numpy()
    tokens = plain.embed(cut, weights)
    # The token stands in the place of patch and position, or of the patch alone.
    there = plain.positions(50, 16)[hidden] if masked_positions == "kept" else 0
    tokens[hidden] = weights["mask_token"][0, 0] + there
    predictions = plain.head(plain.encode(tokens, weights)[-1], weights)
    error = ((predictions - cut) ** 2).mean(1)
    assert np.abs(found.predictions[0].numpy() - predictions).max() < 1e-4
    assert found.loss.item() == pytest.approx(error[hidden].mean() if loss == "masked" else error.mean(), rel=1e-4)
    assert np.abs(found.targets[0].numpy() - cut).max() < 1e-4


def test_the_released_codes_positions_and_loss_are_not_all_the_default():
    config = AudioMambaConfig()
    assert config.masked_positions == "official"
    assert (config.loss, config.standardisation, config.padding) == ("masked", "population", "masked")
    assert config.frame_order == "time"
    for name in ("loss", "masked_positions", "standardisation", "padding", "frame_order"):
        with pytest.raises(ValueError, match=f"{name} must be .* or 'official', but is 'theirs'"):
            AudioMambaConfig(**{name: "theirs"})


def test_the_official_loss_counts_visible_patches_too():
    model = model_of()
    row, mask = sound(32_000)[None], torch.arange(250)[None] < 1
    with torch.no_grad():
        found = model(row, mask=mask)
        model.config.loss = "official"
        official = model(row, mask=mask).loss
    error = (found.predictions - found.targets).square().mean(-1)[0]
    assert found.loss.item() == pytest.approx(error[0].item())
    assert official.item() == pytest.approx(error.mean().item())
    assert official != found.loss


def test_an_official_masked_token_is_the_same_everywhere():
    seen = []
    for choice in ("official", "kept"):
        model = model_of(masked_positions=choice)
        model.audio_mamba.encode = lambda tokens: seen.append(tokens) or [tokens]
        model.predict(torch.randn(1, 250, 64), torch.ones(1, 250, dtype=torch.bool))
    official, kept = seen
    assert (official == model.mask_token).all()
    assert torch.allclose(kept - official, positions(50, 16, CPU).expand_as(kept), atol=1e-6)


def test_official_standardisation_is_by_a_samples_deviation():
    mel = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 2, 2)
    frames = torch.tensor([2])
    # Mean 3, squares 4 + 1 + 0 + 9 = 14, over 4 or 3.
    assert standardise(mel, frames, 0)[0, 1, 1].item() == pytest.approx(3 / (14 / 4) ** 0.5)
    assert standardise(mel, frames, 1)[0, 1, 1].item() == pytest.approx(3 / (14 / 3) ** 0.5)
    row, model = sound(9000)[None], model_of()
    with torch.no_grad():
        ours = model.audio_mamba(row).last_hidden_state
        trained = model(row).targets
        model.config.standardisation = "official"
        assert not torch.allclose(model.audio_mamba(row).last_hidden_state, ours, atol=1e-7)
        # In training it is the population's, there too.
        assert torch.equal(model(row).targets, trained)


def test_official_frames_mix_times():
    # One value a token: its number. Token 5 t + f is band f of time t.
    tokens = torch.arange(250.0).view(1, 250, 1)
    model = model_of(AudioMambaModel)
    own = torch.tensor([50])
    assert model.as_frames(tokens, own)[0, 1].tolist() == [5, 6, 7, 8, 9]
    model.config.frame_order = "official"
    assert model.as_frames(tokens, own)[0, 1].tolist() == [1, 51, 101, 151, 201]
    # Of a row of 20 times its own 100 tokens alone.
    assert model.as_frames(tokens, torch.tensor([20]))[0, 19].tolist() == [19, 39, 59, 79, 99]


@pytest.mark.parametrize(
    ("frames", "ours", "official"),
    # One window more where frames fill whole windows; the cut afterwards rounds down.
    [(101, 25, 26), (199, 49, 50), (200, 50, 50), (201, 50, 51), (399, 99, 100), (400, 100, 100), (90, 22, 23)],
)
def test_official_padding_makes_other_numbers_of_frames(frames, ours, official):
    row = sound((frames - 1) * 160)[None]
    model = model_of(AudioMambaModel)
    with torch.no_grad():
        assert model(row).last_hidden_state.shape[1] == ours
        model.config.padding = "official"
        found = model(row)
    assert found.last_hidden_state.shape[1] == official
    assert found.frame_mask.all()


@pytest.mark.parametrize("samples", [8000, 31_840, 32_000, 50_000])
def test_all_official_ways_together_are_the_released_codes(samples):
    model = model_of(standardisation="official", padding="official", frame_order="official")
    row = sound(samples)
    expected = plain.official_frames(row, plain.released(model))
    with torch.no_grad():
        found = model.audio_mamba(row[None]).last_hidden_state[0].numpy()
        batch, mask = padded(row, sound(90_000, 1))
        together = model.audio_mamba(batch, mask)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(together.last_hidden_state[0][together.frame_mask[0]].numpy() - expected).max() < 1e-4
    default = plain.frames(row, plain.released(model))[-1]
    assert len(default) != len(expected) or np.abs(default - expected).max() > 0.01


@pytest.mark.parametrize("frame_order", ["time", "official"])
@pytest.mark.parametrize("padding", ["masked", "official"])
def test_an_embedding_depends_on_its_clip_alone(frame_order, padding):
    model = model_of(AudioMambaModel, frame_order=frame_order, padding=padding)
    rows = [sound(samples, seed) for seed, samples in enumerate((1, 150, 5000, 17_000, 32_000, 33_000, 70_001))]
    with torch.no_grad():
        for chosen in (rows, rows[:4]):
            batch, mask = padded(*chosen, filling=3.0)
            together = model(batch, mask, output_hidden_states=True)
            # A mask of any type.
            assert torch.equal(model(batch, mask.float()).frame_mask, together.frame_mask)
            assert torch.equal(model(batch, mask.bool()).frame_mask, together.frame_mask)
            for i, row in enumerate(chosen):
                alone = model(row[None], output_hidden_states=True)
                own = together.frame_mask[i]
                for state, other in zip(alone.hidden_states, together.hidden_states, strict=True):
                    assert (state[0] - other[i][own]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (400, 1), (640, 1), (1120, 2), (16_000, 25), (32_000, 50), (33_000, 51)]
)
def test_25_frames_a_second_of_any_length(samples, frames):
    with torch.no_grad():
        found = model_of(AudioMambaModel)(sound(samples)[None])
    assert found.last_hidden_state.shape == (1, frames, 80)
    assert found.last_hidden_state.isfinite().all()


def test_25_seconds_silence_and_a_single_sample():
    batch, mask = padded(sound(400_000), torch.zeros(16_000), torch.zeros(1))
    with torch.no_grad():
        found = model_of(AudioMambaModel)(batch, mask)
    assert found.last_hidden_state.isfinite().all()
    assert found.frame_mask.sum(1).tolist() == [625, 25, 1]


@pytest.mark.parametrize("cls", [AudioMambaModel, AudioMambaForPreTraining, AudioMambaForAudioClassification])
@pytest.mark.parametrize(
    ("waveforms", "mask", "message"),
    [
        (torch.zeros(900), None, r"input_values must be .* \(clips, samples\).* is of shape \(900,\)"),
        (torch.zeros(2, 0), None, r"both above 0, but is of shape \(2, 0\)"),
        (np.zeros((1, 900)), None, "but is a ndarray"),
        (torch.zeros(1, 900, dtype=torch.int16), None, r"in \[-1, 1\], but are torch.int16"),
        (torch.zeros(2, 900), torch.ones(1, 900), r"of input_values, \(2, 900\), but is of shape \(1, 900\)"),
        (torch.zeros(2, 900), torch.ones(2, 90), r"but is of shape \(2, 90\)"),
        (torch.zeros(2, 900), torch.ones(2, 900).tril(-1), r"not in rows \[0\]"),
        (
            torch.zeros(2, 900),
            torch.arange(900).expand(2, -1) > 400,
            r"for a clip.s samples, .* not in rows \[0, 1\]",
        ),
    ],
)
def test_what_is_no_batch_of_waveforms_is_refused(cls, waveforms, mask, message):
    with pytest.raises(ValueError, match=message):
        model_of(cls)(waveforms, mask)


def test_hidden_states_as_transformers_counts_them():
    model, row = model_of(AudioMambaModel), sound(9000)[None]
    with torch.no_grad():
        assert model(row).hidden_states is None
        assert len(model(row, return_dict=False)) == 2
        model.config.output_hidden_states = True
        found = model(row)
    assert len(found.hidden_states) == 3
    assert all(state.shape == found.last_hidden_state.shape for state in found.hidden_states)


def test_a_classifier_has_a_loss_and_a_gradient_everywhere():
    model = model_of(AudioMambaForAudioClassification, num_labels=3)
    batch, mask = padded(sound(9000), sound(40_000, 1))
    labels = torch.tensor([2, 0])
    found = model(batch, mask, labels)
    encoded = model.audio_mamba(batch, mask)
    means = torch.stack([encoded.last_hidden_state[i][encoded.frame_mask[i]].mean(0) for i in range(2)])
    logits = means @ model.classifier.weight.T + model.classifier.bias
    assert torch.allclose(found.logits, logits, atol=1e-5)
    assert torch.allclose(found.loss, -logits.log_softmax(1)[[0, 1], labels].mean(), atol=1e-5)
    found.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("auto", "cls"),
    [
        (AutoModel, AudioMambaModel),
        (AutoModelForPreTraining, AudioMambaForPreTraining),
        (AutoModelForAudioClassification, AudioMambaForAudioClassification),
    ],
)
def test_auto_classes_bring_back_what_was_saved(tmp_path, auto, cls):
    model = model_of(cls, num_labels=4, frame_order="official")
    model.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    code = {"selective_scan.py", "scan_choice.py", "scan_kernel.py", "triton_scan.py", "triton_kernels.py"}
    assert {"config.json", "model.safetensors", "audio_mamba.py", *code} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, AudioMambaConfig)
    assert (config.hidden_size, config.frame_order, config.num_labels) == (16, "official", 4)
    again = auto.from_pretrained(tmp_path, use_safetensors=True)
    assert type(again) is cls
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_encoder_is_found_inside_and_what_is_missing_alone_is_drawn(tmp_path):
    model = model_of()
    model.save_pretrained(tmp_path / "whole")
    encoder = AutoModel.from_pretrained(tmp_path / "whole")
    classifier = AutoModelForAudioClassification.from_pretrained(tmp_path / "whole", num_labels=2)
    for name, value in model.audio_mamba.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value)
        assert torch.equal(classifier.audio_mamba.state_dict()[name], value)
    assert classifier.classifier.weight.abs().max() > 0
    encoder.save_pretrained(tmp_path / "encoder")
    whole = AutoModelForPreTraining.from_pretrained(tmp_path / "encoder")
    assert all(torch.equal(whole.audio_mamba.state_dict()[n], v) for n, v in encoder.state_dict().items())
    assert whole.mask_token.abs().max() > 0
    assert whole.pred[0].weight.abs().max() > 0


def test_weights_start_as_the_released_codes():
    torch.manual_seed(0)
    model = AudioMambaForPreTraining(AudioMambaConfig(hidden_size=64, num_hidden_layers=3))
    encoder, mixer = model.audio_mamba, model.audio_mamba.blocks[1].mixer
    assert torch.allclose(mixer.A_log.exp(), torch.arange(1.0, 25).expand(192, -1))
    assert (mixer.D == 1).all()
    # Kaiming's bound with a of the root of 5 is 1 / root of the inputs; out_proj's over the root of the blocks.
    for weight, bound in (
        (mixer.in_proj.weight, 64**-0.5),
        (mixer.x_proj.weight, 192**-0.5),
        (mixer.out_proj.weight, (192 * 3) ** -0.5),
        (mixer.conv1d.weight, 0.5),
        (mixer.conv1d.bias, 0.5),
        (mixer.dt_proj.weight, 0.5),
        (model.pred[0].weight, 64**-0.5),
        # Xavier's of a convolution: 6 over 64 inputs and 64 x 64 outputs.
        (encoder.patch_embed.proj.weight, (6 / (64 + 64 * 64)) ** 0.5),
    ):
        assert 0.9 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    step = torch.nn.functional.softplus(mixer.dt_proj.bias)
    assert step.min() > 0.0009
    assert step.max() < 0.11
    assert step.log().mean().item() == pytest.approx(np.log(0.01), abs=0.3)
    for token in (encoder.cls_token, model.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.4)
    for bias in (encoder.patch_embed.proj.bias, model.pred[0].bias, model.pred[2].bias, encoder.encoder_norm.bias):
        assert (bias == 0).all()


def test_bf16_is_close_to_float32():
    model = model_of(AudioMambaModel)
    batch, mask = padded(sound(40_000), sound(9000, 1))
    with torch.no_grad():
        exact = model(batch, mask).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            cast = model(batch, mask).last_hidden_state
        whole = model.to(torch.bfloat16)(batch, mask).last_hidden_state
    for found in (cast, whole):
        assert (found.float() - exact).square().mean() < 1e-3 * exact.square().mean()


def test_what_is_cached_in_inference_serves_training():
    with torch.inference_mode():
        model_of(AudioMambaModel, hidden_size=20)(sound(3000)[None])
    waveform = sound(3000)[None].requires_grad_()
    model_of(AudioMambaModel, hidden_size=20)(waveform).last_hidden_state.sum().backward()
    assert waveform.grad.isfinite().all()


ALONE = """
import os, sys
import torch
import transformers, transformers.modeling_utils

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nonverbal", "torchaudio", "triton"):
            raise ImportError(name + " is not to be had")

sys.meta_path.insert(0, Forbidden())
# Each class in a process that has loaded no other.
auto = "AutoModel" if os.fork() else "AutoModelForPreTraining"
model = getattr(transformers, auto).from_pretrained(sys.argv[1], trust_remote_code=True).eval()
given = torch.load(f"{auto}.pt", weights_only=True)
with torch.no_grad():
    found = model(**given)
torch.save(dict(found), f"{auto}-found.pt")
assert "nonverbal" not in sys.modules
from pathlib import Path
beside = {path.name for path in Path(sys.modules[type(model).__module__].__file__).parent.iterdir()}
assert {"selective_scan.py", "scan_choice.py", "scan_kernel.py", "triton_scan.py", "triton_kernels.py"} <= beside
if auto == "AutoModel":
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.processes
def test_a_checkpoint_is_enough_in_a_fresh_process_and_an_empty_folder(tmp_path):
    model = model_of(padding="official")
    ssam.export(model, model.state_dict(), tmp_path / "checkpoint")
    empty = tmp_path / "empty"
    empty.mkdir()
    batch, mask = padded(sound(40_000), sound(9000, 1))
    given = {"input_values": batch, "attention_mask": mask}
    torch.save(given, empty / "AutoModel.pt")
    hidden = {"mask": torch.arange(250).expand(2, -1) % 2 == 0}
    torch.save(given | hidden, empty / "AutoModelForPreTraining.pt")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "checkpoint")]
    done = subprocess.run(command, cwd=empty, env=kept | home, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    found, predicted = (
        torch.load(empty / f"{auto}-found.pt", weights_only=True) for auto in ("AutoModel", "AutoModelForPreTraining")
    )
    with torch.no_grad():
        states = model.audio_mamba(**given).last_hidden_state
        predictions = model(**given, **hidden).predictions
    assert (found["last_hidden_state"] - states).abs().max() < 1e-6
    assert (predicted["predictions"] - predictions).abs().max() < 1e-6


def test_the_feature_extractor_gives_what_the_model_takes(tmp_path):
    model = model_of()
    ssam.export(model, model.state_dict(), tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    rows = [sound(9000), sound(20_000, 1)]
    inputs = extractor([row.numpy() for row in rows], sampling_rate=16_000, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model.audio_mamba(**inputs)
        for i, row in enumerate(rows):
            alone = model.audio_mamba(row[None]).last_hidden_state[0]
            assert (found.last_hidden_state[i][found.frame_mask[i]] - alone).abs().max() < 1e-5
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"]["AutoModel"] == "audio_mamba.AudioMambaModel"
