"""Log-mel spectrograms for Whisper and AST, computed for whole batches on the device of the waveforms.

transformers' feature extractors compute the same, one waveform after another on the CPU.

Shapes: N rows, T samples, F frames, B bands.
"""

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

WINDOW, HOP = 400, 160
"""Samples in a frame of both spectrograms (25 ms), and from the start of one to the start of the next (10 ms)."""

SAMPLE_RATE = 16_000
"""Hz."""


def whisper_log_mel(waveforms: Tensor, lengths: Tensor, bands: int, samples: int) -> Tensor:
    """Return spectrograms ``(N, B, samples / 160)`` of waveforms, each followed by silence.

    As in transformers' ``WhisperFeatureExtractor``, values are clipped at 80 dB below the loudest one of a row.

    Args:
        waveforms: ``(N, T)``, T at most ``samples``.
        lengths: ``(N,)`` samples.
        bands: B.
        samples: of the model's window.
    """
    with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
        own = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
        waveforms = F.pad(waveforms.float() * own, (0, samples - waveforms.shape[1]))
        window = torch.hann_window(WINDOW, device=waveforms.device)
        spectrum = torch.stft(waveforms, WINDOW, HOP, window=window, return_complex=True)
        power = spectrum[..., :-1].abs().square()
        mel = _slaney_banks(bands, power.device) @ power
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _slaney_banks(bands: int, device: torch.device) -> Tensor:
    """Return triangular filters ``(B, 201)`` float32 of equal area, from 0 to 8000 Hz, as in Whisper's extractor."""
    banks = mel_filter_bank(WINDOW // 2 + 1, bands, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(banks).T.float().contiguous().to(device)


def ast_log_mel(waveforms: Tensor, lengths: Tensor, extractor: Any) -> Tensor:
    """Return spectrograms ``(N, frames of the model, B)``, in which padding is zero before normalisation.

    As in transformers' ``ASTFeatureExtractor``, they are computed by Kaldi's fbank.

    Args:
        waveforms: ``(N, T)``, T at least 400.
        lengths: ``(N,)`` samples.
        extractor: the ``ASTFeatureExtractor``.
    """
    with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
        log = kaldi_fbank(waveforms.float(), extractor.num_mel_bins)
        own = torch.arange(log.shape[1], device=log.device) < spectral_frames(lengths)[:, None]
        log = F.pad(log * own[..., None], (0, 0, 0, extractor.max_length - log.shape[1]))
        return (log - extractor.mean) / (2 * extractor.std) if extractor.do_normalize else log


def spectral_frames(lengths: Any) -> Any:
    """Return the number of whole frames in ``lengths`` samples, of which there must be at least 400."""
    return 1 + (lengths - WINDOW) // HOP


def kaldi_fbank(waveforms: Tensor, bands: int, exponent: float = 1.0) -> Tensor:
    """Return the logarithm of mel energies ``(N, F, B)`` of ``(N, T)``, computed as in Kaldi.

    From each frame its mean is subtracted; then pre-emphasis with 0.97, a Hann window, the power spectrum of 512
    samples, and bands of equal width in mel from 20 Hz to half the sample rate.

    Args:
        waveforms: ``(N, T)``, T at least 400.
        bands: B.
        exponent: of the window; 0.85 gives Kaldi's own window, named after Povey.
    """
    # (N, T) -> (N, F, 400)
    frames = waveforms.unfold(1, WINDOW, HOP)
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
    window = torch.hann_window(WINDOW, periodic=False, device=waveforms.device) ** exponent
    frames = (frames - 0.97 * before) * window
    size = 2 ** math.ceil(math.log2(WINDOW))
    power = torch.fft.rfft(frames, size).abs().square()
    # (N, F, 257) x (257, B)
    mel: Tensor = power @ _mel_banks(bands, size, power.device)
    return mel.clamp(min=torch.finfo(torch.float32).eps).log()


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _mel_banks(bands: int, size: int, device: torch.device) -> Tensor:
    """Return filters ``(size / 2 + 1, B)`` float32, triangular in mel; the weight of the highest frequency is 0."""
    lowest, highest = (1127 * math.log(1 + frequency / 700) for frequency in (20, SAMPLE_RATE / 2))
    # In float32 as in torchaudio, because the logarithm makes the last digits of weak bands visible.
    corners = lowest + torch.arange(bands + 2) * ((highest - lowest) / (bands + 1))
    mel = 1127 * (1 + SAMPLE_RATE / size * torch.arange(size // 2) / 700).log()
    past = mel[:, None] - corners
    width = corners.diff()
    # (size / 2, B + 2) -> (size / 2, B)
    filters = torch.minimum(past[:, :-2] / width[:-1], -past[:, 2:] / width[1:]).clamp(min=0)
    return F.pad(filters, (0, 0, 0, 1)).to(device)
