"""A tiny random checkpoint of every kind of encoder that has weights, as transformers writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_shapes import AUDIO_MAMBA, LARGE, TRANSFORMER, WAVEFORMS


def _waveforms(name: str, large: bool = False, **more: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        config = getattr(transformers, f"{name}Config")(**WAVEFORMS, **(LARGE if large else {}), **more)
        save_random(getattr(transformers, f"{name}Model")(config), folder)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=large).save_pretrained(folder)

    return save


def _whisper(folder: Path) -> None:
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=50,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    save_random(transformers.WhisperForConditionalGeneration(config), folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)


def _ast(folder: Path) -> None:
    config = transformers.ASTConfig(**TRANSFORMER, num_labels=3)
    save_random(transformers.ASTForAudioClassification(config), folder)
    transformers.ASTFeatureExtractor().save_pretrained(folder)


def _audio_mamba(folder: Path) -> None:
    from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaModel
    from nonverbal.models.ssam import save_extractor

    save_random(AudioMambaModel(AudioMambaConfig(**AUDIO_MAMBA)), folder)
    save_extractor(folder)


SAVED: dict[str, Callable[[Path], None]] = {
    "wav2vec2 base": _waveforms("Wav2Vec2"),
    "wav2vec2 large": _waveforms("Wav2Vec2", large=True),
    "hubert base": _waveforms("Hubert"),
    "hubert large": _waveforms("Hubert", large=True),
    "wavlm base": _waveforms("WavLM"),
    "wavlm large": _waveforms("WavLM", large=True),
    "unispeech-sat base": _waveforms("UniSpeechSat"),
    "data2vec-audio": _waveforms("Data2VecAudio", conv_pos_kernel_size=3),
    "audio_mamba": _audio_mamba,
    "whisper": _whisper,
    "audio-spectrogram-transformer": _ast,
}
"""Kind and layout to what writes a folder; XLS-R and MMS have the large layout of wav2vec 2.0."""


def save_random(model: Any, folder: Path) -> None:
    """Write a model whose biases and norms are random too: drawn as zeros and ones, a mistake would not show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            wide = 0.02 if parameter.ndim > 1 else 0.1
            parameter += wide * torch.randn(parameter.shape, generator=generator)
    model.eval().save_pretrained(folder)


def save_tiny(name: str, folder: Path) -> Path:
    """Write the checkpoint of a name of ``SAVED``, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        SAVED[name](folder)
    return folder
