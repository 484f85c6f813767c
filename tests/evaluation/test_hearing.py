"""``nonverbal.load_encoder``: what it gives, beside kept embeddings and transformers alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from transformers import AutoFeatureExtractor, AutoModel

import nonverbal
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import KINDS, load_encoder
from nonverbal.evaluation.exactness import EXACT, difference, sound

LENGTHS = (3000, 16_000, 9000, 16_000)


@pytest.mark.processes
def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, nonverbal; print({'torch', 'numpy', 'transformers', 'nonverbal.evaluation'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", SAVED)
def test_each_clip_is_heard_as_if_it_were_alone(kind: str, tmp_path: Path) -> None:
    encoder = nonverbal.load_encoder(save_tiny(kind, tmp_path / "encoder"))
    clips = [sound(samples, take) for take, samples in enumerate(LENGTHS)]
    alone = [encoder([clip]) for clip in clips]
    for batch_seconds in (None, 100.0):
        together = encoder(clips, batch_seconds)
        assert together.embeddings.shape == (4, encoder.layers, 2 * encoder.dimensions)
        assert together.frames.dtype == together.embeddings.dtype == np.float32
        own = [frames[:, mask] for frames, mask in zip(together.frames, together.masks, strict=True)]
        for one, frames in zip(alone, own, strict=True):
            assert one.masks.all()
            assert difference(one.frames[0][:, None], frames[:, None]) <= 10 * EXACT
            assert one.frames[0].shape == frames.shape
        expected = np.concatenate([one.embeddings for one in alone])
        assert difference(expected, together.embeddings) <= EXACT
        assert (together.frames.swapaxes(1, 2)[~together.masks] == 0).all()
    np.testing.assert_array_equal(encoder.embed(clips), encoder(clips).embeddings)


@pytest.mark.parametrize("kind", ["wav2vec2 base", "hubert large", "wavlm base", "data2vec-audio"])
def test_it_gives_what_transformers_gives_of_one_clip(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / "encoder")
    clips = [sound(samples, take) for take, samples in enumerate(LENGTHS)]
    heard = nonverbal.load_encoder(folder)(clips, 100.0)
    model, extractor = AutoModel.from_pretrained(folder).eval(), AutoFeatureExtractor.from_pretrained(folder)
    for clip, frames, mask in zip(clips, heard.frames, heard.masks, strict=True):
        with torch.inference_mode():
            inputs = extractor(clip, sampling_rate=16_000, return_tensors="pt")
            states = model(**inputs, output_hidden_states=True)
        expected = torch.cat([*states.hidden_states[:-1], states.last_hidden_state]).numpy()
        assert difference(expected[:, None], frames[:, mask][:, None]) <= 10 * EXACT


def test_it_gives_what_is_kept_for_probes(
    labelled_shards: Callable[..., ShardFolder], encoder_folder: Path, tmp_path: Path
) -> None:
    clips = [np.round(sound(samples, take) * 32_768) / 32_768 for take, samples in enumerate(LENGTHS)]
    shards = labelled_shards([(str(i), None, str(i), [clip.astype(np.float32)]) for i, clip in enumerate(clips)])
    for name in (str(encoder_folder), f"initialised:{encoder_folder}", "logmel", "mfcc", "duration"):
        kept = embed(load_encoder(name), shards, np.arange(4), tmp_path / "cache")
        read = [shards.read(int(parts[0])) for parts in shards.parts(np.arange(4))]
        np.testing.assert_allclose(nonverbal.load_encoder(name).embed(read), kept, rtol=1e-6, atol=1e-6)


def test_every_encoder_without_weights_is_heard_but_the_one_that_hears_nothing() -> None:
    clip = sound(16_000)
    for name, kind in KINDS.items():
        if not kind.learned and name not in ("rate", "functionals"):
            encoder = nonverbal.load_encoder(name)
            heard = encoder([clip, clip[:9000]])
            one_frame = encoder.encoder.one_frame
            assert heard.embeddings.shape == (2, encoder.layers, encoder.dimensions * (1 if one_frame else 2)), name
            assert heard.masks[0].all()
    with pytest.raises(UserError, match="rate makes no frames"):
        nonverbal.load_encoder("rate")


def test_a_long_clip_is_heard_in_equal_windows(tmp_path: Path) -> None:
    encoder = nonverbal.load_encoder(save_tiny("wav2vec2 base", tmp_path / "encoder"))
    encoder.encoder.max_seconds = 1.0  # type: ignore[misc]
    clip = sound(25_000)
    halves = encoder([clip[:12_500], clip[12_500:]])
    whole = encoder([clip])
    np.testing.assert_array_equal(whole.frames[0], np.concatenate(halves.frames, 1))


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        ([], "there are no waveforms"),
        (np.zeros(500, np.float32), "waveform 0 has shape ()"),
        ([np.zeros(500, np.int16)], "and type int16, but"),
        ([np.zeros(500, np.float32), np.full(500, np.nan)], "waveform 1 has shape (500,)"),
        ([np.zeros((1, 500), np.float32)], "shape (1, 500)"),
        ([torch.zeros(100)], "logmel makes a frame of 201 samples, but a part of a clip has 100"),
    ],
)
def test_what_is_no_waveform_is_refused(waveforms: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        nonverbal.load_encoder("logmel")(waveforms)  # type: ignore[arg-type]
    assert message in str(error.value)
